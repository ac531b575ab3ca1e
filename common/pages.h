#ifndef COMMON_PAGES_H
#define COMMON_PAGES_H

/* pages - large pages, for memory that is streamed through.
 *
 * A processor's prefetchers stop at the end of a page, and each page of 4 KiB costs a look into the
 * table; in pages of 2 MiB long vectors are added up to a third faster (on a virtual AMD EPYC 12.3
 * to 16.0 GB/s).  All of it is advice: where the kernel has none to give, or is told never to,
 * nothing changes but the speed.  Where memory is in pieces the kernel first moves others' pages
 * together, so it is for what lives as long as a run and is gone through each step, and not for
 * what a first step waits for.
 *
 * Owner:    the caller's memory.  Thread: any.
 * Memory:   what lies within whole large pages becomes resident together.
 * Source:   Linux madvise(2), MADV_HUGEPAGE and MADV_COLLAPSE (since 6.1).
 * Surprise: none.
 */
#include <stddef.h>

enum { PAGES_LARGE_BYTES = 2 << 20 };

/* Memory of this process alone, best before it is touched: pages are large when they are made. */
void pages_prefer_large(void *start, size_t size_bytes);

/* As calloc(1, size_bytes), with that advice. */
void *pages_calloc(size_t size_bytes);

/* Shared memory, such as a memfd's: large at once where it lies within whole large pages, which
 * takes milliseconds each.  What it holds stays. */
void pages_make_large(void *start, size_t size_bytes);

/* Maps all of a file, MAP_SHARED, where its large pages can be mapped as such.  prot as of mmap.
 * NULL when it cannot. */
void *pages_map_shared(int fd, size_t size_bytes, int prot);

#endif
