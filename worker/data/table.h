#ifndef WORKER_DATA_TABLE_H
#define WORKER_DATA_TABLE_H

/* table - what the columns of a CSV mean, learned from the training file, and rows made by it.
 *
 * A column is a number, a category (one feature for each word it has in the training file, in
 * sorted order; a word first seen later is all zeros), or the label.  Labels that are not numbers
 * are classes, numbered in sorted order.
 *
 * Shapes:   inputs [rows][features] f32, labels [rows] f32.
 * Owner:    the source that learned it.  Thread: read-only once learned.
 * Memory:   names and words; rows go where rows_place says.
 * Source:   none.
 * Surprise: a label is a class when the first one is no number, or its column is categorical.
 */
#include <stdbool.h>
#include "common/err.h"
#include "worker/data/rows.h"
#include "worker/data/vocabulary.h"

/* How to read the file.  All is borrowed for table_learn. */
struct table_options {
    char delimiter;
    bool has_header;
    bool labels_are_numbers;        /* a regression: a label that is text is an error */
    const char *label_column;       /* name, or number from 0; "": the last */
    const char *const *categorical; /* names or numbers */
    size_t categorical_count;
};

struct table;

/* Reads the file for its columns and words.  ERR_INPUT with a sentence that names file, line and
 * column; errors of csv_open. */
MUST_USE int table_learn(const char *path, const struct table_options *options,
                         struct table **table_out, struct err_msg *why);
void table_destroy(struct table *table);

/* Encodes a file of the same columns.  labels_out may be NULL: then the label's column is not read
 * and may be missing.  ERR_INPUT as above: an empty cell, a cell that is no number,
 * NaN, a class that the training file does not have. */
MUST_USE int table_encode(const struct table *table, const char *path, struct rows_place *place,
                          struct rows **inputs_out, struct rows **labels_out, struct err_msg *why);

/* Whether a column is a category or a label that is text. */
bool table_has_words(const struct table *table);

/* The words of text labels, or NULL; borrowed. */
const struct vocabulary *table_classes(const struct table *table);

/* sha256 over columns and words: equal when rows of two tables mean the same.  ERR_NOMEM. */
MUST_USE int table_digest(const struct table *table, char hex_out[65]);

#endif
