/* talweg-coordinator - knows who is there, deals lanes and blocks, keeps checkpoints, metrics. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/role.h"
#include "common/rounds.h"
#include "common/usage.h"
#include "ps/coordinator_loop.h"
#include "ps/office.h"

enum { KERNELS_TEXT_BYTES = 200 };

static volatile sig_atomic_t is_asked_to_stop;

static void on_signal(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

static struct status_process describe(const struct office *office)
{
    struct status_process process = {.settings = office->settings,
                                     .run = office->run,
                                     .pid = (uint32_t)getpid(),
                                     .endpoint = office->endpoint,
                                     .transport = office->transport,
                                     .note = office->note};
    usage_host(process.host, sizeof(process.host));
    if (settings_fingerprint(office->settings, process.fingerprint) != 0)
        process.fingerprint[0] = 0; /* no memory: nobody can compare it */
    return process;
}

/* OUT/run.json: where `talweg status OUT` finds this run. */
static int write_run_file(const struct office *office, const struct status_process *process,
                          struct err_msg *why)
{
    char path[PATH_MAX], keys[PATH_MAX], run[33];
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
    if (err == 0 && realpath(office->settings->cluster.keys, keys) != NULL)
        err = document_put(document, "keys", document_text(keys));
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

/* Of each rank, [*count_out]; NULL when there are none, or no memory, and then it is left out. */
static double *hidden_of_workers(const struct members *members, size_t *count_out)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i].who.party == PARTY_WORKER && members->items[i].rank >= count)
            count = members->items[i].rank + 1;
    double *hidden = count == 0 ? NULL : calloc(count, sizeof(*hidden));
    for (size_t rank = 0; hidden != NULL && rank < count; rank++)
        hidden[rank] = NAN;
    for (size_t i = 0; hidden != NULL && i < members->count; i++)
        if (members->items[i].who.party == PARTY_WORKER)
            hidden[members->items[i].rank] = members_hidden(members, &members->items[i]);
    *count_out = hidden == NULL ? 0 : count;
    return hidden;
}

static const char *ending_of(const struct progress *progress, char text[64])
{
    if (progress->error[0] != 0)
        return progress->error;
    if (progress->ending[0] != 0)
        return progress->ending;
    if (progress->phase != PHASE_FINISHED)
        return NULL;
    snprintf(text, 64, "all %" PRIu64 " steps were made", progress->step_count);
    return text;
}

/* The weights that the job ended with: what workers told, or, before the last step, what was kept
 * of it.  NULL when that cannot be read any more. */
static const char *digest_of(const struct progress *progress, struct checkpoint_info *kept)
{
    if (progress->phase != PHASE_FINISHED)
        return NULL;
    if (progress->ending[0] == 0)
        return progress->digest;
    return checkpoint_read_info(progress->checkpoint, kept, NULL) == 0 ? kept->digest : NULL;
}

