#include "deploy/doctor/checks.h"

#include <stdio.h>
#include <string.h>
#include "common/endpoint.h"
#include "common/usage.h"
#include "deploy/doctor/probe.h"

enum { NAME_MS = 2500, NAMES_MAX = 3 };

/* A name that somebody must be able to make a number of. */
struct name {
    char endpoint[LAUNCH_ENDPOINT_BYTES];
    const char *whose;
    bool is_own;        /* this machine's */
    bool is_advertised; /* others get it as the address of this process */
};

static void add_own(const struct patient *patient, struct name *names, size_t *count)
{
    char host[256];
    const struct launch *launch = &patient->launch;
    struct name *own = &names[*count];
    usage_host(host, sizeof(host));
    snprintf(own->endpoint, sizeof(own->endpoint), "tcp://%s:1", host);
    own->whose = "this machine's own name";
    own->is_own = true;
    *count += 1;
    if (!patient->is_launch_good || patient->role == ROLE_WORKER)
        return;
    struct name *told = &names[*count];
    if (launch_advertised(launch, launch->bind, 0, told->endpoint, NULL) != 0 ||
        endpoint_ipc_path(told->endpoint))
        return;
    size_t length = strlen(own->endpoint) - 1;
    if (strncmp(told->endpoint, own->endpoint, length) == 0) {
        own->is_advertised = true;
        return;
    }
    told->whose = "what others are told";
    told->is_own = told->is_advertised = true;
    *count += 1;
}

static void judge_loopback(const struct name *name, const struct probe *probe,
                           const struct patient *patient, struct findings *findings)
{
    bool is_for_others = name->is_advertised && strstr(patient->launch.bind, "127.") == NULL;
    if (!is_for_others && strcmp(probe->host, probe->address) == 0)
        return;
    findings_say(findings, FAMILY_NAMES, is_for_others ? FINDING_WARNING : FINDING_OK,
                 "%s is %s here (%s)", probe->host, probe->address, name->whose);
    if (!is_for_others)
        return;
    findings_why(findings, "Others are told this name.  Where it means 127.x to them too, they "
                           "look for this process on their own machine.");
    findings_do(findings, "There: getent hosts %s.  Or give --advertise and a number.",
                probe->host);
}

static void judge(const struct name *name, const struct probe *probe,
                  const struct patient *patient, struct findings *findings)
{
    if (probe->end != PROBE_PLAIN && name->is_own && !name->is_advertised) {
        findings_say(findings, FAMILY_NAMES, FINDING_NOTE, "%s does not resolve (%s)",
                     probe->host, name->whose);
        findings_why(findings, "Nobody is told it, so this is no harm now.");
        return;
    }
    if (probe->end != PROBE_PLAIN) {
        probe_explain(probe, name->is_own ? "This process" : "The coordinator", FAMILY_NAMES,
                      FINDING_ERROR, findings);
        if (name->is_own) {
            findings_why(findings, "Others are told this name as the address of this process.");
            findings_do(findings, "Give --advertise and a number of this machine.");
        }
        return;
    }
    if (name->is_own && probe_is_loopback(&probe->socket_address)) {
        judge_loopback(name, probe, patient, findings);
        return;
    }
    if (name->is_advertised && !probe_is_own_address(&probe->socket_address)) {
        findings_say(findings, FAMILY_NAMES, FINDING_WARNING,
                     "%s is %s, which this machine does not have (%s)", probe->host,
                     probe->address, name->whose);
        findings_why(findings, "Right only where something passes its port on to here, as Docker, "
                               "Kubernetes and NAT do.");
        findings_do(findings, "Else give --advertise and a number of `ip addr`.");
        return;
    }
    if (strcmp(probe->host, probe->address) != 0)
        findings_say(findings, FAMILY_NAMES, FINDING_OK, "%s is %s (%s)", probe->host,
                     probe->address, name->whose);
}

void check_names(struct patient *patient, struct findings *findings)
{
    struct name names[NAMES_MAX] = {0};
    struct probe probes[NAMES_MAX] = {0};
    size_t count = 0;
    add_own(patient, names, &count);
    if (patient->role != ROLE_ALL && patient->role != ROLE_COORDINATOR &&
        patient->is_launch_good && !endpoint_ipc_path(patient->launch.coordinator)) {
        snprintf(names[count].endpoint, sizeof(names[count].endpoint), "%s",
                 patient->launch.coordinator);
        names[count++].whose = "the coordinator";
    }
    for (size_t i = 0; i < count; i++)
        probes[i].endpoint = names[i].endpoint;
    probe_resolve(probes, count, patient_time(patient, NAME_MS));
    for (size_t i = 0; i < count; i++)
        judge(&names[i], &probes[i], patient, findings);
}
