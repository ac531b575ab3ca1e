#include "worker/data/text.h"

#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

static struct rows *encode(const char *path, const struct vocabulary *characters)
{
    struct rows_place place = {.spool_dir = "", .memory_bytes = 1 << 20};
    struct rows *rows = NULL;
    struct err_msg why = {0};
    int rc = text_encode(path, characters, &place, &rows, &why);
    if (rc < 0)
        printf("\n  said: %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return rows;
}

static void learn(const char *path, struct vocabulary *characters)
{
    struct err_msg why = {0};
    int rc = text_learn(path, characters, &why);
    if (rc < 0)
        printf("\n  said: %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void check_tokens(const char *path, const struct vocabulary *characters,
                         const char *expected)
{
    struct rows *rows = encode(path, characters);
    CU_ASSERT_EQUAL(rows_form(rows)->type, ROWS_U8);
    CU_ASSERT_EQUAL(rows_form(rows)->dims, 0);
    CU_ASSERT_EQUAL_FATAL(rows_form(rows)->count, strlen(expected));
    for (size_t i = 0; i < strlen(expected); i++)
        CU_ASSERT_EQUAL(*(const uint8_t *)rows_at(rows, i), expected[i] - '0');
    rows_close(rows);
}

static void test_text_numbers_characters_in_sorted_order_plain_and_packed(void)
{
    static const char words[] = "caba\nd\xc3\xa9\n";
    struct vocabulary plain = {0}, packed = {0};
    const char *path = temp_text("words.txt", words);
    learn(path, &plain);
    CU_ASSERT_EQUAL_FATAL(plain.word_count, 6);
    CU_ASSERT_STRING_EQUAL(plain.words[0], "\n");
    CU_ASSERT_STRING_EQUAL(plain.words[1], "a");
    CU_ASSERT_STRING_EQUAL(plain.words[5], "\xc3\xa9");
    check_tokens(path, &plain, "31210450");
    path = temp_pack("words.txt.gz", words, strlen(words));
    learn(path, &packed);
    CU_ASSERT_EQUAL(packed.word_count, 6);
    check_tokens(path, &packed, "31210450");
    vocabulary_clear(&plain);
    vocabulary_clear(&packed);
}

static void test_text_leaves_a_byte_order_mark_out_at_the_start_alone(void)
{
    struct vocabulary characters = {0};
    const char *path = temp_text("mark.txt", "\xef\xbb\xbf" "ab");
    learn(path, &characters);
    check_tokens(path, &characters, "01");
    vocabulary_clear(&characters);
    path = temp_text("later.txt", "b\xef\xbb\xbf" "a");
    learn(path, &characters);
    check_tokens(path, &characters, "120");
    vocabulary_clear(&characters);
}

/* Larger than the window the file is read through, characters across its border. */
static void test_text_reads_on_where_a_window_cuts_a_character(void)
{
    enum { COUNT = 60000 };
    char *text = malloc(3 * COUNT + 2);
    text[0] = 'x';
    for (size_t i = 0; i < COUNT; i++)
        memcpy(text + 1 + 3 * i, i % 7 ? "\xe2\x82\xac" : "\xe2\x82\xab", 3);
    struct vocabulary characters = {0};
    const char *path = temp_write("long.txt", text, 3 * COUNT + 1);
    learn(path, &characters);
    CU_ASSERT_EQUAL_FATAL(characters.word_count, 3);
    struct rows *rows = encode(path, &characters);
    CU_ASSERT_EQUAL_FATAL(rows_form(rows)->count, COUNT + 1);
    const uint8_t *tokens = rows_at(rows, 0);
    CU_ASSERT_EQUAL(tokens[0], 0);
    for (size_t i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(tokens[1 + i], i % 7 ? 2 : 1);
    rows_close(rows);
    vocabulary_clear(&characters);
    free(text);
}

static void test_text_takes_two_bytes_when_there_are_many_kinds(void)
{
    enum { KINDS = 300 };
    char text[KINDS * 2];
    for (unsigned i = 0; i < KINDS; i++) { /* U+0100 on, two bytes each, from the last */
        unsigned code_point = 0x100 + KINDS - 1 - i;
        text[2 * i] = (char)(0xc0 | code_point >> 6);
        text[2 * i + 1] = (char)(0x80 | (code_point & 0x3f));
    }
    struct vocabulary characters = {0};
    const char *path = temp_write("kinds.txt", text, sizeof(text));
    learn(path, &characters);
    CU_ASSERT_EQUAL(characters.word_count, KINDS);
    struct rows *rows = encode(path, &characters);
    CU_ASSERT_EQUAL(rows_form(rows)->type, ROWS_U16);
    const uint16_t *tokens = rows_at(rows, 0);
    for (unsigned i = 0; i < KINDS; i++)
        CU_ASSERT_EQUAL(tokens[i], KINDS - 1 - i);
    rows_close(rows);
    vocabulary_clear(&characters);
}

static void refuse_learn(const char *path, const char *sentence)
{
    struct vocabulary characters = {0};
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(text_learn(path, &characters, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
    vocabulary_clear(&characters);
}

static void test_text_refuses_what_is_no_text(void)
{
    refuse_learn(temp_text("empty.txt", ""), "empty.txt: is empty");
    refuse_learn(temp_text("latin.txt", "one\ntwo\nna\xefve\n"),
                 "latin.txt:3: character 3 of the line: found the byte 0xef, expected a text in "
                 "UTF-8");
    refuse_learn(temp_text("cut.txt", "a\xe2\x82"), "cut.txt:1: character 2 of the line");
    refuse_learn(temp_write("nul.txt", "a\0b", 3),
                 "nul.txt:1: character 2 of the line: found the byte 0x00");
}

static void test_text_refuses_a_character_that_the_training_text_lacks(void)
{
    struct vocabulary characters = {0};
    struct rows_place place = {.spool_dir = "", .memory_bytes = 1 << 20};
    struct rows *rows = NULL;
    struct err_msg why = {0};
    learn(temp_text("train.txt", "abc\n"), &characters);
    CU_ASSERT_EQUAL(text_encode(temp_text("test.txt", "ab\nac\xc3\xa9\n"), &characters, &place,
                                &rows, &why),
                    ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "test.txt:2: character 3 of the line: found '\xc3\xa9'"
                                            ", U+00E9, which the training text does not have"));
    CU_ASSERT_PTR_NULL(rows);
    CU_ASSERT_EQUAL(text_encode(temp_text("tab.txt", "a\tb"), &characters, &place, &rows, &why),
                    ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "found U+0009, which"));
    vocabulary_clear(&characters);
}

#define TESTS(X) \
    X(test_text_numbers_characters_in_sorted_order_plain_and_packed) \
    X(test_text_leaves_a_byte_order_mark_out_at_the_start_alone) \
    X(test_text_reads_on_where_a_window_cuts_a_character) \
    X(test_text_takes_two_bytes_when_there_are_many_kinds) \
    X(test_text_refuses_what_is_no_text) \
    X(test_text_refuses_a_character_that_the_training_text_lacks)

UNIT_MAIN("text", TESTS)
