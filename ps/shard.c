#include "ps/shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/log.h"
#include "ps/optimizer.h"
#include "ps/shard_block.h"

enum { FETCHES_IN_FLIGHT = 8, RETRY_MS = 1000, CHECKPOINT_COPIES = 2, ASKED_MAX = 8 };

enum { WAITING_LOG_HELLOS = 10 }; /* a line of log every so many */

static const uint32_t not_mine = UINT32_MAX;

struct shard {
    struct shard_spec spec;
    struct run_id run;
    struct buffer_pool *pool;
    size_t state_count;

    uint32_t view; /* 0: none yet */
    uint64_t start_step, step_count;
    struct batching batching;
    struct address store;
    char store_endpoint[ENDPOINT_BYTES];
    uint64_t *workers; /* incarnations */
    size_t worker_count;
    struct layout *layout;
    uint32_t *local; /* [layout->block_count]: index into blocks, or not_mine */
    struct shard_block *blocks;
    size_t block_count, ready_count;
    size_t state_bytes; /* weights and optimizer state of all blocks */

    size_t unkept_bytes; /* checkpoint copies that the store has not confirmed */
    uint64_t asked[ASKED_MAX]; /* extra checkpoint steps; 0 = free */

    uint64_t begin_ms, hello_count;
    uint64_t hello_ms, beat_ms, fetch_ms, heard_ms; /* when last done; heard: the coordinator */
    struct beat usage, totals;
    uint64_t refused_count;
    bool is_leaving; /* has asked the coordinator to end the job */
    bool is_over;
    struct outcome end;
};

static const struct address coordinator_address = {PARTY_COORDINATOR, 0};

static struct message message_of(const struct shard *shard, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = shard->run,
                            .sender = shard->spec.incarnation,
                            .view = shard->view};
}

static void finish(struct shard *shard, int code, const char *text)
{
    if (shard->is_over)
        return;
    shard->is_over = true;
    shard->end.code = code;
    snprintf(shard->end.text, sizeof(shard->end.text), "%s", text);
}

/* Ends this shard and tells the coordinator why. */
static void give_up(struct shard *shard, int code, const char *text, struct outbox *out)
{
    struct message bye = message_of(shard, MSG_BYE);
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    outbox_put(out, coordinator_address, &bye);
    finish(shard, code, text);
}

static void refuse(struct shard *shard, struct address to, int code, const char *text,
                   struct outbox *out)
{
    shard->refused_count++;
    struct message no = message_of(shard, MSG_REFUSED);
    no.outcome.code = code;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%s", text);
    outbox_put(out, to, &no);
}

static struct shard_block *block_of(struct shard *shard, uint32_t block_idx)
{
    if (shard->layout == NULL || block_idx >= shard->layout->block_count ||
        shard->local[block_idx] == not_mine)
        return NULL;
    return &shard->blocks[shard->local[block_idx]];
}

static bool is_member(const struct shard *shard, struct address from)
{
    for (size_t i = 0; from.party == PARTY_WORKER && i < shard->worker_count; i++)
        if (shard->workers[i] == from.id)
            return true;
    return false;
}

static bool is_checkpoint_step(const struct shard *shard, uint64_t version)
{
    uint64_t every = shard->spec.settings->checkpoint.every;
    if (version == shard->step_count || (every > 0 && version % every == 0))
        return true;
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (shard->asked[i] == version && version > 0)
            return true;
    return false;
}

static void capture(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    if (block->captured == block->version || !is_checkpoint_step(shard, block->version))
        return;
    struct message state = message_of(shard, MSG_BLOCK_STATE);
    state.key = (struct block_key){.step = block->version, .block = block->block_idx};
    state.payload = shard_block_capture(block, shard->state_count, shard->pool);
    if (state.payload == NULL) {
        give_up(shard, ERR_NOMEM, "no memory for a checkpoint's copy of a block", out);
        return;
    }
    block->captured = block->version;
    shard->unkept_bytes += state.payload->size_bytes;
    outbox_put(out, shard->store, &state);
    buffer_unref(state.payload);
}

