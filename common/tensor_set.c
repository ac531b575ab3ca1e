#include "common/tensor_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/path.h"

/* So that a header stays far below what document_parse takes. */
enum { FILE_TENSORS_MAX = 16384 };

struct member {
    struct safetensors *file;
    char name[TENSOR_SET_NAME_BYTES];
    size_t first; /* number of its first tensor in the set */
};

struct tensor_set {
    size_t count;
    size_t file_count;
    struct member *files; /* [file_count] */
};

/* Tensors from `first` on that go into one file. */
static size_t take(const struct safetensors_entry *entries, size_t first, size_t count,
                   uint64_t file_bytes)
{
    uint64_t bytes = 0;
    size_t idx = first;
    for (; idx < count && idx - first < FILE_TENSORS_MAX; idx++) {
        uint64_t elements = 1;
        for (uint32_t d = 0; d < entries[idx].dims; d++)
            elements *= entries[idx].shape[d];
        bytes += elements * sizeof(float);
        if (bytes > file_bytes && idx > first)
            break;
    }
    return idx - first;
}

static struct tensor_set *allocate(size_t file_count)
{
    struct tensor_set *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    set->files = calloc(file_count > 0 ? file_count : 1, sizeof(*set->files));
    if (set->files == NULL) {
        free(set);
        return NULL;
    }
    return set;
}

int tensor_set_create(const char *dir, const char *stem, const struct safetensors_entry *entries,
                      size_t count, uint64_t file_bytes, struct tensor_set **set_out,
                      struct err_msg *why)
{
    size_t file_count = 0;
    for (size_t at = 0; at < count; file_count++)
        at += take(entries, at, count, file_bytes);
    if (file_count > TENSOR_SET_FILES_MAX)
        return err_set(why, ERR_INPUT,
                       "%s: checkpoint.file_bytes = %llu would make %zu files; at most %d", dir,
                       (unsigned long long)file_bytes, file_count, TENSOR_SET_FILES_MAX);
    struct tensor_set *set = allocate(file_count);
    if (set == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for %zu files", dir, file_count);
    int err = 0;
    while (set->count < count) {
        struct member *member = &set->files[set->file_count];
        size_t taken = take(entries, set->count, count, file_bytes);
        char path[PATH_MAX];
        snprintf(member->name, sizeof(member->name), "%s-%05zu-of-%05zu.safetensors", stem,
                 set->file_count + 1, file_count);
        err = path_join(path, dir, member->name, why);
        if (err == 0)
            err = safetensors_create(path, entries + set->count, taken, &member->file, why);
        if (err != 0)
            goto fail;
        member->first = set->count;
        set->count += taken;
        set->file_count++;
    }
    *set_out = set;
    return 0;
fail:
    tensor_set_close(set);
    return err;
}

static int open_files(const char *dir, const char *const *names, size_t file_count,
                      int (*opener)(const char *, struct safetensors **, struct err_msg *),
                      struct tensor_set **set_out, struct err_msg *why)
{
    struct tensor_set *set = allocate(file_count);
    if (set == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for %zu files", dir, file_count);
    int err = 0;
    for (; set->file_count < file_count; set->file_count++) {
        struct member *member = &set->files[set->file_count];
        char path[PATH_MAX];
        err = path_join(path, dir, names[set->file_count], why);
        if (err == 0)
            err = opener(path, &member->file, why);
        if (err != 0)
            goto fail;
        snprintf(member->name, sizeof(member->name), "%s", names[set->file_count]);
        member->first = set->count;
        set->count += safetensors_count(member->file);
    }
    *set_out = set;
    return 0;
fail:
    tensor_set_close(set);
    return err;
}

int tensor_set_open(const char *dir, const char *const *names, size_t file_count,
                    struct tensor_set **set_out, struct err_msg *why)
{
    return open_files(dir, names, file_count, safetensors_open, set_out, why);
}

int tensor_set_open_any(const char *dir, const char *const *names, size_t file_count,
                        struct tensor_set **set_out, struct err_msg *why)
{
    return open_files(dir, names, file_count, safetensors_open_any, set_out, why);
}

void tensor_set_close(struct tensor_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->file_count; i++)
        safetensors_close(set->files[i].file);
    free(set->files);
    free(set);
}

size_t tensor_set_count(const struct tensor_set *set)
{
    return set->count;
}

size_t tensor_set_file_count(const struct tensor_set *set)
{
    return set->file_count;
}

const char *tensor_set_file_name(const struct tensor_set *set, size_t file_idx)
{
    return set->files[file_idx].name;
}

size_t tensor_set_file_of(const struct tensor_set *set, size_t tensor_idx)
{
    size_t low = 0, high = set->file_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (set->files[middle].first <= tensor_idx)
            low = middle;
        else
            high = middle;
    }
    return low;
}

const struct safetensors_entry *tensor_set_entry(const struct tensor_set *set, size_t tensor_idx)
{
    const struct member *member = &set->files[tensor_set_file_of(set, tensor_idx)];
    return safetensors_entry(member->file, tensor_idx - member->first);
}

int tensor_set_write(struct tensor_set *set, size_t tensor_idx, uint64_t first, const float *values,
                     size_t count, struct err_msg *why)
{
    if (tensor_idx >= set->count)
        return err_set(why, ERR_INPUT, "tensor %zu of %zu", tensor_idx, set->count);
    const struct member *member = &set->files[tensor_set_file_of(set, tensor_idx)];
    return safetensors_write(member->file, tensor_idx - member->first, first, values, count, why);
}

int tensor_set_read(const struct tensor_set *set, size_t tensor_idx, uint64_t first, float *out,
                    size_t count, struct err_msg *why)
{
    if (tensor_idx >= set->count)
        return err_set(why, ERR_INPUT, "tensor %zu of %zu", tensor_idx, set->count);
    const struct member *member = &set->files[tensor_set_file_of(set, tensor_idx)];
    return safetensors_read(member->file, tensor_idx - member->first, first, out, count, why);
}

int tensor_set_sync(struct tensor_set *set, struct err_msg *why)
{
    int err = 0;
    for (size_t i = 0; i < set->file_count && err == 0; i++)
        err = safetensors_sync(set->files[i].file, why);
    return err;
}

int tensor_set_digest(const struct tensor_set *set, size_t file_idx, struct digest *data,
                      char hex_out[65], uint64_t *bytes_out, struct err_msg *why)
{
    return safetensors_digest(set->files[file_idx].file, data, hex_out, bytes_out, why);
}
