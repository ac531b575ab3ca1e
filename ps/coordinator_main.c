/* talweg-coordinator - knows who is there, deals lanes and blocks, keeps checkpoints, metrics. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/launch.h"
#include "common/log.h"
#include "common/random.h"
#include "common/role.h"
#include "common/usage.h"
#include "ps/coordinator_loop.h"
#include "ps/store_loop.h"

enum { KERNELS_TEXT_BYTES = 200 };

static volatile sig_atomic_t is_asked_to_stop;

static const char inproc_endpoint[] = "inproc://coordinator";

static void on_signal(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

/* All that the coordinator works with; each part is NULL until it is made. */
struct office {
    struct launch launch;
    struct settings *settings;
    struct transport *transport;
    struct channel *members, *shards;
    struct store *store;
    struct store_loop *store_loop;
    struct report *report;
    struct coordinator *coordinator;
    struct run_id run;
    uint64_t store_incarnation;
    char endpoint[LAUNCH_ENDPOINT_BYTES]; /* as others reach it */
};

static int make_folder(const char *path, struct err_msg *why)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return err_set(why, ERR_IO, "cannot make the folder %s: %s", path, strerror(errno));
}

static int bind_sockets(struct office *office, char *store_endpoint, struct err_msg *why)
{
    char endpoint[LAUNCH_ENDPOINT_BYTES], reached[LAUNCH_ENDPOINT_BYTES];
    int err = launch_bind_endpoint(&office->launch, 0, endpoint, why);
    if (err == 0)
        err = channel_bind(office->transport, endpoint, &office->members, why);
    if (err == 0)
        err = launch_advertised(&office->launch, channel_endpoint(office->members), 0,
                                office->endpoint, why);
    if (err == 0)
        err = channel_also_bind(office->members, inproc_endpoint, why);
    if (err == 0)
        err = launch_bind_endpoint(&office->launch, 1, endpoint, why);
    if (err == 0)
        err = channel_bind(office->transport, endpoint, &office->shards, why);
    if (err == 0)
        err = launch_advertised(&office->launch, channel_endpoint(office->shards), 1, reached,
                                why);
    if (err == 0 && strlen(reached) >= ENDPOINT_BYTES)
        err = err_set(why, ERR_INPUT, "the endpoint %s has more than %d bytes", reached,
                      ENDPOINT_BYTES - 1);
    if (err == 0)
        memcpy(store_endpoint, reached, strlen(reached) + 1);
    return err;
}

static int open_files(struct office *office, struct err_msg *why)
{
    struct store_spec spec = {.out_dir = office->launch.out,
                              .resume_dir = office->launch.resume,
                              .settings = office->settings,
                              .run = office->run,
                              .incarnation = office->store_incarnation};
    int err = make_folder(office->launch.out, why);
    if (err == 0)
        err = store_create(&spec, &office->store, why);
    if (err == 0)
        err = report_open(office->launch.out, store_resume_step(office->store), &office->report,
                          why);
    return err;
}

static int create_coordinator(struct office *office, const char *store_endpoint,
                              struct err_msg *why)
{
    struct coordinator_spec spec = {.settings = office->settings,
                                    .run = office->run,
                                    .resume_step = store_resume_step(office->store),
                                    .store_incarnation = office->store_incarnation};
    memcpy(spec.store_endpoint, store_endpoint, sizeof(spec.store_endpoint));
    int err = random_bytes(&spec.incarnation, sizeof(spec.incarnation));
    if (err == 0)
        err = settings_fingerprint(office->settings, spec.fingerprint);
    if (err == 0)
        err = coordinator_create(&spec, &office->coordinator);
    return err == 0 ? 0 : err_set(why, err, "cannot start the coordinator: %s", err_text(err));
}

static int start_store(struct office *office, struct err_msg *why)
{
    struct store_loop_spec spec = {.transport = office->transport,
                                   .shards = office->shards,
                                   .coordinator = inproc_endpoint,
                                   .store = office->store,
                                   .incarnation = office->store_incarnation};
    office->shards = NULL; /* the loop's from here on */
    int err = store_loop_start(&spec, &office->store_loop);
    return err == 0 ? 0 : err_set(why, err, "cannot start the store: %s", err_text(err));
}

static struct status_process describe(const struct office *office)
{
    struct status_process process = {.settings = office->settings,
                                     .run = office->run,
                                     .pid = (uint32_t)getpid(),
                                     .endpoint = office->endpoint};
    usage_host(process.host, sizeof(process.host));
    return process;
}

/* OUT/run.json: where `talweg status OUT` finds this run. */
static int write_run_file(const struct office *office, const struct status_process *process,
                          struct err_msg *why)
{
    char path[4096], run[33];
    run_text(office->run, run);
    snprintf(path, sizeof(path), "%s/run.json", office->launch.out);
    struct document *document = document_object();
    int err = document_put(document, "coordinator", document_text(office->endpoint));
    if (err == 0)
        err = document_put(document, "pid", document_whole(process->pid));
    if (err == 0)
        err = document_put(document, "host", document_text(process->host));
    if (err == 0)
        err = document_put(document, "run_id", document_text(run));
    if (err == 0)
        err = document_save(document, path, why);
    document_destroy(document);
    return err;
}

