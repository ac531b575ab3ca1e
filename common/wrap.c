#include "common/wrap.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct wrap_pool {
    pthread_mutex_t lock;
    void (*close)(void *owner);
    struct wrap *kept;
    size_t lent_count;
    bool is_closed;
};

int wrap_pool_create(void (*close)(void *owner), struct wrap_pool **pool_out)
{
    struct wrap_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return ERR_NOMEM;
    if (pthread_mutex_init(&pool->lock, NULL) != 0) {
        free(pool);
        return ERR_NOMEM;
    }
    pool->close = close;
    *pool_out = pool;
    return 0;
}

/* With the lock held; gives it up.  The last wrap of a closed pool takes the pool with it. */
static void unlock(struct wrap_pool *pool)
{
    bool is_last = pool->is_closed && pool->lent_count == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!is_last)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void wrap_pool_destroy(struct wrap_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    for (struct wrap *wrap = pool->kept, *next; wrap != NULL; wrap = next) {
        next = wrap->next;
        free(wrap);
    }
    pool->kept = NULL;
    pool->is_closed = true;
    unlock(pool);
}

static void give_back(struct buffer *buffer)
{
    struct wrap *wrap = (struct wrap *)buffer;
    struct wrap_pool *pool = wrap->pool;
    pool->close(wrap->owner);
    pthread_mutex_lock(&pool->lock);
    pool->lent_count--;
    if (pool->is_closed) {
        free(wrap);
    } else {
        wrap->next = pool->kept;
        pool->kept = wrap;
    }
    unlock(pool);
}

struct wrap *wrap_pool_take(struct wrap_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct wrap *wrap = pool->kept;
    if (wrap != NULL)
        pool->kept = wrap->next;
    else
        wrap = malloc(sizeof(*wrap));
    if (wrap != NULL)
        pool->lent_count++;
    pthread_mutex_unlock(&pool->lock);
    if (wrap == NULL)
        return NULL;
    *wrap = (struct wrap){.pool = pool, .buffer = {.release = give_back}};
    atomic_init(&wrap->buffer.ref_count, 1);
    return wrap;
}
