#include "deploy/doctor/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/transport.h"
#include "deploy/doctor/echo_client.h"
#include "deploy/doctor/listener.h"
#include "proto/courier.h"
#include "ps/echo.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { CONNECT_MS = 1500, ANSWER_MS = 400 };

static enum probe_end end_of(const char *endpoint)
{
    struct probe probe = {.endpoint = endpoint};
    probe_all(&probe, 1, CONNECT_MS, ANSWER_MS);
    return probe.end;
}

/* A socket of the system's that listens on a free port; nobody takes connections from it. */
static int listen_somewhere(char endpoint_out[64])
{
    int fd = -1, error;
    unsigned port = 0;
    CU_ASSERT_FATAL(listener_open("tcp://127.0.0.1:0", &fd, &port, &error) == 0);
    snprintf(endpoint_out, 64, "tcp://127.0.0.1:%u", port);
    return fd;
}

static void test_probe_finds_a_channel_that_listens(void)
{
    char folder[PATH_MAX], endpoint[PATH_MAX + 16];
    struct transport *transport = NULL;
    struct channel *tcp = NULL, *ipc = NULL;
    struct err_msg why = {0};
    scratch_make(folder);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s/s", folder);
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT_FATAL(channel_bind(transport, "tcp://127.0.0.1:0", &tcp, &why) == 0);
    CU_ASSERT_FATAL(channel_bind(transport, endpoint, &ipc, &why) == 0);
    struct probe probes[2] = {{.endpoint = channel_endpoint(tcp)},
                              {.endpoint = channel_endpoint(ipc)}};
    probe_all(probes, 2, CONNECT_MS, ANSWER_MS);
    CU_ASSERT(probes[0].end == PROBE_PLAIN && probes[1].end == PROBE_PLAIN);
    CU_ASSERT_STRING_EQUAL(probes[0].mechanism, "NULL");
    CU_ASSERT_STRING_EQUAL(probes[0].address, "127.0.0.1");
    CU_ASSERT(probe_is_answered(&probes[0]));
    channel_destroy(tcp);
    channel_destroy(ipc);
    transport_destroy(transport);
    CU_ASSERT(end_of(endpoint) == PROBE_REFUSED);
    scratch_remove(folder);
}

static void test_probe_tells_refused_from_silent(void)
{
    char endpoint[64];
    int fd = listen_somewhere(endpoint);
    uint64_t begin_ms = clock_now_ms();
    CU_ASSERT(end_of(endpoint) == PROBE_MUTE); /* the system takes it, nobody speaks */
    CU_ASSERT(clock_now_ms() - begin_ms < CONNECT_MS);
    close(fd);
    CU_ASSERT(end_of(endpoint) == PROBE_REFUSED);
    CU_ASSERT(end_of("tcp://no-such-host.invalid:7") == PROBE_NO_NAME);
}

static void *answer_as_another(void *arg)
{
    static const char text[] =
        "220 mail.example ESMTP, which says more than a greeting of ZeroMQ is long\r\n";
    struct pollfd item = {.fd = *(int *)arg, .events = POLLIN};
    int fd = poll(&item, 1, CONNECT_MS) > 0 ? accept(item.fd, NULL, NULL) : -1;
    if (fd >= 0 && write(fd, text, sizeof(text) - 1) > 0)
        poll(NULL, 0, 100);
    close(fd);
    return NULL;
}

static void test_probe_knows_what_is_not_zeromq(void)
{
    char endpoint[64];
    pthread_t thread;
    int fd = listen_somewhere(endpoint);
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, answer_as_another, &fd) == 0);
    CU_ASSERT(end_of(endpoint) == PROBE_STRANGE);
    pthread_join(thread, NULL);
    close(fd);
}

