#include "proto/courier.h"

#include <stdlib.h>
#include <string.h>
#include "common/lender.h"
#include "common/log.h"
#include "common/wrap.h"
#include "proto/wire_check.h"

enum { ARENA_FIRST_BYTES = 4096, ARENA_LIMIT_BYTES = 256 << 20, REFUSALS_A_CALL_MAX = 64 };

/* Up to so many bytes, copying a payload beside others is cheaper than a message of its own, which
 * costs about ten microseconds of both processes; and a message so long costs hardly more a byte
 * than a longer one, while its receiver has something to begin with sooner. */
enum { SMALL_BYTES = 64 << 10, BATCH_BYTES = 512 << 10, LOOK_AHEAD = 2 * PARCEL_BLOCKS_MAX };

struct courier {
    struct arena *in, *out;
    struct lender *lender;     /* NULL: nothing is lent */
    struct borrower *borrower; /* NULL: nothing is borrowed */
    struct buffer_pool *pool;  /* the lender's, or its own */
    struct wrap_pool *slices;  /* parts of what came as one */
    struct letter opened;      /* what is being taken apart */
    size_t next, offset;       /* its next block, and where that begins in the payload */
    uint64_t refused_count;
};

static void let_go(void *owner)
{
    buffer_unref(*(struct buffer **)owner);
}

/* Without one the courier works all the same. */
static void open_door(struct courier *courier, uint64_t self, const char *folder)
{
    struct err_msg why = {0};
    char quoted[600];
    if (lender_create(folder, self, &courier->lender, &why) != 0)
        log_event(LOG_WARN, "no_shared_memory", "why=%s",
                  log_quote(quoted, sizeof(quoted), why.text));
    else
        courier->pool = lender_pool(courier->lender);
}

int courier_create(uint64_t self, const char *folder, struct courier **courier_out)
{
    struct courier *courier = calloc(1, sizeof(*courier));
    if (courier == NULL)
        return ERR_NOMEM;
    int err = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &courier->in);
    if (err == 0)
        err = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &courier->out);
    if (err == 0)
        err = wrap_pool_create(let_go, &courier->slices);
    if (err == 0 && folder != NULL)
        open_door(courier, self, folder);
    if (err == 0 && courier->lender != NULL)
        err = borrower_create(self, &courier->borrower);
    if (err == 0 && courier->pool == NULL)
        err = buffer_pool_create(0, &courier->pool);
    if (err != 0) {
        courier_destroy(courier);
        return err;
    }
    *courier_out = courier;
    return 0;
}

void courier_destroy(struct courier *courier)
{
    if (courier == NULL)
        return;
    letter_release(&courier->opened);
    if (courier->lender == NULL)
        buffer_pool_destroy(courier->pool);
    lender_destroy(courier->lender);
    borrower_destroy(courier->borrower);
    wrap_pool_destroy(courier->slices);
    arena_destroy(courier->in);
    arena_destroy(courier->out);
    free(courier);
}

struct buffer_pool *courier_pool(const struct courier *courier)
{
    return courier->pool;
}

const char *courier_door(const struct courier *courier)
{
    return courier->lender == NULL ? "" : lender_door(courier->lender);
}

void courier_meet(struct courier *courier, const struct lender_at *lenders, size_t count)
{
    if (courier->borrower != NULL)
        borrower_meet(courier->borrower, lenders, count);
}

void courier_tend(struct courier *courier)
{
    if (courier->lender != NULL)
        lender_tend(courier->lender);
}

void courier_take_back(struct courier *courier)
{
    if (courier->lender != NULL)
        lender_take_back(courier->lender);
}

bool courier_lends_to(const struct courier *courier, uint64_t id)
{
    return courier->lender != NULL && lender_reaches(courier->lender, id);
}

/* What goes as one message. */
struct batch {
    struct envelope *items[PARCEL_BLOCKS_MAX];
    size_t count, size_bytes;
};

static bool goes_with(const struct envelope *first, const struct envelope *item)
{
    const struct message *a = &first->msg, *b = &item->msg;
    return a->kind == b->kind && address_equal(first->to, item->to) && a->view == b->view &&
           a->era == b->era && a->sender == b->sender && a->key.step == b->key.step &&
           a->key.lane_begin == b->key.lane_begin && a->key.lane_end == b->key.lane_end &&
           a->key.codec == b->key.codec;
}

static size_t payload_bytes(const struct envelope *item)
{
    return item->msg.payload == NULL ? 0 : item->msg.payload->size_bytes;
}

