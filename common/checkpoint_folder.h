#ifndef COMMON_CHECKPOINT_FOLDER_H
#define COMMON_CHECKPOINT_FOLDER_H

/* checkpoint_folder - how a checkpoint's folder comes, becomes the real one, and goes.
 *
 * A folder called checkpoint-<step> is whole; one that is being made or removed is called
 * checkpoint-<step>.tmp-<tag>.  checkpoint_latest, _candidate, _prune and
 * _sweep are here too.
 *
 * Owner:    checkpoint.  Thread: no state.
 * Surprise: none.
 */
#include "common/checkpoint.h"

/* Makes dir/checkpoint-<step>.tmp-<tag>, empty.  ERR_IO. */
MUST_USE int folder_make(const char *out_dir, uint64_t step, const char *tag,
                         char path_out[PATH_MAX], struct err_msg *why);

/* Syncs the folder, gives it its real name in place of what has that, and syncs out_dir.  ERR_IO.
 */
MUST_USE int folder_publish(const char *out_dir, const char *temporary, uint64_t step,
                            char path_out[PATH_MAX], struct err_msg *why);

/* Removes a folder and the files in it; one that is not there is fine.  ERR_IO. */
MUST_USE int folder_remove(const char *path, struct err_msg *why);

#endif
