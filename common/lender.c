#include "common/lender.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/clock.h"

enum { BORROWERS_MAX = 1024, BACKLOG = 128 };

/* What is lent and not given back. */
struct lent_buffer {
    uint64_t number; /* of the loan */
    struct buffer *buffer;
};

/* Someone who has been at the door; id 0: has not said who it is yet. */
struct borrower_desk {
    uint64_t id;
    int socket;
    struct segment table;
    uint32_t told_count; /* segments whose descriptor it has been sent: the first so many */
    uint64_t next;       /* number of the next loan, unless its entry is taken */
    size_t loan_count;
    struct lent_buffer loans[LOANS_MAX];
    bool is_taken[LOANS_MAX]; /* the table's entry is that of one of them */
};

struct lender {
    struct buffer_pool *pool;
    int socket;
    char door[DOOR_BYTES];
    struct borrower_desk *desks[BORROWERS_MAX];
    size_t desk_count;
};

static int open_socket(const char *path, struct sockaddr_un *name_out)
{
    *name_out = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(name_out->sun_path, sizeof(name_out->sun_path), "%s", path);
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A door that is not open yet has a name that begins with a dot; after so long it never will be. */
static bool is_opening(const char *path)
{
    enum { OPENING_S = 60 };
    struct stat stat;
    const char *name = strrchr(path, '/') + 1;
    return name[0] == '.' && lstat(path, &stat) == 0 &&
           (uint64_t)stat.st_mtime + OPENING_S > clock_wall_ms() / 1000;
}

/* Nobody answers at a dead process's door. */
static void sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[DOOR_BYTES];
        struct sockaddr_un name;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path) ||
            is_opening(path))
            continue;
        int fd = open_socket(path, &name);
        if (fd < 0)
            break;
        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) != 0 && errno == ECONNREFUSED)
            unlink(path);
        close(fd);
    }
    closedir(dir);
}

static int make_folder(const char *folder, struct err_msg *why)
{
    struct stat stat;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_set(why, ERR_NET, "cannot make the folder %s: %s", folder, strerror(errno));
    if (lstat(folder, &stat) != 0 || !S_ISDIR(stat.st_mode) || stat.st_uid != geteuid() ||
        (stat.st_mode & 077) != 0)
        return err_set(why, ERR_NET, "%s is not a folder of this user's alone (mode 0700)", folder);
    return 0;
}

/* Under its name there is somebody to answer, from the first moment on: others, who begin at the
 * same time, would take it for a dead one's. */
static int open_door(struct lender *lender, const char *folder, uint64_t self, struct err_msg *why)
{
    char opening[DOOR_BYTES];
    struct sockaddr_un name;
    snprintf(lender->door, sizeof(lender->door), "%.80s/%016" PRIx64, folder, self);
    snprintf(opening, sizeof(opening), "%.80s/.%016" PRIx64, folder, self);
    lender->socket = open_socket(opening, &name);
    if (lender->socket < 0)
        return err_set(why, ERR_NET, "no socket for shared memory: %s", strerror(errno));
    mode_t before = umask(077);
    int rc = bind(lender->socket, (struct sockaddr *)&name, sizeof(name));
    int error = errno;
    umask(before);
    if (rc != 0)
        return err_set(why, ERR_NET, "cannot make the socket %s: %s", opening, strerror(error));
    if (listen(lender->socket, BACKLOG) == 0 && rename(opening, lender->door) == 0)
        return 0;
    err_set(why, ERR_NET, "cannot listen on %s: %s", lender->door, strerror(errno));
    unlink(opening);
    return ERR_NET;
}

int lender_create(const char *folder, uint64_t self, struct lender **lender_out,
                  struct err_msg *why)
{
    char own[DOOR_BYTES];
    struct lender *lender = calloc(1, sizeof(*lender));
    if (lender == NULL)
        return err_set(why, ERR_NOMEM, "no memory to share memory with");
    lender->socket = -1;
    int length = snprintf(own, sizeof(own), "%s/talweg-%u", folder, (unsigned)geteuid());
    int err = buffer_pool_create_shared(&lender->pool);
    if (err != 0)
        err_set(why, err, "no sealed memory files: %s", strerror(errno));
    else if (length < 0 || (size_t)length + sizeof("/.0123456789abcdef") > sizeof(own))
        err = err_set(why, ERR_NET, "%s is too long a path for a socket", folder);
    else
        err = make_folder(own, why);
    if (err == 0) {
        sweep(own);
        err = open_door(lender, own, self, why);
    }
    if (err != 0) {
        lender_destroy(lender);
        return err;
    }
    *lender_out = lender;
    return 0;
}

static void end_loan(struct borrower_desk *desk, size_t idx)
{
    buffer_unref(desk->loans[idx].buffer);
    desk->is_taken[desk->loans[idx].number % LOANS_MAX] = false;
    desk->loans[idx] = desk->loans[--desk->loan_count];
}

