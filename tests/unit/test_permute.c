#include "common/permute.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

static bool is_permutation(uint64_t count, uint64_t key)
{
    struct permute permute;
    permute_init(&permute, count, key);
    bool *seen = calloc(count, sizeof(*seen));
    CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
    bool is_good = true;
    for (uint64_t i = 0; i < count && is_good; i++) {
        uint64_t place = permute_at(&permute, i);
        is_good = place < count && !seen[place];
        if (is_good)
            seen[place] = true;
    }
    free(seen);
    return is_good;
}

static void test_permute_visits_each_index_once(void)
{
    for (uint64_t count = 1; count <= 300; count++)
        for (uint64_t key = 0; key < 10; key++)
            CU_ASSERT(is_permutation(count, key));
    static const uint64_t counts[] = {1797, 4096, 4097, 60000, 65535, 65536, 65537, 1000003};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        CU_ASSERT(is_permutation(counts[i], i));
}

/* The order of a run's samples must not change from one version of Talweg to the next.  Recorded
 * from a second implementation, in Python. */
static void test_permute_order_is_that_recorded(void)
{
    static const struct {
        uint64_t count, key, expected[4];
    } rows[] = {
        {10, 1, {0, 6, 1, 9}},
        {1797, 2, {422, 1768, 1013, 1164}},
        {60000, 3, {42003, 56282, 48411, 47573}},
        {1099511640121, 4, {617634169762, 758568917895, 300801151826, 314459005901}},
        {9223372036854775809u,
         5,
         {8673812686878329820u, 574844743594194707, 5068624564101812338, 7893916426189637162}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct permute permute;
        permute_init(&permute, rows[i].count, rows[i].key);
        for (uint64_t j = 0; j < 4; j++)
            CU_ASSERT_EQUAL(permute_at(&permute, j), rows[i].expected[j]);
    }
}

static void test_permute_stays_in_range_when_count_is_as_large_as_it_gets(void)
{
    struct permute permute;
    permute_init(&permute, UINT64_MAX, 7);
    for (uint64_t i = 0; i < 1000; i++)
        CU_ASSERT(permute_at(&permute, UINT64_MAX - 1 - i) < UINT64_MAX);
}

/* Over keys, every index comes to every place equally often, and so does every pair to every pair:
 * chi-square within 5 deviations of its mean. */
static void test_permute_mixes_evenly_over_keys(void)
{
    static const uint64_t counts[] = {2, 3, 5, 8, 10, 17, 33};
    enum { KEY_COUNT = 100000 };
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        uint64_t count = counts[c], cell_count = count * (count - 1);
        double *cells = calloc(count * count, sizeof(*cells));
        CU_ASSERT_PTR_NOT_NULL_FATAL(cells);
        for (uint64_t key = 0; key < KEY_COUNT; key++) {
            struct permute permute;
            permute_init(&permute, count, key);
            cells[permute_at(&permute, 0) * count + permute_at(&permute, count / 2)]++;
        }
        double expected = (double)KEY_COUNT / (double)cell_count, chi = 0;
        for (uint64_t i = 0; i < count * count; i++)
            if (i / count != i % count)
                chi += (cells[i] - expected) * (cells[i] - expected) / expected;
        double freedom = (double)cell_count - 1;
        CU_ASSERT(fabs(chi - freedom) < 5 * sqrt(2 * freedom));
        free(cells);
    }
}

/* Neighbours end up far apart: the mean distance of a random pair is count / 3. */
static void test_permute_separates_neighbours(void)
{
    static const uint64_t counts[] = {1797, 60000};
    for (size_t c = 0; c < 2; c++) {
        double sum = 0, count = (double)counts[c];
        for (uint64_t key = 0; key < 20; key++) {
            struct permute permute;
            permute_init(&permute, counts[c], key);
            for (uint64_t i = 0; i + 1 < counts[c]; i++)
                sum += fabs((double)permute_at(&permute, i) - (double)permute_at(&permute, i + 1));
        }
        double mean = sum / 20 / (count - 1);
        CU_ASSERT(fabs(mean / (count / 3) - 1) < 0.02);
    }
}

static void test_permute_orders_differ_from_key_to_key(void)
{
    struct permute one, other;
    permute_init(&one, 60000, 1);
    permute_init(&other, 60000, 2);
    int equal_count = 0;
    for (uint64_t i = 0; i < 60000; i++)
        equal_count += permute_at(&one, i) == permute_at(&other, i);
    CU_ASSERT(equal_count < 10); /* Poisson with mean 1 */
}

#define TESTS(X) \
    X(test_permute_visits_each_index_once) \
    X(test_permute_order_is_that_recorded) \
    X(test_permute_stays_in_range_when_count_is_as_large_as_it_gets) \
    X(test_permute_mixes_evenly_over_keys) \
    X(test_permute_separates_neighbours) \
    X(test_permute_orders_differ_from_key_to_key)

UNIT_MAIN("permute", TESTS)
