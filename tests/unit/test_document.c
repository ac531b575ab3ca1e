#include "common/document.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/unit.h"

static struct document *parse(const char *text)
{
    struct document *document = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(document_parse(text, strlen(text), &document, &why), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    return document;
}

/* Whether the text is refused with a sentence that has `part`. */
static int is_refused(const char *text, size_t size_bytes, const char *part)
{
    struct document *document = NULL;
    struct err_msg why = {0};
    int code = document_parse(text, size_bytes, &document, &why);
    document_destroy(document);
    if (strstr(why.text, part) == NULL)
        printf("\n    said: %s\n", why.text);
    return code == ERR_INPUT && document == NULL && strstr(why.text, part) != NULL;
}

/* Prints and destroys; whether the text is that. */
static int prints(struct document *document, int is_pretty, const char *expected)
{
    char *text = document_print(document, is_pretty);
    document_destroy(document);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    int is_equal = strcmp(text, expected) == 0;
    if (!is_equal)
        printf("\n    printed: %s\n", text);
    free(text);
    return is_equal;
}

static void test_document_prints_what_was_built(void)
{
    struct document *row = document_object(), *list = document_array();
    CU_ASSERT_EQUAL(document_append(list, document_whole(INT64_MIN)), 0);
    CU_ASSERT_EQUAL(document_append(list, document_truth(false)), 0);
    CU_ASSERT_EQUAL(document_put(row, "text", document_text("a \"b\"\n")), 0);
    CU_ASSERT_EQUAL(document_put(row, "list", list), 0);
    CU_ASSERT_EQUAL(document_put(row, "none", document_null()), 0);
    CU_ASSERT_EQUAL(document_put(row, "real", document_real(0.5)), 0);
    CU_ASSERT(prints(row, 0,
                     "{\"text\": \"a \\\"b\\\"\\n\", \"list\": [-9223372036854775808, false], "
                     "\"none\": null, \"real\": 0.5}"));
}

static void test_document_prints_pretty(void)
{
    CU_ASSERT(prints(parse("{\"a\":{},\"b\":[],\"c\":{\"d\":[1,2],\"e\":[{\"f\":1},[2]]}}"), 1,
                     "{\n"
                     "  \"a\": {},\n"
                     "  \"b\": [],\n"
                     "  \"c\": {\n"
                     "    \"d\": [1, 2],\n"
                     "    \"e\": [\n"
                     "      {\n"
                     "        \"f\": 1\n"
                     "      },\n"
                     "      [2]\n"
                     "    ]\n"
                     "  }\n"
                     "}\n"));
}

static void test_document_put_replaces_a_key(void)
{
    struct document *row = document_object();
    CU_ASSERT_EQUAL(document_put(row, "a", document_whole(1)), 0);
    CU_ASSERT_EQUAL(document_put(row, "a", document_whole(2)), 0);
    CU_ASSERT(prints(row, 0, "{\"a\": 2}"));
}

static void test_document_put_says_when_there_was_no_memory_for_a_value(void)
{
    struct document *row = document_object(), *list = document_array();
    CU_ASSERT_EQUAL(document_put(row, "a", NULL), ERR_NOMEM);
    CU_ASSERT_EQUAL(document_put(NULL, "a", document_whole(1)), ERR_NOMEM);
    CU_ASSERT_EQUAL(document_put(row, "a\xff", document_whole(1)), ERR_INPUT);
    CU_ASSERT_EQUAL(document_append(list, NULL), ERR_NOMEM);
    CU_ASSERT_EQUAL(document_append(NULL, document_whole(1)), ERR_NOMEM);
    document_destroy(row);
    document_destroy(list);
    document_destroy(NULL);
}

static void test_document_text_repairs_what_is_not_utf8(void)
{
    CU_ASSERT(prints(document_text("gr\xc3\xbc\xc3\x9f"), 0, "\"gr\xc3\xbc\xc3\x9f\""));
    CU_ASSERT(prints(document_text("a\xff"), 0, "\"a\xef\xbf\xbd\""));
    CU_ASSERT(prints(document_text("\xc3"), 0, "\"\xef\xbf\xbd\""));
    /* overlong, surrogate, past U+10FFFF: each byte alone is wrong */
    static const char *const wrong[] = {"\xc0\xaf",         "\xe0\x80\xaf",     "\xed\xa0\x80",
                                        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct document *text = document_text(wrong[i]);
        const char *repaired = "";
        CU_ASSERT_EQUAL(document_as_text(text, "text", &repaired, NULL), 0);
        CU_ASSERT_EQUAL(strlen(repaired), 3 * strlen(wrong[i]));
        document_destroy(text);
    }
}

static void test_document_real_reads_back_to_the_same_bits(void)
{
    static const double values[] = {0.1,     1.0 / 3,     0.8842, 1e300,  5e-324,
                                    DBL_MAX, -123456.789, -0.0,   0x1p70, 0.1 + 0.2};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct document *real = document_real(values[i]);
        char *text = document_print(real, false);
        document_destroy(real);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        struct document *again = parse(text);
        double value = NAN;
        CU_ASSERT_EQUAL(document_as_real(again, "value", &value, NULL), 0);
        CU_ASSERT_EQUAL(memcmp(&value, &values[i], sizeof(value)), 0);
        free(text);
        document_destroy(again);
    }
    CU_ASSERT(prints(document_real(0.8842), 0, "0.8842"));
    CU_ASSERT(prints(document_real(1.0 / 3), 0, "0.3333333333333333"));
    CU_ASSERT(prints(document_real(0.1 + 0.2), 0, "0.30000000000000004"));
    CU_ASSERT(prints(document_real(3), 0, "3.0"));
}

