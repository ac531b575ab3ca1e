#include "ps/members.h"

#include <inttypes.h>
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

/* The member that has this rank (and, of a server, this shard); NULL when the place is free. */
static const struct member *holder(const struct members *members, enum party party, uint32_t rank,
                                   uint32_t shard_idx)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        if (m->who.party == party && m->rank == rank && m->hello.shard_idx == shard_idx)
            return m;
    }
    return NULL;
}

/* Shards of one process come one by one without a rank: they belong together by host and pid. */
static int32_t rank_of_process(const struct members *members, enum party party,
                               const struct hello *hello)
{
    for (size_t i = 0; party == PARTY_SHARD && i < members->count; i++) {
        const struct member *m = &members->items[i];
        if (m->who.party == party && m->hello.pid == hello->pid &&
            strcmp(m->hello.host, hello->host) == 0)
            return (int32_t)m->rank;
    }
    return -1;
}

static int32_t free_rank(const struct members *members, const struct settings *settings,
                         enum party party)
{
    for (uint32_t rank = 0; rank < places(settings, party); rank++) {
        bool is_free = true;
        for (size_t i = 0; i < members->count && is_free; i++)
            is_free = members->items[i].who.party != party || members->items[i].rank != rank;
        if (is_free)
            return (int32_t)rank;
    }
    return -1;
}

static int choose_rank(const struct members *members, const struct settings *settings,
                       enum party party, const struct hello *hello, struct err_msg *why)
{
    int32_t rank = hello->rank;
    uint32_t count = places(settings, party);
    if (rank < 0)
        rank = rank_of_process(members, party, hello);
    if (rank < 0)
        rank = free_rank(members, settings, party);
    if (rank < 0 || (uint32_t)rank >= count)
        return err_set(why, ERR_REFUSED,
                       "the job has %" PRIu32 " %ss (ranks 0 to %" PRIu32
                       ") and no place for another, or for rank %" PRId32,
                       count, role_text(party), count - 1, hello->rank);
    const struct member *other = holder(members, party, (uint32_t)rank, hello->shard_idx);
    if (other != NULL)
        return err_set(why, ERR_REFUSED, "rank %" PRId32 " is taken by %s pid %" PRIu32 " on %s",
                       rank, role_text(party), other->hello.pid, other->hello.host);
    return rank;
}

int members_add(struct members *members, const struct settings *settings, struct address who,
                const struct hello *hello, struct member **member_out, struct err_msg *why)
{
    int rank = choose_rank(members, settings, who.party, hello, why);
    if (rank < 0)
        return rank;
    if (members->count == members->capacity) {
        size_t capacity = members->capacity == 0 ? 16 : 2 * members->capacity;
        struct member *items = realloc(members->items, capacity * sizeof(*items));
        if (items == NULL)
            return err_set(why, ERR_NOMEM, "no memory for a member");
        members->items = items;
        members->capacity = capacity;
    }
    struct member *member = &members->items[members->count++];
    *member = (struct member){.who = who, .rank = (uint32_t)rank, .hello = *hello};
    member->hello.layout = NULL;
    *member_out = member;
    return 0;
}

static size_t count_of(const struct members *members, enum party party, uint32_t rank)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        count += members->items[i].who.party == party && members->items[i].rank == rank;
    return count;
}

/* A server is here when all its shards are. */
static bool is_here(const struct members *members, const struct settings *settings,
                    enum party party, uint32_t rank)
{
    return count_of(members, party, rank) >=
           (party == PARTY_SHARD ? settings->cluster.shards : 1u);
}

bool members_complete(const struct members *members, const struct settings *settings)
{
    for (uint32_t rank = 0; rank < settings->cluster.servers; rank++)
        if (!is_here(members, settings, PARTY_SHARD, rank))
            return false;
    for (uint32_t rank = 0; rank < settings->cluster.workers; rank++)
        if (!is_here(members, settings, PARTY_WORKER, rank))
            return false;
    return true;
}

static size_t missing_of(const struct members *members, const struct settings *settings,
                         enum party party, char *text, size_t size)
{
    uint32_t count = places(settings, party), missing = 0;
    char ranks[128] = "";
    size_t at = 0;
    for (uint32_t rank = 0; rank < count; rank++) {
        if (is_here(members, settings, party, rank))
            continue;
        missing++;
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
    member->beat = *beat;
    member->beat_ms = now_ms;
}

double member_rate(const struct member *member, uint64_t newest, uint64_t earlier)
{
    if (member->beat_ms <= member->earlier_ms || newest < earlier)
        return 0.0;
    return (double)(newest - earlier) * 1000.0 / (double)(member->beat_ms - member->earlier_ms);
}
