#include "common/optimizer.h"

#include <math.h>
#include <string.h>
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_optimizer_names_its_states) \
    X(test_optimizer_sgd_takes_the_mean_of_the_summed_gradient) \
    X(test_optimizer_momentum_keeps_its_velocity_over_steps) \
    X(test_optimizer_nesterov_looks_ahead) \
    X(test_optimizer_adam_first_step_is_the_rate_whatever_the_gradient) \
    X(test_optimizer_decay_and_l1_spare_a_tensor_without_decay) \
    X(test_optimizer_adamw_decays_apart_from_the_gradient) \
    X(test_optimizer_leaves_weights_and_gradient_as_they_were) \
    X(test_optimizer_adds_two_gradients_as_if_they_had_been_added_before) \
    X(test_optimizer_gives_the_bits_that_were_recorded)

static struct settings job(enum optimizer_kind kind)
{
    return (struct settings){.optimizer = {.kind = kind,
                                           .rate = 0.1,
                                           .momentum = 0.5,
                                           .beta1 = 0.9,
                                           .beta2 = 0.999,
                                           .epsilon = 1e-8}};
}

struct one {
    float weight, grad, state[2], out;
};

/* One step of one weight. */
static void apply(const struct settings *settings, struct one *one, uint64_t step, bool has_decay)
{
    struct update update = {.weights = &one->weight,
                            .grad = &one->grad,
                            .grad_scale = 0.25f,
                            .state = {&one->state[0], &one->state[1]},
                            .weights_out = &one->out,
                            .count = 1,
                            .has_decay = has_decay,
                            .step = step,
                            .rate = 0.1f};
    optimizer_apply(settings, &update);
}

static bool is_near(float a, double b)
{
    return fabs((double)a - b) < 1e-6;
}

static void test_optimizer_names_its_states(void)
{
    CU_ASSERT(optimizer_state_count(OPTIMIZER_SGD) == 0);
    CU_ASSERT(optimizer_state_count(OPTIMIZER_MOMENTUM) == 1);
    CU_ASSERT(optimizer_state_count(OPTIMIZER_NESTEROV) == 1);
    CU_ASSERT(optimizer_state_count(OPTIMIZER_ADAM) == 2);
    CU_ASSERT(optimizer_state_count(OPTIMIZER_ADAMW) == 2);
    CU_ASSERT_STRING_EQUAL(optimizer_state_name(OPTIMIZER_NESTEROV, 0), "momentum");
    CU_ASSERT_STRING_EQUAL(optimizer_state_name(OPTIMIZER_ADAMW, 1), "exp_avg_sq");
    CU_ASSERT_STRING_EQUAL(optimizer_kind_text(OPTIMIZER_ADAMW), "adamw");
}

static void test_optimizer_sgd_takes_the_mean_of_the_summed_gradient(void)
{
    struct settings settings = job(OPTIMIZER_SGD);
    struct one one = {.weight = 1.0f, .grad = 8.0f};
    apply(&settings, &one, 0, true);
    CU_ASSERT(is_near(one.out, 0.8));
}

static void test_optimizer_momentum_keeps_its_velocity_over_steps(void)
{
    struct settings settings = job(OPTIMIZER_MOMENTUM);
    struct one one = {.weight = 1.0f, .grad = 4.0f};
    apply(&settings, &one, 0, true);
    CU_ASSERT(is_near(one.out, 0.9));
    one.weight = one.out;
    apply(&settings, &one, 1, true);
    CU_ASSERT(is_near(one.state[0], 1.5));
    CU_ASSERT(is_near(one.out, 0.75));
}

static void test_optimizer_nesterov_looks_ahead(void)
{
    struct settings settings = job(OPTIMIZER_NESTEROV);
    struct one one = {.weight = 1.0f, .grad = 4.0f};
    apply(&settings, &one, 0, true);
    CU_ASSERT(is_near(one.out, 0.85));
}

static void test_optimizer_adam_first_step_is_the_rate_whatever_the_gradient(void)
{
    struct settings settings = job(OPTIMIZER_ADAM);
    const float grads[] = {1e-4f, 1.0f, 5000.0f};
    for (size_t i = 0; i < ARRAY_LEN(grads); i++) {
        struct one one = {.weight = 1.0f, .grad = grads[i]};
        apply(&settings, &one, 0, true);
        CU_ASSERT(fabs((double)one.out - 0.9) < 1e-4);
    }
}

static void test_optimizer_decay_and_l1_spare_a_tensor_without_decay(void)
{
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings plain = job((enum optimizer_kind)kind), decaying = plain;
        decaying.optimizer.weight_decay = 0.5;
        decaying.optimizer.l1 = 0.25;
        struct one a = {.weight = -2.0f, .grad = 1.0f}, b = a, c = a;
        apply(&plain, &a, 0, true);
        apply(&decaying, &b, 0, false);
        apply(&decaying, &c, 0, true);
        CU_ASSERT(memcmp(&a, &b, sizeof(a)) == 0);
        CU_ASSERT(memcmp(&a, &c, sizeof(a)) != 0);
    }
    struct settings settings = job(OPTIMIZER_SGD);
    settings.optimizer.l1 = 0.25;
    struct one down = {.weight = -2.0f}, none = {.weight = 0.0f}, up = {.weight = 2.0f};
    apply(&settings, &down, 0, true);
    apply(&settings, &none, 0, true);
    apply(&settings, &up, 0, true);
    CU_ASSERT(is_near(down.out, -1.975) && none.out == 0.0f && is_near(up.out, 1.975));
}

