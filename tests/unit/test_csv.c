#include "worker/data/csv.h"

#include <math.h>
#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"
#include "worker/data/table.h"

/* All cells of a text as "a|b/c|d/", or the error's sentence. */
static const char *cells_of(const char *text, char delimiter)
{
    static char out[4096];
    struct csv *csv = NULL;
    struct err_msg why = {0};
    size_t used = 0;
    out[0] = 0;
    if (csv_open(temp_text("cells.csv", text), delimiter, &csv, &why) < 0)
        return "cannot open";
    int rc = 0;
    while ((rc = csv_next(csv, &why)) > 0) {
        for (size_t i = 0; i < csv_cell_count(csv); i++)
            used += (size_t)snprintf(out + used, sizeof(out) - used, "%s%s", i ? "|" : "",
                                     csv_cell(csv, i));
        used += (size_t)snprintf(out + used, sizeof(out) - used, "/");
    }
    if (rc < 0)
        snprintf(out, sizeof(out), "%s", why.text);
    csv_close(csv);
    return out;
}

static void test_csv_splits_records_into_cells(void)
{
    CU_ASSERT_STRING_EQUAL(cells_of("a,b\nc,d\n", ','), "a|b/c|d/");
    CU_ASSERT_STRING_EQUAL(cells_of("a,b\r\n\r\n  \nc,d", ','), "a|b/c|d/");
    CU_ASSERT_STRING_EQUAL(cells_of("\xef\xbb\xbf"
                                    "a, b c ,\n",
                                    ','),
                           "a|b c|/");
    CU_ASSERT_STRING_EQUAL(cells_of("\"a,\"\"b\"\"\n\", \" c \" ,d\"e\n", ','),
                           "a,\"b\"\n| c |d\"e/");
    CU_ASSERT_STRING_EQUAL(cells_of("a\t\tb\t\n", '\t'), "a||b|/");
    CU_ASSERT_STRING_EQUAL(cells_of("", ','), "");
}

static void test_csv_refuses_with_file_and_line(void)
{
    CU_ASSERT_PTR_NOT_NULL(strstr(cells_of("a\nb,\"c\nd", ','), "cells.csv:2: this quote"));
    CU_ASSERT_PTR_NOT_NULL(strstr(cells_of("a\n\"b\"c\n", ','), "cells.csv:2: text after"));
    struct csv *csv = NULL;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(csv_open(temp_write("zero.csv", "a\0b", 3), ',', &csv, &why), 0);
    CU_ASSERT_EQUAL(csv_next(csv, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "zero byte"));
    csv_close(csv);
}

static void test_csv_number_gives_the_bits_of_strtod(void)
{
    static const char *const good[] = {"0",
                                       "-1",
                                       "3.25",
                                       "0.1",
                                       "123456.789012345",
                                       "1e-30",
                                       "-7.25E+3",
                                       "+5",
                                       ".5",
                                       "5.",
                                       "999999999999999",
                                       "0.000000000000001",
                                       "3.141592653589793238462643",
                                       "741870608666.52760",
                                       "136671333675.10755",
                                       "43591.010316006538"};
    static const char *const bad[] = {"",    "nan", "inf", "-",    ".",  "1,5", "0x10",
                                      "1 2", "abc", "--1", "1e99", "1e", "+"};
    double number = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CU_ASSERT(csv_number(good[i], &number));
        CU_ASSERT_EQUAL(number, strtod(good[i], NULL));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CU_ASSERT_FALSE(csv_number(bad[i], &number));
}

static const char *const colour[] = {"colour"};
static const struct table_options colour_options = {.delimiter = ',',
                                                    .has_header = true,
                                                    .label_column = "",
                                                    .categorical = colour,
                                                    .categorical_count = 1};

static int encode(const struct table *table, const char *path, float *inputs, float *labels,
                  struct err_msg *why)
{
    struct rows_place place = {"", 1 << 20};
    struct rows *input_rows = NULL, *label_rows = NULL;
    *why = (struct err_msg){0};
    int rc = table_encode(table, path, &place, &input_rows, &label_rows, why);
    if (rc < 0)
        return rc;
    uint64_t count = rows_form(input_rows)->count;
    size_t width = rows_elements(rows_form(input_rows));
    rc = rows_read(input_rows, (struct rows_span){0, 0, (size_t)count * width}, inputs, why);
    if (rc == 0)
        rc = rows_read(label_rows, (struct rows_span){0, 0, (size_t)count}, labels, why);
    rows_close(input_rows);
    rows_close(label_rows);
    return rc;
}

