#include "common/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/checkpoint_manifest.h"
#include "common/file.h"
#include "common/path.h"

enum { NAME_BYTES = 256 };

static const char prefix[] = "checkpoint-";
static const char mark[] = ".tmp-";
/* The tag of a folder that is on its way out: no writer's, so the next sweep takes it too. */
static const char removed_tag[] = "removed";

static int io_error(const char *path, const char *what, struct err_msg *why)
{
    return err_set(why, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* Reads "checkpoint-<step>" and moves *rest_out behind it.  No leading zeros, so that one step has
 * one name. */
static bool parse_name(const char *name, uint64_t *step_out, const char **rest_out)
{
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    const char *digits = name + sizeof(prefix) - 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 19 || (digits[0] == '0' && count > 1))
        return false;
    *step_out = strtoull(digits, NULL, 10);
    *rest_out = digits + count;
    return true;
}

static bool is_temporary(const char *name)
{
    uint64_t step;
    const char *rest;
    if (!parse_name(name, &step, &rest) || strncmp(rest, mark, sizeof(mark) - 1) != 0)
        return false;
    rest += sizeof(mark) - 1;
    return *rest != 0 && rest[strspn(rest, "0123456789abcdefghijklmnopqrstuvwxyz")] == 0;
}

int folder_make(const char *out_dir, uint64_t step, const char *tag, char path_out[PATH_MAX],
                struct err_msg *why)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%s%" PRIu64 "%s%s", prefix, step, mark, tag);
    int err = path_join(path_out, out_dir, name, why);
    if (err == 0)
        err = folder_remove(path_out, why);
    if (err == 0 && mkdir(path_out, 0777) != 0)
        err = io_error(path_out, "make the folder", why);
    return err;
}

/* Puts temporary in the place of final, which is there, and leaves the old one under a temporary
 * name.  In one move where the file system can exchange two. */
static int replace(const char *temporary, const char *final, struct err_msg *why)
{
    char old[PATH_MAX];
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, final, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return io_error(final, "replace it", why);
    if (snprintf(old, sizeof(old), "%s%s%s", final, mark, removed_tag) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%s: the path is too long", final);
    int err = folder_remove(old, why);
    if (err != 0)
        return err;
    if (rename(final, old) != 0 || rename(temporary, final) != 0)
        return io_error(final, "replace it", why);
    return folder_remove(old, why);
}

int folder_publish(const char *out_dir, const char *temporary, uint64_t step,
                   char path_out[PATH_MAX], struct err_msg *why)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%s%" PRIu64, prefix, step);
    int err = path_join(path_out, out_dir, name, why);
    if (err == 0)
        err = file_sync_folder(temporary, why);
    if (err != 0)
        return err;
    if (rename(temporary, path_out) != 0) {
        if (errno != ENOTEMPTY && errno != EEXIST)
            return io_error(path_out, "give it its name", why);
        err = replace(temporary, path_out, why);
        if (err != 0)
            return err;
    }
    return file_sync_folder(out_dir, why);
}

int folder_remove(const char *path, struct err_msg *why)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return errno == ENOENT ? 0 : io_error(path, "open", why);
    struct dirent *item;
    int err = 0;
    while (err == 0 && (item = readdir(folder)) != NULL) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(folder), item->d_name, 0) != 0 && errno != ENOENT)
            err = io_error(path, "empty the folder", why);
    }
    closedir(folder);
    if (err == 0 && rmdir(path) != 0)
        err = io_error(path, "remove the folder", why);
    return err;
}

/* The steps of a folder's checkpoints. */
struct step_list {
    uint64_t *steps;
    size_t count, capacity;
};

static int add_step(struct step_list *list, uint64_t step)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        uint64_t *steps = realloc(list->steps, capacity * sizeof(*steps));
        if (steps == NULL)
            return ERR_NOMEM;
        list->steps = steps;
        list->capacity = capacity;
    }
    list->steps[list->count++] = step;
    return 0;
}

static int compare_down(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* All checkpoint-<step> in dir, latest first; the caller frees list_out->steps, also on failure. */
static int list_steps(const char *dir, struct step_list *list_out, struct err_msg *why)
{
    *list_out = (struct step_list){0};
    DIR *folder = opendir(dir);
    if (folder == NULL && errno == ENOENT)
        return err_set(why, ERR_NOT_FOUND, "%s: no such folder", dir);
    if (folder == NULL)
        return io_error(dir, "read the folder", why);
    struct dirent *item;
    int err = 0;
    while (err == 0 && (item = readdir(folder)) != NULL) {
        uint64_t step;
        const char *rest;
        if (parse_name(item->d_name, &step, &rest) && *rest == 0)
            err = add_step(list_out, step);
    }
    closedir(folder);
    if (err != 0)
        return err_set(why, err, "%s: no memory for its list of checkpoints", dir);
    if (list_out->count > 0)
        qsort(list_out->steps, list_out->count, sizeof(*list_out->steps), compare_down);
    return 0;
}

static int step_path(const char *dir, uint64_t step, char path_out[PATH_MAX], struct err_msg *why)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%s%" PRIu64, prefix, step);
    return path_join(path_out, dir, name, why);
}

/* When the manifest, the last file of a checkpoint, was written; where there is none, when it was
 * taken away. */
