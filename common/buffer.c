#include "common/buffer.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "common/pages.h"

/* Sizes are rounded up to one of eight steps between powers of two: an eighth is lost at most, a
 * power of two loses nothing, and the few sizes of a job's blocks find their kin again. */
enum { ALIGNMENT = 64, STEP_BITS = 3, OCTAVE_COUNT = 42, CLASS_COUNT = OCTAVE_COUNT << STEP_BITS };

/* Address space is cheap and each segment costs its readers a descriptor and a mapping. */
enum { SEGMENT_BYTES = 128 << 20, SEGMENTS_MAX = 1024 };

struct pooled {
    struct buffer buffer; /* first: a buffer of ours is its struct pooled */
    struct buffer_pool *pool;
    struct pooled *next; /* while it is kept */
    unsigned class_idx;
};

_Static_assert(sizeof(struct pooled) <= ALIGNMENT, "the data follow one alignment step later");

struct buffer_pool {
    pthread_mutex_t lock;
    size_t ceiling_bytes; /* SIZE_MAX: none */
    size_t held_bytes, lent_count;
    bool is_closed, is_shared;
    struct segment *segments[SEGMENTS_MAX]; /* is_shared: the last one is being filled */
    size_t segment_count, segment_used_bytes;
    struct pooled *kept[CLASS_COUNT];
};

