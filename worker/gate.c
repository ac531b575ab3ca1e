#include "worker/gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"

struct gate {
    const struct layout *layout;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t hand, called_off; /* under lock, as all that follows */
    bool *is_open;              /* [block_count] */
    uint64_t *closed_count;     /* [tensor_count]: of its blocks */
};

int gate_create(const struct layout *layout, struct gate **gate_out)
{
    struct gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL)
        return ERR_NOMEM;
    gate->layout = layout;
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->is_open = calloc(layout->block_count, sizeof(*gate->is_open));
    gate->closed_count = calloc(layout->tensor_count, sizeof(*gate->closed_count));
    if (gate->is_open == NULL || gate->closed_count == NULL) {
        gate_destroy(gate);
        return ERR_NOMEM;
    }
    *gate_out = gate;
    return 0;
}

void gate_destroy(struct gate *gate)
{
    if (gate == NULL)
        return;
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
    free(gate->is_open);
    free(gate->closed_count);
    free(gate);
}

static void begin_hand(struct gate *gate, uint64_t hand)
{
    const struct layout *layout = gate->layout;
    gate->hand = hand;
    memset(gate->is_open, 0, layout->block_count * sizeof(*gate->is_open));
    for (size_t i = 0; i < layout->tensor_count; i++) {
        struct range blocks = layout_tensor_blocks(layout, i);
        gate->closed_count[i] = blocks.end - blocks.begin;
    }
}

void gate_open(struct gate *gate, uint64_t hand, uint32_t block)
{
    pthread_mutex_lock(&gate->lock);
    if (gate->hand < hand)
        begin_hand(gate, hand);
    if (gate->hand == hand && !gate->is_open[block]) {
        gate->is_open[block] = true;
        if (--gate->closed_count[gate->layout->blocks[block].tensor_idx] == 0)
            pthread_cond_broadcast(&gate->changed);
    }
    pthread_mutex_unlock(&gate->lock);
}

void gate_call_off(struct gate *gate, uint64_t hand)
{
    pthread_mutex_lock(&gate->lock);
    if (gate->called_off < hand)
        gate->called_off = hand;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

/* Rounds before the present one were whole, or are called off. */
static bool is_shut(const struct gate *gate, uint64_t hand, size_t tensor_idx)
{
    return gate->called_off < hand && gate->hand <= hand &&
           (gate->hand < hand || gate->closed_count[tensor_idx] > 0);
}

bool gate_wait(struct gate *gate, uint64_t hand, size_t tensor_idx, uint64_t *waited_us)
{
    pthread_mutex_lock(&gate->lock);
    if (is_shut(gate, hand, tensor_idx)) {
        uint64_t begin_us = clock_now_us();
        while (is_shut(gate, hand, tensor_idx))
            pthread_cond_wait(&gate->changed, &gate->lock);
        *waited_us += clock_now_us() - begin_us;
    }
    bool is_off = gate->called_off >= hand;
    pthread_mutex_unlock(&gate->lock);
    return !is_off;
}
