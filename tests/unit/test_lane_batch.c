#include "worker/lane_batch.h"

#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

enum { SEQUENCE = 16, TOKENS = 1000 };

static const char operators[] = "model = { operators = ( { op = \"dense\"; units = 1; } ); };\n";

/* A job of a text, whose character i is letter i modulo 26, and its training part. */
static struct dataset *open_text(const char *set, struct settings **settings_out)
{
    char text[TOKENS + 1] = "", job[512];
    for (size_t i = 0; i < TOKENS; i++)
        text[i] = (char)('a' + i % 26);
    snprintf(job, sizeof(job),
             "job = { batch = 8; lanes = 2; epochs = 4; };\n"
             "data = { train_inputs = \"%s\"; sequence = %d; };\n%s",
             temp_text("alphabet.txt", text), SEQUENCE, operators);
    struct dataset *train = NULL;
    struct err_msg why = {0};
    int err = settings_load(temp_text("job.cfg", job), &set, set == NULL ? 0 : 1, settings_out,
                            &why);
    if (err == 0)
        err = dataset_open(*settings_out, DATASET_TRAIN, &train, &why);
    if (err != 0)
        printf("\n  said: %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    return train;
}

static struct batching batching_of(const struct settings *settings, const struct dataset *train)
{
    return (struct batching){settings->job.seed, dataset_info(train)->count, settings->job.batch,
                             settings->job.lanes};
}

/* Whether each window of an epoch begins where a window of the first could. */
static bool is_side_by_side(const struct lane_source *source, const struct batching *batching,
                            uint64_t epoch)
{
    struct lane_batch batch;
    struct err_msg why = {0};
    bool is_equal = true;
    uint64_t steps = batching_epoch_steps(batching);
    CU_ASSERT_EQUAL_FATAL(lane_batch_make(source, &batch), 0);
    for (uint64_t step = epoch * steps; step < (epoch + 1) * steps; step++) {
        struct batch_key key = {BATCH_TRAIN, step, 0};
        CU_ASSERT_EQUAL(lane_source_read((void *)(uintptr_t)source, &key, &batch, &why), 0);
        for (size_t i = 0; i < batch.count; i++) {
            uint64_t sample_idx = batch.indices[i] % batching->sample_count;
            float expected = (float)(sample_idx * SEQUENCE % 26);
            is_equal = is_equal && !(batch.inputs[i * SEQUENCE] < expected) &&
                       !(batch.inputs[i * SEQUENCE] > expected);
        }
    }
    lane_batch_clear(&batch);
    return is_equal;
}

static void test_lane_batch_moves_the_windows_of_a_text_after_the_first_epoch(void)
{
    struct settings *settings = NULL;
    struct dataset *train = open_text(NULL, &settings);
    struct batching batching = batching_of(settings, train);
    struct lane_source_spec spec = {settings, &batching, train, NULL};
    struct lane_source *source = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(lane_source_create(&spec, &source, &why), 0);
    CU_ASSERT(is_side_by_side(source, &batching, 0));
    CU_ASSERT(!is_side_by_side(source, &batching, 1) || !is_side_by_side(source, &batching, 2));
    lane_source_destroy(source);
    dataset_close(train);
    settings_destroy(settings);
}

static void test_lane_batch_refuses_to_mix_tokens(void)
{
    struct settings *settings = NULL;
    struct dataset *train = open_text("augment.mixup=0.4", &settings);
    struct batching batching = batching_of(settings, train);
    struct lane_source_spec spec = {settings, &batching, train, NULL};
    struct lane_source *source = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(lane_source_create(&spec, &source, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(source);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(why.text, "augment.mixup: found 0.4, expected 0: samples of tokens"));
    dataset_close(train);
    settings_destroy(settings);
}

#define TESTS(X) \
    X(test_lane_batch_moves_the_windows_of_a_text_after_the_first_epoch) \
    X(test_lane_batch_refuses_to_mix_tokens)

UNIT_MAIN("lane_batch", TESTS)
