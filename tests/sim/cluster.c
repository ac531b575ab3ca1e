#include "tests/sim/cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

enum { TENSORS = 5, END_SLACK_MS = 5000 };

static const uint64_t hour_us = 3600u * 1000000ull;

static void create(struct sim *sim, const struct sim_spec *spec, struct sim_result *result)
{
    struct tensor_spec tensors[TENSORS] = {
        {.name = "frozen", .dims = 2, .shape = {4, 5}, .init = INIT_HE, .init_scale = 0.5f,
         .update = UPDATE_FROZEN},
        {.name = "a.weight", .dims = 2, .shape = {7, 9}, .init = INIT_HE, .init_scale = 0.5f,
         .has_decay = true},
        {.name = "a.bias", .dims = 1, .shape = {9}},
        {.name = "a.mean", .dims = 1, .shape = {9}, .update = UPDATE_AVERAGE, .rate_scale = 0.25f},
        {.name = "b.weight", .dims = 2, .shape = {9, 5}, .init = INIT_XAVIER, .init_scale = 0.7f,
         .has_decay = true, .rate_scale = 0.5f}};
    *result = (struct sim_result){0};
    sim->spec = spec;
    sim->result = result;
    sim->chance = (struct draw_key){.seed = spec->seed, .where = 99};
    sim->has_trace = getenv("TALWEG_SIM_TRACE") != NULL;
    int err = layout_create(tensors, TENSORS, spec->settings.exchange.block_bytes, &sim->layout,
                            NULL);
    if (err == 0)
        err = buffer_pool_create(0, &sim->pool);
    if (err == 0)
        err = arena_create(4096, 1 << 20, &sim->arena);
    if (err == 0)
        err = arena_create(4096, 1 << 20, &sim->unpack_arena);
    assert(err == 0);
    assert(sim->layout->block_count <= SIM_BLOCKS_MAX);
    assert(sim->layout->weight_count <= SIM_WEIGHTS_MAX);
    sim->store = spec->store != NULL ? spec->store : sim_store_create();
}

static void schedule_at(struct sim *sim, enum event_kind kind, uint64_t at_ms, size_t to)
{
    if (at_ms > 0)
        sim_schedule(sim, (struct sim_event){.kind = kind, .at_us = at_ms * 1000, .to = to});
}

/* Machines: the coordinator's, then the workers', then the servers'. */
static void populate(struct sim *sim)
{
    const struct sim_spec *spec = sim->spec;
    sim_choose_manners(sim);
    sim_start(sim, sim_add_machine(sim), PROCESS_COORDINATOR, 0);
    for (uint32_t i = 0; i < spec->settings.cluster.workers; i++) {
        size_t machine = sim_add_machine(sim);
        if ((int32_t)i != spec->absent_worker)
            sim_start(sim, machine, PROCESS_WORKER, (int32_t)i);
        if ((int32_t)i == spec->silent_worker)
            schedule_at(sim, EVENT_SILENCE, spec->silent_ms, machine);
    }
    for (uint32_t i = 0; i < spec->settings.cluster.servers; i++)
        sim_start(sim, sim_add_machine(sim), PROCESS_SERVER, (int32_t)i);
    schedule_at(sim, EVENT_STOP, spec->stop_ms, 0);
    sim_plan_faults(sim);
}

static void destroy(struct sim *sim)
{
    while (sim->heap_count > 0) {
        struct sim_event event = sim_next(sim);
        sim_drop(&event);
    }
    for (size_t i = 0; i < sim->party_count; i++) {
        coordinator_destroy(sim->parties[i].coordinator);
        shard_destroy(sim->parties[i].shard);
        exchange_destroy(sim->parties[i].exchange);
        free(sim->parties[i].compute);
    }
    if (sim->spec->store == NULL)
        sim_store_destroy(sim->store);
    sim_list_clear(&sim->open);
    sim_list_clear(&sim->journal);
    free(sim->heap);
    arena_destroy(sim->arena);
    arena_destroy(sim->unpack_arena);
    layout_destroy(sim->layout);
    buffer_pool_destroy(sim->pool);
}

static void note_refused(struct sim *sim)
{
    for (size_t i = 0; i < sim->party_count; i++) {
        if (sim->parties[i].coordinator != NULL)
            sim->result->refused_count += coordinator_refused_count(sim->parties[i].coordinator);
        if (sim->parties[i].shard != NULL)
            sim->result->refused_count += shard_refused_count(sim->parties[i].shard);
    }
}

/* The process that an event is for; process_count when it is for none. */
static size_t process_of(const struct sim *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case EVENT_LETTER:
    case EVENT_WORK:
    case EVENT_LOCAL:
        return sim->parties[event->to].process;
    case EVENT_TICK:
        return event->to;
    case EVENT_STOP:
        return (size_t)sim->machines[0].process;
    case EVENT_FAULT:
    case EVENT_RESTART:
    case EVENT_SILENCE:
        break;
    }
    return sim->process_count;
}

