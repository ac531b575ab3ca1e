#include "common/keyring.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/guard.h"
#include "common/path.h"

static const char list_name[] = "allowed";

struct row {
    struct key key; /* does not change once the row is counted */
    atomic_bool is_allowed;
};

/* By which a file is known to be another, or changed. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};

struct keyring {
    struct key own;
    char list_path[PATH_MAX];
    const char *peers[KEY_ROLE_COUNT]; /* public keys of those who listen */
    struct stamp read_stamp, seen_stamp;
    atomic_size_t row_count;
    struct key *fresh; /* [KEYS_MAX], of keyring_refresh */
    struct row rows[KEYS_MAX];
};

static bool is_same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static struct stamp stamp_of(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return (struct stamp){0};
    return (struct stamp){info.st_dev, info.st_ino, info.st_size, info.st_ctim};
}

static bool is_same_key(const struct key *a, const struct key *b)
{
    return a->role == b->role && strcmp(a->name, b->name) == 0 &&
           strcmp(a->public_key, b->public_key) == 0;
}

static const struct key *first_of(const struct key *keys, size_t count, enum key_role role)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].role == role)
            return &keys[i];
    return NULL;
}

/* A list that shuts this process or those it needs out is a mistake, or only half written. */
static int check_list(const struct keyring *ring, const struct key *keys, size_t count,
                      struct err_msg *why)
{
    for (enum key_role role = KEY_COORDINATOR; role <= KEY_SERVER; role++)
        if (first_of(keys, count, role) == NULL)
            return err_set(why, ERR_INPUT,
                           "%s: found no key of a %s among %zu, expected one for everybody to know "
                           "it by",
                           ring->list_path, key_role_name(role), count);
    for (size_t i = 0; i < count; i++)
        if (is_same_key(&keys[i], &ring->own))
            return 0;
    return err_set(why, ERR_REFUSED,
                   "%s: the key %s of this process is not on it; add the line \"%s %s %s\" if it "
                   "may take part",
                   ring->list_path, ring->own.name, key_role_name(ring->own.role), ring->own.name,
                   ring->own.public_key);
}

static size_t row_count(const struct keyring *ring)
{
    return atomic_load_explicit(&ring->row_count, memory_order_acquire);
}

static bool is_on(const struct key *key, const struct key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_same_key(key, &keys[i]))
            return true;
    return false;
}

/* Rows that are not on the new list are out, those that are new get a row. */
static int take_over(struct keyring *ring, const struct key *keys, size_t count, bool *has_changed,
                     struct err_msg *why)
{
    size_t known = row_count(ring), added = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_known = false;
        for (size_t j = 0; j < known && !is_known; j++)
            is_known = is_same_key(&ring->rows[j].key, &keys[i]);
        if (is_known)
            continue;
        if (known + added == KEYS_MAX)
            return err_set(why, ERR_FULL,
                           "%s: more than %d keys since this process was started; start it again",
                           ring->list_path, KEYS_MAX);
        ring->rows[known + added++].key = keys[i];
    }
    for (size_t j = 0; j < known + added; j++) {
        bool is_allowed = is_on(&ring->rows[j].key, keys, count);
        *has_changed |= atomic_exchange(&ring->rows[j].is_allowed, is_allowed) != is_allowed;
    }
    atomic_store_explicit(&ring->row_count, known + added, memory_order_release);
    return 0;
}

static int read_list(struct keyring *ring, bool *has_changed, struct err_msg *why)
{
    size_t count = 0;
    int err = key_list_read(ring->list_path, ring->fresh, KEYS_MAX, &count, why);
    if (err == 0)
        err = check_list(ring, ring->fresh, count, why);
    return err == 0 ? take_over(ring, ring->fresh, count, has_changed, why) : err;
}

static bool is_worker_key(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strncmp(name, "worker-", strlen("worker-")) == 0 && dot != NULL &&
           strcmp(dot, ".key") == 0;
}

/* The only worker-*.key there. */
static int only_worker_key(const char *folder, char name_out[NAME_MAX + 1], struct err_msg *why)
{
    DIR *dir = opendir(folder);
    int found = 0;
    if (dir == NULL)
        return err_set(why, ERR_NOT_FOUND, "the folder of keys %s: %s", folder, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (!is_worker_key(entry->d_name))
            continue;
        snprintf(name_out, NAME_MAX + 1, "%s", entry->d_name);
        found++;
    }
    closedir(dir);
    if (found == 1)
        return 0;
    return err_set(why, ERR_NOT_FOUND,
                   "%s: found %s worker-*.key and no worker.key; expected worker.key, or "
                   "worker-RANK.key of the rank that --rank or the launcher gives",
                   folder, found == 0 ? "no" : "more than one");
}

static int find_own(const char *folder, enum key_role role, int rank, char path_out[PATH_MAX],
                    struct err_msg *why)
{
    char name[NAME_MAX + 1];
    snprintf(name, sizeof(name), "%s.key", key_role_name(role));
    if (role != KEY_WORKER)
        return path_join(path_out, folder, name, why);
    if (rank >= 0) {
        snprintf(name, sizeof(name), "worker-%d.key", rank);
        int err = path_join(path_out, folder, name, why);
        if (err != 0 || access(path_out, F_OK) == 0)
            return err;
    }
    int err = path_join(path_out, folder, "worker.key", why);
    if (err != 0 || access(path_out, F_OK) == 0)
        return err;
    err = only_worker_key(folder, name, why);
    return err != 0 ? err : path_join(path_out, folder, name, why);
}

