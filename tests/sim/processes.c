/* Processes: how they start, hear, tick, are stopped, die and are started again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

enum {
    COORDINATOR_TICK_US = 20000,
    MEMBER_TICK_US = 50000,
    GOODBYE_US = 300000, /* so long a coordinator that is over goes on answering */
    SUPERVISOR_US = 300000, /* before it starts one that left again; doubled each time */
    RESTARTS_MAX = 6,
    CLOCK_SPREAD_MS = 100000
};

struct sim_process *sim_process_of(struct sim *sim, size_t party)
{
    return &sim->processes[sim->parties[party].process];
}

bool sim_is_alive(struct sim *sim, size_t party)
{
    return sim_process_of(sim, party)->is_alive && !sim->parties[party].is_over;
}

uint64_t sim_clock_ms(struct sim *sim, size_t party)
{
    return sim->now_us / 1000 + sim_process_of(sim, party)->clock_ms;
}

struct coordinator *sim_coordinator(struct sim *sim)
{
    const struct sim_process *process = &sim->processes[sim->machines[0].process];
    return process->is_alive ? sim->parties[process->first + 1].coordinator : NULL;
}

void sim_text(const struct sim *sim, size_t party, char *text, size_t size)
{
    if (party >= sim->party_count) {
        snprintf(text, size, "?");
        return;
    }
    const struct sim_party *p = &sim->parties[party];
    const struct sim_process *process = &sim->processes[p->process];
    snprintf(text, size, "%c%d.%zu#%zu", (char)p->self.party, process->rank,
             party - process->first, p->process);
}

size_t sim_add_machine(struct sim *sim)
{
    assert(sim->machine_count < MACHINES_MAX);
    sim->machines[sim->machine_count].process = NO_PROCESS;
    return sim->machine_count++;
}

static size_t add_party(struct sim *sim, enum party party)
{
    assert(sim->party_count < PARTIES_MAX);
    size_t idx = sim->party_count++;
    sim->parties[idx].self = (struct address){party, 0x1000 + idx};
    sim->parties[idx].process = sim->process_count - 1;
    sim->processes[sim->process_count - 1].count++;
    return idx;
}

static struct hello make_hello(const struct sim *sim, uint32_t shard, bool is_worker)
{
    const struct sim_process *process = &sim->processes[sim->process_count - 1];
    struct hello hello = {.rank = process->rank, .pid = 100 + (uint32_t)sim->process_count,
                          .version = TALWEG_VERSION, .kernels = "formula"};
    snprintf(hello.host, sizeof(hello.host), "sim%zu", sim->is_local ? 0 : process->machine);
    memset(hello.fingerprint, 'a', 64);
    if (is_worker) {
        hello.thread_count = 1;
        hello.train_count = TRAIN_SAMPLES;
        hello.test_count = TEST_SAMPLES;
        hello.layout = sim->layout;
    } else {
        hello.shard_idx = shard;
        hello.shard_count = sim->spec->settings.cluster.shards;
        snprintf(hello.endpoint, sizeof(hello.endpoint),
                 sim->is_local ? "ipc:///sim/%zu.%u" : "tcp://10.0.0.%zu:700%u",
                 sim->process_count, shard);
    }
    return hello;
}

static void add_shards(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->spec->settings.cluster.shards; i++) {
        size_t idx = add_party(sim, PARTY_SHARD);
        struct shard_spec spec = {.settings = &sim->spec->settings,
                                  .hello = make_hello(sim, i, false),
                                  .incarnation = sim->parties[idx].self.id};
        int err = shard_create(&spec, &sim->parties[idx].shard);
        assert(err == 0);
    }
}

static void add_worker(struct sim *sim)
{
    struct sim_process *process = &sim->processes[sim->process_count - 1];
    size_t idx = add_party(sim, PARTY_WORKER);
    struct exchange_spec spec = {.settings = &sim->spec->settings,
                                 .hello = make_hello(sim, 0, true),
                                 .incarnation = sim->parties[idx].self.id};
    int err = exchange_create(&spec, &sim->parties[idx].exchange);
    assert(err == 0);
    sim->parties[idx].compute = calloc(1, sizeof(*sim->parties[idx].compute));
    assert(sim->parties[idx].compute != NULL);
    process->lane_us = 1000 + sim_chance(sim, 20000);
    if (sim->spec->is_slow && process->machine == 1)
        process->lane_us *= 10;
}

/* What is on disk after all: the records that are worth those so far. */
static void compact_journal(struct sim *sim, size_t self)
{
    struct outbox out = {0};
    struct sim_list fresh = {0};
    coordinator_snapshot(sim->parties[self].coordinator, &out);
    for (size_t i = 0; i < out.count; i++) {
        const void *bytes;
        size_t size;
        arena_reset(sim->arena);
        if (message_pack(&out.items[i].msg, sim->arena, &bytes, &size) != 0)
            sim_violate(sim, "a record of kind %s cannot be packed",
                        message_kind_text(out.items[i].msg.kind));
        else
            sim_list_add(&fresh, 0, 0, bytes, size);
    }
    outbox_free(&out);
    sim_list_clear(&sim->journal);
    sim->journal = fresh;
}