static void close_desk(struct lender *lender, size_t idx)
{
    struct borrower_desk *desk = lender->desks[idx];
    while (desk->loan_count > 0)
        end_loan(desk, desk->loan_count - 1);
    segment_close(&desk->table);
    close(desk->socket);
    free(desk);
    lender->desks[idx] = lender->desks[--lender->desk_count];
}

void lender_destroy(struct lender *lender)
{
    if (lender == NULL)
        return;
    while (lender->desk_count > 0)
        close_desk(lender, lender->desk_count - 1);
    if (lender->socket >= 0) {
        unlink(lender->door);
        close(lender->socket);
    }
    buffer_pool_destroy(lender->pool);
    free(lender);
}

struct buffer_pool *lender_pool(const struct lender *lender)
{
    return lender->pool;
}

const char *lender_door(const struct lender *lender)
{
    return lender->door;
}

/* Those that are another user's are sent away without a word. */
static void let_in(struct lender *lender)
{
    int fd;
    while (lender->desk_count < BORROWERS_MAX &&
           (fd = accept4(lender->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct borrower_desk *desk = handover_is_own(fd) ? calloc(1, sizeof(*desk)) : NULL;
        if (desk == NULL) {
            close(fd);
            continue;
        }
        desk->socket = fd;
        desk->next = 1;
        lender->desks[lender->desk_count++] = desk;
    }
}

/* True while the borrower is there. */
static bool hear(struct borrower_desk *desk)
{
    struct handover handover;
    int fd;
    int err = handover_receive(desk->socket, &handover, &fd);
    if (err != 0)
        return err == ERR_AGAIN;
    if (desk->id != 0 || handover.id == 0) {
        close(fd);
        return false;
    }
    desk->id = handover.id;
    return segment_open(fd, 0, &desk->table) == 0 &&
           desk->table.size_bytes >= LOANS_MAX * sizeof(uint64_t);
}

/* The table is the borrower's: what it says can only end loans of its own. */
static void settle(struct borrower_desk *desk)
{
    if (desk->table.data == NULL)
        return;
    const _Atomic uint64_t *table = (const _Atomic uint64_t *)(const void *)desk->table.data;
    for (size_t i = desk->loan_count; i-- > 0;) {
        uint64_t number = desk->loans[i].number;
        if (atomic_load_explicit(&table[number % LOANS_MAX], memory_order_acquire) == number)
            end_loan(desk, i);
    }
}

void lender_tend(struct lender *lender)
{
    let_in(lender);
    for (size_t i = lender->desk_count; i-- > 0;) {
        if (hear(lender->desks[i]))
            settle(lender->desks[i]);
        else
            close_desk(lender, i);
    }
}

void lender_take_back(struct lender *lender)
{
    for (size_t i = 0; i < lender->desk_count; i++)
        settle(lender->desks[i]);
}

static struct borrower_desk *find(const struct lender *lender, uint64_t borrower)
{
    for (size_t i = 0; i < lender->desk_count; i++)
        if (lender->desks[i]->id == borrower)
            return lender->desks[i];
    return NULL;
}

bool lender_reaches(const struct lender *lender, uint64_t borrower)
{
    return find(lender, borrower) != NULL;
}

/* The borrower has been sent all segments up to this one. */
static bool has_told(struct lender *lender, struct borrower_desk *desk, uint32_t idx)
{
    while (desk->told_count <= idx) {
        const struct segment *next = buffer_pool_segment(lender->pool, desk->told_count);
        struct handover handover = {HANDOVER_MAGIC, desk->told_count};
        if (next == NULL || handover_send(desk->socket, &handover, next->fd) != 0)
            return false;
        desk->told_count++;
    }
    return true;
}

int lender_lend(struct lender *lender, uint64_t borrower, struct buffer *buffer,
                struct loan *loan_out)
{
    const struct segment *segment = buffer->segment;
    if (segment == NULL || buffer->size_bytes == 0 ||
        buffer_pool_segment(lender->pool, segment->idx) != segment)
        return ERR_AGAIN;
    struct borrower_desk *desk = find(lender, borrower);
    if (desk == NULL || desk->loan_count == LOANS_MAX || !has_told(lender, desk, segment->idx))
        return ERR_AGAIN;
    while (desk->is_taken[desk->next % LOANS_MAX])
        desk->next++; /* by a loan that is kept for long: the others go on around it */
    *loan_out = (struct loan){
        .segment = segment->idx,
        .offset = (uint64_t)((const unsigned char *)buffer->data - segment->data),
        .size_bytes = buffer->size_bytes,
        .number = desk->next,
    };
    desk->is_taken[desk->next % LOANS_MAX] = true;
    desk->loans[desk->loan_count++] = (struct lent_buffer){desk->next++, buffer_ref(buffer)};
    return 0;
}

void lender_cancel(struct lender *lender, uint64_t borrower, uint64_t loan)
{
    struct borrower_desk *desk = find(lender, borrower);
    for (size_t i = desk == NULL ? 0 : desk->loan_count; i-- > 0;)
        if (desk->loans[i].number == loan)
            end_loan(desk, i);
}
