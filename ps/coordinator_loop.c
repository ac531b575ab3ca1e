#include "ps/coordinator_loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "proto/courier.h"
#include "ps/echo.h"

enum {
    TICK_MS = 20,
    LETTERS_A_ROUND = 256,
    GOODBYE_MS = 300,
    SAY_OVER_MS = 2000 /* members beat more often than that, and connect again */
};

struct coordinator_loop {
    const struct coordinator_loop_spec *spec;
    struct courier *courier;
    struct buffer_pool *pool;
    struct outbox out;
    struct echo echo;
    struct address *lost; /* members that could not be reached in this turn; [lost_capacity] */
    size_t lost_count, lost_capacity, told_count; /* told: of them to the coordinator */
    bool is_row_lost; /* the last one, which has been said */
};

static int note_lost(struct coordinator_loop *loop, struct address who)
{
    if (who.party != PARTY_SHARD && who.party != PARTY_WORKER)
        return 0;
    for (size_t i = 0; i < loop->lost_count; i++)
        if (address_equal(loop->lost[i], who))
            return 0;
    if (loop->lost_count == loop->lost_capacity) {
        size_t capacity = loop->lost_capacity == 0 ? 64 : 2 * loop->lost_capacity;
        struct address *lost = realloc(loop->lost, capacity * sizeof(*lost));
        if (lost == NULL)
            return ERR_NOMEM;
        loop->lost = lost;
        loop->lost_capacity = capacity;
    }
    loop->lost[loop->lost_count++] = who;
    return 0;
}

/* The end of a run must be heard of, whether or not it can be written down.  Its results are there
 * before that: a coordinator that dies now is not asked for them again. */
static int keep_record(struct coordinator_loop *loop, const struct message *record,
                       struct err_msg *why)
{
    if (record->kind == MSG_FINISH)
        loop->spec->save(loop->spec->context);
    int err = logbook_keep(loop->spec->logbook, record, why);
    if (err == 0 || record->kind != MSG_FINISH)
        return err;
    char quoted[sizeof(why->text)];
    log_event(LOG_ERROR, "end_not_kept", "why=%s", log_quote(quoted, sizeof(quoted), why->text));
    return 0;
}

/* What is for the journal is on disk before anything after it leaves. */
static int send_out(struct coordinator_loop *loop, struct err_msg *why)
{
    int err = outbox_failed(&loop->out) ? err_set(why, ERR_NOMEM, "no memory for messages") : 0;
    for (size_t i = 0; i < loop->out.count && err == 0; i++) {
        const struct envelope *envelope = &loop->out.items[i];
        if (envelope->to.party == PARTY_JOURNAL) {
            err = keep_record(loop, &envelope->msg, why);
            continue;
        }
        err = courier_send(loop->courier, loop->spec->members, envelope->to, &envelope->msg);
        if (err == ERR_LOST)
            err = note_lost(loop, envelope->to);
        if (err != 0)
            err_set(why, err, "cannot send: %s", err_text(err));
    }
    outbox_clear(&loop->out);
    return err;
}

/* Sends all, and tells the coordinator who is gone, each once in a turn. */
static int flush(struct coordinator_loop *loop, struct err_msg *why)
{
    static const struct message gone = {.kind = MSG_GONE};
    int err = send_out(loop, why);
    while (err == 0 && loop->told_count < loop->lost_count) {
        coordinator_step(loop->spec->coordinator, clock_now_ms(), loop->lost[loop->told_count++],
                         &gone, &loop->out);
        err = send_out(loop, why);
    }
    return err;
}

static int send_status(struct coordinator_loop *loop, const struct letter *letter)
{
    struct status_process process = loop->spec->process;
    frame_peer(&letter->frame, process.client);
    process.wall_ms = clock_wall_ms();
    struct document *document =
        status_document(loop->spec->coordinator, &process, clock_now_ms());
    char *text = document == NULL ? NULL : document_print(document, false);
    document_destroy(document);
    struct message msg = {.kind = MSG_STATUS, .run = loop->spec->process.run};
    if (text != NULL)
        msg.payload = buffer_pool_take(loop->pool, strlen(text));
    int err = msg.payload == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        memcpy(msg.payload->data, text, msg.payload->size_bytes);
        err = courier_send(loop->courier, loop->spec->members, letter->from, &msg);
    }
    buffer_unref(msg.payload);
    free(text);
    return err;
}

static int hear_letter(struct coordinator_loop *loop, const struct letter *letter,
                       struct err_msg *why)
{
    bool is_client = letter->from.party == PARTY_CLIENT;
    if (is_client && letter->msg.kind == MSG_STATUS_ASK) {
        int err = send_status(loop, letter);
        if (err != 0 && err != ERR_LOST) /* who asks for the status must not end the run */
            log_event(LOG_WARN, "no_status", "why=\"%s\"", err_text(err));
        return 0;
    }
    if (is_client && letter->msg.kind == MSG_ECHO)
        echo_answer(&loop->echo, loop->courier, loop->spec->members, letter, clock_now_ms());
    if (is_client && letter->msg.kind != MSG_DRAIN)
        return 0;
    coordinator_step(loop->spec->coordinator, clock_now_ms(), letter->from, &letter->msg,
                     &loop->out);
    return flush(loop, why);
}

