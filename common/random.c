#include "common/random.h"

#include <errno.h>
#include <sys/random.h>

int random_bytes(void *bytes_out, size_t size_bytes)
{
    unsigned char *next = bytes_out;
    while (size_bytes > 0) {
        ssize_t got = getrandom(next, size_bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return ERR_IO;
        next += got;
        size_bytes -= (size_t)got;
    }
    return 0;
}
