#include "worker/nn/row_kernels.h"

#include <string.h>
#include "worker/nn/real_math.h"

enum { LANES = 32 / sizeof(real), WAYS = 4, PARTS = LANES * WAYS, RUN = 2048 };

typedef real lanes __attribute__((vector_size(LANES * sizeof(real))));

static inline lanes load(const real *from)
{
    lanes out;
    memcpy(&out, from, sizeof(out));
    return out;
}

/* The parts' sum, two halves at a time. */
static inline double sum_parts(const lanes ways[WAYS])
{
    lanes sum = (ways[0] + ways[1]) + (ways[2] + ways[3]);
    real all[LANES];
    memcpy(all, &sum, sizeof(all));
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            all[k] += all[k + half];
    return (double)all[0];
}

static size_t run_end(size_t begin, size_t count)
{
    return count - begin < RUN ? count : begin + RUN;
}

double row_sum(const real *row, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count;) {
        size_t end = run_end(i, count);
        lanes ways[WAYS] = {{0}, {0}, {0}, {0}};
        for (; i + PARTS <= end; i += PARTS)
            for (size_t w = 0; w < WAYS; w++)
                ways[w] += load(row + i + w * LANES);
        sum += sum_parts(ways);
        for (; i < end; i++)
            sum += (double)row[i];
    }
    return sum;
}

double row_squares(const real *row, real center, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count;) {
        size_t end = run_end(i, count);
        lanes ways[WAYS] = {{0}, {0}, {0}, {0}};
        for (; i + PARTS <= end; i += PARTS)
            for (size_t w = 0; w < WAYS; w++) {
                lanes distance = load(row + i + w * LANES) - center;
                ways[w] += distance * distance;
            }
        sum += sum_parts(ways);
        for (; i < end; i++)
            sum += (double)((row[i] - center) * (row[i] - center));
    }
    return sum;
}

double row_product(const real *left, const real *right, real center, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count;) {
        size_t end = run_end(i, count);
        lanes ways[WAYS] = {{0}, {0}, {0}, {0}};
        for (; i + PARTS <= end; i += PARTS)
            for (size_t w = 0; w < WAYS; w++)
                ways[w] += load(left + i + w * LANES) * (load(right + i + w * LANES) - center);
        sum += sum_parts(ways);
        for (; i < end; i++)
            sum += (double)(left[i] * (right[i] - center));
    }
    return sum;
}

/* Of each lane first: the largest of numbers is the same in any order. */
real row_max(const real *row, size_t count)
{
    real tops[PARTS];
    for (size_t k = 0; k < PARTS; k++)
        tops[k] = row[0];
    for (size_t i = 0; i + PARTS <= count; i += PARTS)
        for (size_t k = 0; k < PARTS; k++) {
            real next = row[i + k];
            tops[k] = choose((next > tops[k]) | (next != next), next, tops[k]);
        }
    real top = tops[0];
    for (size_t k = 1; k < PARTS; k++)
        top = tops[k] > top || tops[k] != tops[k] ? tops[k] : top;
    for (size_t i = count / PARTS * PARTS; i < count; i++)
        top = row[i] > top || row[i] != row[i] ? row[i] : top;
    return top;
}
