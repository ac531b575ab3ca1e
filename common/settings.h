#ifndef COMMON_SETTINGS_H
#define COMMON_SETTINGS_H

/* settings - one job, as the job file and --set say it, checked and complete.
 *
 * Field names are the paths of the job file: settings->optimizer.rate is `optimizer.rate`.  Every
 * field is a row of one table (settings_table.h) that gives type, unit, range, default and help;
 * what crosses two settings (batch >= lanes, exactly one of epochs and steps) is checked here.
 *
 * Owner:    whoever loaded it.  Thread: read-only once loaded, so any.
 * Memory:   one struct and its texts and lists; settings_destroy frees all.
 * Surprise: a relative path under data.* comes out joined to the folder of the job file; one from
 *           --set stays as typed, relative to where the command runs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/codec.h"
#include "common/err.h"
#include "common/log.h"
#include "common/model_spec.h"
#include "common/settings_table.h"

enum data_format { FORMAT_AUTO, FORMAT_IDX, FORMAT_NPY, FORMAT_CSV, FORMAT_SHARDS, FORMAT_TEXT };
enum image_order { IMAGE_NHWC, IMAGE_NCHW };
enum normalise_kind { NORMALISE_NONE, NORMALISE_STANDARD };
enum optimizer_kind {
    OPTIMIZER_SGD,
    OPTIMIZER_MOMENTUM,
    OPTIMIZER_NESTEROV,
    OPTIMIZER_ADAM,
    OPTIMIZER_ADAMW
};
enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_COSINE };
enum consistency_kind { CONSISTENCY_BSP, CONSISTENCY_SSP, CONSISTENCY_ASYNC, CONSISTENCY_LOCAL };
enum nonfinite_kind { NONFINITE_STOP, NONFINITE_SKIP };
enum last_worker_kind { LAST_WORKER_STOP, LAST_WORKER_WAIT };

/* What is changed at random in training samples; worker/data/augment.h and mixup.h say how. */
struct augment_settings {
    double flip, flip_vertical; /* how likely */
    uint32_t pad;               /* pixels */
    double rotate;              /* degrees */
    double brightness, contrast, saturation;
    double mixup; /* alpha; 0: off */
};

/* Texts and paths are never NULL: "" where nothing is set.  Meaning, unit and range of each field
 * stand in the table; `talweg settings` prints them. */
struct settings {
    char *path; /* the job file, as given */
    struct {
        char *name;
        uint64_t seed;
        uint32_t lanes;
        uint32_t batch;
        uint64_t epochs, steps; /* exactly one is above 0 */
        uint64_t eval_every;    /* steps; 0: at the end of each epoch */
        uint32_t patience;      /* evaluations; 0: the job makes all its steps */
        double min_delta;
        enum nonfinite_kind on_nonfinite;
    } job;
    struct {
        enum data_format format;
        char *train_inputs, *train_labels;
        char *test_inputs, *test_labels;
        double test_fraction;
        uint32_t sequence; /* tokens of a sample; 0: inputs are no tokens */
        char *label_column;
        bool header;
        char *delimiter; /* one character */
        struct text_list categorical;
        enum image_order layout;
        double scale;
        struct real_list mean, std; /* both the same length, or empty */
        enum normalise_kind normalise;
        double label_scale;
        uint64_t memory_bytes;
        char *spool_dir;
    } data;
    struct augment_settings augment;
    struct model_spec model; /* model.loss and model.operators */
    struct {
        enum optimizer_kind kind;
        double rate, momentum, beta1, beta2, epsilon, weight_decay, l1;
        double clip_norm, clip_value; /* of a lane's mean gradient; 0: not */
        enum schedule_kind schedule;
        uint64_t warmup_steps, decay_every;
        double decay_factor, min_rate;
        double average; /* 0: none is kept */
    } optimizer;
    struct {
        enum consistency_kind consistency;
        uint32_t staleness; /* ssp: clocks */
        uint32_t local_steps; /* local, as are the next two */
        double outer_rate, outer_momentum;
        enum codec_kind codec;
        double topk_fraction; /* codec sparse, as is the next */
        uint64_t topk_warmup_steps;
        uint32_t block_bytes;
        uint64_t credit_bytes, parked_bytes;
        bool shared_memory;
        char *shared_folder;
        uint32_t retry_ms;
        bool overlap;
    } exchange;
    struct {
        uint32_t threads;
        char *kernels;
    } worker;
    struct {
        uint32_t servers, workers, shards, replicas;
        char *coordinator, *bind, *advertise;
        char *keys; /* folder; "": none */
        bool insecure;
        double wait_s, silence_s, silence_floor_s, answer_s, give_up_s;
        enum last_worker_kind last_worker;
        uint32_t beat_ms;
    } cluster;
    struct {
        uint64_t every; /* steps; 0: only at the end */
        uint32_t keep;
        uint64_t file_bytes;
    } checkpoint;
    struct {
        uint64_t every; /* steps */
        enum log_level level;
    } log;
};

struct document;

/* Reads the job file, then applies sets ("path=value" as given to --set), then checks.
 * ERR_INPUT with "job.cfg:12: optimizer.rat: ..." or "from --set: ..."; ERR_IO; ERR_NOMEM. */
MUST_USE int settings_load(const char *job_path, const char *const *sets, size_t set_count,
                           struct settings **settings_out, struct err_msg *why);
void settings_destroy(struct settings *settings);

/* Lanes have clocks (ssp, async); else each version is made of all lanes (bsp, local). */
bool settings_has_clocks(const struct settings *settings);

/* Prints every setting of the table, then what each operator takes. */
void settings_print(FILE *stream, enum settings_form form);

/* All values as JSON, nested as the job file is.  NULL: out of memory. */
MUST_USE struct document *settings_document(const struct settings *settings);

/* sha256 over every setting that decides the weights, as 64 hex digits and a NUL: two processes of
 * one run must have the same.  Data files count by name, without the folder.  ERR_NOMEM. */
MUST_USE int settings_fingerprint(const struct settings *settings, char hex_out[65]);

enum { SETTINGS_RESUME_BYTES = 4096 };

/* What a checkpoint and the job that goes on from it must share: a word "path:digest " for each
 * setting of settings_fingerprint but the length of the run, job.epochs and job.steps.  With
 * schedule "cosine" those two as well, at the end: there the length decides the rate of every step,
 * so a run made longer would not have the weights of one that was as long from its start.
 * ERR_NOMEM. */
MUST_USE int settings_resume_fingerprint(const struct settings *settings,
                                         char text_out[SETTINGS_RESUME_BYTES]);

#endif
