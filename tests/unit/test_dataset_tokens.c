#include "worker/data/dataset.h"

#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"
#include "worker/data/npy.h"
#include "worker/data/parts.h"

static char nothing[] = "", comma[] = ",";

/* A job of tokens, so many a sample. */
static struct settings job(const char *train_inputs, uint32_t sequence)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s", train_inputs);
    struct settings settings = {0};
    settings.job.seed = 7;
    settings.data.train_inputs = path;
    settings.data.train_labels = settings.data.test_inputs = settings.data.test_labels = nothing;
    settings.data.label_column = settings.data.spool_dir = nothing;
    settings.data.delimiter = comma;
    settings.data.scale = settings.data.label_scale = 1;
    settings.data.memory_bytes = 1 << 20;
    settings.data.sequence = sequence;
    return settings;
}

static void give_test(struct settings *settings, const char *inputs)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s", inputs);
    settings->data.test_inputs = path;
}

static void give_labels(struct settings *settings, const char *labels)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s", labels);
    settings->data.train_labels = path;
}

static struct dataset *open_fine(const struct settings *settings, enum dataset_part part)
{
    struct dataset *dataset = NULL;
    struct err_msg why = {0};
    int rc = dataset_open(settings, part, &dataset, &why);
    if (rc < 0)
        printf("\n  said: %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return dataset;
}

static void refuse(const struct settings *settings, enum dataset_part part, const char *sentence)
{
    struct dataset *dataset = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_open(settings, part, &dataset, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(dataset);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
    dataset_close(dataset);
}

/* Sample `index` as characters, its inputs and then its labels. */
static const char *read_text(const struct dataset *dataset, uint64_t index)
{
    static char text[256];
    float values[128];
    const struct dataset_info *info = dataset_info(dataset);
    struct err_msg why = {0};
    size_t count = info->input_count;
    CU_ASSERT_EQUAL_FATAL(info->label_count, count);
    CU_ASSERT_EQUAL_FATAL(dataset_read(dataset, &index, 1, values, values + count, &why), 0);
    for (size_t i = 0; i < 2 * count; i++)
        text[i] = *dataset_class_name(dataset, (uint32_t)values[i]);
    text[2 * count] = 0;
    return text;
}

static const char *write_alphabet(void)
{
    return temp_text("alphabet.txt", "the quick brown fox jumps over the lazy dog");
}

static void test_dataset_cuts_a_text_into_windows_whose_labels_follow(void)
{
    struct settings settings = job(write_alphabet(), 8);
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        settings.data.memory_bytes = in_memory ? 1 << 20 : 0;
        struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
        const struct dataset_info *info = dataset_info(dataset);
        CU_ASSERT_EQUAL(info->count, 5);
        CU_ASSERT(info->dims == 1 && info->shape[0] == 8 && info->input_count == 8);
        CU_ASSERT(info->label_count == 8 && info->class_count == 27 && info->token_count == 27);
        CU_ASSERT_STRING_EQUAL(read_text(dataset, 0), "the quiche quick");
        CU_ASSERT_STRING_EQUAL(read_text(dataset, 4), "he lazy e lazy d");
        CU_ASSERT_EQUAL(dataset_find_class(dataset, "a"), 1);
        CU_ASSERT_EQUAL(dataset_find_class(dataset, "A"), -1);
        dataset_close(dataset);
    }
}

static void test_dataset_moves_the_windows_of_a_text_in_later_epochs(void)
{
    struct settings settings = job(write_alphabet(), 8);
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN), *again;
    static const char whole[] = "the quick brown fox jumps over the lazy dog";
    bool is_moved = false;
    again = open_fine(&settings, DATASET_TRAIN);
    for (uint64_t epoch = 1; epoch < 10; epoch++) {
        char first[256];
        snprintf(first, sizeof(first), "%s", read_text(dataset, epoch * 5));
        is_moved |= strncmp(first, whole, 8) != 0;
        CU_ASSERT_STRING_EQUAL(read_text(again, epoch * 5), first);
        first[8] = 0;
        CU_ASSERT_PTR_NOT_NULL(strstr(whole, first));
        CU_ASSERT_EQUAL(strlen(read_text(dataset, epoch * 5 + 4)), 16);
    }
    CU_ASSERT(is_moved);
    dataset_close(dataset);
    dataset_close(again);
}

