#include "deploy/bench/times.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct times {
    atomic_bool is_let_go;
    atomic_uint_fast64_t base_rss_bytes;
    atomic_uint_fast64_t count; /* samples that may be read */
    uint64_t at_us[TIMES_MAX];
};

static int map(int fd, const char *path, struct times **times_out, struct err_msg *why)
{
    void *bytes = MAP_FAILED;
    if (fd >= 0)
        bytes = mmap(NULL, sizeof(struct times), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (bytes == MAP_FAILED)
        return err_set(why, ERR_IO, "%s: cannot be mapped: %s", path, strerror(error));
    *times_out = bytes;
    return 0;
}

int times_create(const char *path, struct times **times_out, struct err_msg *why)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)sizeof(struct times)) != 0) {
        close(fd);
        return err_set(why, ERR_IO, "%s: cannot be made: %s", path, strerror(errno));
    }
    return map(fd, path, times_out, why);
}

int times_open(const char *path, struct times **times_out, struct err_msg *why)
{
    return map(open(path, O_RDWR | O_CLOEXEC), path, times_out, why);
}

void times_close(struct times *times)
{
    if (times != NULL)
        munmap(times, sizeof(*times));
}

void times_await(struct times *times, uint64_t base_rss_bytes)
{
    struct timespec moment = {.tv_nsec = 1000000};
    atomic_store(&times->base_rss_bytes, base_rss_bytes);
    while (!atomic_load(&times->is_let_go))
        nanosleep(&moment, NULL);
}

void times_let_go(struct times *times)
{
    atomic_store(&times->is_let_go, true);
}

uint64_t times_base_rss_bytes(const struct times *times)
{
    return atomic_load(&times->base_rss_bytes);
}

void times_note(struct times *times, uint64_t now_us)
{
    uint64_t count = atomic_load_explicit(&times->count, memory_order_relaxed);
    if (count == TIMES_MAX)
        return;
    times->at_us[count] = now_us;
    atomic_store_explicit(&times->count, count + 1, memory_order_release);
}

uint64_t times_count(const struct times *times)
{
    return atomic_load_explicit(&times->count, memory_order_acquire);
}

uint64_t times_at_us(const struct times *times, uint64_t idx)
{
    return times->at_us[idx];
}
