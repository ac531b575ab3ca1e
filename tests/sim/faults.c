/* What goes wrong, and when: drawn from the seed as the run goes on. */
#include <string.h>
#include "tests/sim/world.h"

enum { RETRY_US = 50000, SHORTEST_US = 1000 };

/* A machine's own sockets never break while both ends live: they cannot be cut. */
void sim_choose_manners(struct sim *sim)
{
    const uint8_t *weight = sim->spec->faults.weight;
    bool is_cut = weight[FAULT_CUT] > 0 || weight[FAULT_PART] > 0 || weight[FAULT_REPLACE] > 0;
    sim->is_holding = sim_is_likely(sim, 50);
    sim->is_resetting = sim_is_likely(sim, 30);
    sim->is_queueing = sim_is_likely(sim, 50);
    sim->is_local = !is_cut && sim_is_likely(sim, 50);
}

void sim_plan_faults(struct sim *sim)
{
    const struct sim_faults *faults = &sim->spec->faults;
    for (uint32_t i = 0; i < faults->count; i++)
        sim_schedule(sim, (struct sim_event){.kind = EVENT_FAULT,
                                             .at_us = sim_chance(sim, faults->span_ms * 1000ull)});
}

/* When a fault that begins now ends. */
static uint64_t outage(struct sim *sim)
{
    uint64_t end_us =
        sim->now_us + SHORTEST_US + sim_chance(sim, sim->spec->faults.outage_ms * 1000ull);
    sim->calm_us = end_us > sim->calm_us ? end_us : sim->calm_us;
    return end_us;
}

static bool is_present(const struct sim *sim, size_t machine, enum process_kind kind)
{
    int32_t process = sim->machines[machine].process;
    return process != NO_PROCESS && sim->processes[process].kind == kind &&
           sim->processes[process].is_alive && !sim->processes[process].is_leaving;
}

static size_t count_present(const struct sim *sim, enum process_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < sim->machine_count; i++)
        count += is_present(sim, i, kind);
    return count;
}

/* One of them by chance; machine_count when there is none. */
static size_t choose(struct sim *sim, enum process_kind kind)
{
    size_t count = count_present(sim, kind);
    size_t left = count == 0 ? 0 : sim_chance(sim, count) + 1;
    for (size_t i = 0; i < sim->machine_count && left > 0; i++)
        if (is_present(sim, i, kind) && --left == 0)
            return i;
    return sim->machine_count;
}

static size_t choose_member(struct sim *sim)
{
    return choose(sim, sim_is_likely(sim, 50) ? PROCESS_SERVER : PROCESS_WORKER);
}

static void kill_machine(struct sim *sim, size_t machine)
{
    sim_kill(sim, (size_t)sim->machines[machine].process);
    sim_schedule(sim, (struct sim_event){
                          .kind = EVENT_RESTART, .at_us = outage(sim), .to = machine});
}

static void kill_one(struct sim *sim, enum process_kind kind)
{
    size_t machine = choose(sim, kind);
    if (machine < sim->machine_count)
        kill_machine(sim, machine);
}

static void kill_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->machine_count; i++) {
        int32_t process = sim->machines[i].process;
        if (process != NO_PROCESS && sim->processes[process].is_alive &&
            !sim->processes[process].is_leaving)
            kill_machine(sim, i);
    }
}

static void pause_one(struct sim *sim)
{
    size_t machine = sim_is_likely(sim, 20) ? 0 : choose_member(sim);
    if (machine == sim->machine_count || sim->machines[machine].process == NO_PROCESS)
        return;
    struct sim_process *process = &sim->processes[sim->machines[machine].process];
    process->paused_us = outage(sim);
    sim_trace(sim, "pause process %d until %llu ms", sim->machines[machine].process,
              (unsigned long long)process->paused_us / 1000);
}

static void cut(struct sim *sim, size_t from, size_t to, uint64_t until_us)
{
    if (from != to && sim->cut_us[from][to] < until_us)
        sim->cut_us[from][to] = until_us;
}

static void cut_one(struct sim *sim)
{
    size_t from = sim_chance(sim, sim->machine_count), to = sim_chance(sim, sim->machine_count);
    cut(sim, from, to, outage(sim));
    sim_trace(sim, "cut from machine %zu to %zu", from, to);
}

static void part(struct sim *sim)
{
    uint64_t group = sim_chance(sim, UINT32_MAX), until_us = outage(sim);
    uint64_t ways = sim_chance(sim, 4); /* mostly both */
    for (size_t i = 0; i < sim->machine_count; i++)
        for (size_t j = 0; j < sim->machine_count; j++) {
            bool is_out = (group >> i & 1) != 0 && (group >> j & 1) == 0;
            bool is_in = (group >> i & 1) == 0 && (group >> j & 1) != 0;
            if ((is_out && ways != 1) || (is_in && ways != 2))
                cut(sim, i, j, until_us);
        }
    sim_trace(sim, "part machines %llx, ways %llu, until %llu ms", (unsigned long long)group,
              (unsigned long long)ways, (unsigned long long)until_us / 1000);
}

/* Somebody takes it for dead and starts another in its place. */
static void replace(struct sim *sim)
{
    size_t old = choose_member(sim);
    if (old == sim->machine_count || sim->machine_count == MACHINES_MAX)
        return;
    uint64_t until_us = outage(sim);
    for (size_t i = 0; i < sim->machine_count; i++) {
        cut(sim, i, old, until_us);
        cut(sim, old, i, until_us);
    }
    struct sim_process *process = &sim->processes[sim->machines[old].process];
    enum process_kind kind = process->kind;
    int32_t rank = process->rank;
    sim->machines[old].process = NO_PROCESS;
    sim_trace(sim, "replace rank %d of machine %zu", rank, old);
    sim_start(sim, sim_add_machine(sim), kind, rank);
}

