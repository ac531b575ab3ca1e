#include "common/journal.h"

#include <signal.h>
#include <sys/wait.h>
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_journal_gives_records_back_in_order) \
    X(test_journal_cuts_a_record_that_is_torn_anywhere) \
    X(test_journal_refuses_a_flipped_byte_that_records_follow) \
    X(test_journal_cuts_a_last_record_with_a_flipped_byte) \
    X(test_journal_refuses_another_file) \
    X(test_journal_rewrite_replaces_all) \
    X(test_journal_rewrite_is_all_or_nothing_when_killed) \
    X(test_journal_is_open_once) \
    X(test_journal_append_is_all_or_nothing_on_a_full_disk) \
    X(test_journal_says_what_it_cannot_take) \
    X(test_journal_ends_the_opening_with_the_visitors_code)

enum { SEEN_MAX = 64, HEAD_BYTES = 40, MAGIC_BYTES = 16 };

/* What an opening shows, as texts. */
struct seen {
    char texts[SEEN_MAX][64];
    size_t count;
    int code; /* to return at every record */
};

static int visit(void *context, const void *bytes, size_t size_bytes, struct err_msg *why)
{
    struct seen *seen = context;
    CU_ASSERT_FATAL(seen->count < SEEN_MAX && size_bytes < sizeof(seen->texts[0]));
    memcpy(seen->texts[seen->count], bytes, size_bytes);
    seen->texts[seen->count++][size_bytes] = 0;
    return seen->code == 0 ? 0 : err_set(why, seen->code, "no thanks");
}

