#ifndef COMMON_TENSOR_SET_H
#define COMMON_TENSOR_SET_H

/* tensor_set - tensors in one order, spread over safetensors files of bounded size.
 *
 * Files are "<stem>-00001-of-0000N.safetensors"; a tensor is never split over two.  Tensors are
 * numbered through all files.
 *
 * Shapes:   a tensor: [product of shape] f32.
 * Owner:    checkpoint.  Thread: one a handle.
 * Memory:   the tables of tensors; one open file each.
 * Surprise: none.
 */
#include "common/safetensors.h"

enum { TENSOR_SET_FILES_MAX = 512, TENSOR_SET_NAME_BYTES = 64 };

struct tensor_set;

/* Makes the files, in full size.  A file holds at most file_bytes of data, or one larger tensor.
 * ERR_INPUT when that would make too many files, ERR_IO, ERR_NOMEM; files made until then stay. */
MUST_USE int tensor_set_create(const char *dir, const char *stem,
                               const struct safetensors_entry *entries, size_t count,
                               uint64_t file_bytes, struct tensor_set **set_out,
                               struct err_msg *why);

/* Opens the files of these names, in this order.  Errors as safetensors_open. */
MUST_USE int tensor_set_open(const char *dir, const char *const *names, size_t file_count,
                             struct tensor_set **set_out, struct err_msg *why);

/* The same of files with tensors of any type; as safetensors_open_any. */
MUST_USE int tensor_set_open_any(const char *dir, const char *const *names, size_t file_count,
                                 struct tensor_set **set_out, struct err_msg *why);
void tensor_set_close(struct tensor_set *set);

size_t tensor_set_count(const struct tensor_set *set);
size_t tensor_set_file_count(const struct tensor_set *set);

/* Without the folder; valid while the set is open. */
const char *tensor_set_file_name(const struct tensor_set *set, size_t file_idx);

/* tensor_idx < tensor_set_count; valid while the set is open. */
const struct safetensors_entry *tensor_set_entry(const struct tensor_set *set, size_t tensor_idx);

/* The file that a tensor lies in. */
size_t tensor_set_file_of(const struct tensor_set *set, size_t tensor_idx);

/* As safetensors_write and safetensors_read. */
MUST_USE int tensor_set_write(struct tensor_set *set, size_t tensor_idx, uint64_t first,
                              const float *values, size_t count, struct err_msg *why);
MUST_USE int tensor_set_read(const struct tensor_set *set, size_t tensor_idx, uint64_t first,
                             float *out, size_t count, struct err_msg *why);

/* Waits until the disk has all files. */
MUST_USE int tensor_set_sync(struct tensor_set *set, struct err_msg *why);

/* As safetensors_digest, of one file. */
MUST_USE int tensor_set_digest(const struct tensor_set *set, size_t file_idx, struct digest *data,
                               char hex_out[65], uint64_t *bytes_out, struct err_msg *why);

#endif
