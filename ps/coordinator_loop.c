#include "ps/coordinator_loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "proto/courier.h"

enum { TICK_MS = 20, LETTERS_A_ROUND = 256, GOODBYE_MS = 300 };

struct coordinator_loop {
    const struct coordinator_loop_spec *spec;
    struct courier *courier;
    struct buffer_pool *pool;
    struct outbox out;
};

static int flush(struct coordinator_loop *loop)
{
    int err = outbox_failed(&loop->out) ? ERR_NOMEM : 0;
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        struct envelope *envelope = &loop->out.items[i];
        err = courier_send(loop->courier, loop->spec->members, envelope->to, &envelope->msg);
        if (err == ERR_LOST) /* gone: its silence is watched */
            err = 0;
    }
    outbox_clear(&loop->out);
    return err;
}

static int answer_status(struct coordinator_loop *loop, struct address client)
{
    struct document *document =
        status_document(loop->spec->coordinator, &loop->spec->process, clock_now_ms());
    char *text = document == NULL ? NULL : document_print(document, false);
    document_destroy(document);
    struct message msg = {.kind = MSG_STATUS, .run = loop->spec->process.run};
    if (text != NULL)
        msg.payload = buffer_pool_take(loop->pool, strlen(text));
    int err = msg.payload == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        memcpy(msg.payload->data, text, msg.payload->size_bytes);
        err = courier_send(loop->courier, loop->spec->members, client, &msg);
    }
    buffer_unref(msg.payload);
    free(text);
    return err == ERR_LOST ? 0 : err;
}

static int hear_letter(struct coordinator_loop *loop, const struct letter *letter)
{
    if (letter->from.party == PARTY_CLIENT)
        return letter->msg.kind == MSG_STATUS_ASK ? answer_status(loop, letter->from) : 0;
    coordinator_step(loop->spec->coordinator, clock_now_ms(), letter->from, &letter->msg,
                     &loop->out);
    return flush(loop);
}

static int hear(struct coordinator_loop *loop)
{
    struct letter letter;
    int err = 0;
    for (size_t i = 0; i < LETTERS_A_ROUND && err == 0; i++) {
        err = courier_receive(loop->courier, loop->spec->members, &letter);
        if (err != 0)
            break;
        err = hear_letter(loop, &letter);
        letter_release(&letter);
    }
    return err == ERR_AGAIN ? 0 : err;
}

static int write_rows(struct coordinator_loop *loop, struct err_msg *why)
{
    struct metric_row row;
    while (coordinator_next_row(loop->spec->coordinator, &row)) {
        int err = report_row(loop->spec->report, &row, why);
        if (err != 0)
            return err;
    }
    return 0;
}

/* One wait, what came in it, and a tick. */
static int turn(struct coordinator_loop *loop, struct err_msg *why)
{
    struct ready ready;
    struct channel *channels[] = {loop->spec->members};
    int err = transport_wait(channels, 1, -1, TICK_MS, &ready);
    if (err == 0)
        err = hear(loop);
    if (err != 0)
        return err_set(why, err, "the coordinator's socket failed: %s", err_text(err));
    if (*loop->spec->is_asked_to_stop)
        coordinator_stop(loop->spec->coordinator, &loop->out);
    coordinator_step(loop->spec->coordinator, clock_now_ms(), (struct address){0}, NULL,
                     &loop->out);
    err = flush(loop);
    return err != 0 ? err_set(why, err, "cannot send: %s", err_text(err)) : write_rows(loop, why);
}

int coordinator_loop_run(const struct coordinator_loop_spec *spec, struct err_msg *why)
{
    struct coordinator_loop loop = {.spec = spec};
    int err = courier_create(&loop.courier);
    if (err == 0)
        err = buffer_pool_create(0, &loop.pool);
    if (err != 0)
        err_set(why, err, "cannot start the coordinator: %s", err_text(err));
    while (err == 0 && !coordinator_is_over(spec->coordinator))
        err = turn(&loop, why);
    for (uint64_t end_ms = clock_now_ms() + GOODBYE_MS; err == 0 && clock_now_ms() < end_ms;)
        err = turn(&loop, why);
    outbox_free(&loop.out);
    buffer_pool_destroy(loop.pool);
    courier_destroy(loop.courier);
    return err;
}
