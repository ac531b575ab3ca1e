#include "deploy/local_cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the others are waited for.  A process that was killed leaves nothing to explain, and
 * those that wait for it cannot finish: they are ended at once. */
enum { SAY_WHY_MS = 2000, KILLED_MS = 100, LEAVE_MS = 1500, END_MS = 600 };

/* A coordinator that is being started again may not hear the first time that it is to stop. */
enum { STOP_AGAIN_MS = 500 };

/* A process that is killed so soon after its start, so often in a row, would be killed for ever. */
enum { SOON_MS = 10000, SOON_MAX = 5 };

enum { COORDINATOR_IDX = 0, ARGUMENT_BYTES = PATH_MAX + 32, FIXED_ARGUMENTS = 24 };

/* The starts of one child. */
struct life {
    uint64_t start_ms;   /* of the last */
    unsigned soon_count; /* killed soon after it, in a row */
};

struct cluster {
    struct cluster_spec spec;
    struct children *children; /* the coordinator, then servers, then workers */
    enum cluster_phase phase;
    uint64_t deadline_ms; /* of the phase; 0: none */
    char endpoint[PATH_MAX + 8];
    bool has_stopped;           /* the coordinator was asked to stop */
    bool has_ended_itself;      /* the coordinator failed, and not because it was told to end */
    const struct child *failed; /* the one to blame; NULL: none */
    unsigned restart_count;
    struct life lives[]; /* [children] */
};

/* One command line under construction.  Texts made here are its own. */
struct command_line {
    char **arguments; /* NULL-terminated */
    size_t count, count_max;
    bool is_short_of_memory;
};

static void add(struct command_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct command_line *line, const char *format, ...)
{
    char *argument = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&argument, format, args);
    va_end(args);
    if (length < 0 || line->count + 1 >= line->count_max) {
        if (length >= 0)
            free(argument);
        line->is_short_of_memory = true;
        return;
    }
    line->arguments[line->count++] = argument;
}

static void line_free(struct command_line *line)
{
    for (size_t i = 0; i < line->count; i++)
        free(line->arguments[i]);
    free(line->arguments);
}

/* The folder of this very executable: its roles lie beside it. */
static int own_folder(char out[PATH_MAX], struct err_msg *why)
{
    ssize_t length = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (length <= 0)
        return err_set(why, ERR_IO, "/proc/self/exe: cannot be read: %s", strerror(errno));
    out[length] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    return 0;
}

/* What all roles are told, behind words: the program, and what it is told before all else. */
static int begin_line(const struct cluster_spec *spec, const char *const *words, size_t word_count,
                      struct command_line *line, struct err_msg *why)
{
    char folder[PATH_MAX];
    *line = (struct command_line){.count_max = FIXED_ARGUMENTS + word_count + 2 * spec->set_count};
    int code = own_folder(folder, why);
    if (code < 0)
        return code;
    line->arguments = calloc(line->count_max, sizeof(*line->arguments));
    if (!line->arguments)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    add(line, "%s/%s", folder, words[0]);
    for (size_t i = 1; i < word_count; i++)
        add(line, "%s", words[i]);
    add(line, "%s", spec->job_path);
    add(line, "--servers=%u", spec->server_count);
    add(line, "--workers=%u", spec->worker_count);
    for (size_t i = 0; i < spec->set_count; i++)
        add(line, "--set=%s", spec->sets[i]);
    return 0;
}

/* Coordinator, servers, workers: the order of the children. */
static void name_child(const struct cluster *cluster, size_t idx, char out[CHILD_NAME_BYTES])
{
    size_t server_count = cluster->spec.server_count;
    if (idx == COORDINATOR_IDX)
        snprintf(out, CHILD_NAME_BYTES, "coordinator");
    else if (idx <= server_count)
        snprintf(out, CHILD_NAME_BYTES, "server %zu", idx - 1);
    else
        snprintf(out, CHILD_NAME_BYTES, "worker %zu", idx - 1 - server_count);
}

