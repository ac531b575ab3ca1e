#include "worker/data/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/permute.h"
#include "common/philox.h"
#include "worker/data/labels.h"
#include "worker/data/norm.h"
#include "worker/data/samples.h"
#include "worker/data/scaling.h"
#include "worker/data/shared.h"
#include "worker/data/survey.h"
#include "worker/data/tokens.h"
#include "worker/data/view.h"
#include "worker/data/windows.h"

struct dataset {
    struct dataset_info info;
    struct shared *shared;
    bool is_split;        /* samples first_position.. of the order, else all as they lie */
    struct permute order; /* position -> row */
    uint64_t first_position;
    struct windows windows; /* of a stream of tokens, which has no order; else of length 0 */
    struct norm norm; /* of the inputs, measured on the training part */
    struct scaling *input_scaling, *label_scaling;
    struct view inputs, labels;
};

void dataset_close(struct dataset *dataset)
{
    if (!dataset)
        return;
    shared_release(dataset->shared);
    norm_clear(&dataset->norm);
    scaling_destroy(dataset->input_scaling);
    scaling_destroy(dataset->label_scaling);
    free(dataset);
}

/* What other files are read by, once the training part is open. */
static struct samples_known known_from(const struct dataset *train)
{
    const struct samples *samples = &train->shared->samples;
    bool is_text = train->windows.length > 0 && samples->classes.word_count > 0;
    return (struct samples_known){samples->table, is_text ? &samples->classes : NULL};
}

/* Opens the files of a part.  train: NULL, or of the test part the training part. */
static int open_samples(const struct settings *settings, enum dataset_part part,
                        const struct dataset *train, struct shared **out, struct err_msg *why)
{
    bool is_train = part == DATASET_TRAIN;
    struct samples_spec spec = {
        .inputs = is_train ? settings->data.train_inputs : settings->data.test_inputs,
        .labels = is_train ? settings->data.train_labels : settings->data.test_labels,
    };
    if (train)
        spec.known = known_from(train);
    if (!*spec.inputs)
        return err_set(why, ERR_INPUT, "data.train_inputs: is not set");
    int rc = shared_open(settings, &spec, out, why);
    const struct samples *samples = rc == 0 ? &(*out)->samples : NULL;
    if (rc < 0 || samples->labels || tokens_is_stream(settings, samples))
        return rc;
    if (samples->classes.word_count > 0)
        return err_set(why, ERR_INPUT,
                       "data.sequence: is not set; expected how many characters of %s a sample has",
                       spec.inputs);
    return err_set(why, ERR_INPUT, "%s: has no labels beside it; set data.%s_labels", spec.inputs,
                   is_train ? "train" : "test");
}

/* Shape of the inputs as the network sees them: a vector, or an image with its channels last. */
static void fill_shape(const struct rows_form *form, enum image_order layout,
                       struct dataset_info *info)
{
    const uint32_t *side = form->shape;
    info->dims = form->dims < 2 ? 1 : 3;
    info->input_count = rows_elements(form);
    if (form->dims < 2) {
        info->shape[0] = (uint32_t)info->input_count;
    } else if (form->dims == 2) {
        memcpy(info->shape, (uint32_t[]){side[0], side[1], 1}, sizeof(info->shape));
    } else if (layout == IMAGE_NCHW) {
        memcpy(info->shape, (uint32_t[]){side[1], side[2], side[0]}, sizeof(info->shape));
    } else {
        memcpy(info->shape, side, sizeof(info->shape));
    }
}

/* The samples of a stream; part: which end of it, when one is held out. */
static int cut(const struct settings *settings, enum dataset_part part, struct dataset *dataset,
               struct err_msg *why)
{
    const struct rows *tokens = dataset->shared->samples.inputs;
    struct dataset_info *info = &dataset->info;
    struct windows parts[2];
    int rc = windows_make(rows_form(tokens)->count, settings->data.sequence, settings->job.seed,
                          rows_name(tokens), &dataset->windows, why);
    if (rc == 0 && dataset->is_split) {
        rc = windows_split(&dataset->windows, settings->data.test_fraction, rows_name(tokens),
                           &parts[0], &parts[1], why);
        if (rc == 0)
            dataset->windows = parts[part == DATASET_TEST];
    }
    if (rc < 0)
        return rc;
    info->count = windows_count(&dataset->windows);
    info->shape[0] = info->label_count = settings->data.sequence;
    info->input_count = settings->data.sequence;
    info->class_count = info->token_count;
    return 0;
}

static bool is_held_out(const struct settings *settings)
{
    return !*settings->data.test_inputs && settings->data.test_fraction > 0;
}

