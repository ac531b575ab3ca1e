#include "worker/step_memory.h"

#include "tests/unit/unit.h"
#include "worker/ahead.h"

enum { ROWS = 30, COLS = 10, WEIGHTS = ROWS * COLS, INPUTS = 64 };

/* Of the digits' job: 8 lanes of 4 samples, a model of one tensor, activations of 1000 bytes. */
static struct step_memory memory_of(const char *const *sets, size_t set_count)
{
    struct settings *settings = NULL;
    struct layout *layout = NULL;
    const struct tensor_spec tensor = {.name = "w", .dims = 2, .shape = {ROWS, COLS}};
    const struct dataset_info info = {.count = 1000, .input_count = INPUTS, .label_count = 1};
    CU_ASSERT_EQUAL_FATAL(
        settings_load(JOBS_DIR "/digits-mlp.cfg", sets, set_count, &settings, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(layout_create(&tensor, 1, 4096, &layout, NULL), 0);
    CU_ASSERT(settings->job.batch == 32 && settings->job.lanes == 8);
    struct step_memory memory = step_memory_of(settings, layout, &info, 1000);
    layout_destroy(layout);
    settings_destroy(settings);
    return memory;
}

static void test_step_memory_is_the_sum_of_its_parts(void)
{
    const char *const sets[] = {"worker.threads=3"};
    struct step_memory memory = memory_of(sets, ARRAY_LEN(sets));
    CU_ASSERT_EQUAL(memory.activations, 1000);
    CU_ASSERT_EQUAL(memory.weights, 2 * 4 * WEIGHTS);
    CU_ASSERT_EQUAL(memory.gradients, 3 * 4 * WEIGHTS);
    CU_ASSERT_EQUAL(memory.beside, 0);
    CU_ASSERT_EQUAL(memory.samples, (3 + AHEAD_SPARE_BATCHES) * 4 * 4 * (INPUTS + 1));
    CU_ASSERT_EQUAL(step_memory_total(&memory), 1000 + 5 * 4 * WEIGHTS + memory.samples);
}

/* With local each thread has weights of its own, and as many states as the optimizer. */
static void test_step_memory_counts_what_is_kept_beside(void)
{
    const char *const local[] = {"exchange.consistency=local", "optimizer.kind=adam",
                                 "worker.threads=2"};
    const char *const topk[] = {"exchange.codec=topk", "optimizer.kind=momentum"};
    const char *const plain[] = {"exchange.codec=topk", "optimizer.kind=sgd"};
    CU_ASSERT_EQUAL(memory_of(local, ARRAY_LEN(local)).beside, 2 * 3 * 4 * WEIGHTS);
    CU_ASSERT_EQUAL(memory_of(topk, ARRAY_LEN(topk)).beside, 2 * 4 * WEIGHTS);
    CU_ASSERT_EQUAL(memory_of(plain, ARRAY_LEN(plain)).beside, 4 * WEIGHTS);
}

#define TESTS(X)                                   \
    X(test_step_memory_is_the_sum_of_its_parts)    \
    X(test_step_memory_counts_what_is_kept_beside)

UNIT_MAIN("step_memory", TESTS)
