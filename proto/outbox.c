#include "proto/outbox.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

static bool grow(struct outbox *outbox)
{
    size_t capacity = outbox->capacity == 0 ? FIRST_CAPACITY : 2 * outbox->capacity;
    struct envelope *items = realloc(outbox->items, capacity * sizeof(*items));
    if (items == NULL)
        return false;
    outbox->items = items;
    outbox->capacity = capacity;
    return true;
}

void outbox_put(struct outbox *outbox, struct address to, const struct message *msg)
{
    if (outbox->count == outbox->capacity && !grow(outbox)) {
        outbox->is_failed = true;
        return;
    }
    outbox->items[outbox->count++] = (struct envelope){.to = to, .msg = *msg};
    if (msg->payload != NULL)
        buffer_ref(msg->payload);
}

bool outbox_failed(const struct outbox *outbox)
{
    return outbox->is_failed;
}

void outbox_clear(struct outbox *outbox)
{
    for (size_t i = 0; i < outbox->count; i++)
        buffer_unref(outbox->items[i].msg.payload);
    outbox->count = 0;
    outbox->is_failed = false;
}

void outbox_free(struct outbox *outbox)
{
    outbox_clear(outbox);
    free(outbox->items);
    *outbox = (struct outbox){0};
}
