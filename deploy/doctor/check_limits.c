#include "deploy/doctor/checks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t files_needed(const struct patient *patient)
{
    switch (patient->role) {
    case ROLE_COORDINATOR:
        return need_files_coordinator(patient->settings);
    case ROLE_SERVER:
        return need_files_server(patient->settings);
    case ROLE_WORKER:
        return need_files_worker(patient->settings);
    default:;
        uint64_t most = need_files_coordinator(patient->settings);
        if (need_files_server(patient->settings) > most)
            most = need_files_server(patient->settings);
        return need_files_worker(patient->settings) > most ? need_files_worker(patient->settings)
                                                           : most;
    }
}

static void check_files(const struct patient *patient, struct findings *findings)
{
    struct rlimit limit;
    uint64_t need = files_needed(patient);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    bool is_enough = limit.rlim_cur == RLIM_INFINITY || need <= limit.rlim_cur;
    findings_say(findings, FAMILY_LIMITS, is_enough ? FINDING_OK : FINDING_ERROR,
                 "about %llu open files needed by a process, %llu allowed",
                 (unsigned long long)need, (unsigned long long)limit.rlim_cur);
    if (is_enough)
        return;
    findings_why(findings, "Each connection is one: without it members cannot connect.");
    findings_do(findings, limit.rlim_max >= need
                              ? "ulimit -n %llu (LimitNOFILE= of systemd, --ulimit of Docker)"
                              : "Have root raise it to %llu: LimitNOFILE= of systemd, --ulimit of "
                                "Docker, /etc/security/limits.conf.",
                (unsigned long long)need);
}

static void check_size(const struct patient *patient, struct findings *findings)
{
    struct rlimit limit;
    char limit_text[BYTES_TEXT];
    uint64_t file_bytes = patient->settings->checkpoint.file_bytes;
    uint64_t one = need_of(patient->settings, &patient->size).checkpoint_bytes;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        !patient_is(patient, ROLE_COORDINATOR))
        return;
    uint64_t largest = one > 0 && one < file_bytes ? one : file_bytes;
    bool is_enough = limit.rlim_cur > largest;
    findings_say(findings, FAMILY_LIMITS, is_enough ? FINDING_OK : FINDING_WARNING,
                 "files may have at most %s (ulimit -f)", bytes_text(limit.rlim_cur, limit_text));
    if (is_enough)
        return;
    findings_why(findings, "A checkpoint's file may become larger, and then fails.");
    findings_do(findings, "Raise it, or set checkpoint.file_bytes lower.");
}

static void check_rest(const struct patient *patient, struct findings *findings)
{
    struct rlimit core, lock, tasks;
    uint64_t threads = patient->role == ROLE_ALL
                           ? 16 * (uint64_t)(patient->settings->cluster.servers +
                                             patient->settings->cluster.workers)
                           : 16 + (uint64_t)patient->settings->worker.threads;
    if (getrlimit(RLIMIT_NPROC, &tasks) == 0 && tasks.rlim_cur != RLIM_INFINITY &&
        tasks.rlim_cur < threads && geteuid() != 0) {
        findings_say(findings, FAMILY_LIMITS, FINDING_WARNING,
                     "%llu processes and threads are allowed, about %llu are needed",
                     (unsigned long long)tasks.rlim_cur, (unsigned long long)threads);
        findings_why(findings, "A thread that cannot be started ends its process.");
        findings_do(findings, "ulimit -u, TasksMax= of systemd, --pids-limit of Docker.");
    }
    if (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0) {
        findings_say(findings, FAMILY_LIMITS, FINDING_NOTE, "no core files (ulimit -c 0)");
        findings_why(findings, "Should a process crash, nothing tells where.");
        findings_do(findings, "ulimit -c unlimited, where that is wanted.");
    }
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0)
        findings_say(findings, FAMILY_LIMITS, FINDING_OK, "locked memory: none is used");
}

/* What tells that this is a container, or NULL. */
static const char *container(void)
{
    if (getenv("KUBERNETES_SERVICE_HOST"))
        return "Kubernetes";
    if (access("/.dockerenv", F_OK) == 0)
        return "Docker";
    if (access("/run/.containerenv", F_OK) == 0)
        return "Podman";
    return getenv("container");
}

static void check_container(const struct patient *patient, struct findings *findings)
{
    const char *kind = container();
    if (!kind)
        return;
    findings_say(findings, FAMILY_LIMITS, FINDING_NOTE, "this is a container (%.40s)", kind);
    findings_why(findings, "Names, addresses and limits are the container's, not the machine's.");
    if (patient->role == ROLE_SERVER || patient->role == ROLE_COORDINATOR)
        findings_do(findings, "Other machines reach it by a published port and --advertise, an "
                              "overlay network, or the host's network.");
}

void check_limits(struct patient *patient, struct findings *findings)
{
    check_files(patient, findings);
    check_size(patient, findings);
    check_rest(patient, findings);
    check_container(patient, findings);
}
