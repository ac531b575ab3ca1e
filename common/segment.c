#include "common/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/pages.h"

enum {
    SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
    ALL_SEALS = SIZE_SEALS | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL
};

int segment_create(size_t size_bytes, uint32_t idx, struct segment *segment_out)
{
    struct segment made = {.size_bytes = size_bytes, .idx = idx};
    made.fd = memfd_create("talweg", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made.fd < 0)
        return errno == ENOMEM ? ERR_NOMEM : ERR_NET;
    int err = ERR_NOMEM;
    if (ftruncate(made.fd, (off_t)size_bytes) != 0)
        goto fail;
    made.data = pages_map_shared(made.fd, size_bytes, PROT_READ | PROT_WRITE);
    if (made.data == NULL)
        goto fail;
    err = ERR_NET;
    if (fcntl(made.fd, F_ADD_SEALS, ALL_SEALS) != 0)
        goto fail;
    *segment_out = made;
    return 0;
fail:
    segment_close(&made);
    return err;
}

int segment_open(int fd, uint32_t idx, struct segment *segment_out)
{
    struct segment opened = {.fd = fd, .idx = idx};
    struct stat stat;
    int err = ERR_PROTO;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS || fstat(fd, &stat) != 0 ||
        stat.st_size < 1 || stat.st_size > SEGMENT_BYTES_MAX)
        goto fail;
    err = ERR_NOMEM;
    opened.size_bytes = (size_t)stat.st_size;
    opened.data = pages_map_shared(fd, opened.size_bytes, PROT_READ);
    if (opened.data == NULL)
        goto fail;
    *segment_out = opened;
    return 0;
fail:
    segment_close(&opened);
    return err;
}

void segment_close(struct segment *segment)
{
    if (segment->data != NULL)
        munmap(segment->data, segment->size_bytes);
    if (segment->fd > 0 || segment->data != NULL)
        close(segment->fd);
    *segment = (struct segment){0};
}
