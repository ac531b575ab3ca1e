#include "deploy/bench/limits.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/pages.h"
#include "deploy/bench/pair.h"
#include "deploy/bench/quantile.h"
#include "deploy/bench/zmq_stream.h"

/* Vectors as large as a model, so that what is sent and what it is added to lie in memory, not in
 * a cache; and what is past every cache for sure. */
enum { VECTOR_BYTES = 64 << 20, LARGE_BYTES = 128 << 20, SMALL_BYTES = 1 << 20 };

enum { RING_SLOTS = 16, SOCKET_CHUNK_BYTES = 1000000 };

#define LIMIT_KEY(name, key, unix_label, tcp_label) key,
static const char *const keys[] = {LIMIT_TABLE(LIMIT_KEY)};
#define LIMIT_UNIX(name, key, unix_label, tcp_label) unix_label,
static const char *const unix_labels[] = {LIMIT_TABLE(LIMIT_UNIX)};
#define LIMIT_TCP(name, key, unix_label, tcp_label) tcp_label,
static const char *const tcp_labels[] = {LIMIT_TABLE(LIMIT_TCP)};

const char *limit_key(enum limit_kind kind)
{
    return keys[kind];
}

const char *limit_label(enum limit_kind kind, enum limit_wire wire)
{
    if (wire == WIRE_CURVE && kind == LIMIT_ZMQ)
        return "ZeroMQ over tcp with CURVE, messages of 1 MiB";
    return wire == WIRE_UNIX ? unix_labels[kind] : tcp_labels[kind];
}

/* A touched vector of floats; NULL when memory is out. */
static float *make_vector(size_t bytes)
{
    float *vector = aligned_alloc(4096, bytes);
    if (vector != NULL)
        pages_prefer_large(vector, bytes);
    for (size_t i = 0; vector != NULL && i < bytes / sizeof(float); i++)
        vector[i] = (float)(i % 1021) * 0x1p-12f;
    return vector;
}

