#include "common/reduction.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "common/philox.h"
#include "tests/unit/unit.h"

enum { LANES = 8, COUNT = 33 };

static struct buffer_pool *pool;

static float element(uint32_t lane, size_t i)
{
    struct draw_key key = {.seed = 5, .lane = lane, .where = 50};
    return draw_normal(&key, i) * (lane == 3 ? 1e6f : 1.0f);
}

/* The sum of a node's lanes, made along the tree by plain recursion. */
static float tree_sum(struct lane_node node, size_t i)
{
    if (node.end - node.begin == 1)
        return element(node.begin, i);
    uint32_t middle = (node.begin + node.end) / 2;
    return tree_sum((struct lane_node){node.begin, middle}, i) +
           tree_sum((struct lane_node){middle, node.end}, i);
}

static struct buffer *sum_of(struct lane_node node)
{
    struct buffer *buffer = buffer_pool_take(pool, COUNT * sizeof(float));
    for (size_t i = 0; i < COUNT; i++)
        ((float *)buffer->data)[i] = tree_sum(node, i);
    return buffer;
}

static int add(struct reduction *reduction, uint32_t begin, uint32_t end)
{
    struct lane_node node = {begin, end};
    return reduction_add(reduction, node, sum_of(node), pool);
}

/* Takes the root and compares it, bit for bit, with the tree's. */
static void check_root(struct reduction *reduction)
{
    struct lane_node root = {0, LANES};
    struct buffer *found = reduction_take(reduction, root), *expected = sum_of(root);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    CU_ASSERT_EQUAL(memcmp(found->data, expected->data, COUNT * sizeof(float)), 0);
    buffer_unref(found);
    buffer_unref(expected);
}

