#include "ps/logbook.h"

#include <stdio.h>
#include "common/log.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_logbook_has_nothing_at_first) \
    X(test_logbook_gives_an_unfinished_run_back) \
    X(test_logbook_of_a_finished_run_is_nothing_to_go_on_with) \
    X(test_logbook_knows_the_last_checkpoint_that_was_written) \
    X(test_logbook_begins_anew) \
    X(test_logbook_begins_anew_over_what_cannot_be_read) \
    X(test_logbook_gives_the_code_of_who_is_shown_the_records) \
    X(test_logbook_replaces_all_when_it_is_long)

enum { SEEN_MAX = 16 };

static const struct run_id some_run = {0x1234, 0x5678};

struct seen {
    enum message_kind kinds[SEEN_MAX];
    uint32_t views[SEEN_MAX];
    size_t count;
    int code; /* to give back */
};

static int visit(void *context, const struct message *record, struct err_msg *why)
{
    struct seen *seen = context;
    CU_ASSERT_FATAL(seen->count < SEEN_MAX);
    CU_ASSERT(run_equal(record->run, some_run));
    seen->views[seen->count] = record->view;
    seen->kinds[seen->count++] = record->kind;
    return seen->code == 0 ? 0 : err_set(why, seen->code, "not this job");
}

static struct logbook *open_in(const char *dir, bool is_fresh)
{
    struct logbook *logbook = NULL;
    struct err_msg why = {""};
    int err = logbook_open(dir, is_fresh, &logbook, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(err == 0);
    return logbook;
}

static struct message record_of(enum message_kind kind)
{
    return (struct message){.kind = kind, .run = some_run, .sender = 7, .view = 3, .era = 1};
}

static void keep(struct logbook *logbook, enum message_kind kind)
{
    struct message record = record_of(kind);
    CU_ASSERT(logbook_keep(logbook, &record, NULL) == 0);
}

static void keep_checkpoint(struct logbook *logbook, int code, uint64_t step, const char *text)
{
    struct message record = record_of(MSG_CHECKPOINT_DONE);
    record.outcome.code = code;
    record.outcome.step = step;
    snprintf(record.outcome.text, sizeof(record.outcome.text), "%s", text);
    CU_ASSERT(logbook_keep(logbook, &record, NULL) == 0);
}

static void test_logbook_has_nothing_at_first(void)
{
    char dir[PATH_MAX];
    struct seen seen = {.count = 0};
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false), *other = NULL;
    CU_ASSERT(!logbook_is_unfinished(logbook) && !run_is_known(logbook_run(logbook)));
    CU_ASSERT_STRING_EQUAL(logbook_checkpoint(logbook), "");
    CU_ASSERT_STRING_EQUAL(logbook_endpoint(logbook), "");
    CU_ASSERT(logbook_recall(logbook, visit, &seen, NULL) == 0 && seen.count == 0);
    CU_ASSERT(logbook_open(dir, true, &other, NULL) == ERR_REFUSED);
    logbook_close(logbook);
    CU_ASSERT(logbook_open(scratch_path(dir, "none"), false, &other, NULL) == ERR_IO);
    scratch_remove(dir);
}

static void test_logbook_gives_an_unfinished_run_back(void)
{
    static const enum message_kind kinds[] = {MSG_WELCOME, MSG_CHECKPOINT_DONE, MSG_WELCOME};
    char dir[PATH_MAX];
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    CU_ASSERT(logbook_keep_endpoint(logbook, "tcp://127.0.0.1:4711", NULL) == 0);
    keep(logbook, MSG_WELCOME);
    keep_checkpoint(logbook, 0, 10, "out/checkpoint-10");
    logbook_close(logbook);
    for (size_t life = 0; life < 2; life++) {
        struct seen seen = {.count = 0};
        logbook = open_in(dir, false);
        CU_ASSERT(logbook_is_unfinished(logbook) && run_equal(logbook_run(logbook), some_run));
        CU_ASSERT_STRING_EQUAL(logbook_checkpoint(logbook), "out/checkpoint-10");
        CU_ASSERT_STRING_EQUAL(logbook_endpoint(logbook), "tcp://127.0.0.1:4711");
        CU_ASSERT(logbook_recall(logbook, visit, &seen, NULL) == 0 && seen.count == 2 + life);
        for (size_t i = 0; i < seen.count; i++)
            CU_ASSERT(seen.kinds[i] == kinds[i] && seen.views[i] == 3);
        keep(logbook, MSG_WELCOME);
        logbook_close(logbook);
    }
    scratch_remove(dir);
}

static void test_logbook_of_a_finished_run_is_nothing_to_go_on_with(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    CU_ASSERT(logbook_keep_endpoint(logbook, "tcp://127.0.0.1:4711", NULL) == 0);
    keep(logbook, MSG_WELCOME);
    keep(logbook, MSG_FINISH);
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT(!logbook_is_unfinished(logbook));
    CU_ASSERT_PTR_NOT_NULL(logbook_end(logbook)); /* but its members may still ask */
    CU_ASSERT_STRING_EQUAL(logbook_endpoint(logbook), "tcp://127.0.0.1:4711");
    CU_ASSERT(logbook_begin(logbook, NULL) == 0);
    keep(logbook, MSG_WELCOME);
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT(logbook_is_unfinished(logbook));
    logbook_close(logbook);
    scratch_remove(dir);
}

