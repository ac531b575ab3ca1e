#include "worker/inner.h"

#include <math.h>
#include "tests/unit/unit.h"

enum { COUNT = 4, TENSORS = 4, WEIGHTS = COUNT * TENSORS };

/* Plain gradient descent of rate 0.5; each tensor is changed in a way of its own. */
static struct layout *make_layout(void)
{
    const struct tensor_spec tensors[TENSORS] = {
        {.name = "plain", .dims = 1, .shape = {COUNT}},
        {.name = "slow", .dims = 1, .shape = {COUNT}, .rate_scale = 0.25f},
        {.name = "mean", .dims = 1, .shape = {COUNT}, .update = UPDATE_AVERAGE, .rate_scale = 0.5f},
        {.name = "frozen", .dims = 1, .shape = {COUNT}, .update = UPDATE_FROZEN},
    };
    struct layout *layout = NULL;
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, TENSORS, 4096, &layout, NULL), 0);
    return layout;
}

static void test_inner_changes_each_tensor_as_it_says(void)
{
    struct settings settings = {.optimizer.kind = OPTIMIZER_SGD, .optimizer.rate = 0.5};
    struct layout *layout = make_layout();
    struct inner *inner = NULL;
    float start[WEIGHTS], grad[WEIGHTS], difference[WEIGHTS];
    CU_ASSERT_EQUAL_FATAL(inner_create(&settings, layout, 10, &inner), 0);
    for (int i = 0; i < WEIGHTS; i++) {
        start[i] = 1.0f;
        grad[i] = i < 3 * COUNT ? 8.0f : NAN; /* nobody has written that of the frozen one */
    }
    inner_begin(inner, start);
    inner_step(inner, 0, grad, 4); /* the mean is 2 */
    inner_step(inner, 1, grad, 0); /* no samples */
    inner_step(inner, 2, grad, 4);
    const float expected[TENSORS] = {-1.0f, 0.5f, 1.75f, 1.0f};
    for (int i = 0; i < WEIGHTS; i++)
        CU_ASSERT_EQUAL(inner_weights(inner)[i], expected[i / COUNT]);
    inner_difference(inner, difference);
    for (int i = 0; i < WEIGHTS; i++)
        CU_ASSERT_EQUAL(difference[i], 1.0f - expected[i / COUNT]);
    inner_destroy(inner);
    layout_destroy(layout);
}

#define TESTS(X) X(test_inner_changes_each_tensor_as_it_says)

UNIT_MAIN("inner", TESTS)
