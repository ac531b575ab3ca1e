/* upsample2d: an image made larger by a whole factor, each channel by itself.
 *
 * nearest: each pixel becomes factor x factor of it.  bilinear: out pixel i lies at
 * (i + 1/2) / factor - 1/2 of the image, between two rows and two columns of it; beyond its border
 * lies its first or last pixel (PyTorch's align_corners = false). */
#include "worker/nn/op.h"

#include <math.h>
#include "worker/nn/kernels.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    char found[40];
    op_shape_text(&p->in[0], found);
    if (p->in[0].dims != 3)
        return err_set(why, ERR_INPUT, "needs an image (rows x columns x channels) but gets %s",
                       found);
    p->out = p->in[0];
    for (int axis = 0; axis < 2; axis++) {
        uint64_t size = (uint64_t)p->in[0].size[axis] * p->spec->factor;
        p->out.size[axis] = size <= OP_VALUE_MAX ? (uint32_t)size : UINT32_MAX;
    }
    return 0;
}

/* The two pixels of an axis that an out pixel lies between, and the second one's share. */
struct between {
    size_t first, second;
    real share;
};

static struct between place(const struct op_plan *p, int axis, size_t out_at)
{
    size_t last = p->in[0].size[axis] - 1;
    if (p->spec->interpolation == INTERPOLATION_NEAREST)
        return (struct between){out_at / p->spec->factor, out_at / p->spec->factor, 0};
    double at = ((double)out_at + 0.5) / p->spec->factor - 0.5;
    at = at < 0 ? 0 : at;
    size_t first = (size_t)at;
    return (struct between){first, first < last ? first + 1 : last,
                            (real)(at - floor(at))};
}

/* What is done with the four pixels that one out pixel lies between: numbers into the image, and
 * their shares. */
typedef void (*pixel_task)(const struct op_call *call, size_t pixel, const size_t from[4],
                           const real shares[4]);

static void for_each_pixel(const struct op_call *call, pixel_task task)
{
    const struct op_plan *p = call->plan;
    size_t rows = p->out.size[0], cols = p->out.size[1], channels = p->out.size[2], pixel = 0;
    for (size_t sample = 0; sample < call->count; sample++)
        for (size_t i = 0; i < rows; i++) {
            struct between row = place(p, 0, i);
            for (size_t j = 0; j < cols; j++, pixel += channels) {
                struct between col = place(p, 1, j);
                size_t above = row.first * p->in[0].size[1], below = row.second * p->in[0].size[1];
                size_t image = sample * p->in_count;
                const size_t from[4] = {
                    image + (above + col.first) * channels, image + (above + col.second) * channels,
                    image + (below + col.first) * channels,
                    image + (below + col.second) * channels};
                const real shares[4] = {(1 - row.share) * (1 - col.share),
                                        (1 - row.share) * col.share, row.share * (1 - col.share),
                                        row.share * col.share};
                task(call, pixel, from, shares);
            }
        }
}

static void copy_pixel(const struct op_call *call, size_t pixel, const size_t from[4],
                       const real shares[4])
{
    (void)shares;
    kernel_copy(call->out + pixel, call->in[0] + from[0], call->plan->out.size[2]);
}

static void mix_pixel(const struct op_call *call, size_t pixel, const size_t from[4],
                      const real shares[4])
{
    const real *in = call->in[0];
    for (size_t c = 0; c < call->plan->out.size[2]; c++)
        call->out[pixel + c] = shares[0] * in[from[0] + c] + shares[1] * in[from[1] + c] +
                               (shares[2] * in[from[2] + c] + shares[3] * in[from[3] + c]);
}

static void forward(const struct op_call *call)
{
    bool is_nearest = call->plan->spec->interpolation == INTERPOLATION_NEAREST;
    for_each_pixel(call, is_nearest ? copy_pixel : mix_pixel);
}

static void share_pixel(const struct op_call *call, size_t pixel, const size_t from[4],
                        const real shares[4])
{
    for (size_t k = 0; k < 4; k++)
        for (size_t c = 0; shares[k] != 0 && c < call->plan->out.size[2]; c++)
            call->in_grad[from[k] + c] += shares[k] * call->out_grad[pixel + c];
}

static void backward(const struct op_call *call)
{
    kernel_zero(call->in_grad, call->count * call->plan->in_count);
    for_each_pixel(call, share_pixel);
}

const struct op_kernel op_upsample2d = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward,
};
