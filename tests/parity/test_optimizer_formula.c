/* Each optimizer against its paper's formula, in double and one element at a time, over many steps;
 * and the same bits wherever a vector is cut and however it is aligned. */
#include "common/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_optimizer_follows_its_formula_over_many_steps) \
    X(test_optimizer_follows_its_formula_without_decay) \
    X(test_optimizer_bits_do_not_depend_on_where_the_vector_is_cut)

enum { COUNT = 10007, STEPS = 300, SAMPLES = 48, CUTS = 40 };

static struct settings job(enum optimizer_kind kind, bool has_penalty)
{
    struct settings settings = {.optimizer = {.kind = kind,
                                              .rate = kind >= OPTIMIZER_ADAM ? 3e-3 : 0.05,
                                              .momentum = 0.9,
                                              .beta1 = 0.9,
                                              .beta2 = 0.999,
                                              .epsilon = 1e-3}};
    if (has_penalty) {
        settings.optimizer.weight_decay = 0.01;
        settings.optimizer.l1 = 1e-4;
    }
    return settings;
}

/* Reproducible noise in [-1, 1): splitmix64 of (a, b). */
static double noise(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u + b * 0xd1b54a32d192ed03u + 0x632be59bd9b4e019u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-52 - 1.0;
}

/* Summed gradient of an element at a step: the slope of a bowl around a point of its own, noisy. */
static float summed_gradient(uint64_t step, size_t i, double weight)
{
    double slope = weight - noise(7, i) + 0.3 * noise(step + 100, i);
    return (float)(slope * pow(10.0, 2.0 * noise(8, i) - 1.0) * SAMPLES);
}

struct exact {
    double weight, first, second;
};

/* What one step is told of an element. */
struct exact_input {
    double grad; /* mean over the samples */
    int sign;    /* of the f32 weight: next to 0, where sign jumps, the two would part for good */
    uint64_t t;  /* 1 for the first step */
    bool has_decay;
};

/* The formulas as the papers print them. */
static void exact_step(const struct settings *s, struct exact *x, struct exact_input in)
{
    double rate = (double)(float)s->optimizer.rate, mu = s->optimizer.momentum;
    double b1 = s->optimizer.beta1, b2 = s->optimizer.beta2;
    double decay = in.has_decay ? s->optimizer.weight_decay : 0.0;
    double l1 = in.has_decay ? s->optimizer.l1 : 0.0;
    double w = x->weight, g = in.grad + l1 * in.sign;
    if (s->optimizer.kind != OPTIMIZER_ADAMW)
        g += decay * w;
    switch (s->optimizer.kind) {
    case OPTIMIZER_SGD:
        x->weight = w - rate * g;
        return;
    case OPTIMIZER_MOMENTUM:
        x->first = mu * x->first + g;
        x->weight = w - rate * x->first;
        return;
    case OPTIMIZER_NESTEROV:
        x->first = mu * x->first + g;
        x->weight = w - rate * (g + mu * x->first);
        return;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW: {
        x->first = b1 * x->first + (1.0 - b1) * g;
        x->second = b2 * x->second + (1.0 - b2) * g * g;
        double first_hat = x->first / (1.0 - pow(b1, (double)in.t));
        double second_hat = x->second / (1.0 - pow(b2, (double)in.t));
        if (s->optimizer.kind == OPTIMIZER_ADAMW)
            w -= rate * decay * w;
        x->weight = w - rate * first_hat / (sqrt(second_hat) + s->optimizer.epsilon);
        return;
    }
    }
}

struct vectors {
    float weights[COUNT], out[COUNT], grad[COUNT], first[COUNT], second[COUNT];
};

static void apply(const struct settings *settings, struct vectors *v, struct range cut,
                  uint64_t step, bool has_decay)
{
    struct update update = {.weights = v->weights + cut.begin,
                            .grad = v->grad + cut.begin,
                            .grad_scale = 1.0f / SAMPLES,
                            .state = {v->first + cut.begin, v->second + cut.begin},
                            .weights_out = v->out + cut.begin,
                            .count = (size_t)(cut.end - cut.begin),
                            .has_decay = has_decay,
                            .step = step,
                            .rate = (float)settings->optimizer.rate};
    optimizer_apply(settings, &update);
}

