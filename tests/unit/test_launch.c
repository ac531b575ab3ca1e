#include "common/launch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/unit/unit.h"

static char job[64]; /* path; made by the first test */

/* argv is "NAME JOB" and up to four more words. */
static int parse(enum launch_role role, const char *const words[4], struct launch *launch,
                 struct err_msg *why)
{
    char *argv[7] = {(char *)"talweg", job};
    int argc = 2;
    for (int i = 0; i < 4 && words != NULL && words[i] != NULL; i++)
        argv[argc++] = (char *)words[i];
    return launch_parse(role, argc, argv, launch, why);
}

/* A fresh job file whose group `cluster` holds text. */
static void write_job(const char *text)
{
    if (job[0] == '\0')
        snprintf(job, sizeof(job), "/tmp/test_launch.%d", (int)getpid());
    FILE *stream = fopen(job, "w");
    if (stream == NULL)
        abort();
    fprintf(stream,
            "job = { epochs = 1; }; data = { train_inputs = \"x\"; };\n"
            "model = { operators = ( { op = \"relu\"; } ); };\ncluster = { %s };\n",
            text);
    fclose(stream);
}

static void clear_environment(void)
{
    static const char *const names[] = {
        "TALWEG_COORDINATOR", "TALWEG_BIND",          "TALWEG_ADVERTISE",
        "TALWEG_RANK",        "SLURM_PROCID",         "PMI_RANK",
        "PMIX_RANK",          "OMPI_COMM_WORLD_RANK", "KUBERNETES_SERVICE_HOST",
        "SLURM_CPUS_PER_TASK", "SLURM_ARRAY_TASK_ID"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    write_job("");
}

/* Parses and loads; the code of the first that fails.  launch is the caller's to release. */
static int start(enum launch_role role, const char *const words[4], struct launch *launch,
                 struct err_msg *why)
{
    struct settings *settings = NULL;
    int err = parse(role, words, launch, why);
    if (err == 0)
        err = launch_settings(launch, &settings, why);
    settings_destroy(settings);
    return err;
}

static bool refuses(enum launch_role role, const char *const words[4], int code,
                    const char *sentence)
{
    struct launch launch;
    struct err_msg why = {{0}};
    int err = start(role, words, &launch, &why);
    bool is_refused = err == code && strncmp(why.text, sentence, strlen(sentence)) == 0;
    if (!is_refused)
        printf("\n    said     %d %s\n    expected %d %s\n", err, why.text, code, sentence);
    launch_release(&launch);
    return is_refused;
}

/* True when the role starts and listens there. */
static bool binds(enum launch_role role, const char *const words[4], const char *endpoint)
{
    struct launch launch;
    struct err_msg why = {{0}};
    int err = start(role, words, &launch, &why);
    bool is_bound = err == 0 && strcmp(launch.bind, endpoint) == 0;
    if (!is_bound)
        printf("\n    said     %s %s\n    expected %s\n", why.text, launch.bind, endpoint);
    launch_release(&launch);
    return is_bound;
}

#define WORDS(...) ((const char *const[4]){__VA_ARGS__})

static void test_launch_reads_flags(void)
{
    clear_environment();
    struct launch launch;
    struct err_msg why = {{0}};
    CU_ASSERT_EQUAL_FATAL(parse(LAUNCH_SERVER,
                                WORDS("--coordinator=tcp://a:1", "--rank", "3", "--log=x"), &launch,
                                &why),
                          0);
    CU_ASSERT_STRING_EQUAL(launch.job, job);
    CU_ASSERT_STRING_EQUAL(launch.coordinator, "tcp://a:1");
    CU_ASSERT_STRING_EQUAL(launch.log, "x");
    CU_ASSERT_EQUAL(launch.rank, 3);
    launch_release(&launch);
    CU_ASSERT_EQUAL_FATAL(
        parse(LAUNCH_COORDINATOR, WORDS("--bind=tcp://127.0.0.1:0", "--resume=r"), &launch, &why),
        0);
    CU_ASSERT_STRING_EQUAL(launch.bind, "tcp://127.0.0.1:0");
    CU_ASSERT_STRING_EQUAL(launch.out, "out");
    CU_ASSERT_STRING_EQUAL(launch.resume, "r");
    CU_ASSERT_PTR_NULL(launch.log);
    CU_ASSERT_EQUAL(launch.rank, -1);
    CU_ASSERT(!launch.is_fresh);
    launch_release(&launch);
    CU_ASSERT_EQUAL_FATAL(
        parse(LAUNCH_COORDINATOR, WORDS("--bind=tcp://127.0.0.1:0", "--fresh"), &launch, &why), 0);
    CU_ASSERT(launch.is_fresh);
    launch_release(&launch);
}

static void test_launch_turns_flags_into_settings(void)
{
    clear_environment();
    struct launch launch;
    struct err_msg why = {{0}};
    struct settings *settings = NULL;
    CU_ASSERT_EQUAL_FATAL(parse(LAUNCH_WORKER,
                                WORDS("--coordinator=ipc:///c", "--servers=2", "--threads=3",
                                      "--set=optimizer.rate=0.5"),
                                &launch, &why),
                          0);
    CU_ASSERT_EQUAL_FATAL(launch_settings(&launch, &settings, &why), 0);
    CU_ASSERT_EQUAL(settings->cluster.servers, 2);
    CU_ASSERT_EQUAL(settings->worker.threads, 3);
    CU_ASSERT_EQUAL(settings->optimizer.rate, 0.5);
    settings_destroy(settings);
    launch_release(&launch);
    CU_ASSERT(refuses(LAUNCH_WORKER, WORDS("--workers=none"), ERR_INPUT,
                      "from --set: cluster.workers: found the text \"none\", expected"));
}

static void test_launch_prefers_flags_to_environment_to_job_file(void)
{
    clear_environment();
    struct launch launch;
    struct err_msg why = {{0}};
    write_job("coordinator = \"tcp://job:1\";");
    CU_ASSERT_EQUAL(start(LAUNCH_WORKER, NULL, &launch, &why), 0);
    CU_ASSERT_STRING_EQUAL(launch.coordinator, "tcp://job:1");
    launch_release(&launch);
    setenv("TALWEG_COORDINATOR", "tcp://environment:1", 1);
    CU_ASSERT_EQUAL(start(LAUNCH_WORKER, NULL, &launch, &why), 0);
    CU_ASSERT_STRING_EQUAL(launch.coordinator, "tcp://environment:1");
    launch_release(&launch);
    CU_ASSERT_EQUAL(start(LAUNCH_WORKER, WORDS("--coordinator", "tcp://flag:1"), &launch, &why), 0);
    CU_ASSERT_STRING_EQUAL(launch.coordinator, "tcp://flag:1");
    launch_release(&launch);
}

static int rank_of(enum launch_role role, const char *const words[4])
{
    struct launch launch;
    struct err_msg why = {{0}};
    int err = parse(role, words, &launch, &why);
    int rank = launch.rank;
    launch_release(&launch);
    return err == 0 ? rank : err;
}

static void test_launch_finds_the_rank(void)
{
    clear_environment();
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, NULL), -1);
    setenv("SLURM_PROCID", "5", 1);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, NULL), 5);
    setenv("TALWEG_RANK", "6", 1);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_SERVER, NULL), 6);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_COORDINATOR, NULL), -1);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, WORDS("--rank=7")), 7);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, WORDS("--rank=any")), -1);
    setenv("TALWEG_RANK", "any", 1);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, NULL), -1);
    CU_ASSERT_EQUAL(rank_of(LAUNCH_WORKER, WORDS("--rank=7")), 7);
    setenv("TALWEG_RANK", "x", 1);
    CU_ASSERT(
        refuses(LAUNCH_WORKER, NULL, ERR_INPUT, "TALWEG_RANK: found \"x\", expected a whole"));
    CU_ASSERT(refuses(LAUNCH_WORKER, WORDS("--rank=1024"), ERR_INPUT,
                      "--rank: found \"1024\", expected"));
    CU_ASSERT(
        refuses(LAUNCH_WORKER, WORDS("--rank=-1"), ERR_INPUT, "--rank: found \"-1\", expected"));
}

