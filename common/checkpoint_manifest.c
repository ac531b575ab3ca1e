#include "common/checkpoint_manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common/document.h"
#include "common/file.h"
#include "common/path.h"

static const char format_text[] = "talweg-checkpoint";
static const int64_t format_version = 2;
static const char no_digest[] = "0000000000000000000000000000000000000000000000000000000000000000";

enum { HEX_DIGITS = DIGEST_HEX_BYTES - 1, MANIFEST_BYTES_MAX = 1 << 20 };

static struct document *file_document(const struct manifest_file *file)
{
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    if (document_put(object, "name", document_text(file->name)) < 0 ||
        document_put(object, "bytes", document_whole((int64_t)file->size_bytes)) < 0 ||
        document_put(object, "sha256", document_text(file->sha256)) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

static struct document *files_document(const struct manifest *manifest)
{
    struct document *array = document_array();
    for (size_t i = 0; i < manifest->file_count && array != NULL; i++) {
        if (document_append(array, file_document(&manifest->files[i])) < 0) {
            document_destroy(array);
            return NULL;
        }
    }
    return array;
}

static struct document *states_document(const struct checkpoint_info *info)
{
    struct document *array = document_array();
    for (size_t i = 0; i < info->state_count && array != NULL; i++) {
        if (document_append(array, document_text(info->states[i])) < 0) {
            document_destroy(array);
            return NULL;
        }
    }
    return array;
}

/* NULL, which is out of memory. */
static struct document *early_stop_document(const struct early_stop *stop)
{
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    if (document_put(object, "hold_step", document_whole((int64_t)stop->hold_step)) < 0 ||
        document_put(object, "best_step", document_whole((int64_t)stop->best_step)) < 0 ||
        document_put(object, "best_loss", document_real(stop->best_loss)) < 0 ||
        document_put(object, "worse_count", document_whole((int64_t)stop->worse_count)) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

static struct document *manifest_document(const struct manifest *manifest)
{
    const struct checkpoint_info *info = &manifest->info;
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    if (document_put(object, "format", document_text(format_text)) < 0 ||
        document_put(object, "version", document_whole(format_version)) < 0 ||
        document_put(object, "step", document_whole((int64_t)info->step)) < 0 ||
        document_put(object, "run_id", document_text(info->run_id)) < 0 ||
        document_put(object, "fingerprint", document_text(info->fingerprint)) < 0 ||
        document_put(object, "optimizer", document_text(info->optimizer)) < 0 ||
        document_put(object, "states", states_document(info)) < 0 ||
        document_put(object, "layout", document_text(manifest->layout)) < 0 ||
        document_put(object, "early_stop", early_stop_document(&info->early_stop)) < 0 ||
        document_put(object, "digest", document_text(info->digest)) < 0 ||
        document_put(object, "files", files_document(manifest)) < 0 ||
        document_put(object, "sha256", document_text(no_digest)) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

/* Where the text's own 64 digits stand: the last value in it; NULL when it does not end so. */
static char *own_digits(char *text, size_t size)
{
    static const char tail[] = "\"\n}\n";
    size_t tail_bytes = sizeof(tail) - 1;
    if (size < tail_bytes + HEX_DIGITS || memcmp(text + size - tail_bytes, tail, tail_bytes) != 0)
        return NULL;
    return text + size - tail_bytes - HEX_DIGITS;
}

static int text_digest(const char *text, size_t size, char hex_out[DIGEST_HEX_BYTES])
{
    struct digest *digest = digest_create();
    if (digest == NULL)
        return ERR_NOMEM;
    digest_add(digest, text, size);
    digest_hex(digest, hex_out);
    digest_destroy(digest);
    return 0;
}

int manifest_write(const char *dir, const struct manifest *manifest, struct err_msg *why)
{
    char path[PATH_MAX], hex[DIGEST_HEX_BYTES];
    int err = path_join(path, dir, "checkpoint.json", why);
    if (err != 0)
        return err;
    struct document *document = manifest_document(manifest);
    char *text = document == NULL ? NULL : document_print(document, true);
    char *digits = text == NULL ? NULL : own_digits(text, strlen(text));
    if (digits == NULL || text_digest(text, strlen(text), hex) != 0) {
        err = err_set(why, ERR_NOMEM, "%s: no memory", path);
    } else {
        memcpy(digits, hex, HEX_DIGITS);
        err = file_replace(path, text, strlen(text), why);
    }
    free(text);
    document_destroy(document);
    return err;
}

static int check_own_digest(char *text, size_t size, struct err_msg *why)
{
    char said[HEX_DIGITS], found[DIGEST_HEX_BYTES];
    char *digits = own_digits(text, size);
    if (digits == NULL)
        return err_set(why, ERR_INPUT, "is cut or no manifest of a checkpoint");
    memcpy(said, digits, HEX_DIGITS);
    memcpy(digits, no_digest, HEX_DIGITS);
    int err = text_digest(text, size, found);
    if (err != 0)
        return err_set(why, err, "no memory");
    if (memcmp(said, found, HEX_DIGITS) != 0)
        return err_set(why, ERR_INPUT, "was changed: its sha256 is not the one it ends with");
    return 0;
}

static int get_text(const struct document *object, const char *key, char *out, size_t size,
                    struct err_msg *why)
{
    const char *text;
    int err = document_get_text(object, key, &text, why);
    if (err != 0)
        return err;
    size_t length = strlen(text);
    if (length >= size)
        return err_set(why, ERR_INPUT, "\"%s\" has %zu bytes; expected at most %zu", key, length,
                       size - 1);
    memcpy(out, text, length + 1);
    return 0;
}

static int get_count(const struct document *object, const char *key, uint64_t *out,
                     struct err_msg *why)
{
    int64_t whole;
    int err = document_get_whole(object, key, &whole, why);
    if (err != 0)
        return err;
    if (whole < 0)
        return err_set(why, ERR_INPUT, "\"%s\" is %" PRId64 "; expected 0 or more", key, whole);
    *out = (uint64_t)whole;
    return 0;
}

static int read_states(const struct document *states, struct checkpoint_info *info,
                       struct err_msg *why)
{
    size_t count = document_count(states);
    if (!document_is_array(states) || count > CHECKPOINT_STATES_MAX)
        return err_set(why, ERR_INPUT, "\"states\" is no list of at most %d names",
                       CHECKPOINT_STATES_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        int err = document_as_text(document_at(states, i), "states", &text, why);
        if (err != 0)
            return err;
        snprintf(info->states[i], sizeof(info->states[i]), "%s", text);
    }
    info->state_count = count;
    return 0;
}

static int read_file_row(const struct document *row, struct manifest_file *file,
                         struct err_msg *why)
{
    int err = get_text(row, "name", file->name, sizeof(file->name), why);
    if (err == 0)
        err = get_count(row, "bytes", &file->size_bytes, why);
    if (err == 0)
        err = get_text(row, "sha256", file->sha256, sizeof(file->sha256), why);
    if (err == 0 && (strchr(file->name, '/') != NULL || file->name[0] == '.'))
        err = err_set(why, ERR_INPUT, "\"%s\" is not a file of this folder", file->name);
    return err;
}

static int read_files(const struct document *files, struct manifest *manifest, struct err_msg *why)
{
    size_t count = document_count(files);
    if (!document_is_array(files) || count > MANIFEST_FILES_MAX)
        return err_set(why, ERR_INPUT, "\"files\" is no list of at most %d files",
                       MANIFEST_FILES_MAX);
    manifest->files = calloc(count + 1, sizeof(*manifest->files));
    if (manifest->files == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %zu files", count);
    for (; manifest->file_count < count; manifest->file_count++) {
        size_t idx = manifest->file_count;
        int err = read_file_row(document_at(files, idx), &manifest->files[idx], why);
        if (err != 0)
            return err;
    }
    return 0;
}

static int check_format(const struct document *object, struct err_msg *why)
{
    const char *format;
    int64_t version;
    int err = document_get_text(object, "format", &format, why);
    if (err == 0)
        err = document_get_whole(object, "version", &version, why);
    if (err != 0)
        return err;
    if (strcmp(format, format_text) != 0 || version != format_version)
        return err_set(why, ERR_INPUT,
                       "is \"%.32s\" version %" PRId64 "; this reads \"%s\" %" PRId64, format,
                       version, format_text, format_version);
    return 0;
}

/* A checkpoint of a version that knew none has none. */
static int read_early_stop(const struct document *object, struct early_stop *stop,
                           struct err_msg *why)
{
    if (object == NULL)
        return 0;
    int err = get_count(object, "hold_step", &stop->hold_step, why);
    if (err == 0)
        err = get_count(object, "best_step", &stop->best_step, why);
    if (err == 0)
        err = document_get_real(object, "best_loss", &stop->best_loss, why);
    return err == 0 ? get_count(object, "worse_count", &stop->worse_count, why) : err;
}

static int read_document(const struct document *object, struct manifest *manifest,
                         struct err_msg *why)
{
    struct checkpoint_info *info = &manifest->info;
    int err = check_format(object, why);
    if (err == 0)
        err = get_count(object, "step", &info->step, why);
    if (err == 0)
        err = get_text(object, "run_id", info->run_id, sizeof(info->run_id), why);
    if (err == 0)
        err = get_text(object, "fingerprint", info->fingerprint, sizeof(info->fingerprint), why);
    if (err == 0)
        err = get_text(object, "optimizer", info->optimizer, sizeof(info->optimizer), why);
    if (err == 0)
        err = get_text(object, "digest", info->digest, sizeof(info->digest), why);
    if (err == 0)
        err = get_text(object, "layout", manifest->layout, sizeof(manifest->layout), why);
    if (err == 0)
        err = read_states(document_get(object, "states"), info, why);
    if (err == 0)
        err = read_early_stop(document_get(object, "early_stop"), &info->early_stop, why);
    if (err == 0)
        err = read_files(document_get(object, "files"), manifest, why);
    return err;
}

int manifest_read(const char *dir, struct manifest *manifest_out, struct err_msg *why)
{
    char path[PATH_MAX], *text = NULL;
    struct document *document = NULL;
    size_t size;
    *manifest_out = (struct manifest){0};
    int err = path_join(path, dir, "checkpoint.json", why);
    if (err == 0)
        err = file_read(path, MANIFEST_BYTES_MAX, &text, &size, why);
    if (err != 0)
        return err;
    err = check_own_digest(text, size, why);
    if (err == 0)
        err = document_parse(text, size, &document, why);
    if (err == 0)
        err = read_document(document, manifest_out, why);
    if (err != 0) {
        err_prefix(why, err, "%s: ", path);
        manifest_free(manifest_out);
    }
    document_destroy(document);
    free(text);
    return err;
}

void manifest_free(struct manifest *manifest)
{
    free(manifest->files);
    *manifest = (struct manifest){0};
}

int manifest_measure(const char *path, struct manifest_file *file, struct err_msg *why)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        return err_set(why, code, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode))
        return err_set(why, ERR_IO, "%s: is no regular file", path);
    file->size_bytes = (uint64_t)status.st_size;
    int err = digest_file(path, file->sha256);
    return err == 0 ? 0 : err_set(why, err, "%s: cannot read: %s", path, strerror(errno));
}

static int check_file(const char *path, const struct manifest_file *wanted, struct err_msg *why)
{
    struct manifest_file found;
    int err = manifest_measure(path, &found, why);
    if (err == ERR_NOT_FOUND)
        return err_set(why, ERR_INPUT, "%s: is missing", path);
    if (err != 0)
        return err;
    if (found.size_bytes != wanted->size_bytes)
        return err_set(why, ERR_INPUT, "%s: has %" PRIu64 " bytes; the manifest says %" PRIu64,
                       path, found.size_bytes, wanted->size_bytes);
    if (strcmp(found.sha256, wanted->sha256) != 0)
        return err_set(why, ERR_INPUT, "%s: was changed: its sha256 is not the manifest's", path);
    return 0;
}

int manifest_check_files(const char *dir, const struct manifest *manifest, struct err_msg *why)
{
    for (size_t i = 0; i < manifest->file_count; i++) {
        char path[PATH_MAX];
        int err = path_join(path, dir, manifest->files[i].name, why);
        if (err == 0)
            err = check_file(path, &manifest->files[i], why);
        if (err != 0)
            return err;
    }
    return 0;
}
