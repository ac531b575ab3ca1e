#include "deploy/doctor/checks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/endpoint.h"
#include "deploy/doctor/listener.h"

enum { RESOLVE_MS = 1000, CONNECT_MS = 1000, HEAR_MS = 300 };

/* Ports that the system hands to outgoing connections, which may so be taken before we come. */
static void check_range(unsigned port, struct findings *findings)
{
    unsigned first, last;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    bool is_read = file && fscanf(file, "%u %u", &first, &last) == 2;
    if (file)
        fclose(file);
    if (!is_read || port < first || port > last)
        return;
    findings_say(findings, FAMILY_ADDRESSES, FINDING_NOTE,
                 "port %u is among %u to %u, from which connections of this machine take theirs",
                 port, first, last);
    findings_why(findings, "It may be taken when the process starts.");
    findings_do(findings, "Choose one below %u, or reserve it: sysctl "
                          "net.ipv4.ip_local_reserved_ports=%u.",
                first, port);
}

static void tell_taken(const char *endpoint, unsigned port, struct findings *findings)
{
    char name[64];
    pid_t owner = listener_owner(port, name, sizeof(name));
    if (owner && strncmp(name, "talweg-", strlen("talweg-")) == 0) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_NOTE,
                     "%s is held by %s, process %d: it runs already", endpoint, name, (int)owner);
        findings_why(findings, "A second one could not listen there.");
        return;
    }
    if (owner)
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR,
                     "port %u is taken by process %d (%s)", port, (int)owner, name);
    else
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR,
                     "port %u is taken by a process of another user", port);
    findings_why(findings, "%s cannot be listened on.", endpoint);
    findings_do(findings, "End that process or choose another port: --bind tcp://*:PORT.  Sockets "
                          "take PORT, PORT+1, ...");
}

static void tell_no_listening(const char *endpoint, unsigned port, int error,
                              struct findings *findings)
{
    char own[200];
    if (error == EADDRINUSE) {
        tell_taken(endpoint, port, findings);
        return;
    }
    findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "cannot listen on %s: %s", endpoint,
                 strerror(error));
    if (error == EADDRNOTAVAIL) {
        listener_own_addresses(own, sizeof(own));
        findings_why(findings, "This machine has %s.", own[0] ? own : "no address but loopback");
        findings_do(findings, "Give --bind tcp://*:%u, and that address, if others know it, as "
                              "--advertise.", port);
    } else if (error == EACCES) {
        findings_why(findings, "Ports below 1024 are for root.");
        findings_do(findings, "Choose a higher port.");
    } else {
        findings_why(findings, "The process would end with this error.");
    }
}

/* Connects to what others are told, and looks whether that ends at the descriptor that listens. */
static bool reaches(const struct probe *target, int fd, int *error_out)
{
    struct sockaddr_storage local;
    socklen_t size = sizeof(local), error_size = sizeof(*error_out);
    int out = socket(target->socket_address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     0);
    struct pollfd item = {.fd = out, .events = POLLOUT};
    *error_out = 0;
    if (out < 0)
        return false;
    if (connect(out, (const struct sockaddr *)&target->socket_address,
                target->socket_address_bytes) != 0)
        *error_out = errno;
    if (*error_out == EINPROGRESS) {
        *error_out = ETIMEDOUT;
        if (poll(&item, 1, CONNECT_MS) > 0)
            (void)getsockopt(out, SOL_SOCKET, SO_ERROR, error_out, &error_size);
    }
    bool is_reached = *error_out == 0 && getsockname(out, (struct sockaddr *)&local, &size) == 0;
    unsigned port =
        ntohs(local.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&local)->sin_port
                                         : ((struct sockaddr_in6 *)(void *)&local)->sin6_port);
    is_reached = is_reached && listener_hears(fd, port, HEAR_MS);
    close(out);
    return is_reached;
}

