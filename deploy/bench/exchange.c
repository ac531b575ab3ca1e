#include "deploy/bench/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "common/clock.h"
#include "common/file.h"
#include "common/path.h"
#include "deploy/bench/process.h"
#include "deploy/bench/quantile.h"
#include "deploy/bench/scratch.h"
#include "deploy/bench/times.h"
#include "deploy/keygen.h"
#include "deploy/local_cluster.h"

enum { LOOK_MS = 20, START_MAX_MS = 60000, MEASURE_MAX_MS = 600000 };

/* What must have gone by before anything is measured, and steps of every worker after that. */
enum { WARM_MS = 500, WARM_STEPS = 4, MEASURED_STEPS = 5 };

/* A server that wrote its first line of log has this long to have made its sockets and threads. */
enum { SETTLE_MS = 100 };

static const char *const transport_names[] = {"shm", "ipc", "tcp", "tcp+curve"};
_Static_assert(ARRAY_LEN(transport_names) == BENCH_TRANSPORT_COUNT, "a name each");

/* talweg bench worker MODEL BYTES FOLDER: what bench/worker is started by. */
enum { WORKER_WORDS = 6 };

/* A case at work.  Each part is NULL or zero until it is made. */
struct bench {
    const struct bench_case *what;
    char scratch[PATH_MAX], job[PATH_MAX], model_bytes_text[32];
    const char *worker_words[WORKER_WORDS];
    struct run_folder folder;
    bool has_folder;
    struct cluster *cluster;
    struct times **times;  /* [workers] */
    uint64_t *first;       /* [workers]: index of the first sample measured */
    double *cpu_s;         /* [processes]: at the beginning of what is measured */
    uint64_t begin_us, end_us;
    uint64_t model_bytes;
    uint64_t server_base_bytes;
    char said[1024]; /* of a process that was killed */
};

const char *bench_transport_name(enum bench_transport transport)
{
    return transport_names[transport];
}

enum limit_wire bench_wire(enum bench_transport transport)
{
    static const enum limit_wire wires[] = {WIRE_UNIX, WIRE_UNIX, WIRE_TCP, WIRE_CURVE};
    return wires[transport];
}

