#ifndef WORKER_LANE_BATCH_H
#define WORKER_LANE_BATCH_H

/* lane_batch - the samples that a lane takes in at once: read, and in training augmented.
 *
 * What a batch holds is a pure function of its key: whoever fills one, and when, fills it with the
 * same bits.
 *
 * Shapes:   inputs [count][input_count]; labels [count][label_count], count up to the most samples
 *           that a lane of a step can have.
 * Owner:    source: the compute.  A batch: one thread at a time.
 * Memory:   taken in the create functions.
 * Thread:   a source is read-only, so any number.
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/settings.h"
#include "worker/data/dataset.h"

enum batch_part { BATCH_TRAIN, BATCH_EVAL };

struct batch_key {
    enum batch_part part;
    uint64_t step; /* in training: of all of the job; else the piece of the lane's share */
    uint32_t lane;
};

struct lane_batch {
    size_t count;
    float *inputs, *labels;
    float *mix_labels, *mix_weights; /* as struct graph_batch; NULL without mixup, in evaluation
                                        not to be looked at */
    uint64_t *indices;               /* scratch, as all that follows */
    uint32_t *partners;              /* NULL without mixup */
    float *sample;                   /* as large as one; NULL without augmentation */
};

struct lane_source;

struct lane_source_spec { /* all borrowed for the source's life */
    const struct settings *settings;
    const struct batching *batching;
    const struct dataset *train, *test; /* test: NULL when the job has none */
};

/* ERR_INPUT with a sentence when the job augments what samples like these cannot be. */
MUST_USE int lane_batch_check(const struct settings *settings, const struct dataset_info *info,
                              struct err_msg *why);

/* ERR_INPUT as lane_batch_check; ERR_NOMEM. */
MUST_USE int lane_source_create(const struct lane_source_spec *spec,
                                struct lane_source **source_out, struct err_msg *why);
void lane_source_destroy(struct lane_source *source);

/* Room for the source's batches, empty.  After ERR_NOMEM, lane_batch_clear frees what is there. */
MUST_USE int lane_batch_make(const struct lane_source *source, struct lane_batch *batch_out);
void lane_batch_clear(struct lane_batch *batch);

/* Fills a batch.  source is a struct lane_source.  Errors are those of dataset_read. */
MUST_USE int lane_source_read(void *source, const struct batch_key *key, struct lane_batch *batch,
                              struct err_msg *why);

/* The batches that a task begins with and goes on with: those of a lane's round, or of its share of
 * the evaluation.  False when there are none, or no more. */
bool lane_source_first(const struct lane_source *source, enum batch_part part, uint64_t step,
                       uint32_t lane, struct batch_key *key_out);
bool lane_source_next(const struct lane_source *source, struct batch_key *key);

/* The job has a step of that number. */
bool lane_source_has_step(const struct lane_source *source, uint64_t step);

#endif
