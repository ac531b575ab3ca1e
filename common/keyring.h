#ifndef COMMON_KEYRING_H
#define COMMON_KEYRING_H

/* keyring - who this process is, and whom it lets speak to it: its own secret key and the list of
 * those that are allowed, which may change while it runs.
 *
 * A key that has been on the list keeps its number for as long as the process lives, so that a
 * message of long ago can still be told by it.
 *
 * Owner:    a main.
 * Thread:   keyring_refresh: one at a time; all else from any.
 * Memory:   a row for each key that was ever on the list, KEYS_MAX at most.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/address.h"
#include "common/digest.h"
#include "common/key_file.h"

struct keyring;

/* Reads FOLDER/allowed and the role's own key: coordinator.key, server.key, client.key; for a
 * worker worker-RANK.key when it has a rank (not -1) and such a file, else worker.key, else the
 * only worker-*.key.  ERR_NOT_FOUND, ERR_INPUT, ERR_REFUSED, ERR_IO, ERR_NOMEM, with a sentence;
 * a list without the coordinator's, a server's or this process's own key is none. */
MUST_USE int keyring_open(const char *folder, enum key_role role, int rank,
                          struct keyring **ring_out, struct err_msg *why);
void keyring_close(struct keyring *ring);

/* This process's own.  Valid with the ring. */
const struct key *keyring_own(const struct keyring *ring);

/* The public key of those who listen, coordinator or server.  Valid with the ring. */
const char *keyring_peer(const struct keyring *ring, enum key_role role);

/* Reads the list again when its file is another or has changed since, and has stayed so since the
 * last call, or when is_forced.  0: nothing to do, or read, and *has_changed_out.  With an error
 * the old list stays, and the same file gives the same error only once. */
MUST_USE int keyring_refresh(struct keyring *ring, bool is_forced, bool *has_changed_out,
                             struct err_msg *why);

/* The number of a key on the list, or -1. */
int keyring_find(const struct keyring *ring, const char public_key[KEY_TEXT_BYTES]);

/* Of a number that keyring_find gave: whether the key is still on the list. */
bool keyring_is_allowed(const struct keyring *ring, int number);

/* Whose it is.  Valid with the ring. */
const struct key *keyring_at(const struct keyring *ring, int number);

/* Whether the owner of a key of this role may speak as this party. */
bool key_speaks_as(enum key_role role, enum party party);

/* Of the list's keys with their roles and names, whatever their order in the file: two lists that
 * let the same in have the same.  ERR_NOMEM. */
MUST_USE int keyring_digest(const struct keyring *ring, char hex_out[DIGEST_HEX_BYTES]);

/* How many are on the list. */
size_t keyring_allowed_count(const struct keyring *ring);

#endif