static void join(struct sim *sim)
{
    if (sim->machine_count == MACHINES_MAX)
        return;
    enum process_kind kind = sim_is_likely(sim, 50) ? PROCESS_SERVER : PROCESS_WORKER;
    outage(sim);
    sim_start(sim, sim_add_machine(sim), kind, -1);
}

/* Somebody must be left to do the work. */
static void drain(struct sim *sim)
{
    size_t machine = choose_member(sim);
    struct coordinator *coordinator = sim_coordinator(sim);
    if (machine == sim->machine_count || coordinator == NULL ||
        coordinator_view(coordinator) == NULL)
        return; /* whoever is asked to stop before it begins ends it */
    size_t process = (size_t)sim->machines[machine].process;
    enum process_kind kind = sim->processes[process].kind;
    uint32_t replicas = sim->spec->settings.cluster.replicas;
    if (count_present(sim, kind) < (kind == PROCESS_SERVER ? 2 + replicas : 2))
        return;
    outage(sim);
    sim->result->has_drained = true;
    sim_trace(sim, "drain process %zu", process);
    sim_stop(sim, process);
}

/* Its machine is needed elsewhere for a while. */
static void preempt(struct sim *sim)
{
    size_t machine = choose(sim, PROCESS_WORKER);
    if (machine == sim->machine_count)
        return;
    size_t process = (size_t)sim->machines[machine].process;
    sim_trace(sim, "preempt process %zu", process);
    sim->processes[process].is_preempted = true;
    sim_stop(sim, process);
    sim_schedule(sim, (struct sim_event){
                          .kind = EVENT_RESTART, .at_us = outage(sim), .to = machine});
}

static bool is_there(struct sim *sim, uint64_t incarnation)
{
    for (size_t i = 0; i < sim->party_count; i++)
        if (sim->parties[i].self.id == incarnation)
            return sim_is_alive(sim, i);
    return false;
}

/* Every block's backup is of another process than its primary. */
static bool is_spread(const struct view *view)
{
    for (size_t i = 0; i < view->block_count; i++) {
        uint32_t backup = view->block_backup == NULL ? NOBODY : view->block_backup[i];
        if (backup == NOBODY ||
            view->shards[backup].rank == view->shards[view->block_shard[i]].rank)
            return false;
    }
    return true;
}

/* All servers are well, and every block has had a backup since the last of them died: moving blocks
 * about must not take that away again. */
static bool is_whole(struct sim *sim)
{
    struct coordinator *coordinator = sim_coordinator(sim);
    const struct view *view = coordinator == NULL ? NULL : coordinator_view(coordinator);
    struct progress progress;
    if (view == NULL || (!sim->was_protected && !is_spread(view)))
        return false;
    for (size_t i = 0; i < view->shard_count; i++)
        if (!is_there(sim, view->shards[i].incarnation))
            return false;
    for (size_t i = 0; i < sim->machine_count; i++) {
        int32_t process = sim->machines[i].process;
        if (process == NO_PROCESS || sim->processes[process].kind != PROCESS_SERVER)
            continue;
        if (!sim->processes[process].is_alive || sim->processes[process].paused_us > sim->now_us)
            return false;
    }
    size_t self = sim->processes[sim->machines[0].process].first;
    coordinator_progress(coordinator, sim_clock_ms(sim, self), &progress);
    sim->was_protected = sim->was_protected || progress.is_protected;
    return sim->was_protected;
}

static enum sim_fault pick(struct sim *sim)
{
    const uint8_t *weight = sim->spec->faults.weight;
    uint64_t total = 0;
    for (size_t i = 0; i < FAULT_KINDS; i++)
        total += weight[i];
    uint64_t left = sim_chance(sim, total);
    size_t kind = 0;
    while (kind + 1 < FAULT_KINDS && left >= weight[kind])
        left -= weight[kind++];
    return (enum sim_fault)kind;
}

void sim_strike(struct sim *sim)
{
    enum sim_fault kind = pick(sim);
    if (sim->over_us != 0)
        return;
    if (sim->spec->faults.is_gentle && kind == FAULT_KILL_SERVER && !is_whole(sim)) {
        sim_schedule(sim, (struct sim_event){.kind = EVENT_FAULT,
                                             .at_us = sim->now_us + RETRY_US});
        return;
    }
    sim->result->fault_count++;
    switch (kind) {
    case FAULT_KILL_WORKER:
        kill_one(sim, PROCESS_WORKER);
        break;
    case FAULT_KILL_SERVER:
        sim->was_protected = false;
        kill_one(sim, PROCESS_SERVER);
        break;
    case FAULT_KILL_COORDINATOR:
        kill_one(sim, PROCESS_COORDINATOR);
        break;
    case FAULT_KILL_WRITING:
        sim->is_write_fatal = true;
        break;
    case FAULT_KILL_ALL:
        kill_all(sim);
        break;
    case FAULT_PAUSE:
        pause_one(sim);
        break;
    case FAULT_CUT:
        cut_one(sim);
        break;
    case FAULT_PART:
        part(sim);
        break;
    case FAULT_REPLACE:
        replace(sim);
        break;
    case FAULT_JOIN:
        join(sim);
        break;
    case FAULT_DRAIN:
        drain(sim);
        break;
    case FAULT_PREEMPT:
        preempt(sim);
        break;
    case FAULT_KINDS:
        break;
    }
}
