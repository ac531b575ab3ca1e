#ifndef PS_COORDINATOR_STATE_H
#define PS_COORDINATOR_STATE_H

/* coordinator_state - what the parts of the coordinator share: coordinator.c hears, _views.c
 * decides who has what, _watch.c looks for who is late, _leave.c lets members go, _hold.c waits for
 * evaluations (early stopping), _end.c stops and finishes.
 *
 * Owner:    ps/coordinator*.c alone.  Thread: the coordinator's loop.
 * Memory:   as ps/coordinator.h.
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/deadline.h"
#include "ps/admission.h"
#include "ps/coordinator.h"
#include "ps/placement.h"
#include "ps/tracker.h"
#include "ps/traffic.h"

enum { NONFINITE_TEXT_BYTES = 250 };

struct coordinator {
    struct coordinator_spec spec;
    enum phase phase;
    char error[512];
    struct members members;
    struct admission admission;
    struct view view; /* the newest; number 0: none yet */
    struct batching batching;
    struct placement placement;
    struct traffic traffic;
    uint64_t *lane_owner;    /* [job.lanes] worker ids, of the view to come */
    uint64_t *lane_moved_ms; /* [job.lanes] when a lane was last given to another for being late */
    struct tracker *tracker;

    bool is_begun;       /* has written or read the journal's first records */
    bool is_recalled;    /* goes on with a run of the journal */
    bool is_view_due;    /* something has changed that the next view is to say */
    bool is_view_urgent; /* and nobody can go on without it */
    uint64_t lost_ms;    /* since when a version is asked for that is lost; 0: none is */
    uint64_t view_ms;    /* when the newest view was made */
    uint64_t lease_end_ms; /* until then a primary that is no longer listed may still be at work */
    uint64_t deal_ms, probe_ms; /* when last looked whether lanes lie well; asked who is there */

    bool has_kept;      /* a checkpoint of this job is there to go back to */
    uint64_t kept_step; /* the newest one's */
    char checkpoint[512];
    uint64_t failed_checkpoint_count, final_failure_count;

    uint64_t nonfinite_ms; /* since when a number is known to be none; 0: all are */
    char bad_loss[NONFINITE_TEXT_BYTES], bad_gradient[NONFINITE_TEXT_BYTES]; /* "": not heard of */

    char ending[300];      /* why the job finished before its last step; "": it has not */
    bool is_all_evaluated; /* the last version too, as far as early stopping goes */
    uint64_t held_ms;      /* since when a version is held, or its checkpoint was last asked for */

    char digest[HEX_BYTES];
    uint64_t stop_step, stop_margin, stop_ms; /* stop_step 0: not asked to stop; ms: when asked */
    uint64_t give_up_ms; /* since when it only waits for a last checkpoint; 0: it goes on */
    uint64_t few_ms;     /* since when too few are here; 0: enough are */

    struct deadline steps; /* how long steps took */
    uint64_t begin_ms, now_ms, tick_ms, watch_ms, progress_ms; /* tick, watch: when last */
    uint64_t version_sum; /* of all shards, as last heard */
    uint64_t refused_count;
};

/* coordinator.c */
struct message coordinator_message(const struct coordinator *c, enum message_kind kind);
struct tracked coordinator_tracked(const struct coordinator *c);

/* Notes that the job has moved: nothing is overdue, or lost, for a while. */
void coordinator_note_progress(struct coordinator *c);

/* coordinator_views.c */
/* The first view, when all are here that the job asks for. */
void coordinator_begin_training(struct coordinator *c, struct outbox *out);

/* Looks what has changed and makes a view of it if one is due. */
void coordinator_settle(struct coordinator *c, struct outbox *out);

/* Sends the newest view to one member, with the layout to who has had none. */
void coordinator_send_view(struct coordinator *c, const struct member *member, struct outbox *out);

