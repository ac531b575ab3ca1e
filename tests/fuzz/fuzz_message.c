/* Header frames of peers: whatever is taken can be sent on, and comes out as it was. */
#include "tests/fuzz/fuzz.h"

#include "proto/message.h"
#include "proto/wire_check.h"

enum { SECOND_BYTES = 16, ARENA_BYTES = 256 << 20 };

static struct arena *arenas[3];

static void keep(struct buffer *self)
{
    (void)self;
}

static void make_arenas(void)
{
    for (size_t i = 0; i < 3 && arenas[i] == NULL; i++) {
        int err = arena_create(4096, ARENA_BYTES, &arenas[i]);
        must(err == 0);
    }
}

static void drop_arenas(void)
{
    for (size_t i = 0; i < 3; i++) {
        arena_destroy(arenas[i]);
        arenas[i] = NULL;
    }
}

/* Sent, received and sent again it has the same bytes. */
static void check_round_trip(const struct message *msg)
{
    const void *first, *second;
    size_t first_bytes, second_bytes;
    struct message copy;
    struct err_msg why = {0};
    int err = message_pack(msg, arenas[1], &first, &first_bytes);
    if (err == ERR_NOMEM)
        return;
    must(err == 0);
    size_t count = msg->parcel.frame_count > 0 ? msg->parcel.frame_count : msg->payload != NULL;
    err = message_unpack_all(first, first_bytes,
                             msg->parcel.frame_count > 0 ? msg->parcel.frames : &msg->payload,
                             count, arenas[2], &copy, &why);
    if (err == ERR_NOMEM)
        return;
    must(err == 0 && copy.kind == msg->kind && copy.sender == msg->sender);
    arena_reset(arenas[0]); /* msg is gone */
    err = message_pack(&copy, arenas[0], &second, &second_bytes);
    if (err == ERR_NOMEM)
        return;
    must(err == 0 && second_bytes == first_bytes && memcmp(first, second, first_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint32_t words[64];
    struct feed feed = {data, data + size};
    size_t payload_bytes = feed_u8(&feed);
    bool has_another = (payload_bytes & 0x80) != 0; /* of SECOND_BYTES */
    struct buffer payload = {
        .data = words, .size_bytes = payload_bytes & 0x7f, .release = keep};
    struct buffer second = {.data = words, .size_bytes = SECOND_BYTES, .release = keep};
    struct buffer *const payloads[] = {&payload, &second};
    struct message msg = {0};
    struct err_msg why = {0};
    atomic_init(&payload.ref_count, 1);
    atomic_init(&second.ref_count, 1);
    make_arenas();
    int err = message_unpack_all(feed.at, feed_left(&feed), payloads,
                                 payload_bytes == 0 ? 0 : 1 + has_another, arenas[0], &msg, &why);
    if (err == 0) {
        struct err_msg none = {0};
        int checked = wire_check(&msg, &none);
        must(checked == 0);
        check_round_trip(&msg);
    } else {
        must(err == ERR_PROTO || err == ERR_NOMEM);
        must_say(why.text);
        must(msg.kind == MSG_NONE); /* as it was */
    }
    drop_arenas(); /* so that the address sanitizer sees who reads past a message's end */
    return 0;
}