static void silence(struct sim *sim, size_t machine)
{
    size_t process = (size_t)sim->machines[machine].process;
    sim_kill(sim, process);
    sim->processes[process].is_gone_hidden = true;
}

static void handle(struct sim *sim, struct sim_event *event)
{
    switch (event->kind) {
    case EVENT_LETTER:
        sim_deliver(sim, event);
        return;
    case EVENT_TICK:
        sim_tick(sim, event->to);
        return;
    case EVENT_WORK:
        sim_compute_work(sim, event->to);
        return;
    case EVENT_LOCAL:
        sim_compute_answer(sim, event->to, event->header);
        if (sim_is_alive(sim, event->to))
            sim_hear(sim, event->to, event->from, event->header);
        sim_drop(event);
        return;
    case EVENT_FAULT:
        sim_strike(sim);
        return;
    case EVENT_RESTART:
        sim_restart(sim, event->to);
        return;
    case EVENT_STOP:
        sim_stop(sim, (size_t)sim->machines[0].process);
        return;
    case EVENT_SILENCE:
        silence(sim, event->to);
        return;
    }
}

static void note_end(struct sim *sim)
{
    struct coordinator *coordinator = sim_coordinator(sim);
    if (sim->over_us != 0 || coordinator == NULL || !coordinator_is_over(coordinator))
        return;
    size_t self = sim->processes[sim->machines[0].process].first;
    coordinator_progress(coordinator, sim_clock_ms(sim, self), &sim->result->progress);
    sim->result->end_ms = sim->now_us / 1000;
    sim->over_us = sim->now_us;
    sim_trace(sim, "over: %s %s", phase_text(sim->result->progress.phase),
              sim->result->progress.error);
}

static bool is_anyone_there(const struct sim *sim)
{
    for (size_t i = 0; i < sim->process_count; i++)
        if (sim->processes[i].is_alive)
            return true;
    return false;
}

/* When the last of them must have left. */
static uint64_t deadline_us(const struct sim *sim)
{
    const struct settings *settings = &sim->spec->settings;
    double wait_s = settings->cluster.give_up_s > settings->cluster.wait_s
                        ? settings->cluster.give_up_s
                        : settings->cluster.wait_s;
    uint64_t from_us = sim->over_us > sim->calm_us ? sim->over_us : sim->calm_us;
    return from_us + (uint64_t)(wait_s * 1e6) + END_SLACK_MS * 1000ull;
}

static void run(struct sim *sim)
{
    while (!sim->is_over && sim->heap_count > 0) {
        struct sim_event event = sim_next(sim);
        sim->now_us = event.at_us;
        size_t process = process_of(sim, &event);
        uint64_t paused_us =
            process < sim->process_count ? sim->processes[process].paused_us : 0;
        if (paused_us > sim->now_us && sim->processes[process].is_alive) {
            event.at_us = paused_us;
            sim_schedule(sim, event);
            continue;
        }
        handle(sim, &event);
        note_end(sim);
        if (sim->over_us == 0 && sim->now_us > hour_us)
            sim_violate(sim, "the job has not ended within an hour");
        if (sim->over_us != 0 && (!is_anyone_there(sim) || sim->now_us > deadline_us(sim)))
            break;
    }
    if (sim->over_us != 0)
        sim_check_end(sim);
}

void sim_run(const struct sim_spec *spec, struct sim_result *result_out)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    assert(sim != NULL);
    create(sim, spec, result_out);
    populate(sim);
    run(sim);
    result_out->calm_ms = sim->calm_us / 1000;
    note_refused(sim);
    if (spec->record != NULL)
        *spec->record = sim->seen;
    destroy(sim);
    free(sim);
}

struct settings sim_settings(uint32_t servers, uint32_t workers)
{
    struct settings settings = {0};
    settings.job.seed = 7;
    settings.job.lanes = 8;
    settings.job.batch = 24;
    settings.job.steps = 30;
    settings.job.eval_every = 10;
    settings.model.loss = LOSS_SOFTMAX_CROSS_ENTROPY;
    settings.optimizer.kind = OPTIMIZER_ADAM;
    settings.optimizer.rate = 0.05;
    settings.optimizer.beta1 = 0.9;
    settings.optimizer.beta2 = 0.999;
    settings.optimizer.epsilon = 1e-8;
    settings.optimizer.weight_decay = 0.01;
    settings.exchange.consistency = CONSISTENCY_BSP;
    settings.exchange.staleness = 2;
    settings.exchange.block_bytes = 64;
    settings.exchange.credit_bytes = 1 << 20;
    settings.exchange.parked_bytes = 1 << 20;
    settings.exchange.retry_ms = 200;
    settings.exchange.overlap = true;
    settings.worker.threads = 1;
    settings.cluster.servers = servers;
    settings.cluster.workers = workers;
    settings.cluster.shards = 1;
    settings.cluster.wait_s = 60;
    settings.cluster.silence_s = 20;
    settings.cluster.silence_floor_s = 2;
    settings.cluster.answer_s = 60;
    settings.cluster.give_up_s = 60;
    settings.cluster.beat_ms = 500;
    settings.log.every = 10;
    return settings;
}