static int hear(struct coordinator_loop *loop, struct err_msg *why)
{
    struct letter letter;
    for (size_t i = 0; i < LETTERS_A_ROUND; i++) {
        int err = courier_receive(loop->courier, loop->spec->members, &letter);
        if (err == ERR_AGAIN)
            return 0;
        if (err != 0)
            return err_set(why, err, "the coordinator's socket failed: %s", err_text(err));
        err = hear_letter(loop, &letter, why);
        letter_release(&letter);
        if (err != 0)
            return err;
    }
    return 0;
}

static int shorten_logbook(struct coordinator_loop *loop, struct err_msg *why)
{
    if (!logbook_is_long(loop->spec->logbook) || coordinator_is_over(loop->spec->coordinator))
        return 0; /* a run that is over stays so */
    coordinator_snapshot(loop->spec->coordinator, &loop->out);
    int err = logbook_replace(loop->spec->logbook, &loop->out, why);
    outbox_clear(&loop->out);
    if (err != ERR_IO)
        return err;
    char quoted[sizeof(why->text)]; /* the long one serves as well */
    log_event(LOG_WARN, "journal_long", "why=%s", log_quote(quoted, sizeof(quoted), why->text));
    *why = (struct err_msg){0};
    return 0;
}

/* A row that finds no room is lost; the run is worth more. */
static int write_rows(struct coordinator_loop *loop, struct err_msg *why)
{
    struct metric_row row;
    while (coordinator_next_row(loop->spec->coordinator, &row)) {
        int err = report_row(loop->spec->report, &row, why);
        if (err != 0 && err != ERR_IO)
            return err;
        if (err != 0 && !loop->is_row_lost) {
            char quoted[sizeof(why->text)];
            log_event(LOG_WARN, "row_lost", "step=%" PRIu64 " why=%s", row.step,
                      log_quote(quoted, sizeof(quoted), why->text));
        }
        loop->is_row_lost = err != 0;
    }
    return 0;
}

/* One wait, what came in it, and a tick. */
static int turn(struct coordinator_loop *loop, struct err_msg *why)
{
    struct ready ready;
    struct channel *channels[] = {loop->spec->members};
    loop->lost_count = loop->told_count = 0;
    int err = transport_wait(channels, 1, -1, TICK_MS, &ready);
    if (err != 0)
        return err_set(why, err, "the coordinator's socket failed: %s", err_text(err));
    err = hear(loop, why);
    if (err != 0)
        return err;
    if (*loop->spec->is_asked_to_stop)
        coordinator_stop(loop->spec->coordinator, &loop->out);
    coordinator_step(loop->spec->coordinator, clock_now_ms(), (struct address){0}, NULL,
                     &loop->out);
    err = flush(loop, why);
    if (err == 0)
        err = shorten_logbook(loop, why);
    return err != 0 ? err : write_rows(loop, why);
}

/* This process cannot go on, so nobody can: members are not to wait for it. */
static void say_farewell(struct coordinator_loop *loop, int code, const char *text)
{
    const struct members *members = coordinator_members(loop->spec->coordinator);
    struct message finish = {
        .kind = MSG_FINISH, .run = loop->spec->process.run, .outcome = {.code = code}};
    snprintf(finish.outcome.text, sizeof(finish.outcome.text), "the coordinator has failed: %.400s",
             text);
    for (size_t i = 0; i < members->count; i++)
        if (courier_send(loop->courier, loop->spec->members, members->items[i].who, &finish) != 0)
            log_event(LOG_DEBUG, "message_lost", "to=%016" PRIx64, members->items[i].who.id);
}

int coordinator_loop_run(const struct coordinator_loop_spec *spec, struct err_msg *why)
{
    struct coordinator_loop loop = {.spec = spec};
    int err = courier_create(0, NULL, &loop.courier);
    if (err == 0)
        err = buffer_pool_create(0, &loop.pool);
    if (err != 0)
        err_set(why, err, "cannot start the coordinator: %s", err_text(err));
    while (err == 0 && !coordinator_is_over(spec->coordinator))
        err = turn(&loop, why);
    for (uint64_t end_ms = clock_now_ms() + GOODBYE_MS; err == 0 && clock_now_ms() < end_ms;)
        err = turn(&loop, why);
    if (err != 0 && loop.courier != NULL)
        say_farewell(&loop, err, why->text);
    outbox_free(&loop.out);
    free(loop.lost);
    buffer_pool_destroy(loop.pool);
    courier_destroy(loop.courier);
    return err;
}

int coordinator_loop_say_over(struct channel *members, const struct message *finish,
                              struct err_msg *why)
{
    struct courier *courier;
    struct letter letter;
    struct ready ready;
    int err = courier_create(0, NULL, &courier);
    for (uint64_t end_ms = clock_now_ms() + SAY_OVER_MS; err == 0 && clock_now_ms() < end_ms;) {
        err = transport_wait(&members, 1, -1, TICK_MS, &ready);
        if (err == 0)
            err = courier_receive(courier, members, &letter);
        if (err == ERR_AGAIN) {
            err = 0;
            continue;
        }
        if (err == 0 && letter.from.party != PARTY_CLIENT)
            err = courier_send(courier, members, letter.from, finish);
        if (err == ERR_LOST)
            err = 0;
        letter_release(&letter);
    }
    courier_destroy(courier);
    return err == 0 ? 0 : err_set(why, err, "the coordinator's socket failed: %s", err_text(err));
}
