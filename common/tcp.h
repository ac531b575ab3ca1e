#ifndef COMMON_TCP_H
#define COMMON_TCP_H

/* tcp - what is set of a connection's socket beyond what ZeroMQ sets.
 *
 * Congestion control: between processes of one host nothing is lost, and BBR, which many hosts have
 * for the network, costs what it costs to pace: with cubic 1 MiB messages go 1.6 times as fast for
 * 0.55 of the processor time (tests/bench/README.md).  So cubic is asked for on connections within
 * the host; all others keep what the host's owner has chosen.
 * There, too, no more is on its way at once than a core's cache holds: the kernel would let it
 * grow to megabytes, which are then copied twice from farther away.  In the network a buffer has to
 * hold what the way there and back holds, and the kernel knows that best.
 *
 * Owner:    the descriptor is ZeroMQ's, borrowed for the call.  Thread: any, no state.
 * Source:   Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016 (pacing).
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>

/* Both ends of the connection have one address, or one of the loopback device. */
bool tcp_is_within_host(int fd);

/* The numeric address at the other end, "" when there is none. */
void tcp_peer(int fd, char *text_out, size_t bytes);

/* Asks for what suits the connection.  Where the host does not allow it, it stays as it is. */
void tcp_tune(int fd);

#endif
