/* The transforms of Winograd's F(4x4, 3x3), on as many channels at a time as a vector holds.  Each
 * is its one-dimensional form down the columns, then along the rows. */
#include "worker/nn/conv_kernels.h"

#include "worker/nn/conv_vector.h"

enum { SIDE = WINOGRAD_SIDE, TILE = WINOGRAD_TILE, TAPS = 3 };

void CONV_NAME(winograd_tile_in)(const struct winograd_pixels *p, const real *in, real *points,
                                 size_t point_stride);
void CONV_NAME(winograd_tile_out)(const struct winograd_pixels *p, const real *points,
                                  size_t point_stride, const real *bias, real *out);
void CONV_NAME(winograd_tile_out_grad)(const struct winograd_pixels *p, const real *out_grad,
                                       real *points, size_t point_stride);
void CONV_NAME(winograd_taps_in)(const real *weight, size_t tap_stride, size_t count, real *points,
                                 size_t point_stride);
void CONV_NAME(winograd_taps_grad)(const real *points, size_t point_stride, size_t count, bool keep,
                                   real *weight_grad, size_t tap_stride);

/* B^T d.  B^T = 4  0 -5  0  1  0
 *               0 -4 -4  1  1  0
 *               0  4 -4 -1  1  0
 *               0 -2 -1  2  1  0
 *               0  2 -1 -2  1  0
 *               0  4  0 -5  0  1 */
