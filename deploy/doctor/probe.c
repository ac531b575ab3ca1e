#include "deploy/doctor/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/greeting.h"

/* One probe under way. */
struct attempt {
    struct probe *probe;
    int fd; /* -1: over */
    bool is_connected;
    uint64_t end_ms;
    size_t byte_count;
    unsigned char bytes[GREETING_BYTES];
};

bool probe_is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return address->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

void probe_address_text(const struct sockaddr_storage *address, char text[PROBE_ADDRESS_BYTES])
{
    text[0] = '\0';
    if (address->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
                  PROBE_ADDRESS_BYTES);
    if (address->ss_family != AF_INET6)
        return;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6))
        inet_ntop(AF_INET, &v6->s6_addr[12], text, PROBE_ADDRESS_BYTES);
    else
        inet_ntop(AF_INET6, v6, text, PROBE_ADDRESS_BYTES);
}

bool probe_is_own_address(const struct sockaddr_storage *address)
{
    char wanted[PROBE_ADDRESS_BYTES], text[PROBE_ADDRESS_BYTES];
    struct ifaddrs *all = NULL;
    bool is_own = probe_is_loopback(address);
    probe_address_text(address, wanted);
    if (is_own || getifaddrs(&all) != 0)
        return is_own;
    for (const struct ifaddrs *one = all; one && !is_own; one = one->ifa_next) {
        struct sockaddr_storage own = {0};
        if (!one->ifa_addr)
            continue;
        if (one->ifa_addr->sa_family == AF_INET)
            memcpy(&own, one->ifa_addr, sizeof(struct sockaddr_in));
        else if (one->ifa_addr->sa_family == AF_INET6)
            memcpy(&own, one->ifa_addr, sizeof(struct sockaddr_in6));
        else
            continue;
        probe_address_text(&own, text);
        is_own = strcmp(text, wanted) == 0;
    }
    freeifaddrs(all);
    return is_own;
}

bool probe_is_answered(const struct probe *probe)
{
    return probe->end == PROBE_PLAIN || probe->end == PROBE_CURVE;
}

/* Host and port out of the endpoint; false for one of ipc, whose host is its path. */
static bool split(struct probe *probe)
{
    const char *path = endpoint_ipc_path(probe->endpoint);
    const char *begin = probe->endpoint + strlen("tcp://"), *colon = strrchr(probe->endpoint, ':');
    probe->port = 0;
    if (path) {
        snprintf(probe->host, sizeof(probe->host), "%s", path);
        return false;
    }
    probe->port = (unsigned)strtoul(colon + 1, NULL, 10);
    bool has_brackets = begin[0] == '[' && colon[-1] == ']';
    snprintf(probe->host, sizeof(probe->host), "%.*s",
             (int)(colon - begin - (has_brackets ? 2 : 0)), begin + has_brackets);
    return true;
}

static void take_address(struct probe *probe, const struct addrinfo *found)
{
    memcpy(&probe->socket_address, found->ai_addr, found->ai_addrlen);
    probe->socket_address_bytes = found->ai_addrlen;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&probe->socket_address;
    v6->sin6_port = htons((uint16_t)probe->port);
    probe_address_text(&probe->socket_address, probe->address);
}

/* What the C library's threads work on; it outlives a call that did not wait for all of them. */
struct requests {
    size_t count;
    struct addrinfo as_zeromq, v4; /* what is asked for: two of each probe */
    struct probe **probes;         /* [count] */
    struct gaicb *items, **list;   /* [2 * count] */
    char (*hosts)[PROBE_HOST_BYTES];
};

static void requests_destroy(struct requests *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < 2 * all->count; i++)
        if (all->items[i].ar_result)
            freeaddrinfo(all->items[i].ar_result);
    free(all->probes);
    free(all->items);
    free(all->list);
    free(all->hosts);
    free(all);
}

