#include "deploy/doctor/patient.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/err.h"
#include "common/usage.h"

enum { DOCTOR_MS = 9000, ARGUMENTS_MAX = LAUNCH_SETS_MAX + 16, ARGUMENT_BYTES = PATH_MAX + 32 };

static const char *const role_texts[] = {
    [ROLE_ALL] = "all roles",
    [ROLE_COORDINATOR] = "coordinator",
    [ROLE_SERVER] = "server",
    [ROLE_WORKER] = "worker",
};

const char *patient_role_text(enum patient_role role)
{
    return role_texts[role];
}

const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(text, BYTES_TEXT, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return text;
}

bool patient_is(const struct patient *patient, enum patient_role role)
{
    return patient->role == role || patient->role == ROLE_ALL;
}

unsigned patient_time(const struct patient *patient, unsigned wish_ms)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t left_ms = now_ms < patient->end_ms ? patient->end_ms - now_ms : 0;
    return left_ms < wish_ms ? (unsigned)left_ms : wish_ms;
}

static bool has_text(const char *text)
{
    return text && text[0];
}

static enum patient_role choose_role(const struct patient_spec *spec)
{
    bool has_coordinator = has_text(spec->coordinator) || has_text(getenv("TALWEG_COORDINATOR"));
    if (spec->has_role)
        return spec->role;
    if (has_text(spec->bind))
        return has_coordinator ? ROLE_SERVER : ROLE_COORDINATOR;
    return has_coordinator ? ROLE_WORKER : ROLE_ALL;
}

/* A command line as the role would have it. */
struct line {
    int count;
    char *arguments[ARGUMENTS_MAX + 1];
    char texts[ARGUMENTS_MAX][ARGUMENT_BYTES];
};

static void add(struct line *line, const char *flag, const char *value)
{
    if (!value || line->count == ARGUMENTS_MAX)
        return;
    snprintf(line->texts[line->count], ARGUMENT_BYTES, "%s%s", flag, value);
    line->arguments[line->count] = line->texts[line->count];
    line->count++;
}

static int parse_launch(struct patient *patient, struct err_msg *why)
{
    static const enum launch_role roles[] = {[ROLE_COORDINATOR] = LAUNCH_COORDINATOR,
                                             [ROLE_SERVER] = LAUNCH_SERVER,
                                             [ROLE_WORKER] = LAUNCH_WORKER};
    const struct patient_spec *spec = patient->spec;
    struct line *line = calloc(1, sizeof(*line));
    if (!line)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    add(line, "", "talweg doctor");
    add(line, "", spec->job);
    if (patient->role != ROLE_COORDINATOR) {
        add(line, "--coordinator=", spec->coordinator);
        add(line, "--rank=", spec->rank);
    }
    if (patient->role != ROLE_WORKER) {
        add(line, "--bind=", spec->bind);
        add(line, "--advertise=", spec->advertise);
    }
    if (patient->role == ROLE_COORDINATOR)
        add(line, "--out=", spec->out);
    for (size_t i = 0; i < spec->set_count; i++)
        add(line, "--set=", spec->sets[i]);
    patient->has_launch = true;
    int err = launch_parse(roles[patient->role], line->count, line->arguments, &patient->launch,
                           why);
    free(line);
    return err;
}

/* What the role would make of its addresses. */
static void read_addresses(struct patient *patient, struct findings *findings)
{
    struct err_msg why = {0};
    struct settings *settings = NULL;
    int err = parse_launch(patient, &why);
    if (err == 0)
        err = launch_settings(&patient->launch, &settings, &why);
    settings_destroy(settings); /* the same as patient->settings */
    patient->is_launch_good = err == 0;
    if (err == 0)
        return;
    findings_say(findings, FAMILY_ADDRESSES, FINDING_ERROR, "%s", why.text);
    findings_why(findings, "A %s would end with this sentence.", patient_role_text(patient->role));
}

