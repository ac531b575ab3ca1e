/* failover - kills servers of a run and measures how long it is until the next finished step.
 *
 *   bench_failover ENDPOINT KILLS SEED
 *
 * Each time all blocks have a copy, a random server that is primary of some is killed by its
 * process id, and the coordinator is asked every two milliseconds until it has noticed (the view is
 * another) and the run is a step further than it was then, and two further than before the kill:
 * what was under way by then does not count.
 * A line a kill: milliseconds, rank, step.  It ends after so many kills, or near the end of the
 * run.  Code 1 and a sentence when the run stands still, or went back to a checkpoint. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "deploy/status_client.h"

enum { LOOK_MS = 2, ANSWER_MS = 200, STUCK_MS = 30000, RANKS_MAX = 64 };

/* `talweg train` gives up a process that is killed five times in a row within 10 s of its start. */
enum { YOUNG_MS = 11000, YOUNG_MAX = 3 };

struct bench {
    struct status_client *client;
    uint64_t era, view;            /* before the kill */
    double killed_ms[RANKS_MAX];   /* when last */
    unsigned young_kills[RANKS_MAX]; /* in a row */
};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void nap(void)
{
    usleep(LOOK_MS * 1000);
}

/* The newest status, which the caller destroys; NULL when none comes. */
static struct document *look(struct bench *bench)
{
    struct document *status = NULL;
    double end = now_ms() + STUCK_MS;
    while (!status && now_ms() < end) {
        if (status_client_ask(bench->client) < 0 ||
            status_client_wait(bench->client, -1, ANSWER_MS, &status, NULL) < 0)
            nap();
    }
    return status;
}

static bool is_young(const struct bench *bench, uint64_t rank)
{
    return bench->killed_ms[rank] > 0 && now_ms() - bench->killed_ms[rank] < YOUNG_MS;
}

/* A server that has blocks and may be killed once more; NULL when there is none just now. */
static const struct document *choose(const struct bench *bench, const struct document *status)
{
    const struct document *servers = document_get(status, "servers"), *found[RANKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < document_count(servers) && count < RANKS_MAX; i++) {
        const struct document *server = document_at(servers, i);
        uint64_t rank = status_whole(server, "rank");
        bool is_lost = strcmp(status_text(server, "state", ""), "lost") == 0;
        if (!is_lost && status_whole(server, "primary_blocks") > 0 && rank < RANKS_MAX &&
            !(bench->young_kills[rank] >= YOUNG_MAX && is_young(bench, rank)))
            found[count++] = server;
    }
    return count == 0 ? NULL : found[(size_t)rand() % count];
}

static bool is_ready(const struct document *status)
{
    bool is_protected = false;
    return strcmp(status_text(status, "phase", ""), "training") == 0 &&
           document_get_truth(status, "protected", &is_protected, NULL) == 0 && is_protected;
}

/* Some steps, so that the kill's effects are over before the job is. */
static bool is_near_end(const struct document *status)
{
    uint64_t step_count = status_whole(status, "steps");
    return step_count > 0 && status_whole(status, "step") + step_count / 20 > step_count;
}

/* Waits until a kill would cost nothing.  NULL with *is_over_out: the run is about to end. */
static struct document *wait_ready(struct bench *bench, bool *is_over_out)
{
    double end = now_ms() + STUCK_MS;
    *is_over_out = false;
    while (now_ms() < end) {
        struct document *status = look(bench);
        *is_over_out = status && is_near_end(status);
        if (!status || *is_over_out) {
            document_destroy(status);
            return NULL;
        }
        if (is_ready(status) && choose(bench, status))
            return status;
        document_destroy(status);
        nap();
    }
    return NULL;
}

/* 0 when the loss was noticed and the run is past a step since; fails when it took another era. */
static int wait_past(struct bench *bench, uint64_t step)
{
    double end = now_ms() + STUCK_MS;
    bool is_noticed = false;
    while (now_ms() < end) {
        struct document *status = look(bench);
        uint64_t now_step = status_whole(status, "step"), era = status_whole(status, "era");
        bool is_new = !is_noticed && status_whole(status, "view") != bench->view;
        bool is_answered = status != NULL;
        document_destroy(status);
        if (!is_answered)
            break;
        if (era != bench->era) {
            fprintf(stderr, "failover: the run went back to a checkpoint at step %llu\n",
                    (unsigned long long)step);
            return 1;
        }
        if (is_noticed && now_step > step)
            return 0;
        if (is_new) {
            is_noticed = true;
            step = now_step > step ? now_step : step;
        }
        nap();
    }
    fprintf(stderr, "failover: the run stands still at step %llu\n", (unsigned long long)step);
    return 1;
}

static int kill_one(struct bench *bench, const struct document *status)
{
    const struct document *server = choose(bench, status);
    uint64_t rank = status_whole(server, "rank"), step = status_whole(status, "step");
    bench->era = status_whole(status, "era");
    bench->view = status_whole(status, "view");
    bench->young_kills[rank] = is_young(bench, rank) ? bench->young_kills[rank] + 1 : 0;
    double begin_ms = now_ms();
    bench->killed_ms[rank] = begin_ms;
    if (kill((pid_t)status_whole(server, "pid"), SIGKILL) != 0) {
        perror("failover: kill");
        return 1;
    }
    if (wait_past(bench, step + 1) != 0)
        return 1;
    printf("%.1f %llu %llu\n", now_ms() - begin_ms, (unsigned long long)rank,
           (unsigned long long)step);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct err_msg why = {0};
    if (argc != 4) {
        fputs("Usage: bench_failover ENDPOINT KILLS SEED\n", stderr);
        return 2;
    }
    if (status_client_open(argv[1], NULL, &bench.client, &why) < 0) {
        fprintf(stderr, "failover: %s\n", why.text);
        return 1;
    }
    srand((unsigned)atoi(argv[3]));
    int code = 0, kills = atoi(argv[2]);
    bool is_over = false;
    while (code == 0 && kills-- > 0) {
        struct document *status = wait_ready(&bench, &is_over);
        if (!status)
            break;
        code = kill_one(&bench, status);
        document_destroy(status);
    }
    if (code == 0 && kills >= 0 && !is_over) {
        fputs("failover: no server can be killed: not every block has a copy\n", stderr);
        code = 1;
    }
    status_client_close(bench.client);
    return code;
}