static void recall(struct sim *sim, size_t self)
{
    for (size_t i = 0; i < sim->journal.count; i++) {
        struct message record;
        struct err_msg why = {0};
        arena_reset(sim->unpack_arena);
        int err = message_unpack(sim->journal.items[i].data, sim->journal.items[i].size, NULL,
                                 sim->unpack_arena, &record, &why);
        if (err == 0)
            err = coordinator_recall(sim->parties[self].coordinator, &record, &why);
        if (err != 0)
            sim_violate(sim, "record %zu of the journal is refused: %s", i, why.text);
    }
    if (sim->journal.count > 0 && sim_is_likely(sim, 50))
        compact_journal(sim, self);
}

static void add_coordinator(struct sim *sim)
{
    size_t store = add_party(sim, PARTY_STORE), idx = add_party(sim, PARTY_COORDINATOR);
    struct coordinator_spec spec = {.settings = &sim->spec->settings,
                                    .run = {1, sim->spec->resume_step + 1},
                                    .incarnation = sim->parties[idx].self.id,
                                    .resume_step = sim->spec->resume_step,
                                    .store_incarnation = sim->parties[store].self.id};
    snprintf(spec.store_endpoint, sizeof(spec.store_endpoint), "inproc://store%zu", store);
    memset(spec.fingerprint, 'a', 64);
    sim->parties[store].is_store = true;
    for (size_t i = 0; i < sim->party_count; i++)
        sim->parties[i].is_known = i == store;
    int err = coordinator_create(&spec, &sim->parties[idx].coordinator);
    assert(err == 0);
    recall(sim, idx);
}

void sim_start(struct sim *sim, size_t machine, enum process_kind kind, int32_t rank)
{
    assert(sim->process_count < PROCESSES_MAX);
    size_t idx = sim->process_count++;
    sim->processes[idx] = (struct sim_process){.kind = kind,
                                               .rank = rank,
                                               .machine = machine,
                                               .is_alive = true,
                                               .clock_ms = sim_chance(sim, CLOCK_SPREAD_MS),
                                               .first = sim->party_count};
    sim->machines[machine].process = (int32_t)idx;
    sim_trace(sim, "start process %zu: kind %d rank %d on machine %zu", idx, (int)kind, rank,
              machine);
    if (kind == PROCESS_COORDINATOR)
        add_coordinator(sim);
    else if (kind == PROCESS_SERVER)
        add_shards(sim);
    else
        add_worker(sim);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_TICK,
                                         .at_us = sim->now_us + 1 + sim_chance(sim, 5000),
                                         .to = idx});
}

void sim_kill(struct sim *sim, size_t process)
{
    struct sim_process *p = &sim->processes[process];
    p->is_alive = false;
    p->is_gone_hidden = sim_is_likely(sim, 30);
    sim_trace(sim, "kill process %zu: kind %d rank %d%s", process, (int)p->kind, p->rank,
              p->is_gone_hidden ? ", unheard" : "");
    if (p->kind == PROCESS_COORDINATOR)
        sim_store_died(sim);
}

/* After a kill, or after the process left by itself before the job was over. */
void sim_restart(struct sim *sim, size_t machine)
{
    size_t process = (size_t)sim->machines[machine].process;
    const struct sim_process *last = &sim->processes[process];
    if (sim->over_us == 0 && last->is_alive && last->is_preempted)
        sim_kill(sim, process);
    if (sim->over_us == 0 && !last->is_alive)
        sim_start(sim, machine, last->kind, last->rank);
}

/* A record is on disk before anything behind it in the outbox is sent. */
static void write_record(struct sim *sim, size_t self, const struct message *msg)
{
    const void *bytes;
    size_t size, process = sim->parties[self].process;
    bool is_fatal = sim->is_write_fatal, is_torn = is_fatal && sim_is_likely(sim, 50);
    arena_reset(sim->arena);
    if (message_pack(msg, sim->arena, &bytes, &size) != 0) {
        sim_violate(sim, "a record of kind %s cannot be packed", message_kind_text(msg->kind));
        return;
    }
    sim_trace(sim, "journal %s%s", message_kind_text(msg->kind), is_torn ? ", torn" : "");
    if (!is_torn)
        sim_list_add(&sim->journal, 0, 0, bytes, size);
    if (!is_fatal)
        return;
    sim->is_write_fatal = false;
    sim_kill(sim, process);
    uint64_t at_us = sim->now_us + 1000 + sim_chance(sim, sim->spec->faults.outage_ms * 1000ull);
    sim->calm_us = at_us > sim->calm_us ? at_us : sim->calm_us;
    sim_schedule(sim, (struct sim_event){.kind = EVENT_RESTART, .at_us = at_us, .to = 0});
}

