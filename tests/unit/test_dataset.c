#include "worker/data/dataset.h"

#include <math.h>
#include <pthread.h>
#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"
#include "worker/data/parts.h"
#include "worker/data/samples.h"

static char nothing[] = "", comma[] = ",";

/* A job that says no more than where its samples are. */
static struct settings job(const char *train_inputs, const char *train_labels)
{
    static char paths[2][PATH_MAX];
    snprintf(paths[0], PATH_MAX, "%s", train_inputs);
    snprintf(paths[1], PATH_MAX, "%s", train_labels);
    struct settings settings = {0};
    settings.job.seed = 7;
    settings.data.train_inputs = paths[0];
    settings.data.train_labels = paths[1];
    settings.data.test_inputs = settings.data.test_labels = nothing;
    settings.data.label_column = settings.data.spool_dir = nothing;
    settings.data.header = true;
    settings.data.delimiter = comma;
    settings.data.scale = settings.data.label_scale = 1;
    settings.data.memory_bytes = 1 << 20;
    return settings;
}

static void give_test(struct settings *settings, const char *inputs, const char *labels)
{
    static char paths[2][PATH_MAX];
    snprintf(paths[0], PATH_MAX, "%s", inputs);
    snprintf(paths[1], PATH_MAX, "%s", labels);
    settings->data.test_inputs = paths[0];
    settings->data.test_labels = paths[1];
}

/* IDX of COUNT images of 2 channels of 1 x 3 pixels; pixel p of channel c of image n is n+10c+p. */
enum { COUNT = 50, PIXELS = 3, CHANNELS = 2, SIZE = PIXELS * CHANNELS };

static const char *write_images(bool is_planar)
{
    unsigned char bytes[20 + COUNT * SIZE] = {0, 0, 8, 4, 0, 0, 0, COUNT, 0, 0,
                                              0, 1, 0, 0, 0, 3, 0, 0,     0, 2};
    if (is_planar)
        memcpy(bytes + 8, "\0\0\0\2\0\0\0\1\0\0\0\3", 12);
    for (int n = 0; n < COUNT; n++)
        for (int c = 0; c < CHANNELS; c++)
            for (int p = 0; p < PIXELS; p++)
                bytes[20 + n * SIZE + (is_planar ? c * PIXELS + p : p * CHANNELS + c)] =
                    (unsigned char)(n + 10 * c + p);
    return temp_write(is_planar ? "planar" : "images", bytes, sizeof(bytes));
}

