#include "deploy/doctor/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first line of a file of the group; false when it is not there. */
static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return false;
    FILE *file = fopen(path, "re");
    bool is_read = file && fgets(line, (int)size, file);
    if (file)
        fclose(file);
    return is_read;
}

/* The number behind a word in a file of lines "word number"; 0: none. */
static uint64_t read_count(const char *folder, const char *name, const char *word)
{
    char path[PATH_MAX], line[256];
    size_t length = strlen(word);
    uint64_t count = 0;
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, word, length) == 0 && line[length] == ' ')
            count = strtoull(line + length, NULL, 10);
    if (file)
        fclose(file);
    return count;
}

/* Version 1 says "no limit" with a number near 2^63. */
static uint64_t read_bytes(const char *folder, const char *name)
{
    char line[64];
    if (!read_line(folder, name, line, sizeof(line)) || strncmp(line, "max", 3) == 0)
        return 0;
    uint64_t bytes = strtoull(line, NULL, 10);
    return bytes > (uint64_t)1 << 60 ? 0 : bytes;
}

static void note_memory(struct cgroup *group, const char *folder, uint64_t limit_bytes,
                        const char *used_name)
{
    if (limit_bytes == 0 || (group->memory_bytes != 0 && group->memory_bytes <= limit_bytes))
        return;
    uint64_t used = read_bytes(folder, used_name);
    uint64_t cache = read_count(folder, "memory.stat", "inactive_file");
    group->memory_bytes = limit_bytes;
    group->used_bytes = used > cache ? used - cache : 0;
}

static void note_cores(struct cgroup *group, const char *folder, double quota, double period)
{
    if (quota <= 0 || period <= 0 || (group->cores > 0 && group->cores <= quota / period))
        return;
    group->cores = quota / period;
    group->throttled_count = read_count(folder, "cpu.stat", "nr_throttled");
    group->period_count = read_count(folder, "cpu.stat", "nr_periods");
}

static void read_v2(struct cgroup *group, const char *folder)
{
    char line[64];
    double quota, period;
    note_memory(group, folder, read_bytes(folder, "memory.max"), "memory.current");
    if (read_line(folder, "cpu.max", line, sizeof(line)) &&
        sscanf(line, "%lf %lf", &quota, &period) == 2)
        note_cores(group, folder, quota, period);
}

static void read_v1_memory(struct cgroup *group, const char *folder)
{
    note_memory(group, folder, read_bytes(folder, "memory.limit_in_bytes"),
                "memory.usage_in_bytes");
}

static void read_v1_cores(struct cgroup *group, const char *folder)
{
    char quota[64], period[64];
    if (read_line(folder, "cpu.cfs_quota_us", quota, sizeof(quota)) &&
        read_line(folder, "cpu.cfs_period_us", period, sizeof(period)))
        note_cores(group, folder, strtod(quota, NULL), strtod(period, NULL));
}

/* The group and all above it, up to where they are mounted. */
static void walk(struct cgroup *group, const char *mount, const char *path,
                 void (*read)(struct cgroup *, const char *))
{
    char folder[PATH_MAX];
    size_t mount_length = strlen(mount);
    if (snprintf(folder, sizeof(folder), "%s%s", mount, path) >= (int)sizeof(folder))
        return;
    if (access(folder, F_OK) != 0 || strstr(path, ".."))
        folder[mount_length] = '\0';
    for (;;) {
        read(group, folder);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < mount_length)
            return;
        *slash = '\0';
    }
}

/* Whether a list "cpu,cpuacct" has the word. */
static bool has_word(const char *list, size_t length, const char *word)
{
    for (const char *at = list; at < list + length; at += strcspn(at, ",:") + 1)
        if (strcspn(at, ",:") == strlen(word) && strncmp(at, word, strlen(word)) == 0)
            return true;
    return false;
}

struct cgroup cgroup_read(const char *root, const char *self)
{
    struct cgroup group = {0};
    char mount[PATH_MAX], path[PATH_MAX];
    for (const char *line = self; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *list = strchr(line, ':'), *end = list ? strchr(list + 1, ':') : NULL;
        size_t line_length = strcspn(line, "\n");
        if (!end || (size_t)(end - line) > line_length)
            continue;
        list++;
        snprintf(path, sizeof(path), "%.*s", (int)(line + line_length - end - 1), end + 1);
        if (strcmp(path, "/") == 0)
            path[0] = '\0';
        if (end == list) {
            walk(&group, root, path, read_v2);
            continue;
        }
        snprintf(mount, sizeof(mount), "%s/memory", root);
        if (has_word(list, (size_t)(end - list), "memory"))
            walk(&group, mount, path, read_v1_memory);
        snprintf(mount, sizeof(mount), "%s/cpu", root);
        if (has_word(list, (size_t)(end - list), "cpu"))
            walk(&group, mount, path, read_v1_cores);
    }
    return group;
}

struct cgroup cgroup_own(void)
{
    char self[16384] = "";
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t length = file ? fread(self, 1, sizeof(self) - 1, file) : 0;
    self[length] = '\0';
    if (file)
        fclose(file);
    return cgroup_read("/sys/fs/cgroup", self);
}