static void add(float *restrict y, const float *restrict x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

/* Where the next piece of so many bytes of a vector begins; it starts over at the end. */
static size_t next_piece(size_t *offset, size_t piece_bytes)
{
    size_t begin = *offset + piece_bytes <= VECTOR_BYTES ? *offset : 0;
    *offset = begin + piece_bytes;
    return begin;
}

/* One thread, two vectors. */
struct memory {
    float *x, *y;
    size_t bytes;
};

static int move_copy(void *ctx, uint64_t *bytes)
{
    const struct memory *memory = ctx;
    memcpy(memory->y, memory->x, memory->bytes);
    __asm__ volatile("" : : "r"(memory->y) : "memory"); /* the copy is of use to somebody */
    *bytes += memory->bytes;
    return 0;
}

static int move_add(void *ctx, uint64_t *bytes)
{
    const struct memory *memory = ctx;
    add(memory->y, memory->x, memory->bytes / sizeof(float));
    *bytes += memory->bytes;
    return 0;
}

static int measure_memory(struct limits *limits, struct err_msg *why)
{
    struct memory memory = {make_vector(LARGE_BYTES), make_vector(LARGE_BYTES), SMALL_BYTES};
    int err = memory.x == NULL || memory.y == NULL ? ERR_NOMEM : 0;
    if (err == 0)
        err = pair_sample(move_copy, &memory, 0, &limits->of[LIMIT_MEMCPY]);
    if (err == 0)
        err = pair_sample(move_add, &memory, 0, &limits->of[LIMIT_ADD]);
    memory.bytes = LARGE_BYTES;
    if (err == 0)
        err = pair_sample(move_copy, &memory, 0, &limits->of[LIMIT_MEMCPY_LARGE]);
    if (err == 0)
        err = pair_sample(move_add, &memory, 0, &limits->of[LIMIT_ADD_LARGE]);
    free(memory.x);
    free(memory.y);
    return err == 0 ? 0 : err_set(why, err, "copying memory: %s", err_text(err));
}

/* Slots in shared memory; head and tail count what was put in and taken out. */
struct ring {
    _Alignas(64) atomic_size_t head;
    _Alignas(64) atomic_size_t tail;
    _Alignas(4096) unsigned char slots[];
};

/* Both ends of a ring or socket, in each process its own copy. */
struct stream {
    struct ring *ring;
    int ends[2]; /* of a socket: this process's, the other's */
    float *vector;
    size_t offset, piece_bytes;
};

static void fill_ring(void *ctx)
{
    struct stream *stream = ctx;
    struct ring *ring = stream->ring;
    size_t bytes = stream->piece_bytes;
    for (size_t head = 0;; head++) {
        while (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING_SLOTS)
            sched_yield();
        size_t begin = next_piece(&stream->offset, bytes);
        memcpy(ring->slots + head % RING_SLOTS * bytes, stream->vector + begin / sizeof(float),
               bytes);
        atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    }
}

static int drain_ring(void *ctx, uint64_t *bytes)
{
    struct stream *stream = ctx;
    struct ring *ring = stream->ring;
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t piece_bytes = stream->piece_bytes;
    while (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
        sched_yield();
    size_t begin = next_piece(&stream->offset, piece_bytes);
    add(stream->vector + begin / sizeof(float),
        (const float *)(const void *)(ring->slots + tail % RING_SLOTS * piece_bytes),
        piece_bytes / sizeof(float));
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    *bytes += piece_bytes;
    return 0;
}

static int measure_ring(struct limits *limits, enum limit_kind kind, size_t piece_bytes,
                        struct err_msg *why)
{
    size_t bytes = sizeof(struct ring) + RING_SLOTS * piece_bytes;
    struct stream stream = {.vector = make_vector(VECTOR_BYTES), .piece_bytes = piece_bytes};
    void *ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = 0;
    int err = stream.vector == NULL || ring == MAP_FAILED ? ERR_NOMEM : 0;
    stream.ring = ring;
    if (err == 0)
        pages_make_large(ring, bytes);
    if (err != 0)
        err_set(why, err, "no memory for a shared ring");
    if (err == 0)
        err = pair_start(fill_ring, &stream, &pid, why);
    if (err == 0 && (err = pair_sample(drain_ring, &stream, pid, &limits->of[kind])) != 0)
        err_set(why, err, "a shared ring: %s", err_text(err));
    if (pid != 0)
        pair_end(pid);
    if (ring != MAP_FAILED)
        munmap(ring, bytes);
    free(stream.vector);
    return err;
}

static void fill_socket(void *ctx)
{
    struct stream *stream = ctx;
    close(stream->ends[0]);
    for (;;) {
        const char *piece =
            (const char *)stream->vector + next_piece(&stream->offset, stream->piece_bytes);
        size_t left = stream->piece_bytes;
        while (left > 0) {
            ssize_t sent = send(stream->ends[1], piece, left, MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            piece += sent;
            left -= (size_t)sent;
        }
    }
}

static int drain_socket(void *ctx, uint64_t *bytes)
{
    struct stream *stream = ctx;
    char *piece = (char *)stream->vector + next_piece(&stream->offset, stream->piece_bytes);
    ssize_t got = recv(stream->ends[0], piece, stream->piece_bytes, MSG_WAITALL);
    if (got <= 0)
        return ERR_NET;
    *bytes += (size_t)got;
    return 0;
}

/* As socketpair, over loopback TCP. */
static int tcp_pair(int ends[2])
{
    struct sockaddr_in place = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(place);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_made = listener >= 0 && ends[1] >= 0 &&
                   bind(listener, (struct sockaddr *)&place, sizeof(place)) == 0 &&
                   listen(listener, 1) == 0 &&
                   getsockname(listener, (struct sockaddr *)&place, &length) == 0 &&
                   connect(ends[1], (struct sockaddr *)&place, sizeof(place)) == 0;
    ends[0] = is_made ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (listener >= 0)
        close(listener);
    return ends[0] >= 0 ? 0 : -1;
}

static int measure_socket(struct limits *limits, bool is_tcp, struct err_msg *why)
{
    struct stream stream = {.vector = make_vector(VECTOR_BYTES),
                            .ends = {-1, -1},
                            .piece_bytes = SOCKET_CHUNK_BYTES};
    pid_t pid = 0;
    int err = stream.vector == NULL ? err_set(why, ERR_NOMEM, "no memory for a vector") : 0;
    if (err == 0 && (is_tcp ? tcp_pair(stream.ends)
                            : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream.ends)))
        err = err_set(why, ERR_NET, "no pair of sockets: %s", strerror(errno));
    if (err == 0)
        err = pair_start(fill_socket, &stream, &pid, why);
    if (err == 0 &&
        (err = pair_sample(drain_socket, &stream, pid, &limits->of[LIMIT_SOCKET])) != 0)
        err_set(why, err, "a stream of bytes: %s", err_text(err));
    if (pid != 0)
        pair_end(pid);
    for (int i = 0; i < 2; i++)
        if (stream.ends[i] >= 0)
            close(stream.ends[i]);
    free(stream.vector);
    return err;
}

int limits_take(struct limits *limits, enum limit_wire wire, struct err_msg *why)
{
    /* Received messages lie in memory that was there before: fresh pages cost nine times a copy. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    int err = measure_memory(limits, why);
    if (err == 0)
        err = measure_ring(limits, LIMIT_SHM, 1 << 20, why);
    if (err == 0)
        err = measure_ring(limits, LIMIT_SHM_SMALL, 256 << 10, why);
    if (err == 0)
        err = measure_socket(limits, wire != WIRE_UNIX, why);
    if (err == 0)
        err = zmq_stream_take(limits, wire, why);
    return err;
}

static double median(const double *samples, size_t count)
{
    double sorted[LIMIT_SAMPLES_MAX];
    memcpy(sorted, samples, count * sizeof(*samples));
    return quantile_median(sorted, count);
}

double limit_gbs(const struct limits *limits, enum limit_kind kind)
{
    return median(limits->of[kind].gbs, limits->of[kind].count);
}

double limit_cpu_s_per_gb(const struct limits *limits, enum limit_kind kind)
{
    return median(limits->of[kind].cpu_s_per_gb, limits->of[kind].count);
}

double limit_rtt_us(const struct limits *limits)
{
    return median(limits->rtt_us, limits->rtt_count);
}
