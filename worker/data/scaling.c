#include "worker/data/scaling.h"

#include <stdlib.h>

struct scaling {
    enum rows_type type;
    bool is_uniform; /* one offset and factor for all: element 0 of the arrays */
    double *offsets, *factors;
    float *offsets_f32, *factors_f32; /* the same, rounded */
};

void scaling_destroy(struct scaling *scaling)
{
    if (!scaling)
        return;
    free(scaling->offsets);
    free(scaling->factors);
    free(scaling->offsets_f32);
    free(scaling->factors_f32);
    free(scaling);
}

int scaling_create(const struct norm *norm, enum rows_type type, size_t elements,
                   struct scaling **scaling_out)
{
    struct scaling *scaling = calloc(1, sizeof(*scaling));
    if (!scaling)
        return ERR_NOMEM;
    size_t count = norm->count == 1 ? 1 : elements;
    scaling->type = type;
    scaling->is_uniform = count == 1;
    scaling->offsets = calloc(count, sizeof(double));
    scaling->factors = calloc(count, sizeof(double));
    scaling->offsets_f32 = calloc(count, sizeof(float));
    scaling->factors_f32 = calloc(count, sizeof(float));
    if (!scaling->offsets || !scaling->factors || !scaling->offsets_f32 || !scaling->factors_f32) {
        scaling_destroy(scaling);
        return ERR_NOMEM;
    }
    for (size_t e = 0; e < count; e++) {
        size_t channel = e / norm->stride % norm->count;
        scaling->offsets[e] = norm->means[channel] / norm->scale;
        scaling->factors[e] = norm->scale / norm->stds[channel];
        scaling->offsets_f32[e] = (float)scaling->offsets[e];
        scaling->factors_f32[e] = (float)scaling->factors[e];
    }
    *scaling_out = scaling;
    return 0;
}

/* One pair of loops a type, so that each is a plain vector loop: wide is what it computes in. */
#define SCALE_LOOPS(name, type, wide) \
    static void name##_uniform(const type *restrict from, size_t count, wide offset, wide factor, \
                               float *restrict out) \
    { \
        for (size_t i = 0; i < count; i++) \
            out[i] = (float)(((wide)from[i] - offset) * factor); \
    } \
    static void name##_each(const type *restrict from, size_t count, const wide *restrict offsets, \
                            const wide *restrict factors, float *restrict out) \
    { \
        for (size_t i = 0; i < count; i++) \
            out[i] = (float)(((wide)from[i] - offsets[i]) * factors[i]); \
    }

SCALE_LOOPS(u8, uint8_t, float)
SCALE_LOOPS(u16, uint16_t, float)
SCALE_LOOPS(i32, int32_t, double)
SCALE_LOOPS(i64, int64_t, double)
SCALE_LOOPS(f32, float, float)
SCALE_LOOPS(f64, double, double)

static void apply_uniform(const struct scaling *scaling, const void *from, size_t count, float *out)
{
    double offset = scaling->offsets[0], factor = scaling->factors[0];
    float offset_f32 = scaling->offsets_f32[0], factor_f32 = scaling->factors_f32[0];
    if (scaling->type == ROWS_U8)
        u8_uniform(from, count, offset_f32, factor_f32, out);
    else if (scaling->type == ROWS_U16)
        u16_uniform(from, count, offset_f32, factor_f32, out);
    else if (scaling->type == ROWS_F32)
        f32_uniform(from, count, offset_f32, factor_f32, out);
    else if (scaling->type == ROWS_I32)
        i32_uniform(from, count, offset, factor, out);
    else if (scaling->type == ROWS_I64)
        i64_uniform(from, count, offset, factor, out);
    else
        f64_uniform(from, count, offset, factor, out);
}

static void apply_each(const struct scaling *scaling, const void *from, size_t first, size_t count,
                       float *out)
{
    const double *offsets = scaling->offsets + first, *factors = scaling->factors + first;
    const float *offsets_f32 = scaling->offsets_f32 + first;
    const float *factors_f32 = scaling->factors_f32 + first;
    if (scaling->type == ROWS_U8)
        u8_each(from, count, offsets_f32, factors_f32, out);
    else if (scaling->type == ROWS_U16)
        u16_each(from, count, offsets_f32, factors_f32, out);
    else if (scaling->type == ROWS_F32)
        f32_each(from, count, offsets_f32, factors_f32, out);
    else if (scaling->type == ROWS_I32)
        i32_each(from, count, offsets, factors, out);
    else if (scaling->type == ROWS_I64)
        i64_each(from, count, offsets, factors, out);
    else
        f64_each(from, count, offsets, factors, out);
}

void scaling_apply(const struct scaling *scaling, const void *from, size_t first, size_t count,
                   float *out)
{
    if (scaling->is_uniform)
        apply_uniform(scaling, from, count, out);
    else
        apply_each(scaling, from, first, count, out);
}
