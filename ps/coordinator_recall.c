#include <string.h>
#include "ps/coordinator_state.h"
#include "ps/view_maker.h"

static int recall_job(struct coordinator *c, const struct message *record, struct err_msg *why)
{
    if (strcmp(record->hello.fingerprint, c->spec.fingerprint) != 0)
        return err_set(why, ERR_INPUT,
                       "the journal is of a run of another job (settings %.12s) than this one "
                       "(%.12s)",
                       record->hello.fingerprint, c->spec.fingerprint);
    return 0;
}

/* Who has no name of its own, or somebody else's, could not be told apart from nobody. */
static int recall_member(struct coordinator *c, struct address who, uint32_t rank,
                         const struct hello *hello, struct err_msg *why)
{
    struct member *member;
    if (who.id == 0 || members_find(&c->members, who) != NULL)
        return err_set(why, ERR_INPUT, "the journal's view names %s %u %s",
                       who.party == PARTY_SHARD ? "a shard of server" : "worker", rank,
                       who.id == 0 ? "without an incarnation" : "by another's incarnation");
    if (members_add(&c->members, who, rank, hello, &member) != 0)
        return err_set(why, ERR_NOMEM, "no memory for the journal's view");
    return 0;
}

/* Their hellos come again when they have found us. */
static int recall_members(struct coordinator *c, const struct view *view, struct err_msg *why)
{
    int err = 0;
    members_free(&c->members);
    for (size_t i = 0; i < view->shard_count && err == 0; i++) {
        struct hello hello = {.rank = (int32_t)view->shards[i].rank,
                              .shard_idx = view->shards[i].shard_idx};
        memcpy(hello.endpoint, view->shards[i].endpoint, sizeof(hello.endpoint));
        memcpy(hello.door, view->shards[i].door, sizeof(hello.door));
        struct address who = {PARTY_SHARD, view->shards[i].incarnation};
        err = recall_member(c, who, view->shards[i].rank, &hello, why);
    }
    for (size_t i = 0; i < view->worker_count && err == 0; i++) {
        struct hello hello = {.rank = (int32_t)view->workers[i].rank};
        memcpy(hello.door, view->workers[i].door, sizeof(hello.door));
        struct address who = {PARTY_WORKER, view->workers[i].incarnation};
        err = recall_member(c, who, view->workers[i].rank, &hello, why);
    }
    return err;
}

static uint64_t shard_id(const struct view *view, const uint32_t *owners, size_t block_idx)
{
    return owners == NULL || owners[block_idx] == NOBODY
               ? 0
               : view->shards[owners[block_idx]].incarnation;
}

/* Learners are forgotten: the next view has none, and the one after it names them anew. */
static int recall_places(struct coordinator *c, const struct view *view)
{
    placement_free(&c->placement);
    int err = placement_create(&c->placement, c->admission.layout);
    if (err != 0)
        return err;
    c->placement.has_replicas = c->spec.settings->cluster.replicas > 0;
    for (size_t i = 0; i < view->block_count; i++) {
        c->placement.primary[i] = shard_id(view, view->block_shard, i);
        c->placement.backup[i] = shard_id(view, view->block_backup, i);
    }
    for (uint32_t lane = 0; lane < view->lane_count; lane++)
        c->lane_owner[lane] = view->lane_worker[lane] == NOBODY
                                  ? 0
                                  : view->workers[view->lane_worker[lane]].incarnation;
    return 0;
}

static int recall_view(struct coordinator *c, const struct message *record, struct err_msg *why)
{
    const struct view *view = &record->view_body;
    if (view->layout == NULL || view->lane_count != c->spec.settings->job.lanes ||
        view->layout->block_bytes != c->spec.settings->exchange.block_bytes)
        return err_set(why, ERR_INPUT, "the journal's view has other lanes or blocks than the job");
    admission_free(&c->admission);
    c->admission.train_count = view->train_count;
    c->admission.test_count = view->test_count;
    c->admission.is_settled = true;
    int err = layout_create(view->layout->tensors, view->layout->tensor_count,
                            view->layout->block_bytes, &c->admission.layout, why);
    if (err != 0)
        return err;
    view_free(&c->view);
    err = view_copy(view, &c->view);
    c->view.layout = c->admission.layout;
    if (err == 0)
        err = recall_places(c, view);
    if (err != 0)
        return err_set(why, err, "no memory for the journal's view");
    err = recall_members(c, view, why);
    if (err != 0)
        return err;
    c->batching = (struct batching){.seed = c->spec.settings->job.seed,
                                    .sample_count = view->train_count,
                                    .batch = c->spec.settings->job.batch,
                                    .lane_count = c->spec.settings->job.lanes};
    return 0;
}

int coordinator_recall(struct coordinator *c, const struct message *record, struct err_msg *why)
{
    c->is_recalled = true;
    switch (record->kind) {
    case MSG_HELLO:
        return recall_job(c, record, why);
    case MSG_VIEW:
        return recall_view(c, record, why);
    case MSG_CHECKPOINT_DONE:
        c->has_kept = record->outcome.step > 0;
        c->kept_step = record->outcome.step;
        snprintf(c->checkpoint, sizeof(c->checkpoint), "%s", record->outcome.text);
        return 0;
    default:
        return 0;
    }
}
