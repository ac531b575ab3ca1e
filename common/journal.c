#include "common/journal.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "common/path.h"

enum { MAGIC_BYTES = 16, MARK_BYTES = 4, CHECK_BYTES = 32 };

/* Room on the disk that is taken ahead, and how little of it is left when more is. */
enum { RESERVE_BYTES = 1 << 20, RESERVE_LEFT_BYTES = 1 << 18 };

static const char magic[] = "talweg journal1\n";
static const char mark[] = "\nrec";

/* In front of each record, as it lies on disk. */
struct head {
    char mark[MARK_BYTES];
    uint32_t size;           /* little-endian */
    char check[CHECK_BYTES]; /* hex digits */
};

/* The whole file in memory. */
struct content {
    char *bytes;
    size_t size;
};

struct journal {
    char path[PATH_MAX];
    int lock_fd, fd;
    uint64_t size;
    uint64_t reserved; /* end of the room that is taken */
};

static int io_error(const char *path, const char *what, struct err_msg *why)
{
    return err_set(why, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

static int make_head(struct journal_record record, struct head *head_out)
{
    char hex[DIGEST_HEX_BYTES];
    struct digest *digest = digest_create();
    if (digest == NULL)
        return ERR_NOMEM;
    memcpy(head_out->mark, mark, MARK_BYTES);
    head_out->size = htole32((uint32_t)record.size_bytes);
    digest_add(digest, &head_out->size, sizeof(head_out->size));
    digest_add(digest, record.bytes, record.size_bytes);
    digest_hex(digest, hex);
    digest_destroy(digest);
    memcpy(head_out->check, hex, CHECK_BYTES);
    return 0;
}

static int check_size(const struct journal *journal, struct journal_record record,
                      struct err_msg *why)
{
    if (record.size_bytes > 0 && record.size_bytes <= JOURNAL_RECORD_BYTES_MAX)
        return 0;
    return err_set(why, ERR_INPUT, "%s: found a record of %zu bytes, expected 1 to %d",
                   journal->path, record.size_bytes, JOURNAL_RECORD_BYTES_MAX);
}

/* ERR_AGAIN: what begins at `at` is no whole record.  ERR_NOMEM. */
static int record_at(const struct content *content, size_t at, struct journal_record *out)
{
    struct head found, right;
    if (content->size - at < sizeof(found))
        return ERR_AGAIN;
    memcpy(&found, content->bytes + at, sizeof(found));
    *out = (struct journal_record){content->bytes + at + sizeof(found), le32toh(found.size)};
    if (memcmp(found.mark, mark, MARK_BYTES) != 0 || out->size_bytes == 0 ||
        out->size_bytes > content->size - at - sizeof(found))
        return ERR_AGAIN;
    int err = make_head(*out, &right);
    if (err != 0)
        return err;
    return memcmp(&found, &right, sizeof(found)) == 0 ? 0 : ERR_AGAIN;
}

/* Whether a whole record begins anywhere behind `at`. */
static bool is_followed(const struct content *content, size_t at)
{
    struct journal_record record;
    const char *next = content->bytes + at, *end = content->bytes + content->size;
    while (++next < end && (next = memmem(next, (size_t)(end - next), mark, MARK_BYTES)) != NULL)
        if (record_at(content, (size_t)(next - content->bytes), &record) == 0)
            return true;
    return false;
}

/* Forgets what a crash left behind the last whole record. */
static int cut_tail(struct journal *journal, size_t at, size_t found, struct err_msg *why)
{
    if (ftruncate(journal->fd, (off_t)at) != 0 || fsync(journal->fd) != 0)
        return io_error(journal->path, "cut its end off", why);
    char quoted[2 * PATH_MAX];
    log_event(LOG_WARN, "journal_cut", "path=%s kept_bytes=%zu cut_bytes=%zu",
              log_quote(quoted, sizeof(quoted), journal->path), at, found - at);
    return 0;
}

static int replay(struct journal *journal, const struct content *content, journal_visit *visit,
                  void *context, struct err_msg *why)
{
    size_t at = MAGIC_BYTES;
    if (content->size < MAGIC_BYTES || memcmp(content->bytes, magic, MAGIC_BYTES) != 0)
        return err_set(why, ERR_INPUT, "%s: found another first line than a journal has",
                       journal->path);
    while (at < content->size) {
        struct journal_record record;
        int err = record_at(content, at, &record);
        if (err == ERR_AGAIN && is_followed(content, at))
            return err_set(why, ERR_INPUT,
                           "%s: the record at byte %zu is not what was written, and others follow",
                           journal->path, at);
        if (err == ERR_AGAIN)
            break;
        if (err == 0 && visit != NULL)
            err = visit(context, record.bytes, record.size_bytes, why);
        if (err != 0)
            return err;
        at += sizeof(struct head) + record.size_bytes;
    }
    journal->size = at;
    return at < content->size ? cut_tail(journal, at, content->size, why) : 0;
}

/* Whoever holds the lock wrote its process id into it. */
static int take_lock(struct journal *journal, const char *dir, struct err_msg *why)
{
    char path[PATH_MAX], text[32] = "";
    int err = path_join(path, dir, "lock", why);
    if (err != 0)
        return err;
    journal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (journal->lock_fd < 0)
        return io_error(path, "open", why);
    if (flock(journal->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return io_error(path, "lock", why);
        if (pread(journal->lock_fd, text, sizeof(text) - 1, 0) < 0)
            text[0] = 0;
        return err_set(why, ERR_REFUSED,
                       "%s: process %ld has this journal open: end it, or use another folder", dir,
                       strtol(text, NULL, 10));
    }
    int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    /* For people only: a full disk must not keep a run from going on. */
    if (ftruncate(journal->lock_fd, 0) != 0 ||
        pwrite(journal->lock_fd, text, (size_t)length, 0) != length)
        log_event(LOG_WARN, "journal_lock", "why=\"%s\"", strerror(errno));
    return 0;
}

/* What killed rewrites left. */
static void sweep(const char *dir)
{
    static const char prefix[] = "records.tmp-";
    struct dirent *item;
    DIR *folder = opendir(dir);
    while (folder != NULL && (item = readdir(folder)) != NULL)
        if (strncmp(item->d_name, prefix, sizeof(prefix) - 1) == 0)
            (void)unlinkat(dirfd(folder), item->d_name, 0);
    if (folder != NULL)
        closedir(folder);
}

/* A disk that others fill must not end a run that writes a few bytes now and then.  Where room
 * cannot be had ahead, an append finds out. */
static void reserve(struct journal *journal)
{
    if (journal->reserved >= journal->size + RESERVE_LEFT_BYTES)
        return;
    if (fallocate(journal->fd, FALLOC_FL_KEEP_SIZE, (off_t)journal->size, RESERVE_BYTES) == 0)
        journal->reserved = journal->size + RESERVE_BYTES;
}

static int open_file(struct journal *journal, struct err_msg *why)
{
    struct stat status;
    if (journal->fd >= 0)
        close(journal->fd);
    journal->fd = open(journal->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (journal->fd < 0 || fstat(journal->fd, &status) != 0)
        return io_error(journal->path, "open", why);
    journal->size = (uint64_t)status.st_size;
    journal->reserved = 0;
    reserve(journal);
    return 0;
}

static int load(struct journal *journal, journal_visit *visit, void *context, struct err_msg *why)
{
    struct content content = {0};
    int err = file_read(journal->path, JOURNAL_BYTES_MAX, &content.bytes, &content.size, why);
    if (err == ERR_NOT_FOUND)
        return journal_rewrite(journal, NULL, 0, why);
    if (err == 0)
        err = open_file(journal, why);
    if (err == 0)
        err = replay(journal, &content, visit, context, why);
    free(content.bytes);
    return err;
}

int journal_open(const char *dir, journal_visit *visit, void *context,
                 struct journal **journal_out, struct err_msg *why)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", dir);
    journal->fd = journal->lock_fd = -1;
    int err = path_join(journal->path, dir, "records", why);
    if (err == 0 && mkdir(dir, 0777) != 0 && errno != EEXIST)
        err = io_error(dir, "make the folder", why);
    if (err == 0)
        err = take_lock(journal, dir, why);
    if (err == 0) {
        sweep(dir);
        err = load(journal, visit, context, why);
    }
    if (err != 0) {
        journal_close(journal);
        return err;
    }
    *journal_out = journal;
    return 0;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    if (journal->lock_fd >= 0)
        close(journal->lock_fd);
    free(journal);
}

/* False, with errno, when not all of it was taken. */
static bool write_at(int fd, uint64_t at, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = pwrite(fd, bytes, size, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    return true;
}

int journal_append(struct journal *journal, struct journal_record record, struct err_msg *why)
{
    struct head head;
    int err = check_size(journal, record, why);
    if (err != 0)
        return err;
    if (make_head(record, &head) != 0)
        return err_set(why, ERR_NOMEM, "%s: no memory for a record", journal->path);
    if (write_at(journal->fd, journal->size, (const char *)&head, sizeof(head)) &&
        write_at(journal->fd, journal->size + sizeof(head), record.bytes, record.size_bytes) &&
        fdatasync(journal->fd) == 0) {
        journal->size += sizeof(head) + record.size_bytes;
        reserve(journal);
        return 0;
    }
    err = io_error(journal->path, "write", why);
    /* Where this fails as well, the next opening cuts what is not whole. */
    if (ftruncate(journal->fd, (off_t)journal->size) != 0)
        log_event(LOG_WARN, "journal_tail", "why=\"%s\"", strerror(errno));
    return err;
}

/* A whole file of these records. */
static int pack(const struct journal_record *records, size_t count, struct content *out)
{
    size_t size = MAGIC_BYTES, at = MAGIC_BYTES;
    for (size_t i = 0; i < count; i++)
        size += sizeof(struct head) + records[i].size_bytes;
    *out = (struct content){malloc(size), size};
    if (out->bytes == NULL)
        return ERR_NOMEM;
    memcpy(out->bytes, magic, MAGIC_BYTES);
    for (size_t i = 0; i < count; i++) {
        struct head head;
        int err = make_head(records[i], &head);
        if (err != 0)
            return err;
        memcpy(out->bytes + at, &head, sizeof(head));
        memcpy(out->bytes + at + sizeof(head), records[i].bytes, records[i].size_bytes);
        at += sizeof(head) + records[i].size_bytes;
    }
    return 0;
}

int journal_rewrite(struct journal *journal, const struct journal_record *records, size_t count,
                    struct err_msg *why)
{
    struct content content = {0};
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++)
        err = check_size(journal, records[i], why);
    if (err != 0)
        return err;
    err = pack(records, count, &content);
    if (err != 0)
        err_set(why, err, "%s: no memory for its %zu bytes", journal->path, content.size);
    else
        err = file_replace(journal->path, content.bytes, content.size, why);
    free(content.bytes);
    if (err == 0)
        return open_file(journal, why);
    /* It may have got as far as the new name. */
    return journal->fd >= 0 && open_file(journal, NULL) != 0 ? ERR_IO : err;
}

uint64_t journal_bytes(const struct journal *journal)
{
    return journal->size;
}
