#include "deploy/doctor/checks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/transport.h"
#include "deploy/doctor/probe.h"
#include "deploy/status_client.h"
#include "worker/nn/gemm.h"

enum { CONNECT_MS = 2500, GREETING_MS = 1000, STATUS_MS = 1500, ASK_COUNT = 4, CLOCK_MS = 1000 };

/* One status; the quickest of some tells the clock best. */
static int ask(struct patient *patient, struct status_client *client, struct err_msg *why)
{
    struct document *status = NULL;
    uint64_t begin_us = clock_now_us(), begin_wall_ms = clock_wall_ms();
    unsigned left_ms = patient_time(patient, STATUS_MS);
    uint64_t end_ms = clock_now_ms() + left_ms;
    int err = status_client_ask(client);
    if (err != 0)
        return err_set(why, err, "%s", err_text(err));
    do {
        uint64_t now_ms = clock_now_ms();
        err = status_client_wait(client, -1, now_ms < end_ms ? (int)(end_ms - now_ms) : 0, &status,
                                 why);
    } while (err == ERR_AGAIN && clock_now_ms() < end_ms);
    if (err != 0)
        return err;
    double took_ms = (double)(clock_now_us() - begin_us) / 1000;
    if (patient->status && took_ms >= patient->round_trip_ms) {
        document_destroy(status);
        return 0;
    }
    document_destroy(patient->status);
    patient->status = status;
    patient->round_trip_ms = took_ms;
    patient->clock_error_ms = took_ms / 2 + 1;
    patient->clock_ahead_ms = status_real(status, "now_ms", NAN) - (double)begin_wall_ms -
                              took_ms / 2;
    return 0;
}

static void ask_often(struct patient *patient, struct findings *findings)
{
    struct status_client *client = NULL;
    struct err_msg why = {0};
    int err = status_client_open(patient->run_endpoint, patient->keys, &client, &why);
    for (int i = 0; i < ASK_COUNT && err == 0; i++)
        err = ask(patient, client, &why);
    status_client_close(client);
    if (patient->status)
        return;
    if (err == ERR_REFUSED || why.text[0]) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED, "versions, clocks, links: %s",
                     why.text);
        findings_why(findings, "Who asks how a run is needs client.key, and `allowed` beside it.");
        return;
    }
    findings_say(findings, FAMILY_RUN, FINDING_ERROR, "%s: %s", patient->run_endpoint,
                 err == ERR_AGAIN ? "it greets, but does not tell how the run is" : why.text);
    findings_why(findings, "The coordinator is of another version, stands still, or is a server.");
    findings_do(findings, "See its log; the port of the coordinator is the first of its two.");
}

static void tell_phase(const struct patient *patient, struct findings *findings)
{
    const struct document *status = patient->status;
    const char *phase = status_text(status, "phase", "?");
    const char *error = status_text(status, "error", "");
    bool is_failed = strcmp(phase, "failed") == 0;
    findings_say(findings, FAMILY_RUN, is_failed ? FINDING_ERROR : FINDING_OK,
                 "the coordinator answers in %.1f ms: %s, step %llu of %llu",
                 patient->round_trip_ms, phase, (unsigned long long)status_whole(status, "step"),
                 (unsigned long long)status_whole(status, "steps"));
    if (is_failed)
        findings_why(findings, "%s", error);
    const char *missing = status_text(status, "waiting_for", "");
    if (*missing) {
        findings_say(findings, FAMILY_RUN, FINDING_NOTE, "%s", missing);
        findings_why(findings, "The run begins when all are there.");
        findings_do(findings, "Run this there, with their --role.");
    }
    const char *trouble = status_text(status, "trouble", "");
    if (*trouble) {
        findings_say(findings, FAMILY_RUN, FINDING_WARNING, "%s", trouble);
        findings_why(findings, "So says the coordinator; the run waits or goes on as it can.");
    }
    unsigned long long failed = status_whole(status, "failed_checkpoints");
    if (failed) {
        findings_say(findings, FAMILY_RUN, FINDING_WARNING,
                     "%llu checkpoints could not be written", failed);
        findings_why(findings, "A restart goes back to the last one that was.");
        findings_do(findings, "Make room where the coordinator's OUT lies.");
    }
}

