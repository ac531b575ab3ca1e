#include "common/rounds.h"

static const char average_name[] = "average";

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

uint64_t rounds_next_due(const struct settings *settings, uint64_t every, uint64_t round)
{
    uint64_t round_steps = rounds_steps(settings), steps = round * round_steps;
    return divide_up(steps - steps % every + every, round_steps);
}

uint64_t rounds_eval_every(const struct settings *settings, const struct batching *batching)
{
    return settings->job.eval_every > 0 ? settings->job.eval_every
                                        : batching_epoch_steps(batching);
}

float rounds_sum_scale(const struct settings *settings, const struct batching *batching,
                       uint64_t round)
{
    if (is_sparse(settings))
        return 1.0f;
    return 1.0f / (float)(is_local(settings) ? batching->lane_count
                                             : batching_step_samples(batching, round));
}

struct rounds_average rounds_average_of(const struct settings *settings,
                                        const struct batching *batching, uint64_t round,
                                        float rate_scale, double share)
{
    if (is_local(settings))
        return (struct rounds_average){1.0f, -1.0f / (float)batching->lane_count};
    return (struct rounds_average){
        (float)(1.0 - (double)rate_scale * share),
        (float)((double)rate_scale / (double)batching_step_samples(batching, round))};
}

static enum optimizer_kind server_kind(const struct settings *settings)
{
    return rounds_server_settings(settings).optimizer.kind;
}

bool rounds_has_average(const struct settings *settings)
{
    return settings->optimizer.average > 0;
}

size_t rounds_state_count(const struct settings *settings)
{
    return optimizer_state_count(server_kind(settings)) + rounds_has_average(settings);
}

const char *rounds_state_name(const struct settings *settings, size_t idx)
{
    enum optimizer_kind kind = server_kind(settings);
    return idx < optimizer_state_count(kind) ? optimizer_state_name(kind, idx) : average_name;
}

double rounds_average_share(const struct settings *settings, uint64_t round)
{
    double few = 9.0 / (11.0 + (double)round), many = 1.0 - settings->optimizer.average;
    return few > many ? few : many;
}

float rounds_server_rate_scale(const struct settings *settings, const struct tensor_spec *tensor)
{
    bool is_optimized = tensor->update == UPDATE_OPTIMIZER;
    bool is_done = is_optimized && (is_local(settings) || is_sparse(settings));
    return is_done ? 1.0f : tensor_rate_scale(tensor);
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
