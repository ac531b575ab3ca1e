#include "deploy/doctor/checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/endpoint.h"
#include "common/usage.h"
#include "deploy/doctor/echo_client.h"
#include "deploy/doctor/probe.h"
#include "deploy/status_client.h"

enum {
    CONNECT_MS = 2000,
    GREETING_MS = 1000,
    ECHO_MS = 800,
    BANDWIDTH_MS = 1000,
    LINKS_MAX = 1024,
    LINES_MAX = 12 /* links shown one by one; of more, those that stand out */
};

/* From here to one shard. */
struct link {
    struct probe probe;
    unsigned server;
    const char *host; /* of the server, as it says */
    bool is_lost;     /* as the coordinator says */
    double least_ms, median_ms, bytes_per_s; /* NAN: not measured */
};

struct links {
    size_t count;
    struct link items[LINKS_MAX];
};

static void collect(const struct document *status, struct links *links)
{
    const struct document *servers = document_get(status, "servers");
    for (size_t i = 0; i < document_count(servers); i++) {
        const struct document *server = document_at(servers, i);
        const struct document *endpoints = document_get(server, "endpoints");
        for (size_t k = 0; k < document_count(endpoints) && links->count < LINKS_MAX; k++) {
            struct link *link = &links->items[links->count];
            const char *endpoint;
            if (document_as_text(document_at(endpoints, k), "endpoint", &endpoint, NULL) != 0 ||
                endpoint_check_peer(endpoint, NULL) != 0 || strncmp(endpoint, "inproc", 6) == 0)
                continue;
            *link = (struct link){.probe.endpoint = endpoint,
                                  .server = (unsigned)status_whole(server, "rank"),
                                  .host = status_text(server, "host", "?"),
                                  .is_lost =
                                      strcmp(status_text(server, "state", ""), "lost") == 0,
                                  .least_ms = NAN,
                                  .median_ms = NAN,
                                  .bytes_per_s = NAN};
            links->count++;
        }
    }
}

static int probe_links(const struct patient *patient, struct links *links)
{
    struct probe *probes = calloc(links->count + 1, sizeof(*probes));
    if (!probes)
        return ERR_NOMEM;
    for (size_t i = 0; i < links->count; i++)
        probes[i] = links->items[i].probe;
    probe_all(probes, links->count, patient_time(patient, CONNECT_MS),
              patient_time(patient, GREETING_MS));
    for (size_t i = 0; i < links->count; i++)
        links->items[i].probe = probes[i];
    free(probes);
    return 0;
}

static void measure(const struct patient *patient, struct link *link)
{
    struct echo_client *client = NULL;
    struct err_msg why = {0};
    if (patient_time(patient, ECHO_MS) == 0 ||
        echo_client_open(link->probe.endpoint, patient->keys, &client, &why) != 0)
        return;
    if (echo_client_round_trip(client, patient_time(patient, ECHO_MS), &link->least_ms,
                               &link->median_ms) != 0)
        link->least_ms = link->median_ms = NAN;
    else if (echo_client_bandwidth(client, patient_time(patient, BANDWIDTH_MS),
                                   &link->bytes_per_s) != 0)
        link->bytes_per_s = NAN;
    echo_client_close(client);
}

static void explain(const struct link *link, struct findings *findings)
{
    char who[64], host[256];
    if (link->is_lost && link->probe.end == PROBE_REFUSED) {
        findings_say(findings, FAMILY_SERVERS, FINDING_WARNING,
                     "server %u (%s) is lost, the coordinator says, and nobody listens there",
                     link->server, link->host);
        findings_why(findings, "Its copies have taken over, or the run waits for another server.");
        findings_do(findings, "See its log on %s; start it again.", link->host);
        return;
    }
    snprintf(who, sizeof(who), "Server %u", link->server);
    probe_explain(&link->probe, who, FAMILY_SERVERS, FINDING_ERROR, findings);
    usage_host(host, sizeof(host));
    if (link->probe.port && probe_is_loopback(&link->probe.socket_address) &&
        strcmp(link->host, host) != 0) {
        findings_why(findings, "Server %u runs on %s and told others an address that means "
                               "their own machine.",
                     link->server, link->host);
        findings_do(findings, "Start it with --bind tcp://*:0 or --advertise %s.", link->host);
    }
}

static void tell(const struct link *link, struct findings *findings)
{
    if (!isfinite(link->median_ms)) {
        findings_say(findings, FAMILY_SERVERS, FINDING_UNCHECKED,
                     "server %u (%s): it is there, but its link was not measured", link->server,
                     link->host);
        findings_why(findings, "Nothing came back in time: it is busy, has sent back its share of "
                               "16 MiB/s, or is of a version before 0.1.0.");
        return;
    }
    bool is_slow = link->median_ms > 100;
    if (isfinite(link->bytes_per_s))
        findings_say(findings, FAMILY_SERVERS, is_slow ? FINDING_WARNING : FINDING_OK,
                     "server %u (%s): round trip %.2f ms, %.4g MB/s both ways at once",
                     link->server, link->host, link->median_ms, link->bytes_per_s / 1e6);
    else
        findings_say(findings, FAMILY_SERVERS, is_slow ? FINDING_WARNING : FINDING_OK,
                     "server %u (%s): round trip %.2f ms; bandwidth not measured, no time left",
                     link->server, link->host, link->median_ms);
    if (is_slow)
        findings_why(findings, "Each step waits for at least one round trip.");
    if (is_slow)
        findings_do(findings, "exchange.consistency = \"local\" exchanges only now and then.");
}

