#include "ps/store_loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/log.h"
#include "proto/courier.h"

enum { TICK_MS = 50, LETTERS_A_ROUND = 64 };

enum { TO_SHARDS, TO_COORDINATOR, CHANNELS };

struct store_loop {
    struct store_loop_spec spec;
    pthread_t thread;
    atomic_bool is_ending;
    struct courier *courier;
    struct channel *channels[CHANNELS];
    struct outbox out;
    struct err_msg why;
    int err;
};

static int flush(struct store_loop *loop)
{
    int err = outbox_failed(&loop->out) ? ERR_NOMEM : 0;
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        bool is_up = envelope->to.party == PARTY_COORDINATOR;
        err = courier_send(loop->courier, loop->channels[is_up ? TO_COORDINATOR : TO_SHARDS],
                           envelope->to, &envelope->msg);
        if (err == ERR_LOST) /* the shard is gone; it asks again if it comes back */
            err = 0;
    }
    outbox_clear(&loop->out);
    return err;
}

static int hear(struct store_loop *loop, size_t idx)
{
    struct letter letter;
    int err = 0;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        err = courier_receive(loop->courier, loop->channels[idx], &letter);
        if (err != 0)
            break;
        if (idx == TO_COORDINATOR)
            letter.from = (struct address){PARTY_COORDINATOR, 0};
        if (idx == TO_COORDINATOR || letter.from.party == PARTY_SHARD)
            store_step(loop->spec.store, clock_now_ms(), letter.from, &letter.msg, &loop->out);
        err = flush(loop);
        letter_release(&letter);
    }
    return err == ERR_AGAIN ? 0 : err;
}

static int run(struct store_loop *loop)
{
    int err = 0;
    while (err == 0 && !atomic_load(&loop->is_ending)) {
        struct ready ready;
        err = transport_wait(loop->channels, CHANNELS, -1, TICK_MS, &ready);
        for (size_t i = 0; i < CHANNELS && err == 0; i++)
            if (channel_is_ready(loop->channels[i]))
                err = hear(loop, i);
        if (err == 0) {
            store_step(loop->spec.store, clock_now_ms(), (struct address){0}, NULL, &loop->out);
            err = flush(loop);
        }
    }
    return err;
}

static void *run_thread(void *arg)
{
    struct store_loop *loop = arg;
    loop->err = run(loop);
    if (loop->err != 0 && loop->why.text[0] == 0)
        err_set(&loop->why, loop->err, "the store's sockets failed: %s", err_text(loop->err));
    if (loop->err != 0)
        log_event(LOG_ERROR, "store_failed", "code=%d", loop->err);
    for (size_t i = 0; i < CHANNELS; i++)
        channel_destroy(loop->channels[i]);
    outbox_free(&loop->out);
    return NULL;
}

int store_loop_start(const struct store_loop_spec *spec, struct store_loop **loop_out)
{
    struct store_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL || courier_create(0, NULL, &loop->courier) != 0)
        goto fail;
    loop->spec = *spec;
    loop->channels[TO_SHARDS] = spec->shards;
    /* Before the thread runs: the coordinator's first message must find somebody there. */
    if (channel_connect(spec->transport, spec->coordinator,
                        (struct ends){{PARTY_STORE, spec->incarnation}, PARTY_COORDINATOR},
                        &loop->channels[TO_COORDINATOR], NULL) != 0 ||
        pthread_create(&loop->thread, NULL, run_thread, loop) != 0)
        goto fail;
    *loop_out = loop;
    return 0;
fail:
    channel_destroy(spec->shards);
    if (loop != NULL) {
        channel_destroy(loop->channels[TO_COORDINATOR]);
        courier_destroy(loop->courier);
    }
    free(loop);
    return ERR_NOMEM;
}

int store_loop_stop(struct store_loop *loop, struct err_msg *why)
{
    if (loop == NULL)
        return 0;
    atomic_store(&loop->is_ending, true);
    pthread_join(loop->thread, NULL);
    int err = loop->err;
    if (err != 0)
        *why = loop->why;
    courier_destroy(loop->courier);
    free(loop);
    return err;
}
