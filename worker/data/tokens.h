#ifndef WORKER_DATA_TOKENS_H
#define WORKER_DATA_TOKENS_H

/* tokens - inputs that are numbers of a vocabulary (data.sequence): whether they are, and how many
 * kinds there are.
 *
 * Shapes:   a stream: rows of one token each, without labels; or samples: rows of data.sequence
 *           tokens each, with one label a sample or one a token.
 * Owner:    none: functions only.  Thread: any.
 * Memory:   none; tokens are read in pieces.
 * Source:   none.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/settings.h"
#include "worker/data/samples.h"

/* Whether samples are a stream, which is to be cut. */
bool tokens_is_stream(const struct settings *settings, const struct samples *samples);

/* Reads all tokens.  kind_count: in: what the training part has, or 0 to count them; out: that
 * count, the classes' where tokens have names.  ERR_INPUT with a sentence that names file and
 * place: another shape, no whole number, a token beyond kind_count, labels beside a stream, a loss
 * or a scaling that tokens do not take. */
MUST_USE int tokens_check(const struct settings *settings, const struct samples *samples,
                          uint32_t *kind_count, struct err_msg *why);

#endif