static void ask_checkpoint(struct shard *shard, uint64_t step, struct outbox *out)
{
    uint64_t newest = 0, oldest = UINT64_MAX;
    for (size_t i = 0; i < shard->block_count; i++) {
        uint64_t version = shard->blocks[i].version;
        newest = version > newest ? version : newest;
        oldest = version < oldest ? version : oldest;
    }
    size_t slot = 0;
    while (slot < ASKED_MAX && shard->asked[slot] != 0 && shard->asked[slot] != step &&
           shard->asked[slot] >= oldest)
        slot++;
    if (newest > step || slot == ASKED_MAX) {
        struct message late = message_of(shard, MSG_CHECKPOINT_LATE);
        late.outcome.step = step;
        late.outcome.newest = newest;
        outbox_put(out, coordinator_address, &late);
        return;
    }
    shard->asked[slot] = step;
    for (size_t i = 0; i < shard->block_count; i++)
        if (shard->blocks[i].version == step && shard->blocks[i].is_ready)
            capture(shard, &shard->blocks[i], out);
}

static void send_weights(struct shard *shard, const struct shard_block *block, struct address to,
                         struct outbox *out)
{
    struct message weights = message_of(shard, MSG_WEIGHTS);
    weights.key = (struct block_key){.step = block->version, .block = block->block_idx};
    weights.payload = block->weights;
    shard->totals.bytes_out += block->weights->size_bytes;
    outbox_put(out, to, &weights);
}

static void answer_waiters(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    for (size_t i = block->waiter_count; i-- > 0;) {
        if (block->waiters[i].version > block->version)
            continue;
        send_weights(shard, block, block->waiters[i].who, out);
        block->waiters[i] = block->waiters[--block->waiter_count];
    }
}

/* Makes the next version if the sum is whole.  A checkpoint step waits while earlier copies fill
 * the memory allowed for them: the store's pace becomes the job's, instead of memory growing. */
static void close_step(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    struct lane_node root = {0, shard->batching.lane_count};
    if (!reduction_has(&block->sums, root))
        return;
    block->is_held_back = is_checkpoint_step(shard, block->version + 1) &&
                          shard->unkept_bytes >= CHECKPOINT_COPIES * shard->state_bytes;
    if (block->is_held_back)
        return;
    struct shard_update update = {
        .settings = shard->spec.settings,
        .sample_count = batching_step_samples(&shard->batching, block->version),
        .step_count = shard->step_count,
        .root = root,
        .pool = shard->pool,
    };
    if (shard_block_apply(block, &update) != 0) {
        give_up(shard, ERR_NOMEM, "no memory for the next version of a block", out);
        return;
    }
    answer_waiters(shard, block, out);
    capture(shard, block, out);
}

static void take_push(struct shard *shard, struct address from, const struct message *msg,
                      struct outbox *out)
{
    struct shard_block *block = block_of(shard, msg->key.block);
    struct lane_node node = {msg->key.lane_begin, msg->key.lane_end};
    char text[200];
    if (block == NULL || !block->is_ready) {
        snprintf(text, sizeof(text), "block %" PRIu32 " is not on this shard", msg->key.block);
        refuse(shard, from, ERR_NOT_FOUND, text, out);
        return;
    }
    if (!lane_node_is_valid(node, shard->batching.lane_count) ||
        msg->payload->size_bytes != shard_block_bytes(block) || msg->key.step > block->version ||
        msg->key.step >= shard->step_count) {
        snprintf(text, sizeof(text),
                 "push of block %" PRIu32 " step %" PRIu64 " lanes %" PRIu32 "..%" PRIu32
                 " of %zu bytes; expected step %" PRIu64 ", an aligned run of %" PRIu32
                 " lanes, %zu bytes",
                 msg->key.block, msg->key.step, node.begin, node.end, msg->payload->size_bytes,
                 block->version, shard->batching.lane_count, shard_block_bytes(block));
        refuse(shard, from, ERR_PROTO, text, out);
        return;
    }
    shard->totals.push_count++;
    shard->totals.bytes_in += msg->payload->size_bytes;
    if (msg->key.step < block->version) { /* counted already; the answer may have been lost */
        if (msg->key.step + 1 == block->version)
            send_weights(shard, block, from, out);
        return;
    }
    int err = shard_block_wait(block, from, block->version + 1);
    if (err == 0)
        err = reduction_add(&block->sums, node, buffer_ref(msg->payload));
    if (err == ERR_NOMEM)
        give_up(shard, err, "no memory for a gradient", out);
    else
        close_step(shard, block, out);
}

static void take_pull(struct shard *shard, struct address from, const struct message *msg,
                      struct outbox *out)
{
    struct shard_block *block = block_of(shard, msg->key.block);
    if (block == NULL || msg->key.step > shard->step_count) {
        refuse(shard, from, ERR_NOT_FOUND, "pull of a block that is not on this shard", out);
        return;
    }
    if (block->is_ready && msg->key.step <= block->version)
        send_weights(shard, block, from, out);
    else if (shard_block_wait(block, from, msg->key.step) != 0)
        give_up(shard, ERR_NOMEM, "no memory for a pull", out);
}