static uint32_t threads_of(const char *const words[4])
{
    struct launch launch;
    struct settings *settings = NULL;
    uint32_t threads = 0;
    if (parse(LAUNCH_WORKER, words, &launch, NULL) == 0 &&
        launch_settings(&launch, &settings, NULL) == 0)
        threads = settings->worker.threads;
    settings_destroy(settings);
    launch_release(&launch);
    return threads;
}

static void test_launch_computes_on_the_cores_that_slurm_gives(void)
{
    clear_environment();
    write_job("coordinator = \"tcp://job:1\"; }; worker = { threads = 2;");
    setenv("SLURM_CPUS_PER_TASK", "5", 1);
    CU_ASSERT_EQUAL(threads_of(NULL), 2);
    setenv("SLURM_PROCID", "0", 1);
    CU_ASSERT_EQUAL(threads_of(NULL), 5);
    CU_ASSERT_EQUAL(threads_of(WORDS("--threads=3")), 3);
    CU_ASSERT_EQUAL(threads_of(WORDS("--set=worker.threads=4")), 4);
    CU_ASSERT_EQUAL(threads_of(WORDS("--rank=any")), 5);
    CU_ASSERT_EQUAL(threads_of(WORDS("--rank=0")), 2); /* who starts it shares the cores out */
    setenv("SLURM_CPUS_PER_TASK", "many", 1);
    CU_ASSERT(refuses(LAUNCH_WORKER, NULL, ERR_INPUT, "from --set: worker.threads: found"));
}

