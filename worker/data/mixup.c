#include "worker/data/mixup.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "common/batching.h"
#include "common/elementary.h"
#include "common/permute.h"

/* In (0, 1). */
static double uniform(const struct draw_key *key, uint64_t index)
{
    return ((double)draw_u32(key, index) + 0.5) * 0x1p-32;
}

/* The logarithm of a number of Gamma(shape): Marsaglia & Tsang's d v for shape + 1, times
 * u^(1/shape) (their section 6).  The logarithm, since for small shapes the number itself is often
 * too small to be one.  Each try takes four numbers of the stream, from *next_index on. */
static double log_gamma_draw(double shape, const struct draw_key *key, uint64_t *next_index)
{
    double d = shape + 1 - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        uint64_t at = *next_index;
        *next_index += 4;
        double x = (double)draw_normal(key, at), v = 1 + c * x;
        if (v <= 0)
            continue;
        double log_v = 3 * elementary_log(v);
        v = v * v * v;
        if (elementary_log(uniform(key, at + 2)) < x * x / 2 + d - d * v + d * log_v)
            return elementary_log(d) + log_v + elementary_log(uniform(key, at + 3)) / shape;
    }
}

float mixup_weight(double alpha, const struct draw_key *key)
{
    uint64_t next_index = 0;
    double a = log_gamma_draw(alpha, key, &next_index);
    double b = log_gamma_draw(alpha, key, &next_index), apart = b - a;
    if (apart > 700 || apart < -700)
        return apart > 0 ? 0 : 1;
    return (float)(1 / (1 + elementary_exp(apart)));
}

/* out = m out + (1 - m) other. */
static void mix(float *restrict out, const float *restrict other, float m, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = m * out[i] + (1 - m) * other[i];
}

/* Mixes along the permutation's cycle through `first`, which needs a copy of that sample alone:
 * each other one is still as it was when it is mixed in. */
static void mix_cycle(const struct mixup *mixup, const struct mixup_lane *lane, uint32_t first)
{
    size_t size = mixup->input_count;
    uint32_t now = first;
    memcpy(lane->scratch, lane->inputs + first * size, size * sizeof(float));
    for (bool is_last = false; !is_last;) {
        uint32_t partner = lane->partners[now];
        is_last = partner == first;
        mix(lane->inputs + now * size, is_last ? lane->scratch : lane->inputs + partner * size,
            lane->weights[now], size);
        lane->partners[now] = now; /* done */
        now = partner;
    }
}

void mixup_apply(const struct mixup *mixup, const struct draw_key *draw,
                 const struct mixup_lane *lane)
{
    struct draw_key key = *draw;
    struct permute order;
    if (lane->count == 0)
        return;
    key.where = DRAW_MIX_ORDER;
    permute_init(&order, lane->count, (uint64_t)draw_u32(&key, 0) << 32 | draw_u32(&key, 1));
    for (uint32_t i = 0; i < lane->count; i++) {
        lane->partners[i] = (uint32_t)permute_at(&order, i);
        key.where = DRAW_MIX + i;
        lane->weights[i] = mixup_weight(mixup->alpha, &key);
        memcpy(lane->mix_labels + i * mixup->label_count,
               lane->labels + lane->partners[i] * mixup->label_count,
               mixup->label_count * sizeof(float));
    }
    for (uint32_t i = 0; i < lane->count; i++)
        if (lane->partners[i] != i)
            mix_cycle(mixup, lane, i);
}
