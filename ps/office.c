#include "ps/office.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/path.h"
#include "common/random.h"
#include "common/role.h"
#include "ps/status.h"

static const char inproc_endpoint[] = "inproc://coordinator";

static int make_folder(const char *path, struct err_msg *why)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return err_set(why, ERR_IO, "cannot make the folder %s: %s", path, strerror(errno));
}

/* The journal cannot be gone on with. */
static void add_hint(struct err_msg *why)
{
    size_t length = strlen(why->text);
    snprintf(why->text + length, sizeof(why->text) - length, "; --fresh begins anew");
}

/* The folder of results and the run: the one in its journal that has not ended, or a new one. */
static int open_run(struct office *office, struct err_msg *why)
{
    const struct launch *launch = &office->launch;
    int err = make_folder(launch->out, why);
    if (err == 0)
        err = logbook_open(launch->out, launch->is_fresh, &office->logbook, why);
    if (err == ERR_INPUT)
        add_hint(why);
    if (err != 0)
        return err;
    office->is_going_on = logbook_is_unfinished(office->logbook);
    office->is_over = logbook_end(office->logbook) != NULL && launch->resume == NULL;
    office->run = logbook_run(office->logbook);
    err = random_bytes(&office->store_incarnation, sizeof(office->store_incarnation));
    if (err == 0 && !office->is_going_on && !office->is_over)
        err = random_bytes(&office->run, sizeof(office->run));
    if (err != 0)
        return err_set(why, err, "cannot start the coordinator: %s", err_text(err));
    return role_open_transport(launch, office->settings, &office->transport, why);
}

/* Members look for a coordinator that was started again where they knew it: any free port will not
 * do. */
static void take_known_port(const struct office *office, char endpoint[LAUNCH_ENDPOINT_BYTES])
{
    size_t length = strlen(endpoint);
    const char *known = logbook_endpoint(office->logbook);
    bool is_known = (office->is_going_on || office->is_over) && known[0] != 0;
    if (is_known && length > 2 && strcmp(endpoint + length - 2, ":0") == 0)
        snprintf(endpoint, LAUNCH_ENDPOINT_BYTES, "%s", known);
}

static int bind_members(struct office *office, struct err_msg *why)
{
    char endpoint[LAUNCH_ENDPOINT_BYTES];
    int err = launch_bind_endpoint(&office->launch, 0, endpoint, why);
    if (err != 0)
        return err;
    take_known_port(office, endpoint);
    err = channel_bind(office->transport, endpoint, &office->members, why);
    if (err == 0)
        err = launch_advertised(&office->launch, channel_endpoint(office->members), 0,
                                office->endpoint, why);
    if (err == 0)
        err = logbook_keep_endpoint(office->logbook, channel_endpoint(office->members), why);
    return err != 0 ? err : channel_also_bind(office->members, inproc_endpoint, why);
}

