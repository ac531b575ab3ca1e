#ifndef COMMON_BORROWER_H
#define COMMON_BORROWER_H

/* borrower - reads payloads of other processes on this host where they lie.
 *
 * It goes to the doors it is told of (lending.h) and maps, for reading only, what it is handed
 * there.  A place that a peer names is checked against that before anything is read.
 *
 * Owner:    a loop.  Thread: that loop's; the last reference on a payload may go on any.
 * Memory:   address space of the lenders' segments; a table of LOANS_MAX numbers a lender.
 * Surprise: a lender may change bytes while they are read: whoever takes an index or a size out of
 *           a payload reads it once, then checks it.
 */
#include "common/buffer.h"
#include "common/lending.h"

struct borrower;

MUST_USE int borrower_create(uint64_t self, struct borrower **borrower_out);

/* Payloads that were taken stay readable until their last reference goes. */
void borrower_destroy(struct borrower *borrower);

/* Someone this process speaks to; door: "" when it lends nothing. */
struct lender_at {
    uint64_t id; /* incarnation */
    const char *door;
};

/* Goes to the doors it has not been at, and leaves the lenders that are not among these.  Where it
 * cannot get in (another host, another user, nobody there) it tries again when it is told again. */
void borrower_meet(struct borrower *borrower, const struct lender_at *lenders, size_t count);

/* The bytes of a loan that this lender has told of, as a buffer with one reference.  ERR_PROTO:
 * there is no such place, or it has not been handed over; ERR_NOMEM.  After either the lender lends
 * nothing here any more: it sends the bytes. */
MUST_USE int borrower_take(struct borrower *borrower, uint64_t lender, const struct loan *loan,
                           struct buffer **buffer_out);

#endif
