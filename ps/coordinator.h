#ifndef PS_COORDINATOR_H
#define PS_COORDINATOR_H

/* coordinator - who is there, who has what, how far the job is: a state machine off the gradients'
 * path.
 *
 * Members say hello; when the job's servers and workers are all here it makes the first view.  From
 * then on it listens to results of lanes, beats and checkpoints, and makes a new view whenever
 * somebody comes, goes, falls silent or lags (proto/README.md).  It ends the job when the last
 * step, its evaluation, the workers' digests of the weights and the last checkpoint are in, or when
 * too few are left for too long, with a sentence that says who is missing.
 *
 * Owner:    the coordinator's loop.  Thread: that loop's only.
 * Memory:   members, the view, two ledgers, a ring of metric rows.
 * Surprise: messages to PARTY_JOURNAL are to be on disk before any later one of the same outbox is
 *           sent.  They are MSG_WELCOME (a run begins), MSG_VIEW, MSG_CHECKPOINT_DONE, MSG_FINISH.
 */
#include "common/settings.h"
#include "proto/outbox.h"
#include "ps/members.h"
#include "ps/report.h"

struct coordinator;

enum phase {
    PHASE_WAITING,    /* for servers and workers */
    PHASE_TRAINING,
    PHASE_EVALUATING, /* the last version; its checkpoint is written meanwhile */
    PHASE_STOPPING,   /* asked to stop: waits for a checkpoint */
    PHASE_FINISHED,
    PHASE_STOPPED,
    PHASE_FAILED
};

struct coordinator_spec {
    const struct settings *settings; /* borrowed for the coordinator's life */
    struct run_id run;
    uint64_t incarnation;
    uint64_t resume_step; /* version to start from; 0: anew */
    uint64_t store_incarnation;
    char store_endpoint[ENDPOINT_BYTES]; /* where shards reach the store */
    char resume_path[512]; /* of that checkpoint */
    struct early_stop early_stop; /* as that checkpoint says; zeros: anew */
    uint64_t metric_step; /* up to where metrics are there already; resume_step or later */
    char fingerprint[HEX_BYTES];
};

/* How far the job is. */
struct progress {
    enum phase phase;
    uint64_t step, step_count, start_step; /* steps done, of how many, since which */
    double epoch, epoch_count;             /* the same in epochs; 0 before the view */
    double loss;                           /* of the last steps; NaN before the first */
    double train_loss;                     /* mean over the epoch in work, or the last one */
    double test_loss, test_accuracy;       /* of the last evaluation; NaN before it */
    double samples_per_s;                  /* over the last seconds */
    double mean_samples_per_s;             /* since the first step */
    double left_s;                         /* NaN when not known */
    double wall_s;                         /* since the coordinator began */
    char digest[HEX_BYTES];                /* of the final weights; "" before */
    char checkpoint[512];                  /* path of the newest; "" before */
    char error[512];                       /* the sentence when failed or stopped */
    char ending[300];                      /* a sentence when it finished before its last step */
    struct early_stop early_stop;          /* hold_step 0: the job has no patience */
    uint32_t view, era;
    bool is_protected;        /* every block has a backup that has all that was answered */
    uint64_t skipped_count;   /* steps left out for a gradient that was no number */
    uint64_t failed_checkpoint_count;
    uint64_t staleness_count[BEAT_STALENESS]; /* answers by clocks behind, over all shards */
    char trouble[300];        /* who is missing or lags just now; "" when all is well */
};

MUST_USE int coordinator_create(const struct coordinator_spec *spec,
                                struct coordinator **coordinator_out);
void coordinator_destroy(struct coordinator *coordinator);

/* Takes one record of the journal of the run that this coordinator goes on with; in order, before
 * the first step.  ERR_INPUT: it does not fit this job; ERR_NOMEM. */
MUST_USE int coordinator_recall(struct coordinator *coordinator, const struct message *record,
                                struct err_msg *why);

/* The records that are worth all so far, to PARTY_JOURNAL. */
void coordinator_snapshot(struct coordinator *coordinator, struct outbox *out);

/* One message in, or a tick when msg is NULL; messages out.  now_ms never goes back.  MSG_GONE from
 * a member: a message to it found no connection. */
void coordinator_step(struct coordinator *coordinator, uint64_t now_ms, struct address from,
                      const struct message *msg, struct outbox *out);

/* Asks for a checkpoint soon and the end of the job after it; more often is once. */
void coordinator_stop(struct coordinator *coordinator, struct outbox *out);

void coordinator_progress(const struct coordinator *coordinator, uint64_t now_ms,
                          struct progress *out);
const struct members *coordinator_members(const struct coordinator *coordinator);

/* The view, or NULL before it is made. */
const struct view *coordinator_view(const struct coordinator *coordinator);

/* The next row for metrics.jsonl; false when there is none. */
bool coordinator_next_row(struct coordinator *coordinator, struct metric_row *row_out);

/* True when finished, stopped or failed; members have then been sent MSG_FINISH. */
bool coordinator_is_over(const struct coordinator *coordinator);

/* "training", "finished", ...  Static. */
const char *phase_text(enum phase phase);

/* Messages refused since the start. */
uint64_t coordinator_refused_count(const struct coordinator *coordinator);

#endif
