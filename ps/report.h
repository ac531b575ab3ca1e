#ifndef PS_REPORT_H
#define PS_REPORT_H

/* report - what a run leaves for people and tools: metrics.jsonl, summary.json, loss.svg.
 *
 * metrics.jsonl gets a JSON object a line, every line with all keys, null where there is nothing to
 * say.  summary.json and the curve are made at the end.  The curve is drawn by gnuplot.
 *
 * Owner:    the coordinator's loop.  Thread: one.
 * Memory:   the points of the curve, at most 4,096 a curve: beyond that every second one is
 * dropped. Surprise: report_finish starts gnuplot and waits for it, up to 20 seconds.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"

struct metric_row {
    uint64_t step;  /* steps done */
    double epoch;   /* passes over the training samples, with fraction */
    bool has_train; /* train_loss, rate, samples_per_s are set */
    bool has_test;  /* test_loss and test_accuracy are set */
    double train_loss, test_loss;
    double test_accuracy; /* of samples, or of positions, 0..1; NaN for a regression */
    double rate, samples_per_s;
    double wall_s; /* since the run began */
};

/* NaN where a number does not apply; all texts may be NULL, which prints as null. */
struct summary {
    char run_id[33];
    const char *job;
    const char *phase; /* "finished" or "failed" */
    const char *error; /* sentence, when failed */
    const char *note;  /* sentence about how the run began, or NULL */
    const char *ending; /* sentence about why it ended */
    bool has_best;      /* the job has patience, and was evaluated: */
    uint64_t best_step;
    double best_loss;
    const char *best_checkpoint; /* path; NULL when it is in no folder that is known */
    uint64_t steps, round_steps; /* done; each of so many that a lane makes by itself */
    double epochs;
    double train_loss, test_loss, test_accuracy;
    double samples_per_s, wall_s, cpu_s;
    uint64_t pushed_bytes, pulled_bytes;
    double exchange_hidden; /* share of the exchange's time behind compute, 0..1, of all workers */
    double waited_for_data, waited_for_exchange; /* shares of compute's time, of all workers */
    const double *worker_hidden; /* [worker_hidden_count]: of each rank, NaN for one not there */
    size_t worker_hidden_count;
    struct {
        uint64_t coordinator, server, worker; /* the largest of each role */
    } peak_rss_bytes;
    const char *blas_core; /* of the workers; several, separated by commas, when they differ */
    const char *digest; /* sha256 over the final weights in layout order, hex */
    uint32_t servers, workers, lanes;
    const char *checkpoint; /* path of the last one */
};

struct report;

/* Opens OUT/metrics.jsonl.  Rows of an earlier life of the job up to start_step stay (and are part
 * of the curve), all others go; start_step 0 begins an empty file, UINT64_MAX keeps every row.
 * ERR_IO with path and reason. */
MUST_USE int report_open(const char *out_dir, uint64_t start_step, struct report **report_out,
                         struct err_msg *why);

/* The highest step of the rows that stayed; 0 when there are none. */
uint64_t report_last_step(const struct report *report);

/* Appends a row with one write.  ERR_IO, and then no part of it is there; the curve has it. */
MUST_USE int report_row(struct report *report, const struct metric_row *row, struct err_msg *why);

/* Saves OUT/summary.json alone.  ERR_IO, ERR_NOMEM. */
MUST_USE int report_save(struct report *report, const struct summary *summary,
                         struct err_msg *why);

/* Draws OUT/loss.svg, then saves OUT/summary.json.  Without gnuplot, or when it fails, "plot" is
 * null and a log line says why.  ERR_IO. */
MUST_USE int report_finish(struct report *report, const struct summary *summary,
                           struct err_msg *why);

void report_close(struct report *report);

#endif
