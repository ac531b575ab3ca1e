#include "worker/lane_batch.h"

#include <stdlib.h>
#include "common/rounds.h"
#include "worker/data/augment.h"
#include "worker/data/mixup.h"

struct lane_source {
    struct lane_source_spec spec;
    const struct dataset_info *info; /* of the training part */
    size_t lane_max;
    struct augment augment;
    bool is_augmented; /* by augment */
    struct mixup mixup;
    float *pixels; /* augment's black, then white */
};

/* Tokens are names of rows of an embedding, and there is nothing between two of them. */
static int check_mixup(const struct settings *settings, const struct dataset_info *info,
                       struct err_msg *why)
{
    bool has_positions = info->class_count > 0 && info->label_count > 1;
    if (settings->augment.mixup > 0 && (has_positions || info->token_count > 0))
        return err_set(why, ERR_INPUT,
                       "augment.mixup: found %g, expected 0: samples of tokens, or with a class at "
                       "each position, cannot be mixed",
                       settings->augment.mixup);
    return 0;
}

int lane_batch_check(const struct settings *settings, const struct dataset_info *info,
                     struct err_msg *why)
{
    int err = augment_check(&settings->augment, info->dims, info->shape[2], why);
    return err == 0 ? check_mixup(settings, info, why) : err;
}

static int prepare(struct lane_source *source, struct err_msg *why)
{
    const struct augment_settings *settings = &source->spec.settings->augment;
    const struct dataset_info *info = source->info;
    int err = lane_batch_check(source->spec.settings, info, why);
    if (err != 0)
        return err;
    source->mixup = (struct mixup){settings->mixup, info->input_count, info->label_count};
    source->is_augmented = augment_changes_images(settings);
    if (!source->is_augmented)
        return 0;
    uint32_t channels = info->shape[2];
    source->pixels = calloc(2 * (size_t)channels, sizeof(float));
    if (source->pixels == NULL)
        return err_set(why, ERR_NOMEM, "no memory for what is augmented");
    dataset_pixel_range(source->spec.train, source->pixels, source->pixels + channels);
    source->augment = (struct augment){.settings = *settings,
                                       .rows = info->shape[0],
                                       .cols = info->shape[1],
                                       .channels = channels,
                                       .black = source->pixels,
                                       .white = source->pixels + channels};
    return 0;
}

int lane_source_create(const struct lane_source_spec *spec, struct lane_source **source_out,
                       struct err_msg *why)
{
    *source_out = NULL;
    struct lane_source *source = calloc(1, sizeof(*source));
    if (source == NULL)
        return err_set(why, ERR_NOMEM, "no memory for what lanes read");
    source->spec = *spec;
    source->info = dataset_info(spec->train);
    source->lane_max = batching_lane_max(spec->batching);
    int err = prepare(source, why);
    if (err != 0) {
        lane_source_destroy(source);
        return err;
    }
    *source_out = source;
    return 0;
}

void lane_source_destroy(struct lane_source *source)
{
    if (source == NULL)
        return;
    free(source->pixels);
    free(source);
}

int lane_batch_make(const struct lane_source *source, struct lane_batch *batch_out)
{
    const struct dataset_info *info = source->info;
    size_t lane_max = source->lane_max;
    bool is_mixed = source->mixup.alpha > 0, is_changed = is_mixed || source->is_augmented;
    *batch_out = (struct lane_batch){.indices = calloc(lane_max, sizeof(uint64_t)),
                                     .inputs = calloc(lane_max * info->input_count, sizeof(float)),
                                     .labels = calloc(lane_max * info->label_count, sizeof(float))};
    bool is_made = batch_out->indices != NULL && batch_out->inputs != NULL &&
                   batch_out->labels != NULL;
    if (is_changed) {
        batch_out->sample = calloc(info->input_count, sizeof(float));
        is_made = is_made && batch_out->sample != NULL;
    }
    if (is_mixed) {
        batch_out->mix_labels = calloc(lane_max * info->label_count, sizeof(float));
        batch_out->mix_weights = calloc(lane_max, sizeof(float));
        batch_out->partners = calloc(lane_max, sizeof(uint32_t));
        is_made = is_made && batch_out->mix_labels != NULL && batch_out->mix_weights != NULL &&
                  batch_out->partners != NULL;
    }
    return is_made ? 0 : ERR_NOMEM;
}

