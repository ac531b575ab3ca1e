/* conv2d: weight [kernel rows][kernel cols][channels in][filters], bias [filters], images NHWC.
 *
 * With stride 1 a convolution is one matrix product per kernel row.  Every row of the padded image
 * is unrolled sideways only: columns [padded rows][out cols][kernel cols * channels].  Kernel row k
 * then multiplies the whole block of columns that starts k image rows further down, and the
 * products add up.  That copies each number kernel_cols times instead of kernel_rows * kernel_cols
 * times, computes nothing that nobody asked for, and keeps the products thick.
 *
 * With few channels such a product is too thin, and with a stride the rows of a block are not
 * adjacent: there the whole window is unrolled (im2col) and it is one product per image.  Both are
 * the same code: `products` is kernel_rows or 1.
 */
#include "worker/nn/op.h"

#include "worker/nn/blas.h"
#include "worker/nn/kernels.h"

/* Fewer numbers than this make too thin a product. */
enum { INNER_MIN = 24 };

/* The numbers of one convolution, and where in the call's scratch its parts lie. */
struct conv {
    size_t rows, cols, channels;        /* in */
    size_t out_rows, out_cols, filters; /* out */
    size_t kernel_cols;
    size_t stride_rows, stride_cols;
    size_t before_rows, before_cols; /* padding */
    size_t padded_rows, padded_cols;
    bool is_padded;
    size_t products;                           /* matrix products per image */
    size_t window_rows;                        /* image rows that one line of columns holds */
    size_t lines;                              /* of columns: [lines][out_cols][inner] */
    size_t inner;                              /* window_rows * kernel_cols * channels */
    bool is_direct;                            /* the padded image is the columns already */
    size_t columns_at, sums_at, scratch_count; /* offsets in scratch; padded at 0 */
};

/* Scratch offsets on a cache line. */
static size_t round_up(size_t count)
{
    return (count + 15) / 16 * 16;
}

static struct conv conv_of(const struct op_plan *p)
{
    size_t kernel_rows = p->spec->kernel[0];
    struct conv c = {
        .rows = p->in[0].size[0],
        .cols = p->in[0].size[1],
        .channels = p->in[0].size[2],
        .out_rows = p->out.size[0],
        .out_cols = p->out.size[1],
        .filters = p->out.size[2],
        .kernel_cols = p->spec->kernel[1],
        .stride_rows = p->spec->stride[0],
        .stride_cols = p->spec->stride[1],
        .before_rows = p->pad_before[0],
        .before_cols = p->pad_before[1],
    };
    c.padded_rows = c.rows + p->pad_before[0] + p->pad_after[0];
    c.padded_cols = c.cols + p->pad_before[1] + p->pad_after[1];
    c.is_padded = c.padded_rows > c.rows || c.padded_cols > c.cols;
    bool is_by_rows = c.stride_rows == 1 && c.kernel_cols * c.channels >= INNER_MIN;
    c.products = is_by_rows ? kernel_rows : 1;
    c.window_rows = is_by_rows ? 1 : kernel_rows;
    c.lines = is_by_rows ? c.padded_rows : c.out_rows;
    c.inner = c.window_rows * c.kernel_cols * c.channels;
    c.is_direct = c.window_rows == 1 && c.kernel_cols == 1 && c.stride_cols == 1 &&
                  (is_by_rows || c.stride_rows == 1);
    c.columns_at = c.is_padded ? round_up(c.padded_rows * c.padded_cols * c.channels) : 0;
    c.sums_at = c.columns_at + (c.is_direct ? 0 : round_up(c.lines * c.out_cols * c.inner));
    c.scratch_count = c.sums_at + round_up(c.filters);
    return c;
}

static int plan(struct op_plan *p, struct err_msg *why)
{
    int err = op_plan_window(p, why);
    if (err)
        return err;
    p->out.size[2] = p->spec->filters;
    if (op_shape_count(&p->out) == 0)
        return 0; /* too large: the graph says so */
    struct conv c = conv_of(p);
    if (c.padded_rows * c.padded_cols * c.channels > OP_VALUE_MAX ||
        c.lines * c.out_cols * c.inner > 8 * (uint64_t)OP_VALUE_MAX)
        return err_set(why, ERR_INPUT, "is a convolution too large to compute");
    const uint32_t shape[] = {p->spec->kernel[0], p->spec->kernel[1], p->in[0].size[2],
                              p->spec->filters};
    op_plan_tensors(p, 4, shape);
    p->scratch_count = c.scratch_count;
    p->flops = 2 * (uint64_t)c.products * c.inner * op_shape_count(&p->out);
    return 0;
}

/* The image with its padding: in scratch, or as it lies when there is none. */
static const real *pad(const struct conv *c, const real *image, real *scratch)
{
    if (!c->is_padded)
        return image;
    size_t row_count = c->cols * c->channels, padded_row = c->padded_cols * c->channels;
    size_t left = c->before_cols * c->channels, right = padded_row - left - row_count;
    kernel_zero(scratch, c->before_rows * padded_row);
    for (size_t i = 0; i < c->rows; i++) {
        real *row = scratch + (c->before_rows + i) * padded_row;
        kernel_zero(row, left);
        kernel_copy(row + left, image + i * row_count, row_count);
        kernel_zero(row + left + row_count, right);
    }
    size_t used = c->before_rows + c->rows;
    kernel_zero(scratch + used * padded_row, (c->padded_rows - used) * padded_row);
    return scratch;
}

/* The image without its padding: the reverse of pad. */
static void unpad(const struct conv *c, const real *padded, real *image)
{
    size_t row_count = c->cols * c->channels;
    for (size_t i = 0; c->is_padded && i < c->rows; i++)
        kernel_copy(image + i * row_count,
                    padded + ((c->before_rows + i) * c->padded_cols + c->before_cols) * c->channels,
                    row_count);
}