INLINE void in_line(const vector d[SIDE], vector out[SIDE])
{
    vector even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
    vector even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
    out[0] = 4 * d[0] - 5 * d[2] + d[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* A^T m.  A^T = 1  1  1  1  1  0
 *               0  1 -1  2 -2  0
 *               0  1  1  4  4  0
 *               0  1 -1  8 -8  1 */
INLINE void out_line(const vector m[SIDE], vector out[TILE])
{
    vector sum = m[1] + m[2], difference = m[1] - m[2];
    vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    out[0] = m[0] + sum + sum2;
    out[1] = difference + 2 * difference2;
    out[2] = sum + 4 * sum2;
    out[3] = difference + 8 * difference2 + m[5];
}

/* A y. */
INLINE void out_grad_line(const vector y[TILE], vector out[SIDE])
{
    vector even = y[0] + y[2], odd = y[1] + y[3];
    vector even2 = y[0] + 4 * y[2], odd2 = 2 * y[1] + 8 * y[3];
    out[0] = y[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even2 + odd2;
    out[4] = even2 - odd2;
    out[5] = y[3];
}

/* G w.  G = 1/4    0    0
 *          -1/6 -1/6 -1/6
 *          -1/6  1/6 -1/6
 *          1/24 1/12  1/6
 *          1/24 -1/12 1/6
 *             0    0    1 */
INLINE void taps_line(const vector w[TAPS], vector out[SIDE])
{
    const real sixth = (real)1 / 6, twelfth = (real)1 / 12, part = (real)1 / 24;
    vector ends = sixth * (w[0] + w[2]), middle = sixth * w[1];
    vector ends2 = part * w[0] + sixth * w[2], middle2 = twelfth * w[1];
    out[0] = (real)0.25 * w[0];
    out[1] = -ends - middle;
    out[2] = middle - ends;
    out[3] = ends2 + middle2;
    out[4] = ends2 - middle2;
    out[5] = w[2];
}

/* G^T u. */
INLINE void taps_grad_line(const vector u[SIDE], vector out[TAPS])
{
    const real sixth = (real)1 / 6, twelfth = (real)1 / 12, part = (real)1 / 24;
    vector sum = u[1] + u[2], sum2 = u[3] + u[4];
    out[0] = (real)0.25 * u[0] - sixth * sum + part * sum2;
    out[1] = sixth * (u[2] - u[1]) + twelfth * (u[3] - u[4]);
    out[2] = sixth * (sum2 - sum) + u[5];
}

void CONV_NAME(winograd_tile_in)(const struct winograd_pixels *p, const real *in, real *points,
                                 size_t point_stride)
{
    for (size_t c = 0; c < p->channels; c += LANES) {
        vector turned[SIDE][SIDE];
        UNROLLED
        for (size_t j = 0; j < SIDE; j++) {
            vector column[SIDE], line[SIDE];
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                column[i] = load(in + i * p->row_stride + j * p->col_stride + c);
            in_line(column, line);
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                turned[i][j] = line[i];
        }
        for (size_t i = 0; i < SIDE; i++) {
            vector line[SIDE];
            in_line(turned[i], line);
            UNROLLED
            for (size_t j = 0; j < SIDE; j++)
                store(points + (i * SIDE + j) * point_stride + c, line[j]);
        }
    }
}

void CONV_NAME(winograd_tile_out)(const struct winograd_pixels *p, const real *points,
                                  size_t point_stride, const real *bias, real *out)
{
    for (size_t c = 0; c < p->channels; c += LANES) {
        vector turned[TILE][SIDE], start = bias ? load(bias + c) : (vector){0};
        UNROLLED
        for (size_t j = 0; j < SIDE; j++) {
            vector column[SIDE], line[TILE];
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                column[i] = load(points + (i * SIDE + j) * point_stride + c);
            out_line(column, line);
            UNROLLED
            for (size_t i = 0; i < TILE; i++)
                turned[i][j] = line[i];
        }
        for (size_t i = 0; i < p->rows; i++) {
            vector line[TILE];
            out_line(turned[i], line);
            for (size_t j = 0; j < p->cols; j++) {
                vector sum = line[j] + start;
                store(out + i * p->row_stride + j * p->col_stride + c, p->relu ? relu(sum) : sum);
            }
        }
    }
}

void CONV_NAME(winograd_tile_out_grad)(const struct winograd_pixels *p, const real *out_grad,
                                       real *points, size_t point_stride)
{
    for (size_t c = 0; c < p->channels; c += LANES) {
        vector turned[SIDE][TILE];
        UNROLLED
        for (size_t j = 0; j < TILE; j++) {
            vector column[TILE], line[SIDE];
            UNROLLED
            for (size_t i = 0; i < TILE; i++)
                column[i] = load(out_grad + i * p->row_stride + j * p->col_stride + c);
            out_grad_line(column, line);
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                turned[i][j] = line[i];
        }
        for (size_t i = 0; i < SIDE; i++) {
            vector line[SIDE];
            out_grad_line(turned[i], line);
            UNROLLED
            for (size_t j = 0; j < SIDE; j++)
                store(points + (i * SIDE + j) * point_stride + c, line[j]);
        }
    }
}

void CONV_NAME(winograd_taps_in)(const real *weight, size_t tap_stride, size_t count, real *points,
                                 size_t point_stride)
{
    for (size_t c = 0; c < count; c += LANES) {
        vector turned[SIDE][TAPS];
        UNROLLED
        for (size_t j = 0; j < TAPS; j++) {
            vector column[TAPS], line[SIDE];
            UNROLLED
            for (size_t i = 0; i < TAPS; i++)
                column[i] = load(weight + (i * TAPS + j) * tap_stride + c);
            taps_line(column, line);
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                turned[i][j] = line[i];
        }
        for (size_t i = 0; i < SIDE; i++) {
            vector line[SIDE];
            taps_line(turned[i], line);
            UNROLLED
            for (size_t j = 0; j < SIDE; j++)
                store(points + (i * SIDE + j) * point_stride + c, line[j]);
        }
    }
}

void CONV_NAME(winograd_taps_grad)(const real *points, size_t point_stride, size_t count, bool keep,
                                   real *weight_grad, size_t tap_stride)
{
    for (size_t c = 0; c < count; c += LANES) {
        vector turned[TAPS][SIDE];
        UNROLLED
        for (size_t j = 0; j < SIDE; j++) {
            vector column[SIDE], line[TAPS];
            UNROLLED
            for (size_t i = 0; i < SIDE; i++)
                column[i] = load(points + (i * SIDE + j) * point_stride + c);
            taps_grad_line(column, line);
            UNROLLED
            for (size_t i = 0; i < TAPS; i++)
                turned[i][j] = line[i];
        }
        UNROLLED
        for (size_t i = 0; i < TAPS; i++) {
            vector line[TAPS];
            taps_grad_line(turned[i], line);
            UNROLLED
            for (size_t j = 0; j < TAPS; j++) {
                real *to = weight_grad + (i * TAPS + j) * tap_stride + c;
                store(to, keep ? load(to) + line[j] : line[j]);
            }
        }
    }
}