/* Each once, in the order met: "Haswell, SkylakeX".  text: [KERNELS_TEXT_BYTES]. */
static void note_kernels(const char *kernels, char *text)
{
    size_t length = strlen(text);
    if (strstr(text, kernels) == NULL)
        snprintf(text + length, KERNELS_TEXT_BYTES - length, "%s%s", length > 0 ? ", " : "",
                 kernels);
}

/* Adds up what members have said: traffic of workers, time of each process once, the peaks.
 * kernels: [KERNELS_TEXT_BYTES]; more than one, and bits may differ between runs. */
static void add_members(const struct members *members, struct summary *summary, char *kernels)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->items[i];
        bool is_worker = m->who.party == PARTY_WORKER;
        uint64_t *peak =
            is_worker ? &summary->peak_rss_bytes.worker : &summary->peak_rss_bytes.server;
        if (m->beat.peak_rss_bytes > *peak)
            *peak = m->beat.peak_rss_bytes;
        if (is_worker) {
            summary->pushed_bytes += m->beat.bytes_out;
            summary->pulled_bytes += m->beat.bytes_in;
            note_kernels(m->hello.kernels, kernels);
        }
        if (is_worker || m->hello.shard_idx == 0)
            summary->cpu_s += (double)m->beat.cpu_us / 1e6;
    }
}

static int summarise(const struct office *office, struct err_msg *why)
{
    struct progress progress;
    const struct settings *settings = office->settings;
    coordinator_progress(office->coordinator, clock_now_ms(), &progress);
    struct usage usage = usage_now();
    struct summary summary = {
        .job = settings->job.name,
        .phase = phase_text(progress.phase),
        .error = progress.error[0] != 0 ? progress.error : NULL,
        .steps = progress.step,
        .epochs = progress.epoch_steps == 0
                      ? 0.0
                      : (double)progress.step / (double)progress.epoch_steps,
        .train_loss = progress.train_loss,
        .test_loss = progress.test_loss,
        .test_accuracy = progress.test_accuracy,
        .samples_per_s = progress.mean_samples_per_s,
        .wall_s = progress.wall_s,
        .cpu_s = (double)usage.cpu_us / 1e6,
        .peak_rss_bytes = {.coordinator = usage.peak_rss_bytes},
        .digest = progress.phase == PHASE_FINISHED ? progress.digest : NULL,
        .servers = settings->cluster.servers,
        .workers = settings->cluster.workers,
        .lanes = settings->job.lanes,
        .checkpoint = progress.checkpoint[0] != 0 ? progress.checkpoint
                                                  : store_resume_path(office->store),
    };
    run_text(office->run, summary.run_id);
    char kernels[KERNELS_TEXT_BYTES] = "";
    add_members(coordinator_members(office->coordinator), &summary, kernels);
    summary.blas_core = kernels;
    if (summary.digest != NULL)
        log_event(LOG_INFO, "result", "train_loss=%.4f test_loss=%.4f test_accuracy=%.4f digest=%s",
                  summary.train_loss, summary.test_loss, summary.test_accuracy, summary.digest);
    int err = report_finish(office->report, &summary, why);
    if (err == 0 && progress.phase != PHASE_FINISHED)
        err = err_set(why, ERR_LOST, "%s", progress.error);
    return err;
}

static int coordinate(struct office *office, struct err_msg *why)
{
    char store_endpoint[ENDPOINT_BYTES] = "";
    int err = random_bytes(&office->run, sizeof(office->run));
    if (err == 0)
        err = random_bytes(&office->store_incarnation, sizeof(office->store_incarnation));
    if (err == 0)
        err = transport_create(1, &office->transport);
    if (err != 0)
        return err_set(why, err, "cannot start the coordinator: %s", err_text(err));
    err = bind_sockets(office, store_endpoint, why);
    if (err == 0)
        err = open_files(office, why);
    if (err == 0)
        err = create_coordinator(office, store_endpoint, why);
    if (err == 0)
        err = start_store(office, why);
    if (err != 0)
        return err;
    struct coordinator_loop_spec loop = {.members = office->members,
                                         .coordinator = office->coordinator,
                                         .report = office->report,
                                         .process = describe(office),
                                         .is_asked_to_stop = &is_asked_to_stop};
    err = write_run_file(office, &loop.process, why);
    log_event(LOG_INFO, "begin", "endpoint=%s out=%s", office->endpoint, office->launch.out);
    if (err == 0)
        err = coordinator_loop_run(&loop, why);
    int store_err = store_loop_stop(office->store_loop, why);
    office->store_loop = NULL;
    if (err == 0)
        err = store_err;
    return err != 0 ? err : summarise(office, why);
}

static void close_office(struct office *office)
{
    channel_destroy(office->members);
    channel_destroy(office->shards);
    transport_destroy(office->transport);
    store_destroy(office->store);
    report_close(office->report);
    coordinator_destroy(office->coordinator);
    settings_destroy(office->settings);
    launch_release(&office->launch);
}

int main(int argc, char **argv)
{
    struct office office = {0};
    struct err_msg why = {0};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int err = launch_parse(LAUNCH_COORDINATOR, argc, argv, &office.launch, &why);
    if (err == 0)
        err = launch_settings(&office.launch, &office.settings, &why);
    if (err == 0)
        err = role_begin(&office.launch, office.settings, &why);
    if (err == 0)
        err = coordinate(&office, &why);
    int code = role_end(&office.launch, err, &why);
    close_office(&office);
    return code;
}