/* Which samples of the training file are this part's. */
static int split(const struct settings *settings, enum dataset_part part, struct dataset *dataset,
                 struct err_msg *why)
{
    uint64_t count = rows_form(dataset->shared->samples.inputs)->count;
    dataset->info.count = count;
    if (!dataset->is_split)
        return 0;
    if (count < 2)
        return err_set(why, ERR_INPUT, "%s: one sample cannot be split (data.test_fraction)",
                       settings->data.train_inputs);
    uint64_t held_out = (uint64_t)llround((double)count * settings->data.test_fraction);
    if (held_out < 1)
        held_out = 1;
    if (held_out > count - 1)
        held_out = count - 1;
    struct draw_key key = {.seed = settings->job.seed, .where = DRAW_HELD_OUT};
    permute_init(&dataset->order, count, (uint64_t)draw_u32(&key, 0) << 32 | draw_u32(&key, 1));
    dataset->first_position = part == DATASET_TRAIN ? held_out : 0;
    dataset->info.count = part == DATASET_TRAIN ? count - held_out : held_out;
    return 0;
}

/* The row of a sample, or its first token; index as for dataset_read. */
static uint64_t row_of(const struct dataset *dataset, uint64_t index)
{
    uint64_t sample_idx = index % dataset->info.count;
    if (dataset->windows.length > 0)
        return windows_first(&dataset->windows, index / dataset->info.count, sample_idx);
    if (!dataset->is_split)
        return sample_idx;
    return permute_at(&dataset->order, dataset->first_position + sample_idx);
}

/* A norm of mean 0 and deviation 1, or what the job says; still to be measured for "standard". */
static int prepare_norm(const struct settings *settings, struct dataset *dataset,
                        struct err_msg *why)
{
    const struct dataset_info *info = &dataset->info;
    size_t channels = info->dims == 3 ? info->shape[2] : info->input_count;
    bool is_planar = info->dims == 3 && settings->data.layout == IMAGE_NCHW;
    size_t stride = is_planar ? info->input_count / channels : 1;
    return norm_of_job(settings, channels, stride, &dataset->norm, why);
}

/* One bit a row: 1 for rows of the training part.  NULL: out of memory. */
static unsigned char *mark_rows(const struct dataset *dataset, uint64_t row_count)
{
    unsigned char *marks = calloc(1, (size_t)(row_count / 8 + 1));
    for (uint64_t i = 0; marks && i < dataset->info.count; i++) {
        uint64_t row = row_of(dataset, i);
        marks[row / 8] |= (unsigned char)(1u << row % 8);
    }
    return marks;
}

static int measure_norm(struct dataset *dataset, struct err_msg *why)
{
    const struct rows *rows = dataset->shared->samples.inputs;
    unsigned char *marks = NULL;
    if (dataset->is_split) {
        marks = mark_rows(dataset, rows_form(rows)->count);
        if (!marks)
            return err_set(why, ERR_NOMEM, "out of memory");
    }
    int rc = survey_measure(rows, marks, &dataset->norm, why);
    free(marks);
    return rc;
}

static int make_views(const struct settings *settings, struct dataset *dataset, struct err_msg *why)
{
    const struct samples *samples = &dataset->shared->samples;
    const struct rows_form *inputs = rows_form(samples->inputs);
    bool is_regression = dataset->info.class_count == 0;
    double one = 1, zero = 0;
    struct norm label_norm = {
        .scale = is_regression ? settings->data.label_scale : 1,
        .count = 1,
        .stride = 1,
        .means = &zero,
        .stds = &one,
    };
    if (scaling_create(&dataset->norm, inputs->type, rows_elements(inputs),
                       &dataset->input_scaling) < 0)
        return err_set(why, ERR_NOMEM, "out of memory");
    bool is_planar = inputs->dims == 3 && settings->data.layout == IMAGE_NCHW;
    dataset->inputs = (struct view){samples->inputs, dataset->input_scaling,
                                    dataset->info.input_count, is_planar ? inputs->shape[0] : 0};
    if (dataset->windows.length > 0)
        dataset->labels = dataset->inputs; /* one token further on: dataset_read */
    if (!samples->labels)
        return 0;
    const struct rows_form *labels = rows_form(samples->labels);
    if (scaling_create(&label_norm, labels->type, rows_elements(labels), &dataset->label_scaling) <
        0)
        return err_set(why, ERR_NOMEM, "out of memory");
    dataset->labels =
        (struct view){samples->labels, dataset->label_scaling, rows_elements(labels), 0};
    return 0;
}

/* Fills in the part that dataset->shared holds.  known: of the training part, or all 0: count
 * classes and tokens. */
