#include "tests/fuzz/fuzz.h"

#include <ftw.h>

static char folder[PATH_MAX];
static pid_t maker; /* a child that AFL++ forks leaves the folder to its parent */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == maker)
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    if (folder[0] == 0) {
        bool has_memory = access("/dev/shm", W_OK | X_OK) == 0;
        snprintf(folder, sizeof(folder), "%s/talweg-fuzz-XXXXXX", has_memory ? "/dev/shm" : "/tmp");
        bool is_made = mkdtemp(folder) != NULL;
        must(is_made);
        maker = getpid();
        atexit(remove_folder);
    }
    return folder;
}

const char *fuzz_path(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    int length = snprintf(path, PATH_MAX, "%s/%s", fuzz_folder(), name);
    must(length < PATH_MAX);
    return path;
}

void fuzz_write(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(fuzz_path(name), "we");
    must(file != NULL);
    size_t written = fwrite(bytes, 1, size, file);
    must(written == size);
    fclose(file);
}

static void free_buffer(struct buffer *self)
{
    free(self->data);
    free(self);
}

struct buffer *fuzz_buffer(const void *bytes, size_t size)
{
    struct buffer *buffer = malloc(sizeof(*buffer));
    must(buffer != NULL);
    *buffer = (struct buffer){.data = malloc(size), .size_bytes = size, .release = free_buffer};
    must(buffer->data != NULL);
    memcpy(buffer->data, bytes, size);
    atomic_init(&buffer->ref_count, 1);
    return buffer;
}
