#ifndef WORKER_DATA_SURVEY_H
#define WORKER_DATA_SURVEY_H

/* survey - one pass over all inputs when a data set is opened, in the order in which they lie.
 *
 * Shapes:   rows of any form.
 * Owner:    none: functions only.  Thread: any.
 * Memory:   a piece of a row at a time, and the moments.
 * Source:   none.
 * Surprise: survey_check leaves out rows that are not in memory; those are checked as they are
 * read.
 */
#include "worker/data/norm.h"
#include "worker/data/rows.h"

/* Measures mean and deviation of each channel of the norm over the rows whose bit is 1 in marks, or
 * over all when marks is NULL: the same bits on every worker.  ERR_INPUT when a number is not
 * finite, ERR_IO, ERR_NOMEM. */
MUST_USE int survey_measure(const struct rows *rows, const unsigned char *marks, struct norm *norm,
                            struct err_msg *why);

/* Looks for numbers that are not finite.  ERR_INPUT with file, sample and place. */
MUST_USE int survey_check(const struct rows *rows, struct err_msg *why);

#endif
