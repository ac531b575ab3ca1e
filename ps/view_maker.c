#include "ps/view_maker.h"

#include <stdlib.h>
#include <string.h>
#include "common/lane.h"
#include "ps/placement.h"

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
        if (members->items[i].who.party == party)
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
    for (size_t i = 0; i < view->worker_count; i++)
        workers[i] = (struct worker_member){list[i]->rank, list[i]->who.id};
    free(list);
    return 0;
}

static int deal_lanes(uint32_t lane_count, struct view *view)
{
    uint32_t *owners = calloc(lane_count, sizeof(*owners));
    view->lane_worker = owners;
    view->lane_count = lane_count;
    if (owners == NULL)
        return ERR_NOMEM;
    for (uint32_t w = 0; w < view->worker_count; w++) {
        struct lane_node share = lane_share(lane_count, w, (uint32_t)view->worker_count);
        for (uint32_t lane = share.begin; lane < share.end; lane++)
            owners[lane] = w;
    }
    return 0;
}

static int place_blocks(struct view *view)
{
    uint32_t *placed = calloc(view->layout->block_count, sizeof(*placed));
    view->block_shard = placed;
    view->block_count = view->layout->block_count;
    return placed == NULL ? ERR_NOMEM : placement_deal(view->layout, view->shard_count, placed);
}

int view_make(const struct members *members, uint32_t lane_count, struct view *view)
{
    int err = list_shards(members, view);
    if (err == 0)
        err = list_workers(members, view);
    if (err == 0)
        err = deal_lanes(lane_count, view);
    if (err == 0)
        err = place_blocks(view);
    return err;
}

void view_free(struct view *view)
{
    free((void *)view->shards);
    free((void *)view->workers);
    free((void *)view->lane_worker);
    free((void *)view->block_shard);
    *view = (struct view){0};
}
