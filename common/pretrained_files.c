#include "common/pretrained_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/checkpoint.h"
#include "common/document.h"
#include "common/path.h"

static const char index_name[] = "model.safetensors.index.json", file_name[] = "model.safetensors";

/* The file within a folder. */
static int find_in_folder(const char *dir, char path_out[PATH_MAX], struct err_msg *why)
{
    char checkpoint[PATH_MAX];
    int err = path_join(path_out, dir, index_name, why);
    if (err != 0 || access(path_out, F_OK) == 0)
        return err;
    err = path_join(path_out, dir, file_name, why);
    if (err != 0 || access(path_out, F_OK) == 0)
        return err;
    if (checkpoint_latest(dir, checkpoint, NULL) == 0)
        return path_join(path_out, checkpoint, index_name, why);
    return err_set(why, ERR_NOT_FOUND, "%s: has no %s, no %s and no checkpoint", dir, index_name,
                   file_name);
}

static int resolve(const char *path, char path_out[PATH_MAX], struct err_msg *why)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return err_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    if (S_ISDIR(status.st_mode))
        return find_in_folder(path, path_out, why);
    if (strlen(path) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%.200s...: is too long for a path", path);
    snprintf(path_out, PATH_MAX, "%s", path);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files that a weight_map names, each once and in order: names [count of the map]. */
static int list_files(const struct document *map, const char **names, size_t *count_out,
                      struct err_msg *why)
{
    const char *tensor = NULL;
    size_t count = 0, kept = 0;
    while ((tensor = document_key_after(map, tensor)) != NULL) {
        int err = document_get_text(map, tensor, &names[count], why);
        if (err != 0)
            return err;
        if (strchr(names[count], '/') != NULL || names[count][0] == '.')
            return err_set(why, ERR_INPUT, "\"%s\" is not a file beside it", names[count]);
        count++;
    }
    qsort(names, count, sizeof(*names), compare_names);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    *count_out = kept;
    if (kept == 0 || kept > TENSOR_SET_FILES_MAX)
        return err_set(why, ERR_INPUT, "names %zu files; expected 1 to %d", kept,
                       TENSOR_SET_FILES_MAX);
    return 0;
}

static int open_index(const char *dir, const char *path, struct tensor_set **set_out,
                      struct err_msg *why)
{
    struct document *index = NULL;
    int err = document_load(path, &index, why);
    if (err != 0)
        return err;
    const struct document *map = document_get(index, "weight_map");
    size_t count = 0;
    const char **names = NULL;
    if (!document_is_object(map))
        err = err_set(why, ERR_INPUT, "has no object \"weight_map\"");
    else if ((names = calloc(document_count(map) + 1, sizeof(*names))) == NULL)
        err = err_set(why, ERR_NOMEM, "no memory for its files");
    else
        err = list_files(map, names, &count, why);
    if (err != 0)
        err = err_prefix(why, err, "%s: ", path);
    else
        err = tensor_set_open_any(dir, names, count, set_out, why);
    free(names);
    document_destroy(index);
    return err;
}

int pretrained_open_files(const char *path, struct tensor_set **set_out, struct err_msg *why)
{
    char file[PATH_MAX], dir[PATH_MAX];
    int err = resolve(path, file, why);
    if (err != 0)
        return err;
    const char *slash = strrchr(file, '/'), *name = slash == NULL ? file : slash + 1;
    const char *end = strrchr(name, '.');
    snprintf(dir, sizeof(dir), "%.*s", slash == NULL ? 1 : (int)(slash - file + 1),
             slash == NULL ? "." : file);
    if (end != NULL && strcmp(end, ".json") == 0)
        return open_index(dir, file, set_out, why);
    return tensor_set_open_any(dir, &name, 1, set_out, why);
}
