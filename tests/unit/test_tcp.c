#include "common/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/transport.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_tcp_knows_a_connection_within_the_host) \
    X(test_tcp_leaves_other_descriptors_alone) \
    X(test_tcp_asks_for_cubic_within_the_host) \
    X(test_tcp_bounds_what_is_on_its_way_within_the_host) \
    X(test_tcp_tunes_both_ends_of_a_channel)

enum { WAIT_MS = 5000, DESCRIPTORS = 256, NAME_BYTES = 16 };

/* A connection over the loopback device: the two ends. */
static void connect_pair(int fds[2])
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(place);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(bind(listener, (struct sockaddr *)&place, sizeof(place)) == 0);
    CU_ASSERT_FATAL(listen(listener, 1) == 0);
    CU_ASSERT_FATAL(getsockname(listener, (struct sockaddr *)&place, &bytes) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(connect(fds[0], (struct sockaddr *)&place, sizeof(place)) == 0);
    fds[1] = accept(listener, NULL, NULL);
    CU_ASSERT_FATAL(fds[1] >= 0);
    close(listener);
}

static void control_of(int fd, char name_out[NAME_BYTES])
{
    socklen_t bytes = NAME_BYTES;
    memset(name_out, 0, NAME_BYTES);
    CU_ASSERT(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name_out, &bytes) == 0);
}

/* Whether this process may have cubic; if not, says so. */
static bool has_cubic(void)
{
    int fds[2];
    connect_pair(fds);
    bool is_allowed = setsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0;
    if (!is_allowed)
        printf("[cubic is not allowed here] ");
    close(fds[0]);
    close(fds[1]);
    return is_allowed;
}

static void test_tcp_knows_a_connection_within_the_host(void)
{
    int fds[2];
    connect_pair(fds);
    CU_ASSERT(tcp_is_within_host(fds[0]));
    CU_ASSERT(tcp_is_within_host(fds[1]));
    close(fds[0]);
    close(fds[1]);
}

/* A descriptor may have become another's before it is looked at. */
static void test_tcp_leaves_other_descriptors_alone(void)
{
    int fds[2], lonely = socket(AF_INET, SOCK_STREAM, 0);
    char before[NAME_BYTES], after[NAME_BYTES];
    CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CU_ASSERT(!tcp_is_within_host(fds[0]));
    CU_ASSERT(!tcp_is_within_host(lonely));
    CU_ASSERT(!tcp_is_within_host(-1));
    CU_ASSERT(!tcp_is_within_host(STDIN_FILENO));
    control_of(lonely, before);
    tcp_tune(lonely);
    tcp_tune(fds[0]);
    tcp_tune(-1);
    control_of(lonely, after);
    CU_ASSERT_STRING_EQUAL(before, after);
    close(fds[0]);
    close(fds[1]);
    close(lonely);
}

static void test_tcp_asks_for_cubic_within_the_host(void)
{
    int fds[2];
    char name[NAME_BYTES];
    connect_pair(fds);
    tcp_tune(fds[1]);
    control_of(fds[1], name);
    CU_ASSERT(!has_cubic() || strcmp(name, "cubic") == 0);
    close(fds[0]);
    close(fds[1]);
}

static int send_buffer_of(int fd)
{
    int bytes = 0;
    socklen_t size = sizeof(bytes);
    CU_ASSERT(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) == 0);
    return bytes;
}

/* The host may allow less than is asked for, and a buffer that nobody set grows to megabytes. */
static void test_tcp_bounds_what_is_on_its_way_within_the_host(void)
{
    enum { CHUNK = 64 << 10, AT_MOST = 512 << 10 };
    static const char chunk[CHUNK];
    int fds[2];
    connect_pair(fds);
    tcp_tune(fds[0]);
    for (int i = 0; i < 2; i++)
        while (send(fds[i], chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
            continue;
    CU_ASSERT(send_buffer_of(fds[0]) > 0 && send_buffer_of(fds[0]) <= AT_MOST);
    CU_ASSERT(send_buffer_of(fds[1]) >= send_buffer_of(fds[0]));
    close(fds[0]);
    close(fds[1]);
}

/* Both ends are this process's. */
static void check_connections(size_t expected)
{
    size_t found = 0;
    for (int fd = 3; fd < DESCRIPTORS; fd++) {
        char name[NAME_BYTES];
        if (!tcp_is_within_host(fd))
            continue;
        control_of(fd, name);
        CU_ASSERT_STRING_EQUAL(name, "cubic");
        found++;
    }
    CU_ASSERT_EQUAL(found, expected);
}

static void pass_on(struct channel *from, struct address to, struct channel *there)
{
    struct channel *both[2] = {from, there};
    struct frame frame;
    struct ready ready;
    CU_ASSERT_EQUAL(channel_send(from, to, "x", 1, NULL), 0);
    do {
        CU_ASSERT_FATAL(transport_wait(both, 2, -1, WAIT_MS, &ready) == 0);
    } while (!channel_is_ready(there) && ready.channel_count > 0);
    CU_ASSERT_EQUAL(channel_receive(there, &frame), 0);
    frame_release(&frame);
}

static void test_tcp_tunes_both_ends_of_a_channel(void)
{
    const struct address worker = {PARTY_WORKER, 5};
    struct transport *transport;
    struct channel *bound, *connected;
    struct err_msg why = {0};
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT_FATAL(channel_bind(transport, "tcp://127.0.0.1:0", &bound, &why) == 0);
    CU_ASSERT_FATAL(channel_connect(transport, channel_endpoint(bound),
                                    (struct ends){worker, PARTY_SHARD}, &connected, &why) == 0);
    pass_on(connected, worker, bound);
    pass_on(bound, worker, connected);
    if (has_cubic())
        check_connections(2);
    channel_destroy(connected);
    channel_destroy(bound);
    transport_destroy(transport);
}

UNIT_MAIN("tcp", TESTS)
