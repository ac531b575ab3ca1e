#include "worker/inner.h"

#include <stdlib.h>
#include <string.h>
#include "common/optimizer.h"
#include "common/schedule.h"

struct inner {
    const struct settings *settings;
    const struct layout *layout;
    uint64_t job_steps;
    const float *start; /* weights of the round */
    uint64_t taken;     /* steps since */
    float *weights;     /* after them; means nothing before the first */
    size_t state_count;
    float *state[OPTIMIZER_STATES_MAX];
};

int inner_create(const struct settings *settings, const struct layout *layout, uint64_t job_steps,
                 struct inner **inner_out)
{
    struct inner *inner = calloc(1, sizeof(*inner));
    if (inner == NULL)
        return ERR_NOMEM;
    size_t count = (size_t)layout->weight_count;
    inner->settings = settings;
    inner->layout = layout;
    inner->job_steps = job_steps;
    inner->state_count = optimizer_state_count(settings->optimizer.kind);
    inner->weights = calloc(count, sizeof(float));
    bool has_all = inner->weights != NULL;
    for (size_t i = 0; i < inner->state_count; i++) {
        inner->state[i] = calloc(count, sizeof(float));
        has_all &= inner->state[i] != NULL;
    }
    if (!has_all) {
        inner_destroy(inner);
        return ERR_NOMEM;
    }
    *inner_out = inner;
    return 0;
}

void inner_destroy(struct inner *inner)
{
    if (inner == NULL)
        return;
    for (size_t i = 0; i < OPTIMIZER_STATES_MAX; i++)
        free(inner->state[i]);
    free(inner->weights);
    free(inner);
}

void inner_begin(struct inner *inner, const float *weights)
{
    inner->start = weights;
    inner->taken = 0;
    for (size_t i = 0; i < inner->state_count; i++)
        memset(inner->state[i], 0, (size_t)inner->layout->weight_count * sizeof(float));
}

const float *inner_weights(const struct inner *inner)
{
    return inner->taken == 0 ? inner->start : inner->weights;
}

static void step_tensor(const struct inner *inner, const struct tensor_spec *tensor,
                        const struct update *change)
{
    float share = tensor_rate_scale(tensor);
    switch (tensor->update) {
    case UPDATE_OPTIMIZER:
        optimizer_apply(inner->settings, change);
        return;
    case UPDATE_AVERAGE:
        optimizer_average(change, 1.0f - share, share * change->grad_scale);
        return;
    case UPDATE_FROZEN:
        if (inner->taken == 0)
            memcpy(change->weights_out, change->weights, change->count * sizeof(float));
        return;
    }
}

void inner_step(struct inner *inner, uint64_t step, const float *grad, uint64_t sample_count)
{
    const struct layout *layout = inner->layout;
    if (sample_count == 0)
        return;
    struct update change = {
        .grad_scale = 1.0f / (float)sample_count,
        .step = inner->taken,
        .rate = (float)schedule_rate(inner->settings, step, inner->job_steps),
    };
    float rate = change.rate;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        uint64_t begin = layout->tensor_begin[i];
        change.weights = inner_weights(inner) + begin;
        change.weights_out = inner->weights + begin;
        change.grad = grad + begin;
        change.count = (size_t)(layout->tensor_begin[i + 1] - begin);
        change.has_decay = layout->tensors[i].has_decay;
        change.rate = rate * tensor_rate_scale(&layout->tensors[i]);
        for (size_t k = 0; k < inner->state_count; k++)
            change.state[k] = inner->state[k] + begin;
        step_tensor(inner, &layout->tensors[i], &change);
    }
    inner->taken++;
}

void inner_difference(const struct inner *inner, float *out)
{
    const float *from = inner->start, *to = inner_weights(inner);
    size_t count = (size_t)inner->layout->weight_count;
    for (size_t i = 0; i < count; i++)
        out[i] = from[i] - to[i];
}
