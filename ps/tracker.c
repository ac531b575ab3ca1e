#include "ps/tracker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/rounds.h"
#include "common/schedule.h"

enum { MARKS_MAX = 16, MARK_MS = 500 };

/* A moment and the samples trained until then, for the rate over the last seconds. */
struct mark {
    uint64_t ms, samples;
};

/* A running mean over samples. */
struct mean {
    double sum;
    uint64_t samples;
};

struct tracker {
    const struct settings *settings;
    struct batching batching;
    struct ledger *training, *evaluation;
    uint64_t step, step_count, samples;
    uint64_t begin_ms, step_ms, progress_ms; /* step: when the last one was whole */
    uint64_t evaluated; /* the newest version evaluated; there is no way back behind it */
    uint64_t eval_step; /* the version last evaluated; 0: none yet */
    uint64_t skipped_count, passed_count;
    uint64_t past_step, past_ms; /* the job was seen to be past this step in work; and when */
    uint64_t lost_ms;            /* when a reporter was lost last; 0: never */
    struct mean logged, epoch;
    double loss, train_loss, test_loss, test_accuracy;
    bool has_final_eval;
    struct mark marks[MARKS_MAX];
    size_t mark_count;
    struct metric_row rows[TRACKER_ROWS_MAX]; /* ring */
    size_t row_first, row_count;
};

static double mean_of(const struct mean *mean)
{
    return mean->samples == 0 ? NAN : mean->sum / (double)mean->samples;
}

static void mean_add(struct mean *mean, const struct step_total *total)
{
    mean->sum += total->loss_sum;
    mean->samples += total->sample_count;
}

static void add_row(struct tracker *tracker, const struct metric_row *row)
{
    if (tracker->row_count == TRACKER_ROWS_MAX) {
        tracker->row_first = (tracker->row_first + 1) % TRACKER_ROWS_MAX;
        tracker->row_count--;
    }
    size_t at = (tracker->row_first + tracker->row_count++) % TRACKER_ROWS_MAX;
    tracker->rows[at] = *row;
}

static double rate_since(struct mark from, uint64_t samples, uint64_t now_ms)
{
    return now_ms > from.ms ? (double)(samples - from.samples) * 1000.0 / (double)(now_ms - from.ms)
                            : 0.0;
}

/* Epochs that so many steps are: of steps as they count here, which may be rounds. */
static double epochs_of(const struct tracker *tracker, uint64_t step)
{
    return (double)step * (double)rounds_steps(tracker->settings) /
           (double)batching_epoch_steps(&tracker->batching);
}

static double recent_rate(const struct tracker *tracker, uint64_t now_ms)
{
    return tracker->mark_count == 0 ? 0.0
                                    : rate_since(tracker->marks[0], tracker->samples, now_ms);
}

static void note_mark(struct tracker *tracker, uint64_t now_ms)
{
    if (tracker->mark_count > 0 && now_ms - tracker->marks[tracker->mark_count - 1].ms < MARK_MS)
        return;
    if (tracker->mark_count == MARKS_MAX) {
        memmove(&tracker->marks[0], &tracker->marks[1],
                (MARKS_MAX - 1) * sizeof(tracker->marks[0]));
        tracker->mark_count--;
    }
    tracker->marks[tracker->mark_count++] = (struct mark){now_ms, tracker->samples};
}

static struct metric_row row_at(const struct tracker *tracker, uint64_t step, uint64_t now_ms)
{
    return (struct metric_row){
        .step = step,
        .epoch = epochs_of(tracker, step),
        .wall_s = (double)(now_ms - tracker->begin_ms) / 1000.0};
}

static void log_training(struct tracker *tracker, uint64_t now_ms)
{
    struct metric_row row = row_at(tracker, tracker->step, now_ms);
    row.has_train = true;
    row.train_loss = tracker->loss = mean_of(&tracker->logged);
    uint64_t round_steps = rounds_steps(tracker->settings);
    row.rate = schedule_rate(tracker->settings, tracker->step * round_steps - 1,
                             tracker->step_count * round_steps);
    row.samples_per_s = recent_rate(tracker, now_ms);
    add_row(tracker, &row);
    tracker->logged = (struct mean){0};
}

