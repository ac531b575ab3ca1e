#include "deploy/doctor/load.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 8, STEAL = 7, IDLE = 3, IOWAIT = 4 };

/* Ticks of each kind, over the cores of the set. */
static bool read_ticks(const cpu_set_t *set, unsigned long long ticks[FIELDS])
{
    char line[512];
    FILE *file = fopen("/proc/stat", "re");
    bool is_any = false;
    memset(ticks, 0, FIELDS * sizeof(*ticks));
    while (file && fgets(line, sizeof(line), file)) {
        char *at = line + 3;
        if (strncmp(line, "cpu", 3) != 0 || *at < '0' || *at > '9')
            continue;
        unsigned long core = strtoul(at, &at, 10);
        if (core >= CPU_SETSIZE || !CPU_ISSET(core, set))
            continue;
        for (int i = 0; i < FIELDS; i++)
            ticks[i] += strtoull(at, &at, 10);
        is_any = true;
    }
    if (file)
        fclose(file);
    return is_any;
}

/* The first of those that share a physical core counts for it. */
static unsigned count_physical(const cpu_set_t *set)
{
    unsigned count = 0;
    for (size_t core = 0; core < CPU_SETSIZE; core++) {
        char path[96], line[64] = "";
        if (!CPU_ISSET(core, set))
            continue;
        snprintf(path, sizeof(path),
                 "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", core);
        FILE *file = fopen(path, "re");
        if (!file || !fgets(line, sizeof(line), file)) {
            if (file)
                fclose(file);
            return 0;
        }
        fclose(file);
        size_t first = strtoul(line, NULL, 10);
        count += first == core || first >= CPU_SETSIZE || !CPU_ISSET(first, set);
    }
    return count;
}

static double read_average(void)
{
    double averages[1];
    return getloadavg(averages, 1) == 1 ? averages[0] : -1;
}

struct load load_measure(unsigned window_ms)
{
    cpu_set_t set;
    unsigned long long before[FIELDS], after[FIELDS], all = 0;
    long machine_count = sysconf(_SC_NPROCESSORS_ONLN);
    struct load load = {.busy = -1, .average = read_average()};
    load.machine_count = machine_count > 0 ? (unsigned)machine_count : 1;
    load.core_count = load.machine_count;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return load;
    load.core_count = (unsigned)CPU_COUNT(&set);
    load.physical_count = count_physical(&set);
    struct timespec window = {.tv_sec = window_ms / 1000,
                              .tv_nsec = (long)(window_ms % 1000) * 1000000};
    if (!read_ticks(&set, before) || nanosleep(&window, NULL) != 0 || !read_ticks(&set, after))
        return load;
    for (int i = 0; i < FIELDS; i++)
        all += after[i] - before[i];
    if (all == 0)
        return load;
    unsigned long long idle = after[IDLE] - before[IDLE] + after[IOWAIT] - before[IOWAIT];
    load.stolen = (double)(after[STEAL] - before[STEAL]) / (double)all;
    load.busy = 1 - (double)idle / (double)all - load.stolen;
    return load;
}
