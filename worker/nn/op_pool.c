/* maxpool2d, avgpool2d: over windows of one channel, in NHWC.
 *
 * Padding is no number: the maximum and the mean of a window are those of the pixels that it holds.
 * Of equal maxima the first, by rows, gets the gradient. */
#include "worker/nn/op.h"

#include "worker/nn/kernels.h"

/* The part of a window that lies on the image. */
struct window {
    uint32_t row_begin, row_end, col_begin, col_end;
};

static void clip(const struct op_plan *p, int axis, uint32_t out_at, uint32_t *begin, uint32_t *end)
{
    uint32_t first = out_at * p->spec->stride[axis]; /* counted from the padding's edge */
    uint32_t last = first + p->spec->kernel[axis];
    uint32_t before = p->pad_before[axis], size = p->in[0].size[axis];
    *begin = first > before ? first - before : 0;
    *end = last - before < size ? last - before : size;
}

static struct window window_at(const struct op_plan *p, uint32_t out_row, uint32_t out_col)
{
    struct window w;
    clip(p, 0, out_row, &w.row_begin, &w.row_end);
    clip(p, 1, out_col, &w.col_begin, &w.col_end);
    return w;
}

/* What one window has to do: `image` is the sample's pixels (or their gradient), `pixel` the
 * window's own [channels]. */
typedef void (*window_task)(const struct op_call *call, const struct window *w, size_t image,
                            size_t pixel);

static void for_each_window(const struct op_call *call, window_task task)
{
    const struct op_plan *p = call->plan;
    size_t pixel = 0;
    for (size_t sample = 0; sample < call->count; sample++)
        for (uint32_t row = 0; row < p->out.size[0]; row++)
            for (uint32_t col = 0; col < p->out.size[1]; col++) {
                struct window w = window_at(p, row, col);
                task(call, &w, sample * p->in_count, pixel);
                pixel += p->out.size[2];
            }
}

static int plan_pool(struct op_plan *p, struct err_msg *why)
{
    int err = op_plan_window(p, why);
    p->out.size[2] = p->in[0].size[2];
    return err;
}

static int plan_maxpool(struct op_plan *p, struct err_msg *why)
{
    int err = plan_pool(p, why);
    p->keep_count = op_shape_count(&p->out); /* an int32_t each: the pixel that won */
    return err;
}

/* best, winner: [channels]; in: the pixel numbered `number`. */
static void max_with(real *best, int32_t *winner, const real *in, int32_t number, size_t channels)
{
    for (size_t c = 0; c < channels; c++) {
        real value = in[c];
        int is_better = (value > best[c]) | (value != value); /* a NaN wins, so that it is seen */
        best[c] = is_better ? value : best[c];
        winner[c] = is_better ? number : winner[c];
    }
}

static void maxpool_window(const struct op_call *call, const struct window *w, size_t image,
                           size_t pixel)
{
    const struct op_plan *p = call->plan;
    size_t channels = p->in[0].size[2];
    real *best = call->out + pixel;
    int32_t *winner = (int32_t *)(void *)call->keep + pixel;
    uint32_t first = w->row_begin * p->in[0].size[1] + w->col_begin;
    kernel_copy(best, call->in[0] + image + first * channels, channels);
    for (size_t c = 0; c < channels; c++)
        winner[c] = (int32_t)first;
    for (uint32_t row = w->row_begin; row < w->row_end; row++)
        for (uint32_t col = w->col_begin; col < w->col_end; col++) {
            uint32_t number = row * p->in[0].size[1] + col;
            if (number != first)
                max_with(best, winner, call->in[0] + image + number * channels, (int32_t)number,
                         channels);
        }
}

static void maxpool_forward(const struct op_call *call)
{
    for_each_window(call, maxpool_window);
}

static void maxpool_window_back(const struct op_call *call, const struct window *w, size_t image,
                                size_t pixel)
{
    size_t channels = call->plan->in[0].size[2];
    const int32_t *winner = (const int32_t *)(const void *)call->keep + pixel;
    const real *out_grad = call->out_grad + pixel;
    (void)w;
    for (size_t c = 0; c < channels; c++)
        call->in_grad[image + (size_t)winner[c] * channels + c] += out_grad[c];
}

/* Whether each pixel lies in exactly one window: those cut the image into pieces. */
static bool is_cut_in_windows(const struct op_plan *p)
{
    for (int axis = 0; axis < 2; axis++)
        if (p->spec->stride[axis] != p->spec->kernel[axis] || p->pad_before[axis] > 0 ||
            p->out.size[axis] * p->spec->kernel[axis] != p->in[0].size[axis])
            return false;
    return true;
}

/* All of a window's pixels get their gradient at once, most of them 0. */
static void maxpool_window_write(const struct op_call *call, const struct window *w, size_t image,
                                 size_t pixel)
{
    size_t channels = call->plan->out.size[2], cols = call->plan->in[0].size[1];
    const int32_t *winner = (const int32_t *)(const void *)call->keep + pixel;
    for (uint32_t row = w->row_begin; row < w->row_end; row++)
        for (uint32_t col = w->col_begin; col < w->col_end; col++)
            kernel_where_equal(call->in_grad + image + (row * cols + col) * channels, winner,
                               (int32_t)(row * cols + col), call->out_grad + pixel, channels);
}

static void maxpool_backward(const struct op_call *call)
{
    if (is_cut_in_windows(call->plan)) {
        for_each_window(call, maxpool_window_write);
        return;
    }
    kernel_zero(call->in_grad, call->count * call->plan->in_count);
    for_each_window(call, maxpool_window_back);
}

static real window_share(const struct window *w)
{
    return 1 / (real)((w->row_end - w->row_begin) * (w->col_end - w->col_begin));
}

static void avgpool_window(const struct op_call *call, const struct window *w, size_t image,
                           size_t pixel)
{
    size_t channels = call->plan->out.size[2], cols = call->plan->in[0].size[1];
    real *mean = call->out + pixel;
    kernel_zero(mean, channels);
    for (uint32_t row = w->row_begin; row < w->row_end; row++)
        kernel_add_rows(mean, call->in[0] + image + (row * cols + w->col_begin) * channels,
                        w->col_end - w->col_begin, channels);
    kernel_scale(mean, mean, window_share(w), channels);
}

static void avgpool_forward(const struct op_call *call)
{
    for_each_window(call, avgpool_window);
}

static void avgpool_window_back(const struct op_call *call, const struct window *w, size_t image,
                                size_t pixel)
{
    size_t channels = call->plan->out.size[2], cols = call->plan->in[0].size[1];
    const real *out_grad = call->out_grad + pixel;
    real share = window_share(w);
    for (uint32_t row = w->row_begin; row < w->row_end; row++)
        for (uint32_t col = w->col_begin; col < w->col_end; col++) {
            real *in_grad = call->in_grad + image + (row * cols + col) * channels;
            for (size_t c = 0; c < channels; c++)
                in_grad[c] += out_grad[c] * share;
        }
}

static void avgpool_backward(const struct op_call *call)
{
    kernel_zero(call->in_grad, call->count * call->plan->in_count);
    for_each_window(call, avgpool_window_back);
}

const struct op_kernel op_maxpool2d = {
    .plan = plan_maxpool,
    .forward = maxpool_forward,
    .backward_data = maxpool_backward,
};

const struct op_kernel op_avgpool2d = {
    .plan = plan_pool,
    .forward = avgpool_forward,
    .backward_data = avgpool_backward,
};