/* The largest distance of f32 from exact over STEPS steps, both fed the same gradients. */
static double worst_distance(const struct settings *settings, bool has_decay)
{
    struct vectors *v = calloc(1, sizeof(*v));
    struct exact *exact = calloc(COUNT, sizeof(*exact));
    CU_ASSERT_FATAL(v != NULL && exact != NULL);
    for (size_t i = 0; i < COUNT; i++)
        exact[i].weight = (double)(v->weights[i] = (float)noise(1, i));
    double worst = 0.0;
    for (uint64_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < COUNT; i++) {
            v->grad[i] = summed_gradient(step, i, exact[i].weight);
            struct exact_input in = {.grad = (double)v->grad[i] / SAMPLES,
                                     .sign = (v->weights[i] > 0.0f) - (v->weights[i] < 0.0f),
                                     .t = step + 1,
                                     .has_decay = has_decay};
            exact_step(settings, &exact[i], in);
        }
        apply(settings, v, (struct range){0, COUNT}, step, has_decay);
        memcpy(v->weights, v->out, sizeof(v->weights));
        for (size_t i = 0; i < COUNT; i++) {
            double distance = fabs((double)v->weights[i] - exact[i].weight);
            worst = fmax(worst, distance / fmax(1.0, fabs(exact[i].weight)));
        }
    }
    free(exact);
    free(v);
    return worst;
}

static void test_optimizer_follows_its_formula_over_many_steps(void)
{
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings settings = job((enum optimizer_kind)kind, true);
        double worst = worst_distance(&settings, true);
        printf("\n    %-9s worst distance %.2e", optimizer_kind_text(settings.optimizer.kind),
               worst);
        CU_ASSERT(worst < 3e-5);
    }
}

static void test_optimizer_follows_its_formula_without_decay(void)
{
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings settings = job((enum optimizer_kind)kind, true);
        CU_ASSERT(worst_distance(&settings, false) < 3e-5);
        settings = job((enum optimizer_kind)kind, false);
        CU_ASSERT(worst_distance(&settings, true) < 3e-5);
    }
}

/* A few steps with the vector cut into CUTS pieces at places that differ from try to try. */
static void run_in_pieces(const struct settings *settings, struct vectors *v, uint64_t attempt)
{
    for (size_t i = 0; i < COUNT; i++)
        v->weights[i] = (float)noise(1, i);
    memset(v->first, 0, sizeof(v->first));
    memset(v->second, 0, sizeof(v->second));
    for (uint64_t step = 0; step < 5; step++) {
        for (size_t i = 0; i < COUNT; i++)
            v->grad[i] = (float)(noise(step + 20, i) * pow(10.0, 3.0 * noise(9, i)));
        uint64_t begin = 0;
        for (uint64_t piece = 0; attempt > 0 && piece < CUTS && begin < COUNT; piece++) {
            double draw = noise(attempt * 1000 + step, piece) + 1.0;
            uint64_t end = begin + 1 + (uint64_t)(draw * COUNT / CUTS);
            end = end > COUNT ? COUNT : end;
            apply(settings, v, (struct range){begin, end}, step, true);
            begin = end;
        }
        apply(settings, v, (struct range){begin, COUNT}, step, true);
        memcpy(v->weights, v->out, sizeof(v->weights));
    }
}

static void test_optimizer_bits_do_not_depend_on_where_the_vector_is_cut(void)
{
    struct vectors *whole = calloc(1, sizeof(*whole)), *cut = calloc(1, sizeof(*cut));
    CU_ASSERT_FATAL(whole != NULL && cut != NULL);
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings settings = job((enum optimizer_kind)kind, true);
        run_in_pieces(&settings, whole, 0);
        for (uint64_t attempt = 1; attempt <= 10; attempt++) {
            run_in_pieces(&settings, cut, attempt);
            CU_ASSERT(memcmp(whole, cut, sizeof(*whole)) == 0);
        }
    }
    free(whole);
    free(cut);
}

UNIT_MAIN("optimizer_formula", TESTS)
