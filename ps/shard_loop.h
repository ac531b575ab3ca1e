#ifndef PS_SHARD_LOOP_H
#define PS_SHARD_LOOP_H

/* shard_loop - a shard's sockets and clock: one thread, one ROUTER socket, one shard.
 *
 * Owner:    ps_main.  Thread: the caller's, until the shard is over.
 * Memory:   a channel to the coordinator, the store and every shard that it sends blocks to; one
 *           for workers and other shards, who connect to it.
 * Surprise: none.
 */
#include <signal.h>
#include "common/run_file.h"
#include "common/transport.h"
#include "ps/shard.h"

struct shard_loop_spec {
    struct transport *transport;
    struct channel *workers; /* bound; the loop takes it over */
    const char *coordinator; /* endpoint */
    struct run_file run;     /* where it says so, if it was found that way; path "" else */
    struct shard_spec shard;
    const volatile sig_atomic_t *is_asked_to_stop;
};

/* Runs until the shard is over; how it ended is copied to end.  ERR_NET, ERR_NOMEM with a sentence
 * when the sockets fail. */
MUST_USE int shard_loop_run(const struct shard_loop_spec *spec, struct outcome *end,
                            struct err_msg *why);

#endif
