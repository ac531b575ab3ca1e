#include "deploy/doctor/probe.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include "common/endpoint.h"

/* "tcp://head:7077 (10.0.0.1)", the number only where it says more. */
static void name_place(const struct probe *probe, char *text, size_t size)
{
    bool is_number = !probe->address[0] || strcmp(probe->address, probe->host) == 0;
    snprintf(text, size, "%s%s%s%s", probe->endpoint, is_number ? "" : " (", is_number ? "" :
             probe->address, is_number ? "" : ")");
}

static void explain_ipc(const struct probe *probe, const char *who, enum finding_family family,
                        enum finding_level refused, struct findings *findings)
{
    if (probe->end == PROBE_REFUSED) {
        findings_say(findings, family, refused, "%s: %s", probe->endpoint,
                     probe->error == ENOENT ? "there is no such socket" : "nobody listens on it");
        findings_why(findings, "%s is not running on this machine, or listens elsewhere.", who);
        findings_do(findings, "Start it, or give the address that its log says (endpoint=).");
        return;
    }
    if (probe->error == EACCES) {
        findings_say(findings, family, FINDING_ERROR, "%s belongs to another user",
                     probe->endpoint);
        findings_why(findings, "%s listens there for its own user alone.", who);
        findings_do(findings, "Run as that user, or let the job speak TCP.");
        return;
    }
    findings_say(findings, family, FINDING_ERROR, "%s: %s", probe->endpoint,
                 probe->end == PROBE_FAILED ? strerror(probe->error)
                                            : "somebody listens, but says nothing");
    findings_why(findings, "%s stands still (state T of ps), or is no Talweg process.", who);
    findings_do(findings, "Look at the process: `ss -xlp | grep %s`.", probe->host);
}

/* ZeroMQ does not go on to the next address of a name. */
static bool has_passed_over(const struct probe *probe)
{
    return probe->other[0] != '\0';
}

static void explain_passed_over(const struct probe *probe, struct findings *findings)
{
    findings_why(findings,
                 "Of a name's addresses only the first is tried, and that is IPv6 where there is "
                 "one; %s is %s as well.",
                 probe->host, probe->other);
    findings_do(findings, "Give the number: tcp://%s:%u.", probe->other, probe->port);
}

static void explain_refused(const struct probe *probe, const char *place, const char *who,
                            enum finding_family family, enum finding_level level,
                            struct findings *findings)
{
    bool is_own = probe_is_own_address(&probe->socket_address);
    findings_say(findings, family, level, "%s: nobody listens on port %u%s", place, probe->port,
                 is_own ? "" : ", though the machine answers");
    if (has_passed_over(probe)) {
        explain_passed_over(probe, findings);
        return;
    }
    findings_why(findings, "%s has not been started, has ended, or listens elsewhere.", who);
    findings_do(findings,
                "See its log (endpoint=), or there: ss -ltn 'sport = :%u'.  What listens on "
                "127.0.0.1 is not heard by others: --bind tcp://*:%u.",
                probe->port, probe->port);
}

static void explain_no_way(const struct probe *probe, const char *place,
                           enum finding_family family, struct findings *findings)
{
    if (probe->end == PROBE_SILENT)
        findings_say(findings, family, FINDING_ERROR, "%s does not answer, not even with a no",
                     place);
    else
        findings_say(findings, family, FINDING_ERROR, "%s: %s", place, strerror(probe->error));
    if (has_passed_over(probe)) {
        explain_passed_over(probe, findings);
        return;
    }
    findings_why(findings, probe->end == PROBE_SILENT
                               ? "A firewall drops what is sent there, the machine is off, or the "
                                 "address is not its own."
                               : "A firewall refuses it, or there is no route.");
    findings_do(findings, "ping %s; ip route get %s; let TCP port %u in there.", probe->address,
                probe->address, probe->port);
}

static void explain_name(const struct probe *probe, const char *who, enum finding_family family,
                         struct findings *findings)
{
    if (probe->end == PROBE_NO_NAME)
        findings_say(findings, family, FINDING_ERROR, "%s does not resolve: %s", probe->host,
                     gai_strerror(probe->error));
    else
        findings_say(findings, family, FINDING_ERROR, "%s: no name server answers", probe->host);
    findings_why(findings, "%s is looked for at %s.", who, probe->endpoint);
    findings_do(findings, "Correct the name, put it into DNS or this machine's /etc/hosts, or give "
                          "the machine's number.");
}

static void explain_talk(const struct probe *probe, const char *place,
                         enum finding_family family, struct findings *findings)
{
    if (probe->end == PROBE_OTHER_KEYS) {
        findings_say(findings, family, FINDING_ERROR, "%s asks for \"%.20s\" of ZeroMQ", place,
                     probe->mechanism);
        findings_why(findings, "Talweg knows no keys but CURVE's: this is another program.");
    } else if (probe->end == PROBE_MUTE) {
        findings_say(findings, family, FINDING_ERROR, "%s takes the connection and says nothing",
                     place);
        findings_why(findings, "A process that stands still (state T of ps), or no Talweg process "
                               "at all.");
    } else if (probe->end == PROBE_STRANGE) {
        findings_say(findings, family, FINDING_ERROR, "%s speaks, but not ZeroMQ", place);
        findings_why(findings, "Another service has that port.");
    } else {
        findings_say(findings, family, FINDING_ERROR, "%s: %s", place, strerror(probe->error));
        findings_why(findings, "The connection could not be made.");
    }
    findings_do(findings, "On that machine: ss -ltnp 'sport = :%u' says who has the port.",
                probe->port);
}

void probe_explain(const struct probe *probe, const char *who, enum finding_family family,
                   enum finding_level refused, struct findings *findings)
{
    char place[PROBE_HOST_BYTES + PROBE_ADDRESS_BYTES + 32];
    name_place(probe, place, sizeof(place));
    if (endpoint_ipc_path(probe->endpoint)) {
        explain_ipc(probe, who, family, refused, findings);
        return;
    }
    switch (probe->end) {
    case PROBE_NO_NAME:
    case PROBE_SLOW_NAME:
        explain_name(probe, who, family, findings);
        return;
    case PROBE_REFUSED:
        explain_refused(probe, place, who, family, refused, findings);
        return;
    case PROBE_SILENT:
    case PROBE_UNREACHABLE:
        explain_no_way(probe, place, family, findings);
        return;
    default:
        explain_talk(probe, place, family, findings);
    }
}
