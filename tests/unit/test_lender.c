#include "common/borrower.h"
#include "common/lender.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { LENDER = 11, BORROWER = 22, BYTES = 4096 };

/* A lender and a borrower that have met. */
struct pair {
    char folder[PATH_MAX];
    struct lender *lender;
    struct borrower *borrower;
};

static void meet(struct pair *pair)
{
    struct lender_at at = {LENDER, lender_door(pair->lender)};
    borrower_meet(pair->borrower, &at, 1);
    lender_tend(pair->lender); /* lets it in */
    lender_tend(pair->lender); /* hears who it is */
}

static void open_pair(struct pair *pair)
{
    struct err_msg why = {0};
    *pair = (struct pair){0};
    scratch_make(pair->folder);
    CU_ASSERT_EQUAL_FATAL(lender_create(pair->folder, LENDER, &pair->lender, &why), 0);
    CU_ASSERT_EQUAL_FATAL(borrower_create(BORROWER, &pair->borrower), 0);
    meet(pair);
}

static void close_pair(struct pair *pair)
{
    lender_destroy(pair->lender);
    borrower_destroy(pair->borrower);
    nftw(pair->folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct buffer *make(struct pair *pair, int byte)
{
    struct buffer *buffer = buffer_pool_take(lender_pool(pair->lender), BYTES);
    CU_ASSERT_PTR_NOT_NULL_FATAL(buffer);
    memset(buffer->data, byte, BYTES);
    return buffer;
}

static unsigned refs(const struct buffer *buffer)
{
    return atomic_load(&buffer->ref_count);
}

static void test_lender_lets_the_bytes_be_read_where_they_lie(void)
{
    struct pair pair;
    struct loan loan;
    struct buffer *read = NULL;
    open_pair(&pair);
    struct buffer *lent = make(&pair, 7);
    CU_ASSERT(lender_reaches(pair.lender, BORROWER));
    CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
    CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &loan, &read), 0);
    CU_ASSERT(read->is_read_only && read->size_bytes == BYTES && read->data != lent->data);
    CU_ASSERT_EQUAL(memcmp(read->data, lent->data, BYTES), 0);
    ((unsigned char *)lent->data)[5] = 9;
    CU_ASSERT_EQUAL(((unsigned char *)read->data)[5], 9);
    lender_tend(pair.lender);
    CU_ASSERT_EQUAL(refs(lent), 2);
    buffer_unref(read);
    lender_tend(pair.lender);
    CU_ASSERT_EQUAL(refs(lent), 1);
    buffer_unref(lent);
    close_pair(&pair);
}

static void test_lender_takes_loans_back_in_any_order(void)
{
    struct pair pair;
    struct loan loan;
    struct buffer *lent[9], *read[9];
    open_pair(&pair);
    for (int i = 0; i < 9; i++) {
        lent[i] = make(&pair, i);
        CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent[i], &loan), 0);
        CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &loan, &read[i]), 0);
    }
    for (int i = 0; i < 9; i++) {
        int idx = i * 5 % 9;
        buffer_unref(read[idx]);
        lender_take_back(pair.lender);
        for (int j = 0; j < 9; j++)
            CU_ASSERT_EQUAL(refs(lent[j * 5 % 9]), j <= i ? 1u : 2u);
    }
    for (int i = 0; i < 9; i++)
        buffer_unref(lent[i]);
    close_pair(&pair);
}

static void test_lender_lends_no_more_than_fits_the_table(void)
{
    struct pair pair;
    struct loan loan;
    open_pair(&pair);
    struct buffer *lent = make(&pair, 1);
    for (int i = 0; i < LOANS_MAX; i++)
        CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
    CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, lent, &loan), ERR_AGAIN);
    for (uint64_t number = 1; number <= LOANS_MAX; number++)
        lender_cancel(pair.lender, BORROWER, number);
    CU_ASSERT_EQUAL(refs(lent), 1);
    lender_tend(pair.lender);
    CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
    buffer_unref(lent);
    close_pair(&pair);
}

static void test_lender_lends_only_what_is_its_own_and_to_whom_it_knows(void)
{
    struct pair pair;
    struct loan loan;
    struct buffer_pool *private_pool = NULL, *other = NULL;
    open_pair(&pair);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create(0, &private_pool), 0);
    CU_ASSERT_EQUAL_FATAL(buffer_pool_create_shared(&other), 0);
    struct buffer *mine = make(&pair, 1), *hidden = buffer_pool_take(private_pool, BYTES),
                  *foreign = buffer_pool_take(other, BYTES);
    CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER + 1, mine, &loan), ERR_AGAIN);
    CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, hidden, &loan), ERR_AGAIN);
    CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, foreign, &loan), ERR_AGAIN);
    buffer_unref(mine);
    buffer_unref(hidden);
    buffer_unref(foreign);
    buffer_pool_destroy(private_pool);
    buffer_pool_destroy(other);
    close_pair(&pair);
}