/* The coordinator that the run in OUT names. */
static void find_in_folder(struct patient *patient)
{
    char path[PATH_MAX];
    struct document *run = NULL;
    const char *endpoint, *keys;
    snprintf(path, sizeof(path), "%s/run.json", patient->spec->out ? patient->spec->out : "out");
    if (document_load(path, &run, NULL) == 0 &&
        document_get_text(run, "coordinator", &endpoint, NULL) == 0)
        snprintf(patient->run_endpoint, sizeof(patient->run_endpoint), "%s", endpoint);
    if (!patient->keys[0] && document_get_text(run, "keys", &keys, NULL) == 0)
        snprintf(patient->keys, sizeof(patient->keys), "%s", keys);
    document_destroy(run);
}

/* As every process finds them. */
static void find_keys(struct patient *patient)
{
    const char *folder = getenv("TALWEG_KEYS");
    if (patient->settings->cluster.keys[0])
        folder = patient->settings->cluster.keys;
    snprintf(patient->keys, sizeof(patient->keys), "%s", folder ? folder : "");
}

static void find_run(struct patient *patient)
{
    const struct launch *launch = &patient->launch;
    size_t length;
    if (patient->role == ROLE_ALL || patient->role == ROLE_COORDINATOR)
        find_in_folder(patient);
    if (patient->role == ROLE_ALL || patient->run_endpoint[0] || !patient->is_launch_good)
        return;
    if (patient->role != ROLE_COORDINATOR)
        snprintf(patient->run_endpoint, sizeof(patient->run_endpoint), "%s", launch->coordinator);
    else if (launch_advertised(launch, launch->bind, 0, patient->run_endpoint, NULL) != 0)
        patient->run_endpoint[0] = '\0';
    length = strlen(patient->run_endpoint);
    if (length > 2 && strcmp(patient->run_endpoint + length - 2, ":0") == 0)
        patient->run_endpoint[0] = '\0';
}

void patient_open(struct patient *patient, const struct patient_spec *spec,
                  struct findings *findings)
{
    struct err_msg why = {0};
    *patient = (struct patient){.spec = spec, .role = choose_role(spec), .data.fd = -1};
    patient->begin_ms = clock_now_ms();
    patient->end_ms = patient->begin_ms + DOCTOR_MS;
    if (settings_load(spec->job, spec->sets, spec->set_count, &patient->settings, &why) != 0) {
        findings_say(findings, FAMILY_JOB, FINDING_ERROR, "%s", why.text);
        findings_why(findings, "No process starts with a job file that cannot be read.");
        findings_do(findings, "`talweg settings` lists what a job file may say.");
        return;
    }
    findings_say(findings, FAMILY_JOB, FINDING_OK, "%s: servers %u, shards of each %u, workers %u",
                 spec->job, patient->settings->cluster.servers, patient->settings->cluster.shards,
                 patient->settings->cluster.workers);
    if (patient->role == ROLE_ALL && patient->settings->cluster.coordinator[0]) {
        findings_say(findings, FAMILY_JOB, FINDING_NOTE,
                     "checked as for `talweg train`, with every role on this machine");
        findings_why(findings, "The job names a coordinator, so it is meant for several.");
        findings_do(findings, "Say what this machine will be: --role server, for one.");
    }
    if (patient->role != ROLE_ALL)
        read_addresses(patient, findings);
    find_keys(patient);
    find_run(patient);
}

void patient_release(struct patient *patient)
{
    if (patient->has_launch)
        launch_release(&patient->launch);
    settings_destroy(patient->settings);
    document_destroy(patient->status);
}

static uint64_t whole_of(const struct document *row, const char *key)
{
    int64_t value;
    return document_get_whole(row, key, &value, NULL) == 0 && value > 0 ? (uint64_t)value : 0;
}

struct members_here patient_members(const struct patient *patient)
{
    struct members_here here = {0};
    char host[256];
    usage_host(host, sizeof(host));
    for (int kind = 0; kind < 2; kind++) {
        const struct document *rows =
            document_get(patient->status, kind == 0 ? "workers" : "servers");
        for (size_t i = 0; i < document_count(rows); i++) {
            const struct document *row = document_at(rows, i);
            const char *where;
            if (document_get_text(row, "host", &where, NULL) != 0 || strcmp(where, host) != 0)
                continue;
            here.count++;
            here.threads += whole_of(row, kind == 0 ? "threads" : "shards");
            here.rss_bytes += whole_of(row, "rss_bytes");
        }
    }
    return here;
}
