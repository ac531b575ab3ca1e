#ifndef DEPLOY_KEYGEN_H
#define DEPLOY_KEYGEN_H

/* keygen - fills a folder with the keys of a cluster: those that are missing.
 *
 * Owner:    `talweg keygen`, `talweg bench exchange`.  Thread: one; changes the umask for a moment.
 * Memory:   the list.
 * Source:   key_file.h says what lies in such a folder.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

/* A key for each of so many workers, or with 0 one for all of them; the folder is made when it is
 * not there.  ERR_IO, ERR_INPUT, ERR_NOMEM, ERR_FULL, ERR_NET, with a sentence; what was made until
 * then is on the list. */
MUST_USE int keygen_fill(const char *folder, unsigned long workers, size_t *count_out,
                         size_t *new_count_out, struct err_msg *why);

#endif
