#include "proto/batch.h"

#include <stdlib.h>
#include <string.h>
#include "proto/wire_check.h"

/* A message costs about ten microseconds of both processes, most of it for waking who waits for it:
 * one of so many bytes hardly more a byte than a longer one, and its receiver has something to
 * begin with sooner. */
enum { BATCH_BYTES = 1 << 20, LOOK_AHEAD = 2 * PARCEL_BLOCKS_MAX };

/* A piece of several blocks is no longer than what a socket takes at once: the thread that sends it
 * has its other connections and directions to see to. */
enum { PIECE_BYTES = 256 << 10 };

/* Payloads that lie side by side, as one buffer. */
struct run {
    struct buffer buffer;
    size_t count;
    struct buffer *items[]; /* a reference on each */
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

static bool is_small(const struct envelope *item)
{
    return payload_bytes(item) <= SMALL_BYTES;
}

static bool is_before(const struct buffer *a, const struct buffer *b)
{
    return a->segment == b->segment &&
           (const unsigned char *)a->data + a->size_bytes == (const unsigned char *)b->data;
}

/* Backpropagation gives the last block first. */
static void turn(struct batch *batch)
{
    const struct buffer *first = batch->items[0]->msg.payload;
    if (batch->count < 2 || first == NULL || !is_before(batch->items[1]->msg.payload, first))
        return;
    for (size_t i = 0, j = batch->count - 1; i < j; i++, j--) {
        struct envelope *item = batch->items[i];
        batch->items[i] = batch->items[j];
        batch->items[j] = item;
    }
}

void batch_collect(struct outbox *outbox, size_t first, struct batch *batch)
{
    struct envelope *head = &outbox->items[first];
    *batch = (struct batch){.items = {head}, .count = 1, .size_bytes = payload_bytes(head)};
    if (!wire_kind_is_parcel(head->msg.kind))
        return;
    for (size_t i = first + 1; i < outbox->count && i - first < LOOK_AHEAD; i++) {
        struct envelope *item = &outbox->items[i];
        if (item->msg.kind != head->msg.kind || is_small(item) != is_small(head) ||
            !goes_with(head, item))
            continue;
        if (batch->count == PARCEL_BLOCKS_MAX ||
            batch->size_bytes + payload_bytes(item) > BATCH_BYTES)
            break;
        batch->items[batch->count++] = item;
        batch->size_bytes += payload_bytes(item);
    }
    turn(batch);
}

static void release_run(struct buffer *buffer)
{
    struct run *run = (struct run *)(void *)buffer;
    for (size_t i = 0; i < run->count; i++)
        buffer_unref(run->items[i]);
    free(run);
}

/* The payloads from that item on, which lie side by side. */
static struct buffer *join(struct envelope *const *items, size_t count)
{
    const struct buffer *first = items[0]->msg.payload;
    struct run *run = malloc(sizeof(*run) + count * sizeof(run->items[0]));
    if (run == NULL)
        return NULL;
    run->buffer = (struct buffer){.data = first->data,
                                  .segment = first->segment,
                                  .is_read_only = true,
                                  .release = release_run};
    atomic_init(&run->buffer.ref_count, 1);
    run->count = count;
    for (size_t i = 0; i < count; i++) {
        run->items[i] = buffer_ref(items[i]->msg.payload);
        run->buffer.size_bytes += run->items[i]->size_bytes;
    }
    return &run->buffer;
}

/* How many payloads from that item on lie side by side, as far as a piece goes. */
static size_t run_length(const struct batch *batch, size_t begin)
{
    size_t end = begin + 1, size_bytes = payload_bytes(batch->items[begin]);
    for (; end < batch->count; end++) {
        size_bytes += payload_bytes(batch->items[end]);
        if (size_bytes > PIECE_BYTES ||
            !is_before(batch->items[end - 1]->msg.payload, batch->items[end]->msg.payload))
            break;
    }
    return end - begin;
}

int batch_cut(const struct batch *batch, struct pieces *pieces)
{
    size_t count;
    pieces->count = 0;
    for (size_t begin = 0; begin < batch->count; begin += count) {
        struct envelope *const *items = &batch->items[begin];
        count = run_length(batch, begin);
        struct buffer *piece = count == 1 ? buffer_ref(items[0]->msg.payload) : join(items, count);
        if (piece == NULL) {
            pieces_release(pieces);
            return ERR_NOMEM;
        }
        pieces->at[pieces->count++] = piece;
    }
    return 0;
}

int batch_gather(const struct batch *batch, struct buffer_pool *pool, struct pieces *pieces)
{
    struct buffer *whole = buffer_pool_take(pool, batch->size_bytes);
    size_t used = 0;
    pieces->count = 0;
    if (whole == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < batch->count; i++) {
        const struct buffer *payload = batch->items[i]->msg.payload;
        memcpy((unsigned char *)whole->data + used, payload->data, payload->size_bytes);
        used += payload->size_bytes;
    }
    pieces->at[pieces->count++] = whole;
    return 0;
}

void pieces_release(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++)
        buffer_unref(pieces->at[i]);
    pieces->count = 0;
}
