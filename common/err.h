#ifndef COMMON_ERR_H
#define COMMON_ERR_H

/* err - what a function says when it cannot do what it was asked.
 *
 * Codes are for machines: 0 or a negative ERR_*, handled or returned unchanged.  Sentences are for
 * people: where a person must act, a function also fills an err_msg with the file, line or field,
 * what was found and what was expected.
 *
 * Owner:    everyone.  Thread: no state.
 * Surprise: none.
 */
#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#define ERR_TABLE(X)                                        \
    X(ERR_NOMEM, -1, "out of memory")                       \
    X(ERR_STALE, -2, "for a step already done")             \
    X(ERR_PROTO, -3, "peer sent a malformed message")       \
    X(ERR_IO, -4, "file or disk failed")                    \
    X(ERR_INPUT, -5, "input is not as it should be")        \
    X(ERR_TIMEOUT, -6, "deadline passed")                   \
    X(ERR_AGAIN, -7, "nothing to do now")                   \
    X(ERR_REFUSED, -8, "refused")                           \
    X(ERR_NOT_FOUND, -9, "not found")                       \
    X(ERR_NET, -10, "network failed")                       \
    X(ERR_FULL, -11, "no room left")                        \
    X(ERR_LOST, -12, "peer is gone")                        \
    X(ERR_STOPPED, -13, "asked to stop")

#define ERR_ENUM(name, code, text) name = (code),
enum err_code { ERR_TABLE(ERR_ENUM) };
#undef ERR_ENUM

/* A sentence for a person; empty when zeroed. */
struct err_msg {
    char text[1024];
};

/* Puts a question mark in place of every byte that could steer a terminal; lines may end. */
void err_blank(char *text);

/* Formats the sentence into why (which may be NULL) and returns code; a longer text is cut, and
 * what a stranger's words in it could do to a terminal is blanked. */
int err_set(struct err_msg *why, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts the formatted text in front of what why already says and returns code. */
int err_prefix(struct err_msg *why, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The table's text of a code; "ok" for 0, "unknown error" for others.  Static. */
const char *err_text(int code);

#endif
