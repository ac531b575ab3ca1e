#include "common/pages.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/err.h"
#include "tests/unit/unit.h"

enum { BYTES = 3 * PAGES_LARGE_BYTES + 5000 };

static unsigned char mark(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 24);
}

static bool is_marked(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != mark(i))
            return false;
    return true;
}

static int make_file(size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    return fd;
}

static void test_pages_map_a_file_where_large_ones_can_lie(void)
{
    int fd = make_file(BYTES);
    unsigned char *written = pages_map_shared(fd, BYTES, PROT_READ | PROT_WRITE);
    unsigned char *seen = pages_map_shared(fd, BYTES, PROT_READ);
    CU_ASSERT_FATAL(written != NULL && seen != NULL);
    CU_ASSERT_EQUAL((uintptr_t)written % PAGES_LARGE_BYTES, 0);
    CU_ASSERT_EQUAL((uintptr_t)seen % PAGES_LARGE_BYTES, 0);
    written[BYTES - 1] = 7;
    CU_ASSERT_EQUAL(seen[BYTES - 1], 7);
    munmap(written, BYTES);
    munmap(seen, BYTES);
    close(fd);
}

static void test_pages_map_a_small_file_anywhere_and_no_file_nowhere(void)
{
    int fd = make_file(100);
    unsigned char *data = pages_map_shared(fd, 100, PROT_READ | PROT_WRITE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    data[99] = 1;
    munmap(data, 100);
    close(fd);
    CU_ASSERT_PTR_NULL(pages_map_shared(-1, 100, PROT_READ));
    CU_ASSERT_PTR_NULL(pages_map_shared(-1, BYTES, PROT_READ));
}

/* From an odd address on, as a pool's segments are filled: bit for bit, at both mappings. */
static void test_pages_hold_what_they_held_when_they_become_large(void)
{
    int fd = make_file(BYTES);
    unsigned char *written = pages_map_shared(fd, BYTES, PROT_READ | PROT_WRITE);
    unsigned char *seen = pages_map_shared(fd, BYTES, PROT_READ);
    CU_ASSERT_FATAL(written != NULL && seen != NULL);
    for (size_t i = 0; i < BYTES; i++)
        written[i] = mark(i);
    CU_ASSERT(is_marked(seen, BYTES));
    pages_make_large(written + 64, BYTES - 64);
    CU_ASSERT(is_marked(written, BYTES));
    CU_ASSERT(is_marked(seen, BYTES));
    munmap(written, BYTES);
    munmap(seen, BYTES);
    close(fd);
}

static void test_pages_that_are_not_there_yet_become_zeros(void)
{
    int fd = make_file(BYTES);
    unsigned char *data = pages_map_shared(fd, BYTES, PROT_READ | PROT_WRITE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    data[BYTES / 2] = 9;
    pages_make_large(data, BYTES);
    size_t other_count = 0;
    for (size_t i = 0; i < BYTES; i++)
        other_count += data[i] != 0;
    CU_ASSERT(data[BYTES / 2] == 9 && other_count == 1);
    munmap(data, BYTES);
    close(fd);
}

static void test_pages_calloc_gives_zeros_for_free(void)
{
    static const size_t sizes[] = {1, 5000, 5000, PAGES_LARGE_BYTES, BYTES};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        unsigned char *bytes = pages_calloc(sizes[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
        CU_ASSERT(bytes[0] == 0 && memcmp(bytes, bytes + 1, sizes[i] - 1) == 0);
        memset(bytes, 1, sizes[i]);
        free(bytes);
    }
}

#define TESTS(X)                                                    \
    X(test_pages_map_a_file_where_large_ones_can_lie)               \
    X(test_pages_map_a_small_file_anywhere_and_no_file_nowhere)     \
    X(test_pages_hold_what_they_held_when_they_become_large)        \
    X(test_pages_that_are_not_there_yet_become_zeros)               \
    X(test_pages_calloc_gives_zeros_for_free)

UNIT_MAIN("pages", TESTS)
