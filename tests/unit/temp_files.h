#ifndef TESTS_UNIT_TEMP_FILES_H
#define TESTS_UNIT_TEMP_FILES_H

/* temp_files - one scratch folder for all tests of an executable, and files in it, plain or packed.
 *
 * Owner:    the test executable; the folder is made at first use and removed at exit.
 * Thread:   the main thread.
 * Surprise: paths are borrowed from a small ring, see scratch_path.
 */
#include "tests/unit/scratch.h"
#include <zlib.h>

static char temp_folder[PATH_MAX];

static inline void temp_remove(void)
{
    nftw(temp_folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline const char *temp_path(const char *name)
{
    if (!*temp_folder) {
        scratch_make(temp_folder);
        atexit(temp_remove);
    }
    return scratch_path(temp_folder, name);
}

static inline const char *temp_write(const char *name, const void *bytes, size_t size_bytes)
{
    const char *path = temp_path(name);
    scratch_write(path, bytes, size_bytes);
    return path;
}

static inline const char *temp_text(const char *name, const char *text)
{
    return temp_write(name, text, strlen(text));
}

static inline const char *temp_pack(const char *name, const void *bytes, size_t size_bytes)
{
    const char *path = temp_path(name);
    gzFile file = gzopen(path, "wb");
    CU_ASSERT_FATAL(file != NULL);
    CU_ASSERT(gzwrite(file, bytes, (unsigned)size_bytes) == (int)size_bytes);
    CU_ASSERT(gzclose(file) == Z_OK);
    return path;
}

#endif
