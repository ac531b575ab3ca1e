#include "common/run_file.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include "common/clock.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

static char out[PATH_MAX];

static void put(const char *name, const char *text)
{
    scratch_write(scratch_path(out, name), text, strlen(text));
}

/* So many seconds after the epoch it was written. */
static void date(const char *name, time_t s)
{
    struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, scratch_path(out, name), times, 0), 0);
}

static bool finds(const char *path, enum run_state state, const char *endpoint_or_sentence)
{
    char endpoint[ENDPOINT_TEXT_BYTES] = "";
    struct err_msg why = {0};
    enum run_state found = run_file_look(path, endpoint, &why);
    const char *said = found == RUN_THERE ? endpoint : why.text;
    if (found == state && strstr(said, endpoint_or_sentence) != NULL)
        return true;
    printf("\n    found %d, %s\n", (int)found, said);
    return false;
}

static void test_run_file_tells_paths_from_addresses(void)
{
    CU_ASSERT(run_file_is_path("/shared/run"));
    CU_ASSERT(run_file_is_path("./run"));
    CU_ASSERT(run_file_is_path("results/run/run.json"));
    CU_ASSERT(!run_file_is_path("tcp://head:7077"));
    CU_ASSERT(!run_file_is_path("ipc:///tmp/c"));
    CU_ASSERT(!run_file_is_path("head:7077"));
    CU_ASSERT(!run_file_is_path("head"));
}

static void test_run_file_says_where_the_coordinator_is(void)
{
    scratch_make(out);
    CU_ASSERT(finds(scratch_path(out, "later"), RUN_ABSENT, "later: No such file"));
    CU_ASSERT(finds(out, RUN_ABSENT, "run.json, which a coordinator writes when it begins, is"));
    put("run.json", "{\"coordinator\": \"tcp://head:7077\", \"pid\": 3}");
    CU_ASSERT(finds(out, RUN_THERE, "tcp://head:7077"));
    CU_ASSERT(finds(scratch_path(out, "run.json"), RUN_THERE, "tcp://head:7077"));
    put("run.json", "{\"coordinator\": \"tcp://head:0\"}");
    CU_ASSERT(finds(out, RUN_ABSENT, "/run.json: "));
    put("run.json", "{\"pid\": 3}");
    CU_ASSERT(finds(out, RUN_ABSENT, "/run.json: \"coordinator\": found nothing"));
    put("run.json", "{");
    CU_ASSERT(finds(out, RUN_ABSENT, "/run.json: line 1"));
    put("notes", "");
    CU_ASSERT(finds(scratch_path(out, "notes"), RUN_ABSENT, "found a file, expected the folder"));
    scratch_remove(out);
}

static void test_run_file_says_that_a_run_is_over(void)
{
    scratch_make(out);
    put("run.json", "{\"coordinator\": \"tcp://head:7077\"}");
    put("summary.json", "{\"phase\": \"finished\"}");
    date("run.json", 100);
    date("summary.json", 100);
    CU_ASSERT(finds(out, RUN_FINISHED, ""));
    put("summary.json", "{\"phase\": \"stopped\", \"error\": \"stopped at step 7 of 9\"}");
    date("summary.json", 200);
    CU_ASSERT(finds(out, RUN_STOPPED,
                    "/summary.json: that run is over and nobody has gone on with it: stopped, "
                    "stopped at step 7 of 9"));
    date("run.json", 201); /* somebody has */
    CU_ASSERT(finds(out, RUN_THERE, "tcp://head:7077"));
    put("summary.json", "");
    date("summary.json", 202);
    CU_ASSERT(finds(out, RUN_ABSENT, "/summary.json: "));
    scratch_remove(out);
}

static void test_run_file_takes_a_socket_for_itself(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    scratch_make(out);
    snprintf(name.sun_path, sizeof(name.sun_path), "%.90s/c", out);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    char expected[ENDPOINT_TEXT_BYTES];
    snprintf(expected, sizeof(expected), "ipc://%s", name.sun_path);
    CU_ASSERT(finds(name.sun_path, RUN_THERE, expected));
    close(fd);
    scratch_remove(out);
}

static void test_run_file_waits_no_longer_than_it_may(void)
{
    static const volatile sig_atomic_t no = 0, yes = 1;
    struct run_file file = {0};
    struct err_msg why;
    enum run_state state;
    scratch_make(out);
    snprintf(file.path, sizeof(file.path), "%s", out);
    CU_ASSERT_EQUAL(run_file_wait(&file, 0.0, &no, &state, &why), ERR_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "waited 0 s (cluster.wait_s) for a coordinator: /"));
    CU_ASSERT_EQUAL(run_file_wait(&file, 60.0, &yes, &state, &why), ERR_STOPPED);
    put("run.json", "{\"coordinator\": \"tcp://head:7077\"}");
    CU_ASSERT_EQUAL(run_file_wait(&file, 0.0, &no, &state, &why), 0);
    CU_ASSERT_EQUAL(state, RUN_THERE);
    CU_ASSERT_STRING_EQUAL(file.endpoint, "tcp://head:7077");
    scratch_remove(out);
}

static void test_run_file_follows_a_coordinator(void)
{
    struct run_file file = {.endpoint = "tcp://head:7077"};
    scratch_make(out);
    CU_ASSERT(!run_file_has_moved(&file, 5000)); /* an address was given */
    snprintf(file.path, sizeof(file.path), "%s", out);
    CU_ASSERT(!run_file_has_moved(&file, 6000));
    put("run.json", "{\"coordinator\": \"tcp://head:7077\"}");
    CU_ASSERT(!run_file_has_moved(&file, 7000));
    put("run.json", "{\"coordinator\": \"tcp://other:7077\"}");
    CU_ASSERT(!run_file_has_moved(&file, 7999)); /* it does not look so often */
    CU_ASSERT(run_file_has_moved(&file, 8000));
    CU_ASSERT_STRING_EQUAL(file.endpoint, "tcp://other:7077");
    CU_ASSERT(!run_file_has_moved(&file, 9000));
    scratch_remove(out);
}

#define TESTS(X) \
    X(test_run_file_tells_paths_from_addresses) \
    X(test_run_file_says_where_the_coordinator_is) \
    X(test_run_file_says_that_a_run_is_over) \
    X(test_run_file_takes_a_socket_for_itself) \
    X(test_run_file_waits_no_longer_than_it_may) \
    X(test_run_file_follows_a_coordinator)

UNIT_MAIN("run_file", TESTS)
