#include "ps/echo.h"

#include "common/log.h"

enum { BURST_BYTES = 64 << 20, REFILL_BYTES_A_MS = (16 << 20) / 1000 };

bool echo_allows(struct echo *echo, uint64_t now_ms, size_t size_bytes)
{
    uint64_t passed_ms = now_ms > echo->at_ms ? now_ms - echo->at_ms : 0;
    uint64_t back_bytes = passed_ms < BURST_BYTES ? passed_ms * REFILL_BYTES_A_MS : BURST_BYTES;
    echo->at_ms = now_ms;
    echo->sent_bytes = echo->sent_bytes > back_bytes ? echo->sent_bytes - back_bytes : 0;
    if (echo->sent_bytes + size_bytes > BURST_BYTES) {
        echo->dropped_count++;
        return false;
    }
    echo->sent_bytes += size_bytes;
    return true;
}

void echo_answer(struct echo *echo, struct courier *courier, struct channel *channel,
                 const struct letter *letter, uint64_t now_ms)
{
    const struct message *msg = &letter->msg;
    if (letter->from.party != PARTY_CLIENT || !echo_allows(echo, now_ms, msg->payload->size_bytes))
        return;
    struct message back = {.kind = MSG_ECHO, .payload = msg->payload};
    if (courier_send(courier, channel, letter->from, &back) != 0)
        log_event(LOG_DEBUG, "message_lost", "kind=echo to=%016llx",
                  (unsigned long long)letter->from.id);
}