static void collect(struct outbox *outbox, size_t first, struct batch *batch)
{
    struct envelope *head = &outbox->items[first];
    *batch = (struct batch){.items = {head}, .count = 1, .size_bytes = payload_bytes(head)};
    if (!wire_kind_is_parcel(head->msg.kind) || batch->size_bytes > SMALL_BYTES)
        return;
    for (size_t i = first + 1; i < outbox->count && i - first < LOOK_AHEAD; i++) {
        struct envelope *item = &outbox->items[i];
        size_t bytes = payload_bytes(item);
        if (item->msg.kind != head->msg.kind || bytes > SMALL_BYTES || !goes_with(head, item))
            continue;
        if (batch->count == PARCEL_BLOCKS_MAX || batch->size_bytes + bytes > BATCH_BYTES)
            return;
        batch->items[batch->count++] = item;
        batch->size_bytes += bytes;
    }
}

/* All payloads side by side. */
static struct buffer *gather(struct courier *courier, const struct batch *batch)
{
    struct buffer *whole = buffer_pool_take(courier->pool, batch->size_bytes);
    size_t used = 0;
    for (size_t i = 0; i < batch->count && whole != NULL; i++) {
        const struct buffer *payload = batch->items[i]->msg.payload;
        memcpy((unsigned char *)whole->data + used, payload->data, payload->size_bytes);
        used += payload->size_bytes;
    }
    return whole;
}

static void take_loans_back(struct courier *courier, uint64_t to, const struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->loan_count; i++)
        lender_cancel(courier->lender, to, parcel->loans[i].number);
}

/* Lends each payload where it lies, or `whole`, which has them all; false: they must be sent. */
static bool lend(struct courier *courier, const struct batch *batch, struct buffer *whole,
                 struct parcel *parcel)
{
    uint64_t to = batch->items[0]->to.id;
    size_t count = whole == NULL ? batch->count : 1;
    if (courier->lender == NULL || !lender_reaches(courier->lender, to))
        return false;
    struct loan *loans = arena_take(courier->out, count * sizeof(*loans));
    parcel->loans = loans;
    for (size_t i = 0; i < count && loans != NULL; i++) {
        struct buffer *payload = whole == NULL ? batch->items[i]->msg.payload : whole;
        if (lender_lend(courier->lender, to, payload, &loans[i]) != 0)
            break;
        parcel->loan_count++;
    }
    if (loans != NULL && parcel->loan_count == count)
        return true;
    take_loans_back(courier, to, parcel);
    parcel->loan_count = 0;
    return false;
}

static int list_blocks(struct courier *courier, const struct batch *batch, bool has_cuts,
                       struct parcel *parcel)
{
    if (batch->count == 1)
        return 0;
    uint32_t *blocks = arena_take(courier->out, batch->count * sizeof(*blocks));
    uint32_t *bytes = arena_take(courier->out, batch->count * sizeof(*bytes));
    if (blocks == NULL || bytes == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < batch->count; i++) {
        blocks[i] = batch->items[i]->msg.key.block;
        bytes[i] = (uint32_t)payload_bytes(batch->items[i]);
    }
    parcel->count = batch->count;
    parcel->blocks = blocks;
    parcel->bytes = has_cuts ? bytes : NULL;
    return 0;
}

/* How the payloads get there: lent one by one; side by side, lent or as a frame; or as the frame
 * that the only one is.  *whole_out: what they were copied to, or NULL. */
static int place_payloads(struct courier *courier, const struct batch *batch, struct message *msg,
                          struct buffer **whole_out)
{
    bool is_there = courier_lends_to(courier, batch->items[0]->to.id);
    if (msg->payload == NULL || lend(courier, batch, NULL, &msg->parcel)) {
        msg->payload = NULL;
        return 0;
    }
    if (batch->count > 1 || is_there) {
        *whole_out = gather(courier, batch);
        if (*whole_out == NULL)
            return ERR_NOMEM;
        msg->payload = lend(courier, batch, *whole_out, &msg->parcel) ? NULL : *whole_out;
    }
    return 0;
}

static int send_batch(struct courier *courier, struct channel *channel, const struct batch *batch)
{
    struct message msg = batch->items[0]->msg;
    struct buffer *whole = NULL;
    const void *header;
    size_t header_bytes;
    bool has_payload = msg.payload != NULL;
    arena_reset(courier->out);
    int err = place_payloads(courier, batch, &msg, &whole);
    if (err == 0)
        err = list_blocks(courier, batch, has_payload && msg.parcel.loan_count != batch->count,
                          &msg.parcel);
    if (err == 0)
        err = message_pack(&msg, courier->out, &header, &header_bytes);
    if (err == 0)
        err = channel_send(channel, batch->items[0]->to, header, header_bytes, msg.payload);
    if (err != 0)
        take_loans_back(courier, batch->items[0]->to.id, &msg.parcel);
    buffer_unref(whole);
    return err;
}

int courier_send(struct courier *courier, struct channel *channel, struct address to,
                 const struct message *msg)
{
    struct envelope envelope = {to, *msg};
    struct batch batch = {.items = {&envelope}, .count = 1, .size_bytes = payload_bytes(&envelope)};
    return send_batch(courier, channel, &batch);
}

