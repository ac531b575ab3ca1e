#ifndef DEPLOY_DOCTOR_CGROUP_H
#define DEPLOY_DOCTOR_CGROUP_H

/* cgroup - what the system's control groups let this process have: version 2, or memory and cpu of
 * version 1.
 *
 * Owner:    the caller.  Thread: any.  Memory: none.
 * Source:   the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst;
 *           cgroups(7), cgroup_namespaces(7).
 * Surprise: in a container the process's path may not exist below the mount; then the mount itself
 *           is its group.
 */
#include <stdbool.h>
#include <stdint.h>

struct cgroup {
    double cores;          /* cpu.max, the least on the way up; 0: no limit */
    uint64_t memory_bytes; /* memory.max, the least; 0: no limit */
    uint64_t used_bytes;   /* memory.current of the group with that limit, without its cache */
    uint64_t throttled_count, period_count; /* of the group with the cpu limit */
};

/* Of this process, as the system is. */
struct cgroup cgroup_own(void);

/* root: "/sys/fs/cgroup"; self: text of /proc/self/cgroup. */
struct cgroup cgroup_read(const char *root, const char *self);

#endif
