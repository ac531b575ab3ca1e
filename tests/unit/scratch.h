#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

/* scratch - a folder for one test, files in it, and the ways in which the world refuses to write.
 *
 * Owner:    the test that made the folder.
 * Surprise: scratch_drop_rights and scratch_limit_files change the whole process until undone.
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <CUnit/Basic.h>

static inline void scratch_make(char path_out[PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    int length =
        snprintf(path_out, PATH_MAX, "%s/talweg-test-XXXXXX", base == NULL ? "/tmp" : base);
    CU_ASSERT_FATAL(length < PATH_MAX && mkdtemp(path_out) != NULL);
}

static inline int scratch_remove_one(const char *path, const struct stat *status, int type,
                                     struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline void scratch_remove(const char *path)
{
    CU_ASSERT(nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* "dir/name" in one of a few places, valid until used eight times more. */
static inline const char *scratch_path(const char *dir, const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char joined[PATH_MAX]; /* dir may itself be one of the paths */
    CU_ASSERT_FATAL(snprintf(joined, sizeof(joined), "%s/%s", dir, name) < PATH_MAX);
    return strcpy(paths[next++ % 8], joined);
}

static inline bool scratch_has(const char *dir, const char *name)
{
    return access(scratch_path(dir, name), F_OK) == 0;
}

static inline void scratch_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "we");
    CU_ASSERT_FATAL(file != NULL);
    CU_ASSERT(fwrite(bytes, 1, size, file) == size);
    CU_ASSERT(fclose(file) == 0);
}

/* All bytes of a file and a NUL, the caller's to free. */
static inline char *scratch_read(const char *path, size_t *size_out)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    CU_ASSERT_FATAL(file != NULL && fstat(fileno(file), &status) == 0);
    size_t size = (size_t)status.st_size;
    char *bytes = calloc(1, size + 1);
    CU_ASSERT_FATAL(bytes != NULL && fread(bytes, 1, size, file) == size);
    fclose(file);
    *size_out = size;
    return bytes;
}

/* Changes one byte; at < 0 counts from the end. */
static inline void scratch_flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_FATAL(file != NULL);
    CU_ASSERT(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET) == 0);
    int byte = fgetc(file);
    CU_ASSERT(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET) == 0);
    CU_ASSERT(fputc(byte ^ 1, file) != EOF);
    CU_ASSERT(fclose(file) == 0);
}

/* No file may grow past this many bytes, as if the disk were full; 0: as before. */
static inline void scratch_limit_files(rlim_t limit_bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_FATAL(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = limit_bytes == 0 ? limit.rlim_max : limit_bytes;
    CU_ASSERT_FATAL(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* Makes the folder unwritable for us, who may be root; true undoes it. */
static inline void scratch_drop_rights(const char *dir, bool is_over)
{
    enum { UID_OF_NOBODY = 65534 };
    bool is_root = getuid() == 0;
    if (is_root && is_over)
        CU_ASSERT_FATAL(seteuid(0) == 0);
    CU_ASSERT_FATAL(chmod(dir, is_over ? 0755 : 0555) == 0);
    if (is_root && !is_over)
        CU_ASSERT_FATAL(seteuid(UID_OF_NOBODY) == 0);
}

#endif
