#include "proto/courier.h"

#include <stdlib.h>
#include <string.h>
#include "common/lender.h"
#include "common/log.h"
#include "common/wrap.h"
#include "proto/batch.h"

enum { ARENA_FIRST_BYTES = 4096, ARENA_LIMIT_BYTES = 256 << 20, REFUSALS_A_CALL_MAX = 64 };

struct courier {
    struct arena *in, *out;
    struct lender *lender;     /* NULL: nothing is lent */
    struct borrower *borrower; /* NULL: nothing is borrowed */
    struct buffer_pool *pool;  /* the lender's, or its own */
    struct wrap_pool *slices;  /* parts of what came as one */
    struct letter opened;      /* what is being taken apart */
    size_t next;               /* its next block */
    size_t piece, offset;      /* in which of its pieces that is, and where */
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

static void take_loans_back(struct courier *courier, uint64_t to, const struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->loan_count; i++)
        lender_cancel(courier->lender, to, parcel->loans[i].number);
}

/* Lends the pieces where they lie; false: they must be sent. */
static bool lend(struct courier *courier, uint64_t to, const struct pieces *pieces,
                 struct parcel *parcel)
{
    if (!courier_lends_to(courier, to))
        return false;
    struct loan *loans = arena_take(courier->out, pieces->count * sizeof(*loans));
    parcel->loans = loans;
    for (size_t i = 0; i < pieces->count && loans != NULL; i++) {
        if (lender_lend(courier->lender, to, pieces->at[i], &loans[i]) != 0)
            break;
        parcel->loan_count++;
    }
    if (parcel->loan_count == pieces->count)
        return true;
    take_loans_back(courier, to, parcel);
    parcel->loan_count = 0;
    return false;
}

static int list_blocks(struct courier *courier, const struct batch *batch, struct parcel *parcel)
{
    if (batch->count == 1)
        return 0;
    bool has_payload = batch->items[0]->msg.payload != NULL;
    uint32_t *blocks = arena_take(courier->out, batch->count * sizeof(*blocks));
    uint32_t *bytes = arena_take(courier->out, batch->count * sizeof(*bytes));
    if (blocks == NULL || bytes == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < batch->count; i++) {
        const struct message *msg = &batch->items[i]->msg;
        blocks[i] = msg->key.block;
        bytes[i] = has_payload ? (uint32_t)msg->payload->size_bytes : 0;
    }
    parcel->count = batch->count;
    parcel->blocks = blocks;
    parcel->bytes = has_payload ? bytes : NULL;
    return 0;
}

static bool may_be_frames(const struct batch *batch, const struct pieces *pieces)
{
    return pieces->count == 1 || (pieces->count <= PAYLOADS_MAX &&
                                  pieces->count * SMALL_BYTES <= batch->size_bytes);
}

/* How the payloads get there: lent, or as frames, where they lie; or the same of a copy. */
static int place_payloads(struct courier *courier, const struct batch *batch, struct message *msg,
                          struct pieces *pieces)
{
    uint64_t to = batch->items[0]->to.id;
    int err = batch_cut(batch, pieces);
    bool is_lent = err == 0 && lend(courier, to, pieces, &msg->parcel);
    if (err == 0 && !is_lent && (courier_lends_to(courier, to) || !may_be_frames(batch, pieces))) {
        pieces_release(pieces);
        err = batch_gather(batch, courier->pool, pieces);
        is_lent = err == 0 && lend(courier, to, pieces, &msg->parcel);
    }
    if (is_lent)
        pieces_release(pieces);
    msg->payload = pieces->count == 0 ? NULL : pieces->at[0];
    msg->parcel.frame_count = pieces->count > 1 ? pieces->count : 0;
    msg->parcel.frames = pieces->at;
    return err;
}

static int send_batch(struct courier *courier, struct channel *channel, const struct batch *batch)
{
    struct message msg = batch->items[0]->msg;
    struct pieces pieces;
    const void *header;
    size_t header_bytes;
    pieces.count = 0;
    arena_reset(courier->out);
    int err = msg.payload == NULL ? 0 : place_payloads(courier, batch, &msg, &pieces);
    if (err == 0)
        err = list_blocks(courier, batch, &msg.parcel);
    if (err == 0)
        err = message_pack(&msg, courier->out, &header, &header_bytes);
    if (err == 0)
        err = channel_send_all(channel, batch->items[0]->to, header, header_bytes, pieces.at,
                               pieces.count);
    if (err != 0)
        take_loans_back(courier, batch->items[0]->to.id, &msg.parcel);
    pieces_release(&pieces);
    return err;
}

int courier_send(struct courier *courier, struct channel *channel, struct address to,
                 const struct message *msg)
{
    struct envelope envelope = {to, *msg};
    struct batch batch = {.items = {&envelope}, .count = 1};
    batch.size_bytes = msg->payload == NULL ? 0 : msg->payload->size_bytes;
    return send_batch(courier, channel, &batch);
}

