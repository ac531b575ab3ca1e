#include "worker/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/digest.h"
#include "common/log.h"
#include "common/reduction.h"
#include "common/vector_math.h"

enum { RETRY_MS = 1000, WAITING_LOG_HELLOS = 10 /* a line of log every so many */ };

enum push_state {
    PUSH_WAITING, /* nothing of the block has been pushed in this step */
    PUSH_QUEUED,  /* a node is whole, the shard's credit is used up */
    PUSH_ADMITTED /* its nodes go out as they become whole */
};

struct exchange_block {
    uint32_t shard;
    enum push_state push;
    bool is_next_here;      /* the next version has arrived */
    uint64_t in_flight_bytes; /* admitted and not answered: all its nodes */
    struct reduction sums;  /* of this worker's lanes */
};

/* One shard, as this worker sees it. */
struct exchange_link {
    uint64_t in_flight_bytes; /* of all its blocks */
    uint32_t *queue; /* ring of blocks that wait for credit, [block_count] */
    size_t first, count;
};

struct exchange {
    struct exchange_spec spec;
    const struct layout *layout;
    struct run_id run;
    uint32_t view; /* 0: none yet */
    uint64_t start_step, step_count, test_count, epoch_steps;
    struct lane_node lanes; /* this worker's; empty: it stands by */
    uint64_t node_count;    /* largest nodes that make up lanes: pushes of a block in a step */
    struct shard_member *shards;
    struct exchange_link *links;
    size_t shard_count;

    struct exchange_block *blocks; /* [layout->block_count] */
    float *weights[2];             /* [weight_count]: of `version`, and the next one's */
    int now;                       /* which of the two */
    bool has_weights;
    uint64_t version;
    size_t here_count; /* blocks of the next version that are here */
    uint32_t train_left, eval_left; /* tasks not answered */

    uint64_t begin_ms, hello_count;
    uint64_t hello_ms, beat_ms, pull_ms, heard_ms; /* when last done; heard: the coordinator */
    struct beat usage, totals;
    bool is_leaving; /* has asked the coordinator to end the job */
    bool is_over;
    struct outcome end;
};

static const struct address coordinator_address = {PARTY_COORDINATOR, 0};
static const struct address compute_address = {PARTY_COMPUTE, 0};

static struct message message_of(const struct exchange *x, enum message_kind kind)
{
    return (struct message){
        .kind = kind, .run = x->run, .sender = x->spec.incarnation, .view = x->view};
}

static void finish(struct exchange *x, int code, const char *text)
{
    if (x->is_over)
        return;
    x->is_over = true;
    x->end.code = code;
    snprintf(x->end.text, sizeof(x->end.text), "%s", text);
}

/* Ends this worker and tells the coordinator why. */
static void give_up(struct exchange *x, int code, const char *text, struct outbox *out)
{
    struct message bye = message_of(x, MSG_BYE);
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    outbox_put(out, coordinator_address, &bye);
    finish(x, code, text);
}

static uint32_t lane_total(const struct exchange *x)
{
    return x->lanes.end - x->lanes.begin;
}

static struct address shard_address(const struct exchange *x, uint32_t shard)
{
    return (struct address){PARTY_SHARD, x->shards[shard].incarnation};
}

static size_t block_bytes(const struct exchange *x, size_t block_idx)
{
    const struct range *range = &x->layout->blocks[block_idx].range;
    return (size_t)(range->end - range->begin) * sizeof(float);
}

/* Sends the nodes of a block that this worker's lanes make whole. */
static void push_nodes(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    for (uint32_t lane = x->lanes.begin; lane < x->lanes.end;) {
        struct lane_node node = lane_node_within(x->lanes, lane);
        struct buffer *sum = reduction_take(&block->sums, node);
        lane = node.end;
        if (sum == NULL)
            continue;
        struct message push = message_of(x, MSG_PUSH);
        push.key = (struct block_key){.step = x->version,
                                      .block = block_idx,
                                      .lane_begin = node.begin,
                                      .lane_end = node.end};
        push.payload = sum;
        outbox_put(out, shard_address(x, block->shard), &push);
        x->totals.bytes_out += sum->size_bytes;
        x->totals.push_count++;
        buffer_unref(sum);
    }
}

