#include "worker/data/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16 };

struct spool {
    const char *dir;
    size_t memory_bytes; /* ceiling of buffer while there is no file */
    char *buffer;
    size_t room_bytes; /* size of buffer */
    size_t fill_bytes; /* of it, not yet in the file */
    uint64_t size_bytes;
    int fd;
};

int spool_create(const char *dir, uint64_t memory_bytes, struct spool **spool_out)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (!spool)
        return ERR_NOMEM;
    const char *temporary = getenv("TMPDIR");
    spool->dir = *dir ? dir : temporary && *temporary ? temporary : "/tmp";
    spool->memory_bytes = memory_bytes < SIZE_MAX ? (size_t)memory_bytes : SIZE_MAX;
    if (spool->memory_bytes < BUFFER_BYTES)
        spool->memory_bytes = BUFFER_BYTES;
    spool->fd = -1;
    *spool_out = spool;
    return 0;
}

void spool_destroy(struct spool *spool)
{
    if (!spool)
        return;
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->buffer);
    free(spool);
}

static int blame_dir(const struct spool *spool, struct err_msg *why)
{
    return err_set(why, ERR_IO,
                   "%s: cannot keep unpacked data there: %s; set data.spool_dir to a folder with "
                   "more room",
                   spool->dir, strerror(errno));
}

static int open_file(struct spool *spool, struct err_msg *why)
{
    spool->fd = open(spool->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spool->fd >= 0)
        return 0;
    /* Not every file system can make a file without a name. */
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/talweg-spool-XXXXXX", spool->dir);
    if (length < 0 || (size_t)length >= sizeof(path))
        return err_set(why, ERR_INPUT, "data.spool_dir: the path is too long");
    spool->fd = mkostemp(path, O_CLOEXEC);
    if (spool->fd < 0)
        return blame_dir(spool, why);
    unlink(path);
    return 0;
}

static int write_all(struct spool *spool, const char *bytes, size_t size_bytes, struct err_msg *why)
{
    while (size_bytes > 0) {
        ssize_t part = write(spool->fd, bytes, size_bytes);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return blame_dir(spool, why);
        bytes += part;
        size_bytes -= (size_t)part;
    }
    return 0;
}

/* Room for size_bytes more in memory, doubling; false when the ceiling or the machine says no. */
static bool grow(struct spool *spool, size_t size_bytes)
{
    size_t need = 0;
    if (__builtin_add_overflow(spool->fill_bytes, size_bytes, &need) || need > spool->memory_bytes)
        return false;
    if (need <= spool->room_bytes)
        return true;
    size_t room = spool->room_bytes ? spool->room_bytes : BUFFER_BYTES;
    while (room < need)
        room = room > spool->memory_bytes / 2 ? spool->memory_bytes : room * 2;
    char *bigger = realloc(spool->buffer, room);
    if (!bigger)
        return false;
    spool->buffer = bigger;
    spool->room_bytes = room;
    return true;
}

/* From memory to a file: what is there is written, and a small buffer takes its place. */
static int spill(struct spool *spool, struct err_msg *why)
{
    int rc = open_file(spool, why);
    if (rc == 0)
        rc = write_all(spool, spool->buffer, spool->fill_bytes, why);
    if (rc < 0)
        return rc;
    free(spool->buffer);
    spool->fill_bytes = 0;
    spool->room_bytes = BUFFER_BYTES;
    spool->buffer = malloc(BUFFER_BYTES);
    return spool->buffer ? 0 : err_set(why, ERR_NOMEM, "out of memory");
}

int spool_add(struct spool *spool, const void *bytes, size_t size_bytes, struct err_msg *why)
{
    int rc = 0;
    if (spool->fd < 0 && !grow(spool, size_bytes))
        rc = spill(spool, why);
    if (rc == 0 && spool->fd >= 0 && size_bytes > spool->room_bytes - spool->fill_bytes) {
        rc = write_all(spool, spool->buffer, spool->fill_bytes, why);
        spool->fill_bytes = 0;
    }
    if (rc < 0)
        return rc;
    spool->size_bytes += size_bytes;
    if (spool->fd >= 0 && size_bytes > spool->room_bytes)
        return write_all(spool, bytes, size_bytes, why);
    if (size_bytes > 0)
        memcpy(spool->buffer + spool->fill_bytes, bytes, size_bytes);
    spool->fill_bytes += size_bytes;
    return 0;
}

int spool_take(struct spool *spool, struct spooled *out, struct err_msg *why)
{
    int rc = 0;
    *out = (struct spooled){.fd = -1, .size_bytes = spool->size_bytes};
    if (spool->fd >= 0) {
        rc = write_all(spool, spool->buffer, spool->fill_bytes, why);
    } else if (spool->fill_bytes > 0) {
        char *exact = realloc(spool->buffer, spool->fill_bytes);
        out->memory = exact ? exact : spool->buffer;
        spool->buffer = NULL;
    }
    if (rc == 0) {
        out->fd = spool->fd;
        spool->fd = -1;
    }
    spool_destroy(spool);
    return rc;
}
