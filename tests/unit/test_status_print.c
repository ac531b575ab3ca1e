#include "deploy/status_print.h"

#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

static const char answer[] =
    "{\"phase\": \"training\", \"step\": 3, \"steps\": 10, \"job\": \"digits\","
    " \"trouble\": \"\\u001b]0;x\\u0007\\u009b31m\\nworker 1 lags\","
    " \"workers\": [{\"rank\": 1, \"host\": \"a\\u001b[2Jb\", \"pid\": 7, \"state\": \"here\"}]}";

/* The caller's to free. */
static char *print(const char *json)
{
    struct document *status = NULL;
    struct err_msg why;
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    CU_ASSERT_FATAL(memory != NULL && document_parse(json, strlen(json), &status, &why) == 0);
    CU_ASSERT_EQUAL(status_print(status, memory), 0);
    fclose(memory);
    document_destroy(status);
    return text;
}

static void test_status_print_says_how_far_it_is_and_who_works(void)
{
    char *text = print(answer);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "digits: training  step 3/10"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "worker 1 lags"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "worker  host"));
    free(text);
}

static void test_status_print_blanks_what_could_steer_a_terminal(void)
{
    char *text = print(answer);
    for (const char *c = text; *c != 0; c++)
        CU_ASSERT(((unsigned char)*c >= 0x20 || *c == '\n') && *c != 0x7f);
    CU_ASSERT_PTR_NULL(strstr(text, "\xc2\x9b"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "?]0;x???31m\nworker 1 lags"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "a?[2Jb"));
    free(text);
}

#define TESTS(X)                                                  \
    X(test_status_print_says_how_far_it_is_and_who_works)         \
    X(test_status_print_blanks_what_could_steer_a_terminal)

UNIT_MAIN("status_print", TESTS)