static int bind_shards(struct office *office, char *store_endpoint, struct err_msg *why)
{
    char endpoint[LAUNCH_ENDPOINT_BYTES], reached[LAUNCH_ENDPOINT_BYTES];
    int err = launch_bind_endpoint(&office->launch, 1, endpoint, why);
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

/* The newest checkpoint of the run in the journal, also when the folder of results was moved; ""
 * when the run has none. */
static int find_checkpoint(const struct office *office, char path_out[PATH_MAX],
                           struct err_msg *why)
{
    const char *known = logbook_checkpoint(office->logbook), *name = strrchr(known, '/');
    snprintf(path_out, PATH_MAX, "%s", known);
    if (name == NULL || access(known, F_OK) == 0)
        return 0;
    return path_join(path_out, office->launch.out, name + 1, why);
}

static int open_files(struct office *office, struct err_msg *why)
{
    const struct launch *launch = &office->launch;
    char known[PATH_MAX];
    struct store_spec spec = {.out_dir = launch->out,
                              .resume_dir = office->is_going_on ? known : launch->resume,
                              .settings = office->settings,
                              .run = office->run,
                              .incarnation = office->store_incarnation};
    int err = find_checkpoint(office, known, why);
    if (err == 0)
        err = store_create(&spec, &office->store, why);
    if (err != 0)
        return err;
    snprintf(office->note, sizeof(office->note), "%s", store_resume_note(office->store));
    if (office->note[0] != 0)
        fprintf(stderr, "talweg-coordinator: %s\n", office->note);
    uint64_t start_step = office->is_going_on ? UINT64_MAX : store_resume_step(office->store);
    return report_open(launch->out, start_step, &office->report, why);
}

static uint64_t metric_step(const struct office *office)
{
    uint64_t resumed = store_resume_step(office->store);
    uint64_t written = office->is_going_on ? report_last_step(office->report) : 0;
    return written > resumed ? written : resumed;
}

static int create_coordinator(struct office *office, const char *store_endpoint,
                              struct err_msg *why)
{
    struct coordinator_spec spec = {.settings = office->settings,
                                    .run = office->run,
                                    .resume_step = store_resume_step(office->store),
                                    .early_stop = store_resume_early_stop(office->store),
                                    .store_incarnation = office->store_incarnation,
                                    .metric_step = metric_step(office)};
    memcpy(spec.store_endpoint, store_endpoint, sizeof(spec.store_endpoint));
    snprintf(spec.resume_path, sizeof(spec.resume_path), "%s", store_resume_path(office->store));
    int err = random_bytes(&spec.incarnation, sizeof(spec.incarnation));
    if (err == 0)
        err = settings_fingerprint(office->settings, spec.fingerprint);
    if (err == 0)
        err = coordinator_create(&spec, &office->coordinator);
    return err == 0 ? 0 : err_set(why, err, "cannot start the coordinator: %s", err_text(err));
}

static int recall(void *context, const struct message *record, struct err_msg *why)
{
    return coordinator_recall(context, record, why);
}

static int take_up_run(struct office *office, struct err_msg *why)
{
    char run[33];
    if (!office->is_going_on)
        return logbook_begin(office->logbook, why);
    int err = logbook_recall(office->logbook, recall, office->coordinator, why);
    if (err != 0)
        return err;
    run_text(office->run, run);
    log_event(LOG_INFO, "recalled", "run=%s checkpoint_step=%" PRIu64, run,
              store_resume_step(office->store));
    return 0;
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

int office_open(struct office *office, struct err_msg *why)
{
    char store_endpoint[ENDPOINT_BYTES] = "";
    int err = open_run(office, why);
    if (err == 0)
        err = bind_members(office, why);
    if (err == 0 && !office->is_over)
        err = bind_shards(office, store_endpoint, why);
    if (err != 0 || office->is_over)
        return err;
    err = open_files(office, why);
    if (err == 0)
        err = create_coordinator(office, store_endpoint, why);
    if (err == 0)
        err = take_up_run(office, why);
    if ((err == ERR_INPUT || err == ERR_NOT_FOUND) && office->is_going_on)
        add_hint(why);
    return err == 0 ? start_store(office, why) : err;
}

bool office_find_step(const struct office *office, uint64_t step, char path_out[PATH_MAX])
{
    const char *resume = office->launch.resume == NULL ? "" : office->launch.resume;
    char name[64], path[PATH_MAX], beside[PATH_MAX + 4];
    struct checkpoint_info info;
    snprintf(name, sizeof(name), "checkpoint-%" PRIu64, step);
    snprintf(beside, sizeof(beside), "%s/..", resume);
    const char *const dirs[] = {office->launch.out, resume, beside};
    for (size_t i = 0; step > 0 && i < (resume[0] == '\0' ? 1 : ARRAY_LEN(dirs)); i++)
        if (path_join(path, dirs[i], name, NULL) == 0 &&
            checkpoint_read_info(path, &info, NULL) == 0)
            return realpath(path, path_out) != NULL;
    return false;
}

void office_close(struct office *office)
{
    channel_destroy(office->members);
    channel_destroy(office->shards);
    transport_destroy(office->transport);
    store_destroy(office->store);
    report_close(office->report);
    coordinator_destroy(office->coordinator);
    logbook_close(office->logbook);
    settings_destroy(office->settings);
    launch_release(&office->launch);
}
