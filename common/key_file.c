#include "common/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/file.h"

enum { LINE_BYTES_MAX = 256, WORDS_MAX = 4, LIST_WORDS = 3, SECRET_WORDS = 4 };

static const char head[] = "# Whose keys may speak: ROLE NAME PUBLIC.  Removing a line shuts its "
                           "owner out within seconds.\n";
static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char digits[] = "0123456789";

static const char *const role_names[KEY_ROLE_COUNT] = {"coordinator", "server", "worker", "client"};

const char *key_role_name(enum key_role role)
{
    return role_names[role];
}

/* Where a line stands, for sentences. */
struct place {
    const char *path;
    size_t line; /* from 1 */
};

static bool is_name(const char *text)
{
    size_t length = 0;
    while (text[length] != 0 && (strchr(letters, text[length]) != NULL ||
                                 strchr(digits, text[length]) != NULL ||
                                 strchr("._-", text[length]) != NULL))
        length++;
    return length > 0 && length < KEY_NAME_BYTES && text[length] == 0;
}

static bool is_z85(const char *text)
{
    size_t length = 0;
    while (text[length] != 0 && (strchr(letters, text[length]) != NULL ||
                                 strchr(digits, text[length]) != NULL ||
                                 strchr(".-:+=^!/*?&<>()[]{}@%$#", text[length]) != NULL))
        length++;
    return length == KEY_TEXT_BYTES - 1 && text[length] == 0;
}

/* A secret is never part of a sentence: words of its file, which may stand in a wrong order, are
 * not shown. */
static const char *shown(const char *word, size_t expected)
{
    return expected == SECRET_WORDS ? "(not shown)" : word;
}

static int parse_words(char *const *words, size_t count, size_t expected, struct place place,
                       struct key *key, struct err_msg *why)
{
    const char *form = expected == LIST_WORDS ? "ROLE NAME PUBLIC" : "ROLE NAME PUBLIC SECRET";
    int role = 0;
    if (count == SECRET_WORDS && expected == LIST_WORDS)
        return err_set(why, ERR_INPUT,
                       "%s:%zu: found four words, as a secret key has them; expected %s: a secret "
                       "does not belong into this list",
                       place.path, place.line, form);
    if (count != expected)
        return err_set(why, ERR_INPUT, "%s:%zu: found %zu words, expected %s", place.path,
                       place.line, count, form);
    while (role < KEY_ROLE_COUNT && strcmp(words[0], role_names[role]) != 0)
        role++;
    if (role == KEY_ROLE_COUNT)
        return err_set(why, ERR_INPUT,
                       "%s:%zu: found the role \"%.32s\", expected coordinator, server, worker or "
                       "client",
                       place.path, place.line, shown(words[0], expected));
    if (!is_name(words[1]))
        return err_set(why, ERR_INPUT,
                       "%s:%zu: found the name \"%.80s\", expected at most %d letters, digits, "
                       "dots, dashes and underscores",
                       place.path, place.line, shown(words[1], expected), KEY_NAME_BYTES - 1);
    for (size_t i = 2; i < expected; i++)
        if (!is_z85(words[i]))
            return err_set(why, ERR_INPUT,
                           "%s:%zu: found a %s key of %zu characters, expected the %d of a key in "
                           "Z85",
                           place.path, place.line, i == 2 ? "public" : "secret", strlen(words[i]),
                           KEY_TEXT_BYTES - 1);
    *key = (struct key){.role = (enum key_role)role};
    memcpy(key->name, words[1], strlen(words[1]) + 1);
    memcpy(key->public_key, words[2], KEY_TEXT_BYTES);
    if (expected == SECRET_WORDS)
        memcpy(key->secret_key, words[3], KEY_TEXT_BYTES);
    return 0;
}

/* Cuts a line into words; one more than there is room for when there are too many. */
static size_t split(char *line, char *words[WORDS_MAX])
{
    char *rest = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL;
         word = strtok_r(NULL, " \t\r", &rest)) {
        if (count == WORDS_MAX)
            return WORDS_MAX + 1;
        words[count++] = word;
    }
    return count;
}

/* *is_key_out stays false for a line that says nothing. */
static int parse_line(const char *text, size_t bytes, size_t expected, struct place place,
                      struct key *key, bool *is_key_out, struct err_msg *why)
{
    char line[LINE_BYTES_MAX], *words[WORDS_MAX];
    if (bytes >= sizeof(line) || memchr(text, 0, bytes) != NULL) {
        size_t begin = 0;
        while (begin < bytes && (text[begin] == ' ' || text[begin] == '\t'))
            begin++;
        if (begin < bytes && text[begin] == '#')
            return 0;
        return err_set(why, ERR_INPUT, "%s:%zu: found %zu bytes that are no line of keys",
                       place.path, place.line, bytes);
    }
    memcpy(line, text, bytes);
    line[bytes] = 0;
    size_t begin = strspn(line, " \t\r");
    if (line[begin] == 0 || line[begin] == '#')
        return 0;
    *is_key_out = true;
    size_t count = split(line, words);
    int err = parse_words(words, count, expected, place, key, why);
    explicit_bzero(line, sizeof(line));
    return err;
}

