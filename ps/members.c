#include "ps/members.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_WINDOW_MS = 2000 };

void members_free(struct members *members)
{
    free(members->items);
    *members = (struct members){0};
}

struct member *members_find(const struct members *members, struct address who)
{
    for (size_t i = 0; i < members->count; i++)
        if (address_equal(members->items[i].who, who))
            return &members->items[i];
    return NULL;
}

static uint32_t places(const struct settings *settings, enum party party)
{
    return party == PARTY_SHARD ? settings->cluster.servers : settings->cluster.workers;
}

static const char *role_text(enum party party)
{
    return party == PARTY_SHARD ? "server" : "worker";
}

struct member *members_holder(const struct members *members, enum party party, uint32_t rank,
                              uint32_t shard_idx)
{
    for (size_t i = 0; i < members->count; i++) {
        struct member *m = &members->items[i];
        if (m->who.party == party && m->rank == rank && m->hello.shard_idx == shard_idx)
            return m;
    }
    return NULL;
}

/* Shards of one process come one by one without a rank: they belong together by host and pid. */
static bool is_same_process(const struct member *m, const struct hello *hello)
{
    return m->hello.pid == hello->pid && strcmp(m->hello.host, hello->host) == 0;
}

uint32_t members_choose_rank(const struct members *members, enum party party,
                             const struct hello *hello)
{
    uint32_t rank = 0;
    if (hello->rank >= 0)
        return (uint32_t)hello->rank;
    for (size_t i = 0; party == PARTY_SHARD && i < members->count; i++)
        if (members->items[i].who.party == party && is_same_process(&members->items[i], hello))
            return members->items[i].rank;
    for (bool is_taken = true; is_taken; rank += is_taken) {
        is_taken = false;
        for (size_t i = 0; i < members->count && !is_taken; i++) {
            const struct member *m = &members->items[i];
            is_taken = m->who.party == party && m->rank == rank && m->state != MEMBER_GONE;
        }
    }
    return rank;
}

int members_add(struct members *members, struct address who, uint32_t rank,
                const struct hello *hello, struct member **member_out)
{
    if (members->count == members->capacity) {
        size_t capacity = members->capacity == 0 ? 16 : 2 * members->capacity;
        struct member *items = realloc(members->items, capacity * sizeof(*items));
        if (items == NULL)
            return ERR_NOMEM;
        members->items = items;
        members->capacity = capacity;
    }
    struct member *member = &members->items[members->count++];
    *member = (struct member){.who = who, .rank = rank, .hello = *hello};
    member->hello.layout = NULL;
    *member_out = member;
    return 0;
}

void members_remove(struct members *members, struct member *member)
{
    size_t idx = (size_t)(member - members->items);
    memmove(member, member + 1, (--members->count - idx) * sizeof(*member));
}

size_t members_count(const struct members *members, enum party party, bool is_staying)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        count += m->who.party == party && m->state != MEMBER_GONE &&
                 !(is_staying && m->state == MEMBER_LEAVING);
    }
    return count;
}

const struct member *members_with_other_kernels(const struct members *members,
                                                const struct member *worker)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        if (m->who.party == PARTY_WORKER && m->hello.kernels[0] != '\0' &&
            strcmp(m->hello.kernels, worker->hello.kernels) != 0)
            return m;
    }
    return NULL;
}

const char *member_state_text(const struct member *member)
{
    static const char *const texts[] = {"here", "leaving", "lost"};
    return texts[member->state];
}

static size_t count_of(const struct members *members, enum party party, uint32_t rank)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        count += members->items[i].who.party == party && members->items[i].rank == rank &&
                 members->items[i].state != MEMBER_GONE;
    return count;
}

/* A server is here when all its shards are. */
static bool is_here(const struct members *members, const struct settings *settings,
                    enum party party, uint32_t rank)
{
    return count_of(members, party, rank) >=
           (party == PARTY_SHARD ? settings->cluster.shards : 1u);
}

/* One process of each rank counts: the first in the list that is not gone. */
static bool is_first(const struct members *members, size_t idx)
{
    const struct member *m = &members->items[idx];
    for (size_t i = 0; i < idx; i++)
        if (members->items[i].who.party == m->who.party && members->items[i].rank == m->rank &&
            members->items[i].state != MEMBER_GONE)
            return false;
    return true;
}

/* Processes of that role, from a rank on, that are here with all their shards. */
static uint32_t count_here(const struct members *members, const struct settings *settings,
                           enum party party, uint32_t first_rank)
{
    uint32_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        count += m->who.party == party && m->state != MEMBER_GONE && m->rank >= first_rank &&
                 is_first(members, i) && is_here(members, settings, party, m->rank);
    }
    return count;
}

bool members_complete(const struct members *members, const struct settings *settings)
{
    return count_here(members, settings, PARTY_SHARD, 0) >= settings->cluster.servers &&
           count_here(members, settings, PARTY_WORKER, 0) >= settings->cluster.workers;
}