static bool has_whole_node(const struct exchange *x, const struct exchange_block *block)
{
    for (uint32_t lane = x->lanes.begin; lane < x->lanes.end;) {
        struct lane_node node = lane_node_within(x->lanes, lane);
        if (reduction_has(&block->sums, node))
            return true;
        lane = node.end;
    }
    return false;
}

/* Credit counts whole blocks: all nodes of a block are paid for when the first is sent, so that the
 * others follow freely.  A block that alone exceeds the credit goes when nothing else is under way.
 * Every worker admits the blocks of a shard in the order of backpropagation, so the first block
 * that is not finished is admitted everywhere, and credit cannot run in a circle. */
static void admit(struct exchange *x, struct exchange_link *link, struct outbox *out)
{
    uint64_t credit = x->spec.settings->exchange.credit_bytes;
    while (link->count > 0) {
        uint32_t block_idx = link->queue[link->first];
        uint64_t bytes = x->node_count * block_bytes(x, block_idx);
        if (link->in_flight_bytes > 0 && link->in_flight_bytes + bytes > credit)
            return;
        link->first = (link->first + 1) % x->layout->block_count;
        link->count--;
        link->in_flight_bytes += bytes;
        x->blocks[block_idx].in_flight_bytes = bytes;
        x->blocks[block_idx].push = PUSH_ADMITTED;
        push_nodes(x, block_idx, out);
    }
}

static void enqueue(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    struct exchange_link *link = &x->links[block->shard];
    block->push = PUSH_QUEUED;
    link->queue[(link->first + link->count) % x->layout->block_count] = block_idx;
    link->count++;
    admit(x, link, out);
}

static void take_leaf(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (msg->key.step != x->version)
        return;
    struct exchange_block *block = &x->blocks[msg->key.block];
    struct lane_node leaf = {msg->key.lane_begin, msg->key.lane_end};
    if (reduction_add(&block->sums, leaf, buffer_ref(msg->payload)) == ERR_NOMEM) {
        give_up(x, ERR_NOMEM, "no memory for a gradient", out);
        return;
    }
    if (block->push == PUSH_ADMITTED)
        push_nodes(x, msg->key.block, out);
    else if (block->push == PUSH_WAITING && has_whole_node(x, block))
        enqueue(x, msg->key.block, out);
}

static void deal(struct exchange *x, enum message_kind kind, struct outbox *out)
{
    for (uint32_t lane = x->lanes.begin; lane < x->lanes.end; lane++) {
        struct message task = message_of(x, kind);
        task.task = (struct lane_task){
            .step = x->version, .lane = lane, .weights = x->weights[x->now]};
        outbox_put(out, compute_address, &task);
    }
}

static bool is_eval_due(const struct exchange *x)
{
    uint64_t every = x->spec.settings->job.eval_every;
    if (every == 0)
        every = x->epoch_steps;
    if (x->test_count == 0)
        return false;
    return x->version == x->step_count ||
           (x->version > x->start_step && x->version % every == 0);
}

static void send_beat(struct exchange *x, uint64_t now_ms, struct outbox *out)
{
    struct message beat = message_of(x, MSG_BEAT);
    beat.beat = x->usage;
    beat.beat.step = x->version;
    beat.beat.sample_count = x->totals.sample_count;
    beat.beat.push_count = x->totals.push_count;
    beat.beat.bytes_in = x->totals.bytes_in;
    beat.beat.bytes_out = x->totals.bytes_out;
    beat.beat.held_bytes = 2 * x->layout->weight_count * sizeof(float);
    outbox_put(out, coordinator_address, &beat);
    x->beat_ms = now_ms;
}

/* The first tensor with a NaN or an infinity; NULL when all weights are numbers. */
static const char *broken_tensor(const struct exchange *x)
{
    for (size_t i = 0; i < x->layout->tensor_count; i++) {
        uint64_t begin = x->layout->tensor_begin[i], end = x->layout->tensor_begin[i + 1];
        if (!vector_is_finite(x->weights[x->now] + begin, (size_t)(end - begin)))
            return x->layout->tensors[i].name;
    }
    return NULL;
}

