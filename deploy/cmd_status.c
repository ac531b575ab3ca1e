#include "deploy/commands.h"

#include <argp.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "deploy/progress.h"
#include "deploy/run_place.h"
#include "deploy/status_client.h"
#include "deploy/listing.h"

enum { WATCH_MS = 1000, MISSES_MAX = 15 };

struct status_options {
    const char *place; /* an address or a folder */
    bool has_json, has_watch;
};

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "print JSON", 0},
    {"watch", 'w', NULL, 0, "print again every second until the run ends", 0},
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

static bool is_phase(const struct document *status, const char *phase)
{
    return strcmp(status_text(status, "phase", ""), phase) == 0;
}

static bool is_over(const struct document *status)
{
    return is_phase(status, "finished") || is_phase(status, "failed") ||
           is_phase(status, "stopped");
}

/* What happened that should not be overlooked, and how stale weights were. */
static void print_counts(const struct document *status, FILE *out)
{
    uint64_t skipped = status_whole(status, "skipped_steps");
    uint64_t failed = status_whole(status, "failed_checkpoints");
    const struct document *staleness = document_get(status, "staleness");
    if (skipped)
        fprintf(out, "%llu steps were left out: a gradient was no number\n",
                (unsigned long long)skipped);
    if (failed)
        fprintf(out, "%llu checkpoints could not be written\n", (unsigned long long)failed);
    double hidden = status_real(status, "exchange_hidden", NAN);
    if (isfinite(hidden))
        fprintf(out, "exchange hidden behind compute: %.0f %%\n", 100 * hidden);
    size_t count = document_count(staleness);
    for (size_t i = 0; i < count; i++) {
        int64_t answers = 0;
        if (document_as_whole(document_at(staleness, i), "count", &answers, NULL) == 0)
            fprintf(out, "%s%zu%s: %lld", i ? "  " : "steps behind  ", i, i + 1 < count ? "" : "+",
                    (long long)answers);
    }
    if (count)
        fputc('\n', out);
}

static void print_head(const struct document *status, FILE *out)
{
    struct progress_state state = status_progress(status);
    char line[PROGRESS_LINE_BYTES];
    progress_format(&state, 0, false, line, sizeof(line));
    const char *job = status_text(status, "job", "");
    fprintf(out, "%s%s%s%s", job, *job ? ": " : "",
            is_phase(status, "training") ? "training  " : "", line);
    if (state.epoch > 0)
        fprintf(out, "  epoch %.2f", state.epoch);
    double accuracy = status_real(status, "test_accuracy", NAN);
    if (isfinite(accuracy))
        fprintf(out, "  test accuracy %.2f %%", 100 * accuracy);
    fputc('\n', out);
    const char *missing = status_text(status, "waiting_for", "");
    if (*missing)
        fprintf(out, "%s\n", missing);
    bool is_protected;
    if (status_whole(status, "replicas") > 0 && !is_over(status) &&
        document_get_truth(status, "protected", &is_protected, NULL) == 0)
        fprintf(out, "protected %s\n",
                is_protected ? "yes: any one server may die" : "no: not every block has a copy");
    const char *trouble = status_text(status, "trouble", "");
    if (*trouble)
        fprintf(out, "%s\n", trouble);
    print_counts(status, out);
    const char *error = status_text(status, "error", "");
    if (*error && !is_phase(status, "failed"))
        fprintf(out, "%s\n", error);
    const char *digest = status_text(status, "digest", "");
    if (*digest)
        fprintf(out, "digest %s\n", digest);
}

static int add_count(struct listing *listing, const struct document *row, const char *key)
{
    char text[32] = "-";
    double value = status_real(row, key, NAN);
    if (isfinite(value))
        progress_count_text(value, text, sizeof(text));
    return listing_add(listing, "%s", text);
}

static int add_bytes(struct listing *listing, const struct document *row, const char *key)
{
    char text[32] = "-";
    double value = status_real(row, key, NAN);
    if (isfinite(value))
        progress_bytes_text(value, text, sizeof(text));
    return listing_add(listing, "%s", text);
}

static int add_heard(struct listing *listing, const struct document *row)
{
    double heard_ms = status_real(row, "last_heard_ms", NAN);
    if (!isfinite(heard_ms))
        return listing_add(listing, "-");
    return listing_add(listing, "%.1f s ago", heard_ms / 1000);
}