struct buffer *buffer_ref(struct buffer *buffer)
{
    unsigned before = atomic_fetch_add_explicit(&buffer->ref_count, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return buffer;
}

void buffer_unref(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    unsigned before = atomic_fetch_sub_explicit(&buffer->ref_count, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        buffer->release(buffer);
}

/* What the others read before they let go comes before what the caller writes now. */
bool buffer_is_sole(const struct buffer *buffer)
{
    return atomic_load_explicit(&buffer->ref_count, memory_order_acquire) == 1;
}

static size_t class_bytes(unsigned class_idx)
{
    size_t octave = class_idx >> STEP_BITS, step = class_idx & ((1u << STEP_BITS) - 1);
    return ((((size_t)1 << STEP_BITS) + step) << octave) << 3;
}

/* The smallest class that holds size_bytes; CLASS_COUNT when none does. */
static unsigned class_of(size_t size_bytes)
{
    unsigned low = 0, high = CLASS_COUNT;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (class_bytes(middle) < size_bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int buffer_pool_create(size_t ceiling_bytes, struct buffer_pool **pool_out)
{
    struct buffer_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return ERR_NOMEM;
    if (pthread_mutex_init(&pool->lock, NULL) != 0) {
        free(pool);
        return ERR_NOMEM;
    }
    pool->ceiling_bytes = ceiling_bytes == 0 ? SIZE_MAX : ceiling_bytes;
    *pool_out = pool;
    return 0;
}

/* One more segment, with room for at least so many bytes. */
static int add_segment(struct buffer_pool *pool, size_t needed_bytes)
{
    size_t bytes = needed_bytes > SEGMENT_BYTES ? needed_bytes : SEGMENT_BYTES;
    if (pool->segment_count == SEGMENTS_MAX || bytes > SEGMENT_BYTES_MAX)
        return ERR_NOMEM;
    struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return ERR_NOMEM;
    int err = segment_create(bytes, (uint32_t)pool->segment_count, segment);
    if (err != 0) {
        free(segment);
        return err;
    }
    pool->segments[pool->segment_count++] = segment;
    pool->segment_used_bytes = 0;
    return 0;
}

int buffer_pool_create_shared(struct buffer_pool **pool_out)
{
    struct buffer_pool *pool = NULL;
    int err = buffer_pool_create(0, &pool);
    if (err != 0)
        return err;
    pool->is_shared = true;
    err = add_segment(pool, 1);
    if (err != 0)
        buffer_pool_destroy(pool);
    else
        *pool_out = pool;
    return err;
}

/* Memory for the pooled struct and what follows it; NULL. */
static struct pooled *take_memory(struct buffer_pool *pool, size_t bytes)
{
    if (!pool->is_shared)
        return aligned_alloc(ALIGNMENT, bytes);
    const struct segment *last = pool->segments[pool->segment_count - 1];
    if (last->size_bytes - pool->segment_used_bytes < bytes && add_segment(pool, bytes) != 0)
        return NULL;
    last = pool->segments[pool->segment_count - 1];
    size_t settled = pool->segment_used_bytes / PAGES_LARGE_BYTES * PAGES_LARGE_BYTES;
    void *taken = last->data + pool->segment_used_bytes;
    pool->segment_used_bytes += bytes;
    pages_make_large(last->data + settled, pool->segment_used_bytes - settled);
    return taken;
}

static void discard(struct buffer_pool *pool, struct pooled *pooled)
{
    pool->held_bytes -= class_bytes(pooled->class_idx);
    if (!pool->is_shared)
        free(pooled);
}

/* Frees kept buffers until needed_bytes fit under the ceiling, the largest first. */
static bool make_room(struct buffer_pool *pool, size_t needed_bytes)
{
    if (needed_bytes > pool->ceiling_bytes)
        return false;
    size_t allowed = pool->ceiling_bytes - needed_bytes;
    for (unsigned i = CLASS_COUNT; i-- > 0 && pool->held_bytes > allowed;) {
        while (pool->kept[i] != NULL && pool->held_bytes > allowed) {
            struct pooled *pooled = pool->kept[i];
            pool->kept[i] = pooled->next;
            discard(pool, pooled);
        }
    }
    return pool->held_bytes <= allowed;
}

static void free_pool(struct buffer_pool *pool)
{
    for (size_t i = 0; i < pool->segment_count; i++) {
        segment_close(pool->segments[i]);
        free(pool->segments[i]);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static void give_back(struct buffer *buffer)
{
    struct pooled *pooled = (struct pooled *)buffer;
    struct buffer_pool *pool = pooled->pool;
    pthread_mutex_lock(&pool->lock);
    pool->lent_count--;
    if (pool->is_closed) {
        discard(pool, pooled);
    } else {
        pooled->next = pool->kept[pooled->class_idx];
        pool->kept[pooled->class_idx] = pooled;
    }
    bool is_last = pool->is_closed && pool->lent_count == 0;
    pthread_mutex_unlock(&pool->lock);
    if (is_last)
        free_pool(pool);
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    (void)make_room(pool, pool->ceiling_bytes);
    pool->is_closed = true;
    bool is_last = pool->lent_count == 0;
    pthread_mutex_unlock(&pool->lock);
    if (is_last)
        free_pool(pool);
}

/* With the lock held: a kept buffer of the class, or a new one under the ceiling, or NULL. */
static struct pooled *find(struct buffer_pool *pool, unsigned class_idx)
{
    struct pooled *pooled = pool->kept[class_idx];
    if (pooled != NULL) {
        pool->kept[class_idx] = pooled->next;
        return pooled;
    }
    size_t capacity = class_bytes(class_idx);
    if (!make_room(pool, capacity))
        return NULL;
    size_t rounded = (capacity + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    pooled = take_memory(pool, ALIGNMENT + rounded);
    if (pooled == NULL)
        return NULL;
    *pooled = (struct pooled){.pool = pool, .class_idx = class_idx};
    if (pool->is_shared)
        pooled->buffer.segment = pool->segments[pool->segment_count - 1];
    pooled->buffer.data = (unsigned char *)pooled + ALIGNMENT;
    pooled->buffer.release = give_back;
    pool->held_bytes += capacity;
    return pooled;
}

struct buffer *buffer_pool_take(struct buffer_pool *pool, size_t size_bytes)
{
    unsigned class_idx = class_of(size_bytes);
    if (class_idx == CLASS_COUNT)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    struct pooled *pooled = find(pool, class_idx);
    if (pooled != NULL)
        pool->lent_count++;
    pthread_mutex_unlock(&pool->lock);
    if (pooled == NULL)
        return NULL;
    pooled->next = NULL;
    pooled->buffer.size_bytes = size_bytes;
    atomic_init(&pooled->buffer.ref_count, 1);
    return &pooled->buffer;
}

const struct segment *buffer_pool_segment(struct buffer_pool *pool, uint32_t idx)
{
    pthread_mutex_lock(&pool->lock);
    const struct segment *segment = idx < pool->segment_count ? pool->segments[idx] : NULL;
    pthread_mutex_unlock(&pool->lock);
    return segment;
}

size_t buffer_pool_bytes(struct buffer_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    size_t held = pool->held_bytes;
    pthread_mutex_unlock(&pool->lock);
    return held;
}