/* Of "worker 3": the log is OUT/log/worker-3.log, what it prints OUT/log/worker-3.out. */
static void name_file(const struct cluster *cluster, size_t idx, char out[CHILD_NAME_BYTES])
{
    name_child(cluster, idx, out);
    char *space = strchr(out, ' ');
    if (space)
        *space = '-';
}

/* Whether the coordinator has come so far that it is found: then the journal is of this run. */
static bool has_begun(const struct cluster *cluster)
{
    char path[PATH_MAX];
    run_folder_path(cluster->spec.folder, path, "run.json");
    return access(path, F_OK) == 0;
}

static void add_coordinator_arguments(const struct cluster *cluster, struct command_line *line)
{
    add(line, "--bind=%s", cluster->endpoint);
    add(line, "--out=%s", cluster->spec.folder->out);
    if (cluster->spec.resume)
        add(line, "--resume=%s", cluster->spec.resume);
    if (!has_begun(cluster))
        add(line, "--fresh");
}

static void add_member_arguments(const struct cluster *cluster, size_t idx, unsigned start_count,
                                 struct command_line *line)
{
    bool is_server = idx <= cluster->spec.server_count;
    size_t rank = idx - 1 - (is_server ? 0 : cluster->spec.server_count);
    add(line, "--coordinator=%s", cluster->endpoint);
    add(line, "--rank=%zu", rank);
    /* A socket of its own for each life: nobody reaches the next one with what was meant for the
     * one before. */
    if (is_server && cluster->spec.is_tcp)
        add(line, "--bind=tcp://127.0.0.1:0");
    else if (is_server)
        add(line, "--bind=ipc://%s/server-%zu.%u", cluster->spec.folder->sockets, rank,
            start_count);
}

/* The command line of the next start of child idx; line_free it even on failure. */
static int make_line(const struct cluster *cluster, size_t idx, unsigned start_count,
                     struct command_line *line, struct err_msg *why)
{
    char file[CHILD_NAME_BYTES], log_path[PATH_MAX];
    const struct cluster_spec *spec = &cluster->spec;
    const char *program = idx == COORDINATOR_IDX     ? "talweg-coordinator"
                          : idx <= spec->server_count ? "talweg-ps"
                                                      : "talweg-worker";
    bool has_words = idx > spec->server_count && spec->worker_word_count > 0;
    int code = begin_line(spec, has_words ? spec->worker_words : &program,
                          has_words ? spec->worker_word_count : 1, line, why);
    if (code < 0)
        return code;
    if (idx == COORDINATOR_IDX)
        add_coordinator_arguments(cluster, line);
    else
        add_member_arguments(cluster, idx, start_count, line);
    name_file(cluster, idx, file);
    run_folder_path(cluster->spec.folder, log_path, "log/%s.log", file);
    add(line, "--log=%s", log_path);
    return line->is_short_of_memory ? err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM)) : 0;
}

static int start_first(struct cluster *cluster, size_t idx, uint64_t now_ms, struct err_msg *why)
{
    struct command_line line;
    char name[CHILD_NAME_BYTES], file[CHILD_NAME_BYTES], said_path[PATH_MAX];
    name_child(cluster, idx, name);
    name_file(cluster, idx, file);
    run_folder_path(cluster->spec.folder, said_path, "log/%s.out", file);
    int code = make_line(cluster, idx, 0, &line, why);
    if (code == 0)
        code = children_spawn(cluster->children, name, line.arguments, said_path, why);
    line_free(&line);
    cluster->lives[idx].start_ms = now_ms;
    return code;
}

static int start_again(struct cluster *cluster, size_t idx, uint64_t now_ms, struct err_msg *why)
{
    struct command_line line;
    unsigned start_count = children_at(cluster->children, idx)->start_count;
    int code = make_line(cluster, idx, start_count, &line, why);
    if (code == 0)
        code = children_respawn(cluster->children, idx, line.arguments, why);
    line_free(&line);
    cluster->lives[idx].start_ms = now_ms;
    return code;
}

