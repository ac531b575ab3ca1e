#ifndef DEPLOY_PROGRESS_H
#define DEPLOY_PROGRESS_H

/* progress - how far a run is, on one line that is drawn again and again on a terminal, or as one
 * line at a steady interval where there is none.
 *
 *   epoch 3/10  ━━━━──  step 412/1200  loss 0.2314  41.2k samples/s  0:34 left
 *
 * Owner:    `talweg train`, which gives the times.  Thread: one.
 * Memory:   none.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PROGRESS_LINE_BYTES = 1024, PROGRESS_INTERVAL_MS = 5000 };

/* What one line tells.  Numbers that are not known are 0, negative or NaN. */
struct progress_state {
    char phase[128]; /* "training", "waiting: ...", ... */
    uint64_t step, step_count, round_steps; /* round_steps > 1: steps are rounds of so many */
    double epoch, epoch_count; /* epochs done, of the whole job */
    double loss;               /* mean over the samples of the last step */
    double samples_per_s;
    double left_s; /* time left */
};

struct progress_bar {
    FILE *out; /* borrowed */
    bool is_terminal, is_utf8;
    bool is_drawn;    /* a line without its newline stands on the terminal */
    uint64_t next_ms; /* not a terminal: when the next line is due */
    char last_phase[128];
};

/* Looks at the terminal and the locale. */
void progress_init(struct progress_bar *progress, FILE *out);

/* Draws the line again, or prints one when it is due or the phase is new. */
void progress_show(struct progress_bar *progress, uint64_t now_ms,
                   const struct progress_state *state);

/* Leaves the last line on the terminal and ends it, so that others may print. */
void progress_end(struct progress_bar *progress);

/* The line alone; bar_cells = 0 leaves the bar out. */
void progress_format(const struct progress_state *state, unsigned bar_cells, bool is_utf8,
                     char *out, size_t out_bytes);

/* "950", "41.2k", "3.1M". */
void progress_count_text(double count, char *out, size_t out_bytes);

/* "0:07", "12:34", "1:02:03". */
void progress_time_text(double seconds, char *out, size_t out_bytes);

/* "512 B", "1.5 MiB". */
void progress_bytes_text(double bytes, char *out, size_t out_bytes);

#endif
