#ifndef COMMON_KEY_FILE_H
#define COMMON_KEY_FILE_H

/* key_file - keys as they lie on disk: a line each, `ROLE NAME PUBLIC`, with SECRET behind it in
 * the file that only its owner may read.
 *
 * A folder of keys has `allowed`, the list of all whose owners may speak, and those secret keys
 * that are used on this machine: coordinator.key, server.key, worker-3.key, client.key.
 *
 * Shapes:   keys are Z85 texts of 40 characters; names have letters, digits, and any of . _ -
 *           A line of a list that is empty or begins with # says nothing.
 * Owner:    values.  Thread: no state.
 * Memory:   the file, while it is read; at most KEY_FILE_BYTES_MAX.
 * Source:   ZeroMQ RFC 26 (CurveZMQ) and 32 (Z85); which modes a secret's file may have is what
 *           PostgreSQL asks of its server.key.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

enum { KEY_TEXT_BYTES = 41, KEY_NAME_BYTES = 64, KEYS_MAX = 4096, KEY_FILE_BYTES_MAX = 1 << 20 };

enum key_role { KEY_COORDINATOR, KEY_SERVER, KEY_WORKER, KEY_CLIENT, KEY_ROLE_COUNT };

struct key {
    enum key_role role;
    char name[KEY_NAME_BYTES];
    char public_key[KEY_TEXT_BYTES];
    char secret_key[KEY_TEXT_BYTES]; /* "" when it is not known */
};

/* "coordinator", "server", "worker", "client".  Static. */
const char *key_role_name(enum key_role role);

/* Reads a list of public keys into keys_out [capacity].  ERR_INPUT, naming file, line, what was
 * found and expected: no such line, a name or key that is there twice, a secret key, more than
 * capacity keys, or a list that others than its owner may write; as file_read else. */
MUST_USE int key_list_read(const char *path, struct key *keys_out, size_t capacity,
                           size_t *count_out, struct err_msg *why);

/* Reads a list from memory, which need not end with a NUL; path is for sentences only. */
MUST_USE int key_list_parse(const char *text, size_t text_bytes, const char *path,
                            struct key *keys_out, size_t capacity, size_t *count_out,
                            struct err_msg *why);

/* Reads the one key of a secret's file.  ERR_REFUSED when others may read or write it, or it
 * belongs to somebody else; ERR_INPUT when it holds no such line; as file_read else. */
MUST_USE int key_secret_read(const char *path, struct key *key_out, struct err_msg *why);

/* Writes a new file, for its owner only.  ERR_IO, with nothing left behind, also when something
 * lies at path. */
MUST_USE int key_secret_write(const char *path, const struct key *key, struct err_msg *why);

/* Writes a list in place of the one at path, readable by all.  As file_replace. */
MUST_USE int key_list_write(const char *path, const struct key *keys, size_t count,
                            struct err_msg *why);

#endif
