#ifndef PS_ADMISSION_H
#define PS_ADMISSION_H

/* admission - whether who says hello speaks of this job: version, settings, model, data.
 *
 * The coordinator knows neither model nor data; what the first worker to be admitted says of them
 * is what all others are held to.
 *
 * Owner:    the coordinator.  Thread: its loop's.
 * Memory:   one layout.
 * Surprise: none.
 */
#include "common/settings.h"
#include "proto/message.h"

/* Valid with settings and fingerprint filled in. */
struct admission {
    const struct settings *settings; /* borrowed */
    const char *fingerprint;         /* borrowed */
    bool is_settled;                 /* a worker is admitted: what follows is what it said */
    struct layout *layout;
    uint64_t train_count, test_count; /* samples */
};

void admission_free(struct admission *admission);

/* ERR_REFUSED with a sentence that says what differs; ERR_NOMEM.  0 for a worker makes its word the
 * measure if nobody's is yet: settle it once the worker has a place. */
MUST_USE int admission_check(struct admission *admission, struct address from,
                             const struct hello *hello, struct err_msg *why);
void admission_settle(struct admission *admission);

#endif
