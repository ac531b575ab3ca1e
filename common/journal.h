#ifndef COMMON_JOURNAL_H
#define COMMON_JOURNAL_H

/* journal - records that outlive the process that wrote them, in the order they were written.
 *
 * DIR/records is a line of magic and then the records, each behind a head: a mark, its size and the
 * first half of the sha256 over both.  A record is appended and synced, or is not there.  What a
 * crash left half written at the end is cut off; anything else that is wrong is an error.  Room for
 * some hundred records is taken ahead, so that a disk that fills up does not end the run.
 * DIR/lock names the process that has the journal open.
 *
 * Owner:    the one process that writes.  Thread: one.
 * Memory:   a record at a time; all of the file while it is opened or rewritten.
 * Source:   Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014 (what to sync).
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

/* No longer record, and no longer journal, can be. */
enum { JOURNAL_RECORD_BYTES_MAX = 64 << 20, JOURNAL_BYTES_MAX = 1 << 30 };

struct journal;

struct journal_record {
    const void *bytes;
    size_t size_bytes; /* 1 or more */
};

/* One whole record at the opening; bytes are valid for the call.  A code but 0 ends the opening,
 * which returns it. */
typedef int journal_visit(void *context, const void *bytes, size_t size_bytes,
                          struct err_msg *why);

/* Opens the journal in the folder, which is made if need be, and shows all records in order to
 * visit (NULL: nobody).  ERR_REFUSED: another process has it, which is named; ERR_INPUT: a record
 * that others follow is not what was written, with file and offset; ERR_IO; ERR_NOMEM. */
MUST_USE int journal_open(const char *dir, journal_visit *visit, void *context,
                          struct journal **journal_out, struct err_msg *why);
void journal_close(struct journal *journal);

/* Returns when the disk has it.  ERR_IO, and the record is not there; ERR_INPUT: too long. */
MUST_USE int journal_append(struct journal *journal, struct journal_record record,
                            struct err_msg *why);

/* Puts these records in place of all: a crash leaves the old ones or the new ones.  ERR_IO, with
 * one of the two in place; ERR_INPUT; ERR_NOMEM. */
MUST_USE int journal_rewrite(struct journal *journal, const struct journal_record *records,
                             size_t count, struct err_msg *why);

/* Of the file. */
uint64_t journal_bytes(const struct journal *journal);

#endif
