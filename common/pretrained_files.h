#ifndef COMMON_PRETRAINED_FILES_H
#define COMMON_PRETRAINED_FILES_H

/* pretrained_files - finds the files of weights that a path means, and opens them.
 *
 * The path is a safetensors file; an index, *.json, with a "weight_map" from tensors to files
 * beside it; or a folder with model.safetensors.index.json or model.safetensors, or one with
 * checkpoints, of which it is the one written last.
 *
 * Owner:    the caller of the set.  Thread: no state.
 * Memory:   the set's.
 * Surprise: none.
 */
#include "common/tensor_set.h"

/* ERR_NOT_FOUND, ERR_INPUT, ERR_IO, ERR_NOMEM with a sentence that names the file. */
MUST_USE int pretrained_open_files(const char *path, struct tensor_set **set_out,
                                   struct err_msg *why);

#endif
