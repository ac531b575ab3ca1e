#include "worker/gate.h"

#include <pthread.h>
#include "tests/unit/unit.h"

enum { TENSORS = 2, BLOCKS = 3 };

/* Two tensors: the first of two blocks, the second of one. */
static struct layout *make(void)
{
    const struct tensor_spec tensors[TENSORS] = {
        {.name = "a", .dims = 1, .shape = {2048}}, {.name = "b", .dims = 1, .shape = {1024}}};
    struct layout *layout = NULL;
    CU_ASSERT_EQUAL_FATAL(layout_create(tensors, TENSORS, 4096, &layout, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(layout->block_count, BLOCKS);
    return layout;
}

struct waiter {
    struct gate *gate;
    uint64_t hand, waited_us;
    size_t tensor;
    bool is_let_in;
};

static void *wait_there(void *arg)
{
    struct waiter *waiter = arg;
    waiter->is_let_in =
        gate_wait(waiter->gate, waiter->hand, waiter->tensor, &waiter->waited_us);
    return NULL;
}

static void test_gate_lets_in_when_all_blocks_of_a_tensor_are_there(void)
{
    struct layout *layout = make();
    struct gate *gate = NULL;
    CU_ASSERT_EQUAL_FATAL(gate_create(layout, &gate), 0);
    struct waiter waiter = {.gate = gate, .hand = 1, .tensor = 0};
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wait_there, &waiter), 0);
    gate_open(gate, 1, 2);
    uint64_t waited_us = 0;
    CU_ASSERT(gate_wait(gate, 1, 1, &waited_us)); /* the second tensor is there already */
    CU_ASSERT_EQUAL(waited_us, 0);
    gate_open(gate, 1, 0);
    gate_open(gate, 1, 0); /* twice is once */
    gate_open(gate, 1, 1);
    pthread_join(thread, NULL);
    CU_ASSERT(waiter.is_let_in);
    gate_destroy(gate);
    layout_destroy(layout);
}

static void test_gate_sends_away_who_is_called_off(void)
{
    struct layout *layout = make();
    struct gate *gate = NULL;
    CU_ASSERT_EQUAL_FATAL(gate_create(layout, &gate), 0);
    struct waiter waiter = {.gate = gate, .hand = 2, .tensor = 0, .is_let_in = true};
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wait_there, &waiter), 0);
    gate_open(gate, 2, 0);
    gate_call_off(gate, 2);
    pthread_join(thread, NULL);
    CU_ASSERT(!waiter.is_let_in);
    uint64_t waited_us = 0;
    gate_open(gate, 2, 1); /* too late for hand 2 */
    CU_ASSERT(!gate_wait(gate, 2, 0, &waited_us));
    gate_open(gate, 3, 2);
    CU_ASSERT(gate_wait(gate, 3, 1, &waited_us)); /* hand 3 was not meant */
    gate_destroy(gate);
    layout_destroy(layout);
}

static void test_gate_begins_every_hand_shut(void)
{
    struct layout *layout = make();
    struct gate *gate = NULL;
    CU_ASSERT_EQUAL_FATAL(gate_create(layout, &gate), 0);
    for (uint32_t block = 0; block < BLOCKS; block++)
        gate_open(gate, 1, block);
    struct waiter waiter = {.gate = gate, .hand = 2, .tensor = 1, .is_let_in = true};
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wait_there, &waiter), 0);
    gate_open(gate, 1, 2); /* of a hand that is over */
    gate_open(gate, 2, 0);
    gate_call_off(gate, 2);
    pthread_join(thread, NULL);
    CU_ASSERT(!waiter.is_let_in); /* it was not opened by what the first hand had */
    gate_destroy(gate);
    layout_destroy(layout);
}

#define TESTS(X)                                                     \
    X(test_gate_lets_in_when_all_blocks_of_a_tensor_are_there)       \
    X(test_gate_sends_away_who_is_called_off)                        \
    X(test_gate_begins_every_hand_shut)

UNIT_MAIN("gate", TESTS)