int cluster_start(const struct cluster_spec *spec, uint64_t now_ms, struct cluster **cluster_out,
                  struct err_msg *why)
{
    size_t count = 1 + (size_t)spec->server_count + spec->worker_count;
    struct cluster *cluster = calloc(1, sizeof(*cluster) + count * sizeof(cluster->lives[0]));
    if (!cluster)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    cluster->spec = *spec;
    snprintf(cluster->endpoint, sizeof(cluster->endpoint), "ipc://%s/coordinator",
             spec->folder->sockets);
    /* OpenBLAS would start threads, with buffers, as it is loaded; workers have their own. */
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    int code = children_create(count, &cluster->children);
    if (code < 0)
        err_set(why, code, "%s", err_text(code));
    for (size_t idx = 0; code == 0 && idx < count; idx++)
        code = start_first(cluster, idx, now_ms, why);
    if (code < 0)
        cluster_destroy(cluster);
    else
        *cluster_out = cluster;
    return code;
}

void cluster_destroy(struct cluster *cluster)
{
    if (!cluster)
        return;
    children_destroy(cluster->children);
    free(cluster);
}

const struct children *cluster_children(const struct cluster *cluster)
{
    return cluster->children;
}

const char *cluster_endpoint(const struct cluster *cluster)
{
    return cluster->endpoint;
}

static void enter(struct cluster *cluster, enum cluster_phase phase, uint64_t deadline_ms)
{
    cluster->phase = phase;
    cluster->deadline_ms = deadline_ms;
}

static void ask_to_stop(struct cluster *cluster, uint64_t now_ms)
{
    if (now_ms - cluster->lives[COORDINATOR_IDX].start_ms >= STOP_AGAIN_MS)
        children_signal(cluster->children, COORDINATOR_IDX, SIGTERM);
    enter(cluster, CLUSTER_STOPPING, now_ms + STOP_AGAIN_MS);
}

/* A process that was killed explains those that then missed it; after that, the first that failed
 * explains the others, and a member knows more of its own fault than the coordinator. */
static bool explains_more(const struct cluster *cluster, const struct child *child)
{
    const struct child *coordinator = children_at(cluster->children, COORDINATOR_IDX);
    if (!cluster->failed)
        return true;
    if (WIFSIGNALED(cluster->failed->wait_status))
        return false;
    return WIFSIGNALED(child->wait_status) || cluster->failed == coordinator;
}

static void fail(struct cluster *cluster, const struct child *child, uint64_t now_ms)
{
    if (explains_more(cluster, child))
        cluster->failed = child;
    if (child == children_at(cluster->children, COORDINATOR_IDX))
        cluster->has_ended_itself = true;
    if (WIFSIGNALED(child->wait_status))
        enter(cluster, CLUSTER_FAILING, now_ms + KILLED_MS);
    else if (cluster->phase != CLUSTER_FAILING)
        enter(cluster, CLUSTER_FAILING, now_ms + SAY_WHY_MS);
}

/* What a killed process is followed by, while the run goes on: its next life, or nothing when that
 * would end like the ones before.  Without a coordinator there is no run. */
static void follow(struct cluster *cluster, size_t idx, uint64_t now_ms)
{
    struct life *life = &cluster->lives[idx];
    const struct child *child = children_at(cluster->children, idx);
    struct err_msg why = {0};
    char end[1200], sentence[1536];
    child_why(child, end, sizeof(end));
    int pid = (int)child->pid;
    life->soon_count = now_ms - life->start_ms < SOON_MS ? life->soon_count + 1 : 0;
    bool is_lost = life->soon_count >= SOON_MAX;
    if (is_lost) {
        snprintf(sentence, sizeof(sentence),
                 "%s (process %d) %s; not started again: that was the %dth time in a row within "
                 "%d s of its start",
                 child->name, pid, end, SOON_MAX, SOON_MS / 1000);
    } else if (start_again(cluster, idx, now_ms, &why) < 0) {
        is_lost = true;
        snprintf(sentence, sizeof(sentence), "%s (process %d) %s; not started again: %s",
                 child->name, pid, end, why.text);
    } else {
        cluster->restart_count++;
        snprintf(sentence, sizeof(sentence), "%s (process %d) %s; started again as process %d",
                 child->name, pid, end, (int)child->pid);
    }
    cluster->spec.say(cluster->spec.say_context, sentence, is_lost);
    if (is_lost && idx == COORDINATOR_IDX)
        fail(cluster, child, now_ms);
}