static void test_document_real_that_is_not_finite_is_null_and_reads_as_nan(void)
{
    CU_ASSERT(prints(document_real(NAN), 0, "null"));
    CU_ASSERT(prints(document_real(-INFINITY), 0, "null"));
    struct document *row = parse("{\"loss\": null}");
    double loss = 0;
    CU_ASSERT_EQUAL(document_get_real(row, "loss", &loss, NULL), 0);
    CU_ASSERT(isnan(loss));
    CU_ASSERT(document_is_null(document_get(row, "loss")));
    CU_ASSERT(!document_is_null(document_get(row, "other")));
    document_destroy(row);
}

static void test_document_get_finds_each_kind(void)
{
    struct document *row = parse("{\"t\": \"x\", \"w\": -7, \"r\": 1.5, \"b\": true}");
    const char *text = NULL;
    int64_t whole = 0;
    double real = 0;
    bool truth = false;
    CU_ASSERT_EQUAL(document_get_text(row, "t", &text, NULL), 0);
    CU_ASSERT_STRING_EQUAL(text, "x");
    CU_ASSERT_EQUAL(document_get_whole(row, "w", &whole, NULL), 0);
    CU_ASSERT_EQUAL(whole, -7);
    CU_ASSERT_EQUAL(document_get_real(row, "r", &real, NULL), 0);
    CU_ASSERT_EQUAL(real, 1.5);
    CU_ASSERT_EQUAL(document_get_real(row, "w", &real, NULL), 0);
    CU_ASSERT_EQUAL(real, -7);
    CU_ASSERT_EQUAL(document_get_truth(row, "b", &truth, NULL), 0);
    CU_ASSERT(truth);
    document_destroy(row);
}

