/* Convolutions against their formula, written as plain loops in double; how far Winograd's form may
 * be from it; and the inner loops of every level against plain C, bit for bit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/err.h"
#include "tests/unit/unit.h"
#include "worker/nn/conv.h"
#include "worker/nn/conv_kernels.h"
#include "worker/nn/kernels.h"
#include "worker/nn/winograd.h"

/* Numbers in +-1 of which none is like another. */
static real *noise(size_t count, uint32_t seed)
{
    real *out = aligned_alloc(64, (count * sizeof(real) + 127) / 64 * 64);
    if (!out)
        abort();
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (real)((int)(seed >> 8) - (1 << 23)) / (1 << 23);
    }
    return out;
}

struct problem {
    struct conv conv;
    size_t count, image_count, map_count, weight_count; /* of all images */
    real *images, *maps, *weight, *bias, *scratch;
    real *image_grad, *map_grad, *weight_grad;
    double *want_maps, *want_image_grad, *want_weight_grad;
};

static double *zeros(size_t count)
{
    double *out = calloc(count, sizeof(double));
    if (!out)
        abort();
    return out;
}

static struct problem open_problem(struct conv conv, size_t count)
{
    struct problem p = {.conv = conv, .count = count};
    p.image_count = count * conv.size[0] * conv.size[1] * conv.channels;
    p.map_count = count * conv.out[0] * conv.out[1] * conv.filters;
    p.weight_count = (size_t)conv.kernel[0] * conv.kernel[1] * (conv.channels / conv.groups) *
                     conv.filters;
    p.images = noise(p.image_count, 1);
    p.maps = noise(p.map_count, 2);
    p.weight = noise(p.weight_count, 3);
    p.bias = noise(conv.filters, 4);
    p.image_grad = noise(p.image_count, 5);
    p.map_grad = noise(p.map_count, 6);
    p.weight_grad = noise(p.weight_count, 7);
    size_t scratch_count = conv_scratch_count(&conv);
    if (winograd_fits(&conv) && winograd_scratch_count(&conv) > scratch_count)
        scratch_count = winograd_scratch_count(&conv);
    p.scratch = noise(scratch_count, 8);
    p.want_maps = zeros(p.map_count);
    p.want_image_grad = zeros(p.image_count);
    p.want_weight_grad = zeros(p.weight_count);
    return p;
}

static void close_problem(struct problem *p)
{
    real *const reals[] = {p->images, p->maps,     p->weight,   p->bias,
                           p->scratch, p->image_grad, p->map_grad, p->weight_grad};
    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        free(reals[i]);
    free(p->want_maps);
    free(p->want_image_grad);
    free(p->want_weight_grad);
}

/* What one pixel of an image and one of a map, joined by a tap, give to one another. */
static void join(struct problem *p, size_t pixel, size_t place, size_t tap)
{
    const struct conv *c = &p->conv;
    size_t channels = c->channels / c->groups, filters = c->filters / c->groups;
    for (size_t i = 0; i < c->channels; i++)
        for (size_t j = 0; j < filters; j++) {
            size_t f = i / channels * filters + j, image = pixel * c->channels + i;
            size_t map = place * c->filters + f;
            size_t w = (tap * channels + i % channels) * c->filters + f;
            p->want_maps[map] += (double)p->images[image] * (double)p->weight[w];
            p->want_image_grad[image] += (double)p->map_grad[map] * (double)p->weight[w];
            p->want_weight_grad[w] += (double)p->images[image] * (double)p->map_grad[map];
        }
}

static void join_place(struct problem *p, size_t image, size_t row, size_t col)
{
    const struct conv *c = &p->conv;
    for (size_t i = 0; i < c->kernel[0]; i++)
        for (size_t j = 0; j < c->kernel[1]; j++) {
            int64_t r = (int64_t)(row * c->stride[0] + i * c->dilation[0]) - c->before[0];
            int64_t s = (int64_t)(col * c->stride[1] + j * c->dilation[1]) - c->before[1];
            if (r >= 0 && s >= 0 && r < c->size[0] && s < c->size[1])
                join(p, (image * c->size[0] + (size_t)r) * c->size[1] + (size_t)s,
                     (image * c->out[0] + row) * c->out[1] + col, i * c->kernel[1] + j);
        }
}

static void apply_formula(struct problem *p)
{
    const struct conv *c = &p->conv;
    for (size_t i = 0; i < p->map_count; i++)
        p->want_maps[i] = (double)p->bias[i % c->filters];
    for (size_t image = 0; image < p->count; image++)
        for (size_t row = 0; row < c->out[0]; row++)
            for (size_t col = 0; col < c->out[1]; col++)
                join_place(p, image, row, col);
}