static void report_digest(struct exchange *x, struct outbox *out)
{
    struct message msg = message_of(x, MSG_WEIGHTS_DIGEST);
    const char *broken = broken_tensor(x);
    char text[300];
    if (broken != NULL) {
        snprintf(text, sizeof(text),
                 "tensor \"%s\" has a weight that is not a finite number at the end: a smaller "
                 "optimizer.rate or a warm-up may help",
                 broken);
        give_up(x, ERR_INPUT, text, out);
        return;
    }
    struct digest *digest = digest_create();
    if (digest == NULL) {
        give_up(x, ERR_NOMEM, "no memory for the digest of the weights", out);
        return;
    }
    digest_add(digest, x->weights[x->now], (size_t)x->layout->weight_count * sizeof(float));
    digest_hex(digest, msg.digest.hex);
    digest_destroy(digest);
    msg.digest.step = x->version;
    send_beat(x, x->beat_ms, out); /* the totals of a run shorter than a beat are whole too */
    outbox_put(out, coordinator_address, &msg);
}

static void begin_version(struct exchange *x, struct outbox *out)
{
    x->here_count = 0;
    for (size_t i = 0; i < x->layout->block_count; i++) {
        x->blocks[i].is_next_here = false;
        x->blocks[i].push = PUSH_WAITING;
        reduction_clear(&x->blocks[i].sums);
    }
    if (is_eval_due(x)) {
        x->eval_left = lane_total(x);
        deal(x, MSG_EVAL_LANE, out);
    }
    if (x->version < x->step_count) {
        x->train_left = lane_total(x);
        deal(x, MSG_TRAIN_LANE, out);
    } else {
        report_digest(x, out);
    }
}

/* Goes on when the next version is whole and no thread reads the present one any more. */
static void swap_if_whole(struct exchange *x, struct outbox *out)
{
    if (x->here_count < x->layout->block_count || x->train_left > 0 || x->eval_left > 0)
        return;
    x->now = 1 - x->now;
    if (x->has_weights)
        x->version++;
    x->has_weights = true;
    begin_version(x, out);
}

static void take_weights(struct exchange *x, uint64_t now_ms, struct address from,
                         const struct message *msg, struct outbox *out)
{
    if (x->view == 0 || msg->key.block >= x->layout->block_count)
        return;
    struct exchange_block *block = &x->blocks[msg->key.block];
    uint64_t expected = x->has_weights ? x->version + 1 : x->start_step;
    if (msg->key.step != expected || block->is_next_here ||
        !address_equal(from, shard_address(x, block->shard)) ||
        msg->payload->size_bytes != block_bytes(x, msg->key.block))
        return; /* answered twice, or not ours */
    memcpy(x->weights[1 - x->now] + x->layout->blocks[msg->key.block].range.begin,
           msg->payload->data, msg->payload->size_bytes);
    block->is_next_here = true;
    x->here_count++;
    x->pull_ms = now_ms; /* blocks are coming: what is still missing is on its way */
    x->totals.bytes_in += msg->payload->size_bytes;
    struct exchange_link *link = &x->links[block->shard];
    link->in_flight_bytes -= block->in_flight_bytes;
    block->in_flight_bytes = 0;
    admit(x, link, out);
    swap_if_whole(x, out);
}

static void take_result(struct exchange *x, const struct message *msg, struct outbox *out)
{
    struct message result = message_of(x, msg->kind);
    result.lane = msg->lane;
    outbox_put(out, coordinator_address, &result);
    if (msg->kind == MSG_LANE_DONE) {
        x->train_left--;
        x->totals.sample_count += msg->lane.sample_count;
    } else {
        x->eval_left--;
    }
    swap_if_whole(x, out);
}

static void pull_missing(struct exchange *x, uint64_t now_ms, struct outbox *out)
{
    x->pull_ms = now_ms;
    for (size_t i = 0; i < x->layout->block_count; i++) {
        if (x->blocks[i].is_next_here)
            continue;
        struct message pull = message_of(x, MSG_PULL);
        pull.key = (struct block_key){.step = x->start_step, .block = (uint32_t)i};
        outbox_put(out, shard_address(x, x->blocks[i].shard), &pull);
    }
}

