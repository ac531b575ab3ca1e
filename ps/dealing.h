#ifndef PS_DEALING_H
#define PS_DEALING_H

/* dealing - which worker computes which lane: in runs, in proportion to measured speed.
 *
 * Lanes are dealt one by one to whoever would be done first with one more, so a worker that is ten
 * times slower than the others gets none when there are few; then each worker's lanes are laid side
 * by side, in order of rank, so that they make large nodes of the tree.
 *
 * Shapes:   owners: [lane_count] worker ids, 0: nobody.
 * Owner:    the coordinator.  Thread: no state.
 * Source:   Graham, 1966: list scheduling; here on machines of different speed.
 * Surprise: none.
 */
#include <stdint.h>
#include "common/err.h"

struct hand {
    uint64_t id;      /* incarnation of a worker; in order of rank */
    double lane_ms;   /* of one lane, measured; 0: not known, taken for the mean of the others */
    double behind_ms; /* its lanes come so much later than others', however few it has */
    uint32_t threads; /* lanes at once */
    uint32_t count;   /* filled in: lanes dealt to it */
};

/* Fills owners and the hands' counts.  Without hands all owners are 0. */
void dealing_deal(struct hand *hands, size_t hand_count, uint32_t lane_count, uint64_t *owners);

/* Time of a step, in ms, when each hand has its count. */
double dealing_span_ms(const struct hand *hands, size_t hand_count);

#endif
