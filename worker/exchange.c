#include "worker/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/digest.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/vector_math.h"
#include "worker/exchange_gather.h"
#include "worker/exchange_lanes.h"
#include "worker/exchange_link.h"
#include "worker/exchange_view.h"

enum {
    HELLO_MS = 200,
    WAITING_LOG_HELLOS = 50, /* a line of log every so many */
    SAY_AGAIN_MS = 1000      /* what the coordinator may not have heard */
};

static void finish(struct exchange *x, int code, const char *text)
{
    if (x->is_over)
        return;
    x->is_over = true;
    x->end.code = code;
    snprintf(x->end.text, sizeof(x->end.text), "%s", text);
}

static void send_bye(struct exchange *x, int code, const char *text, struct outbox *out)
{
    struct message bye = message_of(x, MSG_BYE);
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    outbox_put(out, coordinator_address, &bye);
    x->bye_ms = x->now_ms;
}

void exchange_give_up(struct exchange *x, int code, const char *text, struct outbox *out)
{
    send_bye(x, code, text, out);
    finish(x, code, text);
}

static void send_hello(struct exchange *x, struct outbox *out)
{
    struct message hello = message_of(x, MSG_HELLO);
    hello.hello = x->spec.hello;
    outbox_put(out, coordinator_address, &hello);
    x->hello_ms = x->now_ms;
    if (x->hello_count++ % WAITING_LOG_HELLOS == WAITING_LOG_HELLOS - 1)
        log_event(LOG_INFO, "waiting", "for=%s seconds=%" PRIu64,
                  run_is_known(x->run) ? "view" : "coordinator",
                  (x->now_ms - x->begin_ms) / 1000);
}

/* What this worker computes, or will compute next: nothing below it will come from here. */
static uint64_t step_in_work(const struct exchange *x)
{
    if (x->has_weights && !is_behind(x))
        return x->version;
    return x->target > x->start_step ? x->target : x->start_step;
}

