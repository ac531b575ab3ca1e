#include "deploy/commands.h"

#include <argp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "deploy/run_place.h"

enum { LOOK_MS = 250, TIMEOUT_S = 60 };

struct drain_options {
    const char *place; /* an address or a folder */
    const char *keys;  /* a folder; NULL: as run_place finds them */
    bool has_member, is_server, is_not_waiting;
    uint32_t rank;
    unsigned long timeout_s;
};

static const struct argp_option option_list[] = {
    {"server", 's', "RANK", 0, "the server of that rank", 0},
    {"worker", 'w', "RANK", 0, "the worker of that rank", 0},
    {"no-wait", 'n', NULL, 0, "do not wait until it has left", 0},
    {"timeout", 't', "SECONDS", 0, "how long to wait for that; default: 60", 0},
    {"keys", 'k', "DIR", 0,
     "folder with `allowed` and client.key; else TALWEG_KEYS, or what DIR/run.json says", 0},
    {0},
};

static unsigned long parse_number(const char *arg, unsigned long max, struct argp_state *state)
{
    char *end;
    unsigned long number = strtoul(arg, &end, 10);
    if (*end || end == arg || *arg == '-' || number > max)
        argp_error(state, "'%s': expected a whole number, 0 to %lu", arg, max);
    return number;
}

static void take_member(struct drain_options *options, bool is_server, const char *arg,
                        struct argp_state *state)
{
    if (options->has_member)
        argp_error(state, "one server or worker at a time");
    options->has_member = true;
    options->is_server = is_server;
    options->rank = (uint32_t)parse_number(arg, UINT16_MAX, state);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct drain_options *options = state->input;
    switch (key) {
    case 's':
    case 'w':
        take_member(options, key == 's', arg, state);
        return 0;
    case 'n':
        options->is_not_waiting = true;
        return 0;
    case 't':
        options->timeout_s = parse_number(arg, 1000000, state);
        return 0;
    case 'k':
        options->keys = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (options->place)
            argp_error(state, "one address or folder, not '%s' as well", arg);
        options->place = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->has_member)
            argp_error(state, "which member? --server RANK or --worker RANK");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "[ADDRESS|DIR]",
    .doc = "Let a server or worker of a run go: what it has moves to the others first, then its "
           "process ends, and the run goes on.\v"
           "DIR is what was given to --out; without it, this folder, or out/ in it.  An ADDRESS is "
           "host:port, tcp://host:port or ipc://path.  SIGTERM to the process itself does the "
           "same.\n\n"
           "Exit code: 0 it has left, or is about to with --no-wait; 1 it cannot, or has not left "
           "in time; 2 nobody answers, or wrong command line.",
};

static int complain(const char *sentence, int exit_code)
{
    fprintf(stderr, "talweg drain: %s\n", sentence);
    return exit_code;
}

static const struct document *find_row(const struct document *status,
                                       const struct drain_options *options)
{
    const struct document *rows = document_get(status, options->is_server ? "servers" : "workers");
    for (size_t i = 0; i < document_count(rows); i++) {
        if (status_whole(document_at(rows, i), "rank") == options->rank)
            return document_at(rows, i);
    }
    return NULL;
}

/* What it still has, on one line that is drawn again, or said when it is new. */
static void show(const struct drain_options *options, const struct document *row, char *said,
                 size_t said_bytes)
{
    char line[160];
    unsigned long long count =
        options->is_server
            ? status_whole(row, "primary_blocks") + status_whole(row, "backup_blocks")
            : status_whole(row, "lanes");
    snprintf(line, sizeof(line), "%s %u: %s, has %llu %s", options->is_server ? "server" : "worker",
             options->rank, status_text(row, "state", "there"), count,
             options->is_server ? "blocks" : "lanes");
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    if (is_terminal)
        fprintf(stderr, "\r%s\033[K", line);
    else if (strcmp(line, said) != 0)
        fprintf(stderr, "%s\n", line);
    snprintf(said, said_bytes, "%s", line);
}

/* Waits until the process that has the rank now has none any more, or the run is over. */
static int wait_until_gone(struct run_place *place, const struct drain_options *options,
                           uint64_t pid)
{
    char said[160] = "";
    struct err_msg why = {0};
    struct outcome outcome;
    uint64_t end_ms = clock_now_ms() + (uint64_t)options->timeout_s * 1000;
    bool is_gone = false;
    while (!is_gone && clock_now_ms() < end_ms) {
        struct document *status = NULL;
        int code = run_place_status(place, &status, &why);
        /* A coordinator that is being started again answers soon. */
        if (code < 0 && code != ERR_TIMEOUT && code != ERR_LOST)
            return complain(why.text, EXIT_UNREACHABLE);
        const struct document *row = code == 0 ? find_row(status, options) : NULL;
        /* A coordinator that goes on with its journal knows no pids at first, and of no drain. */
        uint64_t row_pid = status_whole(row, "pid");
        is_gone = code == 0 && (!row || (row_pid != 0 && row_pid != pid));
        if (row && !is_gone) {
            show(options, row, said, sizeof(said));
            if (strcmp(status_text(row, "state", ""), "leaving") != 0)
                code = run_place_drain(place, options->is_server, options->rank, &outcome, &why);
        }
        document_destroy(status);
        if (!is_gone)
            usleep(LOOK_MS * 1000);
    }
    if (*said && isatty(STDERR_FILENO) == 1)
        fputc('\n', stderr);
    if (is_gone)
        return EXIT_FINE;
    fprintf(stderr, "talweg drain: %s %u has not left within %lu seconds\n",
            options->is_server ? "server" : "worker", options->rank, options->timeout_s);
    return EXIT_FAILED;
}

static int drain(struct run_place *place, const struct drain_options *options)
{
    struct err_msg why = {0};
    struct outcome outcome;
    struct document *status = NULL;
    if (run_place_status(place, &status, &why) < 0)
        return complain(why.text, EXIT_UNREACHABLE);
    uint64_t pid = status_whole(find_row(status, options), "pid");
    document_destroy(status);
    if (run_place_drain(place, options->is_server, options->rank, &outcome, &why) < 0)
        return complain(why.text, EXIT_UNREACHABLE);
    if (outcome.code != 0)
        return complain(outcome.text, EXIT_FAILED);
    fprintf(stderr, "%s\n", outcome.text);
    if (options->is_not_waiting)
        return EXIT_FINE;
    int exit_code = wait_until_gone(place, options, pid);
    if (exit_code == EXIT_FINE)
        printf("%s %u has left\n", options->is_server ? "server" : "worker", options->rank);
    return exit_code;
}

int cmd_drain(int argc, char **argv)
{
    struct drain_options options = {.timeout_s = TIMEOUT_S};
    struct run_place *place = NULL;
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    if (run_place_open(options.place, options.keys, &place, &why) < 0)
        return complain(why.text, EXIT_UNREACHABLE);
    int exit_code = drain(place, &options);
    run_place_close(place);
    return exit_code;
}