static void test_launch_waits_for_a_coordinator_that_says_where_it_is(void)
{
    static const volatile sig_atomic_t no = 0;
    clear_environment();
    char path[96], set[] = "--set=cluster.insecure=true";
    struct launch launch;
    struct settings *settings = NULL;
    struct err_msg why;
    enum run_state state;
    snprintf(path, sizeof(path), "%s.d", job);
    CU_ASSERT_EQUAL_FATAL(parse(LAUNCH_SERVER, WORDS("--coordinator", path, set,
                                                     "--set=cluster.wait_s=0.1"), &launch, &why),
                          0);
    CU_ASSERT_EQUAL_FATAL(launch_settings(&launch, &settings, &why), 0);
    CU_ASSERT_STRING_EQUAL(launch.bind, ""); /* that follows from where the coordinator is */
    CU_ASSERT_EQUAL(launch_reach(&launch, settings, &no, &state, &why), ERR_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, path));
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s.d/run.json", job);
    FILE *stream = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    fprintf(stream, "{\"coordinator\": \"tcp://head:7077\"}");
    fclose(stream);
    CU_ASSERT_EQUAL(launch_reach(&launch, settings, &no, &state, &why), 0);
    CU_ASSERT_EQUAL(state, RUN_THERE);
    CU_ASSERT_STRING_EQUAL(launch.coordinator, "tcp://head:7077");
    CU_ASSERT_STRING_EQUAL(launch.bind, "tcp://*:0");
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    settings_destroy(settings);
    launch_release(&launch);
}

