#include "worker/exchange_link.h"

#include <stdlib.h>
#include <string.h>
#include "worker/exchange_codec.h"
#include "worker/exchange_early.h"

static struct address primary(const struct exchange *x, uint32_t block_idx)
{
    return (struct address){PARTY_SHARD, x->shards[x->blocks[block_idx].link].incarnation};
}

bool link_is_primary(const struct exchange *x, struct address from, uint32_t block_idx)
{
    return x->blocks[block_idx].link != NOBODY && address_equal(from, primary(x, block_idx));
}

/* An answer is owed from now on; begun_ms tells since when, whatever is asked again later. */
static void note_asked(const struct exchange *x, struct exchange_block *block, bool is_again)
{
    if (!is_again || !block->is_asked)
        block->begun_ms = x->now_ms;
    block->is_asked = true;
    block->asked_ms = x->now_ms;
}

static void send_node(struct exchange *x, uint32_t block_idx, struct held_node *held,
                      struct outbox *out)
{
    struct message push = message_of(x, held->payload == NULL ? MSG_PASS : MSG_PUSH);
    push.key = (struct block_key){.step = x->version,
                                  .block = block_idx,
                                  .lane_begin = held->node.begin,
                                  .lane_end = held->node.end,
                                  .codec = held->codec};
    push.payload = held->payload;
    outbox_put(out, primary(x, block_idx), &push);
    x->totals.bytes_out += held->payload == NULL ? 0 : held->payload->size_bytes;
    x->totals.push_count++;
    early_note_push(x);
    note_asked(x, &x->blocks[block_idx], held->is_sent);
    held->is_sent = true;
}

static void send_unsent(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct held *held = &x->blocks[block_idx].held;
    for (size_t i = 0; i < held->count; i++)
        if (!held->nodes[i].is_sent)
            send_node(x, block_idx, &held->nodes[i], out);
}

static uint64_t nodes(const struct exchange *x)
{
    return x->node_count == 0 ? 1 : x->node_count;
}

static uint64_t cost(const struct exchange *x, uint32_t block_idx)
{
    return nodes(x) * exchange_payload_bytes(x, block_idx);
}

static void dequeue(struct exchange *x, struct exchange_link *link, uint32_t block_idx)
{
    const struct exchange_block *block = &x->blocks[block_idx];
    if (block->above == NOBODY)
        link->highest = block->below;
    else
        x->blocks[block->above].below = block->below;
    if (block->below == NOBODY)
        link->lowest = block->above;
    else
        x->blocks[block->below].above = block->above;
}

static void admit_block(struct exchange *x, struct exchange_link *link, uint32_t block_idx,
                        struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    block->is_ahead = block_idx != link->highest;
    dequeue(x, link, block_idx);
    block->push = PUSH_ADMITTED;
    link->admitted_ms = x->now_ms;
    if (block->held.count == 0)
        return; /* answered before its turn came */
    block->in_flight_bytes = cost(x, block_idx);
    link->in_flight_bytes += block->in_flight_bytes;
    link->ahead_bytes += block->is_ahead ? block->in_flight_bytes : 0;
    send_unsent(x, block_idx, out);
}

/* What blocks may take of a link's credit that overtake others: beside it there is always room for
 * the block whose turn it is, whatever the codec. */
static uint64_t ahead_max(const struct exchange *x)
{
    const struct settings *settings = x->spec.settings;
    uint64_t credit = settings->exchange.credit_bytes;
    uint64_t largest = nodes(x) * settings->exchange.block_bytes;
    uint64_t kept = credit / 2 > largest ? credit / 2 : largest;
    return early_is_on(x) && credit > kept ? credit - kept : 0;
}

static bool has_credit(const struct exchange *x, const struct exchange_link *link,
                       uint32_t block_idx)
{
    return x->blocks[block_idx].held.count == 0 ||
           link->in_flight_bytes + cost(x, block_idx) <= x->spec.settings->exchange.credit_bytes;
}

/* The next forward needs the lowest block first. */
static bool may_overtake(const struct exchange *x, const struct exchange_link *link)
{
    return link->lowest != link->highest && has_credit(x, link, link->lowest) &&
           link->ahead_bytes + cost(x, link->lowest) <= ahead_max(x);
}

