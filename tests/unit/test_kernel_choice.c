#include "worker/nn/kernel_choice.h"

#include <stddef.h>
#include "tests/unit/unit.h"
#include "worker/nn/gemm.h"

static void test_kernel_choice_auto_keeps_what_openblas_chose(void)
{
    CU_ASSERT_PTR_NULL(kernels_to_ask("auto", "ARMV8"));
}

static void test_kernel_choice_by_name_asks_unless_they_are_there(void)
{
    CU_ASSERT_PTR_NULL(kernels_to_ask("armv8", "ARMV8"));
    CU_ASSERT_STRING_EQUAL(kernels_to_ask("ARMV8", "NEOVERSEN1"), "ARMV8");
}

static void test_kernel_choice_is_none_where_products_are_our_own(void)
{
    struct err_msg why = {0};
    if (gemm_is_own())
        CU_ASSERT_EQUAL(kernels_choose("ARMV8", &why), 0);
}

#define TESTS(X)                                               \
    X(test_kernel_choice_auto_keeps_what_openblas_chose)       \
    X(test_kernel_choice_by_name_asks_unless_they_are_there)   \
    X(test_kernel_choice_is_none_where_products_are_our_own)

UNIT_MAIN("kernel_choice", TESTS)
