/* Gives each fuzzer its corpus once, in a build of any compiler. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "tests/fuzz/fuzz.h"
#include "tests/unit/unit.h"

#define FUZZERS(X)                                                                              \
    X(message) X(codec) X(courier) X(shard) X(coordinator) X(exchange) X(arrays) X(csv) X(text) \
    X(parts) X(checkpoint) X(job) X(journal) X(status) X(words) X(keys)

#define ONE(name) +1
_Static_assert(FUZZERS(ONE) == FUZZER_COUNT, "the fuzzers here are those of CMakeLists.txt");

/* A copy of exactly that size, so that a read past its end is seen. */
static void replay_file(int folder, const char *name, int (*fuzz)(const uint8_t *, size_t))
{
    struct stat status;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &status) == 0);
    size_t size = (size_t)status.st_size;
    uint8_t *bytes = malloc(size + (size == 0));
    CU_ASSERT_FATAL(bytes != NULL && read(fd, bytes, size) == (ssize_t)size);
    CU_ASSERT_EQUAL(fuzz(bytes, size), 0);
    free(bytes);
    close(fd);
}

static void replay(const char *corpus, int (*fuzz)(const uint8_t *, size_t))
{
    struct dirent *item;
    size_t count = 0;
    DIR *folder = opendir(corpus);
    CU_ASSERT_PTR_NOT_NULL_FATAL(folder);
    while ((item = readdir(folder)) != NULL) {
        if (item->d_name[0] == '.')
            continue;
        replay_file(dirfd(folder), item->d_name, fuzz);
        count++;
    }
    closedir(folder);
    CU_ASSERT(count > 0);
}

#define REPLAY(name)                                         \
    int fuzz_##name(const uint8_t *data, size_t size);       \
    static void test_fuzz_corpus_of_##name(void)             \
    {                                                        \
        replay(CORPUS_DIR "/" #name, fuzz_##name);           \
    }

FUZZERS(REPLAY)

#define TESTS(X)                                                                                   \
    X(test_fuzz_corpus_of_message) X(test_fuzz_corpus_of_codec) X(test_fuzz_corpus_of_courier)     \
    X(test_fuzz_corpus_of_shard) X(test_fuzz_corpus_of_coordinator)                                \
    X(test_fuzz_corpus_of_exchange) X(test_fuzz_corpus_of_arrays) X(test_fuzz_corpus_of_csv)       \
    X(test_fuzz_corpus_of_parts) X(test_fuzz_corpus_of_checkpoint) X(test_fuzz_corpus_of_job)      \
    X(test_fuzz_corpus_of_journal) X(test_fuzz_corpus_of_status) X(test_fuzz_corpus_of_words)      \
    X(test_fuzz_corpus_of_keys) X(test_fuzz_corpus_of_text)

UNIT_MAIN("fuzz_corpus", TESTS)
