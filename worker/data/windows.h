#ifndef WORKER_DATA_WINDOWS_H
#define WORKER_DATA_WINDOWS_H

/* windows - a stream of tokens cut into samples: which token each begins with.
 *
 * Sample i is the `length` tokens from begin + i * length on, and its labels are the tokens that
 * follow each of them; so the last token of a part is a label only.  What is left at the end and
 * makes no whole window is not used.  An epoch after the first moves all windows along by a draw
 * of its own (the last one only as far as there are tokens), so that their borders fall elsewhere.
 *
 * What is held out is the end of the stream: neighbours resemble each other, and windows drawn out
 * of the middle would stand between training windows that tell what is in them.
 *
 * Owner:    a value, read-only once made.  Thread: any.  Memory: none.
 * Surprise: none.
 */
#include <stdint.h>
#include "common/err.h"

struct windows {
    uint64_t begin, end; /* the part's tokens */
    uint32_t length;     /* tokens of a sample; 0: the data is no stream */
    uint64_t seed;
};

/* The windows of a stream of token_count tokens.  ERR_INPUT when they do not make one; name, a
 * path, is for the sentence. */
MUST_USE int windows_make(uint64_t token_count, uint32_t length, uint64_t seed, const char *name,
                          struct windows *out, struct err_msg *why);

/* Splits off the held-out part: the last `fraction` of the tokens, at least one window.  ERR_INPUT
 * when both parts do not get one. */
MUST_USE int windows_split(const struct windows *whole, double fraction, const char *name,
                           struct windows *train_out, struct windows *held_out,
                           struct err_msg *why);

uint64_t windows_count(const struct windows *windows);

/* The first token of sample sample_idx (< count) as that epoch sees it. */
uint64_t windows_first(const struct windows *windows, uint64_t epoch, uint64_t sample_idx);

#endif
