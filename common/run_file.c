#include "common/run_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "common/clock.h"
#include "common/document.h"
#include "common/log.h"
#include "common/path.h"

enum { LOOK_MS = 200, LOOK_AGAIN_MS = 1000, WAITING_LOG_MS = 10000 };

bool run_file_is_path(const char *text)
{
    return strchr(text, '/') != NULL && strstr(text, "://") == NULL;
}

static int keep(char endpoint_out[ENDPOINT_TEXT_BYTES], const char *path, const char *scheme,
                const char *text, struct err_msg *why)
{
    int bytes = snprintf(endpoint_out, ENDPOINT_TEXT_BYTES, "%s%s", scheme, text);
    if (bytes >= ENDPOINT_TEXT_BYTES)
        return err_set(why, ERR_INPUT, "%s: found an address of %d bytes, expected at most %d",
                       path, bytes, ENDPOINT_TEXT_BYTES - 1);
    int err = endpoint_check_peer(endpoint_out, why);
    return err == 0 ? 0 : err_prefix(why, err, "%s: ", path);
}

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* How the run ended, by its summary. */
static enum run_state look_at_end(const char *path, struct err_msg *why)
{
    struct document *summary = NULL;
    const char *phase = "", *error = "";
    if (document_load(path, &summary, why) != 0)
        return RUN_ABSENT; /* it is just being replaced, or broken */
    int err = document_get_text(summary, "phase", &phase, why);
    if (err == 0 && document_get_text(summary, "error", &error, NULL) != 0)
        error = "";
    enum run_state state = err != 0                          ? RUN_ABSENT
                           : strcmp(phase, "finished") == 0 ? RUN_FINISHED
                                                            : RUN_STOPPED;
    if (state == RUN_STOPPED)
        err_set(why, ERR_AGAIN, "%s: that run is over and nobody has gone on with it: %s%s%.600s",
                path, phase, error[0] == '\0' ? "" : ", ", error);
    document_destroy(summary);
    return state;
}

static enum run_state read_file(const char *path, char endpoint_out[ENDPOINT_TEXT_BYTES],
                                struct err_msg *why)
{
    struct document *run = NULL;
    const char *endpoint = "";
    int err = document_load(path, &run, why);
    if (err == 0 && (err = document_get_text(run, "coordinator", &endpoint, why)) != 0)
        err_prefix(why, err, "%s: ", path);
    if (err == 0)
        err = keep(endpoint_out, path, "", endpoint, why);
    document_destroy(run);
    return err == 0 ? RUN_THERE : RUN_ABSENT;
}

/* The results' folder. */
static enum run_state look_into(const char *dir, char endpoint_out[ENDPOINT_TEXT_BYTES],
                                struct err_msg *why)
{
    char run[PATH_MAX], summary[PATH_MAX];
    struct stat run_info, summary_info;
    if (path_join(run, dir, "run.json", why) != 0 ||
        path_join(summary, dir, "summary.json", why) != 0)
        return RUN_ABSENT;
    bool has_run = stat(run, &run_info) == 0;
    if (stat(summary, &summary_info) == 0 &&
        !(has_run && is_before(summary_info.st_mtim, run_info.st_mtim)))
        return look_at_end(summary, why);
    if (has_run)
        return read_file(run, endpoint_out, why);
    err_set(why, ERR_NOT_FOUND, "%s, which a coordinator writes when it begins, is not there", run);
    return RUN_ABSENT;
}

enum run_state run_file_look(const char *path, char endpoint_out[ENDPOINT_TEXT_BYTES],
                             struct err_msg *why)
{
    struct stat info;
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return look_into(path, endpoint_out, why);
    if (stat(path, &info) == 0 && S_ISSOCK(info.st_mode))
        return keep(endpoint_out, path, "ipc://", path, why) == 0 ? RUN_THERE : RUN_ABSENT;
    if (slash != NULL && slash - path < PATH_MAX && strcmp(slash, "/run.json") == 0) {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
        return look_into(slash == path ? "/" : dir, endpoint_out, why);
    }
    if (stat(path, &info) == 0)
        err_set(why, ERR_INPUT, "%s: found a file, expected the folder of a run's results, its "
                "run.json, or the coordinator's socket", path);
    else
        err_set(why, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    return RUN_ABSENT;
}

int run_file_wait(struct run_file *file, double limit_s,
                  const volatile sig_atomic_t *is_asked_to_stop, enum run_state *state_out,
                  struct err_msg *why)
{
    struct err_msg last = {0};
    uint64_t begin_ms = clock_now_ms(), said_ms = begin_ms;
    for (;;) {
        enum run_state state = run_file_look(file->path, file->endpoint, &last);
        uint64_t now_ms = clock_now_ms();
        *state_out = state;
        if (state == RUN_THERE || state == RUN_FINISHED)
            return 0;
        if (*is_asked_to_stop)
            return err_set(why, ERR_STOPPED, "asked to stop by a signal; %s", last.text);
        if ((double)(now_ms - begin_ms) >= limit_s * 1000.0)
            return err_set(why, ERR_TIMEOUT, "waited %g s (cluster.wait_s) for a coordinator: %s",
                           limit_s, last.text);
        if (now_ms - said_ms >= WAITING_LOG_MS) {
            char quoted[1200];
            said_ms = now_ms;
            log_event(LOG_INFO, "waiting", "for=coordinator seconds=%.0f why=%s",
                      (double)(now_ms - begin_ms) / 1000.0,
                      log_quote(quoted, sizeof(quoted), last.text));
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
}

bool run_file_has_moved(struct run_file *file, uint64_t now_ms)
{
    char endpoint[ENDPOINT_TEXT_BYTES];
    if (file->path[0] == '\0' || now_ms - file->look_ms < LOOK_AGAIN_MS)
        return false;
    file->look_ms = now_ms;
    if (run_file_look(file->path, endpoint, NULL) != RUN_THERE ||
        strcmp(endpoint, file->endpoint) == 0)
        return false;
    memcpy(file->endpoint, endpoint, sizeof(endpoint));
    return true;
}
