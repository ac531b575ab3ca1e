#ifndef COMMON_DOCUMENT_H
#define COMMON_DOCUMENT_H

/* document - a JSON value: built, printed, parsed, looked up.  The door to jansson.
 *
 * A makes-a-value function returns NULL when memory is out, and document_put and document_append
 * say ERR_NOMEM to a NULL, so only these two need a look: if (document_put(row, "step",
 * document_whole(40)) < 0 || document_put(row, "loss", document_real(loss)) < 0) goto fail;
 *
 * Owner:    the outermost value owns all in it; what get, at and key return is borrowed until that
 *           one is changed or destroyed.  Thread: one writer, or any readers.
 * Memory:   what is parsed is bounded in bytes, depth and number of values before it is built.
 * Source:   RFC 8259; keys keep their order, a key said twice is an error.
 * Surprise: JSON has no NaN and no infinity: document_real makes them null, and null reads as NaN.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/err.h"

enum { DOCUMENT_BYTES_MAX = 32 << 20, DOCUMENT_DEPTH_MAX = 64, DOCUMENT_VALUES_MAX = 1 << 20 };

struct document;

MUST_USE struct document *document_object(void);
MUST_USE struct document *document_array(void);
MUST_USE struct document *document_text(const char *text); /* bytes not UTF-8 become U+FFFD */
MUST_USE struct document *document_whole(int64_t value);
MUST_USE struct document *document_real(double value);
MUST_USE struct document *document_truth(bool value);
MUST_USE struct document *document_null(void);
void document_destroy(struct document *document);

/* Takes over value, always; a key that was there is replaced.  ERR_NOMEM; ERR_INPUT when the key is
 * not UTF-8. */
MUST_USE int document_put(struct document *object, const char *key, struct document *value);

/* Takes over value, always.  ERR_NOMEM. */
MUST_USE int document_append(struct document *array, struct document *value);

/* Parses all of the bytes, which need no NUL.  ERR_INPUT with a sentence that names line and
 * column, ERR_NOMEM. */
MUST_USE int document_parse(const char *bytes, size_t size_bytes, struct document **document_out,
                            struct err_msg *why);

/* The same of a file; the sentence names it.  Also ERR_NOT_FOUND, ERR_IO. */
MUST_USE int document_load(const char *path, struct document **document_out, struct err_msg *why);

/* A member of an object; NULL when it has none, or is no object, or NULL itself. */
const struct document *document_get(const struct document *object, const char *key);

/* Members of an object, elements of an array; 0 for anything else and NULL. */
size_t document_count(const struct document *document);

/* Element idx of an array; NULL past its end, or when it is no array. */
const struct document *document_at(const struct document *array, size_t idx);

/* The key after one that this function returned (NULL: the first), in order; NULL after the last,
 * or when it is no object. */
const char *document_key_after(const struct document *object, const char *key);

bool document_is_object(const struct document *document);
bool document_is_array(const struct document *document);
bool document_is_null(const struct document *document); /* a null that was said: not NULL */

/* Member `key` of an object.  ERR_INPUT, and *out is left alone, when it is missing or of another
 * kind: why names the key, what was found and what was expected. */
MUST_USE int document_get_text(const struct document *object, const char *key, const char **out,
                               struct err_msg *why);
MUST_USE int document_get_whole(const struct document *object, const char *key, int64_t *out,
                                struct err_msg *why);
MUST_USE int document_get_real(const struct document *object, const char *key, double *out,
                               struct err_msg *why);
MUST_USE int document_get_truth(const struct document *object, const char *key, bool *out,
                                struct err_msg *why);

/* The same of a value at hand, such as an array's element; name is what the sentence calls it. */
MUST_USE int document_as_text(const struct document *value, const char *name, const char **out,
                              struct err_msg *why);
MUST_USE int document_as_whole(const struct document *value, const char *name, int64_t *out,
                               struct err_msg *why);
MUST_USE int document_as_real(const struct document *value, const char *name, double *out,
                              struct err_msg *why);
MUST_USE int document_as_truth(const struct document *value, const char *name, bool *out,
                               struct err_msg *why);

/* JSON text, malloc'd, the caller's to free: on one line, or (is_pretty) indented and with a
 * newline at the end.  Real numbers print as short as reads back to the same.  NULL: out of memory.
 */
MUST_USE char *document_print(const struct document *document, bool is_pretty);

/* The pretty text to a stream, whose errors are its owner's.  ERR_NOMEM, also for NULL. */
MUST_USE int document_show(const struct document *document, FILE *stream);

/* The pretty text in place of a file, by file_replace.  ERR_IO, ERR_NOMEM. */
MUST_USE int document_save(const struct document *document, const char *path, struct err_msg *why);

#endif