/* It does not wait for those that are ahead, which may be waiting for it in other workers. */
static bool is_turn(const struct exchange *x, const struct exchange_link *link)
{
    return link->in_flight_bytes == link->ahead_bytes || has_credit(x, link, link->highest);
}

static void admit(struct exchange *x, struct exchange_link *link, struct outbox *out)
{
    while (link->highest != NOBODY) {
        if (may_overtake(x, link))
            admit_block(x, link, link->lowest, out);
        else if (is_turn(x, link))
            admit_block(x, link, link->highest, out);
        else
            return;
    }
}

/* Blocks come from the highest to the lowest, so the place is at the end. */
static void enqueue(struct exchange *x, uint32_t block_idx)
{
    struct exchange_block *block = &x->blocks[block_idx];
    block->push = PUSH_QUEUED;
    block->above = block->below = NOBODY;
    if (block->link == NOBODY)
        return; /* a later view will name its primary */
    struct exchange_link *link = &x->links[block->link];
    block->above = link->lowest;
    while (block->above != NOBODY && block->above < block_idx) {
        block->below = block->above;
        block->above = x->blocks[block->above].above;
    }
    if (block->above == NOBODY)
        link->highest = block_idx;
    else
        x->blocks[block->above].below = block_idx;
    if (block->below == NOBODY)
        link->lowest = block_idx;
    else
        x->blocks[block->below].above = block_idx;
}

void link_push(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    if (block->push == PUSH_WAITING) {
        enqueue(x, block_idx);
        if (block->link != NOBODY)
            admit(x, &x->links[block->link], out);
    } else if (block->push == PUSH_ADMITTED) {
        send_unsent(x, block_idx, out);
    }
}

void link_void(struct exchange *x, uint32_t block_idx, uint32_t lane, struct outbox *out)
{
    struct message msg = message_of(x, MSG_VOID);
    if (x->blocks[block_idx].link == NOBODY)
        return;
    msg.key = (struct block_key){
        .step = x->version, .block = block_idx, .lane_begin = lane, .lane_end = lane + 1};
    outbox_put(out, primary(x, block_idx), &msg);
    note_asked(x, &x->blocks[block_idx], true);
}

void link_pull(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct message msg = message_of(x, x->is_stepping_back ? MSG_PULL_OLD : MSG_PULL);
    if (x->blocks[block_idx].link == NOBODY)
        return;
    msg.key = (struct block_key){.step = x->target,
                                 .block = block_idx,
                                 .codec = exchange_codec_wanted(x, block_idx)};
    outbox_put(out, primary(x, block_idx), &msg);
    note_asked(x, &x->blocks[block_idx], true);
}

void link_answered(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    struct exchange_link *link = &x->links[block->link];
    link->in_flight_bytes -= block->in_flight_bytes;
    link->ahead_bytes -= block->is_ahead ? block->in_flight_bytes : 0;
    block->in_flight_bytes = 0;
    reduction_clear(&block->sums);
    held_clear(&block->held);
    admit(x, link, out);
}

/* Voids of lanes [begin, end); whether there were any. */
static bool send_voids(struct exchange *x, uint32_t block_idx, struct lane_node lanes,
                       struct outbox *out)
{
    bool is_any = false;
    for (uint32_t lane = lanes.begin; lane < lanes.end && lane < x->lane_count; lane++) {
        if (!x->lanes[lane].is_void)
            continue;
        link_void(x, block_idx, lane, out);
        is_any = true;
    }
    return is_any;
}

void link_take_lack(struct exchange *x, const struct message *msg, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[msg->key.block];
    struct exchange_link *link = &x->links[block->link];
    struct lane_node lacking = {msg->key.lane_begin, msg->key.lane_end};
    link->heard_ms = x->now_ms;
    if (!x->has_weights || msg->key.step != x->version || block->is_next_here)
        return;
    bool is_any = send_voids(x, msg->key.block, lacking, out);
    for (size_t i = 0; i < block->held.count; i++) {
        struct held_node *held = &block->held.nodes[i];
        if (!held->is_sent || held->node.begin >= lacking.end || lacking.begin >= held->node.end)
            continue;
        send_node(x, msg->key.block, held, out);
        is_any = true;
    }
    if (is_any)
        link->quiet_count = 0;
}