int bench_transport_find(const char *name, enum bench_transport *transport_out)
{
    for (size_t i = 0; i < ARRAY_LEN(transport_names); i++) {
        if (strcmp(name, transport_names[i]) == 0) {
            *transport_out = (enum bench_transport)i;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

static uint32_t lane_count(const struct bench_case *what)
{
    uint32_t lanes = 1;
    while (lanes < what->workers)
        lanes *= 2;
    return lanes;
}

/* Beside the job file. */
static const char keys_name[] = "keys";

static int make_keys(const struct bench *bench, struct err_msg *why)
{
    char folder[PATH_MAX];
    size_t count, new_count;
    if (bench->what->transport != BENCH_CURVE)
        return 0;
    int err = path_join(folder, bench->scratch, keys_name, why);
    return err == 0 ? keygen_fill(folder, 0, &count, &new_count, why) : err;
}

/* A job without data or a network: its workers do not look at either. */
static int write_job(struct bench *bench, struct err_msg *why)
{
    const struct bench_case *what = bench->what;
    char text[1024];
    uint32_t lanes = lane_count(what);
    int length = snprintf(
        text, sizeof(text),
        "job = { name = \"bench\"; lanes = %u; batch = %u; steps = 1000000000; };\n"
        "data = { train_inputs = \"none\"; };\n"
        "model = { operators = ({ op = \"dense\"; units = 1; }); };\n"
        "optimizer = { kind = \"%s\"; rate = 1e-6; };\n"
        "exchange = { block_bytes = %u; shared_memory = %s; overlap = false; };\n"
        "cluster = { servers = %u; workers = %u; shards = %u; keys = \"%s\"; };\n"
        "log = { every = 1000000; };\n",
        lanes, lanes, what->optimizer == OPTIMIZER_ADAM ? "adam" : "sgd", what->block_bytes,
        what->transport == BENCH_SHM ? "true" : "false", what->servers, what->workers,
        what->shards, bench->what->transport == BENCH_CURVE ? keys_name : "");
    int err = path_join(bench->job, bench->scratch, "bench.cfg", why);
    return err != 0 ? err : file_replace(bench->job, text, (size_t)length, why);
}

static int make_times(struct bench *bench, struct err_msg *why)
{
    char name[32], path[PATH_MAX];
    int err = 0;
    for (uint32_t i = 0; i < bench->what->workers && err == 0; i++) {
        snprintf(name, sizeof(name), "worker-%u.times", i);
        err = path_join(path, bench->scratch, name, why);
        if (err == 0)
            err = times_create(path, &bench->times[i], why);
    }
    return err;
}

static int measure_model(struct bench *bench, struct bench_result *result, struct err_msg *why)
{
    struct layout *layout = NULL;
    int err = bench_model_layout(bench->what->model, bench->what->model_bytes,
                                 bench->what->block_bytes, &layout, why);
    if (err != 0)
        return err;
    bench->model_bytes = result->model_bytes = layout->weight_count * sizeof(float);
    result->block_count = (uint32_t)layout->block_count;
    result->lanes = lane_count(bench->what);
    layout_destroy(layout);
    return 0;
}

static void note_killed(void *context, const char *sentence, bool is_lost)
{
    struct bench *bench = context;
    (void)is_lost;
    snprintf(bench->said, sizeof(bench->said), "%s", sentence);
}

static int start(struct bench *bench, struct err_msg *why)
{
    const struct bench_case *what = bench->what;
    const char *const words[WORKER_WORDS] = {
        "talweg", "bench", "worker", bench_model_name(what->model), bench->model_bytes_text,
        bench->scratch};
    memcpy(bench->worker_words, words, sizeof(words));
    struct cluster_spec spec = {.job_path = bench->job,
                                .sets = what->sets,
                                .set_count = what->set_count,
                                .server_count = what->servers,
                                .worker_count = what->workers,
                                .folder = &bench->folder,
                                .is_tcp = bench_wire(what->transport) != WIRE_UNIX,
                                .worker_words = bench->worker_words,
                                .worker_word_count = WORKER_WORDS,
                                .say = note_killed,
                                .say_context = bench};
    snprintf(bench->model_bytes_text, sizeof(bench->model_bytes_text), "%" PRIu64,
             what->model_bytes);
    int err = run_folder_open(bench->scratch, &bench->folder, why);
    bench->has_folder = err == 0;
    return err != 0 ? err : cluster_start(&spec, clock_now_ms(), &bench->cluster, why);
}

/* A process that was killed would be started again, but what was measured is worth nothing then. */
static int check(struct bench *bench, struct err_msg *why)
{
    char blame[1024];
    bool is_running = cluster_tick(bench->cluster, clock_now_ms());
    if (*bench->what->is_asked_to_stop)
        return err_set(why, ERR_STOPPED, "stopped by a signal");
    if (bench->said[0] != '\0')
        return err_set(why, ERR_LOST, "%s", bench->said);
    if (is_running && cluster_phase(bench->cluster) == CLUSTER_RUNNING)
        return 0;
    while (cluster_tick(bench->cluster, clock_now_ms())) { /* they say why, and are ended */
        struct timespec moment = {.tv_nsec = LOOK_MS * 1000000L};
        nanosleep(&moment, NULL);
    }
    if (!cluster_blame(bench->cluster, blame, sizeof(blame)))
        snprintf(blame, sizeof(blame), "the run ended by itself");
    return err_set(why, ERR_LOST, "%s", blame);
}

static int look(struct bench *bench, struct err_msg *why)
{
    struct timespec moment = {.tv_nsec = LOOK_MS * 1000000L};
    nanosleep(&moment, NULL);
    return check(bench, why);
}

static bool has_begun(const struct bench *bench, uint32_t server)
{
    char path[PATH_MAX];
    struct stat info;
    run_folder_path(&bench->folder, path, "log/server-%u.log", server);
    return stat(path, &info) == 0 && info.st_size > 0;
}

static pid_t pid_of(const struct bench *bench, size_t child_idx)
{
    return children_at(cluster_children(bench->cluster), child_idx)->pid;
}

/* Lets the workers go when every server is there without a model yet. */
static int let_go(struct bench *bench, struct err_msg *why)
{
    uint64_t end_ms = clock_now_ms() + START_MAX_MS;
    uint32_t begun = 0;
    int err = 0;
    while (err == 0 && begun < bench->what->servers) {
        if (has_begun(bench, begun))
            begun++;
        else if (clock_now_ms() > end_ms)
            err = err_set(why, ERR_TIMEOUT, "server %u does not begin", begun);
        else
            err = look(bench, why);
    }
    for (int waited_ms = 0; err == 0 && waited_ms < SETTLE_MS; waited_ms += LOOK_MS)
        err = look(bench, why);
    for (uint32_t i = 0; err == 0 && i < bench->what->servers; i++)
        bench->server_base_bytes += process_rss_bytes(pid_of(bench, 1 + i));
    for (uint32_t i = 0; err == 0 && i < bench->what->workers; i++)
        times_let_go(bench->times[i]);
    return err;
}

/* Every worker has so many samples past those in from (NULL: all). */
static bool has_steps(const struct bench *bench, const uint64_t *from, uint64_t count)
{
    for (uint32_t i = 0; i < bench->what->workers; i++)
        if (times_count(bench->times[i]) < (from == NULL ? 0 : from[i]) + count)
            return false;
    return true;
}

static int warm_up(struct bench *bench, struct err_msg *why)
{
    uint64_t give_up_ms = clock_now_ms() + MEASURE_MAX_MS, warm_ms = 0;
    int err = 0;
    while (err == 0 && (warm_ms == 0 || clock_now_ms() < warm_ms)) {
        if (warm_ms == 0 && has_steps(bench, NULL, WARM_STEPS))
            warm_ms = clock_now_ms() + WARM_MS;
        if (clock_now_ms() > give_up_ms)
            return err_set(why, ERR_TIMEOUT, "no %d steps in %d s", WARM_STEPS,
                           MEASURE_MAX_MS / 1000);
        err = look(bench, why);
    }
    return err;
}

/* What every process has used of the processors until now is taken from what it will have. */
static void count_cpu(struct bench *bench, double sign)
{
    size_t count = children_count(cluster_children(bench->cluster));
    for (size_t i = 0; i < count; i++)
        bench->cpu_s[i] = process_cpu_s(pid_of(bench, i)) + sign * bench->cpu_s[i];
}

static int watch(struct bench *bench, struct err_msg *why)
{
    int err = warm_up(bench, why);
    if (err != 0)
        return err;
    for (uint32_t i = 0; i < bench->what->workers; i++)
        bench->first[i] = times_count(bench->times[i]);
    count_cpu(bench, 0.0);
    bench->begin_us = clock_now_us();
    uint64_t end_us = bench->begin_us + (uint64_t)(bench->what->seconds * 1e6);
    uint64_t give_up_us = end_us + MEASURE_MAX_MS * UINT64_C(1000);
    while (err == 0 && (clock_now_us() < end_us ||
                        !has_steps(bench, bench->first, MEASURED_STEPS + 1))) {
        if (clock_now_us() > give_up_us)
            return err_set(why, ERR_TIMEOUT, "a worker makes less than %d steps in %d s",
                           MEASURED_STEPS, MEASURE_MAX_MS / 1000);
        err = look(bench, why);
    }
    bench->end_us = clock_now_us();
    count_cpu(bench, -1.0);
    return err;
}

/* Steps and rate of all workers, from version to version within what was measured. */
static int judge_steps(const struct bench *bench, struct bench_result *result, struct err_msg *why)
{
    uint64_t total = 0;
    double steps_per_s = 0.0;
    uint32_t workers = bench->what->workers;
    for (uint32_t i = 0; i < workers; i++)
        total += times_count(bench->times[i]) - bench->first[i];
    double *steps_us = malloc(total * sizeof(*steps_us));
    if (steps_us == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %" PRIu64 " samples", total);
    for (uint32_t i = 0; i < workers; i++) {
        const struct times *times = bench->times[i];
        uint64_t first = bench->first[i], last = first;
        while (last + 1 < times_count(times) && times_at_us(times, last + 1) <= bench->end_us) {
            steps_us[result->step_count++] =
                (double)(times_at_us(times, last + 1) - times_at_us(times, last));
            last++;
        }
        double span_us = (double)(times_at_us(times, last) - times_at_us(times, first));
        steps_per_s += (double)(last - first) * 1e6 / span_us;
    }
    quantile_sort(steps_us, result->step_count);
    result->step_p50_us = quantile_of(steps_us, result->step_count, 0.5);
    result->step_p99_us = quantile_of(steps_us, result->step_count, 0.99);
    free(steps_us);
    result->wall_s = (double)(bench->end_us - bench->begin_us) / 1e6;
    result->goodput_gbs = steps_per_s * 2.0 * (double)bench->model_bytes / 1e9;
    return 0;
}

static void judge_processes(const struct bench *bench, struct bench_result *result)
{
    double moved_gb = result->goodput_gbs * result->wall_s;
    uint32_t servers = bench->what->servers, workers = bench->what->workers;
    result->server.base_bytes = bench->server_base_bytes;
    result->coordinator.cpu_s_per_gb = bench->cpu_s[0] / moved_gb;
    result->coordinator.peak_bytes = process_peak_rss_bytes(pid_of(bench, 0));
    for (uint32_t i = 1; i <= servers; i++) {
        result->server.cpu_s_per_gb += bench->cpu_s[i] / moved_gb;
        result->server.peak_bytes += process_peak_rss_bytes(pid_of(bench, i));
    }
    for (uint32_t i = 0; i < workers; i++) {
        uint64_t peak_bytes = process_peak_rss_bytes(pid_of(bench, 1 + servers + i));
        result->worker.cpu_s_per_gb += bench->cpu_s[1 + servers + i] / moved_gb;
        if (peak_bytes < result->worker.peak_bytes)
            continue;
        result->worker.peak_bytes = peak_bytes;
        result->worker.base_bytes = times_base_rss_bytes(bench->times[i]);
    }
}

static void clear_up(struct bench *bench)
{
    cluster_destroy(bench->cluster);
    if (bench->has_folder)
        run_folder_close(&bench->folder);
    for (uint32_t i = 0; bench->times != NULL && i < bench->what->workers; i++)
        times_close(bench->times[i]);
    free(bench->times);
    free(bench->first);
    free(bench->cpu_s);
    scratch_remove(bench->scratch);
}

int bench_exchange(const struct bench_case *what, struct bench_result *result_out,
                   struct err_msg *why)
{
    struct bench bench = {.what = what};
    struct bench_result result = {0};
    int err = measure_model(&bench, &result, why);
    if (err == 0)
        err = scratch_make(bench.scratch, why);
    if (err != 0)
        return err;
    bench.times = calloc(what->workers, sizeof(struct times *));
    bench.first = calloc(what->workers, sizeof(*bench.first));
    bench.cpu_s = calloc(1 + (size_t)what->servers + what->workers, sizeof(*bench.cpu_s));
    if (bench.times == NULL || bench.first == NULL || bench.cpu_s == NULL)
        err = err_set(why, ERR_NOMEM, "no memory for %u workers", what->workers);
    if (err == 0)
        err = make_times(&bench, why);
    if (err == 0)
        err = make_keys(&bench, why);
    if (err == 0)
        err = write_job(&bench, why);
    if (err == 0)
        err = start(&bench, why);
    if (err == 0)
        err = let_go(&bench, why);
    if (err == 0)
        err = watch(&bench, why);
    if (err == 0)
        err = judge_steps(&bench, &result, why);
    if (err == 0) {
        judge_processes(&bench, &result);
        *result_out = result;
    }
    clear_up(&bench);
    return err;
}
