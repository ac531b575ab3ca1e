#include "common/optimizer.h"

#include <assert.h>
#include <math.h>

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

/* What makes g of the summed gradient; weight_decay and l1 are 0 where they do not apply. */
struct gradient_terms {
    float scale, weight_decay, l1;
};

static inline float gradient(struct gradient_terms terms, float grad, float weight)
{
    float sign = (float)((weight > 0.0f) - (weight < 0.0f));
    return grad * terms.scale + terms.weight_decay * weight + terms.l1 * sign;
}

static void apply_sgd(const struct update *u, struct gradient_terms terms)
{
    const float *restrict w = u->weights, *restrict grad = u->grad;
    float *restrict out = u->weights_out;
    float rate = u->rate;
    for (size_t i = 0; i < u->count; i++)
        out[i] = w[i] - rate * gradient(terms, grad[i], w[i]);
}

/* Sutskever et al. 2013, section 2, with the rate outside of v as PyTorch has it. */
static void apply_momentum(const struct update *u, struct gradient_terms terms, float momentum)
{
    const float *restrict w = u->weights, *restrict grad = u->grad;
    float *restrict v = u->state[0], *restrict out = u->weights_out;
    float rate = u->rate;
    for (size_t i = 0; i < u->count; i++) {
        v[i] = momentum * v[i] + gradient(terms, grad[i], w[i]);
        out[i] = w[i] - rate * v[i];
    }
}

static void apply_nesterov(const struct update *u, struct gradient_terms terms, float momentum)
{
    const float *restrict w = u->weights, *restrict grad = u->grad;
    float *restrict v = u->state[0], *restrict out = u->weights_out;
    float rate = u->rate;
    for (size_t i = 0; i < u->count; i++) {
        float g = gradient(terms, grad[i], w[i]);
        v[i] = momentum * v[i] + g;
        out[i] = w[i] - rate * (g + momentum * v[i]);
    }
}

/* What one step of Adam has in common for all elements. */
struct adam_terms {
    float beta1, rest1; /* rest = 1 - beta, taken in double */
    float beta2, rest2;
    float rate;      /* rate / (1 - beta1^t) */
    float root_bias; /* sqrt(1 - beta2^t) */
    float epsilon;
    float keep; /* what decoupled decay leaves of a weight; 1 without */
};

/* Kingma & Ba 2015, algorithm 1, and Loshchilov & Hutter 2019, algorithm 2, line 12 (keep). */
static void apply_adam(const struct update *u, struct gradient_terms terms, struct adam_terms adam)
{
    const float *restrict w = u->weights, *restrict grad = u->grad;
    float *restrict m = u->state[0], *restrict s = u->state[1], *restrict out = u->weights_out;
    for (size_t i = 0; i < u->count; i++) {
        float g = gradient(terms, grad[i], w[i]);
        m[i] = adam.beta1 * m[i] + adam.rest1 * g;
        s[i] = adam.beta2 * s[i] + adam.rest2 * (g * g);
        float root = sqrtf(s[i]) / adam.root_bias + adam.epsilon;
        out[i] = adam.keep * w[i] - adam.rate * (m[i] / root);
    }
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

static struct adam_terms adam_terms(const struct settings *settings, const struct update *u)
{
    double beta1 = settings->optimizer.beta1, beta2 = settings->optimizer.beta2;
    bool is_decoupled = settings->optimizer.kind == OPTIMIZER_ADAMW && u->has_decay;
    double decay = is_decoupled ? settings->optimizer.weight_decay : 0.0;
    return (struct adam_terms){
        .beta1 = (float)beta1,
        .rest1 = (float)(1.0 - beta1),
        .beta2 = (float)beta2,
        .rest2 = (float)(1.0 - beta2),
        .rate = (float)((double)u->rate / (1.0 - power(beta1, u->step + 1))),
        .root_bias = (float)sqrt(1.0 - power(beta2, u->step + 1)),
        .epsilon = (float)settings->optimizer.epsilon,
        .keep = (float)(1.0 - (double)u->rate * decay),
    };
}

void optimizer_apply(const struct settings *settings, const struct update *update)
{
    enum optimizer_kind kind = settings->optimizer.kind;
    float momentum = (float)settings->optimizer.momentum;
    struct gradient_terms terms = {.scale = update->grad_scale};
    if (update->has_decay) {
        bool is_coupled = kind != OPTIMIZER_ADAMW;
        terms.weight_decay = is_coupled ? (float)settings->optimizer.weight_decay : 0.0f;
        terms.l1 = (float)settings->optimizer.l1;
    }
    switch (kind) {
    case OPTIMIZER_SGD:
        apply_sgd(update, terms);
        return;
    case OPTIMIZER_MOMENTUM:
        apply_momentum(update, terms, momentum);
        return;
    case OPTIMIZER_NESTEROV:
        apply_nesterov(update, terms, momentum);
        return;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW:
        apply_adam(update, terms, adam_terms(settings, update));
        return;
    }
}
