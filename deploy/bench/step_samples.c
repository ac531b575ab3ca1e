#include "deploy/bench/step_samples.h"

#include <stdlib.h>
#include <string.h>
#include "common/philox.h"
#include "worker/data/dataset.h"

/* Streams of their own; a job's begin at 1 and are of other keys (batching.h). */
enum { DRAW_INPUTS = 1, DRAW_LABELS = 2 };

static int make_room(struct step_samples *samples, struct err_msg *why)
{
    samples->inputs = calloc(samples->count, samples->input_count * sizeof(float));
    samples->labels = calloc(samples->count, samples->input.label_count * sizeof(float));
    if (samples->inputs == NULL || samples->labels == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %zu samples of %zu numbers", samples->count,
                       samples->input_count);
    return 0;
}

/* Numbers below `limit`; 0: standard normal ones. */
static void draw(float *out, size_t count, uint32_t limit, struct draw_key key)
{
    if (limit == 0) {
        draw_fill_normal(&key, 0, out, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(draw_u32(&key, i) % limit);
}

int step_samples_draw(const struct graph_input *input, size_t count, uint64_t seed,
                      struct step_samples *out, struct err_msg *why)
{
    *out = (struct step_samples){.input = *input, .input_count = 1, .count = count};
    for (uint32_t i = 0; i < input->dims; i++)
        out->input_count *= input->shape[i];
    int err = make_room(out, why);
    if (err != 0)
        return err;
    draw(out->inputs, count * out->input_count, input->token_count,
         (struct draw_key){.seed = seed, .where = DRAW_INPUTS});
    draw(out->labels, count * input->label_count, input->class_count,
         (struct draw_key){.seed = seed, .where = DRAW_LABELS});
    return 0;
}

static int read_all(const struct dataset *data, struct step_samples *out, struct err_msg *why)
{
    const struct dataset_info *info = dataset_info(data);
    uint64_t *indices = calloc(out->count, sizeof(*indices));
    int err = make_room(out, why);
    if (err == 0 && indices == NULL)
        err = err_set(why, ERR_NOMEM, "no memory for %zu samples", out->count);
    for (size_t i = 0; err == 0 && i < out->count; i++)
        indices[i] = i % info->count;
    if (err == 0)
        err = dataset_read(data, indices, out->count, out->inputs, out->labels, why);
    free(indices);
    return err;
}

int step_samples_read(const struct settings *settings, size_t count, struct step_samples *out,
                      struct err_msg *why)
{
    struct dataset *data = NULL;
    *out = (struct step_samples){.count = count};
    int err = dataset_open(settings, DATASET_TRAIN, &data, why);
    if (err != 0)
        return err;
    const struct dataset_info *info = dataset_info(data);
    out->input = (struct graph_input){.dims = info->dims,
                                      .label_count = info->label_count,
                                      .class_count = info->class_count,
                                      .token_count = info->token_count};
    memcpy(out->input.shape, info->shape, sizeof(out->input.shape));
    out->input_count = info->input_count;
    err = read_all(data, out, why);
    dataset_close(data);
    return err;
}

void step_samples_free(struct step_samples *samples)
{
    free(samples->inputs);
    free(samples->labels);
    samples->inputs = samples->labels = NULL;
}
