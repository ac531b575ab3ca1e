#include "worker/worker_loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/usage.h"
#include "proto/courier.h"

enum { TICK_MS = 50, MEET_MS = 500, LETTERS_A_ROUND = 64 };

/* Leaves are sent together as long as there are more at once, up to so many bytes a shard: it has
 * something to begin with, and what is beside each other goes as one. */
enum { TOGETHER_BYTES = 1 << 20 };

/* Lanes' losses are told after so long, those of several steps together where steps are shorter:
 * nobody waits for them, and telling each would take two processes' time from the gradients. */
enum { LATER_MS = 2 };

/* After a turn that took so long, so much time is for hearing what came meanwhile, before anybody
 * is found to be silent. */
enum { ASLEEP_MS = 2000, WAKE_MS = 500 };

struct worker_loop {
    const struct worker_loop_spec *spec;
    struct channel **channels; /* the coordinator's, then one a shard of the newest view */
    uint64_t *incarnations;    /* who is at the other end; 0 for the coordinator */
    size_t channel_count;
    uint64_t meet_ms; /* when the shards' doors were last tried */
    struct outbox out;
    struct outbox later; /* for the coordinator, at later_ms or before anything else to it */
    uint64_t later_ms;
};

static size_t find(const struct worker_loop *loop, uint64_t incarnation)
{
    size_t i = 0;
    while (i < loop->channel_count && loop->incarnations[i] != incarnation)
        i++;
    return i;
}

static bool is_connected(const struct worker_loop *loop, const struct shard_member *shards,
                         size_t count)
{
    if (loop->channel_count != 1 + count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (loop->incarnations[1 + i] != shards[i].incarnation)
            return false;
    return true;
}

/* Takes over the channel to a shard that was there before, or opens one. */
static int reach(struct worker_loop *loop, const struct shard_member *shard,
                 struct channel **channel_out, struct err_msg *why)
{
    struct ends ends = {{PARTY_WORKER, loop->spec->incarnation}, PARTY_SHARD};
    size_t idx = find(loop, shard->incarnation);
    if (idx == loop->channel_count)
        return channel_connect(loop->spec->transport, shard->endpoint, ends, channel_out, why);
    *channel_out = loop->channels[idx];
    loop->channels[idx] = NULL;
    return 0;
}

/* Puts the lists in the place of the loop's; what they did not take over is closed. */
static void adopt(struct worker_loop *loop, struct channel **channels, uint64_t *incarnations,
                  size_t count)
{
    for (size_t i = 0; i < loop->channel_count; i++)
        channel_destroy(loop->channels[i]);
    free(loop->channels);
    free(loop->incarnations);
    loop->channels = channels;
    loop->incarnations = incarnations;
    loop->channel_count = count;
}

/* Channels to the shards of the newest view, and to no others. */
static int connect_shards(struct worker_loop *loop, struct err_msg *why)
{
    size_t shard_count, count = 1;
    const struct shard_member *shards = exchange_shards(loop->spec->exchange, &shard_count);
    if (shard_count == 0 || is_connected(loop, shards, shard_count))
        return 0;
    struct channel **channels = calloc(1 + shard_count, sizeof(*channels));
    uint64_t *incarnations = calloc(1 + shard_count, sizeof(*incarnations));
    if (channels == NULL || incarnations == NULL) {
        free(channels);
        free(incarnations);
        return err_set(why, ERR_NOMEM, "no memory for %zu channels", shard_count);
    }
    channels[0] = loop->channels[0];
    loop->channels[0] = NULL;
    int err = 0;
    for (size_t i = 0; i < shard_count && err == 0; i++) {
        err = reach(loop, &shards[i], &channels[count], why);
        if (err == 0)
            incarnations[count++] = shards[i].incarnation;
    }
    adopt(loop, channels, incarnations, count);
    return err;
}

static struct channel *channel_to(const struct worker_loop *loop, struct address to)
{
    size_t idx = to.party == PARTY_COORDINATOR ? 0 : find(loop, to.id);
    return idx < loop->channel_count ? loop->channels[idx] : NULL;
}

/* The envelope of that index and those that go with it. */
static int send(struct worker_loop *loop, struct outbox *outbox, size_t idx)
{
    const struct envelope *envelope = &outbox->items[idx];
    struct channel *channel = channel_to(loop, envelope->to);
    if (channel == NULL || envelope->msg.kind == MSG_NONE) /* that went with one before it */
        return 0;
    int err = courier_send_batch(loop->spec->courier, channel, outbox, idx);
    return err == ERR_AGAIN || err == ERR_LOST ? 0 : err; /* as on any network: it is asked for */
}

static int send_later(struct worker_loop *loop)
{
    int err = 0;
    for (size_t i = 0; i < loop->later.count && err == 0; i++)
        err = send(loop, &loop->later, i);
    outbox_clear(&loop->later);
    return err;
}

static int keep_for_later(struct worker_loop *loop, const struct envelope *envelope)
{
    if (loop->later.count == 0)
        loop->later_ms = clock_now_ms() + LATER_MS;
    outbox_put(&loop->later, envelope->to, &envelope->msg);
    return outbox_failed(&loop->later) ? ERR_NOMEM : 0;
}

static int flush(struct worker_loop *loop, struct err_msg *why)
{
    const struct computing *compute = &loop->spec->compute;
    int err = connect_shards(loop, why);
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        if (envelope->to.party == PARTY_COMPUTE) {
            err = compute->submit(compute->ctx, &envelope->msg);
        } else if (envelope->msg.kind == MSG_LANE_DONE) {
            err = keep_for_later(loop, envelope);
        } else {
            if (envelope->to.party == PARTY_COORDINATOR)
                err = send_later(loop);
            err = err == 0 ? send(loop, &loop->out, i) : err;
        }
    }
    if (err == 0 && outbox_failed(&loop->out))
        err = ERR_NOMEM;
    outbox_clear(&loop->out);
    if (err != 0 && why->text[0] == 0)
        err_set(why, err, "cannot send: %s", err_text(err));
    return err;
}

