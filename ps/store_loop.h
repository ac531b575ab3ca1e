#ifndef PS_STORE_LOOP_H
#define PS_STORE_LOOP_H

/* store_loop - the store's thread: its socket for shards, its line to the coordinator.
 *
 * Disk work is done here, so that a slow disk delays no heartbeat.
 *
 * Owner:    coordinator_main.  Thread: its own, from start to stop.
 * Memory:   two channels.
 * Surprise: none.
 */
#include "common/transport.h"
#include "ps/store.h"

struct store_loop;

struct store_loop_spec {
    struct transport *transport;
    struct channel *shards;  /* bound; the loop takes it over, also on failure */
    const char *coordinator; /* inproc endpoint, bound already */
    struct store *store;     /* borrowed until store_loop_stop */
    uint64_t incarnation;
};

/* Starts the thread.  ERR_NOMEM. */
MUST_USE int store_loop_start(const struct store_loop_spec *spec, struct store_loop **loop_out);

/* Ends the thread after the message in work; returns what went wrong in it, with a sentence. */
int store_loop_stop(struct store_loop *loop, struct err_msg *why);

#endif
