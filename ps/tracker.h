#ifndef PS_TRACKER_H
#define PS_TRACKER_H

/* tracker - how far the job is, in numbers: steps done, losses, rates, the rows of metrics.jsonl.
 *
 * One step is in work: the first whose lanes have not all reported.  Reports die with whoever held
 * them, so a step that the job is past is passed over when its reports do not come.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   two ledgers; a ring of TRACKER_ROWS_MAX rows, of which the oldest goes when nobody
 *           collects them.
 * Surprise: none.
 */
#include "common/batching.h"
#include "common/settings.h"
#include "ps/ledger.h"
#include "ps/report.h"

enum { TRACKER_ROWS_MAX = 256, TRACKER_PATIENCE_MS = 3000, TRACKER_LOST_MS = 300 };

struct tracker;

/* What is known of the run so far; NaN where nothing is yet. */
struct tracked {
    uint64_t step;             /* steps done; the number of the step in work */
    uint64_t step_ms;          /* when it became that */
    uint64_t step_count;       /* of the job */
    double epoch, epoch_count; /* done, and of the job; 0 before it begins */
    double loss;               /* mean of the last logged steps */
    double train_loss;         /* mean of the epoch in work, or of the last when none is */
    uint64_t eval_step;        /* the version last evaluated; 0: none yet */
    double test_loss, test_accuracy; /* of that */
    double samples_per_s;      /* over the last seconds */
    double mean_samples_per_s; /* since the first step */
    bool has_final_eval;
    uint64_t progress_ms;      /* when something new was last heard of a lane */
    uint64_t skipped_count;    /* steps left out, since a gradient was no number */
    uint64_t passed_count;     /* steps passed over */
};

MUST_USE int tracker_create(const struct settings *settings, struct tracker **tracker_out);
void tracker_destroy(struct tracker *tracker);

/* Begins to count: step_count steps, of which start_step are done, with their rows of metrics;
 * test_count held-out samples. */
void tracker_begin(struct tracker *tracker, const struct batching *batching, uint64_t start_step,
                   uint64_t step_count, uint64_t test_count, uint64_t now_ms);

/* One lane's result of training or evaluation; what was had before changes nothing.  ERR_FULL: as
 * ledger_note; ERR_NOMEM. */
MUST_USE int tracker_note(struct tracker *tracker, bool is_training,
                          const struct lane_result *result, uint64_t now_ms);

/* Passes over the step in work, up to the next whose reports are complete, TRACKER_PATIENCE_MS
 * after the job is known to be past it, or TRACKER_LOST_MS while somebody was lost not long ago: by
 * a later step or evaluation that is complete, or by done_step, the number of steps that are done
 * whatever was reported (0: not known). */
void tracker_tick(struct tracker *tracker, uint64_t done_step, uint64_t now_ms);

/* Somebody is gone, with the reports that were not sent yet: workers keep theirs for moments. */
void tracker_lose(struct tracker *tracker, uint64_t now_ms);

/* `step` steps are done, whatever was reported of them; at once. */
void tracker_reach(struct tracker *tracker, uint64_t step, uint64_t now_ms);

void tracker_read(const struct tracker *tracker, uint64_t now_ms, struct tracked *out);

/* The first lane that the step in work has not had; the number of lanes when all are in. */
uint32_t tracker_missing_lane(const struct tracker *tracker);

/* The lane's result of training is here: of an open step, or since the step is done. */
bool tracker_has_lane(const struct tracker *tracker, uint64_t step, uint32_t lane);

/* The lane's result of evaluating version `step` is here, and others' are not. */
bool tracker_has_evaluation(const struct tracker *tracker, uint64_t step, uint32_t lane);

/* The next row for metrics.jsonl; false when there is none. */
bool tracker_next_row(struct tracker *tracker, struct metric_row *row_out);

#endif
