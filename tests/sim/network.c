/* The heap of events, and letters: packed, lost, delayed, held back, repeated, delivered. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

enum { HOLD_US = 40000, GONE_US = 20000 };

uint64_t sim_chance(struct sim *sim, uint64_t below)
{
    return draw_u32(&sim->chance, sim->chance_idx++) % (below == 0 ? 1 : below);
}

bool sim_is_likely(struct sim *sim, uint32_t percent)
{
    return percent > 0 && sim_chance(sim, 100) < percent;
}

static bool is_earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

void sim_schedule(struct sim *sim, struct sim_event event)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity == 0 ? 256 : 2 * sim->heap_capacity;
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof(*sim->heap));
        assert(sim->heap != NULL);
    }
    event.number = sim->number++;
    size_t i = sim->heap_count++;
    while (i > 0 && is_earlier(&event, &sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = event;
}

struct sim_event sim_next(struct sim *sim)
{
    struct sim_event first = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t i = 0;
    while (true) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_count)
            break;
        if (child + 1 < sim->heap_count && is_earlier(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!is_earlier(&sim->heap[child], &last))
            break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return first;
}

void sim_drop(struct sim_event *event)
{
    free(event->header);
    buffer_unref(event->payload);
}

/* The newest of that address; the coordinator is whoever is on its machine. */
static size_t party_of(const struct sim *sim, struct address who)
{
    for (size_t i = sim->party_count; i-- > 0;)
        if (sim->parties[i].self.party == who.party &&
            (who.party == PARTY_COORDINATOR || sim->parties[i].self.id == who.id))
            return i;
    return PARTIES_MAX;
}

static size_t machine_of(struct sim *sim, size_t party)
{
    return sim_process_of(sim, party)->machine;
}

/* The coordinator's sockets say that nobody is connected under that address. */
static void report_gone(struct sim *sim, size_t from, size_t to)
{
    struct message gone = {.kind = MSG_GONE};
    struct sim_event event = {.kind = EVENT_LOCAL,
                              .at_us = sim->now_us + 1 + sim_chance(sim, GONE_US),
                              .to = from,
                              .from = sim->parties[to].self,
                              .header = malloc(sizeof(gone))};
    assert(event.header != NULL);
    memcpy(event.header, &gone, sizeof(gone));
    sim_schedule(sim, event);
}

static bool is_lost(struct sim *sim, size_t from, size_t to, const char **fate)
{
    bool is_down = sim->parties[from].coordinator != NULL && !sim->parties[to].is_store;
    size_t here = machine_of(sim, from), there = machine_of(sim, to);
    bool is_cut = sim->cut_us[here][there] > sim->now_us;
    bool is_dead = !sim_is_alive(sim, to);
    if (is_down && (is_dead || !sim->parties[to].is_known || (is_cut && sim->is_resetting))) {
        if (!is_dead || !sim_process_of(sim, to)->is_gone_hidden)
            report_gone(sim, from, to);
        *fate = "refused";
        return true;
    }
    *fate = is_dead ? "to a dead one" : is_cut ? "cut" : "lost";
    if (is_dead && !sim->is_queueing)
        return true;
    if (is_cut && !sim->is_holding)
        return true;
    return here != there && sim_is_likely(sim, sim->spec->drop_percent);
}

static struct sim_event pack(struct sim *sim, const struct message *msg)
{
    struct sim_event event = {.kind = EVENT_LETTER};
    const void *header;
    arena_reset(sim->arena);
    int err = message_pack(msg, sim->arena, &header, &event.header_bytes);
    if (err != 0) {
        sim_violate(sim, "a %s cannot be packed", message_kind_text(msg->kind));
        return event;
    }
    event.header = malloc(event.header_bytes);
    assert(event.header != NULL);
    memcpy(event.header, header, event.header_bytes);
    if (msg->payload != NULL) {
        event.payload = buffer_pool_take(sim->pool, msg->payload->size_bytes);
        memcpy(event.payload->data, msg->payload->data, msg->payload->size_bytes);
    }
    return event;
}

