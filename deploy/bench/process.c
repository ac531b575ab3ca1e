#include "deploy/bench/process.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

double process_cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0.0;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* A line "VmHWM:   1234 kB" of its status. */
static uint64_t status_bytes(pid_t pid, const char *name)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    size_t length = strlen(name);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            sscanf(line + length + 1, "%llu", &kib);
    fclose(file);
    return kib * 1024;
}

uint64_t process_rss_bytes(pid_t pid)
{
    return status_bytes(pid, "VmRSS");
}

uint64_t process_peak_rss_bytes(pid_t pid)
{
    return status_bytes(pid, "VmHWM");
}