void sim_flush(struct sim *sim, size_t from, struct outbox *out)
{
    assert(!outbox_failed(out));
    if (out->count > sim->result->outbox_max)
        sim->result->outbox_max = (uint32_t)out->count;
    for (size_t i = 0; i < out->count && sim_process_of(sim, from)->is_alive; i++) {
        const struct envelope *envelope = &out->items[i];
        if (envelope->to.party == PARTY_COMPUTE)
            sim_compute_take(sim, from, &envelope->msg);
        else if (envelope->to.party == PARTY_JOURNAL)
            write_record(sim, from, &envelope->msg);
        else if (envelope->to.party != PARTY_REPORT)
            sim_post(sim, from, envelope->to, &envelope->msg);
    }
    outbox_clear(out);
}

/* A member whose work is over leaves; one that had no reason to is started again. */
static void leave_if_over(struct sim *sim, size_t party)
{
    struct sim_party *p = &sim->parties[party];
    struct sim_process *process = sim_process_of(sim, party);
    struct outcome end = {0};
    bool is_over = p->shard != NULL      ? shard_is_over(p->shard, &end)
                   : p->exchange != NULL ? exchange_is_over(p->exchange, &end)
                                         : false;
    if (!is_over || p->is_over)
        return;
    char who[40];
    sim_text(sim, party, who, sizeof(who));
    sim_trace(sim, "%s leaves: %d %s", who, end.code, end.text);
    p->is_over = true;
    for (size_t i = process->first; i < process->first + process->count; i++)
        if (!sim->parties[i].is_over)
            return;
    process->is_alive = false;
    bool is_newest = sim->machines[process->machine].process == (int32_t)p->process;
    if (sim->over_us != 0 || process->is_leaving || !is_newest ||
        sim->machines[process->machine].restarts == RESTARTS_MAX)
        return;
    uint64_t at_us = sim->now_us + (SUPERVISOR_US << sim->machines[process->machine].restarts++);
    sim->calm_us = at_us > sim->calm_us && sim->calm_us > 0 ? at_us : sim->calm_us;
    sim_schedule(sim, (struct sim_event){
                          .kind = EVENT_RESTART, .at_us = at_us, .to = process->machine});
}

void sim_hear(struct sim *sim, size_t party, struct address from, const struct message *msg)
{
    struct sim_party *p = &sim->parties[party];
    struct outbox out = {0};
    uint64_t now_ms = sim_clock_ms(sim, party);
    if (p->coordinator != NULL)
        coordinator_step(p->coordinator, now_ms, from, msg, &out);
    else if (p->shard != NULL)
        shard_step(p->shard, now_ms, from, msg, &out);
    else if (p->exchange != NULL)
        exchange_step(p->exchange, now_ms, from, msg, &out);
    else if (p->is_store && msg != NULL)
        sim_store_hear(sim, party, from, msg);
    sim_flush(sim, party, &out);
    outbox_free(&out);
    if (p->coordinator != NULL && msg != NULL && sim_is_alive(sim, party))
        sim_check_known(sim, msg);
    leave_if_over(sim, party);
}

/* As the processes' loops do, once a turn, from the signal on. */
void sim_stop(struct sim *sim, size_t process)
{
    struct sim_process *p = &sim->processes[process];
    p->is_leaving = true;
    for (size_t i = p->first; i < p->first + p->count && p->is_alive; i++) {
        struct outbox out = {0};
        if (!sim_is_alive(sim, i))
            continue;
        if (sim->parties[i].shard != NULL)
            shard_stop(sim->parties[i].shard, &out);
        else if (sim->parties[i].exchange != NULL)
            exchange_stop(sim->parties[i].exchange, &out);
        else if (sim->parties[i].coordinator != NULL)
            coordinator_stop(sim->parties[i].coordinator, &out);
        sim_flush(sim, i, &out);
        outbox_free(&out);
        leave_if_over(sim, i);
    }
}

void sim_tick(struct sim *sim, size_t process)
{
    struct sim_process *p = &sim->processes[process];
    bool is_coordinator = p->kind == PROCESS_COORDINATOR;
    if (!p->is_alive)
        return;
    if (is_coordinator && sim->over_us != 0 && sim->now_us > sim->over_us + GOODBYE_US) {
        p->is_alive = false;
        return;
    }
    if (p->is_leaving)
        sim_stop(sim, process);
    for (size_t i = p->first; i < p->first + p->count && p->is_alive; i++) {
        struct metric_row row;
        if (sim_is_alive(sim, i))
            sim_hear(sim, i, (struct address){0}, NULL);
        while (sim->parties[i].coordinator != NULL &&
               coordinator_next_row(sim->parties[i].coordinator, &row))
            ;
    }
    sim_schedule(sim, (struct sim_event){
                          .kind = EVENT_TICK,
                          .at_us = sim->now_us +
                                   (is_coordinator ? COORDINATOR_TICK_US : MEMBER_TICK_US),
                          .to = process});
}
