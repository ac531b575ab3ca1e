#ifndef WORKER_NN_CONV_H
#define WORKER_NN_CONV_H

/* conv - a convolution of any kernel, stride, dilation, padding and number of groups: forward, the
 * gradient of its images and that of its weight.
 *
 * All three are products over lists of offsets (conv_kernels.h): a row is a pixel, or several
 * images' pixels where those are few, and no window is ever copied.  An image is copied once to
 * put its padding around it.  With a stride the gradient of an image falls into stride x stride
 * classes of pixels that meet the same taps; each is a product of its own, so that nothing is
 * multiplied by the zeros that a stride leaves.
 *
 * Shapes:   image [rows][cols][channels], map [out_rows][out_cols][filters], as NHWC.
 * Owner:    op_conv2d, op_conv1d, op_conv_transpose2d.  Thread: any number, each with its scratch.
 * Memory:   the call's scratch.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "worker/nn/real.h"

struct conv {
    uint32_t size[2], channels; /* of an image: rows, columns */
    uint32_t out[2], filters;   /* of a map */
    uint32_t kernel[2], stride[2], dilation[2];
    uint32_t before[2]; /* padding before the first row and column; what lies behind follows */
    uint32_t groups;    /* divides channels and filters; each group sees its own channels only */
};

/* Where the weight of (tap, channel of a group, filter) lies: at the sum of each times its stride.
 */
struct conv_weight {
    const real *data;
    size_t tap_stride, channel_stride, filter_stride;
};

/* weight [taps][channels / groups][filters], as conv2d has it. */
struct conv_weight conv_weight_of(const struct conv *conv, const real *data);

struct conv_pass {
    const struct conv *conv;
    struct conv_weight weight;
    size_t count;     /* images */
    const real *from; /* forward: images; backward: gradients of maps */
    const real *bias; /* [filters], or [channels] backward; NULL: none */
    bool relu;        /* forward: what is below 0 becomes 0 */
    real *to;         /* overwritten */
    real *scratch;    /* [conv_scratch_count] */
};

/* Reals that any of the three wants. */
size_t conv_scratch_count(const struct conv *conv);

void conv_forward(const struct conv_pass *pass);
void conv_backward_data(const struct conv_pass *pass);

/* weight_grad: [taps][channels / groups][filters], overwritten. */
void conv_backward_weights(const struct conv *conv, size_t count, const real *images,
                           const real *map_grads, real *weight_grad, real *scratch);

#endif
