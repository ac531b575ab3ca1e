#include "common/err.h"

#include <string.h>
#include "tests/unit/unit.h"

static void test_err_text_is_that_of_the_table(void)
{
    CU_ASSERT_STRING_EQUAL(err_text(0), "ok");
    CU_ASSERT_STRING_EQUAL(err_text(ERR_STALE), "for a step already done");
    CU_ASSERT_STRING_EQUAL(err_text(ERR_STOPPED), "asked to stop");
    CU_ASSERT_STRING_EQUAL(err_text(-1000), "unknown error");
    CU_ASSERT_STRING_EQUAL(err_text(1), "unknown error");
}

static void test_err_codes_are_negative_and_distinct(void)
{
#define ROW_CODE(name, code, text) name,
    static const int codes[] = {ERR_TABLE(ROW_CODE)};
#undef ROW_CODE
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        CU_ASSERT(codes[i] < 0);
        for (size_t j = 0; j < i; j++)
            CU_ASSERT(codes[i] != codes[j]);
    }
}

static void test_err_set_formats_and_returns_the_code(void)
{
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(err_set(&why, ERR_INPUT, "line %d: %s", 12, "odd"), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "line 12: odd");
    CU_ASSERT_EQUAL(err_set(&why, ERR_IO, "short"), ERR_IO);
    CU_ASSERT_STRING_EQUAL(why.text, "short");
    CU_ASSERT_EQUAL(err_set(NULL, ERR_IO, "nobody %s", "asks"), ERR_IO);
}

static void test_err_set_takes_its_own_text_as_argument(void)
{
    struct err_msg why = {.text = "disk full"};
    CU_ASSERT_EQUAL(err_set(&why, ERR_IO, "cannot save: %s", why.text), ERR_IO);
    CU_ASSERT_STRING_EQUAL(why.text, "cannot save: disk full");
}

static void test_err_set_cuts_a_text_that_is_too_long(void)
{
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(err_set(&why, ERR_IO, "%2000d", 7), ERR_IO);
    CU_ASSERT_EQUAL(strlen(why.text), sizeof(why.text) - 1);
}

/* A file's bytes stand in sentences, and those on terminals: ESC ] 0 ; would set its title. */
static void test_err_set_blanks_what_could_steer_a_terminal(void)
{
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(err_set(&why, ERR_INPUT, "found \"%s\"", "\033]0;x\a\t\x7f"), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "found \"?]0;x???\"");
    CU_ASSERT_EQUAL(err_prefix(&why, ERR_INPUT, "%s: ", "\xc2\x9b" "31m\xc3\xa4\n"), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "??31m\xc3\xa4\n: found \"?]0;x???\"");
}

static void test_err_prefix_puts_its_text_before(void)
{
    struct err_msg why = {.text = "odd"};
    CU_ASSERT_EQUAL(err_prefix(&why, ERR_INPUT, "%s:%d: ", "job.cfg", 3), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "job.cfg:3: odd");
    CU_ASSERT_EQUAL(err_prefix(NULL, ERR_INPUT, "x"), ERR_INPUT);
}

static void test_err_prefix_cuts_what_no_longer_fits(void)
{
    struct err_msg why;
    memset(why.text, 'a', sizeof(why.text) - 1);
    why.text[sizeof(why.text) - 1] = '\0';
    CU_ASSERT_EQUAL(err_prefix(&why, ERR_INPUT, "before: "), ERR_INPUT);
    CU_ASSERT_EQUAL(strlen(why.text), sizeof(why.text) - 1);
    CU_ASSERT_EQUAL(strncmp(why.text, "before: aaa", 11), 0);
    CU_ASSERT_EQUAL(err_prefix(&why, ERR_INPUT, "%1500s", "b"), ERR_INPUT);
    CU_ASSERT_EQUAL(strspn(why.text, " "), sizeof(why.text) - 1);
}

#define TESTS(X) \
    X(test_err_text_is_that_of_the_table) \
    X(test_err_codes_are_negative_and_distinct) \
    X(test_err_set_formats_and_returns_the_code) \
    X(test_err_set_takes_its_own_text_as_argument) \
    X(test_err_set_cuts_a_text_that_is_too_long) \
    X(test_err_set_blanks_what_could_steer_a_terminal) \
    X(test_err_prefix_puts_its_text_before) \
    X(test_err_prefix_cuts_what_no_longer_fits)

UNIT_MAIN("err", TESTS)