/* How long a step's gradients and weights take over the slowest link, against what a step takes. */
static void tell_step(const struct patient *patient, const struct links *links,
                      struct findings *findings)
{
    const struct document *status = patient->status;
    double slowest = INFINITY, samples_per_s = status_real(status, "samples_per_s", NAN);
    double bytes = 4.0 * (double)status_whole(status, "weights");
    size_t shards = links->count;
    if (patient->settings->exchange.codec == CODEC_BF16)
        bytes /= 2;
    if (patient->settings->exchange.codec == CODEC_INT8)
        bytes /= 4;
    for (size_t i = 0; i < links->count; i++)
        if (links->items[i].bytes_per_s < slowest)
            slowest = links->items[i].bytes_per_s;
    if (!isfinite(slowest) || bytes == 0 || shards == 0 ||
        patient->settings->exchange.codec == CODEC_SPARSE ||
        patient->settings->exchange.consistency == CONSISTENCY_LOCAL)
        return;
    double exchange_ms = 1000 * bytes / (double)shards / slowest;
    double step_ms = 1000 * patient->settings->job.batch / samples_per_s;
    if (!isfinite(step_ms))
        return;
    bool is_bound = exchange_ms > step_ms / 2 && exchange_ms > 1;
    findings_say(findings, FAMILY_SERVERS, is_bound ? FINDING_WARNING : FINDING_OK,
                 "a step's bytes take %.2g ms over the slowest of these, a step %.2g ms",
                 exchange_ms, step_ms);
    if (!is_bound)
        return;
    findings_why(findings, "The network, not the processors, decides how fast this trains.");
    findings_do(findings, "exchange.codec = \"int8\" sends a quarter; see `talweg plan`.");
}

/* One server that all others leave behind. */
static void tell_uneven(const struct links *links, struct findings *findings)
{
    const struct link *slowest = NULL, *fastest = NULL;
    for (size_t i = 0; i < links->count; i++) {
        const struct link *link = &links->items[i];
        if (!isfinite(link->bytes_per_s))
            continue;
        if (!slowest || link->bytes_per_s < slowest->bytes_per_s)
            slowest = link;
        if (!fastest || link->bytes_per_s > fastest->bytes_per_s)
            fastest = link;
    }
    if (!slowest || fastest->bytes_per_s < 4 * slowest->bytes_per_s ||
        slowest->bytes_per_s > 500e6)
        return;
    findings_say(findings, FAMILY_SERVERS, FINDING_WARNING,
                 "server %u (%s) has %.2g times the bandwidth of server %u (%s)", fastest->server,
                 fastest->host, fastest->bytes_per_s / slowest->bytes_per_s, slowest->server,
                 slowest->host);
    findings_why(findings, "A step waits for the slowest server.");
    findings_do(findings, "Look at that machine's network: ethtool, and who else uses it.");
}

static void tell_all(const struct links *links, struct findings *findings)
{
    double least = INFINITY, most = 0;
    size_t told = 0;
    for (size_t i = 0; i < links->count; i++) {
        const struct link *link = &links->items[i];
        if (!probe_is_answered(&link->probe)) {
            explain(link, findings);
            continue;
        }
        if (links->count <= LINES_MAX || link->median_ms > 100)
            tell(link, findings);
        else if (isfinite(link->median_ms)) {
            told++;
            least = fmin(least, link->median_ms);
            most = fmax(most, link->median_ms);
        }
    }
    if (told)
        findings_say(findings, FAMILY_SERVERS, FINDING_OK,
                     "%zu of %zu shards: round trips from %.2f to %.2f ms", told, links->count,
                     least, most);
}

void check_servers(struct patient *patient, struct findings *findings)
{
    if (!patient->status)
        return; /* check_run has said why */
    struct links *links = calloc(1, sizeof(*links));
    if (!links)
        return;
    collect(patient->status, links);
    if (links->count == 0)
        findings_say(findings, FAMILY_SERVERS, FINDING_UNCHECKED,
                     "links: no server has come to the coordinator yet");
    if (links->count > 0 && probe_links(patient, links) == 0) {
        for (size_t i = 0; i < links->count; i++)
            if (probe_is_answered(&links->items[i].probe))
                measure(patient, &links->items[i]);
        tell_all(links, findings);
        tell_step(patient, links, findings);
        tell_uneven(links, findings);
    }
    free(links);
}
