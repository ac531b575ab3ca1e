#ifndef TESTS_FUZZ_FUZZ_DATA_H
#define TESTS_FUZZ_FUZZ_DATA_H

/* fuzz_data - a data set of a stranger's files, opened and read as a worker does.
 *
 * Owner:    the fuzzers of data formats.  Surprise: a job's texts are borrowed.
 */
#include "tests/fuzz/fuzz.h"
#include "worker/data/dataset.h"

enum { FUZZ_READ_MAX = 1 << 16 };

struct fuzz_job {
    struct settings settings;
    char text[4][64]; /* what settings point to */
};

/* Bits of flags: 4: nothing is held in memory; 8, 16: the loss; 32: normalise; 64: a part is held
 * out; 128: channels first. */
static inline void fuzz_job_of(struct fuzz_job *job, const char *inputs, const char *labels,
                               unsigned flags)
{
    static const enum loss_kind losses[] = {LOSS_SOFTMAX_CROSS_ENTROPY, LOSS_BINARY_CROSS_ENTROPY,
                                            LOSS_MEAN_SQUARED_ERROR, LOSS_MEAN_SQUARED_ERROR};
    memset(job, 0, sizeof(*job));
    snprintf(job->text[0], sizeof(job->text[0]), "%s", inputs);
    snprintf(job->text[1], sizeof(job->text[1]), "%s", labels);
    snprintf(job->text[2], sizeof(job->text[2]), ",");
    struct settings *s = &job->settings;
    s->data.train_inputs = job->text[0];
    s->data.train_labels = job->text[1];
    s->data.delimiter = job->text[2];
    s->data.test_inputs = s->data.test_labels = s->data.label_column = s->data.spool_dir =
        job->text[3];
    s->data.scale = s->data.label_scale = 1;
    s->data.memory_bytes = (flags & 4) != 0 ? 0 : 1 << 26;
    s->model.loss = losses[flags >> 3 & 3];
    s->data.normalise = (flags & 32) != 0 ? NORMALISE_STANDARD : NORMALISE_NONE;
    s->data.test_fraction = (flags & 64) != 0 ? 0.25 : 0;
    s->data.layout = (flags & 128) != 0 ? IMAGE_NCHW : IMAGE_NHWC;
}

static inline void fuzz_read_part(const struct dataset *part)
{
    const struct dataset_info *info = dataset_info(part);
    size_t numbers = info->input_count + info->label_count;
    must(info->count > 0 && info->input_count > 0);
    if (numbers > FUZZ_READ_MAX)
        return;
    float *inputs = malloc((info->input_count + 1) * sizeof(*inputs));
    float *labels = malloc((info->label_count + 1) * sizeof(*labels));
    must(inputs != NULL && labels != NULL);
    for (uint64_t i = 0; i < info->count && i * numbers < FUZZ_READ_MAX; i++) {
        struct err_msg why = {0};
        int err = dataset_read(part, &i, 1, inputs, labels, &why);
        if (err != 0)
        must_say(why.text);
        for (size_t n = 0; err == 0 && n < info->input_count; n++)
            must(inputs[n] == inputs[n]); /* a NaN is found before */
        for (uint32_t n = 0; err == 0 && info->class_count > 1 && n < info->label_count; n++)
            must(labels[n] < (float)info->class_count && (labels[n] >= 0 || info->label_count > 1));
        for (size_t n = 0; info->token_count > 0 && err == 0 && n < info->input_count; n++)
            must(inputs[n] >= 0 && inputs[n] < (float)info->token_count);
        if (info->class_count > 0 && err == 0 && labels[0] >= 0)
            (void)dataset_class_name(part, (uint32_t)labels[0]);
    }
    free(inputs);
    free(labels);
}

static inline void fuzz_read_all(const struct fuzz_job *job)
{
    struct dataset *train = NULL, *test = NULL, *inputs = NULL;
    struct err_msg why = {0};
    int err = dataset_open(&job->settings, DATASET_TRAIN, &train, &why);
    if (err != 0) {
        must(train == NULL);
        must_say(why.text);
        return;
    }
    fuzz_read_part(train);
    if (job->settings.data.test_fraction > 0 &&
        dataset_open_test(&job->settings, train, &test, &why) == 0)
        fuzz_read_part(test);
    if (dataset_open_inputs(&job->settings, job->settings.data.train_inputs, &inputs, &why) == 0)
        fuzz_read_part(inputs);
    dataset_close(inputs);
    dataset_close(test);
    dataset_close(train);
}

#endif