static struct timespec written_at(const char *dir)
{
    struct stat status;
    char path[PATH_MAX];
    if ((path_join(path, dir, "checkpoint.json", NULL) != 0 || stat(path, &status) != 0) &&
        stat(dir, &status) != 0)
        return (struct timespec){0};
    return status.st_mtim;
}

static bool is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static bool is_checkpoint(const char *dir)
{
    char manifest[PATH_MAX];
    return path_join(manifest, dir, "checkpoint.json", NULL) == 0 && access(manifest, F_OK) == 0;
}

/* Puts the one written last of list[first..] at list[first]; of two at once, the higher step. */
static int bring_newest(struct step_list *list, size_t first, const char *dir, struct err_msg *why)
{
    struct timespec newest = {0};
    for (size_t i = first; i < list->count; i++) {
        char path[PATH_MAX];
        int err = step_path(dir, list->steps[i], path, why);
        if (err != 0)
            return err;
        if (i > first && !is_later(written_at(path), newest))
            continue;
        newest = written_at(path);
        uint64_t step = list->steps[i]; /* those between keep their order */
        memmove(&list->steps[first + 1], &list->steps[first], (i - first) * sizeof(step));
        list->steps[first] = step;
    }
    return 0;
}

int checkpoint_candidate(const char *dir, size_t idx, char path_out[PATH_MAX], struct err_msg *why)
{
    struct step_list list;
    if (is_checkpoint(dir)) {
        snprintf(path_out, PATH_MAX, "%s", dir);
        return idx == 0 ? 0 : err_set(why, ERR_NOT_FOUND, "%s: is the only one", dir);
    }
    int err = list_steps(dir, &list, why);
    if (err == 0 && list.count == 0)
        err = err_set(why, ERR_NOT_FOUND, "%s: has no checkpoint-<step> folder", dir);
    else if (err == 0 && idx >= list.count)
        err = err_set(why, ERR_NOT_FOUND, "%s: has only %zu checkpoints", dir, list.count);
    for (size_t i = 0; i <= idx && err == 0; i++)
        err = bring_newest(&list, i, dir, why);
    if (err == 0)
        err = step_path(dir, list.steps[idx], path_out, why);
    free(list.steps);
    return err;
}

static int try_manifest(const char *dir, struct err_msg *why)
{
    struct manifest manifest;
    int err = manifest_read(dir, &manifest, why);
    if (err == 0)
        manifest_free(&manifest);
    return err;
}

int checkpoint_read_info(const char *dir, struct checkpoint_info *info_out, struct err_msg *why)
{
    struct manifest manifest;
    int err = manifest_read(dir, &manifest, why);
    if (err == 0) {
        *info_out = manifest.info;
        manifest_free(&manifest);
    }
    return err;
}

int checkpoint_latest(const char *dir, char path_out[PATH_MAX], struct err_msg *why)
{
    struct err_msg first = {""};
    if (is_checkpoint(dir))
        return checkpoint_candidate(dir, 0, path_out, why);
    for (size_t idx = 0;; idx++) {
        int err = checkpoint_candidate(dir, idx, path_out, idx == 0 ? why : NULL);
        if (err != 0 && idx > 0)
            return err_set(why, err, "%s: has no whole checkpoint: %s", dir, first.text);
        if (err != 0 || try_manifest(path_out, idx == 0 ? &first : NULL) == 0)
            return err;
    }
}

/* Under a temporary name first: what is left when this is cut short is no checkpoint. */
static int remove_checkpoint(const char *out_dir, uint64_t step, struct err_msg *why)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    int err = step_path(out_dir, step, path, why);
    if (err != 0 || try_manifest(path, NULL) != 0)
        return err;
    if (snprintf(temporary, sizeof(temporary), "%s%s%s", path, mark, removed_tag) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%s: the path is too long", path);
    err = folder_remove(temporary, why);
    if (err == 0 && rename(path, temporary) != 0)
        err = io_error(path, "remove", why);
    return err != 0 ? err : folder_remove(temporary, why);
}

static bool is_spared(const struct prune_rule *rule, uint64_t step)
{
    return step != 0 && (step == rule->spared[0] || step == rule->spared[1]);
}

int checkpoint_prune(const char *out_dir, const struct prune_rule *rule, struct err_msg *why)
{
    struct step_list list;
    if (rule->keep == 0)
        return 0;
    int err = list_steps(out_dir, &list, why);
    size_t kept = 0;
    for (size_t i = 0; i < list.count && err == 0; i++) {
        bool is_old = list.steps[i] <= rule->step && kept++ >= rule->keep;
        if (!is_old || is_spared(rule, list.steps[i]))
            continue;
        err = remove_checkpoint(out_dir, list.steps[i], why);
    }
    free(list.steps);
    return err;
}

int checkpoint_sweep(const char *out_dir, const char *tag, struct err_msg *why)
{
    DIR *folder = opendir(out_dir);
    if (folder == NULL)
        return io_error(out_dir, "read the folder", why);
    struct dirent *item;
    int err = 0;
    while (err == 0 && (item = readdir(folder)) != NULL) {
        char path[PATH_MAX];
        const char *own = strstr(item->d_name, mark);
        if (!is_temporary(item->d_name) || strcmp(own + sizeof(mark) - 1, tag) == 0)
            continue;
        err = path_join(path, out_dir, item->d_name, why);
        if (err == 0)
            err = folder_remove(path, why);
    }
    closedir(folder);
    return err;
}
