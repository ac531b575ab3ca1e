#include "worker/data/dataset.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "common/batching.h"
#include "common/permute.h"
#include "common/philox.h"
#include "worker/data/labels.h"
#include "worker/data/norm.h"
#include "worker/data/samples.h"
#include "worker/data/scaling.h"
#include "worker/data/survey.h"
#include "worker/data/view.h"

/* Samples that one dataset holds, or two when one is held out of the other. */
struct shared {
    struct samples samples;
    atomic_uint holder_count;
};

struct dataset {
    struct dataset_info info;
    struct shared *shared;
    bool is_split;        /* samples first_position.. of the order, else all as they lie */
    struct permute order; /* position -> row */
    uint64_t first_position;
    struct norm norm; /* of the inputs, measured on the training part */
    struct scaling *input_scaling, *label_scaling;
    struct view inputs, labels;
};

static void release(struct shared *shared)
{
    if (!shared || atomic_fetch_sub(&shared->holder_count, 1) > 1)
        return;
    samples_close(&shared->samples);
    free(shared);
}

void dataset_close(struct dataset *dataset)
{
    if (!dataset)
        return;
    release(dataset->shared);
    norm_clear(&dataset->norm);
    scaling_destroy(dataset->input_scaling);
    scaling_destroy(dataset->label_scaling);
    free(dataset);
}

static uint64_t memory_limit(const struct settings *settings)
{
    struct rlimit limit;
    uint64_t bytes = settings->data.memory_bytes;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur / 4 < bytes)
        bytes = limit.rlim_cur / 4;
    return bytes;
}

static int fill_table_options(const struct settings *settings, struct table_options *out,
                              struct err_msg *why)
{
    const char *delimiter = settings->data.delimiter;
    bool is_tab = strcmp(delimiter, "\\t") == 0;
    if (!is_tab && (strlen(delimiter) != 1 || strchr("\"\r\n", *delimiter)))
        return err_set(why, ERR_INPUT,
                       "data.delimiter: found \"%s\", expected one character, no quote or line end",
                       delimiter);
    *out = (struct table_options){
        .delimiter = is_tab ? '\t' : *delimiter,
        .has_header = settings->data.header,
        .labels_are_numbers = settings->model.loss == LOSS_MEAN_SQUARED_ERROR,
        .label_column = settings->data.label_column,
        .categorical = (const char *const *)settings->data.categorical.items,
        .categorical_count = settings->data.categorical.count,
    };
    return 0;
}

/* Opens the files that spec names; what the settings say is filled in here. */
static int open_shared(const struct settings *settings, struct samples_spec *spec,
                       struct shared **out, struct err_msg *why)
{
    spec->format = settings->data.format;
    int rc = fill_table_options(settings, &spec->table, why);
    if (rc < 0)
        return rc;
    struct rows_place place = {settings->data.spool_dir, memory_limit(settings)};
    struct shared *shared = calloc(1, sizeof(*shared));
    if (!shared)
        return err_set(why, ERR_NOMEM, "out of memory");
    atomic_init(&shared->holder_count, 1);
    rc = samples_open(spec, &place, &shared->samples, why);
    if (rc < 0) {
        release(shared);
        return rc == ERR_NOT_FOUND ? ERR_INPUT : rc; /* that code says: the job has no such part */
    }
    *out = shared;
    return 0;
}