static void ask_blocks(struct shard *shard, uint64_t now_ms, struct outbox *out)
{
    shard->fetch_ms = now_ms;
    size_t asked = 0;
    for (size_t i = 0; i < shard->block_count && asked < FETCHES_IN_FLIGHT; i++) {
        if (shard->blocks[i].is_ready)
            continue;
        struct message fetch = message_of(shard, MSG_BLOCK_FETCH);
        fetch.key = (struct block_key){.step = shard->start_step,
                                       .block = shard->blocks[i].block_idx};
        outbox_put(out, shard->store, &fetch);
        asked++;
    }
}

static void make_ready(struct shard *shard, struct shard_block *block, struct outbox *out)
{
    shard->ready_count++;
    answer_waiters(shard, block, out);
}

static void take_state(struct shard *shard, uint64_t now_ms, const struct message *msg,
                       struct outbox *out)
{
    struct shard_block *block = block_of(shard, msg->key.block);
    if (block == NULL || block->is_ready || msg->key.step != shard->start_step)
        return; /* asked for twice, answered twice */
    int err = shard_block_restore(block, msg, shard->state_count, shard->pool);
    if (err != 0) {
        give_up(shard, err, "the checkpoint's state of a block has another size than the job's",
                out);
        return;
    }
    shard->fetch_ms = now_ms; /* blocks are coming: what is still missing is on its way */
    make_ready(shard, block, out);
    if (shard->ready_count % FETCHES_IN_FLIGHT == 0)
        ask_blocks(shard, now_ms, out);
}

static void take_kept(struct shard *shard, const struct message *msg, struct outbox *out)
{
    struct shard_block *kept = block_of(shard, msg->key.block);
    if (kept == NULL)
        return;
    size_t bytes = shard_block_bytes(kept) * (1 + shard->state_count);
    shard->unkept_bytes -= bytes < shard->unkept_bytes ? bytes : shard->unkept_bytes;
    for (size_t i = 0; i < shard->block_count; i++)
        if (shard->blocks[i].is_held_back)
            close_step(shard, &shard->blocks[i], out);
}

static size_t my_index(const struct shard *shard, const struct view *view)
{
    size_t idx = 0;
    while (idx < view->shard_count && view->shards[idx].incarnation != shard->spec.incarnation)
        idx++;
    return idx;
}

static int create_blocks(struct shard *shard, const struct view *view)
{
    size_t me = my_index(shard, view), total = shard->layout->block_count;
    if (me == view->shard_count || view->block_count != total)
        return ERR_PROTO;
    shard->local = malloc(total * sizeof(*shard->local));
    shard->blocks = calloc(total, sizeof(*shard->blocks));
    if (shard->local == NULL || shard->blocks == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < total; i++) {
        shard->local[i] = not_mine;
        if (view->block_shard[i] != me)
            continue;
        struct shard_block *block = &shard->blocks[shard->block_count];
        shard->local[i] = (uint32_t)shard->block_count++;
        int err = shard_block_create(block, shard->layout, (uint32_t)i, shard->state_count);
        if (err != 0)
            return err;
        shard->state_bytes += shard_block_bytes(block) * (1 + shard->state_count);
    }
    return 0;
}

static int adopt(struct shard *shard, const struct view *view)
{
    const struct settings *settings = shard->spec.settings;
    shard->start_step = view->start_step;
    shard->step_count = view->step_count;
    shard->batching = (struct batching){.seed = settings->job.seed,
                                        .sample_count = view->train_count,
                                        .batch = settings->job.batch,
                                        .lane_count = settings->job.lanes};
    shard->store = (struct address){PARTY_STORE, view->store_incarnation};
    memcpy(shard->store_endpoint, view->store_endpoint, sizeof(shard->store_endpoint));
    shard->workers = calloc(view->worker_count + 1, sizeof(*shard->workers));
    if (shard->workers == NULL)
        return ERR_NOMEM;
    shard->worker_count = view->worker_count;
    for (size_t i = 0; i < view->worker_count; i++)
        shard->workers[i] = view->workers[i].incarnation;
    int err = layout_create(view->layout->tensors, view->layout->tensor_count,
                            view->layout->block_bytes, &shard->layout, NULL);
    return err != 0 ? err : create_blocks(shard, view);
}

