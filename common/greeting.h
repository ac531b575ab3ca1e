#ifndef COMMON_GREETING_H
#define COMMON_GREETING_H

/* greeting - what a ZeroMQ peer says first, which names the mechanism that it wants.
 *
 * Two peers whose mechanisms differ often cannot tell why they part: who has read the other's
 * greeting to its end closes the connection, and its own may not have left by then.  Who sends no
 * more than greeting_hello is told all.
 *
 * Owner:    none.  Thread: any, no state.
 * Source:   rfc.zeromq.org/spec/23 (ZMTP 3.0), "Greeting".
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>

enum { GREETING_BYTES = 64, GREETING_HELLO_BYTES = 11, GREETING_MECHANISM_BYTES = 21 };

/* The signature and the first byte of the version: enough to be told the rest. */
extern const unsigned char greeting_hello[GREETING_HELLO_BYTES];

/* What has come may be the beginning of a greeting. */
bool greeting_is_begun(const unsigned char *bytes, size_t count);

/* "NULL", "CURVE" */
void greeting_mechanism(const unsigned char bytes[GREETING_BYTES],
                        char mechanism_out[GREETING_MECHANISM_BYTES]);

#endif
