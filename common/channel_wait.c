#include "common/channel_state.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <zmq.h>
#include "common/clock.h"

/* Room for count items on the first channel, which its thread alone uses. */
static struct pollfd *poll_items(struct channel *first, size_t count)
{
    if (first->items_capacity < count) {
        struct pollfd *items = realloc(first->items, count * sizeof(*items));
        if (items == NULL)
            return NULL;
        first->items = items;
        first->items_capacity = count;
    }
    return first->items;
}

/* Costs two system calls, and makes the socket's descriptor unreadable. */
static bool has_message(struct channel *channel)
{
    int events = 0;
    size_t size = sizeof(events);
    channel->is_drained = zmq_getsockopt(channel->socket, ZMQ_EVENTS, &events, &size) == 0 &&
                          (events & ZMQ_POLLIN) == 0;
    return !channel->is_drained; /* channel_receive says what has failed */
}

static struct pollfd item_of(void *socket)
{
    struct pollfd item = {.fd = -1, .events = POLLIN}; /* is passed over */
    size_t size = sizeof(item.fd);
    if (socket != NULL)
        (void)zmq_getsockopt(socket, ZMQ_FD, &item.fd, &size);
    return item;
}

/* Two items a channel: its socket's, its monitor's. */
static int wait_once(struct channel *const *channels, size_t count, struct pollfd *items,
                     size_t item_count, int timeout_ms)
{
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        channels[i]->is_ready = !channels[i]->is_drained && has_message(channels[i]);
        is_any |= channels[i]->is_ready;
    }
    int found = poll(items, (nfds_t)item_count, is_any ? 0 : timeout_ms);
    for (size_t i = 0; i < count && found > 0; i++) {
        if (items[2 * i].revents != 0 && !channels[i]->is_ready)
            channels[i]->is_ready = has_message(channels[i]);
        if (items[2 * i + 1].revents != 0)
            channel_hear_events(channels[i]);
    }
    return found;
}

/* What zmq_poll does, with fewer system calls: a descriptor of ZeroMQ's becomes readable once after
 * nothing was there, so what was seen empty and not sent to since need not be asked. */
int transport_wait(struct channel *const *channels, size_t channel_count, int extra_fd,
                   int timeout_ms, struct ready *ready_out)
{
    struct pollfd fd_item;
    size_t item_count = 2 * channel_count + 1;
    struct pollfd *items = channel_count == 0 ? &fd_item : poll_items(channels[0], item_count);
    if (items == NULL)
        return ERR_NOMEM;
    uint64_t begin_ms = clock_now_ms(), passed_ms = 0;
    int found;
    for (size_t i = 0; i < channel_count; i++) {
        items[2 * i] = item_of(channels[i]->socket);
        items[2 * i + 1] = item_of(channels[i]->monitor);
    }
    items[item_count - 1] = (struct pollfd){.fd = extra_fd, .events = POLLIN};
    do {
        *ready_out = (struct ready){0};
        found = wait_once(channels, channel_count, items, item_count,
                          timeout_ms < 0 ? -1 : timeout_ms - (int)passed_ms);
        for (size_t i = 0; i < channel_count; i++)
            ready_out->channel_count += channels[i]->is_ready;
        ready_out->is_fd_ready = extra_fd >= 0 && found > 0 && items[item_count - 1].revents != 0;
        passed_ms = clock_now_ms() - begin_ms;
    } while (found > 0 && ready_out->channel_count == 0 && !ready_out->is_fd_ready &&
             (timeout_ms < 0 || passed_ms < (uint64_t)timeout_ms));
    return found >= 0 || errno == EINTR ? 0 : channel_code_of(errno);
}

bool channel_is_ready(const struct channel *channel)
{
    return channel->is_ready;
}
