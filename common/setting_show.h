#ifndef COMMON_SETTING_SHOW_H
#define COMMON_SETTING_SHOW_H

/* setting_show - says the value of one row of the table: as JSON, or as text to take a digest of.
 *
 * Owner:    settings.c and model_spec.c.  Thread: any.
 * Memory:   setting_document's value is the caller's.
 * Surprise: none.
 */
#include <stdio.h>
#include "common/err.h"
#include "common/settings_table.h"

struct document;

/* The value of the row's field in the struct at base.  NULL: out of memory. */
MUST_USE struct document *setting_document(const struct setting *setting, const void *base);

/* Writes the value exactly: numbers with all their bits, texts with their length, paths without
 * their folder. */
void setting_write(const struct setting *setting, const void *base, FILE *stream);

#endif
