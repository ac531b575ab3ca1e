#include "deploy/plan/meter.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "common/clock.h"
#include "deploy/bench/quantile.h"

enum { CHUNK_BYTES = 64 << 10, TRIPS = 21, FIRST_BYTES = 256 << 10 };

/* A transfer that takes so long says how fast the link is. */
static const double LONG_ENOUGH_S = 0.5;

struct place {
    char host[256], port[8];
};

static int parse_place(const char *where, struct place *out, struct err_msg *why)
{
    const char *text = strncmp(where, "tcp://", 6) == 0 ? where + 6 : where;
    const char *colon = strrchr(text, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    if (length > 1 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (colon == NULL || length == 0 || length >= sizeof(out->host) || colon[1] == '\0' ||
        strlen(colon + 1) >= sizeof(out->port) ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return err_set(why, ERR_INPUT, "found '%s', expected HOST:PORT", where);
    snprintf(out->host, sizeof(out->host), "%.*s", (int)length, text);
    snprintf(out->port, sizeof(out->port), "%s", colon + 1);
    return 0;
}

/* Of a host "*" any address of this machine. */
static int resolve(const char *where, int flags, struct addrinfo **found, struct err_msg *why)
{
    struct place place;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    int err = parse_place(where, &place, why);
    if (err != 0)
        return err;
    int failure = getaddrinfo(strcmp(place.host, "*") == 0 ? NULL : place.host, place.port, &hints,
                              found);
    return failure == 0 ? 0
                        : err_set(why, ERR_NET, "%s: no such place: %s", where,
                                  gai_strerror(failure));
}

static void set_deadlines(int fd)
{
    struct timeval wait = {.tv_sec = METER_WAIT_S};
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int send_all(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent <= 0)
            return ERR_NET;
        at += sent;
        count -= (size_t)sent;
    }
    return 0;
}

static int send_zeros(int fd, uint64_t count)
{
    static const char zeros[CHUNK_BYTES];
    int err = 0;
    for (uint64_t part; count > 0 && err == 0; count -= part) {
        part = count < CHUNK_BYTES ? count : CHUNK_BYTES;
        err = send_all(fd, zeros, (size_t)part);
    }
    return err;
}

static int read_all(int fd, void *out, size_t count)
{
    return recv(fd, out, count, MSG_WAITALL) == (ssize_t)count ? 0 : ERR_NET;
}

/* Reads and forgets. */
static int skip(int fd, uint64_t count)
{
    char chunk[CHUNK_BYTES];
    while (count > 0) {
        ssize_t got = recv(fd, chunk, count < CHUNK_BYTES ? (size_t)count : CHUNK_BYTES, 0);
        if (got <= 0)
            return ERR_NET;
        count -= (uint64_t)got;
    }
    return 0;
}

static int answer_one(int fd, char what)
{
    uint64_t count;
    if (what == 'e')
        return send_all(fd, "e", 1);
    if ((what != 'u' && what != 'd') || read_all(fd, &count, sizeof(count)) != 0 ||
        count > METER_BYTES_MAX)
        return ERR_PROTO;
    if (what == 'd')
        return send_zeros(fd, count);
    int err = skip(fd, count);
    return err == 0 ? send_all(fd, "u", 1) : err;
}

static int listen_at(const char *where, int *fd_out, struct err_msg *why)
{
    struct addrinfo *found;
    int on = 1, err = resolve(where, AI_PASSIVE, &found, why);
    if (err != 0)
        return err;
    *fd_out = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd_out >= 0)
        (void)setsockopt(*fd_out, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (*fd_out < 0 || bind(*fd_out, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(*fd_out, 1) != 0)
        err = err_set(why, ERR_NET, "%s: cannot listen there: %s", where, strerror(errno));
    freeaddrinfo(found);
    return err;
}

int meter_answer(const char *where, struct err_msg *why)
{
    int listener = -1, fd = -1;
    char what;
    int err = listen_at(where, &listener, why);
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    if (err == 0 && poll(&wait, 1, METER_ANSWER_S * 1000) <= 0)
        err = err_set(why, ERR_TIMEOUT, "%s: nobody asked for %d s", where, METER_ANSWER_S);
    if (err == 0 && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        err = err_set(why, ERR_NET, "%s: %s", where, strerror(errno));
    if (err == 0) {
        set_deadlines(fd);
        while (err == 0 && read_all(fd, &what, 1) == 0)
            err = answer_one(fd, what);
        if (err != 0)
            err_set(why, err, "%s: who asked does not speak as `talweg plan --measure` does",
                    where);
    }
    if (fd >= 0)
        close(fd);
    if (listener >= 0)
        close(listener);
    return err;
}

static int reach(const char *where, int *fd_out, struct err_msg *why)
{
    struct addrinfo *found;
    int err = resolve(where, 0, &found, why);
    if (err != 0)
        return err;
    for (const struct addrinfo *at = found; at != NULL && *fd_out < 0; at = at->ai_next) {
        *fd_out = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (*fd_out < 0)
            continue;
        set_deadlines(*fd_out);
        if (connect(*fd_out, at->ai_addr, at->ai_addrlen) == 0)
            continue;
        close(*fd_out);
        *fd_out = -1;
    }
    freeaddrinfo(found);
    if (*fd_out >= 0)
        return 0;
    return err_set(why, ERR_NET,
                   "%s: cannot connect: %s: start `talweg plan --answer HOST:PORT` there first",
                   where, strerror(errno));
}

/* Seconds until one request is answered. */
static int ask(int fd, char what, uint64_t count, double *seconds_out)
{
    char answer;
    uint64_t begin_us = clock_now_us();
    int err = send_all(fd, &what, 1);
    if (err == 0 && what != 'e')
        err = send_all(fd, &count, sizeof(count));
    if (err == 0 && what == 'u')
        err = send_zeros(fd, count);
    if (err == 0)
        err = what == 'd' ? skip(fd, count) : read_all(fd, &answer, 1);
    *seconds_out = (double)(clock_now_us() - begin_us) * 1e-6;
    return err;
}

/* Twice as much each time, until it takes long enough.  The way there and back in it is none of
 * the rate; only what is certain to be in it is taken off, or a rate would be found which the link
 * has not. */
static int find_rate(int fd, char what, double least_trip_s, double *rate_out)
{
    for (uint64_t count = FIRST_BYTES; count <= METER_BYTES_MAX; count *= 2) {
        double seconds;
        int err = ask(fd, what, count, &seconds);
        if (err != 0)
            return err;
        seconds -= least_trip_s;
        *rate_out = (double)count / (seconds > 1e-6 ? seconds : 1e-6);
        if (seconds >= LONG_ENOUGH_S)
            break;
    }
    return 0;
}

int meter_read(const char *where, struct meter_reading *out, struct err_msg *why)
{
    double trips[TRIPS];
    int fd = -1, err = reach(where, &fd, why);
    if (err != 0)
        return err;
    for (int i = 0; i < TRIPS && err == 0; i++)
        err = ask(fd, 'e', 0, &trips[i]);
    if (err == 0) {
        out->round_trip_s = quantile_median(trips, TRIPS);
        err = find_rate(fd, 'u', trips[0], &out->up_bytes_s); /* sorted: the least */
    }
    if (err == 0)
        err = find_rate(fd, 'd', trips[0], &out->down_bytes_s);
    close(fd);
    return err == 0 ? 0
                    : err_set(why, err, "%s: the connection broke, or was silent for %d s", where,
                              METER_WAIT_S);
}