static int add_who(struct listing *listing, const struct document *row)
{
    int code = listing_add(listing, "%llu", (unsigned long long)status_whole(row, "rank"));
    if (code == 0)
        code = listing_add(listing, "%s", status_text(row, "host", "?"));
    if (code == 0)
        code = listing_add(listing, "%llu", (unsigned long long)status_whole(row, "pid"));
    if (code == 0)
        code = listing_add(listing, "%s", status_text(row, "state", "?"));
    return code;
}

static int add_lane_time(struct listing *listing, const struct document *row)
{
    double lane_ms = status_real(row, "lane_ms", NAN);
    if (!isfinite(lane_ms))
        return listing_add(listing, "-");
    return listing_add(listing, lane_ms < 10 ? "%.2f ms" : "%.0f ms", lane_ms);
}

/* "shm", or "tcp", or "shm 2, tcp 1": of the shards it speaks to. */
static int add_transports(struct listing *listing, const struct document *row)
{
    static const char *const kinds[] = {"shm", "ipc", "tcp"};
    const struct document *links = document_get(row, "links");
    size_t count = document_count(links), used = 0;
    char text[64] = "-";
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        size_t found = 0;
        for (size_t i = 0; i < count; i++)
            found += strcmp(status_text(document_at(links, i), "transport", ""), kinds[kind]) == 0;
        if (found == count && count > 0)
            return listing_add(listing, "%s", kinds[kind]);
        if (found > 0)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %zu",
                                     used == 0 ? "" : ", ", kinds[kind], found);
    }
    return listing_add(listing, "%s", text);
}

static int add_share(struct listing *listing, const struct document *row, const char *key)
{
    double share = status_real(row, key, NAN);
    if (!isfinite(share))
        return listing_add(listing, "-");
    return listing_add(listing, "%.0f %%", 100 * share);
}

static int add_worker(struct listing *listing, const struct document *row)
{
    int code = add_who(listing, row);
    if (code == 0)
        code = listing_add(listing, "%llu", (unsigned long long)status_whole(row, "lanes"));
    if (code == 0)
        code = add_lane_time(listing, row);
    if (code == 0)
        code = add_transports(listing, row);
    if (code == 0)
        code = add_count(listing, row, "samples_per_s");
    if (code == 0)
        code = add_share(listing, row, "exchange_hidden");
    if (code == 0)
        code = add_bytes(listing, row, "rss_bytes");
    if (code == 0)
        code = add_heard(listing, row);
    return code;
}

/* Blocks it is backup of, and those that are on their way to it. */
static int add_copies(struct listing *listing, const struct document *row)
{
    unsigned long long filling = status_whole(row, "filling_blocks");
    if (!filling)
        return add_count(listing, row, "backup_blocks");
    return listing_add(listing, "%llu+%llu",
                       (unsigned long long)status_whole(row, "backup_blocks"), filling);
}

static int add_server(struct listing *listing, const struct document *row)
{
    static const char *const byte_keys[] = {"bytes", "bytes_in_per_s", "bytes_out_per_s",
                                            "rss_bytes"};
    int code = add_who(listing, row);
    if (code == 0)
        code = add_count(listing, row, "shards");
    if (code == 0)
        code = add_count(listing, row, "primary_blocks");
    if (code == 0)
        code = add_copies(listing, row);
    if (code == 0)
        code = add_count(listing, row, "pushes_per_s");
    for (size_t i = 0; code == 0 && i < ARRAY_LEN(byte_keys); i++)
        code = add_bytes(listing, row, byte_keys[i]);
    if (code == 0)
        code = add_heard(listing, row);
    return code;
}

static int print_rows(const struct document *rows, const char *heads,
                      int (*add_row)(struct listing *, const struct document *), FILE *out)
{
    struct listing *listing = NULL;
    int code = listing_create(heads, &listing);
    for (size_t i = 0; code == 0 && i < document_count(rows); i++)
        code = add_row(listing, document_at(rows, i));
    if (code == 0 && document_count(rows)) {
        fputc('\n', out);
        listing_print(listing, out);
    }
    listing_destroy(listing);
    return code;
}

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
    print_head(status, stdout);
    int code = print_rows(document_get(status, "workers"),
                          ">worker host >pid state >lanes >a_lane via >samples/s >hidden >memory "
                          ">heard",
                          add_worker, stdout);
    if (code == 0)
        code = print_rows(document_get(status, "servers"),
                          ">server host >pid state >shards >blocks >copies >pushes/s >held >in/s "
                          ">out/s >memory >heard",
                          add_server, stdout);
    return code;
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
    *is_over_out = is_over(status);
    bool is_failed = is_phase(status, "failed");
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
    if (run_place_open(options.place, &place, &why) < 0) {
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
