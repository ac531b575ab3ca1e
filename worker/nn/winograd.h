#ifndef WORKER_NN_WINOGRAD_H
#define WORKER_NN_WINOGRAD_H

/* winograd - a 3 x 3 convolution of stride 1 with a quarter of the multiplications.
 *
 * F(4x4, 3x3): 6 x 6 pixels become 36 points, in which a convolution is a product of numbers, and
 * over all channels and tiles 36 products of matrices [tiles][channels] [channels][filters]; 36
 * multiplications for 16 numbers out instead of 144.  F(2x2, 3x3) would take 64, and even for an
 * image of 3 x 3 no fewer, so it is not here.
 *
 * Tiles are taken in blocks, over image borders, and channels and filters in blocks of 64, so that
 * the transformed weight and what is multiplied with it stay in the second-level cache; the
 * transformed weight is nowhere kept in whole.
 *
 * Its sums pass through numbers larger than the result: over the layers of ResNet-18 the largest
 * error of forward and of both gradients, in units of the largest number out, is 6e-6 with 64
 * channels and 1.7e-5 with 512, where the direct form has 2e-6 (tests/parity/test_conv.c holds it
 * below 2e-5).
 *
 * Shapes:   image [rows][cols][channels], map [out_rows][out_cols][filters], as NHWC; weight
 *           [3][3][channels][filters].
 * Owner:    op_conv2d.  Thread: any number, each with its scratch.
 * Memory:   the call's scratch.
 * Source:   Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
 * Surprise: none.
 */
#include "worker/nn/conv.h"

/* Whether the convolution has this form, and gains from it. */
bool winograd_fits(const struct conv *conv);

/* Reals that any of the three wants. */
size_t winograd_scratch_count(const struct conv *conv);

/* As those of conv.h; the weight as conv_weight_of has it. */
void winograd_forward(const struct conv_pass *pass);
void winograd_backward_data(const struct conv_pass *pass);
void winograd_backward_weights(const struct conv *conv, size_t count, const real *images,
                               const real *map_grads, real *weight_grad, real *scratch);

#endif
