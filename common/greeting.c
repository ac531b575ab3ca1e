#include "common/greeting.h"

#include <string.h>

enum { SIGNATURE_BYTES = 10, MECHANISM_AT = 12 };

const unsigned char greeting_hello[GREETING_HELLO_BYTES] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3};

bool greeting_is_begun(const unsigned char *bytes, size_t count)
{
    return (count == 0 || bytes[0] == 0xff) &&
           (count < SIGNATURE_BYTES || (bytes[SIGNATURE_BYTES - 1] & 1) != 0);
}

void greeting_mechanism(const unsigned char bytes[GREETING_BYTES],
                        char mechanism_out[GREETING_MECHANISM_BYTES])
{
    memcpy(mechanism_out, bytes + MECHANISM_AT, GREETING_MECHANISM_BYTES - 1);
    mechanism_out[GREETING_MECHANISM_BYTES - 1] = '\0';
}
