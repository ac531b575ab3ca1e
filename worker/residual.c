#include "worker/residual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/sparse.h"

struct residual {
    const struct settings *settings;
    const struct layout *layout;
    float *unsent;     /* v */
    float *velocity;   /* u; NULL: sgd */
    uint64_t *stepped; /* [block_count]: the step that velocity was last moved on for, plus 1 */
};

int residual_create(const struct settings *settings, const struct layout *layout,
                    struct residual **residual_out)
{
    struct residual *residual = calloc(1, sizeof(*residual));
    size_t count = (size_t)layout->weight_count;
    if (residual == NULL)
        return ERR_NOMEM;
    residual->settings = settings;
    residual->layout = layout;
    residual->unsent = calloc(count, sizeof(float));
    residual->stepped = calloc(layout->block_count, sizeof(*residual->stepped));
    bool has_velocity = settings->optimizer.kind != OPTIMIZER_SGD;
    if (has_velocity)
        residual->velocity = calloc(count, sizeof(float));
    if (residual->unsent == NULL || residual->stepped == NULL ||
        (has_velocity && residual->velocity == NULL)) {
        residual_destroy(residual);
        return ERR_NOMEM;
    }
    *residual_out = residual;
    return 0;
}

void residual_destroy(struct residual *residual)
{
    if (residual == NULL)
        return;
    free(residual->unsent);
    free(residual->velocity);
    free(residual->stepped);
    free(residual);
}

void residual_clear(struct residual *residual)
{
    size_t bytes = (size_t)residual->layout->weight_count * sizeof(float);
    memset(residual->unsent, 0, bytes);
    if (residual->velocity != NULL)
        memset(residual->velocity, 0, bytes);
    memset(residual->stepped, 0, residual->layout->block_count * sizeof(*residual->stepped));
}

static size_t element_count(const struct residual *residual, size_t block_idx)
{
    const struct range *range = &residual->layout->blocks[block_idx].range;
    return (size_t)(range->end - range->begin);
}

size_t residual_keep(const struct residual *residual, size_t block_idx, uint64_t step)
{
    const struct layout *layout = residual->layout;
    size_t count = element_count(residual, block_idx);
    if (layout->tensors[layout->blocks[block_idx].tensor_idx].dims == 1)
        return count;
    double share = residual->settings->exchange.topk_fraction;
    uint64_t warmup = residual->settings->exchange.topk_warmup_steps;
    if (step < warmup)
        share = pow(share, (double)step / (double)warmup);
    size_t keep = (size_t)ceil(share * (double)count);
    keep = keep == 0 ? 1 : keep;
    return codec_bytes(CODEC_SPARSE, keep) < codec_bytes(CODEC_F32, count) ? keep : count;
}

/* What a node adds, element by element. */
struct gradient {
    const float *sum, *weights;
    float scale;             /* 1 / samples of the step */
    float weight_decay, l1; /* by the node's share of the samples */
};

static struct gradient gradient_of(const struct residual *residual,
                                   const struct batching *batching,
                                   const struct residual_part *part)
{
    const struct settings *settings = residual->settings;
    uint64_t samples = batching_step_samples(batching, part->step);
    uint32_t lanes = batching->lane_count;
    struct range first = batching_eval_range(samples, lanes, part->node.begin);
    struct range last = batching_eval_range(samples, lanes, part->node.end - 1);
    double share = (double)(last.end - first.begin) / (double)samples;
    const struct block_spec *block = &residual->layout->blocks[part->block_idx];
    struct gradient gradient = {
        .sum = part->sum, .weights = part->weights, .scale = 1.0f / (float)samples};
    if (residual->layout->tensors[block->tensor_idx].has_decay) {
        gradient.weight_decay = (float)(settings->optimizer.weight_decay * share);
        gradient.l1 = (float)(settings->optimizer.l1 * share);
    }
    return gradient;
}

static float gradient_at(const struct gradient *g, size_t i)
{
    float w = g->weights[i];
    return g->sum[i] * g->scale + g->weight_decay * w +
           g->l1 * (float)((w > 0.0f) - (w < 0.0f));
}

/* The second node of a step adds to what the first has moved on: that is linear. */
void residual_add(struct residual *residual, const struct batching *batching,
                  const struct residual_part *part)
{
    const struct range *range = &residual->layout->blocks[part->block_idx].range;
    size_t count = element_count(residual, part->block_idx);
    struct gradient gradient = gradient_of(residual, batching, part);
    float momentum = (float)residual->settings->optimizer.momentum;
    bool is_nesterov = residual->settings->optimizer.kind == OPTIMIZER_NESTEROV;
    bool is_first = residual->stepped[part->block_idx] != part->step + 1;
    float *v = residual->unsent + range->begin;
    float *u = residual->velocity == NULL ? NULL : residual->velocity + range->begin;
    residual->stepped[part->block_idx] = part->step + 1;
    for (size_t i = 0; i < count; i++) {
        float g = gradient_at(&gradient, i);
        if (u == NULL) {
            v[i] += part->rate * g;
            continue;
        }
        float kept = is_first ? momentum * u[i] : 0.0f;
        u[i] = is_first ? kept + g : u[i] + g;
        v[i] += part->rate * (is_nesterov ? g + momentum * (kept + g) : kept + g);
    }
}

void residual_take(struct residual *residual, const struct residual_part *part, void *out)
{
    const struct range *range = &residual->layout->blocks[part->block_idx].range;
    size_t count = element_count(residual, part->block_idx);
    float *v = residual->unsent + range->begin;
    size_t keep = residual_keep(residual, part->block_idx, part->step);
    if (keep < count) {
        sparse_move_largest(v, count, keep, out);
        return;
    }
    memcpy(out, v, count * sizeof(float));
    memset(v, 0, count * sizeof(float));
}
