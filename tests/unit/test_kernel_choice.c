#include "worker/nn/kernel_choice.h"

#include <stddef.h>
#include "tests/unit/unit.h"

static void test_kernel_choice_auto_keeps_what_openblas_chose(void)
{
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Haswell", NULL, false));
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Zen", NULL, false));
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Cooperlake", NULL, false));
}

static void test_kernel_choice_auto_keeps_what_the_environment_asked_for(void)
{
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Prescott", "Prescott", false));
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Haswell", "Foo", false));
}

static void test_kernel_choice_auto_does_not_put_up_with_kernels_without_avx2(void)
{
#ifdef __AVX2__
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("auto", "Prescott", NULL, false), "Haswell");
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("auto", "Sandybridge", NULL, false), "Haswell");
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("auto", "Prescott", NULL, true), "SkylakeX");
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "Haswell", NULL, true));
#else
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "ARMV8", NULL, false));
#endif
}

static void test_kernel_choice_by_name_asks_unless_they_are_there(void)
{
    CU_ASSERT_PTR_NULL(kernels_to_ask("haswell", "Haswell", NULL, false));
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("Haswell", "Zen", NULL, false), "Haswell");
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("Haswell", "Zen", "Zen", false), "Haswell");
}

#define TESTS(X)                                                           \
    X(test_kernel_choice_auto_keeps_what_openblas_chose)                   \
    X(test_kernel_choice_auto_keeps_what_the_environment_asked_for)        \
    X(test_kernel_choice_auto_does_not_put_up_with_kernels_without_avx2)   \
    X(test_kernel_choice_by_name_asks_unless_they_are_there)

UNIT_MAIN("kernel_choice", TESTS)
