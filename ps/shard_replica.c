#include "ps/shard_replica.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void replicas_free(struct replicas *replicas)
{
    for (size_t i = 0; i < replicas->log_count; i++)
        buffer_unref(replicas->log[i].sum);
    free(replicas->log);
    *replicas = (struct replicas){0};
}

struct replica *replicas_find(struct replicas *replicas, uint64_t id)
{
    for (size_t i = 0; i < REPLICAS_MAX && id != 0; i++)
        if (replicas->items[i].id == id)
            return &replicas->items[i];
    return NULL;
}

bool replica_has(const struct replica *replica, uint64_t version)
{
    return replica->is_confirmed && replica->acked >= version;
}

bool replicas_have(const struct replicas *replicas, uint64_t version)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const struct replica *replica = &replicas->items[i];
        if (replica->id != 0 && replica->is_counted && !replica_has(replica, version))
            return false;
    }
    return true;
}

bool replicas_make_room(struct replicas *replicas, size_t most)
{
    assert(most <= REPLICA_UPDATES_MAX);
    if (replicas->log_count < most)
        return true;
    for (size_t i = 0; i < REPLICAS_MAX; i++)
        if (!replicas->items[i].is_counted)
            replicas->items[i].is_sent = false;
    replicas_trim(replicas);
    return replicas->log_count < most;
}

size_t replicas_log_bytes(const struct replicas *replicas)
{
    size_t bytes = 0;
    for (size_t i = 0; i < replicas->log_count; i++)
        bytes += replicas->log[i].sum == NULL ? 0 : replicas->log[i].sum->size_bytes;
    return bytes;
}

bool replicas_are_fed(const struct replicas *replicas)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++)
        if (replicas->items[i].id != 0 && replicas->items[i].is_sent)
            return true;
    return false;
}

int replicas_log(struct replicas *replicas, uint64_t version, const struct replica_update *update)
{
    if (!replicas_are_fed(replicas))
        return 0;
    assert(replicas->log_count < REPLICA_UPDATES_MAX);
    if (replicas->log == NULL)
        replicas->log = calloc(REPLICA_UPDATES_MAX, sizeof(*replicas->log));
    if (replicas->log == NULL)
        return ERR_NOMEM;
    if (replicas->log_count == 0)
        replicas->log_begin = version;
    assert(replicas->log_begin + replicas->log_count == version);
    replicas->log[replicas->log_count++] = *update;
    if (update->sum != NULL)
        buffer_ref(update->sum);
    return 0;
}

const struct replica_update *replicas_logged(const struct replicas *replicas, uint64_t version)
{
    if (version < replicas->log_begin || version - replicas->log_begin >= replicas->log_count)
        return NULL;
    return &replicas->log[version - replicas->log_begin];
}

void replicas_trim(struct replicas *replicas)
{
    uint64_t end = replicas->log_begin + replicas->log_count, keep = end;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const struct replica *replica = &replicas->items[i];
        if (replica->id == 0 || !replica->is_sent)
            continue;
        uint64_t needed = replica_has(replica, replica->from) ? replica->acked : replica->from;
        keep = needed < keep ? needed : keep;
    }
    size_t drop = keep > replicas->log_begin ? (size_t)(keep - replicas->log_begin) : 0;
    for (size_t i = 0; i < drop; i++)
        buffer_unref(replicas->log[i].sum);
    if (drop > 0)
        memmove(replicas->log, replicas->log + drop,
                (replicas->log_count - drop) * sizeof(*replicas->log));
    replicas->log_count -= drop;
    replicas->log_begin += drop;
}