static void test_reduction_gives_the_same_bits_in_any_order(void)
{
    struct reduction reduction = {0};
    struct draw_key key = {.seed = 1, .where = 51};
    for (uint64_t trial = 0; trial < 200; trial++) {
        uint32_t order[LANES];
        for (uint32_t i = 0; i < LANES; i++) {
            uint32_t j = draw_u32(&key, trial * LANES + i) % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (uint32_t i = 0; i < LANES; i++)
            CU_ASSERT_EQUAL(add(&reduction, order[i], order[i] + 1), 0);
        check_root(&reduction);
        CU_ASSERT_EQUAL(reduction.count, 0);
    }
    reduction_free(&reduction);
}

static void test_reduction_takes_nodes_of_any_size(void)
{
    struct reduction reduction = {0};
    CU_ASSERT_EQUAL(add(&reduction, 4, 8), 0);
    CU_ASSERT_EQUAL(add(&reduction, 2, 4), 0);
    CU_ASSERT_EQUAL(add(&reduction, 0, 1), 0);
    CU_ASSERT(!reduction_has(&reduction, (struct lane_node){0, LANES}));
    CU_ASSERT_EQUAL(reduction_held_bytes(&reduction), 3 * COUNT * sizeof(float));
    CU_ASSERT_EQUAL(add(&reduction, 1, 2), 0);
    check_root(&reduction);
    reduction_free(&reduction);
}

static void test_reduction_counts_a_duplicate_once(void)
{
    struct reduction reduction = {0};
    CU_ASSERT_EQUAL(add(&reduction, 0, 2), 0);
    CU_ASSERT_EQUAL(add(&reduction, 0, 2), ERR_STALE);
    CU_ASSERT_EQUAL(add(&reduction, 1, 2), ERR_STALE);
    CU_ASSERT_EQUAL(add(&reduction, 4, 8), 0);
    CU_ASSERT_EQUAL(add(&reduction, 5, 6), ERR_STALE);
    CU_ASSERT_EQUAL(add(&reduction, 2, 4), 0);
    check_root(&reduction);
    reduction_free(&reduction);
}

static void test_reduction_lets_an_ancestor_replace_its_descendants(void)
{
    struct reduction reduction = {0};
    CU_ASSERT_EQUAL(add(&reduction, 1, 2), 0);
    CU_ASSERT_EQUAL(add(&reduction, 2, 3), 0);
    CU_ASSERT_EQUAL(add(&reduction, 0, 4), 0);
    CU_ASSERT_EQUAL(reduction.count, 1);
    CU_ASSERT_EQUAL(add(&reduction, 4, 8), 0);
    check_root(&reduction);
    reduction_free(&reduction);
}

static void test_reduction_gives_back_every_buffer(void)
{
    struct reduction reduction = {0};
    for (uint32_t lane = 0; lane < LANES; lane += 2)
        CU_ASSERT_EQUAL(add(&reduction, lane, lane + 1), 0);
    reduction_clear(&reduction);
    CU_ASSERT_EQUAL(reduction_held_bytes(&reduction), 0);
    CU_ASSERT_PTR_NULL(reduction_take(&reduction, (struct lane_node){0, 1}));
    reduction_free(&reduction);
    buffer_pool_destroy(pool);
    pool = NULL;
}

enum { PAGE_BYTES = 4096 };

static void unmap(struct buffer *buffer)
{
    CU_ASSERT_EQUAL(munmap(buffer->data, PAGE_BYTES), 0);
    free(buffer);
}

/* The node's sum in a page that nothing can write to, as another process's memory is. */
static struct buffer *locked_sum_of(struct lane_node node)
{
    struct buffer *plain = sum_of(node), *locked = calloc(1, sizeof(*locked));
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(locked != NULL && page != MAP_FAILED);
    memcpy(page, plain->data, plain->size_bytes);
    CU_ASSERT_EQUAL_FATAL(mprotect(page, PAGE_BYTES, PROT_READ), 0);
    locked->data = page;
    locked->size_bytes = plain->size_bytes;
    locked->is_read_only = true;
    locked->release = unmap;
    atomic_init(&locked->ref_count, 1);
    buffer_unref(plain);
    return locked;
}

/* Every choice of which lanes' sums may be written, the root added here or left as two parts. */
static void test_reduction_writes_to_no_buffer_that_is_read_only(void)
{
    for (uint32_t writable = 0; writable < 1u << LANES; writable++) {
        struct reduction reduction = {.open_lanes = writable % 3 == 0 ? LANES : 0};
        struct lane_node root = {0, LANES};
        struct buffer *parts[2];
        for (uint32_t i = 0; i < LANES; i++) {
            uint32_t lane = (i * 5 + writable) % LANES; /* in some order */
            struct lane_node node = {lane, lane + 1};
            struct buffer *sum = writable >> lane & 1 ? sum_of(node) : locked_sum_of(node);
            CU_ASSERT_EQUAL(reduction_add(&reduction, node, sum, pool), 0);
        }
        CU_ASSERT_FATAL(reduction_take_parts(&reduction, root, parts));
        CU_ASSERT_EQUAL(parts[1] == NULL, writable % 3 != 0);
        CU_ASSERT_EQUAL_FATAL(reduction_join(parts, pool), 0);
        CU_ASSERT_PTR_NULL(parts[1]);
        struct buffer *expected = sum_of(root);
        CU_ASSERT_EQUAL(memcmp(parts[0]->data, expected->data, COUNT * sizeof(float)), 0);
        buffer_unref(parts[0]);
        buffer_unref(expected);
        reduction_free(&reduction);
    }
}

static void test_reduction_writes_to_no_buffer_that_somebody_else_holds(void)
{
    struct reduction reduction = {0};
    struct buffer *held[LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        struct lane_node node = {lane, lane + 1};
        held[lane] = sum_of(node);
        CU_ASSERT_EQUAL(reduction_add(&reduction, node, buffer_ref(held[lane]), pool), 0);
    }
    check_root(&reduction);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        struct buffer *before = sum_of((struct lane_node){lane, lane + 1});
        CU_ASSERT_EQUAL(memcmp(held[lane]->data, before->data, COUNT * sizeof(float)), 0);
        CU_ASSERT(buffer_is_sole(held[lane]));
        buffer_unref(before);
        buffer_unref(held[lane]);
    }
    reduction_free(&reduction);
}

static void test_reduction_takes_no_buffer_while_one_may_be_written(void)
{
    struct reduction reduction = {0};
    struct buffer *held = sum_of((struct lane_node){1, 2});
    struct buffer *first = sum_of((struct lane_node){0, 1});
    CU_ASSERT_EQUAL(reduction_add(&reduction, (struct lane_node){0, 1}, first, NULL), 0);
    CU_ASSERT_EQUAL(reduction_add(&reduction, (struct lane_node){1, 2}, buffer_ref(held), NULL), 0);
    CU_ASSERT_EQUAL(reduction_add(&reduction, (struct lane_node){2, 4},
                                  locked_sum_of((struct lane_node){2, 4}), NULL), 0);
    struct buffer *sum = reduction_take(&reduction, (struct lane_node){0, 4});
    CU_ASSERT_PTR_EQUAL(sum, first);
    buffer_unref(sum);
    buffer_unref(held);
    reduction_free(&reduction);
}