static void fill_blocks(struct shard *shard, bool is_restored, uint64_t now_ms,
                        struct outbox *out)
{
    if (is_restored) {
        ask_blocks(shard, now_ms, out);
        return;
    }
    uint64_t seed = shard->spec.settings->job.seed;
    for (size_t i = 0; i < shard->block_count; i++) {
        if (shard_block_init(&shard->blocks[i], shard->layout, seed, shard->pool) != 0) {
            give_up(shard, ERR_NOMEM, "no memory for this shard's weights", out);
            return;
        }
        make_ready(shard, &shard->blocks[i], out);
    }
}

static void take_view(struct shard *shard, uint64_t now_ms, const struct message *msg,
                      struct outbox *out)
{
    if (shard->view != 0)
        return; /* sent twice */
    if (msg->view_body.layout == NULL || msg->view_body.train_count == 0 ||
        msg->view_body.lane_count != shard->spec.settings->job.lanes) {
        give_up(shard, ERR_PROTO, "the coordinator's view does not fit this job", out);
        return;
    }
    shard->view = msg->view_body.number;
    shard->run = msg->run;
    int err = adopt(shard, &msg->view_body);
    if (err != 0) {
        give_up(shard, err, err == ERR_NOMEM ? "no memory for this shard's blocks"
                                             : "the coordinator's view has no place for this shard",
                out);
        return;
    }
    log_event(LOG_INFO, "view",
              "shard=%" PRIu32 " view=%" PRIu32 " blocks=%zu bytes=%zu step=%" PRIu64,
              shard->spec.hello.shard_idx, shard->view, shard->block_count, shard->state_bytes,
              shard->start_step);
    fill_blocks(shard, msg->view_body.is_restored, now_ms, out);
}

static void send_hello(struct shard *shard, uint64_t now_ms, struct outbox *out)
{
    struct message hello = message_of(shard, MSG_HELLO);
    hello.hello = shard->spec.hello;
    outbox_put(out, coordinator_address, &hello);
    shard->hello_ms = now_ms;
    if (shard->hello_count++ % WAITING_LOG_HELLOS == WAITING_LOG_HELLOS - 1)
        log_event(LOG_INFO, "waiting", "for=%s seconds=%" PRIu64,
                  run_is_known(shard->run) ? "view" : "coordinator",
                  (now_ms - shard->begin_ms) / 1000);
}

static void send_beat(struct shard *shard, uint64_t now_ms, struct outbox *out)
{
    struct message beat = message_of(shard, MSG_BEAT);
    beat.beat = shard->usage;
    beat.beat.push_count = shard->totals.push_count;
    beat.beat.bytes_in = shard->totals.bytes_in;
    beat.beat.bytes_out = shard->totals.bytes_out;
    beat.beat.block_count = shard->block_count;
    beat.beat.held_bytes = shard->state_bytes + shard->unkept_bytes;
    beat.beat.step = shard->block_count > 0 ? UINT64_MAX : 0;
    for (size_t i = 0; i < shard->block_count; i++) {
        if (shard->blocks[i].version < beat.beat.step)
            beat.beat.step = shard->blocks[i].version;
        beat.beat.held_bytes += reduction_held_bytes(&shard->blocks[i].sums);
    }
    outbox_put(out, coordinator_address, &beat);
    shard->beat_ms = now_ms;
}

static void watch_coordinator(struct shard *shard, uint64_t now_ms)
{
    const struct settings *settings = shard->spec.settings;
    double limit_s = shard->view == 0 ? settings->cluster.wait_s : settings->cluster.silence_s;
    if ((double)(now_ms - shard->heard_ms) < limit_s * 1000.0)
        return;
    char text[200];
    snprintf(text, sizeof(text), "the coordinator has said nothing for %.0f s (%s)", limit_s,
             shard->view == 0 ? "cluster.wait_s" : "cluster.silence_s");
    finish(shard, ERR_TIMEOUT, text);
}

static void tick(struct shard *shard, uint64_t now_ms, struct outbox *out)
{
    if (shard->begin_ms == 0)
        shard->begin_ms = shard->heard_ms = now_ms;
    if (shard->view == 0 && (shard->hello_ms == 0 || now_ms - shard->hello_ms >= RETRY_MS))
        send_hello(shard, now_ms, out);
    if (now_ms - shard->beat_ms >= shard->spec.settings->cluster.beat_ms &&
        run_is_known(shard->run))
        send_beat(shard, now_ms, out);
    if (shard->ready_count < shard->block_count && now_ms - shard->fetch_ms >= RETRY_MS)
        ask_blocks(shard, now_ms, out);
    watch_coordinator(shard, now_ms);
}

