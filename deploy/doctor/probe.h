#ifndef DEPLOY_DOCTOR_PROBE_H
#define DEPLOY_DOCTOR_PROBE_H

/* probe - what happens when one connects to an endpoint: no name, no way, refused, silence, who
 * answers, and whether that wants a key.
 *
 * Goes as ZeroMQ would: of a name's addresses the first alone is tried, and IPv6 comes before IPv4.
 * Then it reads the peer's ZMTP greeting, which names the mechanism, and leaves.
 *
 * Owner:    the caller of the probes.  Thread: one; names are resolved by threads of the C library.
 * Memory:   a resolver that does not answer keeps its request until the process ends.
 * Source:   rfc.zeromq.org/spec/23 (ZMTP 3.0), "Greeting"; libzmq 4.3, ip_resolver.cpp.
 * Surprise: none.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "common/greeting.h"
#include "deploy/doctor/findings.h"

enum probe_end {
    PROBE_PLAIN,       /* a ZeroMQ peer that wants no key */
    PROBE_CURVE,       /* one that wants a key */
    PROBE_OTHER_KEYS,  /* one that wants something else (mechanism) */
    PROBE_NO_NAME,     /* the name does not resolve (error: EAI_*) */
    PROBE_SLOW_NAME,   /* nobody says whether it does */
    PROBE_REFUSED,     /* the machine is there, nobody listens; ipc: no such socket, or nobody's */
    PROBE_UNREACHABLE, /* the system, or a machine on the way, says that there is no way (error) */
    PROBE_SILENT,      /* nobody says anything */
    PROBE_MUTE,        /* connected, and then nothing comes */
    PROBE_STRANGE,     /* connected, and what comes is not ZeroMQ's */
    PROBE_FAILED       /* anything else (error: errno) */
};

enum { PROBE_HOST_BYTES = 256, PROBE_ADDRESS_BYTES = 64 };

struct probe {
    const char *endpoint; /* tcp:// or ipc://, as endpoint_check_peer lets pass; borrowed */
    enum probe_end end;
    int error;
    char host[PROBE_HOST_BYTES];       /* as the endpoint names it; ipc: the path */
    unsigned port;                     /* 0: ipc */
    char address[PROBE_ADDRESS_BYTES]; /* what was tried, as a number; "" when there is none */
    char other[PROBE_ADDRESS_BYTES];   /* an IPv4 address of the name that was not tried, or "" */
    char mechanism[GREETING_MECHANISM_BYTES]; /* "NULL", "CURVE" */
    struct sockaddr_storage socket_address; /* of address */
    socklen_t socket_address_bytes;
};

/* Runs all at once and fills them in.  connect_ms: how long a name, and then a connection is waited
 * for; answer_ms: how long the greeting is. */
void probe_all(struct probe *probes, size_t count, unsigned connect_ms, unsigned answer_ms);

/* Resolves the host alone: end is PROBE_PLAIN when that works. */
void probe_resolve(struct probe *probes, size_t count, unsigned timeout_ms);

/* Somebody of ours is there. */
bool probe_is_answered(const struct probe *probe);

/* Adds the finding for a probe that somebody did not answer.  who, as a sentence begins: "The
 * coordinator"; refused: how bad it is when nobody listens there. */
void probe_explain(const struct probe *probe, const char *who, enum finding_family family,
                   enum finding_level refused, struct findings *findings);

/* An address of this machine's interfaces, or of the loopback device. */
bool probe_is_own_address(const struct sockaddr_storage *address);
bool probe_is_loopback(const struct sockaddr_storage *address);

/* "10.0.0.7"; an IPv4 address in the form of IPv6 is shown as IPv4. */
void probe_address_text(const struct sockaddr_storage *address, char text[PROBE_ADDRESS_BYTES]);

#endif
