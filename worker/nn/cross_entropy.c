#include "worker/nn/cross_entropy.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "worker/nn/kernels.h"

/* What is worked on at once: wider vectors than the processor's are taken apart badly.  ROWS: how
 * many go through exp together, so that they stay in the first cache. */
enum { PARTS = 32 / sizeof(real), PARTS_FROM = 32, ROWS = 16 };

#ifdef TALWEG_REAL_DOUBLE
typedef int64_t mask_element;
#else
typedef int32_t mask_element;
#endif
typedef real parts __attribute__((vector_size(32)));
typedef mask_element parts_mask __attribute__((vector_size(32)));

static real largest(const real *row, size_t count)
{
    real top = row[0];
    size_t i = 0;
    if (count >= PARTS) {
        parts tops, next;
        memcpy(&tops, row, sizeof(tops));
        for (i = PARTS; i + PARTS <= count; i += PARTS) {
            memcpy(&next, row + i, sizeof(next));
            parts_mask is_more = next > tops;
            tops = (parts)(((parts_mask)next & is_more) | ((parts_mask)tops & ~is_more));
        }
        for (size_t k = 0; k < PARTS; k++)
            top = tops[k] > top ? tops[k] : top;
    }
    for (; i < count; i++)
        top = row[i] > top ? row[i] : top;
    return top;
}

/* The parts' sums, and theirs, two halves at a time. */
static real sum_parts(const parts *sums)
{
    real all[PARTS];
    memcpy(all, sums, sizeof(all));
    for (size_t half = PARTS / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            all[k] += all[k + half];
    return all[0];
}

static real sum_row(const real *row, size_t count)
{
    parts even = {0}, odd = {0}, next;
    real sum = 0;
    size_t i = 0;
    if (count >= PARTS_FROM) {
        for (; i + 2 * PARTS <= count; i += 2 * PARTS) {
            memcpy(&next, row + i, sizeof(next));
            even += next;
            memcpy(&next, row + i + PARTS, sizeof(next));
            odd += next;
        }
        even += odd;
        sum = sum_parts(&even);
    }
    for (; i < count; i++)
        sum += row[i];
    return sum;
}

/* The sum of w (top - z) over classes; weights NULL: all 1. */
static real sum_gaps(const real *row, const real *weights, real top, size_t count)
{
    parts sums = {0}, next, weight;
    size_t i = 0;
    for (; i + PARTS <= count; i += PARTS) {
        memcpy(&next, row + i, sizeof(next));
        next = top - next;
        if (weights != NULL) {
            memcpy(&weight, weights + i, sizeof(weight));
            next *= weight;
        }
        sums += next;
    }
    real sum = sum_parts(&sums);
    for (; i < count; i++)
        sum += (weights == NULL ? 1 : weights[i]) * (top - row[i]);
    return sum;
}

/* out = exp(z - the row's largest), which goes to tops[rows]. */
static void exp_rows(const real *z, size_t rows, size_t cols, real *out, real *tops)
{
    for (size_t r = 0; r < rows; r++) {
        const real *row = z + r * cols;
        real top = tops[r] = largest(row, cols);
        for (size_t c = 0; c < cols; c++)
            out[r * cols + c] = row[c] - top;
    }
    kernel_exp(out, out, rows * cols);
}

/* The first of the largest is the answer. */
static bool is_answer(const real *row, size_t label, real top)
{
    if (row[label] < top)
        return false;
    for (size_t i = 0; i < label; i++)
        if (row[i] >= top)
            return false;
    return true;
}

/* What smoothing takes off: so much of each class, times its weight. */
static void spread(real *grad, const real *weights, real each, size_t count)
{
    if (weights == NULL)
        for (size_t c = 0; c < count; c++)
            grad[c] -= each;
    else
        for (size_t c = 0; c < count; c++)
            grad[c] -= each * weights[c];
}

/* One row of which grad is exp(z - top).  share: 1 / rows of the sample that count. */
static double finish_row(const struct cross_entropy *what, const real *z, size_t label, real top,
                         real share, real *grad)
{
    size_t count = what->class_count;
    double smoothing = what->label_smoothing;
    double own = what->class_weights == NULL ? 1 : (double)what->class_weights[label];
    double on = (1 - smoothing) * own, off = smoothing / (double)count;
    real sum = sum_row(grad, count);
    double log_sum = log((double)sum);
    double loss = on * (log_sum + (double)top - (double)z[label]);
    real total = (real)(on + off * what->weight_sum);
    kernel_scale(grad, grad, 1 / sum * (total * share), count);
    if (smoothing > 0) {
        loss += off * (what->weight_sum * log_sum +
                       (double)sum_gaps(z, what->class_weights, top, count));
        spread(grad, what->class_weights, (real)off * share, count);
    }
    grad[label] -= (real)on * share;
    return loss;
}

static size_t counting_rows(const struct cross_entropy *what, const real *labels)
{
    size_t counting = 0;
    for (size_t i = 0; i < what->row_count; i++)
        counting += labels[i] >= 0;
    return counting;
}

void cross_entropy_sample(const struct cross_entropy *what, const real *z, const real *labels,
                          real *grad, struct loss_result *result)
{
    size_t cols = what->class_count, counting = counting_rows(what, labels);
    real tops[ROWS], share = counting == 0 ? 0 : 1 / (real)counting;
    double loss = 0;
    for (size_t first = 0; first < what->row_count; first += ROWS) {
        size_t rows = what->row_count - first < ROWS ? what->row_count - first : ROWS;
        exp_rows(z + first * cols, rows, cols, grad + first * cols, tops);
        for (size_t r = 0; r < rows; r++) {
            const real *row = z + (first + r) * cols;
            real *row_grad = grad + (first + r) * cols;
            if (labels[first + r] < 0) {
                kernel_zero(row_grad, cols);
                continue;
            }
            assert(labels[first + r] < (real)cols);
            size_t label = (size_t)labels[first + r];
            loss += finish_row(what, row, label, tops[r], share, row_grad);
            result->correct += is_answer(row, label, tops[r]);
        }
    }
    result->answers += counting;
    if (counting > 0)
        result->loss_sum += loss / (double)counting;
}

void cross_entropy_softmax(const real *z, size_t rows, size_t cols, real *out)
{
    real top;
    for (size_t r = 0; r < rows; r++) {
        real *row = out + r * cols;
        exp_rows(z + r * cols, 1, cols, row, &top);
        kernel_scale(row, row, 1 / sum_row(row, cols), cols);
    }
}
