#include "ps/shard_loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/usage.h"
#include "proto/courier.h"
#include "ps/echo.h"

enum { TICK_MS = 50, MEET_MS = 500, LETTERS_A_ROUND = 64 };

/* After a turn that took so long, so much time is for hearing what came meanwhile, before anybody
 * is found to be silent. */
enum { ASLEEP_MS = 2000, WAKE_MS = 500 };

/* Those that are always there; the store and other shards come and go behind them. */
enum { BOUND, TO_COORDINATOR, FIRST_OTHER };

struct shard_loop {
    const struct shard_loop_spec *spec;
    struct shard *shard;
    struct courier *courier;
    struct channel **channels;
    struct address *whom; /* [channel_count]: who is at the other end; unused for BOUND */
    size_t channel_count, channel_capacity;
    struct lender_at *lenders; /* room for lender_capacity of them */
    size_t lender_capacity;
    uint64_t meet_ms; /* when the doors were last tried */
    struct run_file run;
    struct outbox out;
    struct echo echo;
};

static int reserve(struct shard_loop *loop)
{
    if (loop->channel_count < loop->channel_capacity)
        return 0;
    size_t capacity = loop->channel_capacity == 0 ? 16 : 2 * loop->channel_capacity;
    struct channel **channels = realloc(loop->channels, capacity * sizeof(*channels));
    if (channels == NULL)
        return ERR_NOMEM;
    loop->channels = channels;
    struct address *whom = realloc(loop->whom, capacity * sizeof(*whom));
    if (whom == NULL)
        return ERR_NOMEM;
    loop->whom = whom;
    loop->channel_capacity = capacity;
    return 0;
}

static int connect_to(struct shard_loop *loop, struct address whom, const char *endpoint,
                      struct err_msg *why)
{
    struct ends ends = {{PARTY_SHARD, loop->spec->shard.incarnation}, whom.party};
    int err = reserve(loop);
    if (err == 0)
        err = channel_connect(loop->spec->transport, endpoint, ends,
                              &loop->channels[loop->channel_count], why);
    if (err == 0)
        loop->whom[loop->channel_count++] = whom;
    return err;
}

static const char *peer_endpoint(const struct shard_loop *loop, uint64_t incarnation)
{
    size_t count;
    const struct shard_member *peers = shard_peers(loop->shard, &count);
    for (size_t i = 0; i < count; i++)
        if (peers[i].incarnation == incarnation)
            return peers[i].endpoint;
    return NULL;
}

/* Closes channels to whom the newest view does not name any more, or names at another place. */
static void prune(struct shard_loop *loop)
{
    for (size_t i = loop->channel_count; i-- > FIRST_OTHER;) {
        const char *endpoint = loop->whom[i].party == PARTY_STORE
                                   ? shard_store_endpoint(loop->shard)
                                   : peer_endpoint(loop, loop->whom[i].id);
        if (endpoint != NULL && strcmp(endpoint, channel_endpoint(loop->channels[i])) == 0)
            continue;
        channel_destroy(loop->channels[i]);
        loop->channel_count--;
        loop->channels[i] = loop->channels[loop->channel_count];
        loop->whom[i] = loop->whom[loop->channel_count];
    }
}

/* What answers a peer goes back the way that peer came. */
static bool is_by_router(const struct envelope *envelope)
{
    return envelope->to.party == PARTY_WORKER || envelope->msg.kind == MSG_UPDATED ||
           (envelope->to.party == PARTY_SHARD && envelope->msg.kind == MSG_REFUSED);
}

/* A store started again at the same place is the same channel, which connects again by itself. */
static bool leads_to(const struct shard_loop *loop, size_t idx, struct address to)
{
    if (to.party != PARTY_STORE || loop->whom[idx].party != PARTY_STORE)
        return address_equal(loop->whom[idx], to);
    return strcmp(channel_endpoint(loop->channels[idx]), shard_store_endpoint(loop->shard)) == 0;
}

/* The channel for the envelope, connected to when it is the first there; *out is NULL when the view
 * does not know the addressee. */
