#include "proto/courier.h"

#include <stdlib.h>
#include "common/log.h"

enum { ARENA_FIRST_BYTES = 4096, ARENA_LIMIT_BYTES = 256 << 20, REFUSALS_A_CALL_MAX = 64 };

struct courier {
    struct arena *in, *out;
    uint64_t refused_count;
};

int courier_create(struct courier **courier_out)
{
    struct courier *courier = calloc(1, sizeof(*courier));
    if (courier == NULL)
        return ERR_NOMEM;
    int err = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &courier->in);
    if (err == 0)
        err = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &courier->out);
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
    arena_destroy(courier->in);
    arena_destroy(courier->out);
    free(courier);
}

int courier_send(struct courier *courier, struct channel *channel, struct address to,
                 const struct message *msg)
{
    const void *header;
    size_t header_bytes;
    arena_reset(courier->out);
    int err = message_pack(msg, courier->out, &header, &header_bytes);
    return err != 0 ? err : channel_send(channel, to, header, header_bytes, msg->payload);
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

int courier_receive(struct courier *courier, struct channel *channel, struct letter *letter_out)
{
    /* A flood of what is refused must not keep the loop from its tick. */
    for (int i = 0; i < REFUSALS_A_CALL_MAX; i++) {
        struct err_msg why = {0};
        *letter_out = (struct letter){0};
        int err = channel_receive(channel, &letter_out->frame);
        if (err != 0)
            return err;
        letter_out->from = letter_out->frame.from;
        arena_reset(courier->in);
        err = message_unpack(letter_out->frame.header, letter_out->frame.header_bytes,
                             letter_out->frame.payload, courier->in, &letter_out->msg, &why);
        if (err != 0)
            refuse(courier, letter_out, why.text);
        else if (letter_out->from.party != PARTY_NONE &&
                 letter_out->from.id != letter_out->msg.sender)
            refuse(courier, letter_out, "the header tells another sender than the routing id");
        else
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
