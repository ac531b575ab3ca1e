#include "common/guard.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/transport.h"
#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

enum { WAIT_MS = 10000, SLICE_MS = 20 };

static const char *const names[] = {"coordinator", "server", "worker-0", "worker-1", "client"};
static const enum key_role roles[] = {KEY_COORDINATOR, KEY_SERVER, KEY_WORKER, KEY_WORKER,
                                      KEY_CLIENT};

static struct key pairs[ARRAY_LEN(names)];
static char folder[PATH_MAX];

static void write_list(size_t count)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/allowed", folder);
    CU_ASSERT_EQUAL_FATAL(key_list_write(path, pairs, count, NULL), 0);
}

static void make_keys(const char *name)
{
    char path[PATH_MAX + 16];
    snprintf(folder, sizeof(folder), "%s", temp_path(name));
    CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        pairs[i] = (struct key){.role = roles[i]};
        snprintf(pairs[i].name, sizeof(pairs[i].name), "%s", names[i]);
        CU_ASSERT_EQUAL_FATAL(guard_make_pair(pairs[i].public_key, pairs[i].secret_key), 0);
        snprintf(path, sizeof(path), "%s/%s.key", folder, names[i]);
        CU_ASSERT_EQUAL_FATAL(key_secret_write(path, &pairs[i], NULL), 0);
    }
    write_list(ARRAY_LEN(names));
}

/* A process of its own, as far as ZeroMQ is concerned. */
static struct transport *open_as(enum key_role role, int rank, bool has_keys)
{
    struct transport *transport = NULL;
    struct keyring *ring = NULL;
    CU_ASSERT_EQUAL_FATAL(transport_create(1, &transport), 0);
    if (!has_keys)
        return transport;
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, role, rank, &ring, NULL), 0);
    transport_use_keys(transport, ring);
    return transport;
}

/* A server that listens, and a worker. */
struct scene {
    struct transport *server, *worker;
    struct channel *bound, *connected;
};

/* With the worker there already. */
static void open_scene(struct scene *scene, const char *endpoint, struct ends ends)
{
    struct err_msg why = {0};
    scene->server = open_as(KEY_SERVER, -1, true);
    CU_ASSERT_EQUAL_FATAL(channel_bind(scene->server, endpoint, &scene->bound, &why), 0);
    CU_ASSERT_EQUAL_FATAL(channel_connect(scene->worker, channel_endpoint(scene->bound), ends,
                                          &scene->connected, &why),
                          0);
}

static void close_scene(struct scene *scene)
{
    channel_destroy(scene->bound);
    channel_destroy(scene->connected);
    transport_destroy(scene->server);
    transport_destroy(scene->worker);
}

static bool say(struct channel *channel, const char *text)
{
    return channel_send(channel, (struct address){0}, text, strlen(text), NULL) == 0;
}

/* Both ends live until a message has come to the bound one (true), or the other is refused. */
static bool is_heard(struct channel *bound, struct channel *connected, struct err_msg *why)
{
    struct ready ready;
    struct frame frame;
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS; clock_now_ms() < end_ms;) {
        struct channel *channels[] = {bound};
        CU_ASSERT_EQUAL(transport_wait(channels, 1, -1, SLICE_MS, &ready), 0);
        if (channel_receive(bound, &frame) == 0) {
            frame_release(&frame);
            return true;
        }
        CU_ASSERT_EQUAL(transport_wait(&connected, 1, -1, 0, &ready), 0);
        if (channel_refusal(connected, false, why) != 0)
            return false;
    }
    err_set(why, ERR_TIMEOUT, "neither heard nor refused");
    return false;
}

/* Says hello until it is heard or refused. */
static bool is_let_in(const struct scene *scene, struct err_msg *why)
{
    CU_ASSERT(say(scene->connected, "hello"));
    return is_heard(scene->bound, scene->connected, why);
}

static void test_guard_lets_in_who_is_on_the_list(void)
{
    static const char *const schemes[] = {"tcp", "ipc"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct scene scene;
        struct err_msg why = {0};
        char endpoint[PATH_MAX + 32];
        make_keys(schemes[i]);
        snprintf(endpoint, sizeof(endpoint), i == 0 ? "tcp://127.0.0.1:0" : "ipc://%s/s", folder);
        scene.worker = open_as(KEY_WORKER, 1, true);
        open_scene(&scene, endpoint, (struct ends){{PARTY_WORKER, 7}, PARTY_SHARD});
        CU_ASSERT(is_let_in(&scene, &why));
        CU_ASSERT_EQUAL(transport_refused_count(scene.server), 0);
        close_scene(&scene);
    }
}

static void test_guard_refuses_a_key_that_is_not_listed(void)
{
    struct scene scene;
    struct err_msg why = {0};
    make_keys("unlisted");
    scene.worker = open_as(KEY_WORKER, 1, true);
    write_list(3); /* of which the worker does not know */
    open_scene(&scene, "tcp://127.0.0.1:0", (struct ends){{PARTY_WORKER, 7}, PARTY_SHARD});
    CU_ASSERT(!is_let_in(&scene, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "refuses the key of worker-1"));
    CU_ASSERT(transport_refused_count(scene.server) > 0);
    close_scene(&scene);
}