static size_t missing_of(const struct members *members, const struct settings *settings,
                         enum party party, char *text, size_t size)
{
    uint32_t count = places(settings, party), missing = 0, listed = 0;
    /* One beyond the ranks that the job speaks of stands for one that is missing. */
    uint32_t beyond = count_here(members, settings, party, count);
    char ranks[128] = "";
    size_t at = 0;
    for (uint32_t rank = 0; rank < count; rank++)
        missing += !is_here(members, settings, party, rank);
    missing -= beyond < missing ? beyond : missing;
    for (uint32_t rank = 0; rank < count && listed < missing; rank++) {
        if (is_here(members, settings, party, rank))
            continue;
        listed++;
        if (at + 12 < sizeof(ranks))
            at += (size_t)snprintf(ranks + at, sizeof(ranks) - at, " %" PRIu32, rank);
    }
    int length = snprintf(text, size, "%" PRIu32 " of %" PRIu32 " %ss", count - missing, count,
                          role_text(party));
    if (missing > 0 && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, " (missing rank%s%s)",
                           missing > 1 ? "s" : "", ranks);
    return (size_t)length < size ? (size_t)length : size - 1;
}

void members_missing_text(const struct members *members, const struct settings *settings,
                          char *text, size_t size)
{
    size_t at = missing_of(members, settings, PARTY_SHARD, text, size);
    at += (size_t)snprintf(text + at, size - at, ", ");
    if (at < size)
        missing_of(members, settings, PARTY_WORKER, text + at, size - at);
}

void member_text(const struct member *member, char *text, size_t size)
{
    if (member->who.party == PARTY_SHARD)
        snprintf(text, size, "server %" PRIu32 " shard %" PRIu32 " (pid %" PRIu32 " on host %s)",
                 member->rank, member->hello.shard_idx, member->hello.pid, member->hello.host);
    else
        snprintf(text, size, "worker %" PRIu32 " (pid %" PRIu32 " on host %s)", member->rank,
                 member->hello.pid, member->hello.host);
}

void member_note_beat(struct member *member, const struct beat *beat, uint64_t now_ms)
{
    if (member->beat_ms == 0) {
        member->earlier = *beat;
        member->earlier_ms = now_ms;
    } else if (now_ms - member->earlier_ms >= 2 * RATE_WINDOW_MS) {
        member->earlier = member->beat;
        member->earlier_ms = member->beat_ms;
    }
    if (member->beat_ms != 0)
        deadline_note(&member->beats, now_ms - member->beat_ms);
    bool lacks_same = beat->step == member->beat.step && beat->lack_end > 0 &&
                      beat->lack_begin == member->beat.lack_begin &&
                      beat->version_sum == member->beat.version_sum;
    if (!lacks_same || member->lack_ms == 0)
        member->lack_ms = now_ms;
    member->beat = *beat;
    member->beat_ms = now_ms;
}

void member_note_lane(struct member *member, uint64_t compute_us, uint64_t now_ms)
{
    deadline_note(&member->lanes, compute_us);
    member->lane_ms = deadline_mean(&member->lanes) / 1000.0;
    member->late_ms = 0.0;
    member->lane_told_ms = now_ms;
}

void member_note_arrival(struct member *member, const struct lane_result *lane, uint64_t ms)
{
    if (member->arrival_step != lane->step)
        member->arrival_us = 0;
    member->arrival_step = lane->step;
    member->arrival_ms = ms;
    member->arrival_us += lane->compute_us;
}

void member_close_step(struct member *member, uint64_t step)
{
    uint32_t threads = member->hello.thread_count == 0 ? 1 : member->hello.thread_count;
    uint64_t compute_ms = member->arrival_us / threads / 1000;
    if (member->arrival_us > 0 && member->arrival_step == step)
        deadline_note(&member->arrivals,
                      member->arrival_ms > compute_ms ? member->arrival_ms - compute_ms : 0);
    member->arrival_us = 0;
}

void member_forget_lanes(struct member *member)
{
    member->lanes = member->arrivals = (struct deadline){0};
    member->lane_ms = member->late_ms = member->behind_ms = 0.0;
}

double members_hidden(const struct members *members, const struct member *worker)
{
    double exchange_us = 0, exposed_us = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        if (member->who.party != PARTY_WORKER || (worker != NULL && member != worker))
            continue;
        exchange_us += (double)member->beat.exchange_us;
        exposed_us += (double)member->beat.exposed_us;
    }
    return exchange_us > 0 ? 1 - exposed_us / exchange_us : NAN;
}

struct member_waits members_waits(const struct members *members, const struct member *worker)
{
    double compute_us = 0, data_us = 0, exposed_us = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        if (member->who.party != PARTY_WORKER || (worker != NULL && member != worker))
            continue;
        compute_us += (double)member->beat.compute_us;
        data_us += (double)member->beat.data_us;
        exposed_us += (double)member->beat.exposed_us;
    }
    double whole_us = compute_us + exposed_us;
    if (!(whole_us > 0))
        return (struct member_waits){NAN, NAN};
    return (struct member_waits){data_us / whole_us, exposed_us / whole_us};
}

double member_rate(const struct member *member, uint64_t newest, uint64_t earlier)
{
    if (member->beat_ms <= member->earlier_ms || newest < earlier)
        return 0.0;
    return (double)(newest - earlier) * 1000.0 / (double)(member->beat_ms - member->earlier_ms);
}