static void test_logbook_knows_the_last_checkpoint_that_was_written(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    keep_checkpoint(logbook, 0, 10, "out/checkpoint-10");
    keep_checkpoint(logbook, 0, 20, "out/checkpoint-20");
    keep_checkpoint(logbook, ERR_IO, 30, "no room");
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT_STRING_EQUAL(logbook_checkpoint(logbook), "out/checkpoint-20");
    logbook_close(logbook);
    scratch_remove(dir);
}

static void test_logbook_begins_anew(void)
{
    char dir[PATH_MAX];
    struct seen seen = {.count = 0};
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    keep(logbook, MSG_WELCOME);
    logbook_close(logbook);
    logbook = open_in(dir, true);
    CU_ASSERT(!logbook_is_unfinished(logbook));
    CU_ASSERT(logbook_recall(logbook, visit, &seen, NULL) == 0 && seen.count == 0);
    logbook_close(logbook); /* it did not come to a new run: the old one is still there */
    logbook = open_in(dir, false);
    CU_ASSERT(logbook_is_unfinished(logbook));
    CU_ASSERT(logbook_begin(logbook, NULL) == 0);
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT(!logbook_is_unfinished(logbook));
    logbook_close(logbook);
    scratch_remove(dir);
}

static void test_logbook_begins_anew_over_what_cannot_be_read(void)
{
    char dir[PATH_MAX];
    struct err_msg why = {""};
    struct logbook *logbook = open_in((scratch_make(dir), dir), false);
    keep(logbook, MSG_WELCOME);
    keep(logbook, MSG_WELCOME);
    logbook_close(logbook);
    scratch_flip(scratch_path(dir, "journal/records"), 60);
    CU_ASSERT(logbook_open(dir, false, &logbook, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "journal/records: the record at byte 16") != NULL);
    logbook = open_in(dir, true);
    keep(logbook, MSG_WELCOME);
    logbook_close(logbook);
    /* A whole record that is no message. */
    struct journal *journal;
    const struct journal_record other = {"other", 5};
    CU_ASSERT_FATAL(journal_open(scratch_path(dir, "journal"), NULL, NULL, &journal, NULL) == 0);
    CU_ASSERT(journal_append(journal, other, NULL) == 0);
    journal_close(journal);
    CU_ASSERT(logbook_open(dir, false, &logbook, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "record 2 is of another version") != NULL);
    logbook_close(open_in(dir, true));
    scratch_remove(dir);
}

static void test_logbook_gives_the_code_of_who_is_shown_the_records(void)
{
    char dir[PATH_MAX];
    struct err_msg why = {""};
    struct seen seen = {.code = ERR_REFUSED};
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    keep(logbook, MSG_WELCOME);
    keep(logbook, MSG_WELCOME);
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT(logbook_recall(logbook, visit, &seen, &why) == ERR_REFUSED && seen.count == 1);
    CU_ASSERT_STRING_EQUAL(why.text, "not this job");
    logbook_close(logbook);
    scratch_remove(dir);
}

static void test_logbook_replaces_all_when_it_is_long(void)
{
    char dir[PATH_MAX];
    struct seen seen = {.count = 0};
    struct outbox records = {0};
    struct message record = record_of(MSG_WELCOME);
    scratch_make(dir);
    struct logbook *logbook = open_in(dir, false);
    keep(logbook, MSG_WELCOME);
    CU_ASSERT(!logbook_is_long(logbook));
    logbook_close(logbook);
    /* As long as many views make it. */
    struct journal *journal;
    const struct journal_record huge = {calloc(1, 17 << 20), 17 << 20};
    CU_ASSERT_FATAL(huge.bytes != NULL);
    CU_ASSERT_FATAL(journal_open(scratch_path(dir, "journal"), NULL, NULL, &journal, NULL) == 0);
    CU_ASSERT(journal_append(journal, huge, NULL) == 0);
    journal_close(journal);
    free((void *)huge.bytes);
    logbook = open_in(dir, true);
    CU_ASSERT(logbook_is_long(logbook));
    outbox_put(&records, (struct address){PARTY_JOURNAL, 0}, &record);
    record.kind = MSG_FINISH;
    outbox_put(&records, (struct address){PARTY_JOURNAL, 0}, &record);
    CU_ASSERT(logbook_replace(logbook, &records, NULL) == 0 && !logbook_is_long(logbook));
    outbox_free(&records);
    logbook_close(logbook);
    logbook = open_in(dir, false);
    CU_ASSERT(logbook_recall(logbook, visit, &seen, NULL) == 0 && seen.count == 2);
    CU_ASSERT(seen.kinds[0] == MSG_WELCOME && seen.kinds[1] == MSG_FINISH);
    logbook_close(logbook);
    scratch_remove(dir);
}

UNIT_MAIN("logbook", TESTS)