static int read_own(struct keyring *ring, const char *folder, enum key_role role, int rank,
                    struct err_msg *why)
{
    char path[PATH_MAX];
    int err = find_own(folder, role, rank, path, why);
    if (err != 0)
        return err;
    err = key_secret_read(path, &ring->own, why);
    if (err == ERR_NOT_FOUND)
        return err_set(why, err,
                       "%s: there is no such file, expected the secret key of a %s, as `talweg "
                       "keygen --out DIR` makes it",
                       path, key_role_name(role));
    if (err == 0 && !guard_is_pair(&ring->own))
        err = err_set(why, ERR_INPUT, "%s: found a secret key that does not belong to the public "
                      "one before it; make a new pair", path);
    if (err == 0 && ring->own.role != role)
        err = err_set(why, ERR_INPUT, "%s: found the key of a %s, expected that of a %s", path,
                      key_role_name(ring->own.role), key_role_name(role));
    return err;
}

int keyring_open(const char *folder, enum key_role role, int rank, struct keyring **ring_out,
                 struct err_msg *why)
{
    struct keyring *ring = calloc(1, sizeof(*ring));
    struct key *fresh = calloc(KEYS_MAX, sizeof(*fresh));
    bool has_changed = false;
    int err = 0;
    if (ring == NULL || fresh == NULL) {
        free(ring);
        free(fresh);
        return err_set(why, ERR_NOMEM, "no memory for keys");
    }
    ring->fresh = fresh;
    err = read_own(ring, folder, role, rank, why);
    if (err == 0)
        err = path_join(ring->list_path, folder, list_name, why);
    if (err == 0) {
        ring->read_stamp = ring->seen_stamp = stamp_of(ring->list_path);
        err = read_list(ring, &has_changed, why);
    }
    if (err != 0) {
        keyring_close(ring);
        return err;
    }
    for (enum key_role peer = KEY_COORDINATOR; peer <= KEY_SERVER; peer++)
        for (size_t i = row_count(ring); i-- > 0;)
            if (ring->rows[i].key.role == peer)
                ring->peers[peer] = ring->rows[i].key.public_key;
    *ring_out = ring;
    return 0;
}

void keyring_close(struct keyring *ring)
{
    if (ring == NULL)
        return;
    free(ring->fresh);
    explicit_bzero(&ring->own, sizeof(ring->own));
    free(ring);
}

const struct key *keyring_own(const struct keyring *ring)
{
    return &ring->own;
}

const char *keyring_peer(const struct keyring *ring, enum key_role role)
{
    assert(role == KEY_COORDINATOR || role == KEY_SERVER);
    return ring->peers[role];
}

int keyring_refresh(struct keyring *ring, bool is_forced, bool *has_changed_out,
                    struct err_msg *why)
{
    struct stamp now = stamp_of(ring->list_path);
    bool is_settled = is_same_stamp(&now, &ring->seen_stamp);
    ring->seen_stamp = now;
    *has_changed_out = false;
    if (!is_forced && (!is_settled || is_same_stamp(&now, &ring->read_stamp)))
        return 0;
    ring->read_stamp = now;
    return read_list(ring, has_changed_out, why);
}

int keyring_find(const struct keyring *ring, const char public_key[KEY_TEXT_BYTES])
{
    for (size_t i = row_count(ring); i-- > 0;)
        if (strcmp(ring->rows[i].key.public_key, public_key) == 0 &&
            keyring_is_allowed(ring, (int)i))
            return (int)i;
    return -1;
}

bool keyring_is_allowed(const struct keyring *ring, int number)
{
    return number >= 0 && (size_t)number < row_count(ring) &&
           atomic_load_explicit(&ring->rows[number].is_allowed, memory_order_relaxed);
}

const struct key *keyring_at(const struct keyring *ring, int number)
{
    assert(number >= 0 && (size_t)number < row_count(ring));
    return &ring->rows[number].key;
}

size_t keyring_allowed_count(const struct keyring *ring)
{
    size_t count = 0;
    for (size_t i = row_count(ring); i-- > 0;)
        count += keyring_is_allowed(ring, (int)i);
    return count;
}

static int compare_keys(const void *a, const void *b)
{
    const struct key *const *x = a, *const *y = b;
    int order = strcmp((*x)->public_key, (*y)->public_key);
    return order != 0 ? order : strcmp((*x)->name, (*y)->name);
}

int keyring_digest(const struct keyring *ring, char hex_out[DIGEST_HEX_BYTES])
{
    size_t known = row_count(ring), count = 0;
    const struct key **keys = calloc(known + 1, sizeof(struct key *));
    struct digest *digest = digest_create();
    int err = keys == NULL || digest == NULL ? ERR_NOMEM : 0;
    for (size_t i = 0; i < known && err == 0; i++)
        if (keyring_is_allowed(ring, (int)i))
            keys[count++] = &ring->rows[i].key;
    if (err == 0) {
        qsort(keys, count, sizeof(keys[0]), compare_keys);
        for (size_t i = 0; i < count; i++) {
            const char *role = key_role_name(keys[i]->role);
            digest_add(digest, role, strlen(role) + 1);
            digest_add(digest, keys[i]->name, strlen(keys[i]->name) + 1);
            digest_add(digest, keys[i]->public_key, strlen(keys[i]->public_key) + 1);
        }
        digest_hex(digest, hex_out);
    }
    free(keys);
    digest_destroy(digest);
    return err;
}

bool key_speaks_as(enum key_role role, enum party party)
{
    switch (role) {
    case KEY_COORDINATOR:
        return party == PARTY_COORDINATOR || party == PARTY_STORE;
    case KEY_SERVER:
        return party == PARTY_SHARD;
    case KEY_WORKER:
        return party == PARTY_WORKER;
    case KEY_CLIENT:
        return party == PARTY_CLIENT;
    case KEY_ROLE_COUNT:
        break;
    }
    return false;
}