static void test_reduction_says_so_when_there_is_no_memory_for_a_sum(void)
{
    struct reduction reduction = {.open_lanes = 2};
    struct buffer *parts[2];
    for (uint32_t lane = 0; lane < 2; lane++) {
        struct lane_node node = {lane, lane + 1};
        CU_ASSERT_EQUAL(reduction_add(&reduction, node, locked_sum_of(node), NULL), 0);
    }
    CU_ASSERT_FATAL(reduction_take_parts(&reduction, (struct lane_node){0, 2}, parts));
    CU_ASSERT_EQUAL(reduction_join(parts, NULL), ERR_NOMEM);
    CU_ASSERT(parts[0] != NULL && parts[1] != NULL);
    reduction.open_lanes = 0;
    for (uint32_t lane = 0; lane < 2; lane++)
        CU_ASSERT_EQUAL(reduction_add(&reduction, (struct lane_node){lane, lane + 1}, parts[lane],
                                      NULL), lane == 0 ? 0 : ERR_NOMEM);
    CU_ASSERT_EQUAL(reduction.count, 0);
    reduction_free(&reduction);
}

/* What comes once more for an open root, which no node covers, is late all the same. */
static void test_reduction_counts_an_open_root_once(void)
{
    struct reduction reduction = {.open_lanes = LANES};
    CU_ASSERT_EQUAL(add(&reduction, 0, 4), 0);
    CU_ASSERT(!reduction_has(&reduction, (struct lane_node){0, LANES}));
    CU_ASSERT_EQUAL(add(&reduction, 4, 6), 0);
    CU_ASSERT_EQUAL(add(&reduction, 6, 8), 0);
    CU_ASSERT_EQUAL(reduction.count, 2);
    CU_ASSERT_EQUAL(reduction_held_bytes(&reduction), 2 * COUNT * sizeof(float));
    CU_ASSERT(reduction_has(&reduction, (struct lane_node){0, LANES}));
    CU_ASSERT_EQUAL(add(&reduction, 0, 4), ERR_STALE);
    CU_ASSERT_EQUAL(add(&reduction, 7, 8), ERR_STALE);
    CU_ASSERT_EQUAL(add(&reduction, 0, LANES), ERR_STALE);
    struct lane_node gap;
    CU_ASSERT(!reduction_first_gap(&reduction, LANES, &gap));
    reduction_clear(&reduction);
    CU_ASSERT_EQUAL(add(&reduction, 0, LANES), 0); /* one part may be the root */
    CU_ASSERT(reduction_has(&reduction, (struct lane_node){0, LANES}));
    CU_ASSERT_EQUAL(add(&reduction, 2, 3), ERR_STALE);
    check_root(&reduction);
    reduction_free(&reduction);
}

static void test_reduction_begins_with_a_pool(void)
{
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &pool), 0);
}

static void test_reduction_tells_the_first_lanes_it_lacks(void)
{
    struct reduction reduction = {0};
    struct lane_node gap;
    CU_ASSERT(reduction_first_gap(&reduction, LANES, &gap) && gap.begin == 0 && gap.end == LANES);
    CU_ASSERT_EQUAL(add(&reduction, 6, 7), 0);
    CU_ASSERT(reduction_first_gap(&reduction, LANES, &gap) && gap.begin == 0 && gap.end == 6);
    CU_ASSERT_EQUAL(add(&reduction, 2, 3), 0);
    CU_ASSERT_EQUAL(add(&reduction, 0, 2), 0);
    CU_ASSERT(reduction_first_gap(&reduction, LANES, &gap) && gap.begin == 3 && gap.end == 6);
    CU_ASSERT_EQUAL(add(&reduction, 3, 4), 0);
    CU_ASSERT_EQUAL(add(&reduction, 4, 6), 0);
    CU_ASSERT(reduction_first_gap(&reduction, LANES, &gap) && gap.begin == 7 && gap.end == LANES);
    CU_ASSERT_EQUAL(add(&reduction, 7, 8), 0);
    CU_ASSERT(!reduction_first_gap(&reduction, LANES, &gap));
    reduction_free(&reduction);
}

#define TESTS(X)                                              \
    X(test_reduction_begins_with_a_pool)                      \
    X(test_reduction_gives_the_same_bits_in_any_order)        \
    X(test_reduction_takes_nodes_of_any_size)                 \
    X(test_reduction_tells_the_first_lanes_it_lacks)          \
    X(test_reduction_counts_a_duplicate_once)                 \
    X(test_reduction_lets_an_ancestor_replace_its_descendants) \
    X(test_reduction_writes_to_no_buffer_that_is_read_only)   \
    X(test_reduction_writes_to_no_buffer_that_somebody_else_holds) \
    X(test_reduction_takes_no_buffer_while_one_may_be_written) \
    X(test_reduction_says_so_when_there_is_no_memory_for_a_sum) \
    X(test_reduction_counts_an_open_root_once)                \
    X(test_reduction_gives_back_every_buffer)

UNIT_MAIN("reduction", TESTS)
