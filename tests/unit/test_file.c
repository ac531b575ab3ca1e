#include "common/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>
#include "tests/unit/unit.h"

static char folder[64], path[128];

static void make_folder(void)
{
    strcpy(folder, "/tmp/talweg-test-file-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/value", folder);
}

/* Files in the folder; removes them and it. */
static int remove_folder(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
    rmdir(folder);
    return count;
}

static int content_is(const char *expected)
{
    char *bytes;
    size_t size_bytes;
    if (file_read(path, 1 << 20, &bytes, &size_bytes, NULL) != 0)
        return 0;
    int is_equal = size_bytes == strlen(expected) && strcmp(bytes, expected) == 0;
    free(bytes);
    return is_equal;
}

static void test_file_replace_puts_all_bytes_in_place(void)
{
    make_folder();
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(file_replace(path, "first", 5, &why), 0);
    CU_ASSERT(content_is("first"));
    CU_ASSERT_EQUAL(file_replace(path, "the second", 10, &why), 0);
    CU_ASSERT(content_is("the second"));
    CU_ASSERT_EQUAL(file_replace(path, "", 0, &why), 0);
    CU_ASSERT(content_is(""));
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_EQUAL(remove_folder(), 1);
}

static void test_file_replace_takes_a_path_without_a_folder(void)
{
    make_folder();
    char before[4096];
    CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(before, sizeof(before)));
    CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
    CU_ASSERT_EQUAL(file_replace("value", "here", 4, NULL), 0);
    CU_ASSERT_EQUAL(chdir(before), 0);
    CU_ASSERT(content_is("here"));
    CU_ASSERT_EQUAL(remove_folder(), 1);
}

/* A limit on the size of files stands for a full disk: the write fails half-way. */
static void test_file_replace_keeps_the_old_file_when_the_disk_is_full(void)
{
    make_folder();
    CU_ASSERT_EQUAL(file_replace(path, "old", 3, NULL), 0);
    static char large[1 << 16];
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = sizeof(large) / 2;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(file_replace(path, large, sizeof(large), &why), ERR_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    CU_ASSERT(strstr(why.text, "File too large") != NULL);
    CU_ASSERT(content_is("old"));
    CU_ASSERT_EQUAL(remove_folder(), 1);
}

static void test_file_replace_says_why_when_it_cannot(void)
{
    make_folder();
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(file_replace("/nonexistent/value", "x", 1, &why), ERR_IO);
    CU_ASSERT(strstr(why.text, "/nonexistent/value") != NULL);
    CU_ASSERT(strstr(why.text, "No such file or directory") != NULL);
    CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0); /* a folder is in the way */
    CU_ASSERT_EQUAL(file_replace(path, "x", 1, &why), ERR_IO);
    CU_ASSERT_EQUAL(rmdir(path), 0);
    CU_ASSERT_EQUAL(remove_folder(), 0);
    char endless[5000];
    memset(endless, 'a', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    CU_ASSERT_EQUAL(file_replace(endless, "x", 1, &why), ERR_INPUT);
}

static void test_file_read_refuses_what_is_too_large_or_no_file(void)
{
    make_folder();
    char *bytes;
    size_t size_bytes;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(file_read(path, 10, &bytes, &size_bytes, &why), ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(file_replace(path, "12345678901", 11, NULL), 0);
    CU_ASSERT_EQUAL(file_read(path, 10, &bytes, &size_bytes, &why), ERR_INPUT);
    CU_ASSERT(strstr(why.text, "/value: found 11 bytes, expected at most 10") != NULL);
    CU_ASSERT_EQUAL(file_read(path, 11, &bytes, &size_bytes, &why), 0);
    free(bytes);
    CU_ASSERT_EQUAL(file_read(folder, 10, &bytes, &size_bytes, &why), ERR_INPUT);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    CU_ASSERT_EQUAL(file_read(path, 10, &bytes, &size_bytes, &why), ERR_INPUT);
    CU_ASSERT_EQUAL(remove_folder(), 1);
}

static void test_file_sync_folder_says_why_when_it_cannot(void)
{
    struct err_msg why = {0};
    CU_ASSERT_EQUAL(file_sync_folder("/tmp", &why), 0);
    CU_ASSERT_EQUAL(file_sync_folder("/nonexistent", &why), ERR_IO);
    CU_ASSERT_STRING_EQUAL(why.text, "/nonexistent: No such file or directory");
}

#define TESTS(X) \
    X(test_file_replace_puts_all_bytes_in_place) \
    X(test_file_replace_takes_a_path_without_a_folder) \
    X(test_file_replace_keeps_the_old_file_when_the_disk_is_full) \
    X(test_file_replace_says_why_when_it_cannot) \
    X(test_file_read_refuses_what_is_too_large_or_no_file) \
    X(test_file_sync_folder_says_why_when_it_cannot)

UNIT_MAIN("file", TESTS)
