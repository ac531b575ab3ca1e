#include "ps/shard_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/log.h"
#include "common/rounds.h"

enum { HELLO_MS = 200, BYE_MS = 1000 };

enum { WAITING_LOG_HELLOS = 50 }; /* a line of log every so many */

struct address shard_coordinator(void)
{
    return (struct address){PARTY_COORDINATOR, 0};
}

struct message shard_message(const struct shard *shard, enum message_kind kind)
{
    return (struct message){.kind = kind,
                            .run = shard->run,
                            .sender = shard->spec.incarnation,
                            .view = shard->view,
                            .era = shard->era};
}

void shard_finish(struct shard *shard, int code, const char *text)
{
    if (shard->is_over)
        return;
    shard->is_over = true;
    shard->end.code = code;
    snprintf(shard->end.text, sizeof(shard->end.text), "%s", text);
}

static void send_bye(struct shard *shard, int code, const char *text, struct outbox *out)
{
    struct message bye = shard_message(shard, MSG_BYE);
    bye.outcome.code = code;
    snprintf(bye.outcome.text, sizeof(bye.outcome.text), "%s", text);
    shard->bye_ms = shard->now_ms;
    outbox_put(out, shard_coordinator(), &bye);
}

void shard_give_up(struct shard *shard, int code, const char *text, struct outbox *out)
{
    if (shard->is_over)
        return;
    send_bye(shard, code, text, out);
    shard_finish(shard, code, text);
}

void shard_refuse(struct shard *shard, struct address to, int code, const char *text,
                  struct outbox *out)
{
    shard->refused_count++;
    struct message no = shard_message(shard, MSG_REFUSED);
    no.outcome.code = code;
    snprintf(no.outcome.text, sizeof(no.outcome.text), "%s", text);
    outbox_put(out, to, &no);
}

bool shard_is_bsp(const struct shard *shard)
{
    return !settings_has_clocks(shard->spec.settings);
}

struct shard_block *shard_find(struct shard *shard, uint32_t block_idx)
{
    if (shard->layout == NULL || block_idx >= shard->layout->block_count)
        return NULL;
    return &shard->blocks[block_idx];
}

struct shard_block *shard_serving(struct shard *shard, uint32_t block_idx)
{
    struct shard_block *block = shard_find(shard, block_idx);
    return block != NULL && block->role == ROLE_PRIMARY && block->is_ready ? block : NULL;
}

static void send_hello(struct shard *shard, struct outbox *out)
{
    struct message hello = shard_message(shard, MSG_HELLO);
    hello.hello = shard->spec.hello;
    outbox_put(out, shard_coordinator(), &hello);
    shard->hello_ms = shard->now_ms;
    if (shard->hello_count++ % WAITING_LOG_HELLOS == WAITING_LOG_HELLOS - 1)
        log_event(LOG_INFO, "waiting", "for=%s seconds=%" PRIu64,
                  run_is_known(shard->run) ? "view" : "coordinator",
                  (shard->now_ms - shard->begin_ms) / 1000);
}

/* What the beat says of the blocks: how far the slowest is, and what keeps it. */
static void survey(const struct shard *shard, struct beat *beat)
{
    const struct shard_block *slowest = NULL;
    struct lane_node lack;
    for (size_t i = 0; shard->layout != NULL && i < shard->layout->block_count; i++) {
        const struct shard_block *block = &shard->blocks[i];
        if (block->role != ROLE_PRIMARY)
            continue;
        beat->version_sum += block->version;
        if (slowest == NULL || shard_block_step(block) < shard_block_step(slowest) ||
            (shard_block_step(block) == shard_block_step(slowest) &&
             !shard_first_lack(slowest, &lack)))
            slowest = block;
    }
    if (slowest == NULL)
        return;
    beat->step = shard_block_step(slowest);
    if (beat->step < shard->step_count && shard_first_lack(slowest, &lack)) {
        beat->lack_begin = lack.begin;
        beat->lack_end = lack.end;
    }
}

