#ifndef PS_MEMBERS_H
#define PS_MEMBERS_H

/* members - who has said hello to the coordinator, and what each has said of itself since.
 *
 * A server process with several shards has one member a shard; a worker process has one.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   grows as members come.
 * Surprise: pointers to members last until the next members_add.
 */
#include "common/settings.h"
#include "proto/message.h"

struct member {
    struct address who;
    uint32_t rank;       /* of its process among those of its role */
    struct hello hello;  /* layout is not kept */
    uint64_t heard_ms;   /* when last */
    bool has_finished;   /* a worker: its digest of the final weights is in */
    struct beat beat;    /* newest */
    struct beat earlier; /* the one that rates are reckoned from */
    uint64_t beat_ms, earlier_ms;
};

/* Valid when zeroed. */
struct members {
    struct member *items;
    size_t count, capacity;
};

void members_free(struct members *members);
struct member *members_find(const struct members *members, struct address who);

/* Admits a member after checking that the job has a place for it: gives it its rank.  ERR_REFUSED
 * with a sentence for a rank that is taken or out of range, or one process too many. */
MUST_USE int members_add(struct members *members, const struct settings *settings,
                         struct address who, const struct hello *hello,
                         struct member **member_out, struct err_msg *why);

/* Shards and workers that the job asks for are all here. */
bool members_complete(const struct members *members, const struct settings *settings);

/* "1 of 2 servers (missing rank 1), 2 of 4 workers (missing ranks 2 3)". */
void members_missing_text(const struct members *members, const struct settings *settings,
                          char *text, size_t size);

/* "worker 2 (pid 17 on host a)"; text: [size]. */
void member_text(const struct member *member, char *text, size_t size);

/* Takes a beat and keeps the one that rates are reckoned from at least 2 s older. */
void member_note_beat(struct member *member, const struct beat *beat, uint64_t now_ms);

/* (newest - earlier) of a counter a second; 0 before two beats. */
double member_rate(const struct member *member, uint64_t newest, uint64_t earlier);

#endif
