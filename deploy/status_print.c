#include "deploy/status_print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "deploy/listing.h"
#include "deploy/progress.h"
#include "deploy/status_client.h"

bool status_is_phase(const struct document *status, const char *phase)
{
    return strcmp(status_text(status, "phase", ""), phase) == 0;
}

bool status_is_over(const struct document *status)
{
    return status_is_phase(status, "finished") || status_is_phase(status, "failed") ||
           status_is_phase(status, "stopped");
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
    uint64_t strangers = status_whole(status, "refused_connections");
    if (strangers)
        fprintf(out, "%llu connections refused: without a key that is on the coordinator's list\n",
                (unsigned long long)strangers);
    double hidden = status_real(status, "exchange_hidden", NAN);
    if (isfinite(hidden))
        fprintf(out, "exchange hidden behind compute: %.0f %%\n", 100 * hidden);
    double data = status_real(status, "waited_for_data", NAN);
    double exchange = status_real(status, "waited_for_exchange", NAN);
    if (isfinite(data) && isfinite(exchange))
        fprintf(out, "compute waited: %.1f %% of its time for data, %.1f %% for the exchange\n",
                100 * data, 100 * exchange);
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
            status_is_phase(status, "training") ? "training  " : "", line);
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
    if (status_whole(status, "replicas") > 0 && !status_is_over(status) &&
        document_get_truth(status, "protected", &is_protected, NULL) == 0)
        fprintf(out, "protected %s\n",
                is_protected ? "yes: any one server may die" : "no: not every block has a copy");
    const char *trouble = status_text(status, "trouble", "");
    if (*trouble)
        fprintf(out, "%s\n", trouble);
    print_counts(status, out);
    const char *error = status_text(status, "error", "");
    if (*error && !status_is_phase(status, "failed"))
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

static int print_all(const struct document *status, FILE *out)
{
    print_head(status, out);
    int code = print_rows(document_get(status, "workers"),
                          ">worker host >pid state >lanes >a_lane via >samples/s >hidden >memory "
                          ">heard",
                          add_worker, out);
    if (code == 0)
        code = print_rows(document_get(status, "servers"),
                          ">server host >pid state >shards >blocks >copies >pushes/s >held >in/s "
                          ">out/s >memory >heard",
                          add_server, out);
    return code;
}

/* Into memory first: whoever answered must not steer the reader's terminal. */
int status_print(const struct document *status, FILE *out)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return ERR_NOMEM;
    int code = print_all(status, memory);
    bool has_failed = ferror(memory) != 0;
    if (fclose(memory) != 0 || has_failed)
        code = ERR_NOMEM;
    if (code == 0) {
        err_blank(text);
        fputs(text, out);
    }
    free(text);
    return code;
}