static void test_dataset_holds_out_the_end_of_a_text(void)
{
    struct settings settings = job(write_alphabet(), 4);
    settings.data.test_fraction = 0.2;
    struct dataset *train = open_fine(&settings, DATASET_TRAIN), *test = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(dataset_open_test(&settings, train, &test, &why), 0);
    CU_ASSERT_EQUAL(dataset_info(train)->count, 8); /* 34 characters */
    CU_ASSERT_EQUAL(dataset_info(test)->count, 2);  /* 9 */
    CU_ASSERT_EQUAL(dataset_info(test)->class_count, 27);
    CU_ASSERT_STRING_EQUAL(read_text(test, 0), " lazlazy");
    CU_ASSERT_STRING_EQUAL(read_text(test, 1), "y do dog");
    dataset_close(train);
    CU_ASSERT_STRING_EQUAL(read_text(test, 0), " lazlazy");
    dataset_close(test);
}

static void test_dataset_reads_a_test_text_by_the_training_text(void)
{
    struct settings settings = job(write_alphabet(), 4);
    give_test(&settings, temp_text("held.txt", "dog eat dog"));
    struct dataset *test = open_fine(&settings, DATASET_TEST), *inputs = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_info(test)->count, 2);
    CU_ASSERT_EQUAL(dataset_info(test)->class_count, 27);
    CU_ASSERT_STRING_EQUAL(read_text(test, 1), "eat at d");
    dataset_close(test);
    CU_ASSERT_EQUAL_FATAL(
        dataset_open_inputs(&settings, settings.data.test_inputs, &inputs, &why), 0);
    CU_ASSERT_STRING_EQUAL(read_text(inputs, 1), "eat     "); /* labels 0: the first character */
    dataset_close(inputs);
    give_test(&settings, temp_text("odd.txt", "dog\nDog\n"));
    refuse(&settings, DATASET_TEST, "odd.txt:1: character 4 of the line: found U+000A, which");
}

static void test_dataset_reads_parts_of_a_text_as_the_text(void)
{
    struct samples samples;
    struct err_msg why = {0};
    struct samples_spec spec = {.inputs = write_alphabet(), .labels = ""};
    struct rows_place place = {"", 0};
    const char *folder = temp_path("cut-text");
    CU_ASSERT_EQUAL_FATAL(samples_open(&spec, &place, &samples, &why), 0);
    CU_ASSERT_EQUAL_FATAL(parts_write(&samples, folder, 3, &why), 0);
    samples_close(&samples);
    struct settings settings = job(folder, 8);
    give_test(&settings, temp_text("held.txt", "dog eat dog"));
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        settings.data.memory_bytes = in_memory ? 1 << 20 : 0;
        struct dataset *dataset = open_fine(&settings, DATASET_TRAIN), *test = NULL;
        CU_ASSERT_EQUAL(dataset_info(dataset)->count, 5);
        CU_ASSERT_EQUAL(dataset_info(dataset)->class_count, 27);
        CU_ASSERT_STRING_EQUAL(read_text(dataset, 1), "k brown  brown f");
        CU_ASSERT_EQUAL_FATAL(dataset_open_test(&settings, dataset, &test, &why), 0);
        CU_ASSERT_STRING_EQUAL(read_text(test, 0), "dog eat og eat d");
        dataset_close(test);
        dataset_close(dataset);
    }
}

/* An NPY file of that type; dims 0: a stream. */
static const char *write_array(const char *name, enum rows_type type, uint64_t count,
                               uint32_t width, const void *numbers)
{
    char bytes[2048];
    struct rows_form form = {
        .type = type, .count = count, .dims = width > 0, .shape = {width}};
    size_t at = npy_write_header(&form, bytes);
    size_t size_bytes = count * (width ? width : 1) * rows_type_bytes(type);
    memcpy(bytes + at, numbers, size_bytes);
    return temp_write(name, bytes, at + size_bytes);
}

