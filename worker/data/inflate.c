#include "worker/data/inflate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { WINDOW_BYTES = 1 << 17, READ_BYTES_MAX = 1 << 30 };

struct inflate {
    gzFile gz;
    char *path;
    uint64_t offset; /* unpacked bytes handed out so far */
    bool is_packed;
};

static int open_regular(const char *path, int *fd_out, struct err_msg *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return err_set(why, ERR_INPUT, "%s: found a %s, expected a file", path,
                       S_ISDIR(status.st_mode) ? "folder" : "device or pipe");
    }
    *fd_out = fd;
    return 0;
}

int inflate_open(const char *path, struct inflate **in_out, struct err_msg *why)
{
    int fd = -1;
    int rc = open_regular(path, &fd, why);
    if (rc < 0)
        return rc;
    struct inflate *in = calloc(1, sizeof(*in));
    if (in)
        in->path = strdup(path);
    if (in && in->path)
        in->gz = gzdopen(fd, "rb");
    if (!in || !in->gz) {
        close(fd);
        inflate_close(in);
        return err_set(why, ERR_NOMEM, "%s: out of memory", path);
    }
    gzbuffer(in->gz, WINDOW_BYTES);
    in->is_packed = gzdirect(in->gz) == 0;
    *in_out = in;
    return 0;
}

void inflate_close(struct inflate *in)
{
    if (!in)
        return;
    if (in->gz)
        gzclose(in->gz);
    free(in->path);
    free(in);
}

static int explain(const struct inflate *in, struct err_msg *why)
{
    int code = Z_OK;
    const char *text = gzerror(in->gz, &code);
    if (code == Z_BUF_ERROR)
        return err_set(why, ERR_IO, "%s: the gzip stream ends early: the file is cut short",
                       in->path);
    if (code == Z_ERRNO)
        return err_set(why, ERR_IO, "%s: cannot read: %s", in->path, strerror(errno));
    if (code != Z_OK && code != Z_STREAM_END)
        return err_set(why, ERR_IO, "%s: the gzip stream is damaged after %llu bytes (%s)",
                       in->path, (unsigned long long)in->offset, text);
    return 0;
}

int inflate_read(struct inflate *in, void *out, size_t size_bytes, size_t *got_out,
                 struct err_msg *why)
{
    size_t got = 0;
    while (got < size_bytes) {
        size_t want = size_bytes - got < READ_BYTES_MAX ? size_bytes - got : READ_BYTES_MAX;
        int part = gzread(in->gz, (char *)out + got, (unsigned)want);
        if (part > 0) {
            got += (size_t)part;
            in->offset += (uint64_t)part;
        }
        if (part < 0 || (size_t)part < want) {
            int rc = explain(in, why);
            if (rc < 0)
                return rc;
            break;
        }
    }
    *got_out = got;
    return 0;
}

int inflate_read_header(struct inflate *in, void *out, size_t size_bytes, struct err_msg *why)
{
    size_t got = 0;
    int rc = inflate_read(in, out, size_bytes, &got, why);
    if (rc == 0 && got < size_bytes)
        rc = err_set(why, ERR_INPUT, "%s: ends inside its header: the file is cut short", in->path);
    return rc;
}

uint64_t inflate_offset(const struct inflate *in)
{
    return in->offset;
}

bool inflate_is_packed(const struct inflate *in)
{
    return in->is_packed;
}

const char *inflate_path(const struct inflate *in)
{
    return in->path;
}
