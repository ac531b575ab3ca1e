#ifndef COMMON_SETTING_VALUE_H
#define COMMON_SETTING_VALUE_H

/* setting_value - judges one value of a job file by its row of the table, and keeps it.
 *
 * Owner:    settings.c and model_spec.c, which own the fields.  Thread: that of the caller.
 * Memory:   texts and lists are malloc'd into the field and freed by setting_release.
 * Surprise: none.
 */
#include "common/err.h"
#include "common/jobfile.h"
#include "common/settings_table.h"

/* Where a value stands, for messages. */
struct value_place {
    const struct jobfile *file;
    const char *path; /* "optimizer.rate" */
};

/* Keeps value in the row's field of the struct at base, in place of what was there.
 * ERR_INPUT: "job.cfg:12: optimizer.rate: found the text "fast", expected ..."; ERR_NOMEM. */
MUST_USE int setting_assign(const struct setting *setting, void *base,
                            const struct job_value *value, const struct value_place *place,
                            struct err_msg *why);

/* Keeps the default.  The field must be zeroed.  ERR_NOMEM. */
MUST_USE int setting_assign_initial(const struct setting *setting, void *base);

/* Frees what the field holds and zeroes its pointers. */
void setting_release(const struct setting *setting, void *base);

/* Says "PLACE: PATH: " and the text; returns ERR_INPUT. */
int setting_refuse(const struct value_place *place, const struct job_value *value,
                   struct err_msg *why, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
