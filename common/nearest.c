#include "common/nearest.h"

#include <string.h>

enum { WORD_BYTES = 64 }; /* longer words are not guessed at */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(const char *a, const char *b)
{
    size_t a_count = strlen(a), b_count = strlen(b);
    size_t rows[3][WORD_BYTES + 1]; /* distances of a's prefixes of length i-2, i-1, i */
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_count; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_count; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_count; j++) {
            size_t edits = least(last[j], now[j - 1]) + 1;
            edits = least(edits, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                edits = least(edits, before[j - 2] + 1);
            now[j] = edits;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_count];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    if (strlen(nearest->word) > WORD_BYTES || strlen(candidate) > WORD_BYTES)
        return;
    size_t edits = distance(nearest->word, candidate);
    if (nearest->best != NULL && nearest->best_distance <= edits)
        return;
    nearest->best = candidate;
    nearest->best_distance = edits;
}

const char *nearest_word(const struct nearest *nearest)
{
    size_t allowed = strlen(nearest->word) / 3;
    if (nearest->best == NULL || nearest->best_distance > (allowed > 1 ? allowed : 1))
        return NULL;
    return nearest->best;
}
