#ifndef DEPLOY_PLAN_RATE_H
#define DEPLOY_PLAN_RATE_H

/* rate - how much a link carries, as people write it: "1Gbit/s", "250 Mbit/s", "12.5MB/s".
 *
 * bit and B are told apart; k, M and G are thousands; "/s" may be left out.
 *
 * Owner:    values.  Thread: no state.  Memory: none.  Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

enum { RATE_TEXT_BYTES = 32 };

/* Bytes a second, above 0.  ERR_INPUT: it is no such text. */
MUST_USE int rate_parse(const char *text, double *bytes_per_s_out);

/* "1 Gbit/s". */
void rate_print(double bytes_per_s, char out[RATE_TEXT_BYTES]);

#endif
