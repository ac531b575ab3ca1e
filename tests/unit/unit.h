#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/* unit - the main of a CUnit executable, made from one list of test functions.
 *
 * Owner:    each tests/.../test_<module>.c.
 * Surprise: UNIT_MAIN defines main; labels are the functions' own names.
 *
 * Use:      #define TESTS(X) X(test_permute_visits_each_index_once) X(test_...)
 *           static void test_permute_visits_each_index_once(void) { CU_ASSERT(...); }
 *           UNIT_MAIN("permute", TESTS)
 */
#include <stdio.h>
#include <CUnit/Basic.h>

#define UNIT_ROW(function) {#function, function},

#define UNIT_MAIN(suite_name, list)                                                     \
    int main(void)                                                                      \
    {                                                                                   \
        CU_TestInfo tests[] = {list(UNIT_ROW) CU_TEST_INFO_NULL};                       \
        char name[] = suite_name;                                                       \
        CU_SuiteInfo suites[] = {{.pName = name, .pTests = tests}, CU_SUITE_INFO_NULL}; \
        if (CU_initialize_registry() != CUE_SUCCESS)                                    \
            return 2;                                                                   \
        if (CU_register_suites(suites) != CUE_SUCCESS)                                  \
            return 2;                                                                   \
        CU_basic_set_mode(CU_BRM_VERBOSE);                                              \
        CU_basic_run_tests();                                                           \
        unsigned failures = CU_get_number_of_failures();                                \
        unsigned test_count = CU_get_number_of_tests_run();                             \
        CU_cleanup_registry();                                                          \
        return failures == 0 && test_count > 0 ? 0 : 1;                                 \
    }

#endif