static const char *write_labels(unsigned char class_count)
{
    unsigned char bytes[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    for (unsigned n = 0; n < COUNT; n++)
        bytes[8 + n] = (unsigned char)(n % class_count);
    return temp_pack("labels.gz", bytes, sizeof(bytes));
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

/* All inputs, then all labels, of a dataset; the caller frees them. */
static float *read_all(struct dataset *dataset)
{
    const struct dataset_info *info = dataset_info(dataset);
    uint64_t *indices = calloc(info->count, sizeof(*indices));
    float *values = calloc(info->count * (info->input_count + info->label_count), sizeof(*values));
    struct err_msg why = {0};
    for (uint64_t i = 0; i < info->count; i++)
        indices[i] = i;
    CU_ASSERT_EQUAL(dataset_read(dataset, indices, info->count, values,
                                 values + info->count * info->input_count, &why),
                    0);
    free(indices);
    return values;
}

static void check_images(const struct settings *settings)
{
    struct dataset *dataset = open_fine(settings, DATASET_TRAIN);
    const struct dataset_info *info = dataset_info(dataset);
    CU_ASSERT_EQUAL(info->count, COUNT);
    CU_ASSERT_EQUAL(info->dims, 3);
    CU_ASSERT(info->shape[0] == 1 && info->shape[1] == PIXELS && info->shape[2] == CHANNELS);
    CU_ASSERT(info->label_count == 1 && info->class_count == 10);
    float *values = read_all(dataset);
    for (int i = 0; i < COUNT * SIZE; i++)
        CU_ASSERT_EQUAL(values[i], (float)(i / SIZE + 10 * (i % 2) + i % SIZE / 2) / 2 - 1);
    for (int n = 0; n < COUNT; n++)
        CU_ASSERT_EQUAL(values[COUNT * SIZE + n], (float)(n % 10));
    free(values);
    dataset_close(dataset);
}

static void test_dataset_turns_images_and_scales_wherever_they_lie(void)
{
    double mean = 1;
    for (int planar = 0; planar < 2; planar++) {
        struct settings settings = job(write_images(planar), write_labels(10));
        settings.data.layout = planar ? IMAGE_NCHW : IMAGE_NHWC;
        settings.data.scale = 0.5;
        settings.data.mean = (struct real_list){1, &mean};
        for (int in_memory = 0; in_memory < 2; in_memory++) {
            settings.data.memory_bytes = in_memory ? 1 << 20 : 0;
            check_images(&settings);
        }
    }
}

static void test_dataset_standardises_each_channel_by_the_training_part(void)
{
    for (int planar = 0; planar < 2; planar++) {
        struct settings settings = job(write_images(planar), write_labels(10));
        settings.data.layout = planar ? IMAGE_NCHW : IMAGE_NHWC;
        settings.data.normalise = NORMALISE_STANDARD;
        settings.data.test_fraction = 0.3;
        struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
        double sum[2] = {0}, squares[2] = {0};
        size_t count = dataset_info(dataset)->count * PIXELS;
        float *values = read_all(dataset);
        for (size_t i = 0; i < count * CHANNELS; i++) {
            sum[i % 2] += (double)values[i];
            squares[i % 2] += (double)values[i] * (double)values[i];
        }
        for (int c = 0; c < CHANNELS; c++) {
            CU_ASSERT_DOUBLE_EQUAL(sum[c] / (double)count, 0, 1e-6);
            CU_ASSERT_DOUBLE_EQUAL(squares[c] / (double)count, 1, 1e-6);
        }
        free(values);
        dataset_close(dataset);
    }
}

static void test_dataset_standard_leaves_a_constant_feature_finite(void)
{
    struct settings settings = job(temp_text("flat.csv", "a,b,y\n5,1,0\n5,3,1\n"), "");
    settings.data.normalise = NORMALISE_STANDARD;
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    float *values = read_all(dataset);
    CU_ASSERT(values[0] == 0 && values[1] == -1 && values[2] == 0 && values[3] == 1);
    free(values);
    dataset_close(dataset);
}

static void test_dataset_holds_out_each_sample_once(void)
{
    struct settings settings = job(write_images(false), write_labels(10));
    settings.data.test_fraction = 0.2;
    int seen[COUNT] = {0};
    struct dataset *parts[2] = {open_fine(&settings, DATASET_TRAIN), NULL};
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(dataset_open_test(&settings, parts[0], &parts[1], &why), 0);
    CU_ASSERT_EQUAL(dataset_info(parts[0])->count, COUNT - COUNT / 5);
    CU_ASSERT_EQUAL(dataset_info(parts[1])->count, COUNT / 5);
    for (int part = 0; part < 2; part++) {
        float *values = read_all(parts[part]);
        for (uint64_t i = 0; i < dataset_info(parts[part])->count; i++)
            seen[(int)values[i * SIZE]]++;
        free(values);
    }
    for (int n = 0; n < COUNT; n++)
        CU_ASSERT_EQUAL(seen[n], 1);
    dataset_close(parts[0]); /* the test part keeps the samples */
    float *values = read_all(parts[1]);
    struct dataset *alone = open_fine(&settings, DATASET_TEST);
    float *again = read_all(alone);
    CU_ASSERT_EQUAL(memcmp(values, again, COUNT / 5 * (SIZE + 1) * sizeof(float)), 0);
    free(values);
    free(again);
    dataset_close(alone);
    dataset_close(parts[1]);
}

static void test_dataset_has_no_test_part_when_the_job_says_none(void)
{
    struct settings settings = job(write_images(false), write_labels(10));
    struct dataset *dataset = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_open(&settings, DATASET_TEST, &dataset, &why), ERR_NOT_FOUND);
    CU_ASSERT_PTR_NULL(dataset);
    give_test(&settings, "/nowhere/images", "/nowhere/labels");
    CU_ASSERT_EQUAL(dataset_open(&settings, DATASET_TEST, &dataset, &why), ERR_INPUT);
}

static void test_dataset_names_classes_that_are_words(void)
{
    struct settings settings = job(temp_text("words.csv", "a,y\n1,no\n2,yes\n3,maybe\n"), "");
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    CU_ASSERT_EQUAL(dataset_info(dataset)->class_count, 3);
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 0), "maybe");
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 2), "yes");
    CU_ASSERT_PTR_NULL(dataset_class_name(dataset, 3));
    dataset_close(dataset);
}

