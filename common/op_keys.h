#ifndef COMMON_OP_KEYS_H
#define COMMON_OP_KEYS_H

/* op_keys - the kinds of operators and what a job file may say of each: one table.
 *
 * Owner:    constants, for model_spec.c.  Thread: any.
 * Surprise: a key may have several rows, for kinds that have other defaults or ranges.
 */
#include "common/model_spec.h"
#include "common/settings_table.h"

/* A key of some kinds of operator. */
struct op_key {
    uint64_t ops; /* which kinds take it, a bit each */
    struct setting setting;
};

enum { OP_KEYS_COMMON = 3 /* op, name, inputs: the first rows */ };

/* The words of all kinds, with a space between, in the order of the enum. */
extern const char op_words[];

const struct op_key *op_keys(size_t *count_out);

static inline bool op_key_is_of(const struct op_key *key, enum op_kind kind)
{
    return (key->ops >> kind & 1U) != 0;
}

/* The row of a key; NULL when the kind has none of that name. */
const struct op_key *op_key_find(enum op_kind kind, const char *name);

#endif
