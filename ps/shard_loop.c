#include "ps/shard_loop.h"

#include <inttypes.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/usage.h"
#include "proto/courier.h"

enum { TICK_MS = 50, LETTERS_A_ROUND = 64 };

enum { TO_WORKERS, TO_COORDINATOR, TO_STORE, CHANNELS };

struct shard_loop {
    const struct shard_loop_spec *spec;
    struct shard *shard;
    struct courier *courier;
    struct channel *channels[CHANNELS];
    size_t channel_count;
    struct outbox out;
};

static int connect_store(struct shard_loop *loop, struct err_msg *why)
{
    const char *endpoint = shard_store_endpoint(loop->shard);
    if (endpoint == NULL || loop->channel_count > TO_STORE)
        return 0;
    struct address self = {PARTY_SHARD, loop->spec->shard.incarnation};
    int err = channel_connect(loop->spec->transport, endpoint, self, &loop->channels[TO_STORE],
                              why);
    if (err == 0)
        loop->channel_count++;
    return err;
}

static struct channel *channel_to(const struct shard_loop *loop, struct address to)
{
    if (to.party == PARTY_COORDINATOR)
        return loop->channels[TO_COORDINATOR];
    return to.party == PARTY_STORE ? loop->channels[TO_STORE] : loop->channels[TO_WORKERS];
}

static int flush(struct shard_loop *loop, struct err_msg *why)
{
    int err = connect_store(loop, why);
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        struct channel *channel = channel_to(loop, envelope->to);
        if (channel == NULL)
            continue;
        err = courier_send(loop->courier, channel, envelope->to, &envelope->msg);
        if (err == ERR_LOST) { /* it asks again when it is back */
            log_event(LOG_DEBUG, "answer_lost", "worker=%016" PRIx64, envelope->to.id);
            err = 0;
        }
    }
    if (err == 0 && outbox_failed(&loop->out))
        err = ERR_NOMEM;
    outbox_clear(&loop->out);
    if (err != 0 && why->text[0] == 0)
        err_set(why, err, "cannot send: %s", err_text(err));
    return err;
}

/* Who speaks on a channel: on ours, only workers; on the others, whom we connected to. */
static bool is_from(size_t idx, struct address *from)
{
    if (idx == TO_WORKERS)
        return from->party == PARTY_WORKER;
    *from = (struct address){idx == TO_COORDINATOR ? PARTY_COORDINATOR : PARTY_STORE, 0};
    return true;
}

static int hear(struct shard_loop *loop, size_t idx, struct err_msg *why)
{
    struct letter letter;
    int err = 0;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        err = courier_receive(loop->courier, loop->channels[idx], &letter);
        if (err != 0)
            break;
        if (is_from(idx, &letter.from))
            shard_step(loop->shard, clock_now_ms(), letter.from, &letter.msg, &loop->out);
        err = flush(loop, why);
        letter_release(&letter);
    }
    return err == ERR_AGAIN ? 0 : err;
}

static int tick(struct shard_loop *loop, struct err_msg *why)
{
    struct usage usage = usage_now();
    struct beat beat = {.rss_bytes = usage.rss_bytes,
                        .peak_rss_bytes = usage.peak_rss_bytes,
                        .cpu_us = usage.cpu_us};
    shard_note_usage(loop->shard, &beat);
    shard_step(loop->shard, clock_now_ms(), (struct address){0}, NULL, &loop->out);
    if (*loop->spec->is_asked_to_stop)
        shard_stop(loop->shard, &loop->out);
    return flush(loop, why);
}

static int run(struct shard_loop *loop, struct outcome *end, struct err_msg *why)
{
    uint64_t tick_ms = 0;
    int err = 0;
    while (err == 0 && !shard_is_over(loop->shard, end)) {
        struct ready ready;
        if (clock_now_ms() - tick_ms >= TICK_MS) {
            tick_ms = clock_now_ms();
            err = tick(loop, why);
        }
        if (err == 0)
            err = transport_wait(loop->channels, loop->channel_count, -1, TICK_MS, &ready);
        size_t count = loop->channel_count; /* a view may add one, not waited for yet */
        for (size_t i = 0; i < count && err == 0; i++)
            if (channel_is_ready(loop->channels[i]))
                err = hear(loop, i, why);
    }
    return err;
}

int shard_loop_run(const struct shard_loop_spec *spec, struct outcome *end, struct err_msg *why)
{
    struct shard_loop loop = {.spec = spec, .channels = {spec->workers}, .channel_count = 1};
    struct address self = {PARTY_SHARD, spec->shard.incarnation};
    int err = courier_create(&loop.courier);
    if (err == 0)
        err = shard_create(&spec->shard, &loop.shard);
    if (err != 0)
        err_set(why, err, "cannot start a shard: %s", err_text(err));
    if (err == 0)
        err = channel_connect(spec->transport, spec->coordinator, self,
                              &loop.channels[TO_COORDINATOR], why);
    if (err == 0) {
        loop.channel_count = TO_STORE;
        err = run(&loop, end, why);
    }
    for (size_t i = 0; i < loop.channel_count; i++)
        channel_destroy(loop.channels[i]);
    outbox_free(&loop.out);
    shard_destroy(loop.shard);
    courier_destroy(loop.courier);
    return err;
}
