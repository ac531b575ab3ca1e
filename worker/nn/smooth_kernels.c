#include "worker/nn/smooth_kernels.h"

#include "common/simd.h"
#include "worker/nn/real_math.h"

/* KERNEL_TABLE: the table that a compilation for a level above the base makes; with
 * TALWEG_KERNEL_V4 the base's finds it (worker/CMakeLists.txt). */
#ifdef KERNEL_TABLE
extern const struct smooth_kernels KERNEL_TABLE;
#else
#define KERNEL_TABLE smooth_kernels_base
#define HAS_CHOICE
#endif

struct point {
    real value, slope;
};

typedef struct point (*point_function)(real x);

/* f is known where this is inlined, so that the loops are vectorised. */
static inline __attribute__((always_inline)) void map(point_function f, real *out, real *slope,
                                                      const real *in, size_t count)
{
    if (slope == NULL) {
        INDEPENDENT
        for (size_t i = 0; i < count; i++)
            out[i] = f(in[i]).value;
        return;
    }
    INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        struct point point = f(in[i]);
        out[i] = point.value;
        slope[i] = point.slope;
    }
}

#ifdef TALWEG_REAL_DOUBLE

/* peak: exp(-size^2 / 2). */
static real normal_above(real size, real peak)
{
    (void)peak;
    return erfc(size * 0.70710678118654752440) / 2;
}

static real log1p_of(real y)
{
    return log1p(y);
}

#else

/* The normal distribution's share above size >= 0: peak = exp(-size^2 / 2) times a polynomial in
 * t = 1 / (1 + 0.325 size), the form of Abramowitz and Stegun 7.1.26, fitted on 0..6 by Lawson's
 * iteration with the error weighted by peak^0.6.  Within 2e-7, and within 3e-6 of itself up to 4.
 */
static inline real normal_above(real size, real peak)
{
    float t = 1 / fmaf(0.325f, size, 1);
    float p = 4.598213360e-02f;
    p = fmaf(p, t, -2.319983989e-01f);
    p = fmaf(p, t, 3.711783290e-01f);
    p = fmaf(p, t, -1.282168180e-01f);
    p = fmaf(p, t, 1.996909082e-01f);
    p = fmaf(p, t, 1.121697500e-01f);
    p = fmaf(p, t, 1.311940849e-01f);
    return p * t * peak;
}

/* log(1 + y) for y in 0..1, as 2 atanh(z), z = y / (2 + y) <= 1/3, by its series. */
static inline real log1p_of(real y)
{
    float z = y / (2 + y), square = z * z;
    float p = 1.0f / 15;
    p = fmaf(p, square, 1.0f / 13);
    p = fmaf(p, square, 1.0f / 11);
    p = fmaf(p, square, 1.0f / 9);
    p = fmaf(p, square, 1.0f / 7);
    p = fmaf(p, square, 1.0f / 5);
    p = fmaf(p, square, 1.0f / 3);
    float twice = z + z;
    return fmaf(twice, square * p, twice);
}

#endif

static inline real size_of(real x)
{
    return choose(x < 0, -x, x);
}

static inline struct point gelu_at(real x)
{
    real peak = exp_of(x * x * (real)-0.5);
    real above = normal_above(size_of(x), peak);
    real share = choose(x < 0, above, 1 - above);
    return (struct point){x * share, share + x * (peak * (real)0.39894228040143267794)};
}

/* 1 / (1 + exp(-x)), and what it lacks to 1, without the rounding of 1. */
struct sigmoid {
    real share, rest;
};

static inline struct sigmoid sigmoid_of(real x)
{
    real tail = exp_of(-x), share = 1 / (1 + tail);
    return (struct sigmoid){share, tail * share};
}

/* (1 + tanh(u)) / 2 = sigmoid(2 u). */
static inline struct point gelu_tanh_at(real x)
{
    const real line = (real)(2 * 0.79788456080286535588), cube = (real)0.044715;
    real square = x * x;
    struct sigmoid s = sigmoid_of(line * x * (1 + cube * square));
    real slope = line * (1 + 3 * cube * square);
    return (struct point){x * s.share, s.share + x * slope * (s.share * s.rest)};
}

static inline struct point silu_at(real x)
{
    struct sigmoid s = sigmoid_of(x);
    return (struct point){x * s.share, s.share * (1 + x * s.rest)};
}

static inline struct point softplus_at(real x)
{
    real tail = exp_of(-size_of(x));
    return (struct point){choose(x < 0, 0, x) + log1p_of(tail),
                          choose(x < 0, tail, 1) / (1 + tail)};
}

static void gelu(real *out, real *slope, const real *in, size_t count)
{
    map(gelu_at, out, slope, in, count);
}

static void gelu_tanh(real *out, real *slope, const real *in, size_t count)
{
    map(gelu_tanh_at, out, slope, in, count);
}

static void silu(real *out, real *slope, const real *in, size_t count)
{
    map(silu_at, out, slope, in, count);
}

static void softplus(real *out, real *slope, const real *in, size_t count)
{
    map(softplus_at, out, slope, in, count);
}

const struct smooth_kernels KERNEL_TABLE = {gelu, gelu_tanh, silu, softplus};

#ifdef HAS_CHOICE
#ifdef TALWEG_KERNEL_V4
extern const struct smooth_kernels smooth_kernels_v4;
#endif

const struct smooth_kernels *smooth_kernels_best(void)
{
#ifdef TALWEG_KERNEL_V4
    if (simd_kernels_of(SIMD_V4) != NULL)
        return &smooth_kernels_v4;
#endif
    return &smooth_kernels_base;
}

void kernel_gelu(real *out, real *slope, const real *in, size_t count)
{
    smooth_kernels_best()->gelu(out, slope, in, count);
}

void kernel_gelu_tanh(real *out, real *slope, const real *in, size_t count)
{
    smooth_kernels_best()->gelu_tanh(out, slope, in, count);
}

void kernel_silu(real *out, real *slope, const real *in, size_t count)
{
    smooth_kernels_best()->silu(out, slope, in, count);
}

void kernel_softplus(real *out, real *slope, const real *in, size_t count)
{
    smooth_kernels_best()->softplus(out, slope, in, count);
}
#endif
