#ifndef PS_LOGBOOK_H
#define PS_LOGBOOK_H

/* logbook - what a coordinator must remember over its own death: its run's messages to
 * PARTY_JOURNAL, in OUT/journal, and the endpoint that members know.
 *
 * A record is the packed header of a message.  A run whose MSG_FINISH is not there has not ended,
 * and the next coordinator goes on with it.
 *
 * Owner:    coordinator_main.  Thread: that of its loop.
 * Memory:   until logbook_recall, all records; then one at a time.
 * Surprise: none.
 */
#include <stdbool.h>
#include "common/journal.h"
#include "proto/outbox.h"

struct logbook;

/* One record; what it says is valid for the call.  A code but 0 ends the recall. */
typedef int logbook_visit(void *context, const struct message *record, struct err_msg *why);

/* Opens OUT/journal, which is made if need be; out_dir exists.  is_fresh: what was in it does not
 * count, readable or not.  Errors as journal_open; ERR_INPUT for a record of another version. */
MUST_USE int logbook_open(const char *out_dir, bool is_fresh, struct logbook **logbook_out,
                          struct err_msg *why);
void logbook_close(struct logbook *logbook);

/* It holds a run to go on with. */
bool logbook_is_unfinished(const struct logbook *logbook);

/* How the run in it ended; NULL when it has not, or there is none. */
const struct outcome *logbook_end(const struct logbook *logbook);

/* That run; its newest checkpoint's path, "" when it has none; where its coordinator listened, ""
 * when that is not known.  Valid until logbook_close. */
struct run_id logbook_run(const struct logbook *logbook);
const char *logbook_checkpoint(const struct logbook *logbook);
const char *logbook_endpoint(const struct logbook *logbook);

/* Shows all records in order, and frees them.  ERR_NOMEM; else what visit returns. */
MUST_USE int logbook_recall(struct logbook *logbook, logbook_visit *visit, void *context,
                            struct err_msg *why);

/* Begins a run: forgets all records. */
MUST_USE int logbook_begin(struct logbook *logbook, struct err_msg *why);

/* Remembers where this coordinator listens. */
MUST_USE int logbook_keep_endpoint(struct logbook *logbook, const char *endpoint,
                                   struct err_msg *why);

/* Returns when the disk has the record.  ERR_IO, ERR_NOMEM with a sentence. */
MUST_USE int logbook_keep(struct logbook *logbook, const struct message *record,
                          struct err_msg *why);

/* It has grown so much that a few new records should take the place of all. */
bool logbook_is_long(const struct logbook *logbook);

/* Puts these records in place of all, at once.  ERR_IO, ERR_NOMEM with a sentence. */
MUST_USE int logbook_replace(struct logbook *logbook, const struct outbox *records,
                             struct err_msg *why);

#endif