int courier_send_batch(struct courier *courier, struct channel *channel, struct outbox *outbox,
                       size_t first)
{
    struct batch batch;
    batch_collect(outbox, first, &batch);
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
    *letter = (struct letter){0};
}

/* What was lent, in place of the frame that there is none of. */
static int borrow(struct courier *courier, struct letter *letter, size_t loan_idx)
{
    const struct loan *loan = &letter->msg.parcel.loans[loan_idx];
    if (courier->borrower == NULL)
        return ERR_PROTO;
    return borrower_take(courier->borrower, letter->msg.sender, loan, &letter->frame.payload);
}

/* A slice of the piece that is being taken apart. */
static struct buffer *slice(struct courier *courier, struct buffer *whole, size_t size_bytes)
{
    struct wrap *slice = wrap_pool_take(courier->slices);
    if (slice == NULL)
        return NULL;
    *(struct buffer **)(void *)slice->owner = buffer_ref(whole);
    slice->buffer.data = (unsigned char *)whole->data + courier->offset;
    slice->buffer.size_bytes = size_bytes;
    slice->buffer.is_read_only = whole->is_read_only;
    return &slice->buffer;
}

/* The next so many bytes of what is being taken apart: all of a piece, or a slice of it. */
static int take_bytes(struct courier *courier, size_t size_bytes, struct buffer **out)
{
    struct letter *opened = &courier->opened;
    bool is_lent = opened->msg.parcel.loan_count > 0;
    struct buffer **piece = &opened->frame.payloads[is_lent ? 0 : courier->piece];
    int err = is_lent && courier->offset == 0 ? borrow(courier, opened, courier->piece) : 0;
    if (err != 0)
        return err;
    if (size_bytes == (*piece)->size_bytes) {
        *out = *piece;
        *piece = NULL;
        courier->piece++;
        return 0;
    }
    *out = slice(courier, *piece, size_bytes);
    if (*out == NULL)
        return ERR_NOMEM;
    courier->offset += size_bytes;
    if (courier->offset == (*piece)->size_bytes) {
        buffer_unref(*piece);
        *piece = NULL;
        courier->piece++;
        courier->offset = 0;
    }
    return 0;
}

/* The next block of what is being taken apart.  Its step function sees a message like any other. */
static int take_apart(struct courier *courier, struct letter *letter_out)
{
    struct letter *opened = &courier->opened;
    const struct parcel *parcel = &opened->msg.parcel;
    size_t idx = courier->next++;
    int err = parcel->bytes == NULL
                  ? 0
                  : take_bytes(courier, parcel->bytes[idx], &letter_out->frame.payload);
    letter_out->from = opened->from;
    letter_out->msg = opened->msg;
    letter_out->msg.key.block = parcel->blocks[idx];
    letter_out->msg.payload = letter_out->frame.payload;
    letter_out->msg.parcel = (struct parcel){0};
    if (err != 0) {
        refuse(courier, opened, "a part of its payload cannot be reached");
    } else if (courier->next == parcel->count) {
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
    const struct frame *frame = &letter->frame;
    const struct parcel *parcel = &letter->msg.parcel;
    arena_reset(courier->in);
    courier->next = courier->piece = courier->offset = 0;
    int err = message_unpack_all(frame->header, frame->header_bytes, frame->payloads,
                                 frame->payload_count, courier->in, &letter->msg, &why);
    if (err == 0 && letter->from.party != PARTY_NONE && letter->from.id != letter->msg.sender)
        err = err_set(&why, ERR_PROTO, "the header tells another sender than the routing id");
    if (err == 0 && parcel->count == 0 && parcel->loan_count > 0) {
        err = borrow(courier, letter, 0);
        letter->msg.payload = letter->frame.payload;
        if (err != 0)
            err_set(&why, err, "the shared memory it speaks of cannot be reached");
    }
    if (err != 0)
        refuse(courier, letter, why.text);
    return err;
}

int courier_receive(struct courier *courier, struct channel *channel, struct letter *letter_out)
{
    struct letter *opened = &courier->opened;
    /* A flood of what is refused must not keep the loop from its tick. */
    for (int i = 0; i < REFUSALS_A_CALL_MAX; i++) {
        *letter_out = (struct letter){0};
        if (!courier_has_more(courier)) {
            int err = channel_receive(channel, &opened->frame);
            if (err != 0)
                return err;
            opened->from = opened->frame.from;
            if (open_letter(courier, opened) != 0)
                continue;
            if (!courier_has_more(courier)) {
                *letter_out = *opened;
                *opened = (struct letter){0};
                return 0;
            }
        }
        if (take_apart(courier, letter_out) == 0)
            return 0;
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
