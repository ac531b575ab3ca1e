#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads up to size_bytes, less at the end of the file; -1 with errno. */
static ssize_t read_fully(int fd, char *bytes_out, size_t size_bytes)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t got = read(fd, bytes_out + done, size_bytes - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

struct content {
    char *bytes; /* malloc'd */
    size_t size_bytes;
};

static int read_opened(int fd, size_t limit_bytes, struct content *content_out, struct err_msg *why)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return err_set(why, ERR_IO, "%s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return err_set(why, ERR_INPUT, "found no regular file, expected one");
    if ((uintmax_t)status.st_size > limit_bytes)
        return err_set(why, ERR_INPUT, "found %jd bytes, expected at most %zu",
                       (intmax_t)status.st_size, limit_bytes);
    size_t size_bytes = (size_t)status.st_size;
    char *bytes = malloc(size_bytes + 1);
    if (bytes == NULL)
        return err_set(why, ERR_NOMEM, "no memory for its %zu bytes", size_bytes);
    ssize_t got = read_fully(fd, bytes, size_bytes);
    if (got < 0) {
        int code = err_set(why, ERR_IO, "%s", strerror(errno));
        free(bytes);
        return code;
    }
    bytes[got] = '\0';
    *content_out = (struct content){.bytes = bytes, .size_bytes = (size_t)got};
    return 0;
}

int file_read(const char *path, size_t limit_bytes, char **bytes_out, size_t *size_out,
              struct err_msg *why)
{
    /* Without O_NONBLOCK the open of a FIFO would wait for a writer, for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    struct content content = {0};
    int code = read_opened(fd, limit_bytes, &content, why);
    close(fd);
    if (code != 0)
        return err_prefix(why, code, "%s: ", path);
    *bytes_out = content.bytes;
    *size_out = content.size_bytes;
    return 0;
}

static int write_fully(int fd, const char *bytes, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t put = write(fd, bytes, size_bytes);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        bytes += put;
        size_bytes -= (size_t)put;
    }
    return 0;
}

/* Creates path with these bytes on disk; -1 with errno, and then there is no such file. */
static int write_synced(const char *path, const void *bytes, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return -1;
    int code = write_fully(fd, bytes, size_bytes);
    if (code == 0)
        code = fsync(fd);
    int error = errno;
    if (close(fd) != 0 && code == 0) {
        error = errno;
        code = -1;
    }
    if (code != 0)
        unlink(path);
    errno = error;
    return code;
}

int file_sync_folder(const char *folder, struct err_msg *why)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 ? -1 : fsync(fd);
    int error = errno;
    if (fd >= 0)
        close(fd);
    /* EINVAL: a file system whose folders need no sync, or know none. */
    if (code != 0 && error != EINVAL)
        return err_set(why, ERR_IO, "%s: %s", folder, strerror(error));
    return 0;
}

int file_replace(const char *path, const void *bytes, size_t size_bytes, struct err_msg *why)
{
    char temporary[PATH_MAX], folder[PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp-%d", path, (int)gettid());
    if (length < 0 || (size_t)length >= sizeof(temporary))
        return err_set(why, ERR_INPUT, "%.200s...: found a path of %zu bytes, expected at most %d",
                       path, strlen(path), PATH_MAX - 17);
    if (write_synced(temporary, bytes, size_bytes) != 0)
        return err_set(why, ERR_IO, "%s: %s", temporary, strerror(errno));
    if (rename(temporary, path) != 0) {
        int code = err_set(why, ERR_IO, "%s: %s", path, strerror(errno));
        unlink(temporary);
        return code;
    }
    snprintf(folder, sizeof(folder), "%s", path); /* dirname writes to it */
    return file_sync_folder(dirname(folder), why);
}