static int describe(const struct settings *settings, enum dataset_part part,
                    const struct dataset_info *known, struct dataset *dataset, struct err_msg *why)
{
    const struct samples *samples = &dataset->shared->samples;
    struct labels_found labels = {.class_count = known->class_count};
    int rc = 0;
    fill_shape(rows_form(samples->inputs), settings->data.layout, &dataset->info);
    dataset->is_split = is_held_out(settings);
    dataset->info.token_count = known->token_count;
    if (settings->data.sequence > 0)
        rc = tokens_check(settings, samples, &dataset->info.token_count, why);
    if (rc == 0 && tokens_is_stream(settings, samples))
        return cut(settings, part, dataset, why);
    if (rc == 0)
        rc = split(settings, part, dataset, why);
    if (rc == 0)
        rc = labels_check(samples, settings->model.loss, &labels, why);
    dataset->info.class_count = labels.class_count;
    dataset->info.label_count = labels.label_count;
    return rc;
}

static int open_train(const struct settings *settings, struct dataset *train, struct err_msg *why)
{
    if (*settings->data.test_inputs && settings->data.test_fraction > 0)
        return err_set(why, ERR_INPUT,
                       "data.test_inputs and data.test_fraction are both set: the "
                       "test part is the one or the other");
    int rc = open_samples(settings, DATASET_TRAIN, NULL, &train->shared, why);
    if (rc == 0)
        rc = describe(settings, DATASET_TRAIN, &(struct dataset_info){0}, train, why);
    if (rc == 0)
        rc = prepare_norm(settings, train, why);
    if (rc == 0 && settings->data.normalise == NORMALISE_STANDARD)
        rc = measure_norm(train, why);
    else if (rc == 0)
        rc = survey_check(train->shared->samples.inputs, why);
    return rc == 0 ? make_views(settings, train, why) : rc;
}

/* Whether the test part is of the kind that the training part is. */
static int compare(const struct dataset *train, const struct dataset *test, struct err_msg *why)
{
    const struct samples *a = &train->shared->samples, *b = &test->shared->samples;
    const struct rows_form *found = rows_form(b->inputs), *expected = rows_form(a->inputs);
    if (found->dims != expected->dims ||
        memcmp(found->shape, expected->shape, found->dims * sizeof(found->shape[0])) != 0)
        return err_set(why, ERR_INPUT,
                       "%s: a sample is of another shape (%zu numbers) than in %s (%zu numbers)",
                       rows_name(b->inputs), test->info.input_count, rows_name(a->inputs),
                       train->info.input_count);
    if (strcmp(a->encoding, b->encoding) != 0)
        return err_set(
            why, ERR_INPUT,
            "%s: its categories or classes were not numbered as those of %s; cut it with "
            "`talweg shard --words` and the training file",
            rows_name(b->inputs), rows_name(a->inputs));
    if (train->info.label_count != test->info.label_count)
        return err_set(why, ERR_INPUT, "%s: has %" PRIu32 " labels a sample, %s has %" PRIu32,
                       rows_name(b->labels), test->info.label_count, rows_name(a->labels),
                       train->info.label_count);
    return 0;
}

static int open_test(const struct settings *settings, const struct dataset *train,
                     struct dataset *test, struct err_msg *why)
{
    int rc = 0;
    if (train->is_split) {
        test->shared = shared_take(train->shared);
    } else {
        rc = open_samples(settings, DATASET_TEST, train, &test->shared, why);
    }
    if (rc == 0)
        rc = describe(settings, DATASET_TEST, &train->info, test, why);
    if (rc == 0)
        rc = compare(train, test, why);
    if (rc == 0 && norm_copy(&train->norm, &test->norm) < 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0 && !train->is_split)
        rc = survey_check(test->shared->samples.inputs, why);
    return rc == 0 ? make_views(settings, test, why) : rc;
}

static bool has_test(const struct settings *settings)
{
    return *settings->data.test_inputs || settings->data.test_fraction > 0;
}

int dataset_open_test(const struct settings *settings, const struct dataset *train,
                      struct dataset **out, struct err_msg *why)
{
    *out = NULL;
    if (!has_test(settings))
        return err_set(why, ERR_NOT_FOUND,
                       "the job has no test part: neither data.test_inputs nor "
                       "data.test_fraction is set");
    struct dataset *test = calloc(1, sizeof(*test));
    int rc =
        test ? open_test(settings, train, test, why) : err_set(why, ERR_NOMEM, "out of memory");
    if (rc < 0) {
        dataset_close(test);
        return rc;
    }
    *out = test;
    return 0;
}

