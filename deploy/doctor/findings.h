#ifndef DEPLOY_DOCTOR_FINDINGS_H
#define DEPLOY_DOCTOR_FINDINGS_H

/* findings - what `talweg doctor` has found, one after another, and as text or JSON.
 *
 * A finding says what is so; where that is not well, why it matters and what to do.
 *
 * Owner:    cmd_doctor.  Thread: one.
 * Memory:   the list and its texts.
 * Surprise: memory that is out is remembered, not said: findings_is_short tells at the end.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* From the best to the worst. */
enum finding_level {
    FINDING_OK,
    FINDING_NOTE,      /* good to know */
    FINDING_UNCHECKED, /* not checked, because ... */
    FINDING_WARNING,   /* it may run, but not well, or not for long */
    FINDING_ERROR,     /* it will not run */
    FINDING_LEVELS
};

/* In the order in which they are shown. */
enum finding_family {
    FAMILY_JOB,
    FAMILY_NAMES,
    FAMILY_ADDRESSES,
    FAMILY_KEYS,
    FAMILY_RUN,
    FAMILY_SERVERS,
    FAMILY_CORES,
    FAMILY_MEMORY,
    FAMILY_DISK,
    FAMILY_LIMITS,
    FAMILY_DATA,
    FAMILY_COUNT
};

struct findings;
struct document;

/* NULL: out of memory. */
struct findings *findings_create(void);
void findings_destroy(struct findings *findings);

/* What is so. */
void findings_say(struct findings *findings, enum finding_family family, enum finding_level level,
                  const char *what, ...) __attribute__((format(printf, 4, 5)));

/* Of the finding said last: why it matters, what to do. */
void findings_why(struct findings *findings, const char *why, ...)
    __attribute__((format(printf, 2, 3)));
void findings_do(struct findings *findings, const char *advice, ...)
    __attribute__((format(printf, 2, 3)));

size_t findings_count(const struct findings *findings, enum finding_level level);
enum finding_level findings_worst(const struct findings *findings);
bool findings_is_short(const struct findings *findings);

/* Lines of at most `columns`; words longer than that stay whole. */
void findings_print(const struct findings *findings, FILE *out, size_t columns, bool has_colour);

/* An array of objects: family, level, what, why, do ("" where there is none).  NULL: no memory. */
struct document *findings_document(const struct findings *findings);

/* "ok", "note", "not checked", "warning", "error".  Static. */
const char *finding_level_text(enum finding_level level);

#endif
