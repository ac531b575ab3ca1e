#ifndef COMMON_PATH_H
#define COMMON_PATH_H

/* path - names put together into paths of bounded length.
 *
 * Owner:    the caller of the buffers.  Thread: no state.  Surprise: none.
 */
#include <limits.h>
#include "common/err.h"

/* Writes "dir/name".  ERR_INPUT with a sentence when it is too long; path_out may not be dir. */
MUST_USE int path_join(char path_out[PATH_MAX], const char *dir, const char *name,
                       struct err_msg *why);

#endif
