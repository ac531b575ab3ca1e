#include "worker/worker_loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/usage.h"
#include "proto/courier.h"

enum { TICK_MS = 50, LETTERS_A_ROUND = 64 };

struct worker_loop {
    const struct worker_loop_spec *spec;
    struct courier *courier;
    struct channel **channels; /* the coordinator's, then one a shard */
    const struct shard_member *shards;
    size_t channel_count;
    struct outbox out;
};

static int connect_shards(struct worker_loop *loop, struct err_msg *why)
{
    size_t count;
    loop->shards = exchange_shards(loop->spec->exchange, &count);
    if (count == 0 || loop->channel_count > 1)
        return 0;
    struct channel **channels = realloc(loop->channels, (1 + count) * sizeof(*channels));
    if (channels == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %zu channels", count);
    loop->channels = channels;
    struct address self = {PARTY_WORKER, loop->spec->incarnation};
    for (size_t i = 0; i < count; i++) {
        int err = channel_connect(loop->spec->transport, loop->shards[i].endpoint, self,
                                  &channels[loop->channel_count], why);
        if (err != 0)
            return err;
        loop->channel_count++;
    }
    return 0;
}

static struct channel *channel_to(const struct worker_loop *loop, struct address to)
{
    if (to.party == PARTY_COORDINATOR)
        return loop->channels[0];
    for (size_t i = 1; i < loop->channel_count; i++)
        if (loop->shards[i - 1].incarnation == to.id)
            return loop->channels[i];
    return NULL;
}

static int flush(struct worker_loop *loop, struct err_msg *why)
{
    int err = connect_shards(loop, why);
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        if (envelope->to.party == PARTY_COMPUTE) {
            err = compute_submit(loop->spec->compute, &envelope->msg);
            continue;
        }
        struct channel *channel = channel_to(loop, envelope->to);
        if (channel != NULL)
            err = courier_send(loop->courier, channel, envelope->to, &envelope->msg);
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
        from = (struct address){PARTY_SHARD, loop->shards[idx - 1].incarnation};
    int err = 0;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        err = courier_receive(loop->courier, loop->channels[idx], &letter);
        if (err != 0)
            break;
        exchange_step(loop->spec->exchange, clock_now_ms(), from, &letter.msg, &loop->out);
        err = flush(loop, why);
        letter_release(&letter);
    }
    return err == ERR_AGAIN ? 0 : err;
}

static int hear_compute(struct worker_loop *loop, struct err_msg *why)
{
    struct message result;
    struct address from = {PARTY_COMPUTE, 0};
    int err = 0;
    while (err == 0 && compute_next(loop->spec->compute, &result)) {
        exchange_step(loop->spec->exchange, clock_now_ms(), from, &result, &loop->out);
        buffer_unref(result.payload);
        err = flush(loop, why);
    }
    return err;
}

static int tick(struct worker_loop *loop, struct err_msg *why)
{
    struct usage usage = usage_now();
    struct beat beat = {.rss_bytes = usage.rss_bytes,
                        .peak_rss_bytes = usage.peak_rss_bytes,
                        .cpu_us = usage.cpu_us};
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
        if (clock_now_ms() - tick_ms >= TICK_MS) {
            tick_ms = clock_now_ms();
            err = tick(loop, why);
        }
        if (err == 0)
            err = transport_wait(loop->channels, loop->channel_count,
                                 compute_fd(loop->spec->compute), TICK_MS, &ready);
        size_t count = loop->channel_count;
        for (size_t i = 0; i < count && err == 0; i++)
            if (channel_is_ready(loop->channels[i]))
                err = hear_channel(loop, i, why);
        if (err == 0)
            err = hear_compute(loop, why);
    }
    return err;
}

int worker_loop_run(const struct worker_loop_spec *spec, struct outcome *end, struct err_msg *why)
{
    struct worker_loop loop = {.spec = spec, .channels = calloc(1, sizeof(*loop.channels))};
    struct address self = {PARTY_WORKER, spec->incarnation};
    int err = loop.channels == NULL ? err_set(why, ERR_NOMEM, "no memory for a channel")
                                    : courier_create(&loop.courier);
    if (err == 0)
        err = channel_connect(spec->transport, spec->coordinator, self, &loop.channels[0], why);
    if (err == 0) {
        loop.channel_count = 1;
        err = run(&loop, end, why);
    }
    for (size_t i = 0; i < loop.channel_count; i++)
        channel_destroy(loop.channels[i]);
    free(loop.channels);
    outbox_free(&loop.out);
    courier_destroy(loop.courier);
    return err;
}
