#include "worker/held.h"

#include <stdlib.h>

int held_add(struct held *held, struct lane_node node, struct buffer *sum)
{
    if (held->count == held->capacity) {
        size_t capacity = held->capacity == 0 ? 2 : 2 * held->capacity;
        struct held_node *nodes = realloc(held->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL) {
            buffer_unref(sum);
            return ERR_NOMEM;
        }
        held->nodes = nodes;
        held->capacity = capacity;
    }
    held->nodes[held->count++] = (struct held_node){.node = node, .sum = sum};
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
        buffer_unref(held->nodes[i].sum);
    held->count = 0;
}

void held_free(struct held *held)
{
    held_clear(held);
    free(held->nodes);
    *held = (struct held){0};
}
