#include "deploy/bench/pair.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "deploy/bench/process.h"

int pair_start(void (*child)(void *ctx), void *ctx, pid_t *pid_out, struct err_msg *why)
{
    fflush(NULL); /* what is buffered is printed once */
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_set(why, ERR_IO, "no process can be started: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            child(ctx);
        _exit(0);
    }
    *pid_out = pid;
    return 0;
}

void pair_end(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static double both_cpu_s(pid_t pid)
{
    return (double)clock_cpu_us() / 1e6 + (pid == 0 ? 0.0 : process_cpu_s(pid));
}

/* Moves for at least us; how many bytes in how many is told. */
static int move_for(int (*move)(void *ctx, uint64_t *bytes), void *ctx, uint64_t us,
                    uint64_t *bytes_out, uint64_t *us_out)
{
    uint64_t begin_us = clock_now_us(), gone_us = 0, bytes = 0;
    int err = 0;
    while (err == 0 && gone_us < us) {
        err = move(ctx, &bytes);
        gone_us = clock_now_us() - begin_us;
    }
    *bytes_out = bytes;
    *us_out = gone_us;
    return err;
}

int pair_sample(int (*move)(void *ctx, uint64_t *bytes), void *ctx, pid_t pid,
                struct limit_samples *samples)
{
    uint64_t bytes, us;
    int err = move_for(move, ctx, PAIR_WARM_US, &bytes, &us);
    for (int i = 0; i < PAIR_SAMPLES && err == 0; i++) {
        if (samples->count == LIMIT_SAMPLES_MAX)
            return ERR_FULL;
        double cpu_s = both_cpu_s(pid);
        err = move_for(move, ctx, PAIR_SAMPLE_US, &bytes, &us);
        double gb = (double)bytes / 1e9;
        samples->gbs[samples->count] = gb * 1e6 / (double)us;
        samples->cpu_s_per_gb[samples->count] = (both_cpu_s(pid) - cpu_s) / gb;
        samples->count += err == 0;
    }
    return err;
}
