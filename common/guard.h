#ifndef COMMON_GUARD_H
#define COMMON_GUARD_H

/* guard - answers ZeroMQ when it asks whether a key may connect, and keeps the list of keys fresh.
 *
 * It has a thread of its own, which looks at the list several times a second, and at once on
 * SIGHUP.  Who is refused is counted, and logged once a second at most.  With transport it is the
 * door to ZeroMQ.
 *
 * Owner:    transport, one a context.
 * Thread:   its own, and any for the rest.
 * Source:   ZeroMQ RFC 27 (ZAP), zmq_curve(7).
 * Surprise: from guard_create on SIGHUP is blocked in the calling thread and those that it starts:
 *           the guard's thread takes it.
 */
#include <stdint.h>
#include "common/keyring.h"

struct guard;

/* Before the first socket of the context is bound.  ring is borrowed until guard_destroy.  ERR_NET,
 * ERR_NOMEM. */
MUST_USE int guard_create(void *zmq_context, struct keyring *ring, struct guard **guard_out);

/* Before the context ends. */
void guard_destroy(struct guard *guard);

/* Counts and logs one who failed before it could show a key; address: where it came from. */
void guard_note_stranger(struct guard *guard, const char *address);

/* Connections refused so far because of their key, or for having none. */
uint64_t guard_refused_count(const struct guard *guard);

/* Makes a new pair; ERR_NET when this ZeroMQ has no CURVE. */
MUST_USE int guard_make_pair(char public_out[KEY_TEXT_BYTES], char secret_out[KEY_TEXT_BYTES]);

/* Whether the secret key of key belongs to its public one. */
bool guard_is_pair(const struct key *key);

#endif
