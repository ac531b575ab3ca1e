#include "common/borrower.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/wrap.h"

enum { SEGMENTS_A_LENDER_MAX = 1024 };

/* A lender that was met.  It stays as long as the borrower knows it or a payload of it is held. */
struct lent {
    uint64_t id;
    int socket;
    struct segment table;
    struct segment *segments; /* [segment_count] */
    uint32_t segment_count;
    bool is_left; /* something of it could not be read: it has been told, and sends bytes */
    atomic_uint ref_count;
    struct lent *next;
};

/* What a wrap around a borrowed payload owns. */
struct borrowed {
    struct lent *lent;
    uint64_t number;
};

_Static_assert(sizeof(struct borrowed) <= WRAP_OWNER_BYTES, "a wrap has room for a loan");

struct borrower {
    uint64_t self;
    struct wrap_pool *wraps;
    struct lent *first;
};

static void unref(struct lent *lent)
{
    if (atomic_fetch_sub_explicit(&lent->ref_count, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < lent->segment_count; i++)
        segment_close(&lent->segments[i]);
    free(lent->segments);
    segment_close(&lent->table);
    if (lent->socket >= 0)
        close(lent->socket);
    free(lent);
}

static void give_back(void *owner)
{
    struct borrowed *loan = owner;
    _Atomic uint64_t *table = (_Atomic uint64_t *)(void *)loan->lent->table.data;
    atomic_store_explicit(&table[loan->number % LOANS_MAX], loan->number, memory_order_release);
    unref(loan->lent);
}

int borrower_create(uint64_t self, struct borrower **borrower_out)
{
    struct borrower *borrower = calloc(1, sizeof(*borrower));
    if (borrower == NULL)
        return ERR_NOMEM;
    borrower->self = self;
    int err = wrap_pool_create(give_back, &borrower->wraps);
    if (err != 0) {
        free(borrower);
        return err;
    }
    *borrower_out = borrower;
    return 0;
}

void borrower_destroy(struct borrower *borrower)
{
    if (borrower == NULL)
        return;
    borrower_meet(borrower, NULL, 0);
    wrap_pool_destroy(borrower->wraps);
    free(borrower);
}

static int connect_to(const char *door)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(door) >= sizeof(name.sun_path))
        return -1;
    memcpy(name.sun_path, door, strlen(door) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0 && handover_is_own(fd))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* NULL: it cannot be reached, and what it sends comes by itself. */
static struct lent *meet(const struct borrower *borrower, const struct lender_at *at)
{
    struct handover hello = {HANDOVER_MAGIC, borrower->self};
    int fd = connect_to(at->door);
    struct lent *lent = fd < 0 ? NULL : calloc(1, sizeof(*lent));
    if (lent == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    lent->id = at->id;
    lent->socket = fd;
    atomic_init(&lent->ref_count, 1);
    if (segment_create(LOANS_MAX * sizeof(uint64_t), 0, &lent->table) == 0 &&
        handover_send(fd, &hello, lent->table.fd) == 0)
        return lent;
    unref(lent);
    return NULL;
}

static bool is_among(uint64_t id, const struct lender_at *lenders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (lenders[i].id == id)
            return true;
    return false;
}

static struct lent *find(const struct borrower *borrower, uint64_t id)
{
    struct lent *lent = borrower->first;
    while (lent != NULL && lent->id != id)
        lent = lent->next;
    return lent;
}

void borrower_meet(struct borrower *borrower, const struct lender_at *lenders, size_t count)
{
    for (struct lent **at = &borrower->first; *at != NULL;) {
        struct lent *lent = *at;
        if (is_among(lent->id, lenders, count)) {
            at = &lent->next;
            continue;
        }
        *at = lent->next;
        unref(lent);
    }
    for (size_t i = 0; i < count; i++) {
        if (lenders[i].door[0] == 0 || find(borrower, lenders[i].id) != NULL)
            continue;
        struct lent *lent = meet(borrower, &lenders[i]);
        if (lent == NULL)
            continue;
        lent->next = borrower->first;
        borrower->first = lent;
    }
}

/* The lender sends its segments in order, before the first place in each. */
static int take_segments(struct lent *lent, uint32_t idx)
{
    while (lent->segment_count <= idx) {
        struct handover handover;
        int fd, err = handover_receive(lent->socket, &handover, &fd);
        if (err != 0)
            return err == ERR_NOMEM ? err : ERR_PROTO;
        struct segment *grown = realloc(lent->segments,
                                        (lent->segment_count + 1) * sizeof(*lent->segments));
        if (grown == NULL || handover.id != lent->segment_count) {
            close(fd);
            lent->segments = grown == NULL ? lent->segments : grown;
            return grown == NULL ? ERR_NOMEM : ERR_PROTO;
        }
        lent->segments = grown;
        err = segment_open(fd, lent->segment_count, &grown[lent->segment_count]);
        if (err != 0)
            return err;
        lent->segment_count++;
    }
    return 0;
}

static int take(struct borrower *borrower, struct lent *lent, const struct loan *loan,
                struct buffer **buffer_out)
{
    if (loan->segment >= SEGMENTS_A_LENDER_MAX || loan->number == 0)
        return ERR_PROTO;
    int err = take_segments(lent, loan->segment);
    if (err != 0)
        return err;
    const struct segment *segment = &lent->segments[loan->segment];
    if (loan->size_bytes == 0 || loan->offset % sizeof(uint64_t) != 0 ||
        loan->offset > segment->size_bytes ||
        loan->size_bytes > segment->size_bytes - loan->offset)
        return ERR_PROTO;
    struct wrap *wrap = wrap_pool_take(borrower->wraps);
    if (wrap == NULL)
        return ERR_NOMEM;
    atomic_fetch_add_explicit(&lent->ref_count, 1, memory_order_relaxed);
    *(struct borrowed *)(void *)wrap->owner = (struct borrowed){lent, loan->number};
    wrap->buffer.data = segment->data + loan->offset;
    wrap->buffer.size_bytes = loan->size_bytes;
    wrap->buffer.is_read_only = true;
    *buffer_out = &wrap->buffer;
    return 0;
}

/* A loan that cannot be read is a message lost, and would be again and again: the lender, whose end
 * of the socket this closes, sends bytes from now on. */
static void leave(struct lent *lent)
{
    shutdown(lent->socket, SHUT_RDWR);
    lent->is_left = true;
}

int borrower_take(struct borrower *borrower, uint64_t lender, const struct loan *loan,
                  struct buffer **buffer_out)
{
    struct lent *lent = find(borrower, lender);
    if (lent == NULL || lent->is_left)
        return ERR_PROTO;
    int err = take(borrower, lent, loan, buffer_out);
    if (err != 0)
        leave(lent);
    return err;
}