static void test_guard_refuses_who_has_no_key(void)
{
    struct scene scene;
    struct err_msg why = {0};
    make_keys("keyless");
    scene.worker = open_as(KEY_WORKER, 1, false);
    open_scene(&scene, "tcp://127.0.0.1:0", (struct ends){{PARTY_WORKER, 7}, PARTY_SHARD});
    CU_ASSERT(!is_let_in(&scene, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "it asks for a key: give --keys DIR"));
    close_scene(&scene);
}

static void test_guard_tells_a_listener_without_keys(void)
{
    struct scene scene;
    struct err_msg why = {0};
    const struct ends ends = {{PARTY_WORKER, 7}, PARTY_SHARD};
    make_keys("open");
    scene.worker = open_as(KEY_WORKER, 1, true);
    scene.server = open_as(KEY_SERVER, -1, false);
    CU_ASSERT_EQUAL_FATAL(channel_bind(scene.server, "tcp://127.0.0.1:0", &scene.bound, &why), 0);
    CU_ASSERT_EQUAL_FATAL(channel_connect(scene.worker, channel_endpoint(scene.bound), ends,
                                          &scene.connected, &why),
                          0);
    CU_ASSERT(!is_let_in(&scene, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "it speaks without keys"));
    close_scene(&scene);
}

/* The listener's own key is not the one that the list of the other end says. */
static void test_guard_tells_a_listener_with_another_key(void)
{
    struct scene scene;
    struct err_msg why = {0};
    struct ready ready;
    make_keys("before");
    scene.worker = open_as(KEY_WORKER, 1, true);
    make_keys("after");
    open_scene(&scene, "tcp://127.0.0.1:0", (struct ends){{PARTY_WORKER, 7}, PARTY_SHARD});
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS; clock_now_ms() < end_ms;) {
        CU_ASSERT_EQUAL(transport_wait(&scene.connected, 1, -1, SLICE_MS, &ready), 0);
        if (channel_refusal(scene.connected, true, &why) != 0)
            break;
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "ends each connection while keys are exchanged"));
    CU_ASSERT_EQUAL(channel_refusal(scene.connected, false, &why), 0); /* which may pass */
    close_scene(&scene);
}

/* A worker's key is for a worker: it does not pass for a server's. */
static void test_guard_lets_a_key_speak_for_its_role_only(void)
{
    struct scene scene;
    struct frame frame;
    struct ready ready;
    make_keys("role");
    scene.worker = open_as(KEY_WORKER, 1, true);
    open_scene(&scene, "tcp://127.0.0.1:0", (struct ends){{PARTY_SHARD, 7}, PARTY_SHARD});
    CU_ASSERT(say(scene.connected, "I am a server"));
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS;
         channel_refused_count(scene.bound) == 0 && clock_now_ms() < end_ms;) {
        CU_ASSERT_EQUAL(transport_wait(&scene.bound, 1, -1, SLICE_MS, &ready), 0);
        CU_ASSERT_EQUAL(channel_receive(scene.bound, &frame), ERR_AGAIN);
    }
    CU_ASSERT_EQUAL(channel_refused_count(scene.bound), 1);
    close_scene(&scene);
}

static void cut_off(bool is_hung_up)
{
    struct scene scene;
    struct err_msg why = {0};
    make_keys(is_hung_up ? "hung-up" : "cut-off");
    scene.worker = open_as(KEY_WORKER, 1, true);
    open_scene(&scene, "tcp://127.0.0.1:0", (struct ends){{PARTY_WORKER, 7}, PARTY_SHARD});
    CU_ASSERT(is_let_in(&scene, &why));
    write_list(3);
    if (is_hung_up)
        CU_ASSERT_EQUAL(kill(getpid(), SIGHUP), 0);
    uint64_t end_ms = clock_now_ms() + WAIT_MS;
    while (is_let_in(&scene, &why) && clock_now_ms() < end_ms)
        continue;
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "refuses the key of worker-1"));
    close_scene(&scene);
}

static void test_guard_cuts_off_whose_line_was_taken_out(void)
{
    cut_off(false);
}

static void test_guard_reads_the_list_when_hung_up(void)
{
    cut_off(true);
}

#define TESTS(X)                                     \
    X(test_guard_lets_in_who_is_on_the_list)         \
    X(test_guard_refuses_a_key_that_is_not_listed)   \
    X(test_guard_refuses_who_has_no_key)             \
    X(test_guard_tells_a_listener_without_keys)      \
    X(test_guard_tells_a_listener_with_another_key)  \
    X(test_guard_lets_a_key_speak_for_its_role_only) \
    X(test_guard_cuts_off_whose_line_was_taken_out)  \
    X(test_guard_reads_the_list_when_hung_up)

UNIT_MAIN("guard", TESTS)