static void compare_versions(const struct document *coordinator, struct findings *findings)
{
    char zmq[32], protobuf[32];
    const char *version = status_text(coordinator, "version", "");
    const char *their_zmq = status_text(coordinator, "zmq", "?");
    const char *their_protobuf = status_text(coordinator, "protobuf", "?");
    transport_library(zmq, sizeof(zmq));
    message_library(protobuf, sizeof(protobuf));
    if (strcmp(version, TALWEG_VERSION) != 0) {
        findings_say(findings, FAMILY_RUN, FINDING_ERROR,
                     "the coordinator is Talweg %s, this is %s",
                     *version ? version : "of before 0.1.0", TALWEG_VERSION);
        findings_why(findings, "A coordinator refuses members of another version.");
        findings_do(findings, "Install the same on all machines.");
        return;
    }
    bool is_same = strcmp(zmq, their_zmq) == 0 && strcmp(protobuf, their_protobuf) == 0;
    findings_say(findings, FAMILY_RUN, is_same ? FINDING_OK : FINDING_NOTE,
                 is_same ? "the same Talweg %s, %s and %s as the coordinator's"
                         : "Talweg %s as the coordinator's, with %s and %s",
                 TALWEG_VERSION, zmq, protobuf);
    if (!is_same)
        findings_why(findings, "It has %s and %s.  They understand each other.", their_zmq,
                     their_protobuf);
}

static void compare_jobs(const struct patient *patient, struct findings *findings)
{
    char own[65];
    const char *theirs = status_text(patient->status, "fingerprint", "");
    if (!*theirs || settings_fingerprint(patient->settings, own) != 0) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED,
                     "whether the job is the coordinator's: it does not say");
        return;
    }
    if (strcmp(own, theirs) == 0) {
        findings_say(findings, FAMILY_RUN, FINDING_OK,
                     "this job file says the same job as the coordinator's (%.12s)", own);
        return;
    }
    findings_say(findings, FAMILY_RUN, FINDING_ERROR,
                 "this job file says another job (%.12s) than the coordinator's (%.12s)", own,
                 theirs);
    findings_why(findings, "The coordinator refuses members whose settings would give other "
                           "weights.");
    findings_do(findings, "Give all processes the same file and the same --set (diff them).");
}

static void compare_clocks(const struct patient *patient, struct findings *findings)
{
    double ahead_ms = patient->clock_ahead_ms;
    if (!isfinite(ahead_ms)) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED, "clocks: the coordinator tells none");
        return;
    }
    bool is_near = fabs(ahead_ms) <= CLOCK_MS + patient->clock_error_ms;
    if (fabs(ahead_ms) < 10000)
        findings_say(findings, FAMILY_RUN, is_near ? FINDING_OK : FINDING_WARNING,
                     "the coordinator's clock is %.0f ms %s (within %.0f ms)", fabs(ahead_ms),
                     ahead_ms < 0 ? "behind" : "ahead", patient->clock_error_ms);
    else
        findings_say(findings, FAMILY_RUN, FINDING_WARNING, "the coordinator's clock is %.0f s %s",
                     fabs(ahead_ms) / 1000, ahead_ms < 0 ? "behind" : "ahead");
    if (is_near)
        return;
    findings_why(findings, "Training does not mind; logs of two machines cannot be laid side by "
                           "side, and file times mislead.");
    findings_do(findings, "timedatectl set-ntp true, on both.");
}

