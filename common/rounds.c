#include "common/rounds.h"

static bool is_local(const struct settings *settings)
{
    return settings->exchange.consistency == CONSISTENCY_LOCAL;
}

/* The optimizer is the workers' then, and servers add up what it makes (worker/residual.h). */
static bool is_sparse(const struct settings *settings)
{
    return settings->exchange.codec == CODEC_SPARSE;
}

uint64_t rounds_steps(const struct settings *settings)
{
    return is_local(settings) ? settings->exchange.local_steps : 1;
}

static uint64_t divide_up(uint64_t count, uint64_t each)
{
    return count / each + (count % each != 0);
}

uint64_t rounds_of_job(const struct settings *settings, const struct batching *batching)
{
    uint64_t steps = settings->job.steps > 0 ? settings->job.steps
                                             : batching_job_steps(batching, settings->job.epochs);
    return divide_up(steps, rounds_steps(settings));
}

uint64_t rounds_last_due(const struct settings *settings, uint64_t every, uint64_t round)
{
    uint64_t round_steps = rounds_steps(settings), steps = round * round_steps;
    return divide_up(steps - steps % every, round_steps);
}

bool rounds_is_due(const struct settings *settings, uint64_t every, uint64_t round)
{
    return round > 0 && rounds_last_due(settings, every, round) == round;
}

float rounds_sum_scale(const struct settings *settings, const struct batching *batching,
                       uint64_t round)
{
    if (is_sparse(settings))
        return 1.0f;
    return 1.0f / (float)(is_local(settings) ? batching->lane_count
                                             : batching_step_samples(batching, round));
}

struct settings rounds_server_settings(const struct settings *settings)
{
    struct settings servers = *settings;
    if (is_sparse(settings)) {
        servers.optimizer.kind = OPTIMIZER_SGD;
        servers.optimizer.rate = 1.0;
        servers.optimizer.schedule = SCHEDULE_CONSTANT;
        servers.optimizer.warmup_steps = 0;
        servers.optimizer.weight_decay = servers.optimizer.l1 = 0.0;
    }
    if (!is_local(settings))
        return servers;
    servers.optimizer.kind = OPTIMIZER_NESTEROV;
    servers.optimizer.rate = settings->exchange.outer_rate;
    servers.optimizer.momentum = settings->exchange.outer_momentum;
    servers.optimizer.schedule = SCHEDULE_CONSTANT;
    servers.optimizer.warmup_steps = 0;
    servers.optimizer.weight_decay = servers.optimizer.l1 = 0.0;
    return servers;
}
