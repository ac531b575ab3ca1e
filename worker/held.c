#include "worker/held.h"

#include <stdlib.h>

int held_add(struct held *held, const struct held_node *node)
{
    if (held->count == held->capacity) {
        size_t capacity = held->capacity == 0 ? 2 : 2 * held->capacity;
        struct held_node *nodes = realloc(held->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL) {
            buffer_unref(node->payload);
            return ERR_NOMEM;
        }
        held->nodes = nodes;
        held->capacity = capacity;
    }
    held->nodes[held->count++] = *node;
    return 0;
}

void held_unsend(struct held *held)
{
    for (size_t i = 0; i < held->count; i++)
        held->nodes[i].is_sent = false;
}

void held_clear(struct held *held)
{
    for (size_t i = 0; i < held->count; i++)
        buffer_unref(held->nodes[i].payload);
    held->count = 0;
}

void held_free(struct held *held)
{
    held_clear(held);
    free(held->nodes);
    *held = (struct held){0};
}
