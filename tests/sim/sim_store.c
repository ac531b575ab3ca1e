/* The store of checkpoints, in memory: blocks of steps in the making die with the coordinator's
 * process, whole checkpoints stay. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

struct sim_bytes *sim_list_add(struct sim_list *list, uint64_t step, uint32_t block,
                               const void *data, size_t size)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->items = realloc(list->items, list->capacity * sizeof(*list->items));
        assert(list->items != NULL);
    }
    struct sim_bytes *item = &list->items[list->count++];
    *item = (struct sim_bytes){step, block, malloc(size), size};
    assert(item->data != NULL);
    memcpy(item->data, data, size);
    return item;
}

void sim_list_clear(struct sim_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].data);
    free(list->items);
    *list = (struct sim_list){0};
}

static const struct sim_bytes *find(const struct sim_list *list, uint64_t step, uint32_t block)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].step == step && list->items[i].block == block)
            return &list->items[i];
    return NULL;
}

static size_t count_step(const struct sim_list *list, uint64_t step)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        count += list->items[i].step == step;
    return count;
}

static void remove_step(struct sim_list *list, uint64_t step)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].step != step)
            list->items[kept++] = list->items[i];
        else
            free(list->items[i].data);
    }
    list->count = kept;
}

void sim_store_died(struct sim *sim)
{
    sim_list_clear(&sim->open);
    sim->failed_count = 0;
    sim->is_store_ready = false;
}

static void report(struct sim *sim, size_t self, const struct message *like, int code)
{
    struct message done = {.kind = MSG_CHECKPOINT_DONE,
                           .run = like->run,
                           .sender = sim->parties[self].self.id,
                           .view = like->view,
                           .era = sim->store_era};
    done.outcome.code = code;
    done.outcome.step = like->key.step;
    snprintf(done.outcome.text, sizeof(done.outcome.text), "%s",
             code == 0 ? "memory" : "no space left on this disk");
    sim_trace(sim, "checkpoint of step %llu: %d", (unsigned long long)like->key.step, code);
    sim_post(sim, self, (struct address){PARTY_COORDINATOR, 0}, &done);
}

/* One more is there than is to be kept: the coordinator may not have heard of the newest yet. */
static void prune(struct sim *sim)
{
    uint64_t steps[SIM_HISTORY_MAX];
    size_t count = sim_store_steps(sim->store, steps);
    size_t keep = sim->spec->settings.checkpoint.keep;
    keep += keep > 0;
    for (size_t i = 0; keep > 0 && i + keep < count; i++)
        remove_step(&sim->store->blocks, steps[i]);
}

static void commit(struct sim *sim, size_t self, const struct message *msg)
{
    remove_step(&sim->store->blocks, msg->key.step);
    for (size_t i = 0; i < sim->open.count; i++) {
        const struct sim_bytes *item = &sim->open.items[i];
        if (item->step == msg->key.step)
            sim_list_add(&sim->store->blocks, item->step, item->block, item->data, item->size);
    }
    remove_step(&sim->open, msg->key.step);
    sim->kept_steps |= msg->key.step < 64 ? 1ull << msg->key.step : 0;
    report(sim, self, msg, 0);
    prune(sim);
}

static bool has_failed(const struct sim *sim, uint64_t step)
{
    for (size_t i = 0; i < sim->failed_count && i < SIM_HISTORY_MAX; i++)
        if (sim->failed_steps[i] == step)
            return true;
    return false;
}

static void keep(struct sim *sim, size_t self, const struct message *msg)
{
    uint64_t step = msg->key.step;
    if (count_step(&sim->store->blocks, step) == sim->layout->block_count) {
        report(sim, self, msg, 0); /* is on disk already; whoever asks again has not heard */
        return;
    }
    if (has_failed(sim, step) || find(&sim->open, step, msg->key.block) != NULL)
        return;
    bool is_first = count_step(&sim->open, step) == 0;
    if (is_first && step < sim_step_count(sim) && step != sim->store_hold_step &&
        sim_is_likely(sim, sim->spec->disk_fail_percent)) {
        sim->failed_steps[sim->failed_count++ % SIM_HISTORY_MAX] = step;
        report(sim, self, msg, ERR_IO);
        return;
    }
    sim_list_add(&sim->open, step, msg->key.block, msg->payload->data, msg->payload->size_bytes);
    if (count_step(&sim->open, step) == sim->layout->block_count)
        commit(sim, self, msg);
}

static void take_view(struct sim *sim, const struct message *msg)
{
    if (sim->is_store_ready && msg->view_body.era > sim->store_era) {
        sim_list_clear(&sim->open);
        sim->failed_count = 0;
    }
    if (!sim->is_store_ready || msg->view_body.era > sim->store_era)
        sim->store_era = msg->view_body.era;
    sim->store_hold_step = msg->view_body.early_stop.hold_step;
    sim->is_store_ready = true;
}

void sim_store_hear(struct sim *sim, size_t self, struct address from, const struct message *msg)
{
    struct message answer = {.run = msg->run,
                             .sender = sim->parties[self].self.id,
                             .view = msg->view,
                             .era = sim->store_era,
                             .key = msg->key};
    if (from.party == PARTY_COORDINATOR && msg->kind == MSG_VIEW)
        take_view(sim, msg);
    sim->store->block_count = sim->layout->block_count;
    bool is_of_era = sim->is_store_ready && msg->era == sim->store_era;
    if (from.party != PARTY_SHARD || !is_of_era)
        return; /* of weights that were taken back, or before the view: it is sent again */
    if (msg->kind == MSG_BLOCK_STATE) {
        keep(sim, self, msg);
        answer.kind = MSG_BLOCK_KEPT;
        sim_post(sim, self, from, &answer);
    } else if (msg->kind == MSG_BLOCK_FETCH) {
        const struct sim_bytes *state = find(&sim->store->blocks, msg->key.step, msg->key.block);
        if (state == NULL) {
            sim_violate(sim, "step %llu is fetched, of which there is no checkpoint",
                        (unsigned long long)msg->key.step);
            return;
        }
        answer.kind = MSG_BLOCK_STATE;
        answer.payload = buffer_pool_take(sim->pool, state->size);
        memcpy(answer.payload->data, state->data, state->size);
        sim_post(sim, self, from, &answer);
        buffer_unref(answer.payload);
    }
}

struct sim_store *sim_store_create(void)
{
    struct sim_store *store = calloc(1, sizeof(*store));
    assert(store != NULL);
    return store;
}

void sim_store_destroy(struct sim_store *store)
{
    sim_list_clear(&store->blocks);
    free(store);
}

size_t sim_store_steps(const struct sim_store *store, uint64_t steps_out[SIM_HISTORY_MAX])
{
    size_t found = 0;
    for (uint64_t step = 1; step <= SIM_HISTORY_MAX && found < SIM_HISTORY_MAX; step++)
        if (store->block_count > 0 && count_step(&store->blocks, step) == store->block_count)
            steps_out[found++] = step;
    return found;
}
