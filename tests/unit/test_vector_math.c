#include "common/vector_math.h"
#include <math.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { COUNT = 1003 };

static void fill(float *values, float factor)
{
    for (size_t i = 0; i < COUNT; i++)
        values[i] = sinf((float)i * factor) * 1e3f;
}

static void test_vector_add_gives_the_same_bits_wherever_it_is_cut(void)
{
    float whole[COUNT], pieces[COUNT], addend[COUNT];
    fill(addend, 0.71f);
    fill(whole, 0.37f);
    memcpy(pieces, whole, sizeof(whole));
    vector_add(whole, addend, COUNT);
    for (size_t at = 0, step = 1; at < COUNT; at += step, step = step % 13 + 1) {
        size_t count = at + step < COUNT ? step : COUNT - at;
        vector_add(pieces + at, addend + at, count);
    }
    CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof(whole)), 0);
    CU_ASSERT_EQUAL(whole[5], sinf(5 * 0.37f) * 1e3f + sinf(5 * 0.71f) * 1e3f);
}

static void test_vector_is_finite_finds_one_bad_number(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float values[COUNT];
    fill(values, 0.5f);
    CU_ASSERT(vector_is_finite(values, COUNT));
    for (size_t i = 0; i < 3; i++) {
        values[COUNT - 1 - i] = bad[i];
        CU_ASSERT(!vector_is_finite(values, COUNT));
        values[COUNT - 1 - i] = 3e38f;
        CU_ASSERT(vector_is_finite(values, COUNT));
    }
}

#define TESTS(X)                                              \
    X(test_vector_add_gives_the_same_bits_wherever_it_is_cut) \
    X(test_vector_is_finite_finds_one_bad_number)

UNIT_MAIN("vector_math", TESTS)
