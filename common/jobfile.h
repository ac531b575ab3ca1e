#ifndef COMMON_JOBFILE_H
#define COMMON_JOBFILE_H

/* jobfile - the door to libconfig: a job file, or one --set, as plain values with line numbers.
 *
 * Bytes of the file are checked before libconfig sees them: size, NUL, nesting, @include (refused),
 * and whole numbers, which libconfig would cut to 32 bits without a word.
 *
 * Owner:    whoever parsed it.  Thread: read-only once parsed.
 * Memory:   one arena; every value and text is borrowed from it until jobfile_destroy.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

enum job_value_kind { JOB_WHOLE, JOB_REAL, JOB_BOOL, JOB_TEXT, JOB_LIST, JOB_GROUP };

struct job_value {
    enum job_value_kind kind;
    const char *key; /* NULL inside a list */
    const char *raw; /* of a --set: the text as typed; else NULL */
    int line;        /* from 1; 0 where there is none */
    int64_t whole;   /* JOB_WHOLE */
    double real;     /* JOB_REAL, and JOB_WHOLE as a real */
    bool truth;      /* JOB_BOOL */
    const char *text;              /* JOB_TEXT */
    size_t count;                  /* JOB_LIST, JOB_GROUP */
    const struct job_value *items; /* [count], in the order of the file */
};

struct jobfile;

/* Reads and parses a file.  ERR_INPUT with "job.cfg:12: ..."; ERR_IO; ERR_NOMEM. */
MUST_USE int jobfile_load(const char *path, struct jobfile **file_out, struct err_msg *why);

/* Parses bytes of text, closed by a NUL; name stands for the file in messages. */
MUST_USE int jobfile_parse(const char *name, const char *text, size_t bytes,
                           struct jobfile **file_out, struct err_msg *why);

/* The value of a --set: the root is a value as a job file would say it, or, where the text is not
 * one, the bare text.  In messages its place is "from --set".  ERR_NOMEM. */
MUST_USE int jobfile_parse_set(const char *text, struct jobfile **file_out);

void jobfile_destroy(struct jobfile *file);

/* The group of all settings, or the value of a --set. */
const struct job_value *jobfile_root(const struct jobfile *file);

/* True for what jobfile_parse_set made. */
bool jobfile_is_set(const struct jobfile *file);

/* Where a value (NULL: the file as a whole) stands: "job.cfg:12", "job.cfg" or "from --set". */
void jobfile_place(const struct jobfile *file, const struct job_value *value, char *text_out,
                   size_t bytes);

/* What a value is, for "found ...": `the text "fast"`, `the whole number 3`, `a list`. */
void job_value_describe(const struct job_value *value, char *text_out, size_t bytes);

#endif