static void send_beat(struct exchange *x, struct outbox *out)
{
    struct message beat = message_of(x, MSG_BEAT);
    beat.beat = x->usage;
    beat.beat.sent_ms = x->now_ms;
    beat.beat.step = step_in_work(x);
    beat.beat.sample_count = x->totals.sample_count;
    beat.beat.push_count = x->totals.push_count;
    beat.beat.bytes_in = x->totals.bytes_in;
    beat.beat.bytes_out = x->totals.bytes_out;
    beat.beat.exchange_us = x->totals.exchange_us;
    beat.beat.exposed_us = x->totals.exposed_us < x->totals.exchange_us ? x->totals.exposed_us
                                                                       : x->totals.exchange_us;
    beat.beat.compute_us = x->totals.compute_us;
    beat.beat.data_us = x->totals.data_us;
    beat.beat.held_bytes = 2 * x->layout->weight_count * sizeof(float);
    outbox_put(out, coordinator_address, &beat);
    x->beat_ms = x->now_ms;
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

/* ERR_INPUT, ERR_NOMEM: the worker has given up. */
static int reckon_digest(struct exchange *x, struct outbox *out)
{
    const char *broken = broken_tensor(x);
    char text[300];
    if (broken != NULL) {
        snprintf(text, sizeof(text),
                 "tensor \"%s\" has a weight that is not a finite number at the end: a smaller "
                 "optimizer.rate or a warm-up may help",
                 broken);
        exchange_give_up(x, ERR_INPUT, text, out);
        return ERR_INPUT;
    }
    struct digest *digest = digest_create();
    if (digest == NULL) {
        exchange_give_up(x, ERR_NOMEM, "no memory for the digest of the weights", out);
        return ERR_NOMEM;
    }
    digest_add(digest, x->weights[x->now], (size_t)x->layout->weight_count * sizeof(float));
    digest_hex(digest, x->digest_hex);
    digest_destroy(digest);
    return 0;
}

/* A worker that has the final weights, and lanes, says so until it is let go. */
static void report_digest(struct exchange *x, struct outbox *out)
{
    struct message msg = message_of(x, MSG_WEIGHTS_DIGEST);
    bool is_first = x->digest_hex[0] == 0;
    if (!is_final(x) || x->mine_count == 0 ||
        (!is_first && x->now_ms - x->digest_ms < SAY_AGAIN_MS))
        return;
    if (is_first && reckon_digest(x, out) != 0)
        return;
    msg.digest.step = x->version;
    snprintf(msg.digest.hex, sizeof(msg.digest.hex), "%s", x->digest_hex);
    if (is_first) /* the totals of a run shorter than a beat are whole too */
        send_beat(x, out);
    outbox_put(out, coordinator_address, &msg);
    x->digest_ms = x->now_ms;
}

static const char stop_text[] = "asked to stop by a signal";

static void watch_coordinator(struct exchange *x)
{
    const struct settings *settings = x->spec.settings;
    double limit_s = x->view == 0 ? settings->cluster.wait_s : settings->cluster.give_up_s;
    if ((double)(x->now_ms - x->heard_ms) < limit_s * 1000.0)
        return;
    char text[200];
    snprintf(text, sizeof(text), "the coordinator has said nothing for %.0f s (%s)", limit_s,
             x->view == 0 ? "cluster.wait_s" : "cluster.give_up_s");
    finish(x, ERR_TIMEOUT, text);
}

static void tick(struct exchange *x, struct outbox *out)
{
    if (!x->is_begun)
        x->begin_ms = x->heard_ms = x->now_ms;
    if (x->view == 0 && (!x->is_begun || x->now_ms - x->hello_ms >= HELLO_MS))
        send_hello(x, out);
    x->is_begun = true;
    if (x->now_ms - x->beat_ms >= x->spec.settings->cluster.beat_ms && run_is_known(x->run))
        send_beat(x, out);
    if (x->is_leaving && x->now_ms - x->bye_ms >= SAY_AGAIN_MS)
        send_bye(x, ERR_STOPPED, stop_text, out);
    if (x->view != 0)
        gather_retry(x, out);
    watch_coordinator(x);
}

/* The coordinator still collects the losses of a step: what was sent of it a while ago is sent
 * again. */
static void take_beat(struct exchange *x, const struct beat *beat, struct outbox *out)
{
    const struct result *kept;
    if (beat->sent_ms == 0 || x->now_ms < SAY_AGAIN_MS)
        return;
    while ((kept = results_next(&x->results, beat->step, x->now_ms - SAY_AGAIN_MS, x->now_ms)) !=
           NULL) {
        struct message result = message_of(x, kept->kind);
        result.lane = kept->lane;
        outbox_put(out, coordinator_address, &result);
    }
}

static void finish_refused(struct exchange *x, int code, const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "refused by the coordinator: %.480s", why);
    finish(x, code, text);
}

static void hear_coordinator(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_REFUSED) {
        finish_refused(x, msg->outcome.code, msg->outcome.text);
        return;
    }
    if (x->view != 0 && run_is_known(msg->run) && !run_equal(msg->run, x->run))
        return; /* a coordinator of another run */
    x->heard_ms = x->now_ms;
    if (msg->kind == MSG_WELCOME && x->view == 0)
        x->run = msg->run;
    else if (msg->kind == MSG_VIEW)
        exchange_take_view(x, msg, out);
    else if (msg->kind == MSG_BEAT)
        take_beat(x, &msg->beat, out);
    else if (msg->kind == MSG_WHO && x->now_ms - x->hello_ms >= HELLO_MS)
        send_hello(x, out);
    else if (msg->kind == MSG_FINISH)
        finish(x, msg->outcome.code, msg->outcome.text);
}

static void hear_compute(struct exchange *x, const struct message *msg, struct outbox *out)
{
    if (msg->kind == MSG_LEAF)
        lanes_take_leaf(x, msg, out);
    else if (msg->kind == MSG_LEAF_VOID)
        lanes_take_void(x, msg, out);
    else if (msg->kind == MSG_LANE_DONE || msg->kind == MSG_EVAL_DONE)
        lanes_take_result(x, msg, out);
    else if (msg->kind == MSG_LANE_DROPPED)
        lanes_take_dropped(x, msg, out);
    else if (msg->kind == MSG_BYE)
        exchange_give_up(x, msg->outcome.code, msg->outcome.text, out);
}

/* With clocks, a lane of this worker may turn out to be further behind than it had been told. */
static bool is_ahead(const struct exchange *x, const struct message *lack)
{
    if (x->is_bsp || !x->has_weights || lack->key.step >= x->version)
        return false;
    for (uint32_t i = lack->key.lane_begin; i < lack->key.lane_end && i < x->lane_count; i++)
        if (x->lanes[i].is_mine)
            return true;
    return false;
}