/* From here alone: what a firewall does to others, it does not do to us. */
static void check_advertised(const struct patient *patient, int fd, unsigned port, uint32_t idx,
                             struct findings *findings)
{
    char bound[LAUNCH_ENDPOINT_BYTES], told[LAUNCH_ENDPOINT_BYTES];
    int error;
    struct probe target = {.endpoint = told};
    snprintf(bound, sizeof(bound), "tcp://*:%u", port);
    if (strncmp(patient->launch.bind, "tcp://*:", strlen("tcp://*:")) != 0)
        snprintf(bound, sizeof(bound), "%.*s:%u",
                 (int)(strrchr(patient->launch.bind, ':') - patient->launch.bind),
                 patient->launch.bind, port);
    struct err_msg why = {0};
    if (launch_advertised(&patient->launch, bound, idx, told, &why) != 0) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "%s", why.text);
        findings_why(findings, "Others could not be told where this process is.");
        return;
    }
    probe_resolve(&target, 1, patient_time(patient, RESOLVE_MS));
    if (target.end != PROBE_PLAIN)
        return; /* check_names has said so */
    if (reaches(&target, fd, &error)) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_OK,
                     "reached from this machine under %s, which others are told", told);
        return;
    }
    findings_say(findings, FAMILY_ADDRESSES, FINDING_WARNING, "not reached under %s: %s", told,
                 error ? strerror(error) : "somebody else answers there");
    findings_why(findings, "That is the address that others are told.");
    findings_do(findings, "Give --advertise tcp://HOST:PORT as others reach this machine; right "
                          "only if a router passes it on.");
}

static void check_tcp(const struct patient *patient, const char *endpoint, uint32_t idx,
                      struct findings *findings)
{
    int fd, error;
    unsigned asked = (unsigned)strtoul(strrchr(endpoint, ':') + 1, NULL, 10), port = asked;
    int err = listener_open(endpoint, &fd, &port, &error);
    if (err == ERR_NOT_FOUND) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR,
                     "cannot listen on %s: its host is neither a number, an interface nor *",
                     endpoint);
        findings_why(findings, "ZeroMQ listens on numbers, not on names.");
        findings_do(findings, "--bind tcp://*:%u --advertise tcp://NAME:%u", asked, asked);
        return;
    }
    if (err != 0) {
        tell_no_listening(endpoint, asked, error, findings);
        return;
    }
    findings_say(findings, FAMILY_ADDRESSES, FINDING_OK, asked ? "can listen on %s"
                 : "can listen on %s, a free port each time", endpoint);
    if (idx == 0)
        check_advertised(patient, fd, port, idx, findings);
    close(fd);
    if (asked)
        check_range(asked, findings);
}

static void check_ipc(const char *endpoint, struct findings *findings)
{
    char folder[PATH_MAX];
    struct err_msg why = {0};
    const char *path = endpoint_ipc_path(endpoint), *slash = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (endpoint_check(endpoint, &why) != 0) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "%s", why.text);
        findings_why(findings, "The system's limit for paths of sockets.");
    } else if (access(folder[0] ? folder : "/", W_OK | X_OK) != 0) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "cannot listen on %s: %s: %s",
                     endpoint, folder, strerror(errno));
        findings_why(findings, "A socket is a file, which must be made there.");
        findings_do(findings, "Make the folder, as the user who runs the process.");
    } else if (endpoint_check_free(endpoint, &why) != 0) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_NOTE, "%s", why.text);
        findings_why(findings, "A second process could not listen there.");
    } else {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_OK, "can listen on %s", endpoint);
    }
}

void check_addresses(struct patient *patient, struct findings *findings)
{
    if (patient->role == ROLE_ALL) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_OK,
                     "sockets are files in OUT: no port is needed on one machine");
        return;
    }
    if (patient->role == ROLE_WORKER) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_OK,
                     "a worker listens nowhere: no port needs to be open here");
        return;
    }
    if (!patient->is_launch_good)
        return;
    uint32_t count = patient->role == ROLE_COORDINATOR ? 2 : patient->settings->cluster.shards;
    for (uint32_t idx = 0; idx < count; idx++) {
        char endpoint[LAUNCH_ENDPOINT_BYTES];
        struct err_msg why = {0};
        if (launch_bind_endpoint(&patient->launch, idx, endpoint, &why) != 0) {
            findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "%s", why.text);
            findings_why(findings, "Socket %u of %u has nowhere to listen.", idx + 1, count);
        } else if (endpoint_ipc_path(endpoint)) {
            check_ipc(endpoint, findings);
        } else {
            check_tcp(patient, endpoint, idx, findings);
        }
    }
    if (!endpoint_ipc_path(patient->launch.bind) && strstr(patient->launch.bind, "127.") == NULL) {
        findings_say(findings, FAMILY_ADDRESSES, FINDING_UNCHECKED,
                     "whether others reach these ports: only they can tell");
        findings_do(findings, "Run this on another machine, during the run.");
    }
}