static uint64_t arrival_us(struct sim *sim, size_t from, size_t to)
{
    uint64_t at_us = sim->now_us + 10 + sim_chance(sim, sim->spec->delay_ms * 1000ull);
    size_t here = machine_of(sim, from), there = machine_of(sim, to);
    if (here == there && sim->parties[from].is_store)
        at_us += sim_chance(sim, sim->spec->disk_ms * 1000ull);
    if (sim->cut_us[here][there] > at_us)
        at_us = sim->cut_us[here][there] + sim_chance(sim, sim->spec->delay_ms * 1000ull);
    if (sim->spec->is_fifo && at_us <= sim->last_us[from][to])
        at_us = sim->last_us[from][to] + 1;
    sim->last_us[from][to] = at_us;
    return at_us;
}

/* Packs the message as for a wire and sends it on its way. */
void sim_post(struct sim *sim, size_t from, struct address to_address, const struct message *msg)
{
    size_t to = party_of(sim, to_address);
    const char *fate = "";
    sim_check_post(sim, from, to, msg);
    if (to == PARTIES_MAX)
        return;
    sim->result->message_count++;
    if (is_lost(sim, from, to, &fate)) {
        sim_trace_letter(sim, from, to, msg, fate);
        return;
    }
    struct sim_event event = pack(sim, msg);
    if (event.header == NULL)
        return;
    event.to = to;
    event.from = sim->parties[from].self;
    if (event.from.party == PARTY_COORDINATOR)
        event.from.id = 0;
    event.at_us = arrival_us(sim, from, to);
    sim_schedule(sim, event);
    if (!sim_is_likely(sim, sim->spec->twice_percent))
        return;
    event = pack(sim, msg);
    event.to = to;
    event.from = sim->parties[from].self;
    if (event.from.party == PARTY_COORDINATOR)
        event.from.id = 0;
    event.at_us = sim->now_us + 10 + sim_chance(sim, 10000ull * sim->spec->delay_ms);
    sim_schedule(sim, event);
}

/* A dead party's letter goes to the one that has its place, as a socket's queue does that was
 * connected to an endpoint, or waits for it; false when there will be none. */
static bool redirect(struct sim *sim, struct sim_event *event)
{
    struct sim_process *dead = sim_process_of(sim, event->to);
    int32_t newest = sim->machines[dead->machine].process;
    bool is_routed = event->from.party == PARTY_COORDINATOR || event->from.party == PARTY_STORE;
    if (!sim->is_queueing || is_routed || sim->over_us != 0 || dead->kind == PROCESS_WORKER ||
        newest == NO_PROCESS)
        return false;
    struct sim_process *heir = &sim->processes[newest];
    if (!heir->is_alive) {
        event->at_us = sim->now_us + HOLD_US;
        sim_schedule(sim, *event);
        return true;
    }
    if (heir == dead || heir->kind != dead->kind)
        return false;
    event->to = heir->first + (event->to - dead->first);
    event->at_us = sim->now_us + 1;
    sim_schedule(sim, *event);
    return true;
}

void sim_deliver(struct sim *sim, struct sim_event *event)
{
    struct message msg;
    struct err_msg why;
    if (!sim_is_alive(sim, event->to)) {
        if (!redirect(sim, event))
            sim_drop(event);
        return;
    }
    arena_reset(sim->unpack_arena);
    int err = message_unpack(event->header, event->header_bytes, event->payload,
                             sim->unpack_arena, &msg, &why);
    if (err != 0)
        sim_violate(sim, "what was packed cannot be unpacked: %s", why.text);
    size_t from = party_of(sim, event->from);
    if (err == 0) {
        if (sim->parties[event->to].coordinator != NULL && from < PARTIES_MAX)
            sim->parties[from].is_known = true;
        sim_trace_letter(sim, from, event->to, &msg, "");
        sim_check_hear(sim, event->to, &msg);
        sim_hear(sim, event->to, event->from, &msg);
    }
    sim_drop(event);
}