/* First number of the window whose place in the columns is (line, out_col). */
static size_t window_at(const struct conv *c, size_t line, size_t out_col)
{
    return (line * c->stride_rows * c->padded_cols + out_col * c->stride_cols) * c->channels;
}

/* The columns of an image. */
static const real *unroll(const struct conv *c, const real *image, real *scratch)
{
    const real *padded = pad(c, image, scratch);
    if (c->is_direct)
        return padded;
    real *columns = scratch + c->columns_at, *next = columns;
    size_t run = c->kernel_cols * c->channels, row_stride = c->padded_cols * c->channels;
    for (size_t line = 0; line < c->lines; line++)
        for (size_t j = 0; j < c->out_cols; j++) {
            const real *window = padded + window_at(c, line, j);
            for (size_t k = 0; k < c->window_rows; k++, next += run)
                for (size_t x = 0; x < run; x++)
                    next[x] = window[k * row_stride + x];
        }
    return columns;
}

/* Adds each number of the columns to the pixel that it was copied from. */
static void roll_back(const struct conv *c, const real *columns, real *padded)
{
    size_t run = c->kernel_cols * c->channels, row_stride = c->padded_cols * c->channels;
    for (size_t line = 0; line < c->lines; line++)
        for (size_t j = 0; j < c->out_cols; j++) {
            real *window = padded + window_at(c, line, j);
            for (size_t k = 0; k < c->window_rows; k++, columns += run)
                for (size_t x = 0; x < run; x++)
                    window[k * row_stride + x] += columns[x];
        }
}

static void image_forward(const struct op_call *call, const struct conv *c, const real *in,
                          real *out)
{
    const real *columns = unroll(c, in, call->scratch);
    size_t pixels = c->out_rows * c->out_cols;
    if (call->bias)
        kernel_fill_rows(out, call->bias, pixels, c->filters);
    for (size_t k = 0; k < c->products; k++)
        blas_multiply(
            (struct blas_shape){pixels, c->filters, c->inner},
            (struct blas_matrix){columns + k * c->out_cols * c->inner, c->inner, BLAS_PLAIN},
            (struct blas_matrix){call->weight + k * c->inner * c->filters, c->filters, BLAS_PLAIN},
            call->bias != NULL || k > 0, out, c->filters);
}

/* dW[k] += columns[k]^T dout. */
static void image_backward_weights(const struct op_call *call, const struct conv *c, size_t sample,
                                   const real *in, const real *out_grad)
{
    const real *columns = unroll(c, in, call->scratch);
    for (size_t k = 0; k < c->products; k++)
        blas_multiply(
            (struct blas_shape){c->inner, c->filters, c->out_rows * c->out_cols},
            (struct blas_matrix){columns + k * c->out_cols * c->inner, c->inner, BLAS_TRANSPOSED},
            (struct blas_matrix){out_grad, c->filters, BLAS_PLAIN}, sample > 0,
            call->weight_grad + k * c->inner * c->filters, c->filters);
}

/* dcolumns[k] += dout W[k]^T, and each number back to where it came from. */
static void image_backward_data(const struct op_call *call, const struct conv *c,
                                const real *out_grad, real *in_grad)
{
    real *padded = c->is_padded ? call->scratch : in_grad;
    real *columns = c->is_direct ? padded : call->scratch + c->columns_at;
    if (c->products > 1)
        kernel_zero(columns, c->lines * c->out_cols * c->inner);
    for (size_t k = 0; k < c->products; k++)
        blas_multiply((struct blas_shape){c->out_rows * c->out_cols, c->inner, c->filters},
                      (struct blas_matrix){out_grad, c->filters, BLAS_PLAIN},
                      (struct blas_matrix){call->weight + k * c->inner * c->filters, c->filters,
                                           BLAS_TRANSPOSED},
                      c->products > 1, columns + k * c->out_cols * c->inner, c->inner);
    if (!c->is_direct) {
        kernel_zero(padded, c->padded_rows * c->padded_cols * c->channels);
        roll_back(c, columns, padded);
    }
    unpad(c, padded, in_grad);
}

static void forward(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    for (size_t sample = 0; sample < call->count; sample++)
        image_forward(call, &c, call->in[0] + sample * call->plan->in_count,
                      call->out + sample * call->plan->out_count);
}

/* db: summed image by image, which keeps long sums of small numbers apart. */
static void add_bias_grad(const struct op_call *call, const struct conv *c, size_t sample,
                          const real *out_grad)
{
    real *sums = sample == 0 ? call->bias_grad : call->scratch + c->sums_at;
    kernel_zero(sums, c->filters);
    kernel_add_rows(sums, out_grad, c->out_rows * c->out_cols, c->filters);
    if (sample > 0)
        kernel_add(call->bias_grad, call->bias_grad, sums, c->filters);
}

static void backward_weights(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    for (size_t sample = 0; sample < call->count; sample++) {
        const real *out_grad = call->out_grad + sample * call->plan->out_count;
        image_backward_weights(call, &c, sample, call->in[0] + sample * call->plan->in_count,
                               out_grad);
        if (call->bias_grad)
            add_bias_grad(call, &c, sample, out_grad);
    }
}

static void backward_data(const struct op_call *call)
{
    struct conv c = conv_of(call->plan);
    for (size_t sample = 0; sample < call->count; sample++)
        image_backward_data(call, &c, call->out_grad + sample * call->plan->out_count,
                            call->in_grad + sample * call->plan->in_count);
}

const struct op_kernel op_conv2d = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .reads_in = true,
};