void links_clear(struct exchange *x)
{
    for (size_t i = 0; i < x->layout->block_count; i++) {
        struct exchange_block *block = &x->blocks[i];
        block->push = PUSH_WAITING;
        block->in_flight_bytes = 0;
        reduction_clear(&block->sums);
        held_clear(&block->held);
    }
    for (size_t i = 0; i < x->shard_count; i++) {
        x->links[i].in_flight_bytes = x->links[i].ahead_bytes = 0;
        x->links[i].highest = x->links[i].lowest = NOBODY;
    }
    x->is_moved = false;
}

void links_unlock(struct exchange *x, struct outbox *out)
{
    for (size_t i = 0; i < x->shard_count && x->is_moved; i++) {
        struct exchange_link *link = &x->links[i];
        uint64_t moved_ms = link->heard_ms > link->admitted_ms ? link->heard_ms : link->admitted_ms;
        if (link->highest != NOBODY && x->now_ms - moved_ms >= link->retry_ms)
            admit_block(x, link, link->highest, out);
    }
}

/* The link's state lives on in the new view when its shard does.  A new shard is expected to answer
 * as the others did: the length of a step is what they have in common. */
static struct exchange_link carry_over(const struct exchange *x, const struct shard_member *shard)
{
    struct exchange_link link = {.heard_ms = x->now_ms};
    if (x->shard_count > 0)
        link.answers = x->links[0].answers;
    for (size_t i = 0; i < x->shard_count; i++)
        if (x->shards[i].incarnation == shard->incarnation)
            link = x->links[i];
    link.in_flight_bytes = link.ahead_bytes = 0; /* reckoned again from the blocks */
    link.highest = link.lowest = NOBODY;
    return link;
}

static void stay(struct exchange *x, uint32_t block_idx)
{
    struct exchange_block *block = &x->blocks[block_idx];
    if (block->push == PUSH_QUEUED) {
        enqueue(x, block_idx);
    } else if (block->link != NOBODY) {
        struct exchange_link *link = &x->links[block->link];
        link->in_flight_bytes += block->in_flight_bytes;
        link->ahead_bytes += block->is_ahead ? block->in_flight_bytes : 0;
    }
}

static void move(struct exchange *x, uint32_t block_idx, struct outbox *out)
{
    struct exchange_block *block = &x->blocks[block_idx];
    struct lane_node all = {0, x->lane_count};
    bool is_asked = block->is_asked;
    block->in_flight_bytes = 0;
    block->is_asked = is_asked && block->link == NOBODY;
    if (block->held.count > 0) {
        held_unsend(&block->held);
        enqueue(x, block_idx);
        x->is_moved = true;
    } else if (!block->is_next_here) {
        block->push = PUSH_WAITING;
    }
    bool is_void = x->has_weights && is_asked && send_voids(x, block_idx, all, out);
    if (is_asked && !is_void && block->held.count == 0)
        link_pull(x, block_idx, out);
}

int links_take_view(struct exchange *x, const struct view *view, struct outbox *out)
{
    struct shard_member *shards = calloc(view->shard_count, sizeof(*shards));
    struct exchange_link *links = calloc(view->shard_count, sizeof(*links));
    uint64_t *before = calloc(x->layout->block_count, sizeof(*before)); /* incarnations */
    if (shards == NULL || links == NULL || before == NULL) {
        free(shards);
        free(links);
        free(before);
        return ERR_NOMEM;
    }
    memcpy(shards, view->shards, view->shard_count * sizeof(*shards));
    for (size_t i = 0; i < view->shard_count; i++)
        links[i] = carry_over(x, &shards[i]);
    for (size_t i = 0; i < x->layout->block_count; i++)
        before[i] = x->blocks[i].link == NOBODY ? 0 : x->shards[x->blocks[i].link].incarnation;
    free(x->shards);
    free(x->links);
    x->shards = shards;
    x->links = links;
    x->shard_count = view->shard_count;
    for (uint32_t i = (uint32_t)x->layout->block_count; i-- > 0;) { /* as backpropagation goes */
        x->blocks[i].link = view->block_shard[i];
        bool is_same = view->block_shard[i] == NOBODY
                           ? before[i] == 0
                           : before[i] == shards[view->block_shard[i]].incarnation;
        if (is_same)
            stay(x, i);
        else
            move(x, i, out);
    }
    free(before);
    for (size_t i = 0; i < x->shard_count; i++)
        admit(x, &x->links[i], out);
    return 0;
}