/* Into summary.json, and the curve drawn when is_whole. */
static int save_summary(const struct office *office, bool is_whole, struct err_msg *why)
{
    struct progress progress;
    const struct settings *settings = office->settings;
    coordinator_progress(office->coordinator, clock_now_ms(), &progress);
    struct usage usage = usage_now();
    struct checkpoint_info kept;
    char ending[64], best[PATH_MAX];
    struct summary summary = {
        .job = settings->job.name,
        .phase = phase_text(progress.phase),
        .error = progress.error[0] != 0 ? progress.error : NULL,
        .note = office->note[0] != 0 ? office->note : NULL,
        .ending = ending_of(&progress, ending),
        .has_best = progress.early_stop.best_step != 0,
        .best_step = progress.early_stop.best_step,
        .best_loss = progress.early_stop.best_loss,
        .best_checkpoint =
            office_find_step(office, progress.early_stop.best_step, best) ? best : NULL,
        .steps = progress.step,
        .round_steps = rounds_steps(settings),
        .epochs = progress.epoch,
        .train_loss = progress.train_loss,
        .test_loss = progress.test_loss,
        .test_accuracy = progress.test_accuracy,
        .samples_per_s = progress.mean_samples_per_s,
        .wall_s = progress.wall_s,
        .cpu_s = (double)usage.cpu_us / 1e6,
        .peak_rss_bytes = {.coordinator = usage.peak_rss_bytes},
        .digest = digest_of(&progress, &kept),
        .servers = settings->cluster.servers,
        .workers = settings->cluster.workers,
        .lanes = settings->job.lanes,
        .checkpoint = progress.checkpoint,
    };
    run_text(office->run, summary.run_id);
    char kernels[KERNELS_TEXT_BYTES] = "";
    const struct members *members = coordinator_members(office->coordinator);
    add_members(members, &summary, kernels);
    summary.blas_core = kernels;
    summary.exchange_hidden = members_hidden(members, NULL);
    struct member_waits waits = members_waits(members, NULL);
    summary.waited_for_data = waits.data;
    summary.waited_for_exchange = waits.exchange;
    double *hidden = hidden_of_workers(members, &summary.worker_hidden_count);
    summary.worker_hidden = hidden;
    if (is_whole && summary.digest != NULL)
        log_event(LOG_INFO, "result", "train_loss=%.4f test_loss=%.4f test_accuracy=%.4f digest=%s",
                  summary.train_loss, summary.test_loss, summary.test_accuracy, summary.digest);
    int err = is_whole ? report_finish(office->report, &summary, why)
                       : report_save(office->report, &summary, why);
    free(hidden);
    return err;
}

/* On a full disk there may be room for it later: it is saved again. */
static void save_early(void *context)
{
    struct err_msg why;
    char quoted[sizeof(why.text)];
    if (save_summary(context, false, &why) != 0)
        log_event(LOG_WARN, "no_summary", "why=%s", log_quote(quoted, sizeof(quoted), why.text));
}

static int summarise(const struct office *office, struct err_msg *why)
{
    struct progress progress;
    coordinator_progress(office->coordinator, clock_now_ms(), &progress);
    int err = save_summary(office, true, why);
    if (progress.phase != PHASE_FINISHED)
        err = err_set(why, ERR_LOST, "%s", progress.error);
    return err;
}

/* The run in the journal has ended; this process was started again, or in its folder by mistake. */
static int say_over(const struct office *office, struct err_msg *why)
{
    const struct outcome *end = logbook_end(office->logbook);
    struct message finish = {.kind = MSG_FINISH, .run = office->run, .outcome = *end};
    int err = coordinator_loop_say_over(office->members, &finish, why);
    if (err != 0)
        return err;
    if (end->code != 0)
        return err_set(why, ERR_LOST, "%s (--resume goes on with it, --fresh begins anew)",
                       end->text);
    fprintf(stderr, "talweg-coordinator: the run in %s has finished; --fresh begins anew\n",
            office->launch.out);
    return 0;
}

static int coordinate(struct office *office, struct err_msg *why)
{
    int err = office_open(office, why);
    if (err != 0)
        return err;
    if (office->is_over)
        return say_over(office, why);
    struct coordinator_loop_spec loop = {.members = office->members,
                                         .coordinator = office->coordinator,
                                         .report = office->report,
                                         .logbook = office->logbook,
                                         .process = describe(office),
                                         .is_asked_to_stop = &is_asked_to_stop,
                                         .save = save_early,
                                         .context = office};
    err = write_run_file(office, &loop.process, why);
    log_event(LOG_INFO, "begin", "endpoint=%s out=%s", office->endpoint, office->launch.out);
    if (err == 0)
        err = coordinator_loop_run(&loop, why);
    struct err_msg store_why;
    int store_err = store_loop_stop(office->store_loop, &store_why);
    office->store_loop = NULL;
    store_destroy(office->store); /* makes room on a full disk for the summary */
    office->store = NULL;
    if (err == 0 && store_err != 0)
        err = err_set(why, store_err, "%s", store_why.text);
    return err != 0 ? err : summarise(office, why);
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
    office_close(&office);
    return code;
}
