#include "worker/data/shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t memory_limit(const struct settings *settings)
{
    struct rlimit limit;
    uint64_t bytes = settings->data.memory_bytes;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur / 4 < bytes)
        bytes = limit.rlim_cur / 4;
    return bytes;
}

static int fill_table_options(const struct settings *settings, struct table_options *out,
                              struct err_msg *why)
{
    const char *delimiter = settings->data.delimiter;
    bool is_tab = strcmp(delimiter, "\\t") == 0;
    if (!is_tab && (strlen(delimiter) != 1 || strchr("\"\r\n", *delimiter)))
        return err_set(why, ERR_INPUT,
                       "data.delimiter: found \"%s\", expected one character, no quote or line end",
                       delimiter);
    *out = (struct table_options){
        .delimiter = is_tab ? '\t' : *delimiter,
        .has_header = settings->data.header,
        .labels_are_numbers = settings->model.loss == LOSS_MEAN_SQUARED_ERROR,
        .label_column = settings->data.label_column,
        .categorical = (const char *const *)settings->data.categorical.items,
        .categorical_count = settings->data.categorical.count,
    };
    return 0;
}

int shared_open(const struct settings *settings, struct samples_spec *spec, struct shared **out,
                struct err_msg *why)
{
    spec->format = settings->data.format;
    int rc = fill_table_options(settings, &spec->table, why);
    if (rc < 0)
        return rc;
    struct rows_place place = {settings->data.spool_dir, memory_limit(settings)};
    struct shared *shared = calloc(1, sizeof(*shared));
    if (!shared)
        return err_set(why, ERR_NOMEM, "out of memory");
    atomic_init(&shared->holder_count, 1);
    rc = samples_open(spec, &place, &shared->samples, why);
    if (rc < 0) {
        shared_release(shared);
        return rc == ERR_NOT_FOUND ? ERR_INPUT : rc; /* that code says: the job has no such part */
    }
    *out = shared;
    return 0;
}

struct shared *shared_take(struct shared *shared)
{
    atomic_fetch_add(&shared->holder_count, 1);
    return shared;
}

void shared_release(struct shared *shared)
{
    if (!shared || atomic_fetch_sub(&shared->holder_count, 1) > 1)
        return;
    samples_close(&shared->samples);
    free(shared);
}