static int hear_channel(struct worker_loop *loop, size_t idx, struct err_msg *why)
{
    struct letter letter;
    struct address from = {PARTY_COORDINATOR, 0};
    if (idx > 0)
        from = (struct address){PARTY_SHARD, loop->incarnations[idx]};
    int err = 0;
    struct courier *courier = loop->spec->courier;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        do {
            err = courier_receive(courier, loop->channels[idx], &letter);
            if (err != 0)
                break;
            exchange_step(loop->spec->exchange, clock_now_ms(), from, &letter.msg, &loop->out);
            letter_release(&letter);
        } while (courier_has_more(courier));
        int flushed = flush(loop, why);
        err = err == 0 ? flushed : err;
    }
    return err == ERR_AGAIN ? 0 : err;
}

static int hear_compute(struct worker_loop *loop, struct err_msg *why)
{
    const struct computing *compute = &loop->spec->compute;
    struct message result;
    struct address from = {PARTY_COMPUTE, 0};
    size_t waiting_bytes = 0;
    int err = 0;
    while (err == 0 && compute->next(compute->ctx, &result)) {
        exchange_step(loop->spec->exchange, clock_now_ms(), from, &result, &loop->out);
        waiting_bytes += result.payload == NULL ? 0 : result.payload->size_bytes;
        buffer_unref(result.payload);
        if (waiting_bytes >= TOGETHER_BYTES * (loop->channel_count - 1)) {
            err = flush(loop, why);
            waiting_bytes = 0;
            courier_take_back(loop->spec->courier);
        }
    }
    return err == 0 ? flush(loop, why) : err;
}

