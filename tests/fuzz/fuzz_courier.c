/* What a peer puts on a socket, parcels of many blocks and places in shared memory among it, as a
 * courier takes it apart.
 *
 * Input: messages, each behind the sizes of its header and its payload, 2 bytes each. */
#include "tests/fuzz/fuzz.h"

#include "common/lender.h"
#include "proto/courier.h"

enum { MESSAGES_MAX = 8, LENT_BYTES = 4096, COUNT_MAX = 4096 };

static const struct address peer = {PARTY_WORKER, 0x0101010101010101}, self = {PARTY_SHARD, 7};

/* The peer and the one it speaks to, for good: a message of one call does not outlive it. */
static struct bench {
    struct transport *transport;
    struct channel *from, *to;
    struct courier *courier;
    struct lender *lender;
} bench;

static void open_bench(void)
{
    static const char endpoint[] = "inproc://fuzz";
    struct err_msg why = {0};
    if (bench.courier != NULL)
        return;
    must(transport_create(1, &bench.transport) == 0);
    must(channel_bind(bench.transport, endpoint, &bench.to, &why) == 0);
    struct ends ends = {peer, PARTY_SHARD};
    must(channel_connect(bench.transport, endpoint, ends, &bench.from, &why) == 0);
    must(courier_create(self.id, fuzz_folder(), &bench.courier) == 0);
    must(lender_create(fuzz_folder(), peer.id, &bench.lender, &why) == 0);
}

/* The courier has been at the peer's door, and has been handed its first segment. */
static void lend(void)
{
    struct lender_at at = {peer.id, lender_door(bench.lender)};
    struct loan loan;
    courier_meet(bench.courier, NULL, 0);
    courier_meet(bench.courier, &at, 1);
    lender_tend(bench.lender);
    struct buffer *lent = buffer_pool_take(lender_pool(bench.lender), LENT_BYTES);
    must(lent != NULL);
    memset(lent->data, 1, LENT_BYTES);
    (void)!lender_lend(bench.lender, self.id, lent, &loan);
    buffer_unref(lent);
}

static void send_all(struct feed *feed)
{
    for (size_t i = 0; i < MESSAGES_MAX && feed_left(feed) > 0; i++) {
        size_t header_bytes = feed_u16(feed), payload_bytes = feed_u16(feed);
        struct feed header = feed_part(feed, header_bytes);
        struct buffer *payloads[PAYLOADS_MAX];
        size_t count = 0;
        bool is_last = payload_bytes == 0;
        while (!is_last && count < PAYLOADS_MAX) { /* the upper bit tells that there is another */
            is_last = (payload_bytes & 0x8000) == 0;
            struct feed part = feed_part(feed, payload_bytes & 0x7fff);
            payloads[count++] = fuzz_buffer(part.at, feed_left(&part));
            payload_bytes = is_last ? 0 : feed_u16(feed);
        }
        (void)!channel_send_all(bench.from, self, header.at, feed_left(&header), payloads, count);
        for (size_t n = 0; n < count; n++)
            buffer_unref(payloads[n]);
    }
}

/* What a step function may do with a payload that has been let through. */
static void read_payload(const struct message *msg)
{
    static float numbers[COUNT_MAX];
    const struct buffer *payload = msg->payload;
    if (payload == NULL)
        return;
    size_t count = payload->size_bytes / sizeof(float);
    count = count < COUNT_MAX ? count : COUNT_MAX;
    if (codec_fits(msg->key.codec, payload->size_bytes, count))
        (void)!codec_decode(msg->key.codec, payload->data, payload->size_bytes, numbers, count);
    unsigned char sum = 0;
    for (size_t i = 0; i < payload->size_bytes; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)payload->data)[i]);
    *(volatile unsigned char *)&sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct letter letter;
    open_bench();
    if ((feed_u8(&feed) & 1) != 0)
        lend();
    send_all(&feed);
    size_t calls = 0;
    while (courier_receive(bench.courier, bench.to, &letter) == 0) {
        must(letter.msg.sender == peer.id && letter.msg.parcel.count == 0);
        read_payload(&letter.msg);
        letter_release(&letter);
        must(++calls <= MESSAGES_MAX * PARCEL_BLOCKS_MAX);
    }
    must(!courier_has_more(bench.courier));
    lender_tend(bench.lender);
    return 0;
}
