#include "ps/view_maker.h"

#include <stdlib.h>
#include <string.h>

static int by_rank(const void *a, const void *b)
{
    const struct member *left = *(const struct member *const *)a;
    const struct member *right = *(const struct member *const *)b;
    if (left->rank != right->rank)
        return left->rank < right->rank ? -1 : 1;
    return left->hello.shard_idx < right->hello.shard_idx ? -1 : 1;
}

/* The members of one party in order of rank: [*count_out], to be freed; NULL without memory. */
static const struct member **sorted(const struct members *members, enum party party,
                                    size_t *count_out)
{
    const struct member **list = calloc(members->count + 1, sizeof(*list));
    size_t count = 0;
    for (size_t i = 0; list != NULL && i < members->count; i++)
        if (members->items[i].who.party == party && members->items[i].state != MEMBER_GONE)
            list[count++] = &members->items[i];
    if (list != NULL)
        qsort(list, count, sizeof(*list), by_rank);
    *count_out = count;
    return list;
}

static int list_shards(const struct members *members, struct view *view)
{
    const struct member **list = sorted(members, PARTY_SHARD, &view->shard_count);
    struct shard_member *shards = calloc(view->shard_count + 1, sizeof(*shards));
    view->shards = shards;
    if (list == NULL || shards == NULL) {
        free(list);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < view->shard_count; i++) {
        shards[i] = (struct shard_member){.rank = list[i]->rank,
                                          .shard_idx = list[i]->hello.shard_idx,
                                          .incarnation = list[i]->who.id};
        memcpy(shards[i].endpoint, list[i]->hello.endpoint, sizeof(shards[i].endpoint));
        memcpy(shards[i].door, list[i]->hello.door, sizeof(shards[i].door));
    }
    free(list);
    return 0;
}

static int list_workers(const struct members *members, struct view *view)
{
    const struct member **list = sorted(members, PARTY_WORKER, &view->worker_count);
    struct worker_member *workers = calloc(view->worker_count + 1, sizeof(*workers));
    view->workers = workers;
    if (list == NULL || workers == NULL) {
        free(list);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < view->worker_count; i++) {
        workers[i] = (struct worker_member){.rank = list[i]->rank, .incarnation = list[i]->who.id};
        memcpy(workers[i].door, list[i]->hello.door, sizeof(workers[i].door));
    }
    free(list);
    return 0;
}

uint32_t view_shard_idx(const struct view *view, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < view->shard_count; i++)
        if (view->shards[i].incarnation == id)
            return (uint32_t)i;
    return NOBODY;
}

uint32_t view_worker_idx(const struct view *view, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < view->worker_count; i++)
        if (view->workers[i].incarnation == id)
            return (uint32_t)i;
    return NOBODY;
}

/* Ids as indices; NULL when all are nobody and that may be left out. */
static int list_ids(const struct view *view, const uint64_t *ids, size_t count,
                    const uint32_t **out)
{
    size_t known = 0;
    uint32_t *list = calloc(count + 1, sizeof(*list));
    if (list == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        list[i] = view_shard_idx(view, ids[i]);
        known += list[i] != NOBODY;
    }
    if (known == 0) {
        free(list);
        list = NULL;
    }
    *out = list;
    return 0;
}

static int list_lanes(const uint64_t *owners, uint32_t lane_count, struct view *view)
{
    uint32_t *list = calloc(lane_count, sizeof(*list));
    view->lane_worker = list;
    view->lane_count = lane_count;
    if (list == NULL)
        return ERR_NOMEM;
    for (uint32_t lane = 0; lane < lane_count; lane++)
        list[lane] = view_worker_idx(view, owners[lane]);
    return 0;
}

static void free_arrays(struct view *view)
{
    free((void *)view->shards);
    free((void *)view->workers);
    free((void *)view->lane_worker);
    free((void *)view->block_shard);
    free((void *)view->block_backup);
    free((void *)view->block_learner);
}

static void forget_arrays(struct view *view)
{
    view->shards = NULL;
    view->workers = NULL;
    view->lane_worker = view->block_shard = view->block_backup = view->block_learner = NULL;
}

int view_make(const struct members *members, const struct placement *placement,
              const uint64_t *lane_owner, uint32_t lane_count, struct view *view)
{
    struct view made = *view;
    size_t blocks = placement->layout->block_count;
    forget_arrays(&made);
    made.block_count = blocks;
    int err = list_shards(members, &made);
    if (err == 0)
        err = list_workers(members, &made);
    if (err == 0)
        err = list_ids(&made, placement->primary, blocks, &made.block_shard);
    if (err == 0)
        err = list_ids(&made, placement->backup, blocks, &made.block_backup);
    if (err == 0)
        err = list_ids(&made, placement->learner, blocks, &made.block_learner);
    if (err == 0)
        err = list_lanes(lane_owner, lane_count, &made);
    if (err != 0) {
        free_arrays(&made);
        return err;
    }
    free_arrays(view);
    *view = made;
    return 0;
}

/* *failed is set when memory is out. */
static void *copy(const void *from, size_t bytes, bool *failed)
{
    void *to = from == NULL ? NULL : malloc(bytes + 1);
    if (to != NULL)
        memcpy(to, from, bytes);
    else if (from != NULL)
        *failed = true;
    return to;
}

int view_copy(const struct view *from, struct view *to)
{
    bool failed = false;
    size_t block_bytes = from->block_count * sizeof(uint32_t);
    *to = *from;
    to->layout = NULL;
    to->shards = copy(from->shards, from->shard_count * sizeof(*from->shards), &failed);
    to->workers = copy(from->workers, from->worker_count * sizeof(*from->workers), &failed);
    to->block_shard = copy(from->block_shard, block_bytes, &failed);
    to->block_backup = copy(from->block_backup, block_bytes, &failed);
    to->block_learner = copy(from->block_learner, block_bytes, &failed);
    to->lane_worker =
        copy(from->lane_worker, from->lane_count * sizeof(*from->lane_worker), &failed);
    if (!failed)
        return 0;
    view_free(to);
    return ERR_NOMEM;
}

void view_free(struct view *view)
{
    free_arrays(view);
    *view = (struct view){0};
}