static void test_document_get_says_what_it_found_and_expected(void)
{
    struct document *row = parse("{\"t\": \"40\\u001b[2J\", \"r\": 1.5, \"o\": {}, \"l\": [1]}");
    struct err_msg why;
    const char *text = "kept";
    int64_t whole = 11;
    double real = 12;
    bool truth = true;
    CU_ASSERT_EQUAL(document_get_whole(row, "t", &whole, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "\"t\": found \"40?[2J\", expected a whole number");
    CU_ASSERT_EQUAL(document_get_whole(row, "r", &whole, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "\"r\": found 1.5, expected a whole number");
    CU_ASSERT_EQUAL(document_get_text(row, "o", &text, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "\"o\": found an object, expected a text");
    CU_ASSERT_EQUAL(document_get_real(row, "l", &real, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "\"l\": found a list, expected a number");
    CU_ASSERT_EQUAL(document_get_truth(row, "none", &truth, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "\"none\": found nothing, expected true or false");
    CU_ASSERT_EQUAL(document_get_whole(NULL, "w", &whole, NULL), ERR_INPUT);
    CU_ASSERT(strcmp(text, "kept") == 0 && whole == 11 && real == 12 && truth);
    document_destroy(row);
}

static void test_document_walks_keys_and_elements_in_order(void)
{
    struct document *row = parse("{\"z\": [1, 2, 3], \"a\": 2, \"m\": 3}");
    char keys[8] = "";
    for (const char *key = NULL; (key = document_key_after(row, key)) != NULL;)
        strcat(keys, key);
    CU_ASSERT_STRING_EQUAL(keys, "zam");
    CU_ASSERT_EQUAL(document_count(row), 3);
    const struct document *list = document_get(row, "z");
    CU_ASSERT(document_is_array(list) && !document_is_object(list));
    CU_ASSERT_EQUAL(document_count(list), 3);
    int64_t whole = 0;
    CU_ASSERT_EQUAL(document_as_whole(document_at(list, 2), "z[2]", &whole, NULL), 0);
    CU_ASSERT_EQUAL(whole, 3);
    CU_ASSERT_PTR_NULL(document_at(list, 3));
    document_destroy(row);
}

static void test_document_lookups_take_any_kind_and_null(void)
{
    struct document *number = parse("5");
    const struct document *any[] = {number, NULL};
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_PTR_NULL(document_get(any[i], "a"));
        CU_ASSERT_PTR_NULL(document_at(any[i], 0));
        CU_ASSERT_PTR_NULL(document_key_after(any[i], NULL));
        CU_ASSERT_EQUAL(document_count(any[i]), 0);
    }
    document_destroy(number);
}

static void test_document_parse_names_line_and_column(void)
{
    const char *text = "{\"a\": 1,\n \"b\": x}";
    CU_ASSERT(is_refused(text, strlen(text), "line 2, column 7: "));
}

static void test_document_parse_refuses_what_is_no_json(void)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[1,]",
                                        "{\"a\"}",
                                        "{\"a\": 1} x",
                                        "\"open",
                                        "nan",
                                        "[1e999]",
                                        "[01]",
                                        "'a'",
                                        "[\"\xff\"]",
                                        "[\"\\u0000\"]",
                                        "[\"\\ud800\"]",
                                        "\xef\xbb\xbf{}",
                                        "[99999999999999999999]",
                                        "{\"a\":1,\"a\":2}",
                                        "[\"\\",
                                        "\"\\"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        CU_ASSERT(is_refused(texts[i], strlen(texts[i]), "line "));
    CU_ASSERT(is_refused("[1\0]", 4, "line 1: found a zero byte"));
}

static void test_document_parse_leaves_no_control_character_in_its_sentence(void)
{
    struct document *document;
    struct err_msg why;
    CU_ASSERT_EQUAL(document_parse("\x1b[2J", 4, &document, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(strchr(why.text, '\x1b'));
}

static void test_document_parse_reads_no_byte_past_the_end(void)
{
    char *bytes = malloc(7); /* of its own size, so that the address sanitizer sees one more */
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    memcpy(bytes, "[1, 23]", 7);
    struct document *document = NULL;
    CU_ASSERT_EQUAL(document_parse(bytes, 7, &document, NULL), 0);
    document_destroy(document);
    for (size_t size_bytes = 0; size_bytes < 7; size_bytes++)
        CU_ASSERT_EQUAL(document_parse(bytes, size_bytes, &document, NULL), ERR_INPUT);
    free(bytes);
}

static void test_document_parse_bounds_depth(void)
{
    char text[4 * DOCUMENT_DEPTH_MAX];
    memset(text, '[', DOCUMENT_DEPTH_MAX);
    memset(text + DOCUMENT_DEPTH_MAX, ']', DOCUMENT_DEPTH_MAX);
    struct document *document = NULL;
    CU_ASSERT_EQUAL(document_parse(text, 2 * DOCUMENT_DEPTH_MAX, &document, NULL), 0);
    document_destroy(document);
    memset(text, '[', DOCUMENT_DEPTH_MAX + 1);
    memset(text + DOCUMENT_DEPTH_MAX + 1, ']', DOCUMENT_DEPTH_MAX + 1);
    CU_ASSERT(is_refused(text, 2 * DOCUMENT_DEPTH_MAX + 2,
                         "line 1: found more than 64 levels of nesting"));
    memset(text, '{', sizeof(text));
    CU_ASSERT(is_refused(text, sizeof(text), "levels of nesting"));
}

static void test_document_parse_counts_no_bracket_inside_a_text(void)
{
    char text[3 * DOCUMENT_DEPTH_MAX];
    memset(text, '[', sizeof(text));
    memcpy(text, "\"\\\"", 3);
    text[sizeof(text) - 1] = '"';
    struct document *document = NULL;
    CU_ASSERT_EQUAL(document_parse(text, sizeof(text), &document, NULL), 0);
    document_destroy(document);
}

static void test_document_parse_bounds_values_and_bytes(void)
{
    size_t size_bytes = DOCUMENT_BYTES_MAX + 1;
    char *text = malloc(size_bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, ' ', size_bytes);
    CU_ASSERT(is_refused(text, size_bytes, "expected at most 33554432"));
    text[0] = '[';
    for (size_t i = 1; i < 2 * DOCUMENT_VALUES_MAX; i += 2)
        memcpy(text + i, "1,", 2);
    CU_ASSERT(is_refused(text, size_bytes - 1, "found more than 1048576 values"));
    free(text);
}

static void test_document_save_and_load(void)
{
    char folder[] = "/tmp/talweg-test-document-XXXXXX", path[64];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/summary.json", folder);
    struct err_msg why = {0};
    struct document *row = parse("{\"digest\": \"00ff\", \"loss\": 0.25}"), *again = NULL;
    CU_ASSERT_EQUAL(document_save(row, path, &why), 0);
    CU_ASSERT_EQUAL(document_load(path, &again, &why), 0);
    document_destroy(row);
    CU_ASSERT(prints(again, 0, "{\"digest\": \"00ff\", \"loss\": 0.25}"));
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs("{\n\"a\" 1}", file);
    fclose(file);
    CU_ASSERT_EQUAL(document_load(path, &again, &why), ERR_INPUT);
    CU_ASSERT_EQUAL(strncmp(why.text, path, strlen(path)), 0);
    CU_ASSERT(strstr(why.text, "summary.json: line 2, column ") != NULL);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(document_load(path, &again, &why), ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(rmdir(folder), 0); /* and so nothing else was left in it */
}

static void test_document_shows_what_it_prints(void)
{
    struct document *document = document_object();
    char shown[64] = "";
    FILE *stream = fmemopen(shown, sizeof(shown), "w");
    CU_ASSERT_FATAL(stream != NULL && document_put(document, "a", document_whole(1)) == 0);
    char *text = document_print(document, true);
    CU_ASSERT_EQUAL(document_show(document, stream), 0);
    CU_ASSERT_EQUAL(document_show(NULL, stream), ERR_NOMEM);
    fclose(stream);
    CU_ASSERT_STRING_EQUAL(shown, text);
    free(text);
    document_destroy(document);
}

#define TESTS(X) \
    X(test_document_prints_what_was_built) \
    X(test_document_prints_pretty) \
    X(test_document_put_replaces_a_key) \
    X(test_document_put_says_when_there_was_no_memory_for_a_value) \
    X(test_document_text_repairs_what_is_not_utf8) \
    X(test_document_real_reads_back_to_the_same_bits) \
    X(test_document_real_that_is_not_finite_is_null_and_reads_as_nan) \
    X(test_document_get_finds_each_kind) \
    X(test_document_get_says_what_it_found_and_expected) \
    X(test_document_walks_keys_and_elements_in_order) \
    X(test_document_lookups_take_any_kind_and_null) \
    X(test_document_parse_names_line_and_column) \
    X(test_document_parse_refuses_what_is_no_json) \
    X(test_document_parse_leaves_no_control_character_in_its_sentence) \
    X(test_document_parse_reads_no_byte_past_the_end) \
    X(test_document_parse_bounds_depth) \
    X(test_document_parse_counts_no_bracket_inside_a_text) \
    X(test_document_parse_bounds_values_and_bytes) \
    X(test_document_save_and_load) \
    X(test_document_shows_what_it_prints)

UNIT_MAIN("document", TESTS)