static void test_dataset_takes_a_stream_of_token_numbers(void)
{
    static const uint16_t tokens[] = {5, 700, 2, 0, 1, 3, 4};
    struct settings settings = job(write_array("stream.npy", ROWS_U16, 7, 0, tokens), 3);
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    float inputs[6], labels[6];
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_info(dataset)->count, 2);
    CU_ASSERT_EQUAL(dataset_info(dataset)->class_count, 701);
    CU_ASSERT_EQUAL(dataset_read(dataset, (uint64_t[]){0, 1}, 2, inputs, labels, &why), 0);
    for (int i = 0; i < 6; i++)
        CU_ASSERT(inputs[i] == (float)tokens[i] && labels[i] == (float)tokens[i + 1]);
    CU_ASSERT_PTR_NULL(dataset_class_name(dataset, 0));
    dataset_close(dataset);
    static const int32_t more[] = {0, 1, 701, 2};
    give_test(&settings, write_array("more.npy", ROWS_I32, 4, 0, more));
    refuse(&settings, DATASET_TEST,
           "more.npy: token 2 (from 0) is 701, but the training part has the tokens 0 to 700");
    static const float odd[] = {0, 1.5f, 1, 2};
    settings = job(write_array("odd.npy", ROWS_F32, 4, 0, odd), 3);
    refuse(&settings, DATASET_TRAIN, "odd.npy: token 1 (from 0) is 1.5, expected a whole number");
}

static void test_dataset_takes_samples_of_tokens_with_a_class_at_each_position(void)
{
    static const uint8_t tokens[] = {1, 2, 9, 4, 5, 6};
    static const int32_t tags[] = {0, 3, -1, 1, -100, 2};
    struct settings settings = job(write_array("tokens.npy", ROWS_U8, 2, 3, tokens), 3);
    give_labels(&settings, write_array("tags.npy", ROWS_I32, 2, 3, tags));
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    const struct dataset_info *info = dataset_info(dataset);
    CU_ASSERT(info->dims == 1 && info->shape[0] == 3 && info->label_count == 3);
    CU_ASSERT(info->class_count == 4 && info->token_count == 10 && info->count == 2);
    float inputs[3], labels[3];
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_read(dataset, (uint64_t[]){1}, 1, inputs, labels, &why), 0);
    CU_ASSERT(inputs[0] == 4 && labels[0] == 1 && labels[1] == -100 && labels[2] == 2);
    dataset_close(dataset);
    settings.data.sequence = 0; /* labels at each position do not need tokens */
    dataset = open_fine(&settings, DATASET_TRAIN);
    CU_ASSERT(dataset_info(dataset)->token_count == 0 && dataset_info(dataset)->class_count == 4);
    dataset_close(dataset);
    settings.data.sequence = 4;
    refuse(&settings, DATASET_TRAIN,
           "tokens.npy: found samples of 3 numbers in 1 dimension, expected");
}

static void test_dataset_refuses_settings_that_tokens_do_not_take(void)
{
    struct settings settings = job(write_alphabet(), 8);
    settings.data.scale = 0.5;
    refuse(&settings, DATASET_TRAIN, "data.scale: found 0.5, expected 1: tokens");
    settings = job(write_alphabet(), 8);
    settings.data.normalise = NORMALISE_STANDARD;
    refuse(&settings, DATASET_TRAIN, "data.normalise: tokens");
    settings = job(write_alphabet(), 8);
    settings.model.loss = LOSS_MEAN_SQUARED_ERROR;
    refuse(&settings, DATASET_TRAIN, "model.loss: a stream of tokens");
    settings = job(write_alphabet(), 43);
    refuse(&settings, DATASET_TRAIN, "alphabet.txt: holds 43 tokens, expected at least 44");
    settings = job(write_alphabet(), 0);
    refuse(&settings, DATASET_TRAIN, "data.sequence: is not set");
    settings = job(write_alphabet(), 8);
    give_labels(&settings, write_alphabet());
    refuse(&settings, DATASET_TRAIN, "leave the labels file");
}

#define TESTS(X) \
    X(test_dataset_cuts_a_text_into_windows_whose_labels_follow) \
    X(test_dataset_moves_the_windows_of_a_text_in_later_epochs) \
    X(test_dataset_holds_out_the_end_of_a_text) \
    X(test_dataset_reads_a_test_text_by_the_training_text) \
    X(test_dataset_reads_parts_of_a_text_as_the_text) \
    X(test_dataset_takes_a_stream_of_token_numbers) \
    X(test_dataset_takes_samples_of_tokens_with_a_class_at_each_position) \
    X(test_dataset_refuses_settings_that_tokens_do_not_take)

UNIT_MAIN("dataset_tokens", TESTS)
