#ifndef COMMON_CHECKPOINT_MANIFEST_H
#define COMMON_CHECKPOINT_MANIFEST_H

/* checkpoint_manifest - checkpoint.json: what a checkpoint is of, and the sha256 of all its files.
 *
 * Its own last key, "sha256", is that of its text with 64 zeros in its place.
 *
 * Owner:    checkpoint.  Thread: no state.
 * Memory:   the list of files, freed by manifest_free.
 * Surprise: none.
 */
#include "common/checkpoint.h"
#include "common/tensor_set.h"

enum { MANIFEST_FILES_MAX = 2 * TENSOR_SET_FILES_MAX + 1 };

struct manifest_file {
    char name[TENSOR_SET_NAME_BYTES]; /* in the checkpoint's folder */
    uint64_t size_bytes;
    char sha256[DIGEST_HEX_BYTES];
};

/* Valid when zeroed. */
struct manifest {
    struct checkpoint_info info;
    char layout[DIGEST_HEX_BYTES]; /* layout_digest */
    size_t file_count;
    struct manifest_file *files; /* [file_count], model files first, in order */
};

/* Puts dir/checkpoint.json there, synced.  ERR_IO, ERR_NOMEM. */
MUST_USE int manifest_write(const char *dir, const struct manifest *manifest, struct err_msg *why);

/* ERR_NOT_FOUND: no such file; ERR_INPUT: changed, cut, or of another version; ERR_NOMEM. */
MUST_USE int manifest_read(const char *dir, struct manifest *manifest_out, struct err_msg *why);
void manifest_free(struct manifest *manifest);

/* Fills in size and sha256 from the file itself.  ERR_IO, ERR_NOT_FOUND. */
MUST_USE int manifest_measure(const char *path, struct manifest_file *file, struct err_msg *why);

/* Every file that it lists is there, with its size and sha256.  ERR_INPUT names the first that is
 * not. */
MUST_USE int manifest_check_files(const char *dir, const struct manifest *manifest,
                                  struct err_msg *why);

#endif
