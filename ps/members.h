#ifndef PS_MEMBERS_H
#define PS_MEMBERS_H

/* members - who has said hello to the coordinator, and what each has said of itself since.
 *
 * A server process with several shards has one member a shard; a worker process has one.  A member
 * that was written off stays until its rank is given to another: it may only have been cut off.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   grows as members come.
 * Surprise: pointers to members last until the next members_add or members_remove.
 */
#include "common/deadline.h"
#include "common/settings.h"
#include "proto/message.h"

enum member_state {
    MEMBER_HERE,
    MEMBER_LEAVING, /* was asked to stop: what it has goes to others, then it goes */
    MEMBER_GONE     /* written off: silent, or its connection is gone */
};

/* What ps/traffic has seen of a shard. */
struct traffic_marks {
    uint64_t bytes, ms;  /* its counters at the begin of the window, and of when they are */
    double heat, excess; /* traffic over that expected; of the others' the least of so many */
    uint32_t excess_count; /* windows one after another */
};

struct member {
    struct address who;
    uint32_t rank;      /* of its process among those of its role */
    struct hello hello; /* layout is not kept; zeroed after a recall until it says hello again */
    enum member_state state;
    uint32_t view;      /* the newest that it has told to have */
    uint64_t owed_ms;   /* since when it is to have a newer one and has come no nearer; 0: it has */
    bool is_deaf;       /* it speaks and hears nothing: for the job it is gone */
    bool is_heard;      /* has spoken since this coordinator began */
    bool is_dead;       /* known not to run any more, not only silent */
    uint64_t heard_ms;  /* when last */
    uint64_t gone_ms;   /* since when its connection is gone; 0: it is there */
    uint64_t challenged_ms; /* since when another claims its rank; 0: none does */
    uint64_t leaving_ms;
    struct deadline beats; /* times between them */
    bool has_finished;  /* a worker: its digest of the final weights is in */
    struct deadline lanes; /* a worker: times of its last lanes, in us */
    double lane_ms;     /* a worker: mean time of its last lanes; 0: not known */
    struct deadline arrivals; /* a worker: how long after a step's begin its last lane came, less
                                 the time that it took to compute them */
    uint64_t arrival_step, arrival_ms, arrival_us; /* the step in work: when that was; to compute */
    double behind_ms; /* its lanes come so much later than others' for that; 0: they do not */
    double late_ms;     /* it has been at a lane for so long, at least; 0: it is not late */
    uint64_t lane_told_ms; /* when lane_ms was last measured */
    bool is_lagging;
    uint64_t lost_step;  /* a worker: it waits for all blocks to be there at this version, since no
                            shard had the one before for it; 0: for nothing */
    struct beat beat;    /* newest */
    struct beat earlier; /* the one that rates are reckoned from */
    uint64_t beat_ms, earlier_ms;
    uint64_t lack_ms;    /* a shard: since when it lacks the same lanes of the same step */
    struct traffic_marks traffic;
};

/* Valid when zeroed. */
struct members {
    struct member *items;
    size_t count, capacity;
};

void members_free(struct members *members);
struct member *members_find(const struct members *members, struct address who);

/* Who has this rank (and, of a server, this shard); NULL when the place is free. */
struct member *members_holder(const struct members *members, enum party party, uint32_t rank,
                              uint32_t shard_idx);

/* The rank that who says hello gets: the one it asks for; else that of its own process, of one that
 * is gone, or the lowest free one. */
uint32_t members_choose_rank(const struct members *members, enum party party,
                             const struct hello *hello);

/* Adds a member whose place is free.  ERR_NOMEM. */
MUST_USE int members_add(struct members *members, struct address who, uint32_t rank,
                         const struct hello *hello, struct member **member_out);
void members_remove(struct members *members, struct member *member);

/* A worker that multiplies with other kernels than this one, or NULL.  Lanes have the bits of the
 * kernels that computed them: with two kinds of them repeats of a run may differ. */
const struct member *members_with_other_kernels(const struct members *members,
                                                const struct member *worker);

/* Members of a party that are not gone; with is_staying only those that are not leaving either. */
size_t members_count(const struct members *members, enum party party, bool is_staying);

/* As many servers, with all their shards, and workers are here as the job asks for, of whatever
 * ranks. */
bool members_complete(const struct members *members, const struct settings *settings);

/* "1 of 2 servers (missing rank 1), 2 of 4 workers (missing ranks 2 3)". */
void members_missing_text(const struct members *members, const struct settings *settings,
                          char *text, size_t size);

/* "worker 2 (pid 17 on host a)"; text: [size]. */
void member_text(const struct member *member, char *text, size_t size);

/* "here", "leaving", "lost".  Static. */
const char *member_state_text(const struct member *member);

/* Takes a beat and keeps the one that rates are reckoned from at least 2 s older. */
void member_note_beat(struct member *member, const struct beat *beat, uint64_t now_ms);

/* Takes the time of one lane; forgets all of them, so that a slow worker gets another chance. */
void member_note_lane(struct member *member, uint64_t compute_us, uint64_t now_ms);

/* One of its lanes of the step in work has come, so long after the step began; then, that step is
 * whole. */
void member_note_arrival(struct member *member, const struct lane_result *lane, uint64_t ms);
void member_close_step(struct member *member, uint64_t step);

void member_forget_lanes(struct member *member);

/* How much of a worker's exchange was hidden behind its compute, 0..1, and of all workers' (NULL);
 * NaN when there was none. */
double members_hidden(const struct members *members, const struct member *worker);

/* Of the time in which a worker had lanes to compute, or would have had if their weights were
 * there, the shares in which it waited for samples and for the exchange, 0..1, and of all workers'
 * (NULL); NaN when there was none. */
struct member_waits {
    double data, exchange;
};
struct member_waits members_waits(const struct members *members, const struct member *worker);

/* (newest - earlier) of a counter a second; 0 before two beats. */
double member_rate(const struct member *member, uint64_t newest, uint64_t earlier);

#endif