static void test_launch_refuses_to_listen_on_a_network(void)
{
    static const char *const open[] = {
        "tcp://*:0",    "tcp://0.0.0.0:5555", "tcp://10.0.0.1:1", "tcp://[::]:1",
        "tcp://eth0:1", "tcp://128.0.0.1:1",  "tcp://127.evil:1", "tcp://[fe80::1]:1"};
    clear_environment();
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        CU_ASSERT(refuses(LAUNCH_COORDINATOR, WORDS("--bind", open[i]), ERR_REFUSED, open[i]));
        CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind", open[i], "--set=cluster.insecure=true"),
                        open[i]));
    }
    setenv("TALWEG_BIND", "tcp://*:1", 1);
    CU_ASSERT(refuses(LAUNCH_SERVER, WORDS("--coordinator=tcp://h:1"), ERR_REFUSED,
                      "tcp://*:1: not listening there, because anyone"));
}

static void test_launch_listens_on_this_machine(void)
{
    static const char *const own[] = {"tcp://127.0.0.1:0", "tcp://127.3.4.5:1", "tcp://[::1]:5",
                                      "ipc:///tmp/c"};
    clear_environment();
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind", own[i]), own[i]));
    CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind=tcp://localhost:5"), "tcp://127.0.0.1:5"));
    CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind=127.0.0.1:5"), "tcp://127.0.0.1:5"));
    CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind=[::1]:5"), "tcp://[::1]:5"));
    CU_ASSERT(binds(LAUNCH_COORDINATOR, WORDS("--bind=/tmp/c"), "ipc:///tmp/c"));
    CU_ASSERT(
        refuses(LAUNCH_COORDINATOR, WORDS("--bind=nonsense"), ERR_INPUT, "where to listen: "));
}

static void test_launch_chooses_where_to_listen(void)
{
    char own[64];
    clear_environment();
    CU_ASSERT(refuses(LAUNCH_COORDINATOR, NULL, ERR_INPUT, "where should the coordinator listen?"));
    CU_ASSERT(binds(LAUNCH_SERVER, WORDS("--coordinator=tcp://127.0.0.1:7"), "tcp://127.0.0.1:0"));
    snprintf(own, sizeof(own), "ipc:///tmp/ps2-%d", (int)getpid());
    CU_ASSERT(binds(LAUNCH_SERVER, WORDS("--coordinator=ipc:///tmp/c", "--rank=2"), own));
    CU_ASSERT(refuses(LAUNCH_SERVER, WORDS("--coordinator=tcp://node1:7"), ERR_REFUSED,
                      "tcp://*:0: not"));
    write_job("coordinator = \"tcp://node1:7\"; insecure = true;");
    CU_ASSERT(binds(LAUNCH_COORDINATOR, NULL, "tcp://*:7"));
    CU_ASSERT(binds(LAUNCH_SERVER, NULL, "tcp://*:0"));
    write_job("coordinator = \"ipc:///tmp/c\"; bind = \"tcp://127.0.0.1:9\";");
    CU_ASSERT(binds(LAUNCH_COORDINATOR, NULL, "tcp://127.0.0.1:9"));
}

static void test_launch_wants_to_know_the_coordinator(void)
{
    clear_environment();
    CU_ASSERT(refuses(LAUNCH_WORKER, NULL, ERR_INPUT, "where is the coordinator?"));
    CU_ASSERT(refuses(LAUNCH_WORKER, WORDS("--coordinator=here"), ERR_INPUT,
                      "the coordinator's address: "));
    CU_ASSERT(refuses(LAUNCH_WORKER, WORDS("--coordinator=tcp://a:0"), ERR_INPUT,
                      "the coordinator's address: found tcp://a:0, expected a host and the port"));
}

static bool has_socket(const char *bind, uint32_t idx, const char *endpoint)
{
    struct launch launch = {.role = LAUNCH_SERVER};
    char found[LAUNCH_ENDPOINT_BYTES] = "";
    snprintf(launch.bind, sizeof(launch.bind), "%s", bind);
    int err = launch_bind_endpoint(&launch, idx, found, NULL);
    return endpoint == NULL ? err == ERR_INPUT : err == 0 && strcmp(found, endpoint) == 0;
}

