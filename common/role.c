#include "common/role.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "common/log.h"

/* The largest that glibc takes; and more than a server has on its way from several workers. */
enum { MMAP_BYTES = 32 << 20, TRIM_BYTES = 256 << 20 };

/* ZeroMQ takes memory for each message that it receives.  Without this, blocks come as fresh
 * pages from the system and go back to it (tests/bench/README.md, Exchange). */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
}

int role_begin(const struct launch *launch, const struct settings *settings, struct err_msg *why)
{
    int fd = STDERR_FILENO;
    struct rlimit space;
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is an error to tell of, not an end */
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        mallopt(M_ARENA_MAX, 1); /* each further heap would reserve 64 MiB of it */
    keep_memory();
    if (launch->log != NULL)
        fd = open(launch->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(why, ERR_IO, "cannot open the log %s: %s", launch->log, strerror(errno));
    log_open(fd, (enum log_level)settings->log.level, launch_role_name(launch->role),
             launch->rank);
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