static int channel_for(struct shard_loop *loop, const struct envelope *envelope,
                       struct channel **out, struct err_msg *why)
{
    struct address to = envelope->to;
    size_t idx = FIRST_OTHER;
    *out = NULL;
    if (to.party == PARTY_COORDINATOR || is_by_router(envelope)) {
        *out = loop->channels[to.party == PARTY_COORDINATOR ? TO_COORDINATOR : BOUND];
        return 0;
    }
    while (idx < loop->channel_count && !leads_to(loop, idx, to))
        idx++;
    if (idx == loop->channel_count) {
        const char *endpoint = to.party == PARTY_STORE ? shard_store_endpoint(loop->shard)
                                                       : peer_endpoint(loop, to.id);
        int err = endpoint == NULL ? 0 : connect_to(loop, to, endpoint, why);
        if (endpoint == NULL || err != 0)
            return err;
    }
    *out = loop->channels[idx];
    return 0;
}

static int flush(struct shard_loop *loop, struct err_msg *why)
{
    int err = 0;
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        struct channel *channel;
        enum message_kind kind = envelope->msg.kind;
        if (kind == MSG_NONE)
            continue; /* it went with one before it */
        err = channel_for(loop, envelope, &channel, why);
        if (err != 0 && envelope->to.party == PARTY_SHARD) { /* its fault, or it has gone since */
            log_event(LOG_WARN, "no_way", "to=%016" PRIx64 " why=\"%s\"", envelope->to.id,
                      err_text(err));
            err = 0;
            continue;
        }
        if (err != 0 || channel == NULL)
            continue;
        err = courier_send_batch(loop->courier, channel, &loop->out, i);
        if (err == ERR_LOST || err == ERR_AGAIN) { /* it asks again when it is back */
            log_event(LOG_DEBUG, "message_lost", "kind=%s to=%016" PRIx64,
                      message_kind_text(kind), envelope->to.id);
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

/* Who speaks on a channel: on ours, workers and other shards; on the rest, whom we connected to,
 * unless another has taken its place. */
static bool is_from(const struct shard_loop *loop, size_t idx, struct letter *letter)
{
    if (idx == BOUND)
        return letter->from.party == PARTY_WORKER || letter->from.party == PARTY_SHARD;
    letter->from = loop->whom[idx];
    return letter->from.party != PARTY_SHARD || letter->msg.sender == letter->from.id;
}

static int hear(struct shard_loop *loop, size_t idx, struct err_msg *why)
{
    struct letter letter;
    int err = 0;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        do {
            err = courier_receive(loop->courier, loop->channels[idx], &letter);
            if (err != 0)
                break;
            if (letter.msg.kind == MSG_ECHO && idx == BOUND)
                echo_answer(&loop->echo, loop->courier, loop->channels[idx], &letter,
                            clock_now_ms());
            else if (is_from(loop, idx, &letter))
                shard_step(loop->shard, clock_now_ms(), letter.from, &letter.msg, &loop->out);
            letter_release(&letter);
        } while (courier_has_more(loop->courier));
        int flushed = flush(loop, why); /* the answers to what came as one go as one */
        err = err == 0 ? flushed : err;
    }
    return err == ERR_AGAIN ? 0 : err;
}

/* Goes to the doors of everyone in the view: they may lend what they send here. */
static int meet(struct shard_loop *loop, uint64_t now_ms)
{
    size_t shard_count, worker_count, count = 0;
    const struct shard_member *shards = shard_peers(loop->shard, &shard_count);
    const struct worker_member *workers = shard_workers(loop->shard, &worker_count);
    if (now_ms - loop->meet_ms < MEET_MS || shard_count == 0)
        return 0;
    loop->meet_ms = now_ms;
    if (shard_count + worker_count > loop->lender_capacity) {
        size_t capacity = 2 * (shard_count + worker_count);
        struct lender_at *lenders = realloc(loop->lenders, capacity * sizeof(*lenders));
        if (lenders == NULL)
            return ERR_NOMEM;
        loop->lenders = lenders;
        loop->lender_capacity = capacity;
    }
    for (size_t i = 0; i < worker_count; i++)
        loop->lenders[count++] = (struct lender_at){workers[i].incarnation, workers[i].door};
    for (size_t i = 0; i < shard_count; i++)
        if (shards[i].incarnation != loop->spec->shard.incarnation)
            loop->lenders[count++] = (struct lender_at){shards[i].incarnation, shards[i].door};
    courier_meet(loop->courier, loop->lenders, count);
    return 0;
}

/* The coordinator was started again on another machine: it is spoken to there. */
static int follow_coordinator(struct shard_loop *loop, struct err_msg *why)
{
    struct ends ends = {{PARTY_SHARD, loop->spec->shard.incarnation}, PARTY_COORDINATOR};
    if (!run_file_has_moved(&loop->run, clock_now_ms()))
        return 0;
    log_event(LOG_INFO, "coordinator_moved", "to=%s", loop->run.endpoint);
    channel_destroy(loop->channels[TO_COORDINATOR]);
    loop->channels[TO_COORDINATOR] = NULL;
    return channel_connect(loop->spec->transport, loop->run.endpoint, ends,
                           &loop->channels[TO_COORDINATOR], why);
}

static int tick(struct shard_loop *loop, struct err_msg *why)
{
    int err = follow_coordinator(loop, why);
    if (err != 0)
        return err;
    struct usage usage = usage_now();
    struct beat beat = {.rss_bytes = usage.rss_bytes,
                        .peak_rss_bytes = usage.peak_rss_bytes,
                        .cpu_us = usage.cpu_us};
    prune(loop);
    courier_tend(loop->courier);
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
        uint64_t now_ms = clock_now_ms();
        if (tick_ms != 0 && now_ms >= tick_ms + ASLEEP_MS)
            tick_ms = now_ms + WAKE_MS; /* it was this process that stood still */
        if (now_ms >= tick_ms + TICK_MS) {
            tick_ms = now_ms;
            err = tick(loop, why);
        }
        if (err == 0)
            err = meet(loop, now_ms);
        courier_take_back(loop->courier);
        if (err == 0)
            err = transport_wait(loop->channels, loop->channel_count, -1, TICK_MS, &ready);
        if (err == 0)
            err = channel_refusal(loop->channels[TO_COORDINATOR], false, why);
        size_t count = loop->channel_count; /* what is connected to now is not waited for yet */
        for (size_t i = 0; i < count && err == 0; i++)
            if (channel_is_ready(loop->channels[i]))
                err = hear(loop, i, why);
    }
    return err;
}

