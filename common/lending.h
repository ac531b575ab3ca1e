#ifndef COMMON_LENDING_H
#define COMMON_LENDING_H

/* lending - what lender and borrower have agreed on.
 *
 * A borrower connects to the lender's door, a unix socket that only this user may use, and hands it
 * a table of its own to read.  The lender sends it the descriptor of each of its segments before
 * the first place in it.  A place is said in a message; when the borrower's last reference on it
 * goes, it writes the loan's number into the table.  So each side writes into its own memory alone,
 * and when a process dies the kernel closes its end of the socket, which ends its loans.
 *
 * Shapes:   table: [LOANS_MAX] u64, entry loan % LOANS_MAX is the last loan given back there.
 * Owner:    values.  Thread: none.
 * Source:   unix(7), SCM_RIGHTS and SO_PEERCRED.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

enum { LOANS_MAX = 4096, DOOR_BYTES = 100 };

/* A payload where it lies in its lender's memory. */
struct loan {
    uint32_t segment;
    uint64_t offset;
    uint64_t size_bytes;
    uint64_t number;     /* counts from 1, of one lender to one borrower */
};

/* What goes over the socket, each time with one descriptor. */
struct handover {
    uint64_t magic;
    uint64_t id;  /* from the borrower: its incarnation; from the lender: number of a segment */
};

#define HANDOVER_MAGIC UINT64_C(0x316e616f6c776c74) /* "tlwloan1" */

/* One message with a descriptor; never blocks.  ERR_AGAIN: not now; ERR_LOST: nobody is there any
 * more; ERR_PROTO: it was none of ours. */
MUST_USE int handover_send(int socket, const struct handover *handover, int fd);

/* *fd_out is the caller's to close. */
MUST_USE int handover_receive(int socket, struct handover *handover_out, int *fd_out);

/* True when the process at the other end is this user's. */
bool handover_is_own(int socket);

#endif
