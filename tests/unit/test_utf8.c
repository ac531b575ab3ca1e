#include "common/utf8.h"

#include <string.h>
#include "common/err.h"
#include "tests/unit/unit.h"

static size_t bytes_of(const char *text)
{
    return utf8_character_bytes(text, strlen(text));
}

static void test_utf8_knows_where_a_character_ends_and_which_it_is(void)
{
    static const struct {
        const char *text;
        size_t size_bytes;
        uint32_t code_point;
    } cases[] = {{"a", 1, 'a'},
                 {"\xc3\xa9z", 2, 0xe9},
                 {"\xe2\x82\xac", 3, 0x20ac},
                 {"\xef\xbf\xbf", 3, 0xffff},
                 {"\xf0\x9f\x98\x80", 4, 0x1f600},
                 {"\xf4\x8f\xbf\xbf", 4, 0x10ffff}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char again[UTF8_BYTES_MAX + 1];
        CU_ASSERT_EQUAL(bytes_of(cases[i].text), cases[i].size_bytes);
        CU_ASSERT_EQUAL(utf8_code_point(cases[i].text, cases[i].size_bytes), cases[i].code_point);
        CU_ASSERT_EQUAL(utf8_write(cases[i].code_point, again), cases[i].size_bytes);
        CU_ASSERT_EQUAL(memcmp(again, cases[i].text, cases[i].size_bytes), 0);
        CU_ASSERT_EQUAL(again[cases[i].size_bytes], 0);
    }
}

static void test_utf8_refuses_what_is_no_character(void)
{
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",
                                      "\xc3",         "\xc3z",            "\xe0\x9f\xbf",
                                      "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80", "\xff", "\xe2\x82"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(bytes_of(bad[i]), 0);
    CU_ASSERT_EQUAL(utf8_character_bytes("a", 0), 0);
}

#define TESTS(X) \
    X(test_utf8_knows_where_a_character_ends_and_which_it_is) \
    X(test_utf8_refuses_what_is_no_character)

UNIT_MAIN("utf8", TESTS)