/* Goes to the doors of the view's shards: they may lend what they send here. */
static int meet(struct worker_loop *loop, uint64_t now_ms)
{
    size_t count;
    const struct shard_member *shards = exchange_shards(loop->spec->exchange, &count);
    if (now_ms - loop->meet_ms < MEET_MS || count == 0)
        return 0;
    loop->meet_ms = now_ms;
    struct lender_at *lenders = calloc(count, sizeof(*lenders));
    if (lenders == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        lenders[i] = (struct lender_at){shards[i].incarnation, shards[i].door};
    courier_meet(loop->spec->courier, lenders, count);
    free(lenders);
    return 0;
}

/* For the status: with whom memory is shared. */
static void note_shared(const struct worker_loop *loop, struct beat *beat)
{
    size_t count;
    const struct shard_member *shards = exchange_shards(loop->spec->exchange, &count);
    for (size_t i = 0; i < count && beat->shared_count < BEAT_SHARED; i++)
        if (courier_lends_to(loop->spec->courier, shards[i].incarnation))
            beat->shared_shards[beat->shared_count++] = (uint32_t)i;
}

/* The coordinator was started again on another machine: it is spoken to there. */
static int follow_coordinator(struct worker_loop *loop, struct err_msg *why)
{
    struct ends ends = {{PARTY_WORKER, loop->spec->incarnation}, PARTY_COORDINATOR};
    if (!run_file_has_moved(loop->spec->run, clock_now_ms()))
        return 0;
    log_event(LOG_INFO, "coordinator_moved", "to=%s", loop->spec->run->endpoint);
    channel_destroy(loop->channels[0]);
    loop->channels[0] = NULL;
    return channel_connect(loop->spec->transport, loop->spec->run->endpoint, ends,
                           &loop->channels[0], why);
}

static int tick(struct worker_loop *loop, struct err_msg *why)
{
    int err = follow_coordinator(loop, why);
    if (err != 0)
        return err;
    struct usage usage = usage_now();
    struct beat beat = {.rss_bytes = usage.rss_bytes,
                        .peak_rss_bytes = usage.peak_rss_bytes,
                        .cpu_us = usage.cpu_us};
    courier_tend(loop->spec->courier);
    note_shared(loop, &beat);
    exchange_note_usage(loop->spec->exchange, &beat);
    exchange_step(loop->spec->exchange, clock_now_ms(), (struct address){0}, NULL, &loop->out);
    if (*loop->spec->is_asked_to_stop)
        exchange_stop(loop->spec->exchange, &loop->out);
    return flush(loop, why);
}

static int run(struct worker_loop *loop, struct outcome *end, struct err_msg *why)
{
    uint64_t tick_ms = 0;
    int err = 0;
    while (err == 0 && !exchange_is_over(loop->spec->exchange, end)) {
        struct ready ready;
        uint64_t now_ms = clock_now_ms();
        if (tick_ms != 0 && now_ms >= tick_ms + ASLEEP_MS)
            tick_ms = now_ms + WAKE_MS; /* it was this process that stood still */
        if (now_ms >= tick_ms + TICK_MS) {
            tick_ms = now_ms;
            err = tick(loop, why);
        }
        if (err == 0)
            err = meet(loop, now_ms);
        if (err == 0 && now_ms >= loop->later_ms)
            err = send_later(loop);
        courier_take_back(loop->spec->courier);
        if (err == 0)
            err = transport_wait(loop->channels, loop->channel_count, loop->spec->compute.fd,
                                 loop->later.count > 0 ? LATER_MS : TICK_MS, &ready);
        if (err == 0)
            err = channel_refusal(loop->channels[0], false, why);
        for (size_t i = 0; i < loop->channel_count && err == 0; i++)
            if (channel_is_ready(loop->channels[i]))
                err = hear_channel(loop, i, why);
        if (err == 0)
            err = hear_compute(loop, why);
    }
    return err;
}

int worker_loop_run(const struct worker_loop_spec *spec, struct outcome *end, struct err_msg *why)
{
    struct worker_loop loop = {.spec = spec,
                               .channels = calloc(1, sizeof(*loop.channels)),
                               .incarnations = calloc(1, sizeof(*loop.incarnations))};
    struct ends ends = {{PARTY_WORKER, spec->incarnation}, PARTY_COORDINATOR};
    int err = loop.channels == NULL || loop.incarnations == NULL
                  ? err_set(why, ERR_NOMEM, "no memory for a channel")
                  : 0;
    if (err == 0)
        err = channel_connect(spec->transport, spec->coordinator, ends, &loop.channels[0], why);
    if (err == 0) {
        loop.channel_count = 1;
        err = run(&loop, end, why);
    }
    adopt(&loop, NULL, NULL, 0);
    outbox_free(&loop.out);
    outbox_free(&loop.later);
    return err;
}
