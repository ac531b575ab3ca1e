#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/* fuzz - what the fuzzers share: the entry that libFuzzer, AFL++ and the replay of the corpus call,
 * numbers out of a stranger's bytes, and files in memory for decoders that take a path.
 *
 * A fuzzer is one file fuzz_NAME.c with LLVMFuzzerTestOneInput: it does what a process does with
 * such bytes, and asserts what must hold whatever they are.  It keeps nothing from one call to the
 * next that could change what the next one does.
 *
 * Owner:    the fuzzer.  Thread: one.
 * Surprise: the replay (replay.c) compiles all of them into one program, under other names.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/buffer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the bytes are; the stack tells which of them did not. */
static inline void must(bool holds)
{
    if (!holds)
        abort();
}

/* A sentence with every error, and one that can be shown: nothing in it steers a terminal. */
static inline void must_say(const char *text)
{
    must(text[0] != 0);
    for (; *text != 0; text++)
        must(((unsigned char)*text >= 0x20 || *text == '\n') && *text != 0x7f);
}

/* Bytes that are taken from the front; past their end all numbers are 0. */
struct feed {
    const uint8_t *at, *end;
};

static inline size_t feed_left(const struct feed *feed)
{
    return (size_t)(feed->end - feed->at);
}

static inline uint8_t feed_u8(struct feed *feed)
{
    return feed->at < feed->end ? *feed->at++ : 0;
}

static inline uint32_t feed_u16(struct feed *feed)
{
    uint32_t low = feed_u8(feed);
    return low | (uint32_t)feed_u8(feed) << 8;
}

static inline uint64_t feed_u64(struct feed *feed)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)feed_u8(feed) << 8 * i;
    return value;
}

/* Mostly a small number, now and then one around the powers of two, or any. */
static inline uint64_t feed_number(struct feed *feed)
{
    uint8_t first = feed_u8(feed);
    if (first < 224)
        return first;
    if (first < 255)
        return ((uint64_t)1 << 2 * (first - 224)) - (feed_u8(feed) & 1);
    return feed_u64(feed);
}

/* The next so many bytes, or what is left. */
static inline struct feed feed_part(struct feed *feed, size_t size)
{
    struct feed part = {feed->at, feed->at + (size < feed_left(feed) ? size : feed_left(feed))};
    feed->at = part.end;
    return part;
}

enum { FUZZ_FILES = 2, FUZZ_PATH_BYTES = 32 };

/* A file in memory that holds these bytes; its path is valid until the same number is used again.
 * Decoders open it anew, so nothing of an earlier call is left. */
static inline const char *fuzz_file(size_t number, const void *bytes, size_t size)
{
    static int fds[FUZZ_FILES];
    static char paths[FUZZ_FILES][FUZZ_PATH_BYTES];
    if (paths[number][0] == 0) {
        fds[number] = memfd_create("fuzz", MFD_CLOEXEC);
        must(fds[number] >= 0);
        snprintf(paths[number], FUZZ_PATH_BYTES, "/proc/self/fd/%d", fds[number]);
    }
    int fd = fds[number];
    bool is_done = ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size;
    must(is_done);
    return paths[number];
}

/* A folder in memory, where there is one; made at first use, removed by fuzz_clear at the end. */
const char *fuzz_folder(void);

/* "FOLDER/name" in one of a few places, valid until used four times more. */
const char *fuzz_path(const char *name);

/* Puts a file there. */
void fuzz_write(const char *name, const void *bytes, size_t size);

/* A payload of exactly that size: of a pool's the address sanitizer does not see the end. */
struct buffer *fuzz_buffer(const void *bytes, size_t size);

#endif
