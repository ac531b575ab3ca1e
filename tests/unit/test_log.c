#include "common/log.h"

#include <regex.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/unit.h"

/* A pipe takes the lines, so a test reads what one write gave. */
static int ends[2];

static void open_log(enum log_level level, int rank)
{
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    log_open(ends[1], level, "ps", rank);
}

/* All that was logged since open_log; closes the pipe. */
static const char *logged(void)
{
    static char text[1 << 15];
    log_open(-1, LOG_DEBUG, "", -1);
    close(ends[1]);
    size_t size_bytes = 0;
    for (ssize_t got; (got = read(ends[0], text + size_bytes, sizeof(text) - 1 - size_bytes)) > 0;)
        size_bytes += (size_t)got;
    text[size_bytes] = '\0';
    close(ends[0]);
    return text;
}

static int matches(const char *text, const char *pattern)
{
    regex_t regex;
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int is_match = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return is_match;
}

#define TIME "ts=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z"

static void test_log_event_writes_one_logfmt_line(void)
{
    open_log(LOG_INFO, 1);
    log_event(LOG_WARN, "push_stale", "shard=%d step=%d", 1, 40);
    CU_ASSERT(
        matches(logged(), "^" TIME " level=warn role=ps rank=1 ev=push_stale shard=1 step=40\n$"));
}

static void test_log_event_leaves_out_no_rank_and_no_values(void)
{
    open_log(LOG_INFO, -1);
    log_event(LOG_INFO, "started", NULL);
    CU_ASSERT(matches(logged(), "^" TIME " level=info role=ps ev=started\n$"));
}

static void test_log_event_drops_what_is_below_the_level(void)
{
    open_log(LOG_WARN, 0);
    log_event(LOG_DEBUG, "a", NULL);
    log_event(LOG_INFO, "b", NULL);
    log_event(LOG_WARN, "c", NULL);
    log_event(LOG_ERROR, "d", NULL);
    const char *text = logged();
    CU_ASSERT(strstr(text, "ev=a") == NULL && strstr(text, "ev=b") == NULL);
    CU_ASSERT(strstr(text, "ev=c") != NULL && strstr(text, "ev=d") != NULL);
}

static void test_log_event_stays_one_line_when_a_value_has_control_characters(void)
{
    open_log(LOG_INFO, 0);
    log_event(LOG_INFO, "said", "text=%s", "a\nts=0 ev=forged\x1b[2J");
    const char *text = logged();
    CU_ASSERT_PTR_EQUAL(strchr(text, '\n'), text + strlen(text) - 1);
    CU_ASSERT_PTR_NULL(strchr(text, '\x1b'));
}

static void test_log_event_cuts_a_line_that_is_too_long(void)
{
    open_log(LOG_INFO, 0);
    log_event(LOG_INFO, "long", "value=%06000d", 7);
    log_event(LOG_INFO, "next", NULL);
    const char *text = logged();
    CU_ASSERT_EQUAL(strchr(text, '\n') - text, LOG_LINE_BYTES - 1);
    CU_ASSERT(strstr(text, "\nts=") != NULL);
}

static void test_log_event_keeps_a_line_whole_when_the_event_fills_it(void)
{
    static char name[2 * LOG_LINE_BYTES];
    memset(name, 'e', sizeof(name) - 1);
    open_log(LOG_INFO, 0);
    log_event(LOG_INFO, name, "a=%d", 1);
    CU_ASSERT_EQUAL(strlen(logged()), LOG_LINE_BYTES);
}

static void test_log_event_is_silent_until_log_open(void)
{
    log_open(-1, LOG_DEBUG, "", -1);
    log_event(LOG_ERROR, "lost", NULL);
}

static void test_log_quote_leaves_a_plain_value_alone(void)
{
    char text[64];
    CU_ASSERT_STRING_EQUAL(log_quote(text, sizeof(text), "/tmp/job.cfg"), "/tmp/job.cfg");
}

static void test_log_quote_quotes_and_escapes(void)
{
    char text[64];
    CU_ASSERT_STRING_EQUAL(log_quote(text, sizeof(text), ""), "\"\"");
    CU_ASSERT_STRING_EQUAL(log_quote(text, sizeof(text), "a b"), "\"a b\"");
    CU_ASSERT_STRING_EQUAL(log_quote(text, sizeof(text), "a=b"), "\"a=b\"");
    CU_ASSERT_STRING_EQUAL(log_quote(text, sizeof(text), "say \"x\"\n\\"),
                           "\"say \\\"x\\\"\\n\\\\\"");
}

static void test_log_quote_cuts_and_still_closes_at_every_size(void)
{
    for (size_t size_bytes = 3; size_bytes < 16; size_bytes++) {
        char text[16];
        memset(text, '#', sizeof(text));
        log_quote(text, size_bytes, "ab \"\"\"\"\"\"\"\"");
        size_t length = strlen(text);
        CU_ASSERT(length < size_bytes && length >= 2);
        CU_ASSERT(text[0] == '"' && text[length - 1] == '"');
        size_t backslashes = 0;
        while (text[length - 2 - backslashes] == '\\')
            backslashes++;
        CU_ASSERT_EQUAL(backslashes % 2, 0);
        for (size_t i = size_bytes; i < sizeof(text); i++)
            CU_ASSERT_EQUAL(text[i], '#');
    }
}

#define TESTS(X) \
    X(test_log_event_writes_one_logfmt_line) \
    X(test_log_event_leaves_out_no_rank_and_no_values) \
    X(test_log_event_drops_what_is_below_the_level) \
    X(test_log_event_stays_one_line_when_a_value_has_control_characters) \
    X(test_log_event_cuts_a_line_that_is_too_long) \
    X(test_log_event_keeps_a_line_whole_when_the_event_fills_it) \
    X(test_log_event_is_silent_until_log_open) \
    X(test_log_quote_leaves_a_plain_value_alone) \
    X(test_log_quote_quotes_and_escapes) \
    X(test_log_quote_cuts_and_still_closes_at_every_size)

UNIT_MAIN("log", TESTS)
