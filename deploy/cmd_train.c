#include "deploy/commands.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/launch.h"
#include "deploy/average.h"
#include "deploy/local_cluster.h"
#include "deploy/progress.h"
#include "deploy/status_client.h"

enum { SETS_MAX = TRAINED_SETS_MAX, LOOK_MS = 200, ASK_AGAIN_MS = 2000 };

struct train_options {
    const char *job, *out, *resume;
    const char *sets[SETS_MAX];
    size_t set_count;
    char keys[PATH_MAX + 16]; /* the set of --keys */
    unsigned long servers, workers; /* 0: as the job says */
    bool has_json, is_quiet;
};

/* A run being watched. */
struct watch {
    struct cluster *cluster;
    struct status_client *client;
    struct progress_bar bar;
    const char *keys; /* folder; "": none */
    bool has_average; /* of its weights: optimizer.average */
    bool is_quiet, is_note_said, is_memory_said;
    int signal_fd;
    int stop_signal;           /* the one that asked to stop; 0: none */
    bool is_asked;             /* a status is on its way */
    uint64_t ask_ms;           /* when to ask (again) */
    uint64_t step;             /* the last one heard of */
    char checkpoint[PATH_MAX]; /* likewise; "": none */
};

static const struct argp_option option_list[] = {
    {"servers", 's', "N", 0, "server processes; default: cluster.servers of the job", 0},
    {"workers", 'w', "N", 0, "worker processes; default: cluster.workers of the job", 0},
    {"set", 'S', "PATH=VALUE", 0, "a setting in place of the job file's; may be repeated", 0},
    {"out", 'o', "DIR", 0, "where results go; default: out", 0},
    {"resume", 'r', "DIR", 0, "go on from a checkpoint, or the last one in DIR", 0},
    {"keys", 'k', "DIR", 0, "folder of keys made by `talweg keygen`; sets cluster.keys", 0},
    {"json", 'j', NULL, 0, "print the summary as JSON instead", 0},
    {"quiet", 'q', NULL, 0, "no progress", 0},
    {0},
};

static unsigned long parse_count(const char *arg, struct argp_state *state)
{
    char *end;
    unsigned long count = strtoul(arg, &end, 10);
    if (*end || end == arg || count < 1 || count > LAUNCH_RANK_MAX + 1)
        argp_error(state, "'%s' is no number of processes: a whole number, 1 to %d", arg,
                   LAUNCH_RANK_MAX + 1);
    return count;
}

static void add_set(struct train_options *options, const char *set, struct argp_state *state)
{
    if (options->set_count == SETS_MAX)
        argp_error(state, "more than %d times --set", SETS_MAX);
    options->sets[options->set_count++] = set;
}

/* All processes of the run get them from here, this one too. */
static void find_keys(struct train_options *options, struct argp_state *state)
{
    const char *folder = getenv("TALWEG_KEYS");
    if (!*options->keys && folder && *folder)
        snprintf(options->keys, sizeof(options->keys), "cluster.keys=%s", folder);
    if (*options->keys)
        add_set(options, options->keys, state);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct train_options *options = state->input;
    switch (key) {
    case 's':
        options->servers = parse_count(arg, state);
        return 0;
    case 'w':
        options->workers = parse_count(arg, state);
        return 0;
    case 'S':
        add_set(options, arg, state);
        return 0;
    case 'k':
        snprintf(options->keys, sizeof(options->keys), "cluster.keys=%s", arg);
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    case 'r':
        options->resume = arg;
        return 0;
    case 'j':
        options->has_json = true;
        return 0;
    case 'q':
        options->is_quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->job)
            argp_error(state, "one job file, not '%s' as well", arg);
        options->job = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->job)
            argp_error(state, "which job file?");
        find_keys(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "JOB",
    .doc = "Train a job on this machine: a coordinator, servers and workers, each a process of its "
           "own.\v"
           "Ctrl-C stops with a checkpoint, which --resume goes on from; a second Ctrl-C kills.  A "
           "process that is killed by a signal is started again, and the run goes on.\n\n"
           "Exit code: 0 trained; 1 failed, the reason on stderr; 2 wrong command line; 130 or 143 "
           "stopped by Ctrl-C or SIGTERM.",
};

static int complain(const char *sentence)
{
    fprintf(stderr, "talweg train: %s\n", sentence);
    return EXIT_FAILED;
}