/* The largest distance, in units of the largest number. */
static double distance(const real *got, const double *want, size_t count)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)got[i] - want[i]));
        largest = fmax(largest, fabs(want[i]));
    }
    return worst / largest;
}

/* The worst of forward and both gradients. */
static double error_of(struct problem *p, bool is_winograd)
{
    struct conv_pass pass = {.conv = &p->conv,
                             .weight = conv_weight_of(&p->conv, p->weight),
                             .count = p->count,
                             .from = p->images,
                             .bias = p->bias,
                             .to = p->maps,
                             .scratch = p->scratch};
    (is_winograd ? winograd_forward : conv_forward)(&pass);
    pass.from = p->map_grad;
    pass.bias = NULL;
    pass.to = p->image_grad;
    (is_winograd ? winograd_backward_data : conv_backward_data)(&pass);
    (is_winograd ? winograd_backward_weights : conv_backward_weights)(
        &p->conv, p->count, p->images, p->map_grad, p->weight_grad, p->scratch);
    double forward = distance(p->maps, p->want_maps, p->map_count);
    double data = distance(p->image_grad, p->want_image_grad, p->image_count);
    double weights = distance(p->weight_grad, p->want_weight_grad, p->weight_count);
    return fmax(forward, fmax(data, weights));
}

static struct conv square_conv(uint32_t size, uint32_t channels, uint32_t filters)
{
    return (struct conv){.size = {size, size},
                         .channels = channels,
                         .out = {size, size},
                         .filters = filters,
                         .kernel = {3, 3},
                         .stride = {1, 1},
                         .dilation = {1, 1},
                         .before = {1, 1},
                         .groups = 1};
}

static double check(struct conv conv, size_t count, bool is_winograd)
{
    struct problem p = open_problem(conv, count);
    apply_formula(&p);
    double error = error_of(&p, is_winograd);
    close_problem(&p);
    return error;
}

/* Both axes apart: kernels 1..4, strides 1..3, dilations 1..3, padding, as many outputs as fit. */
static bool pick_axis(struct conv *c, int axis, uint32_t *number)
{
    c->kernel[axis] = 1 + *number % 4;
    c->stride[axis] = 1 + *number / 4 % 3;
    c->dilation[axis] = 1 + *number / 12 % 3;
    c->before[axis] = *number / 36 % 3;
    *number /= 108;
    uint32_t reach = (c->kernel[axis] - 1) * c->dilation[axis] + 1;
    uint32_t padded = c->size[axis] + 2 * c->before[axis];
    if (reach > padded || c->before[axis] >= reach)
        return false;
    c->out[axis] = (padded - reach) / c->stride[axis] + 1;
    return true;
}

static double sweep_geometries(uint32_t channels, uint32_t filters, uint32_t groups)
{
    double worst = 0;
    int checked = 0;
    for (uint32_t number = 0; number < 108 * 108; number += 7) {
        struct conv conv = square_conv(7, channels, filters);
        uint32_t left = number;
        conv.size[1] = 6;
        conv.groups = groups;
        if (!pick_axis(&conv, 0, &left) || !pick_axis(&conv, 1, &left))
            continue;
        worst = fmax(worst, check(conv, 2, false));
        checked++;
    }
    CU_ASSERT(checked > 700);
    return worst;
}

static void test_conv_is_its_formula_whatever_its_geometry(void)
{
    CU_ASSERT(sweep_geometries(1, 5, 1) < 2e-6);
    CU_ASSERT(sweep_geometries(3, 17, 1) < 2e-6);
    CU_ASSERT(sweep_geometries(6, 9, 3) < 2e-6);
    CU_ASSERT(sweep_geometries(19, 19, 19) < 2e-6);
}

/* More columns than a panel, more rows than are taken at a time, images joined and not. */
static void test_conv_is_its_formula_when_large(void)
{
    CU_ASSERT(check(square_conv(27, 5, 70), 3, false) < 1e-5);
    CU_ASSERT(check(square_conv(5, 40, 33), 23, false) < 1e-5);
    struct conv conv = square_conv(16, 16, 32);
    conv.stride[0] = conv.stride[1] = 2;
    conv.out[0] = conv.out[1] = 8;
    CU_ASSERT(check(conv, 9, false) < 1e-5);
}

/* The layers of ResNet-18 for 32 x 32 (winograd.h states this bound), and what they leave out:
 * borders that cut tiles, blocks of channels that are not full, other paddings. */
