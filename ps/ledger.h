#ifndef PS_LEDGER_H
#define PS_LEDGER_H

/* ledger - what the lanes of each step have reported, added up once all of them have.
 *
 * Results come from any worker in any order; totals are summed in lane order, so that a reported
 * loss has the same bits in every run.
 *
 * Owner:    the coordinator: one ledger for training, one for evaluation.  Thread: its loop's.
 * Memory:   a row of lane results for each step that some lanes have reported and others not; rows
 *           are kept and used again.  Workers report past each other by as much as their links
 *           differ in delay, so the number of rows follows that, up to LEDGER_STEPS_MAX rows or
 *           LEDGER_BYTES_MAX.  Then a lower step takes the row of the highest, whose reports are
 *           forgotten: whoever made them says them again, and who reports of steps that nobody has
 *           come to does not keep others' from being counted.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/err.h"
#include "proto/message.h"

enum { LEDGER_STEPS_MAX = 65536, LEDGER_BYTES_MAX = 64 << 20 };

struct ledger;

struct step_total {
    uint64_t step;
    double loss_sum;
    uint64_t correct_count, answer_count, sample_count;
    bool is_void; /* a lane's gradient was no number: the step was left out */
};

MUST_USE int ledger_create(uint32_t lane_count, struct ledger **ledger_out);
void ledger_destroy(struct ledger *ledger);

/* Notes one lane's result; the same lane twice counts once, also when its step is one of the last
 * few that were closed.  is_new_out: it counted.  ERR_FULL: there is no row for it, since all are
 * of lower steps; ERR_NOMEM. */
MUST_USE int ledger_note(struct ledger *ledger, const struct lane_result *result,
                         bool *is_new_out);

/* True, with the total, when all lanes of `step` are in; the row is then free again. */
bool ledger_close(struct ledger *ledger, uint64_t step, struct step_total *total_out);

/* The same for the lowest step that is complete, whichever it is. */
bool ledger_close_any(struct ledger *ledger, struct step_total *total_out);

/* The lowest step that is complete; UINT64_MAX when none is. */
uint64_t ledger_lowest_complete(const struct ledger *ledger);

/* Forgets the results of all steps before `step`. */
void ledger_drop_before(struct ledger *ledger, uint64_t step);

/* The lane of `step` has reported, and the step is not closed. */
bool ledger_has(const struct ledger *ledger, uint64_t step, uint32_t lane);

/* The first lane of `step` that has not reported; lane_count when all have. */
uint32_t ledger_first_missing(const struct ledger *ledger, uint64_t step);

#endif
