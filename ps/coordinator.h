#ifndef PS_COORDINATOR_H
#define PS_COORDINATOR_H

/* coordinator - who is there, who has what, how far the job is: a state machine off the gradients'
 * path.
 *
 * Members say hello; when the job's servers and workers are all here it makes the view and from
 * then on listens: results of lanes, beats, checkpoints.  It ends the job when the last step, its
 * evaluation, the workers' digests of the weights and the last checkpoint are in, or when somebody
 * is silent for too long, with a sentence that says who.
 *
 * Owner:    the coordinator's loop.  Thread: that loop's only.
 * Memory:   members, the view, two ledgers, a ring of metric rows.
 * Surprise: none.
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
    char fingerprint[HEX_BYTES];
};

/* How far the job is. */
struct progress {
    enum phase phase;
    uint64_t step, step_count, start_step; /* steps done, of how many, since which */
    uint64_t epoch_steps;                  /* 0 before the view */
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
};

MUST_USE int coordinator_create(const struct coordinator_spec *spec,
                                struct coordinator **coordinator_out);
void coordinator_destroy(struct coordinator *coordinator);

/* One message in, or a tick when msg is NULL; messages out.  now_ms never goes back. */
void coordinator_step(struct coordinator *coordinator, uint64_t now_ms, struct address from,
                      const struct message *msg, struct outbox *out);

/* Asks for a checkpoint soon and the end of the job after it. */
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
