#include "worker/step_memory.h"

#include "common/batching.h"
#include "common/optimizer.h"
#include "worker/ahead.h"

/* Vectors that `local` has for the steps that a lane makes by itself, and topk for what was not
 * sent. */
static uint64_t vectors_beside(const struct settings *settings)
{
    uint64_t states = optimizer_state_count(settings->optimizer.kind);
    uint64_t vectors = 0;
    if (settings->exchange.consistency == CONSISTENCY_LOCAL)
        vectors += settings->worker.threads * (1 + states);
    if (settings->exchange.codec == CODEC_SPARSE)
        vectors += states > 0 ? 2 : 1;
    return vectors;
}

struct step_memory step_memory_of(const struct settings *settings, const struct layout *layout,
                              const struct dataset_info *info, uint64_t activation_bytes)
{
    struct batching batching = {.sample_count = info->count,
                                .batch = settings->job.batch,
                                .lane_count = settings->job.lanes};
    uint64_t vector = layout->weight_count * sizeof(float), threads = settings->worker.threads;
    uint64_t sample = (info->input_count + info->label_count) * sizeof(float);
    return (struct step_memory){
        .activations = activation_bytes,
        .weights = 2 * vector,
        .gradients = threads * vector,
        .beside = vectors_beside(settings) * vector,
        .samples = (threads + AHEAD_SPARE_BATCHES) * batching_lane_max(&batching) * sample,
    };
}

uint64_t step_memory_total(const struct step_memory *memory)
{
    return memory->activations + memory->weights + memory->gradients + memory->beside +
           memory->samples;
}