/* Deals all lanes anew if that makes a step at least a fifth shorter, or whatever it makes when
 * is_forced. */
void coordinator_deal(struct coordinator *c, bool is_forced);

/* Gives one lane to another worker that is here, the idlest; false when there is none. */
bool coordinator_move_lane(struct coordinator *c, uint32_t lane);

/* A worker is to compute `step` and no shard has that version of some block any more: its lanes go
 * to others, who may have it.  When nobody is left and nothing moves, all go back. */
void coordinator_spare(struct coordinator *c, struct member *worker, uint64_t step);

/* Some block's primary is gone and nobody has its place. */
bool coordinator_has_orphans(const struct coordinator *c);

/* coordinator_watch.c */
void coordinator_watch(struct coordinator *c, struct outbox *out);

/* Gives a lane that keeps the others waiting to another worker as well: the first result counts. */
void coordinator_hurry(struct coordinator *c, uint32_t lane, uint64_t waited_ms, uint64_t limit_ms);
void coordinator_trouble_text(const struct coordinator *c, char *text, size_t size);

/* coordinator_hold.c */
/* At the start of a run: which version is to be evaluated, and held, first. */
void coordinator_begin_holds(struct coordinator *c);

/* All wait for an evaluation, or for what follows from it. */
bool coordinator_is_held(const struct coordinator *c);

/* Lets the version that is held go on when its evaluation, and its checkpoint if it is the best or
 * the last, are there; or ends the job when its patience is over. */
void coordinator_watch_hold(struct coordinator *c, struct outbox *out);

/* When nothing has come for so long, lanes that are not evaluated go to others as well, if somebody
 * is done. */
void coordinator_hurry_evaluations(struct coordinator *c, uint64_t limit_ms);

/* Asks again for that checkpoint when it does not come. */
void coordinator_ask_held(struct coordinator *c, struct outbox *out);
void coordinator_note_held_failure(struct coordinator *c);

/* coordinator_leave.c */
/* The run waits when its last worker leaves: another is to come (cluster.last_worker). */
bool coordinator_may_be_empty(const struct coordinator *c);

void coordinator_take_bye(struct coordinator *c, struct member *member, const struct message *msg,
                          struct outbox *out);

/* Of a client: who is to leave starts to, and the client is told. */
void coordinator_take_drain(struct coordinator *c, struct address from, const struct message *msg,
                            struct outbox *out);

/* coordinator_end.c */
void coordinator_end(struct coordinator *c, enum phase phase, int code, struct outbox *out);
void coordinator_fail(struct coordinator *c, struct outbox *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A number is none: one sentence of the worker whose loss it is, or of the shard that found it in a
 * gradient, into c->bad_loss or c->bad_gradient.  The job ends when both are known, or soon: each
 * of them knows what the other does not, and the step cannot be made. */
void coordinator_note_nonfinite(struct coordinator *c, char sentence_out[NONFINITE_TEXT_BYTES],
                                const char *text);
void coordinator_watch_nonfinite(struct coordinator *c, struct outbox *out);

/* Ends the job for lack of members: with a checkpoint of what there is, when that can be had. */
void coordinator_give_up(struct coordinator *c, const char *why, struct outbox *out);
/* A shard that is just at this version sends it again, kept before or not. */
void coordinator_ask_checkpoint(struct coordinator *c, uint64_t step, struct outbox *out);
void coordinator_finish_if_done(struct coordinator *c, struct outbox *out);
void coordinator_take_digest(struct coordinator *c, struct member *member,
                             const struct message *msg, struct outbox *out);
void coordinator_take_checkpoint(struct coordinator *c, const struct message *msg,
                                 struct outbox *out);
void coordinator_take_late(struct coordinator *c, const struct message *msg, struct outbox *out);

/* Asks again for the checkpoint to stop at, and gives up waiting for it when it is time. */
void coordinator_watch_stop(struct coordinator *c, struct outbox *out);

#endif
