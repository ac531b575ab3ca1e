#include "worker/nn/norm_kernels.h"

#include <string.h>
#include "worker/nn/kernels.h"
#include "worker/nn/real_math.h"

enum { RUN_ROWS_MIN = 16, RUN_ROWS_MAX = 64, RUN_BYTES = 16384, SUMS = 2 };

/* What lies in scratch, each [cols]. */
struct work {
    double *total[SUMS]; /* of the runs so far */
    real *sum[SUMS];     /* of the run */
    real *center;        /* the run's mean, nearly */
};

size_t norm_scratch_count(size_t cols)
{
    return cols * (SUMS * sizeof(double) / sizeof(real) + SUMS + 1);
}

static struct work work_in(real *scratch, size_t cols)
{
    double *total = (double *)(void *)scratch;
    real *sum = (real *)(void *)(total + SUMS * cols);
    memset(total, 0, SUMS * cols * sizeof(*total));
    return (struct work){{total, total + cols}, {sum, sum + cols}, sum + SUMS * cols};
}

static size_t run_rows(size_t rows_left, size_t cols)
{
    size_t rows = RUN_BYTES / (cols * sizeof(real));
    rows = rows < RUN_ROWS_MIN ? RUN_ROWS_MIN : rows > RUN_ROWS_MAX ? RUN_ROWS_MAX : rows;
    return rows < rows_left ? rows : rows_left;
}

/* sums += the rows, four at a time. */
static void add_rows(real *sums, const real *in, size_t rows, size_t cols)
{
    size_t i = 0;
    for (; i + 4 <= rows; i += 4, in += 4 * cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            sums[c] += (in[c] + in[cols + c]) + (in[2 * cols + c] + in[3 * cols + c]);
    }
    kernel_add_rows(sums, in, rows - i, cols);
}

/* The sums of distances from the center, and of their squares. */
static void add_distances(const struct work *work, const real *in, size_t rows, size_t cols)
{
    real *distances = work->sum[0], *squares = work->sum[1];
    const real *center = work->center;
    size_t i = 0;
    for (; i + 4 <= rows; i += 4, in += 4 * cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            real d0 = in[c] - center[c], d1 = in[cols + c] - center[c];
            real d2 = in[2 * cols + c] - center[c], d3 = in[3 * cols + c] - center[c];
            distances[c] += (d0 + d1) + (d2 + d3);
            squares[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    }
    for (; i < rows; i++, in += cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            real d = in[c] - center[c];
            distances[c] += d;
            squares[c] += d * d;
        }
    }
}

/* Chan et al., eq. 2.1: total[0] is the mean and total[1] the sum of squares about it of `before`
 * rows; the run adds its own. */
static void join_run(const struct work *work, size_t before, size_t rows, size_t cols)
{
    double *mean = work->total[0], *squares = work->total[1];
    const real *distances = work->sum[0], *run_squares = work->sum[1], *center = work->center;
    double one = 1 / (double)rows, share = (double)rows / (double)(before + rows);
    double weight = share * (double)before;
    INDEPENDENT
    for (size_t c = 0; c < cols; c++) {
        double offset = (double)distances[c] * one; /* what rounding took from the center */
        double step = (double)center[c] + offset - mean[c];
        squares[c] += (double)run_squares[c] - offset * (double)distances[c] + step * step * weight;
        mean[c] += step * share;
    }
}

void norm_moments(real *mean, real *variance, const real *in, size_t rows, size_t cols,
                  real *scratch)
{
    struct work work = work_in(scratch, cols);
    for (size_t done = 0, run; done < rows; done += run) {
        const real *first = in + done * cols;
        run = run_rows(rows - done, cols);
        kernel_zero(work.center, cols);
        add_rows(work.center, first, run, cols);
        kernel_scale(work.center, work.center, 1 / (real)run, cols);
        kernel_zero(work.sum[0], SUMS * cols);
        add_distances(&work, first, run, cols);
        join_run(&work, done, run, cols);
    }
    for (size_t c = 0; c < cols; c++) {
        double squares = work.total[1][c];
        mean[c] = (real)work.total[0][c];
        variance[c] = (real)(squares < 0 ? 0 : squares / (double)rows); /* a NaN stays one */
    }
}