static void test_optimizer_adamw_decays_apart_from_the_gradient(void)
{
    struct settings adam = job(OPTIMIZER_ADAM), adamw = job(OPTIMIZER_ADAMW);
    adam.optimizer.weight_decay = adamw.optimizer.weight_decay = 0.5;
    struct one a = {.weight = 2.0f}, b = a;
    apply(&adam, &a, 0, true);
    apply(&adamw, &b, 0, true);
    CU_ASSERT(is_near(a.out, 1.9) && a.state[0] != 0.0f);
    CU_ASSERT(is_near(b.out, 1.9) && b.state[0] == 0.0f);
    apply(&adamw, &b, 1, true);
    b.weight = 200.0f;
    apply(&adamw, &b, 2, true);
    CU_ASSERT(fabsf(b.out - 190.0f) < 1e-3f);
}

static void test_optimizer_leaves_weights_and_gradient_as_they_were(void)
{
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings settings = job((enum optimizer_kind)kind);
        struct one one = {.weight = 3.0f, .grad = 5.0f};
        apply(&settings, &one, 0, true);
        CU_ASSERT(one.weight == 3.0f && one.grad == 5.0f);
    }
}

enum { COUNT = 1003 };

struct range_of_weights {
    float weights[COUNT], out[COUNT], state[2][COUNT];
};

static void fill(float *values, float factor)
{
    for (size_t i = 0; i < COUNT; i++)
        values[i] = i % 17 == 0 ? -0.0f : sinf((float)i * factor) * powf(10.0f, (float)(i % 9) - 4);
}

/* The summed gradient by hand; the two summands; the two in place: the same bits of all. */
static void test_optimizer_adds_two_gradients_as_if_they_had_been_added_before(void)
{
    static float grad[COUNT], grad2[COUNT], sum[COUNT];
    static struct range_of_weights added, two, in_place;
    fill(grad, 0.7f);
    fill(grad2, 0.3f);
    for (size_t i = 0; i < COUNT; i++)
        sum[i] = grad[i] + grad2[i];
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct settings settings = job((enum optimizer_kind)kind);
        settings.optimizer.weight_decay = 0.01;
        settings.optimizer.l1 = 1e-3;
        fill(added.weights, 0.11f);
        for (size_t i = 0; i < COUNT; i++)
            added.state[0][i] = added.state[1][i] = fabsf(added.weights[i]);
        two = in_place = added;
        struct update update = {.weights = added.weights, .grad = sum, .grad_scale = 0.25f,
                                .state = {added.state[0], added.state[1]},
                                .weights_out = added.out, .count = COUNT, .has_decay = true,
                                .step = 3, .rate = 0.1f};
        optimizer_apply(&settings, &update);
        update.grad = grad;
        update.grad2 = grad2;
        update.weights = two.weights;
        update.weights_out = two.out;
        update.state[0] = two.state[0];
        update.state[1] = two.state[1];
        optimizer_apply(&settings, &update);
        update.weights = update.weights_out = in_place.weights;
        update.state[0] = in_place.state[0];
        update.state[1] = in_place.state[1];
        optimizer_apply(&settings, &update);
        CU_ASSERT(memcmp(&added, &two, sizeof(added)) == 0);
        CU_ASSERT(memcmp(added.out, in_place.weights, sizeof(added.out)) == 0);
        CU_ASSERT(memcmp(added.state, in_place.state, sizeof(added.state)) == 0);
    }
}

/* FNV-1a of what five steps make of 96 weights. */
static uint64_t bits_of(enum optimizer_kind kind)
{
    enum { RECORDED = 96 };
    struct settings settings = job(kind);
    float weights[RECORDED], grad[RECORDED], first[RECORDED] = {0}, second[RECORDED] = {0};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    settings.optimizer.weight_decay = 0.01;
    for (size_t i = 0; i < RECORDED; i++)
        weights[i] = ((float)i - 40.5f) / 64.0f;
    for (uint64_t step = 0; step < 5; step++) {
        for (size_t i = 0; i < RECORDED; i++)
            grad[i] = (float)((i * 37 + step * 11) % 97) / 16.0f - 3.0f;
        struct update update = {.weights = weights,
                                .grad = grad,
                                .grad_scale = 1.0f / 3.0f,
                                .state = {first, second},
                                .weights_out = weights,
                                .count = RECORDED,
                                .has_decay = true,
                                .step = step,
                                .rate = 0.1f};
        optimizer_apply(&settings, &update);
    }
    for (size_t i = 0; i < sizeof(weights); i++)
        hash = (hash ^ ((const unsigned char *)weights)[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Whoever changes these changes the digest of every job, and what a checkpoint goes on to: the
 * numbers are those of the loops as they were before there were several of them. */
static void test_optimizer_gives_the_bits_that_were_recorded(void)
{
    CU_ASSERT_EQUAL(bits_of(OPTIMIZER_SGD), UINT64_C(0x5fa72544c7844c92));
    CU_ASSERT_EQUAL(bits_of(OPTIMIZER_MOMENTUM), UINT64_C(0x88a85df2e64de62d));
    CU_ASSERT_EQUAL(bits_of(OPTIMIZER_NESTEROV), UINT64_C(0x5ffca93f6d2f7e4c));
    CU_ASSERT_EQUAL(bits_of(OPTIMIZER_ADAM), UINT64_C(0xf74f48d6b1ad9b09));
    CU_ASSERT_EQUAL(bits_of(OPTIMIZER_ADAMW), UINT64_C(0x2edc792c107b1d76));
}

UNIT_MAIN("optimizer", TESTS)