static int create_links(struct exchange *x, const struct view *view)
{
    x->shard_count = view->shard_count;
    x->shards = calloc(view->shard_count, sizeof(*x->shards));
    x->links = calloc(view->shard_count, sizeof(*x->links));
    if (x->shards == NULL || x->links == NULL)
        return ERR_NOMEM;
    memcpy(x->shards, view->shards, view->shard_count * sizeof(*x->shards));
    for (size_t i = 0; i < view->shard_count; i++) {
        x->links[i].queue = calloc(x->layout->block_count, sizeof(*x->links[i].queue));
        if (x->links[i].queue == NULL)
            return ERR_NOMEM;
    }
    for (size_t i = 0; i < x->layout->block_count; i++)
        x->blocks[i].shard = view->block_shard[i];
    return 0;
}

/* This worker's lanes: one run, empty when it has none. */
static struct lane_node my_lanes(const struct exchange *x, const struct view *view)
{
    struct lane_node run = {0, 0};
    for (uint32_t lane = 0; lane < view->lane_count; lane++) {
        if (view->workers[view->lane_worker[lane]].incarnation != x->spec.incarnation)
            continue;
        if (run.end == 0)
            run.begin = lane;
        run.end = lane + 1;
    }
    return run;
}

static uint64_t count_nodes(struct lane_node run)
{
    uint64_t count = 0;
    for (uint32_t lane = run.begin; lane < run.end; count++)
        lane = lane_node_within(run, lane).end;
    return count;
}

static bool is_of_this_job(const struct exchange *x, const struct view *view)
{
    return view->block_count == x->layout->block_count &&
           view->lane_count == x->spec.settings->job.lanes &&
           view->train_count == x->spec.hello.train_count &&
           view->test_count == x->spec.hello.test_count && view->shard_count > 0;
}

static void take_view(struct exchange *x, uint64_t now_ms, const struct message *msg,
                      struct outbox *out)
{
    const struct view *view = &msg->view_body;
    if (x->view != 0)
        return; /* sent twice */
    if (!is_of_this_job(x, view)) {
        give_up(x, ERR_PROTO, "the coordinator's view does not fit this job", out);
        return;
    }
    struct batching batching = {.sample_count = view->train_count,
                                .batch = x->spec.settings->job.batch,
                                .lane_count = x->spec.settings->job.lanes};
    x->run = msg->run;
    x->view = view->number;
    x->start_step = view->start_step;
    x->version = view->start_step;
    x->step_count = view->step_count;
    x->test_count = view->test_count;
    x->epoch_steps = batching_epoch_steps(&batching);
    x->lanes = my_lanes(x, view);
    x->node_count = count_nodes(x->lanes);
    if (create_links(x, view) != 0) {
        give_up(x, ERR_NOMEM, "no memory for the links to the shards", out);
        return;
    }
    log_event(LOG_INFO, "view", "view=%" PRIu32 " lanes=%" PRIu32 "..%" PRIu32 " step=%" PRIu64,
              x->view, x->lanes.begin, x->lanes.end, x->version);
    if (lane_total(x) > 0)
        pull_missing(x, now_ms, out);
}

static void send_hello(struct exchange *x, uint64_t now_ms, struct outbox *out)
{
    struct message hello = message_of(x, MSG_HELLO);
    hello.hello = x->spec.hello;
    outbox_put(out, coordinator_address, &hello);
    x->hello_ms = now_ms;
    if (x->hello_count++ % WAITING_LOG_HELLOS == WAITING_LOG_HELLOS - 1)
        log_event(LOG_INFO, "waiting", "for=%s seconds=%" PRIu64,
                  run_is_known(x->run) ? "view" : "coordinator",
                  (now_ms - x->begin_ms) / 1000);
}

static void watch_coordinator(struct exchange *x, uint64_t now_ms)
{
    const struct settings *settings = x->spec.settings;
    double limit_s = x->view == 0 ? settings->cluster.wait_s : settings->cluster.silence_s;
    if ((double)(now_ms - x->heard_ms) < limit_s * 1000.0)
        return;
    char text[200];
    snprintf(text, sizeof(text), "the coordinator has said nothing for %.0f s (%s)", limit_s,
             x->view == 0 ? "cluster.wait_s" : "cluster.silence_s");
    finish(x, ERR_TIMEOUT, text);
}

static void tick(struct exchange *x, uint64_t now_ms, struct outbox *out)
{
    if (x->begin_ms == 0)
        x->begin_ms = x->heard_ms = now_ms;
    if (x->view == 0 && (x->hello_ms == 0 || now_ms - x->hello_ms >= RETRY_MS))
        send_hello(x, now_ms, out);
    if (now_ms - x->beat_ms >= x->spec.settings->cluster.beat_ms && run_is_known(x->run))
        send_beat(x, now_ms, out);
    if (x->view != 0 && !x->has_weights && lane_total(x) > 0 && now_ms - x->pull_ms >= RETRY_MS)
        pull_missing(x, now_ms, out);
    watch_coordinator(x, now_ms);
}