int dataset_open(const struct settings *settings, enum dataset_part part, struct dataset **out,
                 struct err_msg *why)
{
    *out = NULL;
    if (part == DATASET_TEST && !has_test(settings))
        return dataset_open_test(settings, NULL, out, why);
    struct dataset *train = calloc(1, sizeof(*train));
    int rc = train ? open_train(settings, train, why) : err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0 && part == DATASET_TRAIN) {
        *out = train;
        return 0;
    }
    if (rc == 0)
        rc = dataset_open_test(settings, train, out, why);
    dataset_close(train);
    return rc;
}

/* Everything but the labels comes from the training part, which is only needed while opening. */
static int open_inputs(const struct settings *settings, const struct dataset *train,
                       const char *path, struct dataset *dataset, struct err_msg *why)
{
    struct samples_spec spec = {
        .inputs = path,
        .labels = "",
        .is_unlabelled = true,
        .known = known_from(train),
    };
    int rc = shared_open(settings, &spec, &dataset->shared, why);
    if (rc < 0)
        return rc;
    const struct rows_form *form = rows_form(dataset->shared->samples.inputs);
    fill_shape(form, settings->data.layout, &dataset->info);
    dataset->info.count = form->count;
    dataset->info.class_count = train->info.class_count;
    dataset->info.label_count = train->info.label_count;
    dataset->info.token_count = train->info.token_count;
    if (settings->data.sequence > 0)
        rc = tokens_check(settings, &dataset->shared->samples, &dataset->info.token_count, why);
    if (rc == 0 && tokens_is_stream(settings, &dataset->shared->samples))
        rc = cut(settings, DATASET_TEST, dataset, why);
    if (rc == 0)
        rc = compare(train, dataset, why);
    if (rc == 0 && norm_copy(&train->norm, &dataset->norm) < 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = survey_check(dataset->shared->samples.inputs, why);
    if (rc == 0)
        rc = make_views(settings, dataset, why);
    dataset->labels.rows = NULL;
    return rc;
}

int dataset_open_inputs(const struct settings *settings, const char *path, struct dataset **out,
                        struct err_msg *why)
{
    struct dataset *train = NULL, *dataset = calloc(1, sizeof(*dataset));
    *out = NULL;
    int rc = dataset ? dataset_open(settings, DATASET_TRAIN, &train, why)
                     : err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = open_inputs(settings, train, path, dataset, why);
    dataset_close(train);
    if (rc < 0)
        dataset_close(dataset);
    else
        *out = dataset;
    return rc;
}

const struct dataset_info *dataset_info(const struct dataset *dataset)
{
    return &dataset->info;
}

long dataset_find_class(const struct dataset *dataset, const char *name)
{
    return vocabulary_find(&dataset->shared->samples.classes, name);
}

const char *dataset_class_name(const struct dataset *dataset, uint32_t class_idx)
{
    const struct vocabulary *classes = &dataset->shared->samples.classes;
    return class_idx < classes->word_count ? classes->words[class_idx] : NULL;
}

void dataset_pixel_range(const struct dataset *dataset, float *black, float *white)
{
    static const union {
        uint8_t u8;
        uint16_t u16;
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } zero = {0}, lightest[] = {[ROWS_U8] = {.u8 = 255},
                                [ROWS_U16] = {.u16 = 65535},
                                [ROWS_I32] = {.i32 = 255},
                                [ROWS_I64] = {.i64 = 255},
                                [ROWS_F32] = {.f32 = 1},
                                [ROWS_F64] = {.f64 = 1}};
    const struct rows_form *form = rows_form(dataset->shared->samples.inputs);
    size_t channels = dataset->info.shape[2];
    size_t stride = dataset->inputs.plane_count > 0 ? dataset->info.input_count / channels : 1;
    for (size_t c = 0; c < channels; c++) {
        scaling_apply(dataset->input_scaling, &zero, c * stride, 1, &black[c]);
        scaling_apply(dataset->input_scaling, &lightest[form->type], c * stride, 1, &white[c]);
    }
}

int dataset_read(const struct dataset *dataset, const uint64_t *indices, size_t count,
                 float *inputs, float *labels, struct err_msg *why)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t row = row_of(dataset, indices[i]);
        rc = view_read(&dataset->inputs, row, inputs + i * dataset->info.input_count, why);
        float *label = labels + i * dataset->info.label_count;
        if (!dataset->labels.rows)
            memset(label, 0, dataset->info.label_count * sizeof(*label));
        else if (rc == 0)
            rc = view_read(&dataset->labels, row + (dataset->windows.length > 0), label, why);
    }
    return rc;
}