static int open_loop(struct shard_loop *loop, struct err_msg *why)
{
    struct address coordinator = {PARTY_COORDINATOR, 0};
    int err = reserve(loop);
    if (err != 0) {
        channel_destroy(loop->spec->workers);
        return err_set(why, err, "no memory for a shard's channels");
    }
    loop->channels[BOUND] = loop->spec->workers;
    loop->whom[BOUND] = (struct address){0};
    loop->channel_count = FIRST_OTHER - 1;
    struct shard_spec spec = loop->spec->shard;
    bool is_sharing = spec.settings->exchange.shared_memory;
    err = courier_create(spec.incarnation,
                         is_sharing ? spec.settings->exchange.shared_folder : NULL,
                         &loop->courier);
    if (err == 0) {
        snprintf(spec.hello.door, sizeof(spec.hello.door), "%s", courier_door(loop->courier));
        spec.pool = courier_pool(loop->courier);
        err = shard_create(&spec, &loop->shard);
    }
    if (err != 0)
        return err_set(why, err, "cannot start a shard: %s", err_text(err));
    return connect_to(loop, coordinator, loop->spec->coordinator, why);
}

int shard_loop_run(const struct shard_loop_spec *spec, struct outcome *end, struct err_msg *why)
{
    struct shard_loop loop = {.spec = spec, .run = spec->run};
    int err = open_loop(&loop, why);
    if (err == 0)
        err = run(&loop, end, why);
    for (size_t i = 0; i < loop.channel_count; i++)
        channel_destroy(loop.channels[i]);
    free(loop.channels);
    free(loop.lenders);
    free(loop.whom);
    outbox_free(&loop.out);
    shard_destroy(loop.shard);
    courier_destroy(loop.courier);
    return err;
}
