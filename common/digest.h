#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

/* digest - sha256 of bytes, said as 64 hex digits.  The door to libcrypto's digests.
 *
 * Owner:    its creator.  Thread: one at a time.
 * Memory:   taken in digest_create.
 * Source:   FIPS 180-4.
 * Surprise: none.
 */
#include <stddef.h>
#include "common/err.h"

enum { DIGEST_HEX_BYTES = 65 }; /* with the NUL */

struct digest;

/* The digest of no bytes yet.  NULL: out of memory. */
MUST_USE struct digest *digest_create(void);
void digest_destroy(struct digest *digest);

void digest_add(struct digest *digest, const void *data, size_t size_bytes);

/* Says the digest of all that was added, and ends it: only digest_destroy may follow. */
void digest_hex(struct digest *digest, char hex_out[DIGEST_HEX_BYTES]);

/* The digest of a file's bytes.  ERR_NOT_FOUND when there is none, ERR_IO (errno says why),
 * ERR_NOMEM. */
MUST_USE int digest_file(const char *path, char hex_out[DIGEST_HEX_BYTES]);

#endif
