#ifndef COMMON_LENDER_H
#define COMMON_LENDER_H

/* lender - lets processes on this host read buffers where they lie.
 *
 * The buffers come from the lender's pool of shared memory.  Whoever has been at the door
 * (lending.h) can be lent them; each loan holds a reference until it is given back, or until the
 * borrower's process is gone.
 *
 * Owner:    a loop.  Thread: that loop's.
 * Memory:   LOANS_MAX pointers a borrower.
 * Surprise: in containers of one host it works when they share the folder of the door and the
 *           user; SO_PEERCRED is what lets in, not the folder.
 */
#include "common/buffer.h"
#include "common/lending.h"

struct lender;

/* Opens the door in FOLDER/talweg-UID, which is made if need be and must be this user's alone, and
 * sweeps away doors that dead processes left there.  ERR_NET with a sentence when this host cannot
 * share memory, ERR_NOMEM: without a lender everything goes through sockets. */
MUST_USE int lender_create(const char *folder, uint64_t self, struct lender **lender_out,
                           struct err_msg *why);

/* Its pool lives on until the last buffer has come back. */
void lender_destroy(struct lender *lender);

/* What can be lent without copying comes from here.  Valid with the lender. */
struct buffer_pool *lender_pool(const struct lender *lender);

/* Where borrowers connect: a path of at most DOOR_BYTES - 1.  Valid with the lender. */
const char *lender_door(const struct lender *lender);

/* Lets in who is at the door, takes back what was given back and what the dead had.  A system call
 * for the door and one for each borrower. */
void lender_tend(struct lender *lender);

/* Takes back what was given back, without a system call. */
void lender_take_back(struct lender *lender);

/* True when that process has been at the door and is there. */
bool lender_reaches(const struct lender *lender, uint64_t borrower);

/* Lends bytes of a buffer of the lender's own pool; their content must not change until all loans
 * are over, which the reference that is held tells.  ERR_AGAIN: the borrower is not there or has
 * too much, or the buffer is another's: send the bytes. */
MUST_USE int lender_lend(struct lender *lender, uint64_t borrower, struct buffer *buffer,
                         struct loan *loan_out);

/* The message that told of the loan did not leave. */
void lender_cancel(struct lender *lender, uint64_t borrower, uint64_t loan);

#endif