int courier_send_batch(struct courier *courier, struct channel *channel, struct outbox *outbox,
                       size_t first)
{
    struct batch batch;
    collect(outbox, first, &batch);
    int err = send_batch(courier, channel, &batch);
    for (size_t i = 0; i < batch.count; i++)
        batch.items[i]->msg.kind = MSG_NONE;
    return err;
}

static void refuse(struct courier *courier, struct letter *letter, const char *text)
{
    /* The first of each power of two is logged: a flood must not fill the disk. */
    courier->refused_count++;
    if ((courier->refused_count & (courier->refused_count - 1)) == 0) {
        char quoted[600];
        log_event(LOG_WARN, "malformed", "party=%c incarnation=%016llx count=%llu why=%s",
                  letter->from.party == PARTY_NONE ? '-' : (char)letter->from.party,
                  (unsigned long long)letter->from.id, (unsigned long long)courier->refused_count,
                  log_quote(quoted, sizeof(quoted), text));
    }
    letter_release(letter);
}

/* The payload where it was lent, in place of the frame that there is none of. */
static int borrow(struct courier *courier, struct letter *letter, size_t loan_idx)
{
    const struct loan *loan = &letter->msg.parcel.loans[loan_idx];
    if (courier->borrower == NULL)
        return ERR_PROTO;
    int err = borrower_take(courier->borrower, letter->msg.sender, loan, &letter->frame.payload);
    letter->msg.payload = letter->frame.payload;
    return err;
}

/* The next so many bytes of the payload that is being taken apart. */
static struct buffer *cut(struct courier *courier, size_t size_bytes)
{
    struct buffer *whole = courier->opened.msg.payload;
    struct wrap *slice = wrap_pool_take(courier->slices);
    if (slice == NULL)
        return NULL;
    *(struct buffer **)(void *)slice->owner = buffer_ref(whole);
    slice->buffer.data = (unsigned char *)whole->data + courier->offset;
    slice->buffer.size_bytes = size_bytes;
    slice->buffer.is_read_only = whole->is_read_only;
    courier->offset += size_bytes;
    return &slice->buffer;
}

/* The next block of what is being taken apart.  Its step function sees a message like any other. */
static int take_apart(struct courier *courier, struct letter *letter_out)
{
    struct letter *opened = &courier->opened;
    const struct parcel *parcel = &opened->msg.parcel;
    size_t idx = courier->next++;
    int err = 0;
    letter_out->from = opened->from;
    letter_out->msg = opened->msg;
    letter_out->msg.key.block = parcel->blocks[idx];
    if (parcel->bytes != NULL) {
        letter_out->frame.payload = cut(courier, parcel->bytes[idx]);
        letter_out->msg.payload = letter_out->frame.payload;
        err = letter_out->frame.payload == NULL ? ERR_NOMEM : 0;
    } else if (parcel->loan_count > 1) {
        err = borrow(courier, letter_out, idx);
    }
    letter_out->msg.parcel = (struct parcel){0};
    if (err != 0 || courier->next == parcel->count) {
        letter_release(opened);
        *opened = (struct letter){0};
    }
    return err;
}

bool courier_has_more(const struct courier *courier)
{
    return courier->opened.msg.parcel.count > 0;
}

/* The whole of a message of the wire: nothing is refused any more, or it is gone. */
static int open_letter(struct courier *courier, struct letter *letter)
{
    struct err_msg why = {0};
    arena_reset(courier->in);
    int err = message_unpack(letter->frame.header, letter->frame.header_bytes,
                             letter->frame.payload, courier->in, &letter->msg, &why);
    if (err == 0 && letter->from.party != PARTY_NONE && letter->from.id != letter->msg.sender)
        err = err_set(&why, ERR_PROTO, "the header tells another sender than the routing id");
    if (err == 0 && letter->msg.parcel.loan_count == 1) {
        err = borrow(courier, letter, 0);
        if (err != 0)
            err_set(&why, err, "the shared memory it speaks of cannot be reached");
    }
    if (err != 0)
        refuse(courier, letter, why.text);
    return err;
}

int courier_receive(struct courier *courier, struct channel *channel, struct letter *letter_out)
{
    /* A flood of what is refused must not keep the loop from its tick. */
    for (int i = 0; i < REFUSALS_A_CALL_MAX; i++) {
        *letter_out = (struct letter){0};
        if (!courier_has_more(courier)) {
            int err = channel_receive(channel, &letter_out->frame);
            if (err != 0)
                return err;
            letter_out->from = letter_out->frame.from;
            if (open_letter(courier, letter_out) != 0)
                continue;
            if (letter_out->msg.parcel.count == 0)
                return 0;
            courier->opened = *letter_out;
            courier->next = courier->offset = 0;
            *letter_out = (struct letter){0};
        }
        if (take_apart(courier, letter_out) == 0)
            return 0;
        courier->refused_count++;
    }
    return ERR_AGAIN;
}

void letter_release(struct letter *letter)
{
    frame_release(&letter->frame);
}

uint64_t courier_refused_count(const struct courier *courier)
{
    return courier->refused_count;
}