static void test_dataset_scales_regression_labels(void)
{
    struct settings settings = job(temp_text("price.csv", "a,price\n1,1000\n2,-500\n"), "");
    settings.model.loss = LOSS_MEAN_SQUARED_ERROR;
    settings.data.label_scale = 0.001;
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    float *values = read_all(dataset);
    CU_ASSERT_EQUAL(dataset_info(dataset)->class_count, 0);
    CU_ASSERT(values[2] == 1.0f && values[3] == -0.5f);
    free(values);
    dataset_close(dataset);
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

static void test_dataset_refuses_labels_that_do_not_fit(void)
{
    static const unsigned char few[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    struct settings settings = job(write_images(false), temp_write("few", few, sizeof(few)));
    refuse(&settings, DATASET_TRAIN, "holds 50 samples, but");
    settings = job(write_images(false), "");
    refuse(&settings, DATASET_TRAIN, "set data.train_labels");
    settings = job(temp_text("half.csv", "a,y\n1,0\n2,0.5\n"), "");
    refuse(&settings, DATASET_TRAIN, "the label of sample 1 (from 0) is 0.5");
    settings = job(temp_text("two.csv", "a,y\n1,0\n2,2\n"), "");
    settings.model.loss = LOSS_BINARY_CROSS_ENTROPY;
    refuse(&settings, DATASET_TRAIN, "is 2, expected 0 or 1");
    settings = job(temp_text("train2.csv", "a,y\n1,0\n2,1\n"), "");
    give_test(&settings, temp_text("test2.csv", "a,y\n1,1\n2,2\n"), "");
    refuse(&settings, DATASET_TEST, "the training part has the classes 0 to 1");
    settings.data.train_labels = settings.data.train_inputs;
    refuse(&settings, DATASET_TRAIN, "leave the labels file");
}

static void test_dataset_refuses_numbers_that_are_not_finite(void)
{
    const float numbers[COUNT * 2] = {[31] = NAN};
    char bytes[256 + sizeof(numbers)] = "\x93NUMPY\x01";
    const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (50, 2)}";
    bytes[8] = (char)(sizeof(header) - 1);
    memcpy(bytes + 10, header, sizeof(header) - 1);
    memcpy(bytes + 9 + sizeof(header), numbers, sizeof(numbers));
    const char *path = temp_write("nan.npy", bytes, 9 + sizeof(header) + sizeof(numbers));
    struct settings settings = job(path, write_labels(3));
    refuse(&settings, DATASET_TRAIN, "nan.npy: sample 15 (from 0): number 1 of it is NaN");
    settings.data.memory_bytes = 0;
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    uint64_t indices[] = {14, 15};
    float inputs[4], labels[2];
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_read(dataset, indices, 1, inputs, labels, &why), 0);
    CU_ASSERT_EQUAL(dataset_read(dataset, indices, 2, inputs, labels, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "sample 15"));
    dataset_close(dataset);
}

static void test_dataset_refuses_settings_that_contradict(void)
{
    double two[2] = {1, 2}, none[1] = {0};
    struct settings settings = job(write_images(false), write_labels(10));
    settings.data.mean = (struct real_list){2, two};
    settings.data.std = (struct real_list){1, none};
    refuse(&settings, DATASET_TRAIN, "data.std: number 0 is 0");
    settings = job(temp_text("features.csv", "a,b,c,y\n1,2,3,0\n"), "");
    settings.data.mean = (struct real_list){2, two};
    refuse(&settings, DATASET_TRAIN, "data.mean: found 2 numbers, expected 1 or 3");
    settings.data.normalise = NORMALISE_STANDARD;
    refuse(&settings, DATASET_TRAIN, "leave data.mean");
    settings = job(write_images(false), write_labels(10));
    settings.data.scale = 0;
    refuse(&settings, DATASET_TRAIN, "data.scale");
}

