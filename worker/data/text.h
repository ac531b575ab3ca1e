#ifndef WORKER_DATA_TEXT_H
#define WORKER_DATA_TEXT_H

/* text - a file of plain UTF-8, plain or packed, as tokens: one a character.
 *
 * The training file's characters, sorted by code point, are the vocabulary; a character's token is
 * its place among them.  Nothing is left out or changed, line ends neither, but a byte order mark
 * at the start.
 *
 * Shapes:   rows of one token each, u8 for up to 256 kinds of characters, else u16.
 * Owner:    none: functions only.  Thread: any.
 * Memory:   a window of the file, a table of the characters; rows go where rows_place says.
 * Source:   RFC 3629 (UTF-8).
 * Surprise: none.
 */
#include "worker/data/rows.h"
#include "worker/data/vocabulary.h"

/* The characters of a file to an empty vocabulary.  ERR_INPUT with a sentence that names file and
 * line: bytes that are no UTF-8, a NUL, over VOCABULARY_WORDS_MAX kinds, an empty file; errors of
 * inflate_open. */
MUST_USE int text_learn(const char *path, struct vocabulary *characters, struct err_msg *why);

/* Rows of a file's tokens.  ERR_INPUT as above, and for a character that the vocabulary does not
 * have. */
MUST_USE int text_encode(const char *path, const struct vocabulary *characters,
                         struct rows_place *place, struct rows **rows_out, struct err_msg *why);

/* sha256 over the characters: equal when tokens mean the same.  ERR_NOMEM. */
MUST_USE int text_digest(const struct vocabulary *characters, char hex_out[65]);

#endif
