#include "ps/shard_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"

static uint64_t shard_id(const struct view *view, const uint32_t *places, size_t block_idx)
{
    if (places == NULL || places[block_idx] == NOBODY)
        return 0;
    return view->shards[places[block_idx]].incarnation;
}

static enum shard_role role_of(const struct shard *shard, const struct view *view,
                               size_t block_idx)
{
    uint64_t me = shard->spec.incarnation;
    if (shard_id(view, view->block_shard, block_idx) == me)
        return ROLE_PRIMARY;
    if (shard_id(view, view->block_backup, block_idx) == me)
        return ROLE_BACKUP;
    return shard_id(view, view->block_learner, block_idx) == me ? ROLE_LEARNER : ROLE_NONE;
}

static void empty_block(struct shard *shard, struct shard_block *block)
{
    shard_clear_sums(shard, block);
    shard_drop_followers(shard, block);
    shard_block_free(block);
}

static void forget_era(struct shard *shard)
{
    for (size_t i = 0; shard->blocks != NULL && i < shard->layout->block_count; i++)
        empty_block(shard, &shard->blocks[i]);
    shard_drop_copies(shard);
    memset(shard->asked, 0, sizeof(shard->asked));
    shard->ready_count = 0;
}

static int create_block(struct shard *shard, uint32_t block_idx)
{
    struct shard_block_spec spec = {.settings = shard->spec.settings,
                                    .layout = shard->layout,
                                    .block_idx = block_idx,
                                    .lane_count = shard->batching.lane_count,
                                    .has_clocks = !shard_is_bsp(shard),
                                    .step = shard->start_step};
    return shard_block_create(&shard->blocks[block_idx], &spec);
}

/* What a new era begins with; from the store it comes later. */
static int begin_block(struct shard *shard, const struct view *view, uint32_t block_idx,
                       enum shard_role role)
{
    struct shard_block *block = &shard->blocks[block_idx];
    int err = create_block(shard, block_idx);
    block->role = role;
    if (err == 0 && role != ROLE_LEARNER && !view->is_restored)
        err = shard_block_init(block, shard->layout, shard->spec.settings->job.seed, shard->pool);
    return err;
}

/* Within an era.  ERR_LOST: the view takes this shard to have what it has not. */
static int change_role(struct shard *shard, uint32_t block_idx, enum shard_role role)
{
    struct shard_block *block = &shard->blocks[block_idx];
    enum shard_role was = block->role;
    if (was == role)
        return 0;
    if (role == ROLE_NONE || role == ROLE_LEARNER) {
        empty_block(shard, block);
        int err = role == ROLE_NONE ? 0 : create_block(shard, block_idx);
        block->role = role;
        return err;
    }
    if (was == ROLE_NONE || (was == ROLE_LEARNER && !block->is_ready))
        return ERR_LOST;
    if (was == ROLE_PRIMARY) {
        shard_clear_sums(shard, block);
        shard_drop_followers(shard, block);
        block->waiter_count = 0;
    }
    block->role = role;
    return 0;
}

static int take_block(struct shard *shard, const struct view *view, uint32_t block_idx,
                      struct shard_followers *followers)
{
    struct shard_block *block = &shard->blocks[block_idx];
    enum shard_role role = role_of(shard, view, block_idx);
    uint64_t primary = shard_id(view, view->block_shard, block_idx);
    bool was_fed = block->is_fed && (shard_is_bsp(shard) || block->primary == primary);
    int err = 0;
    if (followers->is_start && role != ROLE_NONE)
        err = begin_block(shard, view, block_idx, role);
    else if (!followers->is_start)
        err = change_role(shard, block_idx, role);
    if (err != 0 || role == ROLE_NONE)
        return err;
    block->is_fed = role == ROLE_PRIMARY || followers->is_start || was_fed;
    block->primary = primary;
    if (role == ROLE_PRIMARY) {
        followers->backup = shard_id(view, view->block_backup, block_idx);
        followers->learner = shard_id(view, view->block_learner, block_idx);
        shard_name_followers(shard, block, followers);
    }
    *(role == ROLE_PRIMARY ? &shard->state_bytes : &shard->other_bytes) +=
        shard_block_state_bytes(block);
    shard->primary_count += role == ROLE_PRIMARY;
    return 0;
}

static int take_blocks(struct shard *shard, const struct view *view,
                       struct shard_followers *followers)
{
    int err = 0;
    shard->primary_count = shard->state_bytes = shard->other_bytes = 0;
    for (size_t i = 0; i < shard->layout->block_count && err == 0; i++)
        err = take_block(shard, view, (uint32_t)i, followers);
    return err;
}

/* Takes a new list of count items over an old one. */
static int replace(void **list, const void *items, size_t count, size_t item_bytes)
{
    void *fresh = calloc(count + 1, item_bytes);
    if (fresh == NULL)
        return ERR_NOMEM;
    if (count > 0)
        memcpy(fresh, items, count * item_bytes);
    free(*list);
    *list = fresh;
    return 0;
}

