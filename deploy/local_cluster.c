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

enum { COORDINATOR_IDX = 0, ARGUMENT_BYTES = PATH_MAX + 32, FIXED_ARGUMENTS = 24 };

struct cluster {
    struct children *children; /* the coordinator, then servers, then workers */
    enum cluster_phase phase;
    uint64_t deadline_ms; /* of the phase; 0: none */
    char endpoint[PATH_MAX + 8];
    bool has_stopped;           /* the coordinator was asked to stop */
    bool has_ended_itself;      /* the coordinator failed, and not because it was told to end */
    const struct child *failed; /* the one to blame; NULL: none */
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

/* What all roles are told. */
static int begin_line(const struct cluster_spec *spec, const char *program,
                      struct command_line *line, struct err_msg *why)
{
    char folder[PATH_MAX];
    *line = (struct command_line){.count_max = FIXED_ARGUMENTS + 2 * spec->set_count};
    int code = own_folder(folder, why);
    if (code < 0)
        return code;
    line->arguments = calloc(line->count_max, sizeof(*line->arguments));
    if (!line->arguments)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    add(line, "%s/%s", folder, program);
    add(line, "%s", spec->job_path);
    add(line, "--servers=%u", spec->server_count);
    add(line, "--workers=%u", spec->worker_count);
    for (size_t i = 0; i < spec->set_count; i++)
        add(line, "--set=%s", spec->sets[i]);
    return 0;
}

/* name is "worker 3": its log is OUT/log/worker-3.log, what it prints OUT/log/worker-3.out. */
static int spawn(struct cluster *cluster, const struct cluster_spec *spec, const char *name,
                 struct command_line *line, struct err_msg *why)
{
    char file[CHILD_NAME_BYTES], said_path[PATH_MAX], log_path[PATH_MAX];
    snprintf(file, sizeof(file), "%s", name);
    for (char *c = file; *c; c++) {
        if (*c == ' ')
            *c = '-';
    }
    run_folder_path(spec->folder, log_path, "log/%s.log", file);
    run_folder_path(spec->folder, said_path, "log/%s.out", file);
    add(line, "--log=%s", log_path);
    int code = line->is_short_of_memory
                   ? err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM))
                   : children_spawn(cluster->children, name, line->arguments, said_path, why);
    line_free(line);
    return code;
}

static int start_coordinator(struct cluster *cluster, const struct cluster_spec *spec,
                             struct err_msg *why)
{
    struct command_line line;
    int code = begin_line(spec, "talweg-coordinator", &line, why);
    if (code < 0)
        return code;
    add(&line, "--bind=%s", cluster->endpoint);
    add(&line, "--out=%s", spec->folder->out);
    if (spec->resume)
        add(&line, "--resume=%s", spec->resume);
    return spawn(cluster, spec, "coordinator", &line, why);
}

static int start_member(struct cluster *cluster, const struct cluster_spec *spec, bool is_server,
                        uint32_t rank, struct err_msg *why)
{
    struct command_line line;
    char name[CHILD_NAME_BYTES];
    int code = begin_line(spec, is_server ? "talweg-ps" : "talweg-worker", &line, why);
    if (code < 0)
        return code;
    add(&line, "--coordinator=%s", cluster->endpoint);
    add(&line, "--rank=%u", rank);
    if (is_server)
        add(&line, "--bind=ipc://%s/server-%u", spec->folder->sockets, rank);
    snprintf(name, sizeof(name), "%s %u", is_server ? "server" : "worker", rank);
    return spawn(cluster, spec, name, &line, why);
}

int cluster_start(const struct cluster_spec *spec, struct cluster **cluster_out,
                  struct err_msg *why)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    if (!cluster)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    snprintf(cluster->endpoint, sizeof(cluster->endpoint), "ipc://%s/coordinator",
             spec->folder->sockets);
    /* OpenBLAS would start threads, with buffers, as it is loaded; workers have their own. */
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    size_t count = 1 + (size_t)spec->server_count + spec->worker_count;
    int code = children_create(count, &cluster->children);
    if (code < 0)
        err_set(why, code, "%s", err_text(code));
    else
        code = start_coordinator(cluster, spec, why);
    for (uint32_t rank = 0; code == 0 && rank < spec->server_count; rank++)
        code = start_member(cluster, spec, true, rank, why);
    for (uint32_t rank = 0; code == 0 && rank < spec->worker_count; rank++)
        code = start_member(cluster, spec, false, rank, why);
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

const char *cluster_endpoint(const struct cluster *cluster)
{
    return cluster->endpoint;
}

static void enter(struct cluster *cluster, enum cluster_phase phase, uint64_t deadline_ms)
{
    cluster->phase = phase;
    cluster->deadline_ms = deadline_ms;
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

static void note_end(struct cluster *cluster, const struct child *child, uint64_t now_ms)
{
    bool is_coordinator = child == children_at(cluster->children, COORDINATOR_IDX);
    bool is_expected = cluster->phase == CLUSTER_ENDING || cluster->phase == CLUSTER_KILLING;
    /* Stopped as asked, every role ends with the code of a job that is not done. */
    bool is_stopped = cluster->has_stopped && !WIFSIGNALED(child->wait_status);
    if (is_stopped && !child_is_fine(child) && explains_more(cluster, child))
        cluster->failed = child;
    if (!child_is_fine(child) && !is_expected && !is_stopped) {
        if (explains_more(cluster, child))
            cluster->failed = child;
        if (is_coordinator)
            cluster->has_ended_itself = true;
        if (WIFSIGNALED(child->wait_status))
            enter(cluster, CLUSTER_FAILING, now_ms + KILLED_MS);
        else if (cluster->phase != CLUSTER_FAILING)
            enter(cluster, CLUSTER_FAILING, now_ms + SAY_WHY_MS);
    } else if (is_coordinator && cluster->phase <= CLUSTER_STOPPING) {
        enter(cluster, CLUSTER_LEAVING, now_ms + LEAVE_MS);
    }
}

static void move_on(struct cluster *cluster, uint64_t now_ms)
{
    if (cluster->deadline_ms == 0 || now_ms < cluster->deadline_ms)
        return;
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

void cluster_interrupt(struct cluster *cluster)
{
    if (cluster->phase == CLUSTER_RUNNING) {
        children_signal(cluster->children, COORDINATOR_IDX, SIGTERM);
        cluster->has_stopped = true;
        enter(cluster, CLUSTER_STOPPING, 0);
    } else if (cluster->phase != CLUSTER_LEAVING) {
        children_signal_all(cluster->children, SIGKILL);
        enter(cluster, CLUSTER_KILLING, 0);
    }
}

enum cluster_phase cluster_phase(const struct cluster *cluster)
{
    return cluster->phase;
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
