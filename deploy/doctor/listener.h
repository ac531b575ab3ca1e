#ifndef DEPLOY_DOCTOR_LISTENER_H
#define DEPLOY_DOCTOR_LISTENER_H

/* listener - whether a socket can listen somewhere, and who does if somebody does already.
 *
 * Owner:    the caller.  Thread: one.  Memory: none.
 * Source:   tcp(7), proc(5): /proc/net/tcp.  ZeroMQ sets SO_REUSEADDR, so it is set here.
 * Surprise: processes of other users are only found by root.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "common/err.h"
#include "deploy/doctor/probe.h"

/* Listens as channel_bind would.  0, and the descriptor in *fd_out, with the real port;
 * ERR_NOT_FOUND: the host is no number, interface or *; else ERR_NET, and the reason in *error_out
 * (errno). */
MUST_USE int listener_open(const char *endpoint, int *fd_out, unsigned *port_out, int *error_out);

/* Whether a connection that was made from `local_port` of this machine has come in there; takes it
 * and lets it go. */
bool listener_hears(int fd, unsigned local_port, unsigned timeout_ms);

/* The process that listens on a TCP port: 0 when none is found. */
pid_t listener_owner(unsigned port, char *name_out, size_t size);

/* "10.0.0.3, 192.168.1.4": all of this machine but loopback, cut to fit. */
void listener_own_addresses(char *text, size_t size);

#endif