static void hear_coordinator(struct shard *shard, uint64_t now_ms, const struct message *msg,
                             struct outbox *out)
{
    char text[512];
    shard->heard_ms = now_ms;
    switch (msg->kind) {
    case MSG_WELCOME:
        if (shard->view == 0)
            shard->run = msg->run;
        break;
    case MSG_VIEW:
        take_view(shard, now_ms, msg, out);
        break;
    case MSG_CHECKPOINT_ASK:
        ask_checkpoint(shard, msg->outcome.step, out);
        break;
    case MSG_FINISH:
        finish(shard, msg->outcome.code, msg->outcome.text);
        break;
    case MSG_REFUSED:
        snprintf(text, sizeof(text), "refused by the coordinator: %.480s", msg->outcome.text);
        finish(shard, msg->outcome.code, text);
        break;
    default:
        break;
    }
}

static void hear_store(struct shard *shard, uint64_t now_ms, const struct message *msg,
                       struct outbox *out)
{
    if (msg->kind == MSG_BLOCK_STATE)
        take_state(shard, now_ms, msg, out);
    else if (msg->kind == MSG_BLOCK_KEPT)
        take_kept(shard, msg, out);
    else if (msg->kind == MSG_REFUSED)
        give_up(shard, msg->outcome.code, msg->outcome.text, out);
}

static void hear_worker(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out)
{
    if (shard->view == 0)
        return; /* it came before our view did; a pull is sent again */
    char text[200];
    if (!run_equal(msg->run, shard->run) || !is_member(shard, from)) {
        snprintf(text, sizeof(text),
                 "this shard serves run %016" PRIx64 "%016" PRIx64
                 "; you are of run %016" PRIx64 "%016" PRIx64 " or not in its view",
                 shard->run.high, shard->run.low, msg->run.high, msg->run.low);
        refuse(shard, from, ERR_REFUSED, text, out);
        return;
    }
    if (msg->kind == MSG_PUSH)
        take_push(shard, from, msg, out);
    else if (msg->kind == MSG_PULL)
        take_pull(shard, from, msg, out);
    else
        refuse(shard, from, ERR_PROTO, "a shard takes pushes and pulls from a worker", out);
}

void shard_step(struct shard *shard, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out)
{
    if (shard->is_over)
        return;
    if (msg == NULL)
        tick(shard, now_ms, out);
    else if (from.party == PARTY_COORDINATOR)
        hear_coordinator(shard, now_ms, msg, out);
    else if (from.party == PARTY_STORE)
        hear_store(shard, now_ms, msg, out);
    else
        hear_worker(shard, from, msg, out);
}

int shard_create(const struct shard_spec *spec, struct shard **shard_out)
{
    struct shard *shard = calloc(1, sizeof(*shard));
    if (shard == NULL)
        return ERR_NOMEM;
    shard->spec = *spec;
    shard->state_count = optimizer_state_count(spec->settings->optimizer.kind);
    int err = buffer_pool_create(0, &shard->pool);
    if (err != 0) {
        free(shard);
        return err;
    }
    *shard_out = shard;
    return 0;
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL)
        return;
    for (size_t i = 0; i < shard->block_count; i++)
        shard_block_free(&shard->blocks[i]);
    free(shard->blocks);
    free(shard->local);
    free(shard->workers);
    layout_destroy(shard->layout);
    buffer_pool_destroy(shard->pool);
    free(shard);
}

void shard_stop(struct shard *shard, struct outbox *out)
{
    static const char text[] = "asked to stop by a signal";
    if (shard->is_over || shard->is_leaving)
        return;
    shard->is_leaving = true;
    if (!run_is_known(shard->run)) {
        finish(shard, ERR_STOPPED, text);
        return;
    }
    struct message bye = message_of(shard, MSG_BYE);
    bye.outcome.code = ERR_STOPPED;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    outbox_put(out, coordinator_address, &bye);
}

void shard_note_usage(struct shard *shard, const struct beat *usage)
{
    shard->usage = *usage;
}

bool shard_is_over(const struct shard *shard, struct outcome *end)
{
    if (shard->is_over)
        *end = shard->end;
    return shard->is_over;
}

const char *shard_store_endpoint(const struct shard *shard)
{
    return shard->view == 0 ? NULL : shard->store_endpoint;
}

uint64_t shard_refused_count(const struct shard *shard)
{
    return shard->refused_count;
}