static int check_new(const struct key *keys, size_t count, const struct key *key,
                     struct place place, struct err_msg *why)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].public_key, key->public_key) == 0)
            return err_set(why, ERR_INPUT, "%s:%zu: found the key of %s again, as that of %s",
                           place.path, place.line, keys[i].name, key->name);
        if (strcmp(keys[i].name, key->name) == 0)
            return err_set(why, ERR_INPUT, "%s:%zu: found the name %s for a second time",
                           place.path, place.line, key->name);
    }
    return 0;
}

static int parse(const char *text, size_t text_bytes, size_t expected, const char *path,
                 struct key *keys, size_t capacity, size_t *count_out, struct err_msg *why)
{
    struct place place = {.path = path};
    size_t count = 0;
    const char *end = text + text_bytes;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t bytes = (size_t)((newline == NULL ? end : newline) - text);
        struct key key;
        bool is_key = false;
        place.line++;
        int err = parse_line(text, bytes, expected, place, &key, &is_key, why);
        if (err == 0 && is_key)
            err = check_new(keys, count, &key, place, why);
        if (err == 0 && is_key && count == capacity)
            err = err_set(why, ERR_INPUT, "%s:%zu: found more than %zu key%s", path, place.line,
                          capacity, capacity == 1 ? "" : "s");
        if (err != 0)
            return err;
        if (is_key)
            keys[count++] = key;
        text += bytes + (newline != NULL);
    }
    *count_out = count;
    return 0;
}

int key_list_parse(const char *text, size_t text_bytes, const char *path, struct key *keys_out,
                   size_t capacity, size_t *count_out, struct err_msg *why)
{
    return parse(text, text_bytes, LIST_WORDS, path, keys_out, capacity, count_out, why);
}

int key_list_read(const char *path, struct key *keys_out, size_t capacity, size_t *count_out,
                  struct err_msg *why)
{
    struct stat info;
    char *text;
    size_t bytes;
    if (stat(path, &info) == 0 && (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return err_set(why, ERR_INPUT,
                       "%s: found mode %03o: others could add themselves; expected that its owner "
                       "alone may write it, chmod go-w",
                       path, (unsigned)(info.st_mode & 0777));
    int err = file_read(path, KEY_FILE_BYTES_MAX, &text, &bytes, why);
    if (err != 0)
        return err;
    err = key_list_parse(text, bytes, path, keys_out, capacity, count_out, why);
    free(text);
    return err;
}

/* The file's owner is this user, and nobody else may do anything; or root, and a group may read,
 * as in a secret that Kubernetes mounts. */
static int check_secrecy(const char *path, const struct stat *info, struct err_msg *why)
{
    unsigned mode = (unsigned)(info->st_mode & 0777);
    uid_t self = geteuid();
    if (info->st_uid != self && info->st_uid != 0)
        return err_set(why, ERR_REFUSED,
                       "%s: a secret key that belongs to user %u; expected user %u, who runs this, "
                       "or root",
                       path, (unsigned)info->st_uid, (unsigned)self);
    if ((mode & (info->st_uid == 0 ? 037U : 077U)) != 0)
        return err_set(why, ERR_REFUSED,
                       "%s: a secret key that others can read or write (mode %03o); expected 600: "
                       "chmod 600 %s, and a new key if anyone may have read it",
                       path, mode, path);
    return 0;
}

int key_secret_read(const char *path, struct key *key_out, struct err_msg *why)
{
    char text[LINE_BYTES_MAX * 4];
    struct stat info;
    size_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    int err = fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)
                  ? err_set(why, ERR_INPUT, "%s: found no regular file, expected a secret key",
                            path)
                  : check_secrecy(path, &info, why);
    ssize_t bytes = err == 0 ? read(fd, text, sizeof(text)) : 0;
    close(fd);
    if (bytes < 0)
        return err_set(why, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (err == 0)
        err = parse(text, (size_t)bytes, SECRET_WORDS, path, key_out, 1, &count, why);
    explicit_bzero(text, sizeof(text));
    if (err == 0 && count == 0)
        return err_set(why, ERR_INPUT, "%s: found no key, expected ROLE NAME PUBLIC SECRET", path);
    return err;
}

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(fd, text, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        text += written;
        bytes -= (size_t)written;
    }
    return fsync(fd);
}

int key_secret_write(const char *path, const struct key *key, struct err_msg *why)
{
    char text[LINE_BYTES_MAX];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(why, ERR_IO, "%s: cannot be made: %s", path, strerror(errno));
    int bytes = snprintf(text, sizeof(text), "%s %s %s %s\n", key_role_name(key->role), key->name,
                         key->public_key, key->secret_key);
    int rc = write_all(fd, text, (size_t)bytes);
    int error = errno;
    explicit_bzero(text, sizeof(text));
    close(fd);
    if (rc == 0)
        return 0;
    unlink(path);
    return err_set(why, ERR_IO, "%s: cannot be written: %s", path, strerror(error));
}

int key_list_write(const char *path, const struct key *keys, size_t count, struct err_msg *why)
{
    char *text = malloc(sizeof(head) + count * LINE_BYTES_MAX);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %zu keys", count);
    size_t bytes = sizeof(head) - 1;
    memcpy(text, head, bytes);
    for (size_t i = 0; i < count; i++)
        bytes += (size_t)snprintf(text + bytes, LINE_BYTES_MAX, "%s %s %s\n",
                                  key_role_name(keys[i].role), keys[i].name, keys[i].public_key);
    int err = file_replace(path, text, bytes, why);
    free(text);
    return err;
}