static void test_launch_gives_each_socket_its_endpoint(void)
{
    CU_ASSERT(has_socket("tcp://*:0", 3, "tcp://*:0"));
    CU_ASSERT(has_socket("tcp://[::1]:7", 0, "tcp://[::1]:7"));
    CU_ASSERT(has_socket("tcp://127.0.0.1:7", 2, "tcp://127.0.0.1:9"));
    CU_ASSERT(has_socket("tcp://127.0.0.1:65535", 1, NULL));
    CU_ASSERT(has_socket("ipc:///tmp/s", 0, "ipc:///tmp/s"));
    CU_ASSERT(has_socket("ipc:///tmp/s", 2, "ipc:///tmp/s-2"));
}

static bool is_reached(const char *advertise, const char *bound, uint32_t idx, const char *endpoint)
{
    struct launch launch = {.role = LAUNCH_SERVER};
    char found[LAUNCH_ENDPOINT_BYTES] = "";
    snprintf(launch.advertise, sizeof(launch.advertise), "%s", advertise);
    int err = launch_advertised(&launch, bound, idx, found, NULL);
    if (endpoint != NULL && strcmp(found, endpoint) != 0)
        printf("\n    %s\n", found);
    return endpoint == NULL ? err == ERR_INPUT : err == 0 && strcmp(found, endpoint) == 0;
}

static void test_launch_advertises_what_others_can_reach(void)
{
    char host[200] = "", own[256];
    gethostname(host, sizeof(host) - 1);
    snprintf(own, sizeof(own), "tcp://%s:77", host);
    CU_ASSERT(is_reached("", "ipc:///tmp/s", 0, "ipc:///tmp/s"));
    CU_ASSERT(is_reached("", "tcp://127.0.0.1:77", 1, "tcp://127.0.0.1:77"));
    CU_ASSERT(is_reached("", "tcp://0.0.0.0:77", 1, own));
    CU_ASSERT(is_reached("", "tcp://[::]:77", 1, own));
    CU_ASSERT(is_reached("node", "tcp://0.0.0.0:77", 1, "tcp://node:77"));
    CU_ASSERT(is_reached("tcp://node:0", "tcp://0.0.0.0:77", 1, "tcp://node:77"));
    CU_ASSERT(is_reached("tcp://node:80", "tcp://0.0.0.0:77", 1, "tcp://node:81"));
    CU_ASSERT(is_reached("tcp://[fe80::1]:80", "tcp://[::]:77", 0, "tcp://[fe80::1]:80"));
    CU_ASSERT(is_reached("[fe80::1]", "tcp://[::]:77", 0, "tcp://[fe80::1]:77"));
    CU_ASSERT(is_reached("tcp://*:80", "tcp://[::]:77", 0, NULL));
    CU_ASSERT(is_reached(":80", "tcp://[::]:77", 0, NULL));
}

static void test_launch_leaves_no_file_behind(void)
{
    CU_ASSERT_STRING_EQUAL(launch_role_name(LAUNCH_SERVER), "ps");
    CU_ASSERT_EQUAL(unlink(job), 0);
}

#define TESTS(X) \
    X(test_launch_reads_flags) \
    X(test_launch_turns_flags_into_settings) \
    X(test_launch_prefers_flags_to_environment_to_job_file) \
    X(test_launch_finds_the_rank) \
    X(test_launch_computes_on_the_cores_that_slurm_gives) \
    X(test_launch_waits_for_a_coordinator_that_says_where_it_is) \
    X(test_launch_refuses_to_listen_on_a_network) \
    X(test_launch_listens_on_this_machine) \
    X(test_launch_chooses_where_to_listen) \
    X(test_launch_wants_to_know_the_coordinator) \
    X(test_launch_gives_each_socket_its_endpoint) \
    X(test_launch_advertises_what_others_can_reach) \
    X(test_launch_leaves_no_file_behind)

UNIT_MAIN("launch", TESTS)