static struct requests *requests_create(size_t count)
{
    struct requests *all = calloc(1, sizeof(*all));
    if (!all)
        return NULL;
    all->as_zeromq = (struct addrinfo){
        .ai_family = AF_INET6, .ai_socktype = SOCK_STREAM, .ai_flags = AI_V4MAPPED};
    all->v4 = (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    all->probes = calloc(count, sizeof(*all->probes));
    all->items = calloc(2 * count, sizeof(*all->items));
    all->list = calloc(2 * count, sizeof(struct gaicb *));
    all->hosts = calloc(count, sizeof(*all->hosts));
    if (all->probes && all->items && all->list && all->hosts)
        return all;
    requests_destroy(all);
    return NULL;
}

static void requests_add(struct requests *all, struct probe *probe)
{
    size_t idx = all->count++;
    memcpy(all->hosts[idx], probe->host, PROBE_HOST_BYTES);
    all->probes[idx] = probe;
    for (size_t i = 0; i < 2; i++) {
        all->items[2 * idx + i] = (struct gaicb){
            .ar_name = all->hosts[idx], .ar_request = i == 0 ? &all->as_zeromq : &all->v4};
        all->list[2 * idx + i] = &all->items[2 * idx + i];
    }
}

/* True when all have been answered. */
static bool wait_for(struct requests *all, unsigned timeout_ms)
{
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    for (size_t i = 0; i < 2 * all->count;) {
        uint64_t now_ms = clock_now_ms();
        if (gai_error(all->list[i]) != EAI_INPROGRESS) {
            i++;
            continue;
        }
        if (now_ms >= end_ms)
            return false;
        struct timespec left = {.tv_sec = (time_t)((end_ms - now_ms) / 1000),
                                .tv_nsec = (long)((end_ms - now_ms) % 1000) * 1000000};
        const struct gaicb *one = all->list[i];
        gai_suspend(&one, 1, &left);
    }
    return true;
}

/* v4: when the name has addresses of both families, the one that ZeroMQ passes over. */
static void take_answer(struct probe *probe, struct gaicb *first, struct gaicb *v4)
{
    int error = gai_error(first);
    if (error == EAI_INPROGRESS)
        return; /* a slow name */
    probe->end = error == 0 ? PROBE_PLAIN : PROBE_NO_NAME;
    probe->error = error;
    if (error != 0)
        return;
    take_address(probe, first->ar_result);
    if (strchr(probe->address, ':') && gai_error(v4) == 0) {
        struct sockaddr_storage address = {0};
        memcpy(&address, v4->ar_result->ai_addr, v4->ar_result->ai_addrlen);
        probe_address_text(&address, probe->other);
    }
}

void probe_resolve(struct probe *probes, size_t count, unsigned timeout_ms)
{
    struct requests *all = requests_create(count + 1);
    for (size_t i = 0; i < count; i++) {
        probes[i].end = PROBE_PLAIN;
        if (!split(&probes[i]))
            continue;
        probes[i].end = PROBE_SLOW_NAME;
        if (all)
            requests_add(all, &probes[i]);
    }
    if (!all || all->count == 0 ||
        getaddrinfo_a(GAI_NOWAIT, all->list, (int)(2 * all->count), NULL) != 0) {
        requests_destroy(all);
        return;
    }
    bool is_whole = wait_for(all, timeout_ms);
    for (size_t i = 0; i < all->count; i++)
        take_answer(all->probes[i], all->list[2 * i], all->list[2 * i + 1]);
    if (is_whole)
        requests_destroy(all);
}

static void end_attempt(struct attempt *attempt, enum probe_end end, int error)
{
    attempt->probe->end = end;
    attempt->probe->error = error;
    if (attempt->fd >= 0)
        close(attempt->fd);
    attempt->fd = -1;
}

static enum probe_end end_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ENOENT:
        return PROBE_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return PROBE_UNREACHABLE;
    case ETIMEDOUT:
        return PROBE_SILENT;
    default:
        return PROBE_FAILED;
    }
}