/* Signals arrive on a descriptor, between two looks at the run, and not in the middle of one. */
static int open_signals(void)
{
    sigset_t set;
    struct sigaction hangup;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    /* nohup means it; a signal that is blocked would arrive nevertheless. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored, as some daemons leave it, no child could be waited for */
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void read_signals(struct watch *watch)
{
    struct signalfd_siginfo info;
    while (read(watch->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (!watch->stop_signal)
            watch->stop_signal = (int)info.ssi_signo;
        if (cluster_phase(watch->cluster) == CLUSTER_RUNNING) {
            progress_end(&watch->bar);
            fprintf(stderr, "talweg train: stopping with a checkpoint; once more kills\n");
        }
        cluster_interrupt(watch->cluster, clock_now_ms());
    }
}

/* Of a process that was killed. */
static void say_killed(void *context, const char *sentence, bool is_lost)
{
    struct watch *watch = context;
    if (watch->is_quiet && !is_lost)
        return;
    progress_end(&watch->bar);
    complain(sentence);
}

/* Once: that the newest checkpoint was torn, and which was taken instead. */
static void say_note(struct watch *watch, const struct document *document)
{
    const char *note = status_text(document, "note", "");
    if (!*note || watch->is_note_said)
        return;
    progress_end(&watch->bar);
    complain(note);
    watch->is_note_said = true;
}

/* Once, before the first step: what the steps of the worker with most will take. */
static void say_memory(struct watch *watch, const struct document *status)
{
    char text[32];
    uint64_t most = 0;
    const struct document *workers = document_get(status, "workers");
    for (size_t i = 0; i < document_count(workers); i++) {
        uint64_t bytes = status_whole(document_at(workers, i), "planned_bytes");
        most = bytes > most ? bytes : most;
    }
    if (most == 0 || watch->is_memory_said)
        return;
    progress_bytes_text((double)most, text, sizeof(text));
    progress_end(&watch->bar);
    fprintf(stderr, "memory of a worker's step: %s\n", text);
    watch->is_memory_said = true;
}

static void show(struct watch *watch, const struct document *status, uint64_t now_ms)
{
    struct progress_state state = status_progress(status);
    say_note(watch, status);
    const char *missing = status_text(status, "waiting_for", "");
    if (*missing && strcmp(state.phase, "waiting") == 0)
        snprintf(state.phase, sizeof(state.phase), "waiting: %s", missing);
    if (state.step && state.epoch > 0)
        state.epoch_count = status_real(status, "epochs", 0);
    watch->step = state.step;
    snprintf(watch->checkpoint, sizeof(watch->checkpoint), "%s",
             status_text(status, "checkpoint", ""));
    if (!watch->is_quiet)
        say_memory(watch, status);
    if (!watch->is_quiet && cluster_phase(watch->cluster) <= CLUSTER_STOPPING)
        progress_show(&watch->bar, now_ms, &state);
}

/* One turn: asks, waits for an answer, a signal or a moment, shows what came.  Who is about to end
 * is not asked: a question on its way would hold up our own end. */
static void look(struct watch *watch)
{
    struct document *status = NULL;
    uint64_t now_ms = clock_now_ms();
    bool can_answer = cluster_phase(watch->cluster) <= CLUSTER_STOPPING;
    if (can_answer && now_ms >= watch->ask_ms) {
        watch->is_asked = status_client_ask(watch->client) == 0;
        watch->ask_ms = now_ms + ASK_AGAIN_MS;
    }
    int wait_ms = LOOK_MS;
    if (can_answer && !watch->is_asked && watch->ask_ms < now_ms + LOOK_MS)
        wait_ms = (int)(watch->ask_ms - now_ms);
    int code = status_client_wait(watch->client, watch->signal_fd, wait_ms, &status, NULL);
    if (code == 0) {
        now_ms = clock_now_ms();
        show(watch, status, now_ms);
        watch->is_asked = false;
        watch->ask_ms = now_ms + LOOK_MS;
    }
    document_destroy(status);
    read_signals(watch);
}

static int watch_run(struct watch *watch, struct err_msg *why)
{
    int code = status_client_open(cluster_endpoint(watch->cluster), watch->keys, &watch->client,
                                  why);
    if (code < 0)
        return code;
    progress_init(&watch->bar, stderr);
    while (cluster_tick(watch->cluster, clock_now_ms()))
        look(watch);
    progress_end(&watch->bar);
    status_client_close(watch->client);
    return 0;
}

static void print_row(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_row(const char *name, const char *format, ...)
{
    va_list args;
    printf("%-14s", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* Of the averaged weights. */
static void print_average(const struct document *summary)
{
    double loss = status_real(summary, "average_test_loss", NAN);
    double accuracy = status_real(summary, "average_test_accuracy", NAN);
    if (isfinite(loss) && isfinite(accuracy))
        print_row("average", "test loss %.4f, test accuracy %.2f %%", loss, 100 * accuracy);
    else if (isfinite(loss))
        print_row("average", "test loss %.4f", loss);
}

static void print_summary(const struct watch *watch, const struct document *summary,
                          const struct run_folder *folder)
{
    char wall[32], path[PATH_MAX];
    double accuracy = status_real(summary, "test_accuracy", NAN);
    double train_loss = status_real(summary, "train_loss", NAN);
    double test_loss = status_real(summary, "test_loss", NAN);
    uint64_t round_steps = status_whole(summary, "round_steps");
    if (round_steps > 1)
        print_row("rounds", "%" PRIu64 " of %" PRIu64 " steps", status_whole(summary, "steps"),
                  round_steps);
    else
        print_row("steps", "%" PRIu64, status_whole(summary, "steps"));
    if (isfinite(train_loss)) /* else resumed at its end */
        print_row("train loss", "%.4f", train_loss);
    if (isfinite(test_loss))
        print_row("test loss", "%.4f", test_loss);
    if (isfinite(accuracy))
        print_row("test accuracy", "%.2f %%", 100 * accuracy);
    print_average(summary);
    progress_time_text(status_real(summary, "wall_s", 0), wall, sizeof(wall));
    print_row("speed", "%.0f samples/s, %s in all", status_real(summary, "samples_per_s", 0), wall);
    if (cluster_restart_count(watch->cluster))
        print_row("restarts", "%u", cluster_restart_count(watch->cluster));
    if (status_text(summary, "best_checkpoint", NULL)) {
        print_row("ended", "%s", status_text(summary, "ending", ""));
        print_row("best", "test loss %.4f at step %" PRIu64, status_real(summary, "best_loss", NAN),
                  status_whole(summary, "best_step"));
        print_row("best kept", "%s", status_text(summary, "best_checkpoint", ""));
    }
    print_row("digest", "%s", status_text(summary, "digest", "none"));
    print_row("checkpoint", "%s", status_text(summary, "checkpoint", "none"));
    run_folder_path(folder, path, "log");
    print_row("log", "%s", path);
    run_folder_path(folder, path, "loss.svg");
    print_row("loss curve", "%s", access(path, R_OK) == 0 ? path : "none: gnuplot is not there");
}

static int print_json(const struct document *summary)
{
    int code = document_show(summary, stdout);
    return code == 0 ? EXIT_FINE : complain(err_text(code));
}

/* What status will say of a run whose coordinator could not say it itself, or knew less. */
static void leave_failure(const struct run_folder *folder, const struct watch *watch,
                          struct document *summary, const char *sentence)
{
    struct document *made = summary ? NULL : document_object();
    struct document *left = summary ? summary : made;
    struct err_msg why;
    char path[PATH_MAX];
    run_folder_path(folder, path, "summary.json");
    if (made && document_put(made, "steps", document_whole((int64_t)watch->step)) < 0)
        complain(err_text(ERR_NOMEM));
    if (left && document_put(left, "phase", document_text("failed")) == 0 &&
        document_put(left, "error", document_text(sentence)) == 0 &&
        document_save(left, path, &why) < 0)
        complain(why.text);
    document_destroy(made);
}

/* A last sentence, and how to go on from the last checkpoint that is known of. */
static void say_end(const struct watch *watch, const struct document *summary, const char *sentence)
{
    const char *checkpoint = status_text(summary, "checkpoint", watch->checkpoint);
    if (*checkpoint)
        fprintf(stderr, "talweg train: %s; `--resume %s` goes on\n", sentence, checkpoint);
    else
        fprintf(stderr, "talweg train: %s\n", sentence);
}

static int conclude_failed(const struct watch *watch, const struct run_folder *folder,
                           const struct document *summary, const char *blame)
{
    char path[PATH_MAX], sentence[PATH_MAX + 64];
    complain(blame);
    run_folder_path(folder, path, "log");
    snprintf(sentence, sizeof(sentence), "the run ended at step %" PRIu64 "; logs are in %s",
             watch->step, path);
    say_end(watch, summary, sentence);
    return watch->stop_signal ? EXIT_SIGNAL + watch->stop_signal : EXIT_FAILED;
}

/* What the averaged weights are worth.  The run is none the worse when that cannot be told. */
static void evaluate_average(const struct train_options *options, struct document *summary,
                             const struct run_folder *folder)
{
    struct trained_spec spec = {.job_path = options->job,
                                .set_count = options->set_count,
                                .checkpoint = status_text(summary, "checkpoint", "")};
    struct err_msg why = {0};
    char path[PATH_MAX];
    memcpy(spec.sets, options->sets, sizeof(spec.sets));
    run_folder_path(folder, path, "summary.json");
    if (average_add(&spec, summary, path, &why) != 0)
        complain(why.text);
}

static int conclude_well(const struct watch *watch, struct document *summary,
                         const struct run_folder *folder, const struct train_options *options)
{
    if (watch->has_average)
        evaluate_average(options, summary, folder);
    if (options->has_json)
        return print_json(summary);
    print_summary(watch, summary, folder);
    return EXIT_FINE;
}

/* How it ended, and why: what the coordinator put into summary.json, unless a process failed of
 * which the coordinator knows the silence only. */
static int conclude(struct watch *watch, const struct run_folder *folder,
                    const struct train_options *options)
{
    char blame[1536], path[PATH_MAX];
    struct err_msg why = {0};
    struct document *summary = NULL;
    int exit_code, asked_code = EXIT_SIGNAL + watch->stop_signal;
    run_folder_path(folder, path, "summary.json");
    int code = document_load(path, &summary, &why);
    say_note(watch, summary);
    const char *phase = status_text(summary, "phase", "");
    const char *error = status_text(summary, "error", "");
    bool has_failed = cluster_blame(watch->cluster, blame, sizeof(blame));
    bool has_ended_itself = has_failed && cluster_has_ended_itself(watch->cluster);
    if (strcmp(phase, "stopped") == 0 && (watch->stop_signal || has_ended_itself)) {
        say_end(watch, summary, error);
        exit_code = watch->stop_signal ? asked_code : EXIT_FAILED;
    } else if (has_failed) {
        if (*error && has_ended_itself)
            snprintf(blame, sizeof(blame), "%s", error);
        exit_code = conclude_failed(watch, folder, summary, blame);
        leave_failure(folder, watch, summary, blame);
    } else if (watch->stop_signal && code < 0) {
        say_end(watch, summary, "killed");
        exit_code = asked_code;
    } else {
        exit_code = code < 0 ? complain(why.text) : conclude_well(watch, summary, folder, options);
    }
    document_destroy(summary);
    return exit_code;
}

/* What an earlier run left, and this one would be taken for. */
static int remove_old(const struct run_folder *folder, const char *name, struct err_msg *why)
{
    char path[PATH_MAX];
    run_folder_path(folder, path, "%s", name);
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    return err_set(why, ERR_IO, "%s: cannot be replaced: %s", path, strerror(errno));
}

static int run(const struct train_options *options, const struct settings *settings,
               struct run_folder *folder)
{
    struct err_msg why = {0};
    struct watch watch = {.keys = settings->cluster.keys,
                          .has_average = settings->optimizer.average > 0,
                          .is_quiet = options->is_quiet,
                          .signal_fd = open_signals()};
    struct cluster_spec spec = {
        .job_path = options->job,
        .resume = options->resume,
        .sets = options->sets,
        .set_count = options->set_count,
        .server_count = options->servers ? (uint32_t)options->servers : settings->cluster.servers,
        .worker_count = options->workers ? (uint32_t)options->workers : settings->cluster.workers,
        .folder = folder,
        .say = say_killed,
        .say_context = &watch,
    };
    if (remove_old(folder, "summary.json", &why) < 0 || remove_old(folder, "run.json", &why) < 0)
        return complain(why.text);
    if (watch.signal_fd < 0) {
        err_set(&why, ERR_IO, "signals cannot be read: %s", strerror(errno));
        return complain(why.text);
    }
    if (cluster_start(&spec, clock_now_ms(), &watch.cluster, &why) < 0)
        return complain(why.text);
    int exit_code =
        watch_run(&watch, &why) < 0 ? complain(why.text) : conclude(&watch, folder, options);
    cluster_destroy(watch.cluster);
    close(watch.signal_fd);
    return exit_code;
}

int cmd_train(int argc, char **argv)
{
    struct train_options options = {.out = "out"};
    struct settings *settings = NULL;
    struct run_folder folder;
    struct err_msg why = {0};
    char resume[PATH_MAX];
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    /* The summary names it, and is read from elsewhere, too. */
    if (options.resume && realpath(options.resume, resume))
        options.resume = resume;
    if (settings_load(options.job, options.sets, options.set_count, &settings, &why) < 0)
        return complain(why.text);
    int exit_code;
    if (run_folder_open(options.out, &folder, &why) < 0) {
        exit_code = complain(why.text);
    } else {
        exit_code = run(&options, settings, &folder);
        run_folder_close(&folder);
    }
    settings_destroy(settings);
    return exit_code;
}