/* One change makes a loan of what there is not. */
static void spoil(struct loan *loan, int how)
{
    if (how == 0)
        loan->segment = 1;
    else if (how == 1)
        loan->offset += (uint64_t)1 << 40;
    else if (how == 2)
        loan->size_bytes = (uint64_t)1 << 40;
    else if (how == 3)
        loan->size_bytes = 0;
    else if (how == 4)
        loan->number = 0;
    else
        loan->offset = UINT64_MAX - 7;
}

static void test_borrower_refuses_a_loan_of_what_there_is_not_and_is_lent_no_more(void)
{
    for (int how = 0; how < 6; how++) {
        struct pair pair;
        struct loan good, bad;
        struct buffer *read = NULL;
        open_pair(&pair);
        struct buffer *lent = make(&pair, 1);
        CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent, &good), 0);
        CU_ASSERT_EQUAL(borrower_take(pair.borrower, LENDER + 1, &good, &read), ERR_PROTO);
        CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &good, &read), 0);
        bad = good;
        spoil(&bad, how);
        CU_ASSERT_EQUAL(borrower_take(pair.borrower, LENDER, &bad, &read), ERR_PROTO);
        buffer_unref(read); /* what it had it may read, and give back, all the same */
        meet(&pair);
        CU_ASSERT(!lender_reaches(pair.lender, BORROWER));
        CU_ASSERT_EQUAL(refs(lent), 1);
        CU_ASSERT_EQUAL(lender_lend(pair.lender, BORROWER, lent, &good), ERR_AGAIN);
        buffer_unref(lent);
        close_pair(&pair);
    }
}

static void test_lender_goes_on_around_a_loan_that_never_comes_back(void)
{
    struct pair pair;
    struct loan lost, loan;
    struct buffer *read = NULL;
    open_pair(&pair);
    struct buffer *kept = make(&pair, 1), *lent = make(&pair, 2);
    CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, kept, &lost), 0);
    for (int i = 0; i < 3 * LOANS_MAX; i++) {
        CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
        CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &loan, &read), 0);
        buffer_unref(read);
        lender_tend(pair.lender);
    }
    CU_ASSERT_EQUAL(refs(lent), 1);
    CU_ASSERT_EQUAL(refs(kept), 2);
    buffer_unref(kept);
    buffer_unref(lent);
    close_pair(&pair);
}

static void test_borrower_cannot_write_into_what_it_is_lent(void)
{
    struct pair pair;
    struct loan loan;
    struct buffer *read = NULL;
    open_pair(&pair);
    struct buffer *lent = make(&pair, 1);
    CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
    CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &loan, &read), 0);
    CU_ASSERT_NOT_EQUAL(mprotect((void *)((uintptr_t)read->data & ~(uintptr_t)4095), 4096,
                                 PROT_READ | PROT_WRITE), 0);
    CU_ASSERT_NOT_EQUAL(ftruncate(lent->segment->fd, 4096), 0);
    CU_ASSERT_PTR_EQUAL(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, lent->segment->fd, 0),
                        MAP_FAILED);
    buffer_unref(read);
    buffer_unref(lent);
    close_pair(&pair);
}

static void test_lender_ends_the_loans_of_a_borrower_that_is_killed(void)
{
    struct pair pair;
    struct loan loan;
    int status;
    open_pair(&pair);
    struct buffer *lent = make(&pair, 1);
    pid_t child = fork();
    if (child == 0) {
        struct borrower *other = NULL;
        struct lender_at at = {LENDER, lender_door(pair.lender)};
        if (borrower_create(33, &other) == 0)
            borrower_meet(other, &at, 1);
        pause();
        _exit(0);
    }
    while (!lender_reaches(pair.lender, 33))
        lender_tend(pair.lender);
    CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, 33, lent, &loan), 0);
    CU_ASSERT_EQUAL(refs(lent), 2);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    lender_tend(pair.lender);
    CU_ASSERT_EQUAL(refs(lent), 1);
    CU_ASSERT(!lender_reaches(pair.lender, 33));
    buffer_unref(lent);
    close_pair(&pair);
}

static void test_borrower_reads_on_when_the_lender_is_gone(void)
{
    struct pair pair;
    struct loan loan;
    struct buffer *read = NULL;
    open_pair(&pair);
    struct buffer *lent = make(&pair, 5);
    CU_ASSERT_EQUAL_FATAL(lender_lend(pair.lender, BORROWER, lent, &loan), 0);
    CU_ASSERT_EQUAL_FATAL(borrower_take(pair.borrower, LENDER, &loan, &read), 0);
    buffer_unref(lent);
    lender_destroy(pair.lender);
    pair.lender = NULL;
    borrower_meet(pair.borrower, NULL, 0);
    CU_ASSERT_EQUAL(((unsigned char *)read->data)[BYTES - 1], 5);
    buffer_unref(read);
    close_pair(&pair);
}