static void test_table_numbers_categories_and_classes_by_the_training_file(void)
{
    /* sorted: "?", "blue", "red" */
    static const float inputs[] = {0, 0, 1, 10, 1, 0, 0, 20, 0, 1, 0, 30, 0, 0, 1, 40};
    struct table *table = NULL;
    struct err_msg why = {0};
    float found[16] = {0}, labels[4] = {0};
    const char *train = temp_text("train.csv", "colour,size,kind\nred,10,dog\n?,20,cat\n"
                                               "blue,30,\"dog\"\nred,40,bird\n");
    CU_ASSERT_EQUAL_FATAL(table_learn(train, &colour_options, &table, &why), 0);
    CU_ASSERT_EQUAL(encode(table, train, found, labels, &why), 0);
    CU_ASSERT_EQUAL(memcmp(found, inputs, sizeof(inputs)), 0);
    CU_ASSERT(labels[0] == 2 && labels[1] == 1 && labels[2] == 2 && labels[3] == 0);
    const char *test = temp_text("test.csv", "colour,size,kind\ngreen,7,cat.\n");
    CU_ASSERT_EQUAL(encode(table, test, found, labels, &why), 0);
    CU_ASSERT(found[0] == 0 && found[1] == 0 && found[2] == 0 && found[3] == 7 && labels[0] == 1);
    test = temp_text("test.csv", "colour,size,kind\nred,7,wolf\n");
    CU_ASSERT_EQUAL(encode(table, test, found, labels, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(why.text, "test.csv:2: column \"kind\": found the class \"wolf\""));
    table_destroy(table);
}

static void refuse(const char *text, const struct table_options *options, const char *sentence)
{
    struct table *table = NULL;
    struct err_msg why = {0};
    float inputs[64], labels[64];
    const char *path = temp_text("bad.csv", text);
    int rc = table_learn(path, options, &table, &why);
    if (rc == 0)
        rc = encode(table, path, inputs, labels, &why);
    table_destroy(table);
    CU_ASSERT_EQUAL(rc, ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
}

static void test_table_refuses_with_file_line_and_column(void)
{
    struct table_options named = {.delimiter = ',', .has_header = true, .label_column = "labell"};
    struct table_options last = named, headless = named;
    last.label_column = "";
    headless.has_header = false;
    headless.label_column = "7";
    refuse("a,b,label\n1,2,0\n", &named, "has no label column \"labell\"; did you mean \"label\"?");
    refuse("1,2,0\n", &headless, "a number from 0 to 2");
    refuse("a,b,y\n1,2,0\n1,,1\n", &last, "bad.csv:3: column \"b\": found an empty cell");
    refuse("a,b,y\n1,nan,0\n", &last, "bad.csv:2: column \"b\": found \"nan\"");
    refuse("a,b,y\n1,x,0\n", &last, "data.categorical");
    refuse("a,b,y\n1,2,nan\n", &last, "bad.csv:2: column \"y\": found \"nan\"");
    refuse("a,b,y\n1,2,0\n1,2,dog\n", &last, "found \"dog\", expected a label that is a number");
    refuse("a,b,y\n1,2,0\n1,2\n", &last, "bad.csv:3: found 2 cells, expected 3");
    refuse("a,b,y\n", &last, "a header and no samples");
    refuse("", &last, "is empty");
    refuse("a\n1\n", &last, "one column");
    refuse("a,b,y\n1,2,0\n", &colour_options, "no categorical column \"colour\"");
}

#define TESTS(X) \
    X(test_csv_splits_records_into_cells) \
    X(test_csv_refuses_with_file_and_line) \
    X(test_csv_number_gives_the_bits_of_strtod) \
    X(test_table_numbers_categories_and_classes_by_the_training_file) \
    X(test_table_refuses_with_file_line_and_column)

UNIT_MAIN("csv", TESTS)