/* A step that was left out has no loss: what it had was no number. */
static void add_losses(struct tracker *tracker, const struct step_total *total)
{
    if (total->is_void) {
        tracker->skipped_count++;
        return;
    }
    mean_add(&tracker->logged, total);
    mean_add(&tracker->epoch, total);
    tracker->train_loss = mean_of(&tracker->epoch);
    if (isnan(tracker->loss))
        tracker->loss = mean_of(&tracker->logged);
}

static void close_step(struct tracker *tracker, const struct step_total *total, uint64_t now_ms)
{
    tracker->step = total->step + 1;
    tracker->step_ms = now_ms;
    tracker->samples += total->sample_count;
    add_losses(tracker, total);
    note_mark(tracker, now_ms);
    const struct settings *settings = tracker->settings;
    if (rounds_is_due(settings, settings->log.every, tracker->step) ||
        tracker->step == tracker->step_count)
        log_training(tracker, now_ms);
    if (rounds_is_due(settings, batching_epoch_steps(&tracker->batching), tracker->step))
        tracker->epoch = (struct mean){0};
}

static void close_evaluation(struct tracker *tracker, const struct step_total *total,
                             uint64_t now_ms)
{
    struct metric_row row = row_at(tracker, total->step, now_ms);
    row.has_test = true;
    row.test_loss = tracker->test_loss = total->loss_sum / (double)total->sample_count;
    row.test_accuracy = tracker->test_accuracy =
        total->answer_count > 0 ? (double)total->correct_count / (double)total->answer_count : NAN;
    add_row(tracker, &row);
    tracker->evaluated = tracker->eval_step = total->step;
    ledger_drop_before(tracker->evaluation, total->step);
    if (total->step == tracker->step_count)
        tracker->has_final_eval = true;
}

static void close_steps(struct tracker *tracker, uint64_t now_ms)
{
    struct step_total total;
    while (ledger_close(tracker->training, tracker->step, &total))
        close_step(tracker, &total, now_ms);
}

int tracker_note(struct tracker *tracker, bool is_training, const struct lane_result *result,
                 uint64_t now_ms)
{
    struct step_total total;
    bool is_new;
    if (is_training && result->step < tracker->step) {
        tracker->progress_ms = now_ms; /* after a way back it is news of what was had before */
        return 0;
    }
    if (!is_training && result->step < tracker->evaluated)
        return 0;
    int err =
        ledger_note(is_training ? tracker->training : tracker->evaluation, result, &is_new);
    if (err != 0)
        return err;
    if (is_new)
        tracker->progress_ms = now_ms;
    close_steps(tracker, now_ms);
    while (ledger_close_any(tracker->evaluation, &total))
        close_evaluation(tracker, &total, now_ms);
    return 0;
}

/* The step in work is to be this one, though those before it were never complete. */
static void pass_over(struct tracker *tracker, uint64_t step, uint64_t now_ms)
{
    if (floor(epochs_of(tracker, step)) > floor(epochs_of(tracker, tracker->step)))
        tracker->epoch = (struct mean){0};
    tracker->passed_count += step - tracker->step;
    tracker->step = step;
    tracker->step_ms = now_ms;
    ledger_drop_before(tracker->training, step);
    close_steps(tracker, now_ms);
}

void tracker_reach(struct tracker *tracker, uint64_t step, uint64_t now_ms)
{
    if (step > tracker->step)
        pass_over(tracker, step, now_ms);
}

void tracker_lose(struct tracker *tracker, uint64_t now_ms)
{
    tracker->lost_ms = now_ms;
}

static uint64_t patience_ms(const struct tracker *tracker, uint64_t now_ms)
{
    bool is_recent = tracker->lost_ms != 0 && now_ms - tracker->lost_ms < TRACKER_PATIENCE_MS;
    return is_recent ? TRACKER_LOST_MS : TRACKER_PATIENCE_MS;
}

