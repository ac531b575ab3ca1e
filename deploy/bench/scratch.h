#ifndef DEPLOY_BENCH_SCRATCH_H
#define DEPLOY_BENCH_SCRATCH_H

/* scratch - a folder that is there as long as a measurement.
 *
 * Owner:    the caller.  Thread: any.  Surprise: none.
 */
#include <limits.h>
#include "common/err.h"

/* Makes a new folder in TMPDIR or /tmp, this user's only.  ERR_IO with a sentence. */
MUST_USE int scratch_make(char path_out[PATH_MAX], struct err_msg *why);

/* Removes it and all in it, as far as that goes. */
void scratch_remove(const char *path);

#endif