static void send_beat(struct shard *shard, struct outbox *out)
{
    struct message beat = shard_message(shard, MSG_BEAT);
    beat.beat = shard->usage;
    beat.beat.sent_ms = shard->now_ms;
    beat.beat.push_count = shard->totals.push_count;
    beat.beat.bytes_in = shard->totals.bytes_in;
    beat.beat.bytes_out = shard->totals.bytes_out;
    for (size_t i = 0; i < BEAT_STALENESS; i++)
        beat.beat.staleness_count[i] = shard->totals.staleness_count[i];
    beat.beat.block_count = shard->primary_count;
    beat.beat.parked_bytes = shard->parked_bytes;
    beat.beat.held_bytes = shard->state_bytes + shard->other_bytes + shard->copy_bytes +
                           shard->parked_bytes + shard->log_bytes;
    survey(shard, &beat.beat);
    outbox_put(out, shard_coordinator(), &beat);
    shard->beat_ms = shard->now_ms;
}

static void watch_coordinator(struct shard *shard)
{
    const struct settings *settings = shard->spec.settings;
    double limit_s = shard->view == 0 ? settings->cluster.wait_s : settings->cluster.give_up_s;
    if ((double)(shard->now_ms - shard->heard_ms) < limit_s * 1000.0)
        return;
    char text[200];
    snprintf(text, sizeof(text), "the coordinator has said nothing for %.0f s (%s)", limit_s,
             shard->view == 0 ? "cluster.wait_s" : "cluster.give_up_s");
    shard_finish(shard, ERR_TIMEOUT, text);
}

static const char stop_text[] = "asked to stop by a signal";

static void weigh_logs(struct shard *shard)
{
    shard->log_bytes = 0;
    for (size_t i = 0; shard->layout != NULL && i < shard->layout->block_count; i++)
        shard->log_bytes += replicas_log_bytes(&shard->blocks[i].replicas);
}

static void tick(struct shard *shard, struct outbox *out)
{
    if (shard->begin_ms == 0)
        shard->begin_ms = shard->heard_ms = shard->now_ms;
    weigh_logs(shard);
    if (shard->view == 0 &&
        (shard->hello_ms == 0 || shard->now_ms - shard->hello_ms >= HELLO_MS))
        send_hello(shard, out);
    if (shard->now_ms - shard->beat_ms >= shard->spec.settings->cluster.beat_ms &&
        run_is_known(shard->run))
        send_beat(shard, out);
    if (shard->is_leaving && shard->now_ms - shard->bye_ms >= BYE_MS)
        send_bye(shard, ERR_STOPPED, stop_text, out);
    shard_keep_tick(shard, out);
    shard_settle_all(shard, out);
    shard_feed_tick(shard, out);
    watch_coordinator(shard);
}

/* The lease goes on from when the echoed beat was sent, not from when its echo came. */
static void take_echo(struct shard *shard, const struct message *msg, struct outbox *out)
{
    uint64_t sent_ms = msg->beat.sent_ms;
    if (!run_equal(msg->run, shard->run) || sent_ms <= shard->lease_ms ||
        sent_ms > shard->now_ms)
        return;
    shard->lease_ms = sent_ms;
    shard_settle_all(shard, out);
}

static void hear_coordinator(struct shard *shard, const struct message *msg, struct outbox *out)
{
    char text[512];
    shard->heard_ms = shard->now_ms;
    switch (msg->kind) {
    case MSG_WELCOME:
        if (shard->view == 0)
            shard->run = msg->run;
        break;
    case MSG_WHO:
        send_hello(shard, out);
        break;
    case MSG_VIEW:
        shard_take_view(shard, msg, out);
        break;
    case MSG_BEAT:
        take_echo(shard, msg, out);
        break;
    case MSG_CHECKPOINT_ASK:
        shard_ask_checkpoint(shard, msg->outcome.step, out);
        break;
    case MSG_FINISH:
        if (!run_is_known(shard->run) || run_equal(msg->run, shard->run))
            shard_finish(shard, msg->outcome.code, msg->outcome.text);
        break;
    case MSG_REFUSED:
        snprintf(text, sizeof(text), "refused by the coordinator: %.480s", msg->outcome.text);
        shard_finish(shard, msg->outcome.code, text);
        break;
    default:
        break;
    }
}

static void refuse_ghost(struct shard *shard, struct address from, const struct message *msg,
                         struct outbox *out)
{
    char text[200];
    snprintf(text, sizeof(text),
             "this shard serves run %016" PRIx64 "%016" PRIx64 "; you are of run %016" PRIx64
             "%016" PRIx64,
             shard->run.high, shard->run.low, msg->run.high, msg->run.low);
    shard_refuse(shard, from, ERR_REFUSED, text, out);
}

