#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

/* nearest - which of the known words a mistyped word was meant to be.
 *
 * Owner:    a value, on the stack of whoever writes the message.
 * Source:   distance: optimal string alignment (Boytsov, ACM JEA 2011, section 2.1): insert,
 *           delete, replace, and swap of neighbours cost 1 each.
 * Surprise: none.
 */
#include <stddef.h>

/* Start with {.word = "optimizer.rat"}. */
struct nearest {
    const char *word;
    const char *best;     /* borrowed from the candidates; NULL before the first offer */
    size_t best_distance; /* edits from word to best */
};

/* Considers a candidate; the first of equally near ones stays. */
void nearest_offer(struct nearest *nearest, const char *candidate);

/* The best candidate if it is near enough to be meant, else NULL. */
const char *nearest_word(const struct nearest *nearest);

#endif
