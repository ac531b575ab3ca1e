#include "worker/nn/attention_kernels.h"

#include "common/simd.h"
#include "worker/nn/real_math.h"

/* KERNEL_TABLE: the table that a compilation for a level above the base makes; with
 * TALWEG_KERNEL_V4 the base's finds it (worker/CMakeLists.txt). */
#ifdef KERNEL_TABLE
extern const struct attention_kernels KERNEL_TABLE;
#else
#define KERNEL_TABLE attention_kernels_base
#define HAS_CHOICE
#endif

enum { LANES = ATTENTION_LANES, PART = 32 / sizeof(real), WAYS = LANES / PART };

/* Vectors as wide as the base level has them: wider ones gain nothing in so short a row. */
typedef real part __attribute__((vector_size(32), aligned(sizeof(real)), may_alias));
#ifdef TALWEG_REAL_DOUBLE
typedef int64_t part_bits __attribute__((vector_size(32)));
#else
typedef int32_t part_bits __attribute__((vector_size(32)));
#endif

static inline part larger(part left, part right)
{
    part_bits is_left = left > right;
    return (part)(((part_bits)left & is_left) | ((part_bits)right & ~is_left));
}

static size_t row_cols(const struct attention_tile *tile, size_t row)
{
    return tile->seen + row < tile->cols ? tile->seen + row : tile->cols;
}

static size_t whole_lanes(size_t count)
{
    return (count + LANES - 1) / LANES * LANES;
}

static void fill(real *row, size_t begin, size_t end, real value)
{
    for (size_t c = begin; c < end; c++)
        row[c] = value;
}

/* count: a multiple of LANES. */
static inline real largest(const real *row, size_t count)
{
    part ways[WAYS], all;
    for (size_t w = 0; w < WAYS; w++)
        ways[w] = *(const part *)(row + w * PART);
    for (size_t i = LANES; i < count; i += LANES)
        for (size_t w = 0; w < WAYS; w++)
            ways[w] = larger(*(const part *)(row + i + w * PART), ways[w]);
    all = ways[0];
    for (size_t w = 1; w < WAYS; w++)
        all = larger(ways[w], all);
    real max = all[0];
    for (size_t l = 1; l < PART; l++)
        max = all[l] > max ? all[l] : max;
    return max;
}

static inline real sum_of(const real *row, size_t count)
{
    part ways[WAYS] = {{0}}, all = {0};
    for (size_t i = 0; i < count; i += LANES)
        for (size_t w = 0; w < WAYS; w++)
            ways[w] += *(const part *)(row + i + w * PART);
    for (size_t w = 0; w < WAYS; w++)
        all += ways[w];
    real sum = 0;
    for (size_t l = 0; l < PART; l++)
        sum += all[l];
    return sum;
}

/* What it does to the rows' maximum; the factor is found of all rows at once. */
static void raise_max(const struct attention_tile *tile)
{
    for (size_t r = 0; r < tile->rows; r++) {
        real *row = tile->scores + r * tile->stride, max = tile->max[r];
        size_t seen = row_cols(tile, r), count = whole_lanes(seen);
        fill(row, seen, count, -(real)INFINITY);
        real raised = largest(row, count) * tile->scale;
        raised = raised > max ? raised : max;
        tile->factor[r] = max - raised;
        tile->max[r] = raised;
    }
    INDEPENDENT
    for (size_t r = 0; r < tile->rows; r++)
        tile->factor[r] = exp_of(tile->factor[r]);
}

/* Three passes over a tile in the first cache: a row's steps wait for one another, rows do not. */
static void softmax(const struct attention_tile *tile)
{
    raise_max(tile);
    for (size_t r = 0; r < tile->rows; r++) {
        real *row = tile->scores + r * tile->stride, scale = tile->scale, max = tile->max[r];
        size_t count = whole_lanes(row_cols(tile, r));
        INDEPENDENT
        for (size_t c = 0; c < count; c++)
            row[c] = exp_of(row[c] * scale - max);
    }
    for (size_t r = 0; r < tile->rows; r++) {
        real *row = tile->scores + r * tile->stride;
        size_t seen = row_cols(tile, r), count = whole_lanes(seen);
        fill(row, seen, count > tile->cols ? count : tile->cols, 0);
        tile->sum[r] = tile->sum[r] * tile->factor[r] + sum_of(row, count);
    }
}

static void softmax_grad(const struct attention_tile *tile)
{
    for (size_t r = 0; r < tile->rows; r++) {
        real *row = tile->scores + r * tile->stride, scale = tile->scale;
        real *grad = tile->scores_grad + r * tile->stride;
        real log_sum = tile->log_sum[r], inner = tile->inner[r];
        size_t seen = row_cols(tile, r), count = whole_lanes(seen);
        size_t end = count > tile->cols ? count : tile->cols;
        INDEPENDENT
        for (size_t c = 0; c < count; c++) {
            real share = exp_of(row[c] * scale - log_sum);
            row[c] = share;
            grad[c] = share * (grad[c] - inner) * scale;
        }
        fill(row, seen, end, 0);
        fill(grad, seen, end, 0);
    }
}

const struct attention_kernels KERNEL_TABLE = {softmax, softmax_grad};

#ifdef HAS_CHOICE
#ifdef TALWEG_KERNEL_V4
extern const struct attention_kernels attention_kernels_v4;
#endif

const struct attention_kernels *attention_kernels_best(void)
{
#ifdef TALWEG_KERNEL_V4
    if (simd_kernels_of(SIMD_V4) != NULL)
        return &attention_kernels_v4;
#endif
    return &attention_kernels_base;
}
#endif
