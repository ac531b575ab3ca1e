#ifndef COMMON_SAFETENSORS_H
#define COMMON_SAFETENSORS_H

/* safetensors - one file of named tensors in the container that model hubs use.
 *
 * Files that this writes have f32; of others', f16 and bf16 are read as f32 too.
 *
 * File: u64 little-endian N, N bytes of JSON {name: {dtype, shape, data_offsets}}, data.  The JSON
 * is padded with spaces so that data begins at a multiple of 8; data has no gap.
 *
 * Shapes:   a tensor: [product of shape] f32, row major, little-endian.
 * Owner:    whoever opened it.  Thread: reads and writes of distinct ranges, any.
 * Memory:   the table of tensors.
 * Source:   https://github.com/huggingface/safetensors, "Format".
 * Surprise: tensors are numbered by where they lie in the file, not by name.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/digest.h"
#include "common/err.h"
#include "common/number_type.h"

enum { SAFETENSORS_DIMS_MAX = 8, SAFETENSORS_NAME_BYTES = 160 };

struct safetensors_entry {
    char name[SAFETENSORS_NAME_BYTES];
    uint32_t dims; /* 0: a single number */
    uint64_t shape[SAFETENSORS_DIMS_MAX];
    enum number_type type;           /* as is the rest, filled in by this module */
    uint64_t begin_bytes, end_bytes; /* from the start of the data */
};

struct safetensors;

/* A new file (ERR_IO when it exists) of full size, its header written, its data zero. */
MUST_USE int safetensors_create(const char *path, const struct safetensors_entry *entries,
                                size_t count, struct safetensors **file_out, struct err_msg *why);

/* Reads and checks a header, trusting nothing in it.  ERR_NOT_FOUND, ERR_IO; ERR_INPUT with the
 * file and what is wrong; ERR_NOMEM. */
MUST_USE int safetensors_open(const char *path, struct safetensors **file_out, struct err_msg *why);

/* The same of a file with tensors of any type. */
MUST_USE int safetensors_open_any(const char *path, struct safetensors **file_out,
                                  struct err_msg *why);

/* NULL is fine.  Does not sync. */
void safetensors_close(struct safetensors *file);

size_t safetensors_count(const struct safetensors *file);

/* idx < count; valid while the file is open. */
const struct safetensors_entry *safetensors_entry(const struct safetensors *file, size_t idx);

/* Elements first .. first + count of one tensor.  ERR_IO with path and reason; ERR_INPUT when the
 * range is not within the tensor, or its type no floating point that fits f32; ERR_NOMEM. */
MUST_USE int safetensors_write(struct safetensors *file, size_t idx, uint64_t first,
                               const float *values, size_t count, struct err_msg *why);
MUST_USE int safetensors_read(const struct safetensors *file, size_t idx, uint64_t first,
                              float *out, size_t count, struct err_msg *why);

/* Waits until the disk has it. */
MUST_USE int safetensors_sync(struct safetensors *file, struct err_msg *why);

/* Reads the file once: sha256 over all of it into hex_out, and its data (without the header) also
 * into `data`, unless NULL. */
MUST_USE int safetensors_digest(const struct safetensors *file, struct digest *data,
                                char hex_out[65], uint64_t *bytes_out, struct err_msg *why);

#endif