/* Opens inputs alone: `expected` are the training part's, as read_all gives them; labels are 0. */
static void check_inputs(const struct settings *settings, const char *path, const float *expected,
                         uint64_t count)
{
    struct dataset *dataset = NULL;
    struct err_msg why = {0};
    int rc = dataset_open_inputs(settings, path, &dataset, &why);
    if (rc < 0)
        printf("\n  said: %s\n", why.text);
    CU_ASSERT_EQUAL(rc, 0);
    if (rc < 0)
        return;
    const struct dataset_info *info = dataset_info(dataset);
    CU_ASSERT_EQUAL_FATAL(info->count, count);
    float *values = read_all(dataset);
    size_t input_count = count * info->input_count;
    CU_ASSERT_EQUAL(memcmp(values, expected, input_count * sizeof(float)), 0);
    for (size_t i = 0; i < count * info->label_count; i++)
        CU_ASSERT_EQUAL(values[input_count + i], 0);
    free(values);
    dataset_close(dataset);
}

/* Cuts samples into two parts in a new folder; labels "" for none. */
static const char *cut(const char *name, const char *inputs, const char *labels)
{
    struct samples samples;
    struct err_msg why = {0};
    struct samples_spec spec = {.inputs = inputs, .labels = labels};
    struct rows_place place = {"", 0};
    const char *folder = temp_path(name);
    CU_ASSERT_EQUAL_FATAL(samples_open(&spec, &place, &samples, &why), 0);
    CU_ASSERT_EQUAL_FATAL(parts_write(&samples, folder, 2, &why), 0);
    samples_close(&samples);
    return folder;
}

static void test_dataset_opens_inputs_alone_of_images_and_parts(void)
{
    struct settings settings = job(write_images(false), write_labels(10));
    settings.data.normalise = NORMALISE_STANDARD;
    const char *bare = cut("bare", write_images(false), "");
    const char *labelled = cut("labelled", write_images(false), write_labels(10));
    const char *twice = cut("twice", write_images(false), write_images(false));
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        settings.data.memory_bytes = in_memory ? 1 << 20 : 0;
        struct dataset *train = open_fine(&settings, DATASET_TRAIN);
        float *expected = read_all(train);
        check_inputs(&settings, write_images(false), expected, COUNT);
        check_inputs(&settings, bare, expected, COUNT);
        check_inputs(&settings, labelled, expected, COUNT);
        check_inputs(&settings, twice, expected, COUNT); /* labels of another form */
        free(expected);
        dataset_close(train);
    }
}

static void test_dataset_opens_inputs_alone_by_the_training_rows_when_some_are_held_out(void)
{
    struct settings settings = job(write_images(false), write_labels(10));
    settings.data.normalise = NORMALISE_STANDARD;
    settings.data.test_fraction = 0.3;
    struct dataset *dataset = NULL, *train = open_fine(&settings, DATASET_TRAIN);
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(dataset_open_inputs(&settings, write_images(false), &dataset, &why), 0);
    CU_ASSERT_EQUAL(dataset_info(dataset)->count, COUNT);
    float *values = read_all(train), *all = read_all(dataset);
    float mean = 0;
    for (size_t i = 0; i < dataset_info(train)->count * SIZE; i++)
        mean += values[i] / (float)(dataset_info(train)->count * SIZE);
    CU_ASSERT_DOUBLE_EQUAL((double)mean, 0, 1e-5);
    bool is_seen = false; /* the first training sample, as it is, among all */
    for (size_t n = 0; n < COUNT; n++)
        is_seen |= memcmp(values, all + n * SIZE, SIZE * sizeof(float)) == 0;
    CU_ASSERT(is_seen);
    free(values);
    free(all);
    dataset_close(dataset);
    dataset_close(train);
}

