#include "common/role.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "common/log.h"

enum { IO_THREADS_MAX = 8 };

/* The largest that glibc takes; and more than a server has on its way from several workers. */
enum { MMAP_BYTES = 32 << 20, TRIM_BYTES = 256 << 20 };

/* ZeroMQ takes memory for each message that it receives.  Without this, blocks come as fresh
 * pages from the system and go back to it (tests/bench/README.md, Exchange). */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
}

/* A descriptor for each peer, and for those who only try to be one: 1,024, which many systems begin
 * with, are soon used up, and more are for the asking. */
static void take_descriptors(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

int role_begin(const struct launch *launch, const struct settings *settings, struct err_msg *why)
{
    int fd = STDERR_FILENO;
    struct rlimit space;
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is an error to tell of, not an end */
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        mallopt(M_ARENA_MAX, 1); /* each further heap would reserve 64 MiB of it */
    keep_memory();
    take_descriptors();
    if (launch->log != NULL)
        fd = open(launch->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(why, ERR_IO, "cannot open the log %s: %s", launch->log, strerror(errno));
    log_open(fd, (enum log_level)settings->log.level, launch_role_name(launch->role),
             launch->rank);
    return 0;
}

static enum key_role key_role_of(enum launch_role role)
{
    static const enum key_role roles[] = {[LAUNCH_COORDINATOR] = KEY_COORDINATOR,
                                          [LAUNCH_SERVER] = KEY_SERVER,
                                          [LAUNCH_WORKER] = KEY_WORKER};
    return roles[role];
}

/* Encryption is done by the thread that moves the bytes, about 1 GB/s each: a shard's connections
 * get one of their own where there is a core for it.  Without keys one thread moves more than a
 * network brings. */
static int count_io_threads(const struct launch *launch, const struct settings *settings)
{
    cpu_set_t cores;
    uint32_t wanted = settings->cluster.shards;
    if (launch->role == LAUNCH_COORDINATOR)
        return 1;
    if (launch->role == LAUNCH_WORKER)
        wanted *= settings->cluster.servers;
    int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    if (count > IO_THREADS_MAX)
        count = IO_THREADS_MAX;
    return wanted < (uint32_t)count ? (int)wanted : count;
}

int role_open_transport(const struct launch *launch, const struct settings *settings,
                        struct transport **transport_out, struct err_msg *why)
{
    struct keyring *ring = NULL;
    const char *folder = settings->cluster.keys;
    if (folder[0] != '\0') {
        int err = keyring_open(folder, key_role_of(launch->role), launch->rank, &ring, why);
        if (err != 0)
            return err;
        log_event(LOG_INFO, "keys", "own=%s allowed=%zu", keyring_own(ring)->name,
                  keyring_allowed_count(ring));
    }
    int err = transport_create(ring == NULL ? 1 : count_io_threads(launch, settings),
                               transport_out);
    if (err != 0) {
        keyring_close(ring);
        return err_set(why, err, "cannot start ZeroMQ: %s", err_text(err));
    }
    if (ring != NULL)
        transport_use_keys(*transport_out, ring);
    return 0;
}

int role_end(const struct launch *launch, int err, const struct err_msg *why)
{
    if (err == 0) {
        log_event(LOG_INFO, "exit", "code=0");
        return 0;
    }
    const char *text = why->text[0] != 0 ? why->text : err_text(err);
    char quoted[1200];
    log_event(LOG_ERROR, "exit", "code=1 why=%s", log_quote(quoted, sizeof(quoted), text));
    fprintf(stderr, "talweg-%s: %s\n", launch_role_name(launch->role), text);
    return 1;
}
