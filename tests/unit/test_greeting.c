#include "common/greeting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/transport.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_greeting_is_begun) \
    X(test_greeting_names_the_mechanism) \
    X(test_channel_learns_the_mechanism_of_who_parts_first) \
    X(test_channel_goes_on_trying_who_parts_and_wants_no_key) \
    X(test_channel_goes_on_trying_who_says_nothing) \
    X(test_channel_does_not_wait_long_for_who_stays_silent)

enum { WAIT_MS = 5000, PARTED_MIN = 4, PATIENCE_MS = 3000 };

static const char silent[] = "";

/* A peer that has read enough before the other end has: it closes each connection whose greeting
 * goes on, and its own is never whole there.  Who only says hello hears the rest. */
struct peer {
    int listener;
    const char *mechanism; /* NULL: it closes at once; silent: who asks it waits in vain */
    atomic_uint parted_count, left_count;
    pthread_t thread;
    char endpoint[64];
};

/* Stays, until whoever asked has gone. */
static void say_nothing(struct peer *peer, int fd)
{
    unsigned char byte;
    struct pollfd item = {.fd = fd, .events = POLLIN};
    if (poll(&item, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) <= 0)
        atomic_fetch_add(&peer->left_count, 1);
}

static void greet(struct peer *peer, int fd)
{
    unsigned char bytes[GREETING_BYTES] = {0}, heard[GREETING_BYTES];
    size_t count = 0;
    memcpy(bytes, greeting_hello, GREETING_HELLO_BYTES);
    snprintf((char *)bytes + 12, 20, "%s", peer->mechanism);
    CU_ASSERT(write(fd, bytes, GREETING_HELLO_BYTES) == GREETING_HELLO_BYTES);
    while (count <= GREETING_HELLO_BYTES) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (poll(&item, 1, 100) <= 0)
            break;
        ssize_t more = recv(fd, heard + count, sizeof(heard) - count, 0);
        if (more <= 0)
            return;
        count += (size_t)more;
    }
    if (count <= GREETING_HELLO_BYTES && peer->mechanism == silent)
        say_nothing(peer, fd);
    else if (count <= GREETING_HELLO_BYTES)
        CU_ASSERT(send(fd, bytes + GREETING_HELLO_BYTES, GREETING_BYTES - GREETING_HELLO_BYTES,
                       MSG_NOSIGNAL) > 0);
}

static void *run_peer(void *context)
{
    struct peer *peer = context;
    for (;;) {
        int fd = accept(peer->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        if (peer->mechanism != NULL)
            greet(peer, fd);
        close(fd);
        atomic_fetch_add(&peer->parted_count, 1);
    }
}

static void start_peer(struct peer *peer, const char *mechanism)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(place);
    *peer = (struct peer){.listener = socket(AF_INET, SOCK_STREAM, 0), .mechanism = mechanism};
    CU_ASSERT_FATAL(bind(peer->listener, (struct sockaddr *)&place, sizeof(place)) == 0);
    CU_ASSERT_FATAL(listen(peer->listener, 16) == 0);
    CU_ASSERT_FATAL(getsockname(peer->listener, (struct sockaddr *)&place, &bytes) == 0);
    snprintf(peer->endpoint, sizeof(peer->endpoint), "tcp://127.0.0.1:%u", ntohs(place.sin_port));
    CU_ASSERT_FATAL(pthread_create(&peer->thread, NULL, run_peer, peer) == 0);
}

/* Connects without keys until it is refused, or the peer has parted often enough. */
static int refusal_by(const char *mechanism, struct err_msg *why, unsigned *left_count_out)
{
    const struct ends ends = {.self = {PARTY_WORKER, 5}, .listener = PARTY_COORDINATOR};
    struct transport *transport;
    struct channel *channel;
    struct peer peer;
    int err = 0;
    start_peer(&peer, mechanism);
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT_FATAL(channel_connect(transport, peer.endpoint, ends, &channel, why) == 0);
    uint64_t end_ms = clock_now_ms() + WAIT_MS;
    while (err == 0 && atomic_load(&peer.parted_count) < PARTED_MIN && clock_now_ms() < end_ms) {
        struct ready ready;
        CU_ASSERT_FATAL(transport_wait(&channel, 1, -1, 20, &ready) == 0);
        err = channel_refusal(channel, false, why);
    }
    CU_ASSERT(!channel_is_let_in(channel));
    channel_destroy(channel);
    transport_destroy(transport);
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    if (left_count_out != NULL)
        *left_count_out = atomic_load(&peer.left_count);
    return err;
}

static void test_greeting_is_begun(void)
{
    const unsigned char strange[] = "HTTP/1.1 400 Bad Request";
    unsigned char signature[10] = {0xff, [9] = 0x7e};
    CU_ASSERT(greeting_is_begun(strange, 0));
    CU_ASSERT(!greeting_is_begun(strange, 1));
    CU_ASSERT(greeting_is_begun(signature, 9));
    CU_ASSERT(!greeting_is_begun(signature, 10));
    CU_ASSERT(greeting_is_begun(greeting_hello, GREETING_HELLO_BYTES));
}

static void test_greeting_names_the_mechanism(void)
{
    unsigned char bytes[GREETING_BYTES];
    char mechanism[GREETING_MECHANISM_BYTES];
    memset(bytes, 'x', sizeof(bytes));
    greeting_mechanism(bytes, mechanism);
    CU_ASSERT_STRING_EQUAL(mechanism, "xxxxxxxxxxxxxxxxxxxx");
    memcpy(bytes + 12, "CURVE", 6);
    greeting_mechanism(bytes, mechanism);
    CU_ASSERT_STRING_EQUAL(mechanism, "CURVE");
}

static void test_channel_learns_the_mechanism_of_who_parts_first(void)
{
    struct err_msg why = {0};
    CU_ASSERT(refusal_by("CURVE", &why, NULL) == ERR_REFUSED);
    CU_ASSERT(strstr(why.text, "it asks for a key: give --keys DIR") != NULL);
}

static void test_channel_goes_on_trying_who_parts_and_wants_no_key(void)
{
    struct err_msg why = {0};
    CU_ASSERT(refusal_by("NULL", &why, NULL) == 0);
}

static void test_channel_goes_on_trying_who_says_nothing(void)
{
    struct err_msg why = {0};
    CU_ASSERT(refusal_by(NULL, &why, NULL) == 0);
}

static void test_channel_does_not_wait_long_for_who_stays_silent(void)
{
    struct err_msg why = {0};
    unsigned left_count;
    CU_ASSERT(refusal_by(silent, &why, &left_count) == 0);
    CU_ASSERT(left_count > 0);
}

UNIT_MAIN("greeting", TESTS)