static void finish_refused(struct exchange *x, int code, const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "refused by the coordinator: %.480s", why);
    finish(x, code, text);
}

static void hear_coordinator(struct exchange *x, uint64_t now_ms, const struct message *msg,
                             struct outbox *out)
{
    x->heard_ms = now_ms;
    if (msg->kind == MSG_WELCOME && x->view == 0)
        x->run = msg->run;
    else if (msg->kind == MSG_VIEW)
        take_view(x, now_ms, msg, out);
    else if (msg->kind == MSG_FINISH)
        finish(x, msg->outcome.code, msg->outcome.text);
    else if (msg->kind == MSG_REFUSED)
        finish_refused(x, msg->outcome.code, msg->outcome.text);
}

static void hear_compute(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_LEAF)
        take_leaf(x, msg, out);
    else if (msg->kind == MSG_LANE_DONE || msg->kind == MSG_EVAL_DONE)
        take_result(x, msg, out);
    else if (msg->kind == MSG_BYE)
        give_up(x, msg->outcome.code, msg->outcome.text, out);
}

static void hear_shard(struct exchange *x, uint64_t now_ms, struct address from,
                       const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_WEIGHTS && run_equal(msg->run, x->run))
        take_weights(x, now_ms, from, msg, out);
    else if (msg->kind == MSG_REFUSED)
        give_up(x, msg->outcome.code, msg->outcome.text, out);
}

void exchange_step(struct exchange *x, uint64_t now_ms, struct address from,
                   const struct message *msg, struct outbox *out)
{
    if (x->is_over)
        return;
    if (msg == NULL)
        tick(x, now_ms, out);
    else if (from.party == PARTY_COORDINATOR)
        hear_coordinator(x, now_ms, msg, out);
    else if (from.party == PARTY_COMPUTE)
        hear_compute(x, msg, out);
    else if (from.party == PARTY_SHARD)
        hear_shard(x, now_ms, from, msg, out);
}

int exchange_create(const struct exchange_spec *spec, struct exchange **exchange_out)
{
    struct exchange *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return ERR_NOMEM;
    x->spec = *spec;
    x->layout = spec->hello.layout;
    x->blocks = calloc(x->layout->block_count, sizeof(*x->blocks));
    for (int i = 0; i < 2; i++)
        x->weights[i] = calloc((size_t)x->layout->weight_count, sizeof(float));
    if (x->blocks == NULL || x->weights[0] == NULL || x->weights[1] == NULL) {
        exchange_destroy(x);
        return ERR_NOMEM;
    }
    *exchange_out = x;
    return 0;
}

void exchange_destroy(struct exchange *x)
{
    if (x == NULL)
        return;
    for (size_t i = 0; x->blocks != NULL && i < x->layout->block_count; i++)
        reduction_free(&x->blocks[i].sums);
    for (size_t i = 0; x->links != NULL && i < x->shard_count; i++)
        free(x->links[i].queue);
    free(x->blocks);
    free(x->links);
    free(x->shards);
    free(x->weights[0]);
    free(x->weights[1]);
    free(x);
}

void exchange_stop(struct exchange *x, struct outbox *out)
{
    static const char text[] = "asked to stop by a signal";
    if (x->is_over || x->is_leaving)
        return;
    x->is_leaving = true;
    if (!run_is_known(x->run)) {
        finish(x, ERR_STOPPED, text);
        return;
    }
    struct message bye = message_of(x, MSG_BYE);
    bye.outcome.code = ERR_STOPPED;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    outbox_put(out, coordinator_address, &bye);
}

void exchange_note_usage(struct exchange *x, const struct beat *usage)
{
    x->usage = *usage;
}

bool exchange_is_over(const struct exchange *x, struct outcome *end)
{
    if (x->is_over)
        *end = x->end;
    return x->is_over;
}

const struct shard_member *exchange_shards(const struct exchange *x, size_t *count_out)
{
    *count_out = x->shard_count;
    return x->shards;
}
