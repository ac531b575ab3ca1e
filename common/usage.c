#include "common/usage.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    int found = fscanf(file, "%llu %llu", &total, &resident);
    fclose(file);
    return found == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

struct usage usage_now(void)
{
    struct rusage self;
    struct usage usage = {.rss_bytes = resident_bytes()};
    if (getrusage(RUSAGE_SELF, &self) == 0) {
        usage.peak_rss_bytes = (uint64_t)self.ru_maxrss * 1024;
        usage.cpu_us = microseconds(self.ru_utime) + microseconds(self.ru_stime);
    }
    return usage;
}

void usage_host(char *name_out, size_t size_bytes)
{
    char name[HOST_NAME_MAX + 1] = ""; /* gethostname does not cut, it fails */
    if (gethostname(name, sizeof(name)) != 0)
        snprintf(name, sizeof(name), "unknown");
    snprintf(name_out, size_bytes, "%s", name);
}
