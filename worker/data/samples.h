#ifndef WORKER_DATA_SAMPLES_H
#define WORKER_DATA_SAMPLES_H

/* samples - the inputs of a data set and their labels, as they were found, of whatever format.
 *
 * Shapes:   inputs and labels have the same number of rows.
 * Owner:    who opened them.  Thread: read-only once open.
 * Memory:   as rows.
 * Source:   none.
 * Surprise: the format is told by the content unless the job names it.
 */
#include "common/settings.h"
#include "worker/data/rows.h"
#include "worker/data/table.h"
#include "worker/data/vocabulary.h"

struct samples {
    struct rows *inputs;
    struct rows *labels;       /* NULL when none were given, as for a text */
    struct table *table;       /* how a CSV was read; NULL for other formats */
    struct vocabulary classes; /* names of text labels, characters of a text; or empty */
    char encoding[65];         /* digest of how words became numbers; "" when there are none */
};

/* What was learned from the training file and its test file is read by; nothing: learn it from the
 * file itself. */
struct samples_known {
    const struct table *table;           /* of a CSV, or NULL */
    const struct vocabulary *characters; /* of a text, or NULL */
};

/* What to open.  All borrowed for the call. */
struct samples_spec {
    enum data_format format;
    const char *inputs, *labels; /* paths; labels "" when there is no such file */
    bool is_unlabelled;          /* labels are left alone; a CSV and a text need known */
    struct table_options table;  /* for a CSV */
    struct samples_known known;
};

/* The format of a file or folder, told by content and name.  Errors of inflate_open; ERR_INPUT when
 * it is empty. */
MUST_USE int samples_detect(const char *path, enum data_format *format_out, struct err_msg *why);

/* Opens inputs and labels, and holds them in memory when they fit place.  ERR_NOT_FOUND, ERR_IO,
 * ERR_INPUT with a sentence; *out is then empty. */
MUST_USE int samples_open(const struct samples_spec *spec, struct rows_place *place,
                          struct samples *out, struct err_msg *why);

/* Frees what it holds; an empty struct is fine. */
void samples_close(struct samples *samples);

#endif