static void add_products(const struct work *work, const real *out_grad, const real *in,
                         const real *center, size_t rows, size_t cols)
{
    real *grads = work->sum[0], *products = work->sum[1];
    size_t i = 0;
    for (; i + 2 <= rows; i += 2, in += 2 * cols, out_grad += 2 * cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            real g0 = out_grad[c], g1 = out_grad[cols + c];
            grads[c] += g0 + g1;
            products[c] += g0 * (in[c] - center[c]) + g1 * (in[cols + c] - center[c]);
        }
    }
    for (; i < rows; i++, in += cols, out_grad += cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            grads[c] += out_grad[c];
            products[c] += out_grad[c] * (in[c] - center[c]);
        }
    }
}

static void close_run(const struct work *work, size_t cols)
{
    for (size_t k = 0; k < SUMS; k++) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            work->total[k][c] += (double)work->sum[k][c];
    }
    kernel_zero(work->sum[0], SUMS * cols);
}

static void give_totals(const struct work *work, real *grad_sum, real *product_sum, size_t cols)
{
    for (size_t c = 0; c < cols; c++) {
        grad_sum[c] = (real)work->total[0][c];
        product_sum[c] = (real)work->total[1][c];
    }
}

void norm_grad_sums(real *grad_sum, real *product_sum, const real *out_grad, const real *in,
                    const real *center, size_t rows, size_t cols, real *scratch)
{
    struct work work = work_in(scratch, cols);
    kernel_zero(work.sum[0], SUMS * cols);
    for (size_t done = 0, run; done < rows; done += run) {
        run = run_rows(rows - done, cols);
        add_products(&work, out_grad + done * cols, in + done * cols, center, run, cols);
        close_run(&work, cols);
    }
    give_totals(&work, grad_sum, product_sum, cols);
}

void norm_row_grad_sums(real *grad_sum, real *product_sum, const real *out_grad, const real *in,
                        const real *mean, const real *scale, size_t rows, size_t cols,
                        real *scratch)
{
    struct work work = work_in(scratch, cols);
    real *grads = work.sum[0], *products = work.sum[1];
    kernel_zero(work.sum[0], SUMS * cols);
    for (size_t i = 0; i < rows; i++, in += cols, out_grad += cols) {
        real center = mean[i], factor = scale[i];
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            grads[c] += out_grad[c];
            products[c] += out_grad[c] * ((in[c] - center) * factor);
        }
        if ((i + 1) % RUN_ROWS_MAX == 0 || i + 1 == rows)
            close_run(&work, cols);
    }
    give_totals(&work, grad_sum, product_sum, cols);
}

static void apply_relu(real *out, const real *in, const struct norm_map *map, size_t rows,
                       size_t cols)
{
    const real *center = map->center, *scale = map->scale, *shift = map->shift;
    for (size_t i = 0; i < rows; i++, in += cols, out += cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++) {
            real value = (in[c] - center[c]) * scale[c] + shift[c];
            out[c] = value < 0 ? 0 : value;
        }
    }
}

void norm_apply(real *out, const real *in, const struct norm_map *map, size_t rows, size_t cols)
{
    const real *center = map->center, *scale = map->scale, *shift = map->shift;
    if (map->relu) {
        apply_relu(out, in, map, rows, cols);
        return;
    }
    for (size_t i = 0; i < rows; i++, in += cols, out += cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            out[c] = (in[c] - center[c]) * scale[c] + shift[c];
    }
}

void norm_apply_grad(real *in_grad, const real *out_grad, const real *in,
                     const struct norm_grad_map *map, size_t rows, size_t cols)
{
    const real *center = map->center, *gain = map->gain, *pull = map->pull, *shift = map->shift;
    for (size_t i = 0; i < rows; i++, in += cols, out_grad += cols, in_grad += cols) {
        INDEPENDENT
        for (size_t c = 0; c < cols; c++)
            in_grad[c] = out_grad[c] * gain[c] + (in[c] - center[c]) * pull[c] + shift[c];
    }
}
