#ifndef COMMON_ENDPOINT_H
#define COMMON_ENDPOINT_H

/* endpoint - where a channel listens or speaks to: what can be said of it before it is tried, and
 * what a person can do when it fails.
 *
 * Shapes:   tcp://host:port, ipc://path, inproc://name.
 * Owner:    transport.  Thread: no state.
 * Source:   zmq_tcp(7), zmq_ipc(7), unix(7).
 * Surprise: none.
 */
#include "common/err.h"

enum { ENDPOINT_TEXT_BYTES = 512 };

/* The path of an ipc endpoint, within it; NULL for any other. */
const char *endpoint_ipc_path(const char *endpoint);

/* Turns tcp://[::ffff:1.2.3.4]:5, as a socket for both families tells its IPv4 address, into
 * tcp://1.2.3.4:5, which hosts without IPv6 understand; others stay as they are. */
void endpoint_unmap(char *endpoint);

/* ERR_INPUT with a sentence when it is no endpoint of ours, or its socket path is too long. */
MUST_USE int endpoint_check(const char *endpoint, struct err_msg *why);

/* As endpoint_check, of one to connect to: neither port 0 nor host * is anywhere. */
MUST_USE int endpoint_check_peer(const char *endpoint, struct err_msg *why);

/* Before binding an ipc endpoint, whose path ZeroMQ would clear away: ERR_NET with a sentence when
 * a process listens there, ERR_INPUT when what lies there is no socket. */
MUST_USE int endpoint_check_free(const char *endpoint, struct err_msg *why);

/* The sentence for a bind that failed with this errno; ERR_NET or ERR_INPUT. */
int endpoint_bind_failed(const char *endpoint, int error, const char *error_text,
                         struct err_msg *why);

#endif
