#include "worker/message_queue.h"

#include <stdlib.h>

enum { CAPACITY_FIRST = 64 };

static int grow(struct message_queue *queue)
{
    size_t capacity = queue->capacity == 0 ? CAPACITY_FIRST : 2 * queue->capacity;
    struct message *items = malloc(capacity * sizeof(*items));
    if (items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < queue->count; i++)
        items[i] = queue->items[(queue->first + i) % queue->capacity];
    free(queue->items);
    *queue = (struct message_queue){items, 0, queue->count, capacity};
    return 0;
}

int message_queue_put(struct message_queue *queue, const struct message *msg)
{
    int err = queue->count == queue->capacity ? grow(queue) : 0;
    if (err != 0)
        return err;
    queue->items[(queue->first + queue->count++) % queue->capacity] = *msg;
    return 0;
}

bool message_queue_take(struct message_queue *queue, struct message *msg_out)
{
    if (queue->count == 0)
        return false;
    *msg_out = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
    return true;
}

void message_queue_clear(struct message_queue *queue)
{
    struct message msg;
    while (message_queue_take(queue, &msg))
        buffer_unref(msg.payload);
    free(queue->items);
    *queue = (struct message_queue){0};
}
