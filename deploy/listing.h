#ifndef DEPLOY_LISTING_H
#define DEPLOY_LISTING_H

/* listing - rows of short texts, printed with every column as wide as its widest cell.
 *
 * Owner:    its creator.  Thread: one.
 * Memory:   the cells.
 * Surprise: cells count bytes, not columns of the terminal: keep them ASCII.
 */
#include <stddef.h>
#include <stdio.h>
#include "common/err.h"

enum { LISTING_COLUMNS_MAX = 16, LISTING_CELL_BYTES = 72 };

struct listing;

/* The head of each column, with a space between; one that starts with '>' is set to the right, and
 * '_' is a space. */
MUST_USE int listing_create(const char *heads, struct listing **listing_out);
void listing_destroy(struct listing *listing);

/* The next cell, left to right, top to bottom.  A longer text is cut.  ERR_NOMEM. */
MUST_USE int listing_add(struct listing *listing, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Nothing is printed when there is no row. */
void listing_print(const struct listing *listing, FILE *out);

#endif
