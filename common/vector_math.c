#include "common/vector_math.h"

#include <stdint.h>
#include <string.h>

void vector_add(float *restrict sum, const float *restrict addend, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += addend[i];
}

bool vector_is_finite(const float *values, size_t count)
{
    /* All exponent bits set means NaN or infinity (IEEE 754-2008, 3.4). */
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        found |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return found == 0;
}