static void test_probe_explains_each_end_with_reason_and_advice(void)
{
    static const struct {
        struct probe probe;
        enum finding_level level;
        const char *words;
    } cases[] = {
        {{.endpoint = "tcp://h:7", .end = PROBE_NO_NAME, .error = -2, .host = "h", .port = 7},
         FINDING_ERROR, "h does not resolve"},
        {{.endpoint = "tcp://h:7", .end = PROBE_SLOW_NAME, .host = "h", .port = 7},
         FINDING_ERROR, "no name server answers"},
        {{.endpoint = "tcp://h:7", .end = PROBE_REFUSED, .host = "h", .port = 7,
          .address = "10.0.0.1"},
         FINDING_WARNING, "tcp://h:7 (10.0.0.1): nobody listens on port 7"},
        {{.endpoint = "tcp://h:7", .end = PROBE_SILENT, .host = "h", .port = 7,
          .address = "10.0.0.1"},
         FINDING_ERROR, "firewall drops"},
        {{.endpoint = "tcp://h:7", .end = PROBE_UNREACHABLE, .error = 113, .host = "h", .port = 7,
          .address = "10.0.0.1"},
         FINDING_ERROR, "No route to host"},
        {{.endpoint = "tcp://h:7", .end = PROBE_SILENT, .host = "h", .port = 7,
          .address = "fd00::1", .other = "10.0.0.1"},
         FINDING_ERROR, "Give the number: tcp://10.0.0.1:7"},
        {{.endpoint = "tcp://h:7", .end = PROBE_MUTE, .host = "h", .port = 7}, FINDING_ERROR,
         "says nothing"},
        {{.endpoint = "tcp://h:7", .end = PROBE_STRANGE, .host = "h", .port = 7}, FINDING_ERROR,
         "not ZeroMQ"},
        {{.endpoint = "ipc:///s", .end = PROBE_REFUSED, .error = 2, .host = "/s"}, FINDING_WARNING,
         "there is no such socket"},
        {{.endpoint = "ipc:///s", .end = PROBE_FAILED, .error = 13, .host = "/s"}, FINDING_ERROR,
         "belongs to another user"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = NULL;
        size_t size;
        struct findings *findings = findings_create();
        probe_explain(&cases[i].probe, "The coordinator", FAMILY_RUN, FINDING_WARNING, findings);
        CU_ASSERT(findings_worst(findings) == cases[i].level);
        FILE *out = open_memstream(&text, &size);
        findings_print(findings, out, 1000, false);
        fclose(out);
        CU_ASSERT(strstr(text, cases[i].words) != NULL && strstr(text, "->") != NULL);
        free(text);
        findings_destroy(findings);
    }
}

static void test_listener_finds_who_has_a_port(void)
{
    char endpoint[64], name[64];
    int fd = listen_somewhere(endpoint), other, error;
    unsigned port = (unsigned)atoi(strrchr(endpoint, ':') + 1), again;
    CU_ASSERT(listener_owner(port, name, sizeof(name)) == getpid());
    CU_ASSERT(listener_open(endpoint, &other, &again, &error) == ERR_NET);
    CU_ASSERT(error == EADDRINUSE);
    CU_ASSERT(listener_open("tcp://192.0.2.77:0", &other, &again, &error) == ERR_NET);
    CU_ASSERT(error == EADDRNOTAVAIL);
    CU_ASSERT(listener_open("tcp://a-name:0", &other, &again, &error) == ERR_NOT_FOUND);
    close(fd);
    CU_ASSERT(listener_owner(port, name, sizeof(name)) == 0);
}

/* A peer that sends echoes back until it is told to stop. */
struct peer {
    struct channel *channel;
    volatile bool is_over;
};

static void *send_back(void *arg)
{
    struct peer *peer = arg;
    struct courier *courier = NULL;
    struct echo echo = {0};
    if (courier_create(1, NULL, &courier) != 0)
        return NULL;
    while (!peer->is_over) {
        struct ready ready;
        struct letter letter;
        if (transport_wait(&peer->channel, 1, -1, 20, &ready) != 0)
            break;
        while (courier_receive(courier, peer->channel, &letter) == 0) {
            echo_answer(&echo, courier, peer->channel, &letter, clock_now_ms());
            letter_release(&letter);
        }
    }
    courier_destroy(courier);
    return NULL;
}

static void test_echo_client_measures_a_peer(void)
{
    struct transport *transport = NULL;
    struct peer peer = {0};
    struct echo_client *client = NULL;
    struct err_msg why = {0};
    pthread_t thread;
    double least_ms = 0, median_ms = 0, bytes_per_s = 0;
    CU_ASSERT_FATAL(transport_create(1, &transport) == 0);
    CU_ASSERT_FATAL(channel_bind(transport, "tcp://127.0.0.1:0", &peer.channel, &why) == 0);
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, send_back, &peer) == 0);
    CU_ASSERT_FATAL(echo_client_open(channel_endpoint(peer.channel), "", &client, &why) == 0);
    CU_ASSERT(echo_client_round_trip(client, 3000, &least_ms, &median_ms) == 0);
    CU_ASSERT(least_ms > 0 && least_ms <= median_ms && median_ms < 1000);
    CU_ASSERT(echo_client_bandwidth(client, 3000, &bytes_per_s) == 0);
    CU_ASSERT(bytes_per_s > 1e6);
    peer.is_over = true;
    pthread_join(thread, NULL);
    CU_ASSERT(echo_client_round_trip(client, 100, &least_ms, &median_ms) == ERR_TIMEOUT);
    echo_client_close(client);
    channel_destroy(peer.channel);
    transport_destroy(transport);
}

#define TESTS(X)                                           \
    X(test_probe_finds_a_channel_that_listens)             \
    X(test_probe_tells_refused_from_silent)                \
    X(test_probe_knows_what_is_not_zeromq)                 \
    X(test_probe_explains_each_end_with_reason_and_advice) \
    X(test_listener_finds_who_has_a_port)                  \
    X(test_echo_client_measures_a_peer)

UNIT_MAIN("doctor_probe", TESTS)