static void test_conv_winograd_stays_near_its_formula(void)
{
    static const uint32_t layers[][3] = {{32, 64, 64}, {16, 128, 128}, {8, 256, 256},
                                         {4, 512, 512}, {14, 32, 64},   {7, 80, 48}};
    double worst = 0;
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct conv conv = square_conv(layers[i][0], layers[i][1], layers[i][2]);
        CU_ASSERT_FATAL(winograd_fits(&conv));
        worst = fmax(worst, check(conv, 2, true));
    }
    for (uint32_t before = 0; before < 3; before++) {
        struct conv conv = square_conv(9, 16, 16);
        conv.before[1] = before;
        conv.out[1] = 7 + 2 * before;
        worst = fmax(worst, check(conv, 3, true));
    }
    CU_ASSERT(worst < 2e-5);
    if (!(worst < 2e-5))
        printf("\n  worst %g\n", worst);
}

static void test_conv_winograd_is_only_for_what_it_can(void)
{
    struct conv conv = square_conv(8, 64, 64);
    CU_ASSERT(winograd_fits(&conv));
    conv.stride[1] = 2;
    CU_ASSERT(!winograd_fits(&conv));
    conv = square_conv(8, 64, 60);
    CU_ASSERT(!winograd_fits(&conv));
    conv = square_conv(8, 64, 64);
    conv.groups = 2;
    CU_ASSERT(!winograd_fits(&conv));
    conv = square_conv(8, 64, 64);
    conv.dilation[0] = 2;
    CU_ASSERT(!winograd_fits(&conv));
    conv = square_conv(2, 64, 64);
    CU_ASSERT(!winograd_fits(&conv));
}

static void check_relu(struct conv conv, bool is_winograd)
{
    struct problem p = open_problem(conv, 2);
    struct conv_pass pass = {.conv = &p.conv,
                             .weight = conv_weight_of(&p.conv, p.weight),
                             .count = p.count,
                             .from = p.images,
                             .bias = p.bias,
                             .to = p.maps,
                             .scratch = p.scratch};
    (is_winograd ? winograd_forward : conv_forward)(&pass);
    kernel_relu(p.maps, p.maps, p.map_count);
    pass.to = p.map_grad;
    pass.relu = true;
    (is_winograd ? winograd_forward : conv_forward)(&pass);
    CU_ASSERT_EQUAL(memcmp(p.maps, p.map_grad, p.map_count * sizeof(real)), 0);
    close_problem(&p);
}

static void test_conv_with_relu_gives_the_bits_of_a_relu_behind_it(void)
{
    struct conv conv = square_conv(9, 16, 48);
    check_relu(conv, true);
    check_relu(conv, false);
    check_relu(square_conv(9, 3, 21), false);
    conv = square_conv(9, 21, 21);
    conv.groups = 21;
    check_relu(conv, false);
}

enum { ROWS = 23, INNER = 37, COLS_MAX = 75, STRIDE = 96 };

/* The product as its definition has it, each number one chain of fused multiply-adds. */
static void multiply_plainly(const struct conv_product *p)
{
    for (size_t i = 0; i < p->rows; i++)
        for (size_t j = 0; j < p->cols; j++) {
            real *c = p->c + p->c_at[i] + j, sum = p->keep ? *c : p->bias ? p->bias[j] : 0;
            for (size_t k = 0; k < p->inner; k++)
                sum = fmaf(p->a[p->row_at[i] + p->inner_at[k]], p->b[k * p->b_stride + j], sum);
            *c = sum;
        }
}

static int count_different(const struct conv_kernels *kernels, struct conv_product product)
{
    real *want = noise(ROWS * STRIDE, 9), *got = noise(ROWS * STRIDE, 9);
    product.c = want;
    multiply_plainly(&product);
    product.c = got;
    kernels->multiply(&product);
    int different = memcmp(want, got, ROWS * STRIDE * sizeof(real)) != 0;
    free(want);
    free(got);
    return different;
}

static void test_conv_multiply_gives_the_bits_of_plain_c_at_every_level(void)
{
    uint32_t row_at[ROWS], inner_at[INNER], c_at[ROWS];
    real *a = noise(4096, 10), *b = noise(INNER * STRIDE, 11), *bias = noise(STRIDE, 12);
    int different = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        row_at[i] = i * 31 % 1024;
        c_at[i] = i * STRIDE;
    }
    for (uint32_t k = 0; k < INNER; k++)
        inner_at[k] = k * 67 % 2048;
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++)
        for (size_t cols = 1; cols <= COLS_MAX && conv_kernels_of((enum simd_level)level); cols++)
            for (int start = 0; start < 3; start++)
                different += count_different(
                    conv_kernels_of((enum simd_level)level),
                    (struct conv_product){.rows = 1 + cols % ROWS,
                                          .inner = cols % INNER,
                                          .cols = cols,
                                          .a = a,
                                          .row_at = row_at,
                                          .inner_at = inner_at,
                                          .b = b,
                                          .b_stride = STRIDE,
                                          .c_at = c_at,
                                          .bias = start == 1 ? bias : NULL,
                                          .keep = start == 2});
    CU_ASSERT_EQUAL(different, 0);
    free(a);
    free(b);
    free(bias);
}