/* Opens the files of a part.  known: the training part's table, for the test part. */
static int open_samples(const struct settings *settings, enum dataset_part part,
                        const struct table *known, struct shared **out, struct err_msg *why)
{
    bool is_train = part == DATASET_TRAIN;
    struct samples_spec spec = {
        .inputs = is_train ? settings->data.train_inputs : settings->data.test_inputs,
        .labels = is_train ? settings->data.train_labels : settings->data.test_labels,
        .known = known,
    };
    if (!*spec.inputs)
        return err_set(why, ERR_INPUT, "data.train_inputs: is not set");
    int rc = open_shared(settings, &spec, out, why);
    if (rc == 0 && !(*out)->samples.labels)
        return err_set(why, ERR_INPUT, "%s: has no labels beside it; set data.%s_labels",
                       spec.inputs, is_train ? "train" : "test");
    return rc;
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

/* Which samples of the training file are this part's. */
static int split(const struct settings *settings, enum dataset_part part, struct dataset *dataset,
                 struct err_msg *why)
{
    uint64_t count = rows_form(dataset->shared->samples.inputs)->count;
    dataset->info.count = count;
    if (*settings->data.test_inputs || !(settings->data.test_fraction > 0))
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
    dataset->is_split = true;
    dataset->first_position = part == DATASET_TRAIN ? held_out : 0;
    dataset->info.count = part == DATASET_TRAIN ? count - held_out : held_out;
    return 0;
}

static uint64_t row_of(const struct dataset *dataset, uint64_t sample_idx)
{
    assert(sample_idx < dataset->info.count);
    if (!dataset->is_split)
        return sample_idx;
    return permute_at(&dataset->order, dataset->first_position + sample_idx);
}

/* Whether a list is empty, one number for all, or one a channel. */
static int check_list(const struct real_list *list, const char *path, size_t channel_count,
                      struct err_msg *why)
{
    if (list->count == 0 || list->count == 1 || list->count == channel_count)
        return 0;
    return err_set(why, ERR_INPUT, "%s: found %zu numbers, expected 1 or %zu", path, list->count,
                   channel_count);
}

/* out: [count]; what an empty list leaves as it is. */
static void fill_list(const struct real_list *list, double *out, size_t count)
{
    for (size_t c = 0; list->count > 0 && c < count; c++)
        out[c] = list->items[list->count == 1 ? 0 : c];
}

/* A norm of mean 0 and deviation 1, or what the job says; still to be measured for "standard". */
static int prepare_norm(const struct settings *settings, struct dataset *dataset,
                        struct err_msg *why)
{
    const struct dataset_info *info = &dataset->info;
    const struct real_list *mean = &settings->data.mean, *std = &settings->data.std;
    bool is_measured = settings->data.normalise == NORMALISE_STANDARD;
    if (is_measured && (mean->count || std->count))
        return err_set(
            why, ERR_INPUT,
            "data.normalise is \"standard\", which measures mean and std: leave data.mean "
            "and data.std out");
    if (!(fabs(settings->data.scale) > 0))
        return err_set(why, ERR_INPUT, "data.scale: found 0, which leaves nothing of the data");
    size_t channels = info->dims == 3 ? info->shape[2] : info->input_count;
    bool is_planar = info->dims == 3 && settings->data.layout == IMAGE_NCHW;
    size_t stride = is_planar ? info->input_count / channels : 1;
    size_t count = is_measured || mean->count > 1 || std->count > 1 ? channels : 1;
    int rc = check_list(mean, "data.mean", channels, why);
    if (rc == 0)
        rc = check_list(std, "data.std", channels, why);
    if (rc == 0 && norm_create(settings->data.scale, count, stride, &dataset->norm) < 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc < 0)
        return rc;
    fill_list(mean, dataset->norm.means, count);
    fill_list(std, dataset->norm.stds, count);
    for (size_t c = 0; rc == 0 && c < count; c++)
        if (!(fabs(dataset->norm.stds[c]) > 0))
            rc = err_set(why, ERR_INPUT, "data.std: number %zu is 0", c);
    return rc;
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
    dataset->inputs = (struct view){samples->inputs, dataset->input_scaling, rows_elements(inputs),
                                    is_planar ? inputs->shape[0] : 0};
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

/* Fills in the part that dataset->shared holds.  class_count 0: find it in the labels. */
static int describe(const struct settings *settings, enum dataset_part part, uint32_t class_count,
                    struct dataset *dataset, struct err_msg *why)
{
    const struct samples *samples = &dataset->shared->samples;
    struct labels_found labels = {.class_count = class_count};
    fill_shape(rows_form(samples->inputs), settings->data.layout, &dataset->info);
    int rc = split(settings, part, dataset, why);
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
        rc = describe(settings, DATASET_TRAIN, 0, train, why);
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
        test->shared = train->shared;
        atomic_fetch_add(&test->shared->holder_count, 1);
    } else {
        rc = open_samples(settings, DATASET_TEST, train->shared->samples.table, &test->shared, why);
    }
    if (rc == 0)
        rc = describe(settings, DATASET_TEST, train->info.class_count, test, why);
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
        .known = train->shared->samples.table,
    };
    int rc = open_shared(settings, &spec, &dataset->shared, why);
    if (rc < 0)
        return rc;
    const struct rows_form *form = rows_form(dataset->shared->samples.inputs);
    fill_shape(form, settings->data.layout, &dataset->info);
    dataset->info.count = form->count;
    dataset->info.class_count = train->info.class_count;
    dataset->info.label_count = train->info.label_count;
    rc = compare(train, dataset, why);
    if (rc == 0 && norm_copy(&train->norm, &dataset->norm) < 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = survey_check(dataset->shared->samples.inputs, why);
    return rc == 0 ? make_views(settings, dataset, why) : rc;
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

const char *dataset_class_name(const struct dataset *dataset, uint32_t class_idx)
{
    const struct vocabulary *classes = &dataset->shared->samples.classes;
    return class_idx < classes->word_count ? classes->words[class_idx] : NULL;
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
            rc = view_read(&dataset->labels, row, label, why);
    }
    return rc;
}
