/* Sums of products channel by channel (conv_kernels.h), for convolutions whose every channel has a
 * kernel of its own: a product of matrices would be one column wide. */
#include "worker/nn/conv_kernels.h"

#include "worker/nn/conv_vector.h"

void CONV_NAME(conv_multiply_channels)(const real *a, const uint32_t *a_at, const real *b,
                                       const uint32_t *b_at, size_t count, size_t channels,
                                       real *sums);

/* `vectors` vectors of channels beginning at c, whose sums stay in registers. */
INLINE void multiply_vectors(const real *a, const uint32_t *a_at, const real *b,
                             const uint32_t *b_at, size_t count, size_t c, int vectors, real *sums)
{
    vector held[4];
    UNROLLED
    for (int j = 0; j < vectors; j++)
        held[j] = load(sums + c + j * LANES);
    for (size_t k = 0; k < count; k++)
        UNROLLED
    for (int j = 0; j < vectors; j++)
        held[j] = multiply_add(load(a + a_at[k] + c + j * LANES), load(b + b_at[k] + c + j * LANES),
                               held[j]);
    UNROLLED
    for (int j = 0; j < vectors; j++)
        store(sums + c + j * LANES, held[j]);
}

static real multiply_one(const real *a, const uint32_t *a_at, const real *b, const uint32_t *b_at,
                         size_t count, real sum)
{
    for (size_t k = 0; k < count; k++)
#ifdef TALWEG_REAL_DOUBLE
        sum = __builtin_fma(a[a_at[k]], b[b_at[k]], sum);
#else
        sum = __builtin_fmaf(a[a_at[k]], b[b_at[k]], sum);
#endif
    return sum;
}

void CONV_NAME(conv_multiply_channels)(const real *a, const uint32_t *a_at, const real *b,
                                       const uint32_t *b_at, size_t count, size_t channels,
                                       real *sums)
{
    size_t c = 0;
    for (; c + 4 * LANES <= channels; c += 4 * LANES)
        multiply_vectors(a, a_at, b, b_at, count, c, 4, sums);
    for (; c + LANES <= channels; c += LANES)
        multiply_vectors(a, a_at, b, b_at, count, c, 1, sums);
    for (; c < channels; c++)
        sums[c] = multiply_one(a + c, a_at, b + c, b_at, count, sums[c]);
}