/* Whether the address that the coordinator sees is one of this machine's. */
static void tell_seen(const struct patient *patient, struct findings *findings)
{
    const char *seen = status_text(patient->status, "you", "");
    char endpoint[LAUNCH_ENDPOINT_BYTES];
    if (!*seen)
        return;
    snprintf(endpoint, sizeof(endpoint), strchr(seen, ':') ? "tcp://[%s]:1" : "tcp://%s:1", seen);
    struct probe probe = {.endpoint = endpoint};
    probe_resolve(&probe, 1, patient_time(patient, 500));
    if (probe.end == PROBE_PLAIN && probe_is_own_address(&probe.socket_address)) {
        findings_say(findings, FAMILY_RUN, FINDING_OK, "the coordinator sees this machine as %s",
                     seen);
        return;
    }
    bool is_reached = patient->role == ROLE_SERVER;
    findings_say(findings, FAMILY_RUN, is_reached ? FINDING_WARNING : FINDING_NOTE,
                 "the coordinator sees this machine as %s, an address that it does not have", seen);
    findings_why(findings, is_reached
                               ? "Addresses are translated on the way (NAT, a container's bridge): "
                                 "others cannot connect to this server without help."
                               : "Addresses are translated on the way.  Nobody connects to a "
                                 "worker, so it does no harm.");
    if (is_reached)
        findings_do(findings, "Pass the port on and give --advertise tcp://%s:PORT, or use the "
                              "host's network.", seen);
}

/* What workers multiply with: all alike on x86-64, elsewhere with kernels of OpenBLAS. */
static void compare_kernels(const struct patient *patient, struct findings *findings)
{
    const struct document *workers = document_get(patient->status, "workers");
    const char *own = gemm_kernels();
    char others[160] = "";
    for (size_t i = 0; i < document_count(workers); i++) {
        const char *kernels = status_text(document_at(workers, i), "kernels", "");
        size_t length = strlen(others);
        if (*kernels && strcmp(kernels, own) != 0 && !strstr(others, kernels))
            snprintf(others + length, sizeof(others) - length, "%s%s", length ? ", " : "", kernels);
    }
    if (!others[0] || !patient_is(patient, ROLE_WORKER))
        return;
    findings_say(findings, FAMILY_RUN, FINDING_WARNING,
                 "workers of the run multiply with %s, this machine with %s", others, own);
    findings_why(findings, "Each kind has its own last bits: the digest then depends on who "
                           "computed what.");
    findings_do(findings, "Set worker.kernels to one that all have.");
}

static void tell_nobody(const struct patient *patient, const struct probe *probe,
                        struct findings *findings)
{
    bool may_be_alone = patient->role == ROLE_ALL || patient->role == ROLE_COORDINATOR;
    if (may_be_alone && probe->end == PROBE_REFUSED) {
        findings_say(findings, FAMILY_RUN, FINDING_NOTE, "no run is going on: nobody listens at %s",
                     patient->run_endpoint);
        findings_why(findings, "As it should be before a run.  Versions, clocks and links are "
                               "checked during one.");
        return;
    }
    if (probe->end == PROBE_NO_NAME || probe->end == PROBE_SLOW_NAME) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED,
                     "versions, clocks, links: the coordinator's name does not resolve");
        return;
    }
    probe_explain(probe, "The coordinator", FAMILY_RUN, FINDING_WARNING, findings);
}

void check_run(struct patient *patient, struct findings *findings)
{
    if (!patient->run_endpoint[0] || endpoint_check_peer(patient->run_endpoint, NULL) != 0) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED,
                     "versions, clocks, links: no coordinator to ask is known");
        if (patient->role == ROLE_ALL)
            findings_do(findings, "During a run give its --out DIR, or --role and --coordinator.");
        return;
    }
    struct probe probe = {.endpoint = patient->run_endpoint};
    probe_all(&probe, 1, patient_time(patient, CONNECT_MS), GREETING_MS);
    if (!probe_is_answered(&probe)) {
        tell_nobody(patient, &probe, findings);
        return;
    }
    patient->is_here = true;
    patient->has_their_keys = probe.end == PROBE_CURVE;
    if (patient->has_their_keys != (patient->keys[0] != '\0')) {
        findings_say(findings, FAMILY_RUN, FINDING_UNCHECKED,
                     "versions, clocks, links: the coordinator is there, but see keys");
        return;
    }
    ask_often(patient, findings);
    if (!patient->status)
        return;
    tell_phase(patient, findings);
    compare_versions(document_get(patient->status, "coordinator"), findings);
    compare_jobs(patient, findings);
    compare_clocks(patient, findings);
    tell_seen(patient, findings);
    compare_kernels(patient, findings);
}
