#ifndef COMMON_NUMBER_TYPE_H
#define COMMON_NUMBER_TYPE_H

/* number_type - the types of number that tensors have in files of others, and which become f32.
 *
 * f16 is IEEE 754's binary16, bf16 the upper half of an f32; every number of theirs is one of f32.
 *
 * Shapes:   bytes: little-endian numbers without gaps; out: [count] f32.
 * Owner:    constants.  Thread: any.
 * Memory:   none.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum number_type { NUMBER_F32, NUMBER_F16, NUMBER_BF16, NUMBER_OTHER };

/* Of a dtype as safetensors has it, "BF16"; bytes_out: of one number.  False: there is none. */
bool number_type_of(const char *dtype, enum number_type *type_out, size_t *bytes_out);

/* Bytes of one number of a type but NUMBER_OTHER. */
size_t number_bytes(enum number_type type);

/* The numbers as f32; not of NUMBER_OTHER. */
void number_to_floats(enum number_type type, const void *bytes, float *out, size_t count);

#endif