static void hear_worker(struct shard *shard, struct address from, const struct message *msg,
                        struct outbox *out)
{
    if (msg->kind == MSG_PUSH || msg->kind == MSG_VOID || msg->kind == MSG_PASS)
        shard_take_push(shard, from, msg, out);
    else if (msg->kind == MSG_PULL_OLD)
        shard_take_pull_old(shard, from, msg, out);
    else if (msg->kind == MSG_PULL)
        shard_take_pull(shard, from, msg, out);
    else
        shard_refuse(shard, from, ERR_PROTO, "a shard takes pushes and pulls from a worker", out);
}

static void hear_shard(struct shard *shard, struct address from, const struct message *msg,
                       struct outbox *out)
{
    if (msg->kind == MSG_UPDATE || msg->kind == MSG_UPDATE_VOID)
        shard_take_update(shard, from, msg, out);
    else if (msg->kind == MSG_REPLICA)
        shard_take_replica(shard, from, msg, out);
    else if (msg->kind == MSG_UPDATED)
        shard_take_updated(shard, from, msg, out);
    else
        shard_refuse(shard, from, ERR_PROTO, "a shard takes updates from a shard", out);
}

/* What is of another era is of weights that were taken back, or its view comes later: whoever sent
 * it asks again.  The same before the first view. */
static void hear_peer(struct shard *shard, struct address from, const struct message *msg,
                      struct outbox *out)
{
    if (msg->kind == MSG_REFUSED)
        return;
    if (shard->view != 0 && !run_equal(msg->run, shard->run))
        refuse_ghost(shard, from, msg, out);
    else if (shard->view == 0 || msg->era != shard->era)
        shard->dropped_count++;
    else if (from.party == PARTY_SHARD)
        hear_shard(shard, from, msg, out);
    else
        hear_worker(shard, from, msg, out);
}

void shard_step(struct shard *shard, uint64_t now_ms, struct address from,
                const struct message *msg, struct outbox *out)
{
    if (shard->is_over)
        return;
    shard->now_ms = now_ms;
    if (msg == NULL)
        tick(shard, out);
    else if (from.party == PARTY_COORDINATOR)
        hear_coordinator(shard, msg, out);
    else if (from.party == PARTY_STORE)
        shard_hear_store(shard, msg, out);
    else
        hear_peer(shard, from, msg, out);
}

int shard_create(const struct shard_spec *spec, struct shard **shard_out)
{
    struct shard *shard = calloc(1, sizeof(*shard));
    if (shard == NULL)
        return ERR_NOMEM;
    shard->spec = *spec;
    shard->server_settings = rounds_server_settings(spec->settings);
    int err = spec->pool == NULL ? buffer_pool_create(0, &shard->own_pool) : 0;
    if (err != 0) {
        free(shard);
        return err;
    }
    shard->pool = spec->pool == NULL ? shard->own_pool : spec->pool;
    *shard_out = shard;
    return 0;
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL)
        return;
    for (size_t i = 0; shard->blocks != NULL && i < shard->layout->block_count; i++)
        shard_block_free(&shard->blocks[i]);
    shard_drop_copies(shard);
    free(shard->copies);
    free(shard->blocks);
    free(shard->shards);
    free(shard->workers);
    free(shard->lane_worker);
    layout_destroy(shard->layout);
    buffer_pool_destroy(shard->own_pool);
    free(shard);
}

void shard_stop(struct shard *shard, struct outbox *out)
{
    if (shard->is_over || shard->is_leaving)
        return;
    shard->is_leaving = true;
    if (run_is_known(shard->run))
        send_bye(shard, ERR_STOPPED, stop_text, out);
    else
        shard_finish(shard, ERR_STOPPED, stop_text);
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

const struct shard_member *shard_peers(const struct shard *shard, size_t *count_out)
{
    *count_out = shard->shard_count;
    return shard->shards;
}

const struct worker_member *shard_workers(const struct shard *shard, size_t *count_out)
{
    *count_out = shard->worker_count;
    return shard->workers;
}

uint64_t shard_refused_count(const struct shard *shard)
{
    return shard->refused_count;
}

uint64_t shard_dropped_count(const struct shard *shard)
{
    return shard->dropped_count;
}
