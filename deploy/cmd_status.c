#include "deploy/commands.h"

#include <argp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "deploy/run_place.h"
#include "deploy/status_client.h"
#include "deploy/status_print.h"

enum { WATCH_MS = 1000, MISSES_MAX = 15 };

struct status_options {
    const char *place; /* an address or a folder */
    const char *keys;  /* a folder; NULL: as run_place finds them */
    bool has_json, has_watch;
};

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "print JSON", 0},
    {"watch", 'w', NULL, 0, "print again every second until the run ends", 0},
    {"keys", 'k', "DIR", 0,
     "folder with `allowed` and client.key; else TALWEG_KEYS, or what DIR/run.json says", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct status_options *options = state->input;
    switch (key) {
    case 'j':
        options->has_json = true;
        return 0;
    case 'w':
        options->has_watch = true;
        return 0;
    case 'k':
        options->keys = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (options->place)
            argp_error(state, "one address or folder, not '%s' as well", arg);
        options->place = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "[ADDRESS|DIR]",
    .doc = "How a run is doing.\v"
           "DIR is what was given to --out; without it, this folder, or out/ in it.  An ADDRESS is "
           "host:port, tcp://host:port or ipc://path.\n\n"
           "Exit code: 0 waiting, training or finished; 1 failed; 2 nobody answers.",
};

static int print_status(const struct document *status, const struct status_options *options)
{
    if (options->has_json) {
        char *text = document_print(status, !options->has_watch);
        if (!text)
            return ERR_NOMEM;
        fprintf(stdout, "%s%s", text, options->has_watch ? "\n" : "");
        free(text);
        return 0;
    }
    if (options->has_watch && isatty(STDOUT_FILENO) == 1)
        fputs("\033[H\033[2J", stdout);
    return status_print(status, stdout);
}

/* One look: prints the status, or says why there is none.  *is_over_out ends a watch; nobody there
 * does that only after some looks, since a coordinator may be being started again. */
static int look(struct run_place *place, const struct status_options *options, bool *is_over_out,
                unsigned *miss_count)
{
    struct err_msg why = {0};
    struct document *status = NULL;
    *is_over_out = true;
    int code = run_place_status(place, &status, &why);
    if (code == 0) {
        code = print_status(status, options);
        if (code < 0)
            err_set(&why, code, "%s", err_text(code));
    }
    if ((code == ERR_LOST || code == ERR_TIMEOUT) && options->has_watch &&
        ++*miss_count < MISSES_MAX) {
        *is_over_out = false;
        return EXIT_UNREACHABLE;
    }
    if (code < 0) {
        fprintf(stderr, "talweg status: %s\n", why.text);
        return EXIT_UNREACHABLE;
    }
    *miss_count = 0;
    fflush(stdout);
    *is_over_out = status_is_over(status);
    bool is_failed = status_is_phase(status, "failed");
    if (is_failed)
        fprintf(stderr, "talweg status: the run failed: %s\n", status_text(status, "error", "?"));
    document_destroy(status);
    return is_failed ? EXIT_FAILED : EXIT_FINE;
}

int cmd_status(int argc, char **argv)
{
    struct status_options options = {0};
    struct run_place *place = NULL;
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    if (run_place_open(options.place, options.keys, &place, &why) < 0) {
        fprintf(stderr, "talweg status: %s\n", why.text);
        return EXIT_UNREACHABLE;
    }
    bool is_done;
    unsigned miss_count = 0;
    int exit_code = look(place, &options, &is_done, &miss_count);
    while (options.has_watch && !is_done) {
        usleep(WATCH_MS * 1000);
        exit_code = look(place, &options, &is_done, &miss_count);
    }
    run_place_close(place);
    return exit_code;
}
