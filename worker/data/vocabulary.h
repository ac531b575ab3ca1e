#ifndef WORKER_DATA_VOCABULARY_H
#define WORKER_DATA_VOCABULARY_H

/* vocabulary - a set of words, each known by its place in sorted order.
 *
 * Shapes:   word_count distinct texts, sorted by byte.
 * Owner:    its creator.  Thread: one while it grows, any once it does not.
 * Memory:   a copy of each word; at most VOCABULARY_WORDS_MAX of them.
 * Source:   none.
 * Surprise: a word's place shifts while words are still added.
 */
#include <stddef.h>
#include "common/err.h"

enum { VOCABULARY_WORDS_MAX = 1 << 16 };

struct vocabulary {
    char **words;
    size_t word_count, room;
};

/* A word that is there already changes nothing.  ERR_NOMEM; ERR_FULL beyond the most words. */
MUST_USE int vocabulary_add(struct vocabulary *vocabulary, const char *word);

/* The place of a word, or -1. */
long vocabulary_find(const struct vocabulary *vocabulary, const char *word);

/* Frees the words; the zeroed struct is an empty vocabulary again. */
void vocabulary_clear(struct vocabulary *vocabulary);

#endif
