#ifndef PS_ECHO_H
#define PS_ECHO_H

/* echo - sends back what `talweg doctor` sends, so that it can measure a link.
 *
 * Not for all that is asked: a client may have up to 64 MiB sent back at once, and 16 MiB a second
 * for long, all clients of a loop together.  What is more is dropped and counted.
 *
 * Owner:    a loop.  Thread: that loop's.
 * Memory:   the struct; a payload is sent from where it arrived.
 * Surprise: a zeroed one is full: it may send 64 MiB at once.
 */
#include <stdbool.h>
#include "proto/courier.h"

struct echo {
    uint64_t sent_bytes; /* of the 64 MiB, less what time has given back */
    uint64_t at_ms;      /* when that was reckoned */
    uint64_t dropped_count;
};

/* Whether so many bytes more may be sent back now; counts them, or what is dropped. */
bool echo_allows(struct echo *echo, uint64_t now_ms, size_t size_bytes);

/* Sends the letter back to its sender, if it is from a client and echo_allows it.  Nobody there any
 * more, or no memory, is no error: who asks must not end a run. */
void echo_answer(struct echo *echo, struct courier *courier, struct channel *channel,
                 const struct letter *letter, uint64_t now_ms);

#endif