static void test_conv_multiply_channels_gives_the_bits_of_plain_c_at_every_level(void)
{
    uint32_t a_at[INNER], b_at[INNER];
    real *a = noise(4096, 13), *b = noise(4096, 14);
    int different = 0;
    for (uint32_t k = 0; k < INNER; k++) {
        a_at[k] = k * 67 % 2048;
        b_at[k] = k * 41 % 2048;
    }
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++)
        for (size_t channels = 1; channels < 150; channels++) {
            const struct conv_kernels *kernels = conv_kernels_of((enum simd_level)level);
            real *sums = noise(channels, 15), *want = noise(channels, 15);
            for (size_t c = 0; c < channels; c++)
                for (size_t k = 0; k < INNER; k++)
                    want[c] = fmaf(a[a_at[k] + c], b[b_at[k] + c], want[c]);
            if (kernels)
                kernels->multiply_channels(a, a_at, b, b_at, INNER, channels, sums);
            different += kernels && memcmp(sums, want, channels * sizeof(real)) != 0;
            free(sums);
            free(want);
        }
    CU_ASSERT_EQUAL(different, 0);
    free(a);
    free(b);
}

enum { LANES_TRIED = 48, POINT_STRIDE = 64 };

/* All five transforms, one behind the other. */
static void transform(const struct conv_kernels *kernels, const real *in, const real *bias,
                      real *points[3], real *out, real *taps)
{
    struct winograd_pixels pixels = {.row_stride = 6 * LANES_TRIED,
                                     .col_stride = LANES_TRIED,
                                     .channels = LANES_TRIED,
                                     .rows = 3,
                                     .cols = 4};
    kernels->tile_in(&pixels, in, points[0], POINT_STRIDE);
    kernels->tile_out_grad(&pixels, in, points[1], POINT_STRIDE);
    kernels->taps_in(in, 2 * LANES_TRIED, LANES_TRIED, points[2], POINT_STRIDE);
    kernels->tile_out(&pixels, points[0], POINT_STRIDE, bias, out);
    kernels->taps_grad(points[1], POINT_STRIDE, LANES_TRIED, false, taps, LANES_TRIED);
    kernels->taps_grad(points[2], POINT_STRIDE, LANES_TRIED, true, taps, LANES_TRIED);
}

static void test_conv_winograd_gives_the_same_bits_at_every_level(void)
{
    enum { POINTS = WINOGRAD_POINTS * POINT_STRIDE, PIXELS = 36 * LANES_TRIED };
    real *in = noise(PIXELS, 16), *bias = noise(LANES_TRIED, 17);
    real *all[SIMD_LEVEL_COUNT];
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct conv_kernels *kernels = conv_kernels_of((enum simd_level)level);
        real *to = all[level] = noise(3 * POINTS + 2 * PIXELS, 18);
        real *points[] = {to, to + POINTS, to + 2 * POINTS};
        if (kernels)
            transform(kernels, in, bias, points, to + 3 * POINTS, to + 3 * POINTS + PIXELS);
        CU_ASSERT(!kernels ||
                  memcmp(to, all[0], (3 * POINTS + 2 * PIXELS) * sizeof(real)) == 0);
    }
    for (int level = 0; level < SIMD_LEVEL_COUNT; level++)
        free(all[level]);
    free(in);
    free(bias);
}

#define TESTS(X) \
    X(test_conv_is_its_formula_whatever_its_geometry) \
    X(test_conv_is_its_formula_when_large) \
    X(test_conv_winograd_stays_near_its_formula) \
    X(test_conv_winograd_is_only_for_what_it_can) \
    X(test_conv_with_relu_gives_the_bits_of_a_relu_behind_it) \
    X(test_conv_multiply_gives_the_bits_of_plain_c_at_every_level) \
    X(test_conv_multiply_channels_gives_the_bits_of_plain_c_at_every_level) \
    X(test_conv_winograd_gives_the_same_bits_at_every_level)

UNIT_MAIN("conv", TESTS)
