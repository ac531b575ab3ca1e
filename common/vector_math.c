#include "common/vector_math.h"

#include "common/simd.h"

void vector_add(float *restrict sum, const float *restrict addend, size_t count)
{
    simd_kernels_best()->add(sum, addend, count);
}

void vector_sum(float *restrict out, const float *restrict a, const float *restrict b,
                size_t count)
{
    simd_kernels_best()->sum(out, a, b, count);
}

bool vector_is_finite(const float *values, size_t count)
{
    return simd_kernels_best()->is_finite(values, count);
}
