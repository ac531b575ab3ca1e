#include "ps/logbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/arena.h"
#include "common/file.h"
#include "common/path.h"

enum { ARENA_FIRST_BYTES = 4096, ARENA_LIMIT_BYTES = 256 << 20, LONG_BYTES = 16 << 20 };

struct logbook {
    struct journal *journal;
    struct arena *arena; /* of the record in work */
    char dir[PATH_MAX], endpoint_path[PATH_MAX];
    struct journal_record *records; /* as read; [count] */
    size_t count, capacity;
    bool is_unfinished, has_end;
    struct outcome end;
    struct run_id run;
    char checkpoint[sizeof(((struct outcome *)NULL)->text)];
    char endpoint[512];
    uint64_t replaced_bytes; /* length after the last replacement */
};

static int add_record(void *context, const void *bytes, size_t size_bytes, struct err_msg *why)
{
    struct logbook *logbook = context;
    if (logbook->count == logbook->capacity) {
        size_t capacity = logbook->capacity == 0 ? 64 : 2 * logbook->capacity;
        struct journal_record *records =
            realloc(logbook->records, capacity * sizeof(*records));
        if (records == NULL)
            return err_set(why, ERR_NOMEM, "%s: no memory for its records", logbook->dir);
        logbook->records = records;
        logbook->capacity = capacity;
    }
    void *copy = malloc(size_bytes);
    if (copy == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for its records", logbook->dir);
    memcpy(copy, bytes, size_bytes);
    logbook->records[logbook->count++] = (struct journal_record){copy, size_bytes};
    return 0;
}

static void free_records(struct logbook *logbook)
{
    for (size_t i = 0; i < logbook->count; i++)
        free((void *)logbook->records[i].bytes);
    free(logbook->records);
    logbook->records = NULL;
    logbook->count = logbook->capacity = 0;
}

static int show(struct logbook *logbook, logbook_visit *visit, void *context, struct err_msg *why)
{
    int err = 0;
    for (size_t i = 0; i < logbook->count && err == 0; i++) {
        struct message record;
        arena_reset(logbook->arena);
        err = message_unpack(logbook->records[i].bytes, logbook->records[i].size_bytes, NULL,
                             logbook->arena, &record, why);
        if (err == ERR_NOMEM)
            err_set(why, err, "%s: no memory for record %zu", logbook->dir, i + 1);
        else if (err != 0)
            err = err_prefix(why, ERR_INPUT, "%s: record %zu is of another version of Talweg: ",
                             logbook->dir, i + 1);
        else
            err = visit(context, &record, why);
    }
    return err;
}

int logbook_recall(struct logbook *logbook, logbook_visit *visit, void *context,
                   struct err_msg *why)
{
    int err = show(logbook, visit, context, why);
    free_records(logbook);
    return err;
}

static int look(void *context, const struct message *record, struct err_msg *why)
{
    struct logbook *logbook = context;
    (void)why;
    logbook->run = record->run;
    logbook->is_unfinished = record->kind != MSG_FINISH;
    logbook->has_end = record->kind == MSG_FINISH;
    if (logbook->has_end)
        logbook->end = record->outcome;
    if (record->kind == MSG_CHECKPOINT_DONE && record->outcome.code == 0)
        snprintf(logbook->checkpoint, sizeof(logbook->checkpoint), "%s", record->outcome.text);
    return 0;
}

static int read_endpoint(struct logbook *logbook, struct err_msg *why)
{
    char *text = NULL;
    size_t size;
    int err = file_read(logbook->endpoint_path, sizeof(logbook->endpoint) - 1, &text, &size, why);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (err == 0)
        snprintf(logbook->endpoint, sizeof(logbook->endpoint), "%.*s", (int)strcspn(text, "\n"),
                 text);
    free(text);
    return err;
}

static int load(struct logbook *logbook, bool is_fresh, struct err_msg *why)
{
    char path[PATH_MAX];
    int err = journal_open(logbook->dir, is_fresh ? NULL : add_record, logbook, &logbook->journal,
                           why);
    if (err == ERR_INPUT && is_fresh) { /* nobody has it open: that would be another error */
        err = path_join(path, logbook->dir, "records", why);
        if (err == 0 && unlink(path) != 0)
            err = err_set(why, ERR_IO, "%s: cannot be removed", path);
        if (err == 0)
            err = journal_open(logbook->dir, NULL, NULL, &logbook->journal, why);
    }
    if (err == 0 && !is_fresh)
        err = show(logbook, look, logbook, why);
    bool has_run = logbook->is_unfinished || logbook->has_end;
    return err != 0 || !has_run ? err : read_endpoint(logbook, why);
}

int logbook_open(const char *out_dir, bool is_fresh, struct logbook **logbook_out,
                 struct err_msg *why)
{
    struct logbook *logbook = calloc(1, sizeof(*logbook));
    if (logbook == NULL ||
        arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &logbook->arena) != 0) {
        free(logbook);
        return err_set(why, ERR_NOMEM, "no memory for the journal");
    }
    int err = path_join(logbook->dir, out_dir, "journal", why);
    if (err == 0)
        err = path_join(logbook->endpoint_path, logbook->dir, "endpoint", why);
    if (err == 0)
        err = load(logbook, is_fresh, why);
    if (err != 0) {
        logbook_close(logbook);
        return err;
    }
    *logbook_out = logbook;
    return 0;
}

