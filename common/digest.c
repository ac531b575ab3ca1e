#include "common/digest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/evp.h>

enum { FILE_CHUNK_BYTES = 1 << 16 };

struct digest {
    EVP_MD_CTX *context;
    bool is_ended;
};

struct digest *digest_create(void)
{
    struct digest *digest = calloc(1, sizeof(*digest));
    if (digest == NULL)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
        digest_destroy(digest);
        return NULL;
    }
    return digest;
}

void digest_destroy(struct digest *digest)
{
    if (digest == NULL)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

void digest_add(struct digest *digest, const void *data, size_t size_bytes)
{
    assert(!digest->is_ended);
    if (size_bytes == 0)
        return;
    int code = EVP_DigestUpdate(digest->context, data, size_bytes);
    assert(code == 1); /* nothing in it can fail once it is initialised */
    (void)code;
}

void digest_hex(struct digest *digest, char hex_out[DIGEST_HEX_BYTES])
{
    assert(!digest->is_ended);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size_bytes = 0;
    int code = EVP_DigestFinal_ex(digest->context, bytes, &size_bytes);
    assert(code == 1 && size_bytes == (DIGEST_HEX_BYTES - 1) / 2);
    (void)code;
    digest->is_ended = true;
    for (unsigned i = 0; i < size_bytes; i++) {
        hex_out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex_out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex_out[2 * size_bytes] = '\0';
}

static int add_file(struct digest *digest, int fd)
{
    unsigned char chunk[FILE_CHUNK_BYTES];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ERR_IO;
        if (got == 0)
            return 0;
        digest_add(digest, chunk, (size_t)got);
    }
}

int digest_file(const char *path, char hex_out[DIGEST_HEX_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not wait */
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    struct digest *digest = digest_create();
    int code = digest == NULL ? ERR_NOMEM : add_file(digest, fd);
    int error = errno;
    if (code == 0)
        digest_hex(digest, hex_out);
    digest_destroy(digest);
    close(fd);
    errno = error;
    return code;
}
