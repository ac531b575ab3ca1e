#include "deploy/run_place.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/checkpoint.h"
#include "common/clock.h"

enum { ANSWER_MS = 3000, ASK_AGAIN_MS = 500, ENDPOINT_TEXT_BYTES = 512 };

struct run_place {
    const char *dir;  /* NULL when an address was given; borrowed */
    const char *keys; /* folder, or NULL; borrowed */
    char endpoint[ENDPOINT_TEXT_BYTES];
    char client_endpoint[ENDPOINT_TEXT_BYTES]; /* where the client is connected */
    struct document *run;     /* DIR/run.json, or NULL */
    struct document *summary; /* DIR/summary.json of the same life of the run, or NULL */
    struct status_client *client;
};

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool has_file(const char *dir, const char *name, struct timespec *modified_out)
{
    char path[PATH_MAX];
    struct stat info;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (stat(path, &info) != 0)
        return false;
    *modified_out = info.st_mtim;
    return true;
}

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static bool is_run_folder(const char *path)
{
    struct timespec modified;
    return has_file(path, "run.json", &modified) || has_file(path, "summary.json", &modified);
}

static int load_file(const char *dir, const char *name, struct document **out, struct err_msg *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return document_load(path, out, why);
}

/* Reads what lies in the folder.  A summary older than run.json is of an earlier life of the run
 * and says nothing of this one. */
static int read_folder(struct run_place *place, struct err_msg *why)
{
    struct timespec run_time = {0}, summary_time = {0};
    bool has_run = has_file(place->dir, "run.json", &run_time);
    bool has_summary = has_file(place->dir, "summary.json", &summary_time);
    document_destroy(place->run);
    document_destroy(place->summary);
    place->run = place->summary = NULL;
    if (!has_run && !has_summary)
        return err_set(why, ERR_NOT_FOUND,
                       "%s: no run was started with this as its --out folder (neither run.json "
                       "nor summary.json is there)",
                       place->dir);
    int code = 0;
    if (has_run)
        code = load_file(place->dir, "run.json", &place->run, why);
    if (code == 0 && has_summary && !(has_run && is_before(summary_time, run_time)))
        code = load_file(place->dir, "summary.json", &place->summary, why);
    return code;
}

static int find(const char *text, struct run_place *place, struct err_msg *why)
{
    if (!text)
        text = !is_run_folder(".") && is_run_folder("out") ? "out" : ".";
    if (is_folder(text)) {
        place->dir = text;
        return 0;
    }
    const char *colon = strrchr(text, ':');
    if (strstr(text, "://"))
        snprintf(place->endpoint, sizeof(place->endpoint), "%s", text);
    else if (colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1))
        snprintf(place->endpoint, sizeof(place->endpoint), "tcp://%s", text);
    else
        return err_set(why, ERR_INPUT, "%s: neither a folder nor an address such as host:7077",
                       text);
    return 0;
}

int run_place_open(const char *text, const char *keys, struct run_place **place_out,
                   struct err_msg *why)
{
    struct run_place *place = calloc(1, sizeof(*place));
    if (!place)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    place->keys = keys ? keys : getenv("TALWEG_KEYS");
    int code = find(text, place, why);
    if (code < 0)
        run_place_close(place);
    else
        *place_out = place;
    return code;
}

void run_place_close(struct run_place *place)
{
    if (!place)
        return;
    status_client_close(place->client);
    document_destroy(place->run);
    document_destroy(place->summary);
    free(place);
}

/* The coordinator's process, when it is known to be gone from this very machine. */
static int check_alive(const struct run_place *place, struct err_msg *why)
{
    char host[256] = "";
    int64_t pid;
    gethostname(host, sizeof(host) - 1);
    if (!place->run || document_get_whole(place->run, "pid", &pid, NULL) < 0 ||
        strcmp(status_text(place->run, "host", ""), host) != 0)
        return 0;
    if (kill((pid_t)pid, 0) == 0 || errno != ESRCH)
        return 0;
    char checkpoint[PATH_MAX];
    bool has_checkpoint = checkpoint_latest(place->dir, checkpoint, NULL) == 0;
    return err_set(why, ERR_LOST,
                   "%s: the run's coordinator (process %lld on %s) is gone and left no summary: it "
                   "was killed; %s%s",
                   place->dir, (long long)pid, host,
                   has_checkpoint ? "the newest checkpoint, for --resume, is " : "no checkpoint",
                   has_checkpoint ? checkpoint : " is there");
}

static int connect_client(struct run_place *place, struct err_msg *why)
{
    if (place->client && strcmp(place->client_endpoint, place->endpoint) != 0) {
        status_client_close(place->client); /* it was started again elsewhere */
        place->client = NULL;
    }
    snprintf(place->client_endpoint, sizeof(place->client_endpoint), "%s", place->endpoint);
    const char *keys = place->keys;
    if ((!keys || !*keys) && place->run) /* the coordinator's, which may be those of this user */
        keys = status_text(place->run, "keys", "");
    return place->client ? 0 : status_client_open(place->endpoint, keys, &place->client, why);
}

static int nobody_answers(const struct run_place *place, struct err_msg *why)
{
    if (status_client_refusal(place->client, why) < 0)
        return ERR_REFUSED;
    return err_set(why, ERR_TIMEOUT, "%s: no coordinator answered within %d seconds",
                   place->endpoint, ANSWER_MS / 1000);
}

