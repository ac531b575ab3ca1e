#include "common/digest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/unit.h"

/* FIPS 180-4 examples: "abc", and one million times "a". */
static const char EMPTY[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char ABC[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char MILLION[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void digest_parts(const char *const *parts, size_t count, char hex_out[DIGEST_HEX_BYTES])
{
    struct digest *digest = digest_create();
    CU_ASSERT_PTR_NOT_NULL_FATAL(digest);
    for (size_t i = 0; i < count; i++)
        digest_add(digest, parts[i], strlen(parts[i]));
    digest_hex(digest, hex_out);
    digest_destroy(digest);
}

static void test_digest_of_nothing(void)
{
    char hex[DIGEST_HEX_BYTES];
    digest_parts(NULL, 0, hex);
    CU_ASSERT_STRING_EQUAL(hex, EMPTY);
}

static void test_digest_does_not_depend_on_where_bytes_are_cut(void)
{
    char hex[DIGEST_HEX_BYTES];
    digest_parts((const char *[]){"abc"}, 1, hex);
    CU_ASSERT_STRING_EQUAL(hex, ABC);
    digest_parts((const char *[]){"a", "", "bc"}, 3, hex);
    CU_ASSERT_STRING_EQUAL(hex, ABC);
}

static void test_digest_takes_no_bytes_from_nowhere(void)
{
    char hex[DIGEST_HEX_BYTES];
    struct digest *digest = digest_create();
    CU_ASSERT_PTR_NOT_NULL_FATAL(digest);
    digest_add(digest, NULL, 0);
    digest_hex(digest, hex);
    digest_destroy(digest);
    CU_ASSERT_STRING_EQUAL(hex, EMPTY);
    digest_destroy(NULL);
}

static void test_digest_file_is_that_of_its_bytes(void)
{
    char path[] = "/tmp/talweg-test-digest-XXXXXX", hex[DIGEST_HEX_BYTES];
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(digest_file(path, hex), 0);
    CU_ASSERT_STRING_EQUAL(hex, EMPTY);
    char row[1000];
    memset(row, 'a', sizeof(row));
    for (int i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL_FATAL(write(fd, row, sizeof(row)), (ssize_t)sizeof(row));
    CU_ASSERT_EQUAL(digest_file(path, hex), 0);
    CU_ASSERT_STRING_EQUAL(hex, MILLION);
    close(fd);
    unlink(path);
}

static void test_digest_file_says_when_there_is_none(void)
{
    char hex[DIGEST_HEX_BYTES];
    CU_ASSERT_EQUAL(digest_file("/nonexistent/file", hex), ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(digest_file("/tmp", hex), ERR_IO);
}

#define TESTS(X) \
    X(test_digest_of_nothing) \
    X(test_digest_does_not_depend_on_where_bytes_are_cut) \
    X(test_digest_takes_no_bytes_from_nowhere) \
    X(test_digest_file_is_that_of_its_bytes) \
    X(test_digest_file_says_when_there_is_none)

UNIT_MAIN("digest", TESTS)