static void take_lack(struct exchange *x, const struct message *msg, struct outbox *out)
{
    link_take_lack(x, msg, out);
    if (!x->has_weights || is_behind(x))
        gather_step_back(x, msg, out);
}

static void hear_shard(struct exchange *x, struct address from, const struct message *msg,
                       struct outbox *out)
{
    if (msg->kind == MSG_REFUSED) {
        /* Who was started where another was, of this run or of another, refuses what was meant for
         * the one before. */
        if (msg->sender == from.id)
            exchange_give_up(x, msg->outcome.code, msg->outcome.text, out);
        return;
    }
    bool is_weights = msg->kind == MSG_WEIGHTS || msg->kind == MSG_SAME;
    if ((!is_weights && msg->kind != MSG_LACK) || x->view == 0 ||
        !run_equal(msg->run, x->run) || msg->era != x->era ||
        msg->key.block >= x->layout->block_count || !link_is_primary(x, from, msg->key.block))
        return;
    if (is_weights)
        gather_take(x, msg, out);
    else if (is_ahead(x, msg))
        lanes_rejoin(x, out);
    else
        take_lack(x, msg, out);
}

void exchange_step(struct exchange *x, uint64_t now_ms, struct address from,
                   const struct message *msg, struct outbox *out)
{
    if (x->is_over)
        return;
    x->now_ms = now_ms;
    if (msg == NULL)
        tick(x, out);
    else if (from.party == PARTY_COORDINATOR)
        hear_coordinator(x, msg, out);
    else if (from.party == PARTY_COMPUTE)
        hear_compute(x, msg, out);
    else if (from.party == PARTY_SHARD)
        hear_shard(x, from, msg, out);
    if (!x->is_over)
        report_digest(x, out);
}

int exchange_create(const struct exchange_spec *spec, struct exchange **exchange_out)
{
    enum codec_kind codec = spec->settings->exchange.codec;
    struct exchange *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return ERR_NOMEM;
    x->spec = *spec;
    x->layout = spec->hello.layout;
    x->is_bsp = !settings_has_clocks(spec->settings);
    x->lane_count = spec->settings->job.lanes;
    x->lanes = calloc(x->lane_count, sizeof(*x->lanes));
    x->blocks = calloc(x->layout->block_count, sizeof(*x->blocks));
    for (int i = 0; i < 2; i++)
        x->weights[i] = pages_calloc((size_t)x->layout->weight_count * sizeof(float));
    if (x->lanes == NULL || x->blocks == NULL || x->weights[0] == NULL ||
        x->weights[1] == NULL ||
        (spec->pool == NULL && buffer_pool_create(0, &x->own_pool) != 0) ||
        (codec == CODEC_SPARSE && residual_create(spec->settings, x->layout, &x->residual) != 0)) {
        exchange_destroy(x);
        return ERR_NOMEM;
    }
    x->pool = spec->pool == NULL ? x->own_pool : spec->pool;
    for (size_t i = 0; i < x->layout->block_count; i++) {
        uint32_t tensor_idx = x->layout->blocks[i].tensor_idx;
        x->blocks[i].link = NOBODY;
        x->blocks[i].is_frozen = x->layout->tensors[tensor_idx].update == UPDATE_FROZEN;
        x->blocks[i].sums.grid =
            codec_grid_of(codec, spec->settings->job.seed, x->layout, i);
    }
    *exchange_out = x;
    return 0;
}

void exchange_destroy(struct exchange *x)
{
    if (x == NULL)
        return;
    for (size_t i = 0; x->blocks != NULL && i < x->layout->block_count; i++) {
        reduction_free(&x->blocks[i].sums);
        held_free(&x->blocks[i].held);
    }
    free(x->blocks);
    free(x->lanes);
    free(x->links);
    free(x->shards);
    free(x->weights[0]);
    free(x->weights[1]);
    residual_destroy(x->residual);
    buffer_pool_destroy(x->own_pool);
    free(x);
}

void exchange_stop(struct exchange *x, struct outbox *out)
{
    if (x->is_over || x->is_leaving)
        return;
    x->is_leaving = true;
    if (run_is_known(x->run))
        send_bye(x, ERR_STOPPED, stop_text, out);
    else
        finish(x, ERR_STOPPED, stop_text);
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
