#include "deploy/keygen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/guard.h"
#include "common/key_file.h"
#include "common/path.h"

/* The keys of a folder while it is filled. */
struct keygen {
    const char *folder;
    struct key *keys; /* [KEYS_MAX] */
    size_t count, known_count; /* known: were there before */
};

static const struct key *find(const struct keygen *keygen, const char *name)
{
    for (size_t i = 0; i < keygen->count; i++)
        if (strcmp(keygen->keys[i].name, name) == 0)
            return &keygen->keys[i];
    return NULL;
}

/* Makes the pair of that name unless the list has it. */
static int add(struct keygen *keygen, enum key_role role, const char *name, struct err_msg *why)
{
    char file[KEY_NAME_BYTES + 8], path[PATH_MAX];
    struct key key = {.role = role};
    if (find(keygen, name))
        return 0;
    if (keygen->count == KEYS_MAX)
        return err_set(why, ERR_FULL, "%s: more than %d keys", keygen->folder, KEYS_MAX);
    snprintf(key.name, sizeof(key.name), "%s", name);
    snprintf(file, sizeof(file), "%s.key", name);
    int code = path_join(path, keygen->folder, file, why);
    if (code == 0 && access(path, F_OK) == 0)
        code = err_set(why, ERR_INPUT,
                       "%s is there, but %s/allowed has no such key: it was shut out; take the "
                       "file away first",
                       path, keygen->folder);
    if (code == 0 && guard_make_pair(key.public_key, key.secret_key) < 0)
        code = err_set(why, ERR_NET, "this ZeroMQ was built without CURVE");
    if (code == 0)
        code = key_secret_write(path, &key, why);
    explicit_bzero(key.secret_key, sizeof(key.secret_key));
    if (code == 0)
        keygen->keys[keygen->count++] = key;
    return code;
}

static int add_all(struct keygen *keygen, unsigned long workers, struct err_msg *why)
{
    static const enum key_role alone[] = {KEY_COORDINATOR, KEY_SERVER, KEY_CLIENT};
    char name[KEY_NAME_BYTES];
    int code = 0;
    for (size_t i = 0; i < ARRAY_LEN(alone) && code == 0; i++)
        code = add(keygen, alone[i], key_role_name(alone[i]), why);
    if (workers == 0 && code == 0)
        code = add(keygen, KEY_WORKER, key_role_name(KEY_WORKER), why);
    for (unsigned long i = 0; i < workers && code == 0; i++) {
        snprintf(name, sizeof(name), "%s-%lu", key_role_name(KEY_WORKER), i);
        code = add(keygen, KEY_WORKER, name, why);
    }
    return code;
}

static int make_folder(const char *folder, struct err_msg *why)
{
    if (mkdir(folder, 0700) == 0 || errno == EEXIST)
        return 0;
    return err_set(why, ERR_IO, "%s: cannot be made: %s", folder, strerror(errno));
}

static int generate(struct keygen *keygen, unsigned long workers, struct err_msg *why)
{
    char list[PATH_MAX];
    int code = make_folder(keygen->folder, why);
    if (code == 0)
        code = path_join(list, keygen->folder, "allowed", why);
    if (code == 0 && access(list, F_OK) == 0)
        code = key_list_read(list, keygen->keys, KEYS_MAX, &keygen->count, why);
    keygen->known_count = keygen->count;
    if (code < 0)
        return code;
    code = add_all(keygen, workers, why);
    if (keygen->count == keygen->known_count)
        return code;
    /* Secrets that were made are of use only when they are on the list. */
    struct err_msg list_why;
    mode_t before = umask(022); /* a list that a group could write to would be refused */
    int list_code = key_list_write(list, keygen->keys, keygen->count, &list_why);
    umask(before);
    if (code == 0 && list_code < 0)
        *why = list_why;
    return code < 0 ? code : list_code;
}

int keygen_fill(const char *folder, unsigned long workers, size_t *count_out, size_t *new_count_out,
                struct err_msg *why)
{
    struct keygen keygen = {.folder = folder, .keys = calloc(KEYS_MAX, sizeof(struct key))};
    if (!keygen.keys)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int code = generate(&keygen, workers, why);
    free(keygen.keys);
    *count_out = keygen.count;
    *new_count_out = keygen.count - keygen.known_count;
    return code;
}
