#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16 };

struct chunk {
    struct chunk *next;
    size_t size_bytes, used_bytes;
    _Alignas(ALIGNMENT) unsigned char data[];
};

struct arena {
    struct chunk *first, *current;
    size_t limit_bytes, taken_bytes;
};

static struct chunk *create_chunk(size_t size_bytes)
{
    struct chunk *chunk = NULL;
    if (size_bytes <= SIZE_MAX - sizeof(*chunk))
        chunk = malloc(sizeof(*chunk) + size_bytes);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct chunk){.size_bytes = size_bytes};
    return chunk;
}

int arena_create(size_t first_bytes, size_t limit_bytes, struct arena **arena_out)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return ERR_NOMEM;
    arena->limit_bytes = limit_bytes;
    arena->first = create_chunk(first_bytes < limit_bytes ? first_bytes : limit_bytes);
    arena->current = arena->first;
    if (arena->first == NULL) {
        free(arena);
        return ERR_NOMEM;
    }
    *arena_out = arena;
    return 0;
}

void arena_destroy(struct arena *arena)
{
    if (arena == NULL)
        return;
    for (struct chunk *chunk = arena->first, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

static size_t room(const struct chunk *chunk)
{
    return chunk->size_bytes - chunk->used_bytes;
}

/* Chunks double up to the limit, and one of the limit's size has room for any message: what is kept
 * stays below three times the limit, whatever order the messages come in. */
static struct chunk *append_chunk(struct arena *arena, struct chunk *last, size_t needed_bytes)
{
    size_t size = last->size_bytes < arena->limit_bytes / 2 ? 2 * last->size_bytes
                                                            : arena->limit_bytes;
    last->next = create_chunk(size > needed_bytes ? size : needed_bytes);
    return last->next;
}

void *arena_take(struct arena *arena, size_t size_bytes)
{
    if (size_bytes > arena->limit_bytes)
        return NULL;
    size_t needed = (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (needed > arena->limit_bytes - arena->taken_bytes)
        return NULL;
    struct chunk *chunk = arena->current;
    while (room(chunk) < needed && chunk->next != NULL)
        chunk = chunk->next;
    if (room(chunk) < needed)
        chunk = append_chunk(arena, chunk, needed);
    if (chunk == NULL)
        return NULL;
    void *taken = chunk->data + chunk->used_bytes;
    chunk->used_bytes += needed;
    arena->current = chunk;
    arena->taken_bytes += needed;
    return memset(taken, 0, size_bytes);
}

void arena_reset(struct arena *arena)
{
    for (struct chunk *chunk = arena->first; chunk != NULL; chunk = chunk->next)
        chunk->used_bytes = 0;
    arena->current = arena->first;
    arena->taken_bytes = 0;
}
