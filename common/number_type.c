#include "common/number_type.h"

#include <string.h>
#include "common/err.h"

static const struct {
    char dtype[8];
    enum number_type type;
    size_t bytes;
} rows[] = {
    {"F32", NUMBER_F32, 4},      {"F16", NUMBER_F16, 2},       {"BF16", NUMBER_BF16, 2},
    {"F64", NUMBER_OTHER, 8},    {"I64", NUMBER_OTHER, 8},     {"U64", NUMBER_OTHER, 8},
    {"I32", NUMBER_OTHER, 4},    {"U32", NUMBER_OTHER, 4},     {"I16", NUMBER_OTHER, 2},
    {"U16", NUMBER_OTHER, 2},    {"I8", NUMBER_OTHER, 1},      {"U8", NUMBER_OTHER, 1},
    {"BOOL", NUMBER_OTHER, 1},   {"F8_E4M3", NUMBER_OTHER, 1}, {"F8_E5M2", NUMBER_OTHER, 1},
};

bool number_type_of(const char *dtype, enum number_type *type_out, size_t *bytes_out)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].dtype, dtype) != 0)
            continue;
        *type_out = rows[i].type;
        *bytes_out = rows[i].bytes;
        return true;
    }
    return false;
}

size_t number_bytes(enum number_type type)
{
    return type == NUMBER_F32 ? sizeof(float) : sizeof(uint16_t);
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Of the exponent's 31 is infinity or NaN, 0 a multiple of 2^-24. */
static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 0) {
        float small = (float)(int32_t)fraction * 0x1p-24f;
        return sign != 0 ? -small : small;
    }
    uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    return float_of(sign | wide << 23 | fraction << 13);
}

void number_to_floats(enum number_type type, const void *bytes, float *out, size_t count)
{
    if (type == NUMBER_F32) {
        memcpy(out, bytes, count * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, (const char *)bytes + i * sizeof(half), sizeof(half));
        out[i] = type == NUMBER_F16 ? from_f16(half) : float_of((uint32_t)half << 16);
    }
}