void lane_batch_clear(struct lane_batch *batch)
{
    free(batch->indices);
    free(batch->inputs);
    free(batch->labels);
    free(batch->mix_labels);
    free(batch->mix_weights);
    free(batch->partners);
    free(batch->sample);
    *batch = (struct lane_batch){0};
}

/* In pieces of at most lane_max samples, always the same ones. */
static struct range eval_piece(const struct lane_source *source, const struct batch_key *key)
{
    struct range share = batching_eval_range(dataset_info(source->spec.test)->count,
                                             source->spec.batching->lane_count, key->lane);
    uint64_t begin = share.begin + key->step * source->lane_max, end = begin + source->lane_max;
    return (struct range){begin < share.end ? begin : share.end,
                          end < share.end ? end : share.end};
}

static int read_eval(const struct lane_source *source, const struct batch_key *key,
                     struct lane_batch *batch, struct err_msg *why)
{
    struct range piece = eval_piece(source, key);
    batch->count = (size_t)(piece.end - piece.begin);
    for (size_t i = 0; i < batch->count; i++)
        batch->indices[i] = piece.begin + i;
    return dataset_read(source->spec.test, batch->indices, batch->count, batch->inputs,
                        batch->labels, why);
}

static void change(const struct lane_source *source, const struct batch_key *key,
                   struct lane_batch *batch)
{
    const struct draw_key draw = {.seed = source->spec.batching->seed, .step = key->step,
                                  .lane = key->lane};
    for (size_t i = 0; i < batch->count && source->is_augmented; i++)
        augment_image(&source->augment, &draw, i, batch->inputs + i * source->info->input_count,
                      batch->sample);
    if (source->mixup.alpha > 0)
        mixup_apply(&source->mixup, &draw,
                    &(struct mixup_lane){.count = batch->count,
                                         .inputs = batch->inputs,
                                         .labels = batch->labels,
                                         .mix_labels = batch->mix_labels,
                                         .weights = batch->mix_weights,
                                         .partners = batch->partners,
                                         .scratch = batch->sample});
}

int lane_source_read(void *source, const struct batch_key *key, struct lane_batch *batch,
                     struct err_msg *why)
{
    const struct lane_source *self = source;
    if (key->part == BATCH_EVAL)
        return read_eval(self, key, batch, why);
    batch->count = batching_lane_samples(self->spec.batching, key->step, key->lane, batch->indices);
    int err = dataset_read(self->spec.train, batch->indices, batch->count, batch->inputs,
                           batch->labels, why);
    if (err == 0)
        change(self, key, batch);
    return err;
}

bool lane_source_first(const struct lane_source *source, enum batch_part part, uint64_t step,
                       uint32_t lane, struct batch_key *key_out)
{
    uint64_t first = part == BATCH_EVAL ? 0 : step * rounds_steps(source->spec.settings);
    *key_out = (struct batch_key){part, first, lane};
    if (part == BATCH_TRAIN)
        return true;
    struct range piece = eval_piece(source, key_out);
    return piece.begin < piece.end;
}

bool lane_source_next(const struct lane_source *source, struct batch_key *key)
{
    key->step++;
    if (key->part == BATCH_TRAIN)
        return key->step % rounds_steps(source->spec.settings) != 0;
    struct range piece = eval_piece(source, key);
    return piece.begin < piece.end;
}

bool lane_source_has_step(const struct lane_source *source, uint64_t step)
{
    const struct settings *settings = source->spec.settings;
    return step / rounds_steps(settings) < rounds_of_job(settings, source->spec.batching);
}