static struct journal *open_at(const char *dir, struct seen *seen)
{
    struct journal *journal = NULL;
    struct err_msg why = {""};
    *seen = (struct seen){0};
    int err = journal_open(dir, visit, seen, &journal, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(err == 0);
    return journal;
}

static struct journal_record record_of(const char *text)
{
    return (struct journal_record){text, strlen(text)};
}

static void append(struct journal *journal, const char *text)
{
    CU_ASSERT(journal_append(journal, record_of(text), NULL) == 0);
}

/* A journal of three records, closed. */
static void write_three(const char *dir)
{
    struct seen seen;
    struct journal *journal = open_at(dir, &seen);
    append(journal, "first");
    append(journal, "second one");
    append(journal, "3");
    journal_close(journal);
}

static void expect(const struct seen *seen, size_t count)
{
    static const char *const texts[] = {"first", "second one", "3", "more"};
    CU_ASSERT(seen->count == count);
    for (size_t i = 0; i < seen->count && i < ARRAY_LEN(texts); i++)
        CU_ASSERT_STRING_EQUAL(seen->texts[i], texts[i]);
}

static void test_journal_gives_records_back_in_order(void)
{
    char dir[PATH_MAX];
    struct seen seen;
    scratch_make(dir);
    write_three(scratch_path(dir, "j"));
    struct journal *journal = open_at(scratch_path(dir, "j"), &seen);
    expect(&seen, 3);
    CU_ASSERT(journal_bytes(journal) == MAGIC_BYTES + 3 * HEAD_BYTES + 5 + 10 + 1);
    append(journal, "more");
    journal_close(journal);
    journal_close(open_at(scratch_path(dir, "j"), &seen));
    expect(&seen, 4);
    scratch_remove(dir);
}

static void test_journal_cuts_a_record_that_is_torn_anywhere(void)
{
    char dir[PATH_MAX];
    size_t size;
    struct seen seen;
    scratch_make(dir);
    write_three(dir);
    char *bytes = scratch_read(scratch_path(dir, "records"), &size);
    const size_t ends[] = {MAGIC_BYTES, MAGIC_BYTES + HEAD_BYTES + 5,
                           MAGIC_BYTES + 2 * HEAD_BYTES + 15, size};
    for (size_t cut = MAGIC_BYTES; cut <= ends[3]; cut++) {
        size_t whole = 0;
        while (whole < 3 && ends[whole + 1] <= cut)
            whole++;
        scratch_write(scratch_path(dir, "records"), bytes, cut);
        struct journal *journal = open_at(dir, &seen);
        expect(&seen, whole);
        CU_ASSERT(journal_bytes(journal) == ends[whole]);
        free(scratch_read(scratch_path(dir, "records"), &size));
        CU_ASSERT(size == ends[whole]);
        append(journal, "new");
        journal_close(journal);
        journal_close(open_at(dir, &seen));
        CU_ASSERT(seen.count == whole + 1);
        CU_ASSERT_STRING_EQUAL(seen.texts[whole], "new");
    }
    free(bytes);
    scratch_remove(dir);
}

static void test_journal_refuses_a_flipped_byte_that_records_follow(void)
{
    char dir[PATH_MAX];
    struct seen seen;
    scratch_make(dir);
    write_three(dir);
    for (long at = MAGIC_BYTES; at < MAGIC_BYTES + 2 * HEAD_BYTES + 15; at++) {
        struct journal *journal = NULL;
        struct err_msg why = {""};
        char words[64];
        bool is_first = at < MAGIC_BYTES + HEAD_BYTES + 5;
        snprintf(words, sizeof(words), "records: the record at byte %d is not",
                 is_first ? MAGIC_BYTES : MAGIC_BYTES + HEAD_BYTES + 5);
        scratch_flip(scratch_path(dir, "records"), at);
        CU_ASSERT(journal_open(dir, NULL, NULL, &journal, &why) == ERR_INPUT);
        CU_ASSERT(strstr(why.text, words) != NULL);
        scratch_flip(scratch_path(dir, "records"), at);
    }
    journal_close(open_at(dir, &seen));
    expect(&seen, 3);
    scratch_remove(dir);
}

static void test_journal_cuts_a_last_record_with_a_flipped_byte(void)
{
    char dir[PATH_MAX];
    struct seen seen;
    scratch_make(dir);
    for (long at = -HEAD_BYTES - 1; at < 0; at++) {
        write_three(scratch_path(dir, "j"));
        scratch_flip(scratch_path(dir, "j/records"), at);
        journal_close(open_at(scratch_path(dir, "j"), &seen));
        expect(&seen, 2);
        scratch_remove(scratch_path(dir, "j"));
    }
    scratch_remove(dir);
}

static void test_journal_refuses_another_file(void)
{
    char dir[PATH_MAX];
    struct journal *journal = NULL;
    struct err_msg why = {""};
    scratch_make(dir);
    scratch_write(scratch_path(dir, "records"), "", 0);
    CU_ASSERT(journal_open(dir, NULL, NULL, &journal, &why) == ERR_INPUT);
    scratch_write(scratch_path(dir, "records"), "a text that is somebody else's", 30);
    CU_ASSERT(journal_open(dir, NULL, NULL, &journal, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "/records: found another first line") != NULL);
    CU_ASSERT(journal_open(scratch_path(dir, "no/where"), NULL, NULL, &journal, &why) == ERR_IO);
    CU_ASSERT(strstr(why.text, "no/where") != NULL);
    scratch_remove(dir);
}

static void test_journal_rewrite_replaces_all(void)
{
    char dir[PATH_MAX];
    struct seen seen;
    scratch_make(dir);
    write_three(dir);
    scratch_write(scratch_path(dir, "records.tmp-77"), "half", 4); /* a killed one's */
    struct journal *journal = open_at(dir, &seen);
    CU_ASSERT(!scratch_has(dir, "records.tmp-77"));
    const struct journal_record records[] = {record_of("first"), record_of("second one")};
    CU_ASSERT(journal_rewrite(journal, records, 2, NULL) == 0);
    CU_ASSERT(journal_bytes(journal) == MAGIC_BYTES + 2 * HEAD_BYTES + 15);
    append(journal, "3");
    journal_close(journal);
    journal = open_at(dir, &seen);
    expect(&seen, 3);
    CU_ASSERT(journal_rewrite(journal, NULL, 0, NULL) == 0);
    journal_close(journal);
    journal_close(open_at(dir, &seen));
    expect(&seen, 0);
    scratch_remove(dir);
}

/* Rewrites for ever, two records and three in turn, a byte into the pipe after each. */
static void rewrite_until_killed(const char *dir, int fd)
{
    struct journal *journal;
    const struct journal_record records[] = {record_of("first"), record_of("second one"),
                                             record_of("3")};
    if (journal_open(dir, NULL, NULL, &journal, NULL) != 0)
        _exit(1);
    for (size_t i = 0;; i++)
        if (journal_rewrite(journal, records, 2 + i % 2, NULL) != 0 || write(fd, "", 1) != 1)
            _exit(1);
}

static void test_journal_rewrite_is_all_or_nothing_when_killed(void)
{
    char dir[PATH_MAX];
    struct seen seen;
    scratch_make(dir);
    write_three(dir);
    for (int kill_idx = 0; kill_idx < 40; kill_idx++) {
        int ends[2], status;
        char byte;
        CU_ASSERT_FATAL(pipe(ends) == 0);
        pid_t pid = fork();
        CU_ASSERT_FATAL(pid >= 0);
        if (pid == 0)
            rewrite_until_killed(dir, ends[1]);
        close(ends[1]);
        for (int i = 0; i <= kill_idx % 5; i++)
            CU_ASSERT(read(ends[0], &byte, 1) == 1);
        for (volatile int spin = 0; spin < kill_idx * 5000; spin = spin + 1)
            ; /* another place in the next rewrite */
        CU_ASSERT(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
        close(ends[0]);
        journal_close(open_at(dir, &seen));
        expect(&seen, seen.count == 2 ? 2 : 3);
    }
    scratch_remove(dir);
}

static void test_journal_is_open_once(void)
{
    char dir[PATH_MAX], words[64];
    struct journal *other = NULL;
    struct err_msg why = {""};
    struct seen seen;
    scratch_make(dir);
    struct journal *journal = open_at(dir, &seen);
    CU_ASSERT(journal_open(dir, NULL, NULL, &other, &why) == ERR_REFUSED);
    snprintf(words, sizeof(words), "process %d has this journal open", (int)getpid());
    CU_ASSERT(strstr(why.text, words) != NULL);
    journal_close(journal);
    journal_close(open_at(dir, &seen));
    scratch_remove(dir);
}

static void test_journal_append_is_all_or_nothing_on_a_full_disk(void)
{
    char dir[PATH_MAX];
    struct err_msg why = {""};
    struct seen seen;
    scratch_make(dir);
    write_three(dir);
    struct journal *journal = open_at(dir, &seen);
    uint64_t before = journal_bytes(journal);
    for (rlim_t room = 1; room < HEAD_BYTES + 10; room += 7) {
        scratch_limit_files(before + room);
        CU_ASSERT(journal_append(journal, record_of("0123456789"), &why) == ERR_IO);
        const struct journal_record record = {dir, sizeof(dir)};
        CU_ASSERT(journal_rewrite(journal, &record, 1, NULL) == ERR_IO);
        scratch_limit_files(0);
        CU_ASSERT(strstr(why.text, "records: cannot write: File too large") != NULL);
        CU_ASSERT(journal_bytes(journal) == before);
    }
    append(journal, "more");
    journal_close(journal);
    journal_close(open_at(dir, &seen));
    expect(&seen, 4);
    scratch_remove(dir);
}

static void test_journal_says_what_it_cannot_take(void)
{
    char dir[PATH_MAX];
    struct err_msg why = {""};
    struct seen seen;
    scratch_make(dir);
    struct journal *journal = open_at(dir, &seen);
    const struct journal_record empty = {dir, 0};
    const struct journal_record huge = {dir, (size_t)JOURNAL_RECORD_BYTES_MAX + 1};
    CU_ASSERT(journal_append(journal, empty, NULL) == ERR_INPUT);
    CU_ASSERT(journal_append(journal, huge, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "67108865") != NULL);
    CU_ASSERT(journal_rewrite(journal, &huge, 1, NULL) == ERR_INPUT);
    journal_close(journal);
    scratch_remove(dir);
}

static void test_journal_ends_the_opening_with_the_visitors_code(void)
{
    char dir[PATH_MAX];
    struct journal *journal = NULL;
    struct err_msg why = {""};
    struct seen seen = {.code = ERR_PROTO};
    scratch_make(dir);
    write_three(dir);
    CU_ASSERT(journal_open(dir, visit, &seen, &journal, &why) == ERR_PROTO && seen.count == 1);
    CU_ASSERT_STRING_EQUAL(why.text, "no thanks");
    journal_close(open_at(dir, &seen)); /* it holds no lock */
    scratch_remove(dir);
}

UNIT_MAIN("journal", TESTS)