void tracker_tick(struct tracker *tracker, uint64_t done_step, uint64_t now_ms)
{
    uint64_t next = ledger_lowest_complete(tracker->training);
    if (next == UINT64_MAX)
        next = done_step > tracker->evaluated ? done_step : tracker->evaluated;
    if (next > tracker->step_count)
        next = tracker->step_count;
    if (next <= tracker->step)
        return;
    if (tracker->past_step != tracker->step) {
        tracker->past_step = tracker->step;
        tracker->past_ms = now_ms;
    } else if (now_ms - tracker->past_ms >= patience_ms(tracker, now_ms)) {
        pass_over(tracker, next, now_ms);
    }
}

void tracker_begin(struct tracker *tracker, const struct batching *batching, uint64_t start_step,
                   uint64_t step_count, uint64_t test_count, uint64_t now_ms)
{
    tracker->batching = *batching;
    tracker->step = tracker->evaluated = start_step;
    tracker->past_step = UINT64_MAX;
    tracker->step_count = step_count;
    tracker->has_final_eval = test_count == 0;
    tracker->begin_ms = tracker->step_ms = tracker->progress_ms = now_ms;
    note_mark(tracker, now_ms);
}

void tracker_read(const struct tracker *tracker, uint64_t now_ms, struct tracked *out)
{
    struct mark begin = {tracker->begin_ms, 0};
    bool has_begun = tracker->mark_count > 0;
    *out = (struct tracked){
        .step = tracker->step,
        .step_ms = tracker->step_ms,
        .step_count = tracker->step_count,
        .epoch = has_begun ? epochs_of(tracker, tracker->step) : 0.0,
        .epoch_count = has_begun ? epochs_of(tracker, tracker->step_count) : 0.0,
        .loss = tracker->loss,
        .train_loss = tracker->train_loss,
        .eval_step = tracker->eval_step,
        .test_loss = tracker->test_loss,
        .test_accuracy = tracker->test_accuracy,
        .samples_per_s = recent_rate(tracker, now_ms),
        .mean_samples_per_s = rate_since(begin, tracker->samples, tracker->step_ms),
        .has_final_eval = tracker->has_final_eval,
        .progress_ms = tracker->progress_ms,
        .skipped_count = tracker->skipped_count,
        .passed_count = tracker->passed_count,
    };
}

uint32_t tracker_missing_lane(const struct tracker *tracker)
{
    return ledger_first_missing(tracker->training, tracker->step);
}

bool tracker_has_lane(const struct tracker *tracker, uint64_t step, uint32_t lane)
{
    return step < tracker->step || ledger_has(tracker->training, step, lane);
}

bool tracker_has_evaluation(const struct tracker *tracker, uint64_t step, uint32_t lane)
{
    return ledger_has(tracker->evaluation, step, lane);
}

bool tracker_next_row(struct tracker *tracker, struct metric_row *row_out)
{
    if (tracker->row_count == 0)
        return false;
    *row_out = tracker->rows[tracker->row_first];
    tracker->row_first = (tracker->row_first + 1) % TRACKER_ROWS_MAX;
    tracker->row_count--;
    return true;
}

int tracker_create(const struct settings *settings, struct tracker **tracker_out)
{
    struct tracker *tracker = calloc(1, sizeof(*tracker));
    if (tracker == NULL)
        return ERR_NOMEM;
    tracker->settings = settings;
    tracker->loss = tracker->train_loss = tracker->test_loss = tracker->test_accuracy = NAN;
    int err = ledger_create(settings->job.lanes, &tracker->training);
    if (err == 0)
        err = ledger_create(settings->job.lanes, &tracker->evaluation);
    if (err != 0) {
        tracker_destroy(tracker);
        return err;
    }
    *tracker_out = tracker;
    return 0;
}

void tracker_destroy(struct tracker *tracker)
{
    if (tracker == NULL)
        return;
    ledger_destroy(tracker->training);
    ledger_destroy(tracker->evaluation);
    free(tracker);
}
