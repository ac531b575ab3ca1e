#include "deploy/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/philox.h"

struct sampler {
    struct sampler_spec spec;
    size_t count;
    double *weights; /* [count] */
    float *sorted;   /* [count] */
};

int sampler_create(const struct sampler_spec *spec, size_t count, struct sampler **sampler_out)
{
    struct sampler *sampler = calloc(1, sizeof(*sampler));
    if (!sampler)
        return ERR_NOMEM;
    sampler->spec = *spec;
    sampler->count = count;
    sampler->weights = calloc(count, sizeof(*sampler->weights));
    sampler->sorted = calloc(count, sizeof(*sampler->sorted));
    if (!sampler->weights || !sampler->sorted) {
        sampler_destroy(sampler);
        return ERR_NOMEM;
    }
    *sampler_out = sampler;
    return 0;
}

void sampler_destroy(struct sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->weights);
    free(sampler->sorted);
    free(sampler);
}

static int compare_down(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left < right) - (left > right);
}

/* The least probability that may be drawn. */
static float least(struct sampler *sampler, const float *probabilities)
{
    if (sampler->spec.top_k == 0 || sampler->spec.top_k >= sampler->count)
        return 0;
    memcpy(sampler->sorted, probabilities, sampler->count * sizeof(*probabilities));
    qsort(sampler->sorted, sampler->count, sizeof(*sampler->sorted), compare_down);
    return sampler->sorted[sampler->spec.top_k - 1];
}

static size_t likeliest(const struct sampler *sampler, const float *probabilities)
{
    size_t best = 0;
    for (size_t i = 1; i < sampler->count; i++)
        if (probabilities[i] > probabilities[best])
            best = i;
    return best;
}

/* Uniform in (0, 1), of 53 bits. */
static double draw(const struct sampler *sampler, uint64_t position)
{
    struct draw_key key = {.seed = sampler->spec.seed, .step = position, .where = DRAW_GENERATE};
    uint64_t bits = (uint64_t)draw_u32(&key, 0) << 32 | draw_u32(&key, 1);
    return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

size_t sampler_pick(struct sampler *sampler, const float *probabilities, uint64_t position)
{
    size_t best = likeliest(sampler, probabilities), last = best;
    if (!(sampler->spec.temperature > 0))
        return best;
    float floor = least(sampler, probabilities);
    double sum = 0;
    for (size_t i = 0; i < sampler->count; i++) {
        /* Relative to the likeliest, so that no power of it underflows to a sum of 0. */
        double share = (double)probabilities[i] / (double)probabilities[best];
        bool is_in = probabilities[i] > 0 && probabilities[i] >= floor;
        sampler->weights[i] = is_in ? pow(share, 1 / sampler->spec.temperature) : 0;
        sum += sampler->weights[i];
    }
    double target = draw(sampler, position) * sum;
    for (size_t i = 0; i < sampler->count; i++) {
        if (!(sampler->weights[i] > 0))
            continue;
        last = i;
        target -= sampler->weights[i];
        if (target < 0)
            break;
    }
    return last;
}