/* The same three samples with and without labels, the label's column in the middle. */
static void test_dataset_opens_inputs_alone_of_a_csv_with_or_without_its_label(void)
{
    static char label[] = "y", category[] = "c";
    static char *categories[] = {category};
    struct settings settings =
        job(temp_text("three.csv", "a,y,c\n1,no,red\n2,yes,blue\n6,no,red\n"), "");
    settings.data.label_column = label;
    settings.data.categorical = (struct text_list){1, categories};
    settings.data.normalise = NORMALISE_STANDARD;
    struct dataset *train = open_fine(&settings, DATASET_TRAIN), *dataset = NULL;
    float *expected = read_all(train);
    check_inputs(&settings, settings.data.train_inputs, expected, 3);
    check_inputs(&settings, temp_text("none.csv", "a,c\n1,red\n2,blue\n6,red\n"), expected, 3);
    check_inputs(&settings, temp_text("hidden.csv", "a,y,c\n1,?,red\n2,,blue\n6,maybe,red\n"),
                 expected, 3);
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(
        dataset_open_inputs(&settings, temp_text("new.csv", "a,c\n1,green\n"), &dataset, &why), 0);
    float *values = read_all(dataset);
    CU_ASSERT(values[0] == expected[0]);
    CU_ASSERT(values[1] == expected[1] && values[2] == expected[5]); /* neither blue nor red */
    CU_ASSERT_STRING_EQUAL(dataset_class_name(dataset, 1), "yes");
    free(values);
    free(expected);
    dataset_close(dataset);
    dataset_close(train);
}

static void refuse_inputs(const struct settings *settings, const char *path, const char *sentence)
{
    struct dataset *dataset = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(dataset_open_inputs(settings, path, &dataset, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(dataset);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
    dataset_close(dataset);
}

static void test_dataset_refuses_inputs_alone_of_another_kind(void)
{
    struct settings settings = job(write_images(false), write_labels(10));
    refuse_inputs(&settings, "/nowhere/images", "/nowhere/images: cannot open");
    refuse_inputs(&settings, write_labels(10), "of another shape (1 numbers) than");
    refuse_inputs(&settings, temp_text("five.csv", "a,b,c,d,e\n1,2,3,4,5\n"),
                  "five.csv: is a CSV, but the training part is none");
    settings = job(temp_text("abc.csv", "a,b,y\n1,2,0\n2,1,1\n"), "");
    refuse_inputs(&settings, temp_text("b.csv", "b\n1\n"), "found 1 cells, expected 3");
    refuse_inputs(&settings, temp_text("ac.csv", "a,c\n1,2\n"), "\"c\", expected \"b\"");
    refuse_inputs(&settings, temp_text("nan.csv", "a,b\n1,nan\n"), "column \"b\"");
}

/* A reader of one of several threads. */
struct reader {
    struct dataset *dataset;
    const float *expected;
    bool is_same;
};

static void *read_often(void *argument)
{
    struct reader *reader = argument;
    reader->is_same = true;
    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t index = i * 37 % COUNT;
        float inputs[SIZE], label;
        if (dataset_read(reader->dataset, &index, 1, inputs, &label, NULL) < 0 ||
            memcmp(inputs, reader->expected + index * SIZE, sizeof(inputs)) != 0)
            reader->is_same = false;
    }
    return NULL;
}

static void test_dataset_reads_from_several_threads(void)
{
    struct settings settings = job(write_images(true), write_labels(10));
    settings.data.layout = IMAGE_NCHW;
    settings.data.memory_bytes = 0;
    struct reader readers[4];
    pthread_t threads[4];
    struct dataset *dataset = open_fine(&settings, DATASET_TRAIN);
    float *values = read_all(dataset);
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){.dataset = dataset, .expected = values};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, read_often, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT(readers[i].is_same);
    }
    free(values);
    dataset_close(dataset);
}

#define TESTS(X) \
    X(test_dataset_turns_images_and_scales_wherever_they_lie) \
    X(test_dataset_standardises_each_channel_by_the_training_part) \
    X(test_dataset_standard_leaves_a_constant_feature_finite) \
    X(test_dataset_holds_out_each_sample_once) \
    X(test_dataset_has_no_test_part_when_the_job_says_none) \
    X(test_dataset_names_classes_that_are_words) \
    X(test_dataset_scales_regression_labels) \
    X(test_dataset_refuses_labels_that_do_not_fit) \
    X(test_dataset_refuses_numbers_that_are_not_finite) \
    X(test_dataset_refuses_settings_that_contradict) \
    X(test_dataset_opens_inputs_alone_of_images_and_parts) \
    X(test_dataset_opens_inputs_alone_by_the_training_rows_when_some_are_held_out) \
    X(test_dataset_opens_inputs_alone_of_a_csv_with_or_without_its_label) \
    X(test_dataset_refuses_inputs_alone_of_another_kind) \
    X(test_dataset_reads_from_several_threads)

UNIT_MAIN("dataset", TESTS)