/* A socket in the folder of that lender's door, at which nobody listens; its path is path_out. */
static void make_dead(const struct lender *lender, const char *door, char path_out[PATH_MAX])
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *own = lender_door(lender);
    int folder_length = (int)(strrchr(own, '/') - own);
    snprintf(name.sun_path, sizeof(name.sun_path), "%.*s/%s", folder_length, own, door);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    close(fd);
    snprintf(path_out, PATH_MAX, "%s", name.sun_path);
}

static void test_lender_sweeps_the_doors_of_the_dead_and_no_others(void)
{
    struct pair pair;
    struct err_msg why = {0};
    struct lender *second = NULL;
    char dead[PATH_MAX], opening[PATH_MAX], never_opened[PATH_MAX];
    const struct utimbuf long_ago = {1000000000, 1000000000};
    open_pair(&pair);
    make_dead(pair.lender, "dead", dead);
    make_dead(pair.lender, ".opening", opening);
    make_dead(pair.lender, ".never", never_opened);
    CU_ASSERT_EQUAL_FATAL(utime(never_opened, &long_ago), 0);
    CU_ASSERT_EQUAL_FATAL(lender_create(pair.folder, 99, &second, &why), 0);
    CU_ASSERT_NOT_EQUAL(access(dead, F_OK), 0);
    CU_ASSERT_NOT_EQUAL(access(never_opened, F_OK), 0);
    CU_ASSERT_EQUAL(access(opening, F_OK), 0);
    CU_ASSERT_EQUAL(access(lender_door(pair.lender), F_OK), 0);
    lender_destroy(second);
    close_pair(&pair);
}

/* Opens and closes doors in that folder for ever: each beginning sweeps. */
static void sweep_for_ever(const char *folder)
{
    struct lender *lender = NULL;
    while (lender_create(folder, 98, &lender, NULL) == 0)
        lender_destroy(lender);
    _exit(1);
}

static void test_lender_keeps_its_door_while_others_begin(void)
{
    enum { TIMES = 500 };
    char folder[PATH_MAX];
    int lost = 0;
    scratch_make(folder);
    pid_t sweeper = fork();
    if (sweeper == 0)
        sweep_for_ever(folder);
    for (int i = 0; i < TIMES; i++) {
        struct lender *lender = NULL;
        CU_ASSERT_EQUAL_FATAL(lender_create(folder, LENDER, &lender, NULL), 0);
        lost += access(lender_door(lender), F_OK) != 0;
        lender_destroy(lender);
    }
    CU_ASSERT_EQUAL(lost, 0);
    CU_ASSERT_EQUAL(kill(sweeper, SIGKILL), 0);
    CU_ASSERT_EQUAL(waitpid(sweeper, NULL, 0), sweeper);
    nftw(folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_lender_uses_no_folder_that_others_may_enter(void)
{
    char folder[PATH_MAX], own[PATH_MAX + 32];
    struct lender *lender = NULL;
    struct err_msg why = {0};
    scratch_make(folder);
    snprintf(own, sizeof(own), "%s/talweg-%u", folder, (unsigned)geteuid());
    CU_ASSERT_EQUAL_FATAL(mkdir(own, 0755), 0);
    CU_ASSERT_EQUAL(lender_create(folder, LENDER, &lender, &why), ERR_NET);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "is not a folder of this user's alone"));
    nftw(folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define TESTS(X)                                                     \
    X(test_lender_lets_the_bytes_be_read_where_they_lie)             \
    X(test_lender_takes_loans_back_in_any_order)                     \
    X(test_lender_lends_no_more_than_fits_the_table)                 \
    X(test_lender_lends_only_what_is_its_own_and_to_whom_it_knows)   \
    X(test_borrower_refuses_a_loan_of_what_there_is_not_and_is_lent_no_more) \
    X(test_lender_goes_on_around_a_loan_that_never_comes_back)       \
    X(test_borrower_cannot_write_into_what_it_is_lent)               \
    X(test_lender_ends_the_loans_of_a_borrower_that_is_killed)       \
    X(test_borrower_reads_on_when_the_lender_is_gone)                \
    X(test_lender_sweeps_the_doors_of_the_dead_and_no_others)        \
    X(test_lender_keeps_its_door_while_others_begin)                 \
    X(test_lender_uses_no_folder_that_others_may_enter)

UNIT_MAIN("lender", TESTS)
