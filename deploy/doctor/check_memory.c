#include "deploy/doctor/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "deploy/doctor/cgroup.h"

/* A line "MemAvailable:  123 kB" of /proc/meminfo, in bytes; 0: not there. */
static uint64_t read_meminfo(const char *key)
{
    char line[128];
    uint64_t kib = 0;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            kib = strtoull(line + length + 1, NULL, 10);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* What this process may still take, and of what. */
static uint64_t available(const char **of_what)
{
    struct rlimit limit;
    uint64_t bytes = read_meminfo("MemAvailable");
    *of_what = "are free";
    struct cgroup group = cgroup_own();
    uint64_t left =
        group.memory_bytes > group.used_bytes ? group.memory_bytes - group.used_bytes : 0;
    if (group.memory_bytes && (bytes == 0 || left < bytes)) {
        bytes = left;
        *of_what = "are left of what the control group allows";
    }
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (bytes == 0 || limit.rlim_cur < bytes)) {
        bytes = limit.rlim_cur;
        *of_what = "of address space are allowed (ulimit -v)";
    }
    return bytes;
}

static uint64_t needed(const struct patient *patient)
{
    const struct settings *settings = patient->settings;
    struct need need = need_of(settings, &patient->size);
    switch (patient->role) {
    case ROLE_ALL:
        return settings->cluster.servers * need.server_bytes +
               settings->cluster.workers * need.worker_bytes;
    case ROLE_SERVER:
        return need.server_bytes;
    case ROLE_WORKER:
        return need.worker_bytes;
    default:
        return (uint64_t)64 << 20;
    }
}

static void check_pages(struct findings *findings)
{
    char line[128];
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    bool is_never = file && fgets(line, sizeof(line), file) && strstr(line, "[never]");
    if (file)
        fclose(file);
    if (!is_never)
        return;
    findings_say(findings, FAMILY_MEMORY, FINDING_NOTE, "transparent huge pages are off");
    findings_why(findings, "Large vectors then lie in pages of 4 KiB, which are slower to walk.");
    findings_do(findings, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

void check_memory(struct patient *patient, struct findings *findings)
{
    char need_text[BYTES_TEXT], there_text[BYTES_TEXT], held_text[BYTES_TEXT];
    const char *of_what;
    uint64_t there = available(&of_what), need = needed(patient);
    struct members_here here = patient_members(patient);
    check_pages(findings);
    if (patient->size.weight_count == 0 && patient->role != ROLE_COORDINATOR) {
        findings_say(findings, FAMILY_MEMORY, FINDING_UNCHECKED,
                     "whether memory suffices: the model's size is not known here; %s %s",
                     bytes_text(there, there_text), of_what);
        findings_why(findings, "It follows from the data, which only workers need to have, or "
                               "from a run.");
        return;
    }
    bytes_text(need, need_text);
    bytes_text(there, there_text);
    /* What is running already has taken its part. */
    bool is_enough = need <= there + here.rss_bytes;
    findings_say(findings, FAMILY_MEMORY, is_enough ? FINDING_OK : FINDING_WARNING,
                 "up to %s needed, %s %s%s%s", need_text, there_text, of_what,
                 here.rss_bytes ? ", and the run has " : "",
                 here.rss_bytes ? bytes_text(here.rss_bytes, held_text) : "");
    if (is_enough)
        return;
    findings_why(findings, "When it runs out the system kills a process; a killed worker's lanes "
                           "go to others, a server's blocks to a copy or a checkpoint.");
    findings_do(findings, "More servers share the weights; less exchange.credit_bytes, "
                          "data.memory_bytes or worker.threads take less.");
}
