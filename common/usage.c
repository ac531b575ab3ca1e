#include "common/usage.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
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

double usage_age_s(void)
{
    char text[1024];
    unsigned long long ticks;
    struct timespec now;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return 0.0;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *name_end = strrchr(text, ')'); /* field 2; the name may have blanks and brackets */
    if (name_end == NULL || clock_gettime(CLOCK_BOOTTIME, &now) != 0 ||
        sscanf(name_end + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ticks) != 1)
        return 0.0;
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9 -
           (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void usage_host(char *name_out, size_t size_bytes)
{
    char name[HOST_NAME_MAX + 1] = ""; /* gethostname does not cut, it fails */
    if (gethostname(name, sizeof(name)) != 0)
        snprintf(name, sizeof(name), "unknown");
    snprintf(name_out, size_bytes, "%s", name);
}
