#include "common/optimizer.h"

#include <assert.h>
#include <math.h>
#include "common/simd.h"

struct optimizer_row {
    const char *text;
    size_t state_count;
    const char *state_names[OPTIMIZER_STATES_MAX];
};

static const struct optimizer_row rows[] = {
    [OPTIMIZER_SGD] = {"sgd", 0, {NULL, NULL}},
    [OPTIMIZER_MOMENTUM] = {"momentum", 1, {"momentum", NULL}},
    [OPTIMIZER_NESTEROV] = {"nesterov", 1, {"momentum", NULL}},
    [OPTIMIZER_ADAM] = {"adam", 2, {"exp_avg", "exp_avg_sq"}},
    [OPTIMIZER_ADAMW] = {"adamw", 2, {"exp_avg", "exp_avg_sq"}},
};

size_t optimizer_state_count(enum optimizer_kind kind)
{
    assert((size_t)kind < ARRAY_LEN(rows));
    return rows[kind].state_count;
}

const char *optimizer_state_name(enum optimizer_kind kind, size_t idx)
{
    assert(idx < optimizer_state_count(kind));
    return rows[kind].state_names[idx];
}

const char *optimizer_kind_text(enum optimizer_kind kind)
{
    assert((size_t)kind < ARRAY_LEN(rows));
    return rows[kind].text;
}

/* By squaring: products only, so that every libm gives the same bits. */
static double power(double base, uint64_t exponent)
{
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1)
            result *= base;
    return result;
}

static void set_adam(const struct settings *settings, const struct update *u,
                     struct simd_step *step)
{
    double beta1 = settings->optimizer.beta1, beta2 = settings->optimizer.beta2;
    bool is_decoupled = settings->optimizer.kind == OPTIMIZER_ADAMW && u->has_decay;
    double decay = is_decoupled ? settings->optimizer.weight_decay : 0.0;
    step->beta1 = (float)beta1;
    step->rest1 = (float)(1.0 - beta1);
    step->beta2 = (float)beta2;
    step->rest2 = (float)(1.0 - beta2);
    step->rate = (float)((double)u->rate / (1.0 - power(beta1, u->step + 1)));
    step->root_bias = (float)sqrt(1.0 - power(beta2, u->step + 1));
    step->epsilon = (float)settings->optimizer.epsilon;
    step->keep = (float)(1.0 - (double)u->rate * decay);
}

void optimizer_average(const struct update *update, float keep, float scale)
{
    const float *w = update->weights, *a = update->grad, *b = update->grad2;
    float *out = update->weights_out;
    for (size_t i = 0; i < update->count; i++)
        out[i] = keep * w[i] + scale * (b == NULL ? a[i] : a[i] + b[i]);
}

void optimizer_apply(const struct settings *settings, const struct update *update)
{
    const struct simd_kernels *kernels = simd_kernels_best();
    enum optimizer_kind kind = settings->optimizer.kind;
    struct simd_step step = {.w = update->weights,
                             .grad = update->grad,
                             .grad2 = update->grad2,
                             .first = update->state[0],
                             .second = update->state[1],
                             .out = update->weights_out,
                             .count = update->count,
                             .scale = update->grad_scale,
                             .rate = update->rate,
                             .momentum = (float)settings->optimizer.momentum};
    if (update->has_decay) {
        bool is_coupled = kind != OPTIMIZER_ADAMW;
        step.weight_decay = is_coupled ? (float)settings->optimizer.weight_decay : 0.0f;
        step.l1 = (float)settings->optimizer.l1;
    }
    switch (kind) {
    case OPTIMIZER_SGD:
        kernels->sgd(&step);
        return;
    case OPTIMIZER_MOMENTUM:
        kernels->momentum(&step);
        return;
    case OPTIMIZER_NESTEROV:
        kernels->nesterov(&step);
        return;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW:
        set_adam(settings, update, &step);
        kernels->adam(&step);
        return;
    }
}
