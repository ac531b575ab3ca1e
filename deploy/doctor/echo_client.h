#ifndef DEPLOY_DOCTOR_ECHO_CLIENT_H
#define DEPLOY_DOCTOR_ECHO_CLIENT_H

/* echo_client - measures the way to a coordinator or shard by what it sends back (ps/echo.h).
 *
 * Round trip: the median and the least of some small messages, one after another, the peer's loop
 * included.  Bandwidth: bytes sent out and back over the time from the first to the last, both
 * ways at once, in rounds twice as large each until one takes long enough to be told.
 *
 * Owner:    check_servers.  Thread: one.
 * Memory:   a transport, a channel, a MiB of payload.
 * Surprise: a peer that does not know echoes is silent.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"

struct echo_client;

/* To a shard.  keys: a folder with client.key; "": none.  ERR_NOMEM, ERR_NET, ERR_INPUT, and as
 * keyring_open; with a sentence. */
MUST_USE int echo_client_open(const char *endpoint, const char *keys, struct echo_client **out,
                              struct err_msg *why);
void echo_client_close(struct echo_client *client);

/* ERR_TIMEOUT when nothing comes back within timeout_ms. */
MUST_USE int echo_client_round_trip(struct echo_client *client, unsigned timeout_ms,
                                    double *least_ms_out, double *median_ms_out);

/* Bytes a second each way.  Sends at most 16 MiB.  ERR_TIMEOUT: not even a round came back. */
MUST_USE int echo_client_bandwidth(struct echo_client *client, unsigned timeout_ms,
                                   double *bytes_per_s_out);

#endif