static void note_end(struct cluster *cluster, const struct child *child, uint64_t now_ms)
{
    const struct child *coordinator = children_at(cluster->children, COORDINATOR_IDX);
    bool is_killed = WIFSIGNALED(child->wait_status), is_fine = child_is_fine(child);
    bool is_over = cluster->phase == CLUSTER_ENDING || cluster->phase == CLUSTER_KILLING ||
                   (cluster->phase == CLUSTER_LEAVING && is_killed);
    /* Stopped as asked, every role ends with the code of a job that is not done. */
    bool is_stopped = cluster->has_stopped && !is_killed;
    if (is_stopped && !is_fine && explains_more(cluster, child))
        cluster->failed = child;
    if (is_killed && cluster->phase <= CLUSTER_STOPPING)
        follow(cluster, (size_t)(child - coordinator), now_ms);
    else if (!is_fine && !is_over && !is_stopped)
        fail(cluster, child, now_ms);
    else if (child == coordinator && cluster->phase <= CLUSTER_STOPPING)
        enter(cluster, CLUSTER_LEAVING, now_ms + LEAVE_MS);
}

static void move_on(struct cluster *cluster, uint64_t now_ms)
{
    if (cluster->deadline_ms == 0 || now_ms < cluster->deadline_ms)
        return;
    if (cluster->phase == CLUSTER_STOPPING) {
        ask_to_stop(cluster, now_ms);
        return;
    }
    if (cluster->phase == CLUSTER_FAILING) {
        children_signal_all(cluster->children, SIGTERM);
        enter(cluster, CLUSTER_ENDING, now_ms + END_MS);
    } else { /* without a coordinator, nothing that the others hold is of use */
        children_signal_all(cluster->children, SIGKILL);
        enter(cluster, CLUSTER_KILLING, 0);
    }
}

bool cluster_tick(struct cluster *cluster, uint64_t now_ms)
{
    const struct child *child;
    while ((child = children_reap(cluster->children)))
        note_end(cluster, child, now_ms);
    move_on(cluster, now_ms);
    return children_running(cluster->children) > 0;
}

void cluster_interrupt(struct cluster *cluster, uint64_t now_ms)
{
    if (cluster->phase == CLUSTER_RUNNING) {
        children_signal(cluster->children, COORDINATOR_IDX, SIGTERM);
        cluster->has_stopped = true;
        enter(cluster, CLUSTER_STOPPING, now_ms + STOP_AGAIN_MS);
    } else if (cluster->phase != CLUSTER_LEAVING) {
        children_signal_all(cluster->children, SIGKILL);
        enter(cluster, CLUSTER_KILLING, 0);
    }
}

enum cluster_phase cluster_phase(const struct cluster *cluster)
{
    return cluster->phase;
}

unsigned cluster_restart_count(const struct cluster *cluster)
{
    return cluster->restart_count;
}

bool cluster_blame(const struct cluster *cluster, char *out, size_t out_bytes)
{
    char why[1200];
    if (!cluster->failed)
        return false;
    child_why(cluster->failed, why, sizeof(why));
    snprintf(out, out_bytes, "%s (process %d) %s", cluster->failed->name, (int)cluster->failed->pid,
             why);
    return true;
}

bool cluster_has_ended_itself(const struct cluster *cluster)
{
    return cluster->has_ended_itself && !WIFSIGNALED(cluster->failed->wait_status);
}
