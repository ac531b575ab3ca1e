#include "common/batching.h"

#include <assert.h>
#include "common/permute.h"
#include "common/philox.h"

uint64_t batching_epoch_steps(const struct batching *batching)
{
    return (batching->sample_count + batching->batch - 1) / batching->batch;
}

uint64_t batching_job_steps(const struct batching *batching, uint64_t epochs)
{
    return epochs * batching_epoch_steps(batching);
}

uint64_t batching_step_samples(const struct batching *batching, uint64_t step)
{
    uint64_t first = step % batching_epoch_steps(batching) * batching->batch;
    uint64_t left = batching->sample_count - first;
    return left < batching->batch ? left : batching->batch;
}

uint32_t batching_lane_max(const struct batching *batching)
{
    return (batching->batch + batching->lane_count - 1) / batching->lane_count;
}

static uint64_t epoch_key(uint64_t seed, uint64_t epoch)
{
    struct draw_key key = {.seed = seed, .step = epoch, .where = DRAW_ORDER};
    return (uint64_t)draw_u32(&key, 0) << 32 | draw_u32(&key, 1);
}

uint32_t batching_lane_samples(const struct batching *batching, uint64_t step, uint32_t lane,
                               uint64_t *out)
{
    assert(lane < batching->lane_count);
    uint64_t epoch_steps = batching_epoch_steps(batching);
    uint64_t first = step % epoch_steps * batching->batch;
    struct range share = batching_eval_range(batching_step_samples(batching, step),
                                             batching->lane_count, lane);
    struct permute order;
    uint64_t epoch = step / epoch_steps;
    permute_init(&order, batching->sample_count, epoch_key(batching->seed, epoch));
    for (uint64_t i = share.begin; i < share.end; i++)
        out[i - share.begin] = epoch * batching->sample_count + permute_at(&order, first + i);
    return (uint32_t)(share.end - share.begin);
}

struct range batching_eval_range(uint64_t sample_count, uint32_t lane_count, uint32_t lane)
{
    /* count / lanes each, and one more for the first count % lanes: no product to overflow. */
    uint64_t each = sample_count / lane_count, extra = sample_count % lane_count;
    uint64_t begin = each * lane + (lane < extra ? lane : extra);
    return (struct range){begin, begin + each + (lane < extra ? 1 : 0)};
}
