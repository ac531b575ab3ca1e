#include "common/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COLLAPSE = 25 }; /* MADV_COLLAPSE, which older headers do not have */

/* 4 KiB, on some processors more. */
static size_t small_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static uintptr_t round_up(uintptr_t address, size_t step)
{
    return (address + step - 1) / step * step;
}

void pages_prefer_large(void *start, size_t size_bytes)
{
    size_t small = small_bytes();
    uintptr_t first = round_up((uintptr_t)start, small);
    uintptr_t end = ((uintptr_t)start + size_bytes) / small * small;
    if (size_bytes >= PAGES_LARGE_BYTES)
        (void)madvise((char *)start + (first - (uintptr_t)start), end - first, MADV_HUGEPAGE);
}

void *pages_calloc(size_t size_bytes)
{
    void *start = calloc(1, size_bytes);
    if (start != NULL)
        pages_prefer_large(start, size_bytes);
    return start;
}

void pages_make_large(void *start, size_t size_bytes)
{
    char *bytes = start;
    size_t first = round_up((uintptr_t)start, PAGES_LARGE_BYTES) - (uintptr_t)start;
    for (size_t at = first; at + PAGES_LARGE_BYTES <= size_bytes; at += PAGES_LARGE_BYTES) {
        /* One page has to be there.  It is not written to: others may be at it. */
        if (madvise(bytes + at, small_bytes(), MADV_POPULATE_WRITE) != 0 ||
            madvise(bytes + at, PAGES_LARGE_BYTES, COLLAPSE) != 0)
            return;
    }
}

void *pages_map_shared(int fd, size_t size_bytes, int prot)
{
    char *room = NULL;
    if (size_bytes >= PAGES_LARGE_BYTES)
        room = mmap(NULL, size_bytes + PAGES_LARGE_BYTES, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == NULL || room == MAP_FAILED) {
        void *data = mmap(NULL, size_bytes, prot, MAP_SHARED, fd, 0);
        return data == MAP_FAILED ? NULL : data;
    }
    size_t before = round_up((uintptr_t)room, PAGES_LARGE_BYTES) - (uintptr_t)room;
    size_t whole = round_up(size_bytes, small_bytes());
    void *data = mmap(room + before, size_bytes, prot, MAP_SHARED | MAP_FIXED, fd, 0);
    if (before > 0)
        munmap(room, before);
    if (data == MAP_FAILED) {
        munmap(room + before, size_bytes + PAGES_LARGE_BYTES - before);
        return NULL;
    }
    munmap(room + before + whole, size_bytes + PAGES_LARGE_BYTES - before - whole);
    return data;
}