static void begin(struct attempt *attempt, unsigned connect_ms)
{
    struct probe *probe = attempt->probe;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const struct sockaddr *name = (const struct sockaddr *)&probe->socket_address;
    socklen_t name_bytes = probe->socket_address_bytes;
    attempt->fd = -1;
    if (probe->end != PROBE_PLAIN)
        return;
    if (endpoint_ipc_path(probe->endpoint)) {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", probe->host);
        name = (const struct sockaddr *)&un;
        name_bytes = sizeof(un);
    }
    attempt->end_ms = clock_now_ms() + connect_ms;
    attempt->fd = socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attempt->fd < 0)
        end_attempt(attempt, PROBE_FAILED, errno);
    else if (connect(attempt->fd, name, name_bytes) != 0 && errno != EINPROGRESS)
        end_attempt(attempt, errno == EAGAIN ? PROBE_MUTE : end_of(errno), errno);
}

static void greet(struct attempt *attempt, unsigned answer_ms)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    attempt->is_connected = error == 0;
    attempt->end_ms = clock_now_ms() + answer_ms;
    if (error == 0 && send(attempt->fd, greeting_hello, GREETING_HELLO_BYTES, MSG_NOSIGNAL) < 0)
        error = errno;
    if (error != 0)
        end_attempt(attempt, end_of(error), error);
}

static void judge(struct attempt *attempt)
{
    struct probe *probe = attempt->probe;
    greeting_mechanism(attempt->bytes, probe->mechanism);
    if (strcmp(probe->mechanism, "NULL") == 0)
        end_attempt(attempt, PROBE_PLAIN, 0);
    else
        end_attempt(attempt,
                    strcmp(probe->mechanism, "CURVE") == 0 ? PROBE_CURVE : PROBE_OTHER_KEYS, 0);
}

static void hear(struct attempt *attempt)
{
    ssize_t count = recv(attempt->fd, attempt->bytes + attempt->byte_count,
                         GREETING_BYTES - attempt->byte_count, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        end_attempt(attempt, attempt->byte_count > 0 ? PROBE_STRANGE : PROBE_MUTE, 0);
        return;
    }
    attempt->byte_count += (size_t)count;
    if (!greeting_is_begun(attempt->bytes, attempt->byte_count))
        end_attempt(attempt, PROBE_STRANGE, 0);
    else if (attempt->byte_count == GREETING_BYTES)
        judge(attempt);
}

/* One wait for all that are under way; false when none is. */
static bool turn(struct attempt *attempts, struct pollfd *items, size_t count, unsigned answer_ms)
{
    uint64_t now_ms = clock_now_ms(), next_ms = UINT64_MAX;
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        struct attempt *attempt = &attempts[i];
        if (attempt->fd >= 0 && now_ms >= attempt->end_ms)
            end_attempt(attempt, attempt->is_connected ? PROBE_MUTE : PROBE_SILENT, 0);
        items[i] = (struct pollfd){.fd = attempt->fd,
                                   .events = attempt->is_connected ? POLLIN : POLLOUT};
        is_any |= attempt->fd >= 0;
        if (attempt->fd >= 0 && attempt->end_ms < next_ms)
            next_ms = attempt->end_ms;
    }
    if (!is_any || (poll(items, (nfds_t)count, (int)(next_ms - now_ms)) < 0 && errno != EINTR))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (items[i].fd < 0 || items[i].revents == 0)
            continue;
        if (attempts[i].is_connected)
            hear(&attempts[i]);
        else
            greet(&attempts[i], answer_ms);
    }
    return true;
}

void probe_all(struct probe *probes, size_t count, unsigned connect_ms, unsigned answer_ms)
{
    struct attempt *attempts = calloc(count + 1, sizeof(*attempts));
    struct pollfd *items = calloc(count + 1, sizeof(*items));
    probe_resolve(probes, count, connect_ms);
    for (size_t i = 0; attempts && items && i < count; i++) {
        attempts[i].probe = &probes[i];
        begin(&attempts[i], connect_ms);
    }
    while (attempts && items && turn(attempts, items, count, answer_ms))
        continue;
    free(attempts);
    free(items);
}