static int take_members(struct shard *shard, const struct view *view)
{
    void *shards = shard->shards, *workers = shard->workers;
    int err = replace(&shards, view->shards, view->shard_count, sizeof(*shard->shards));
    if (err == 0)
        err = replace(&workers, view->workers, view->worker_count, sizeof(*shard->workers));
    shard->shards = shards;
    shard->workers = workers;
    if (err == 0 && shard->lane_worker == NULL)
        shard->lane_worker = calloc(view->lane_count, sizeof(*shard->lane_worker));
    if (err != 0 || shard->lane_worker == NULL)
        return ERR_NOMEM;
    shard->shard_count = view->shard_count;
    shard->worker_count = view->worker_count;
    for (size_t i = 0; i < view->lane_count; i++) {
        uint32_t idx = view->lane_worker == NULL ? NOBODY : view->lane_worker[i];
        shard->lane_worker[i] = idx == NOBODY ? 0 : view->workers[idx].incarnation;
    }
    return 0;
}

static int take_layout(struct shard *shard, const struct layout *layout)
{
    if (shard->layout != NULL)
        return 0;
    int err = layout_create(layout->tensors, layout->tensor_count, layout->block_bytes,
                            &shard->layout, NULL);
    if (err != 0)
        return err;
    shard->blocks = calloc(shard->layout->block_count, sizeof(*shard->blocks));
    return shard->blocks == NULL ? ERR_NOMEM : 0;
}

static int take_job(struct shard *shard, const struct view *view)
{
    const struct settings *settings = shard->spec.settings;
    shard->start_step = view->start_step;
    shard->step_count = view->step_count;
    shard->hold_step = view->early_stop.hold_step;
    shard->batching = (struct batching){.seed = settings->job.seed,
                                        .sample_count = view->train_count,
                                        .batch = settings->job.batch,
                                        .lane_count = settings->job.lanes};
    int err = take_layout(shard, view->layout);
    return err != 0 ? err : take_members(shard, view);
}

static bool fits(const struct shard *shard, const struct view *view)
{
    const struct layout *layout = shard->layout != NULL ? shard->layout : view->layout;
    return layout != NULL && view->train_count > 0 && view->block_count == layout->block_count &&
           view->lane_count == shard->spec.settings->job.lanes;
}

/* True when it is another one than before. */
static bool take_store(struct shard *shard, const struct view *view)
{
    bool is_same = shard->store.id == view->store_incarnation &&
                   strcmp(shard->store_endpoint, view->store_endpoint) == 0;
    shard->store = (struct address){PARTY_STORE, view->store_incarnation};
    memcpy(shard->store_endpoint, view->store_endpoint, sizeof(shard->store_endpoint));
    return !is_same;
}

static const char *sentence_of(int err)
{
    if (err == ERR_LOST)
        return "the coordinator's view gives this shard a block that it has not got";
    return err == ERR_NOMEM ? "no memory for this shard's blocks"
                            : "the coordinator's view does not fit this job";
}

static int adopt(struct shard *shard, const struct message *msg)
{
    const struct view *view = &msg->view_body;
    if (!fits(shard, view))
        return ERR_PROTO;
    struct shard_followers followers = {
        .is_start = shard->view == 0 || view->era > shard->era,
        .is_doubtful = view->number > shard->view + 1,
    };
    if (shard->view == 0)
        shard->lease_ms = shard->now_ms;
    if (followers.is_start)
        forget_era(shard);
    shard->run = msg->run;
    shard->view = view->number;
    shard->era = view->era;
    int err = take_job(shard, view);
    return err != 0 ? err : take_blocks(shard, view, &followers);
}

void shard_take_view(struct shard *shard, const struct message *msg, struct outbox *out)
{
    const struct view *view = &msg->view_body;
    bool is_first = shard->view == 0;
    if (!is_first && (view->number <= shard->view || view->era < shard->era ||
                      !run_equal(msg->run, shard->run)))
        return;
    bool is_new_era = is_first || view->era > shard->era;
    int err = adopt(shard, msg);
    if (err != 0) {
        shard_give_up(shard, err, sentence_of(err), out);
        return;
    }
    bool is_new_store = take_store(shard, view);
    log_event(LOG_INFO, "view",
              "shard=%" PRIu32 " view=%" PRIu32 " era=%" PRIu32
              " blocks=%zu bytes=%zu step=%" PRIu64,
              shard->spec.hello.shard_idx, shard->view, shard->era, shard->primary_count,
              shard->state_bytes, shard->start_step);
    if (is_new_store || is_new_era)
        shard_keep_again(shard, out);
    shard_settle_all(shard, out);
    shard_feed_tick(shard, out);
}