static int ask_coordinator(struct run_place *place, struct document **status_out,
                           struct err_msg *why)
{
    int code = connect_client(place, why);
    if (code < 0)
        return code;
    code = status_client_ask(place->client);
    if (code < 0)
        return err_set(why, code, "%s: %s", place->endpoint, err_text(code));
    uint64_t end_ms = clock_now_ms() + ANSWER_MS;
    for (uint64_t now_ms = clock_now_ms(); now_ms < end_ms; now_ms = clock_now_ms()) {
        code = status_client_wait(place->client, -1, (int)(end_ms - now_ms), status_out, why);
        if (code == ERR_REFUSED)
            return code;
        if (code != ERR_AGAIN)
            return code == 0 ? 0 : err_prefix(why, code, "%s: ", place->endpoint);
    }
    return nobody_answers(place, why);
}

static struct document *copy_real(const struct document *from, const char *key)
{
    return document_real(status_real(from, key, NAN));
}

static struct document *coordinator_of(const struct document *run)
{
    struct document *coordinator = document_object();
    int64_t pid;
    if (!coordinator || !run || document_get_whole(run, "pid", &pid, NULL) < 0)
        return coordinator;
    if (document_put(coordinator, "pid", document_whole(pid)) < 0 ||
        document_put(coordinator, "host", document_text(status_text(run, "host", ""))) < 0) {
        document_destroy(coordinator);
        return NULL;
    }
    return coordinator;
}

/* The status of a run that is over, in the form a coordinator would give; takes over the summary.
 */
static int status_of_summary(struct run_place *place, struct document **status_out)
{
    struct document *summary = place->summary;
    int64_t steps = (int64_t)status_whole(summary, "steps");
    /* A summary says how far the run came; how far it had to go, only when it came there. */
    bool is_finished = strcmp(status_text(summary, "phase", "finished"), "finished") == 0;
    struct document *status = document_object();
    if (!status)
        return ERR_NOMEM;
    if (document_put(status, "phase", document_text(status_text(summary, "phase", "finished"))) ||
        document_put(status, "job", document_text(status_text(summary, "job", ""))) ||
        document_put(status, "run_id", document_text(status_text(summary, "run_id", ""))) ||
        document_put(status, "step", document_whole(steps)) ||
        document_put(status, "steps", is_finished ? document_whole(steps) : document_real(NAN)) ||
        document_put(status, "epoch", copy_real(summary, "epochs")) ||
        document_put(status, "loss", copy_real(summary, "train_loss")) ||
        document_put(status, "test_accuracy", copy_real(summary, "test_accuracy")) ||
        document_put(status, "samples_per_s", copy_real(summary, "samples_per_s")) ||
        document_put(status, "exchange_hidden", copy_real(summary, "exchange_hidden")) ||
        document_put(status, "waited_for_data", copy_real(summary, "waited_for_data")) ||
        document_put(status, "waited_for_exchange", copy_real(summary, "waited_for_exchange")) ||
        document_put(status, "error", document_text(status_text(summary, "error", ""))) ||
        document_put(status, "digest", document_text(status_text(summary, "digest", ""))) ||
        document_put(status, "coordinator", coordinator_of(place->run)) ||
        document_put(status, "servers", document_array()) ||
        document_put(status, "workers", document_array())) {
        document_destroy(status);
        return ERR_NOMEM;
    }
    place->summary = NULL;
    if (document_put(status, "summary", summary) < 0) {
        document_destroy(status);
        return ERR_NOMEM;
    }
    *status_out = status;
    return 0;
}

/* Finds the coordinator of a run in a folder, or the summary that the run left. */
static int look_into_folder(struct run_place *place, struct err_msg *why)
{
    if (!place->dir)
        return 0;
    int code = read_folder(place, why);
    if (code < 0 || place->summary)
        return code;
    code = check_alive(place, why);
    if (code == 0)
        snprintf(place->endpoint, sizeof(place->endpoint), "%s",
                 status_text(place->run, "coordinator", ""));
    return code;
}

int run_place_status(struct run_place *place, struct document **status_out, struct err_msg *why)
{
    int code = look_into_folder(place, why);
    if (code < 0)
        return code;
    if (!place->summary)
        return ask_coordinator(place, status_out, why);
    code = status_of_summary(place, status_out);
    return code == 0 ? 0 : err_set(why, code, "%s", err_text(code));
}

int run_place_drain(struct run_place *place, bool is_server, uint32_t rank,
                    struct outcome *outcome_out, struct err_msg *why)
{
    int code = look_into_folder(place, why);
    if (code == 0 && place->summary)
        return err_set(why, ERR_NOT_FOUND, "%s: the run is over", place->dir);
    if (code == 0)
        code = connect_client(place, why);
    if (code < 0)
        return code;
    for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms += ASK_AGAIN_MS) {
        code = status_client_drain(place->client, is_server, rank, ASK_AGAIN_MS, outcome_out, why);
        if (code != ERR_AGAIN)
            return code == 0 ? 0 : err_prefix(why, code, "%s: ", place->endpoint);
    }
    return nobody_answers(place, why);
}