void logbook_close(struct logbook *logbook)
{
    if (logbook == NULL)
        return;
    free_records(logbook);
    journal_close(logbook->journal);
    arena_destroy(logbook->arena);
    free(logbook);
}

bool logbook_is_unfinished(const struct logbook *logbook)
{
    return logbook->is_unfinished;
}

const struct outcome *logbook_end(const struct logbook *logbook)
{
    return logbook->has_end ? &logbook->end : NULL;
}

struct run_id logbook_run(const struct logbook *logbook)
{
    return logbook->run;
}

const char *logbook_checkpoint(const struct logbook *logbook)
{
    return logbook->checkpoint;
}

const char *logbook_endpoint(const struct logbook *logbook)
{
    return logbook->endpoint;
}

int logbook_begin(struct logbook *logbook, struct err_msg *why)
{
    free_records(logbook);
    return journal_rewrite(logbook->journal, NULL, 0, why);
}

int logbook_keep_endpoint(struct logbook *logbook, const char *endpoint, struct err_msg *why)
{
    return file_replace(logbook->endpoint_path, endpoint, strlen(endpoint), why);
}

/* The bytes are valid until the arena's reset. */
static int pack(struct logbook *logbook, const struct message *msg,
                struct journal_record *record_out, struct err_msg *why)
{
    int err = message_pack(msg, logbook->arena, &record_out->bytes, &record_out->size_bytes);
    return err == 0 ? 0
                    : err_set(why, err, "%s: cannot record a %s: %s", logbook->dir,
                              message_kind_text(msg->kind), err_text(err));
}

int logbook_keep(struct logbook *logbook, const struct message *record, struct err_msg *why)
{
    struct journal_record packed;
    arena_reset(logbook->arena);
    int err = pack(logbook, record, &packed, why);
    return err != 0 ? err : journal_append(logbook->journal, packed, why);
}

bool logbook_is_long(const struct logbook *logbook)
{
    /* A journal that is long when it has just been replaced may double first. */
    return journal_bytes(logbook->journal) > LONG_BYTES + 2 * logbook->replaced_bytes;
}

int logbook_replace(struct logbook *logbook, const struct outbox *records, struct err_msg *why)
{
    struct journal_record *packed = calloc(records->count + 1, sizeof(*packed));
    if (packed == NULL || outbox_failed(records)) {
        free(packed);
        return err_set(why, ERR_NOMEM, "%s: no memory for %zu records", logbook->dir,
                       records->count);
    }
    int err = 0;
    arena_reset(logbook->arena);
    for (size_t i = 0; i < records->count && err == 0; i++)
        err = pack(logbook, &records->items[i].msg, &packed[i], why);
    if (err == 0)
        err = journal_rewrite(logbook->journal, packed, records->count, why);
    free(packed);
    logbook->replaced_bytes = journal_bytes(logbook->journal);
    return err;
}
