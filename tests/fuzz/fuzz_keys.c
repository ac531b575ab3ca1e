/* Key files and the list of those who may speak.
 *
 * Input: which (1 byte): 0 a list, 1 the file of a secret key, 2 two lists with a zero byte
 * between: one that a process begins with, and one that it finds later. */
#include "tests/fuzz/fuzz.h"

#include <sys/stat.h>
#include "common/keyring.h"

enum { LIST_MAX = 64 };

/* Of zmq_curve(7). */
static const char own[] = "worker worker-3 rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 "
                          "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6\n";

static void check_key(const struct key *key)
{
    must(key->role < KEY_ROLE_COUNT);
    must(memchr(key->name, 0, sizeof(key->name)) != NULL);
    must(strlen(key->public_key) == KEY_TEXT_BYTES - 1);
}

/* What is read can be written, and is then the same. */
static void try_list(struct feed feed)
{
    static struct key keys[LIST_MAX], again[LIST_MAX];
    struct err_msg why = {0};
    size_t count = 0, again_count = 0;
    const char *text = (const char *)feed.at;
    int err = key_list_parse(text, feed_left(&feed), "allowed", keys, LIST_MAX, &count, &why);
    if (err != 0) {
        must_say(why.text);
        return;
    }
    for (size_t i = 0; i < count; i++)
        check_key(&keys[i]);
    must(key_list_write(fuzz_path("allowed"), keys, count, &why) == 0);
    must(key_list_read(fuzz_path("allowed"), again, LIST_MAX, &again_count, &why) == 0);
    must(again_count == count && memcmp(keys, again, count * sizeof(*keys)) == 0);
}

/* The folder's file of that name, for its owner alone. */
static void write_secret(const char *name, const void *bytes, size_t size)
{
    fuzz_write(name, bytes, size);
    must(chmod(fuzz_path(name), 0600) == 0);
}

static void try_secret(struct feed feed)
{
    struct key key;
    struct err_msg why = {0};
    write_secret("secret.key", feed.at, feed_left(&feed));
    if (key_secret_read(fuzz_path("secret.key"), &key, &why) == 0) {
        check_key(&key);
        must(strlen(key.secret_key) == KEY_TEXT_BYTES - 1);
    } else {
        must_say(why.text);
        must(strstr(why.text, "JTKVSB") == NULL); /* no secret stands in a sentence */
    }
}

static void try_ring(struct feed feed)
{
    const uint8_t *zero = feed_left(&feed) == 0 ? NULL : memchr(feed.at, 0, feed_left(&feed));
    size_t first_bytes = zero == NULL ? feed_left(&feed) : (size_t)(zero - feed.at);
    struct feed first = feed_part(&feed, first_bytes);
    struct keyring *ring = NULL;
    struct err_msg why = {0};
    bool has_changed;
    feed_u8(&feed);
    write_secret("worker-3.key", own, sizeof(own) - 1);
    fuzz_write("allowed", first.at, feed_left(&first));
    if (keyring_open(fuzz_folder(), KEY_WORKER, 3, &ring, &why) != 0) {
        must_say(why.text);
        return;
    }
    must(keyring_allowed_count(ring) >= 3 && keyring_peer(ring, KEY_SERVER) != NULL);
    must(keyring_find(ring, keyring_own(ring)->public_key) >= 0);
    fuzz_write("allowed", feed.at, feed_left(&feed));
    if (keyring_refresh(ring, true, &has_changed, &why) != 0)
        must_say(why.text); /* and the old list stays */
    must(keyring_find(ring, keyring_own(ring)->public_key) >= 0);
    keyring_close(ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    uint8_t which = feed_u8(&feed) % 3;
    if (which == 0)
        try_list(feed);
    else if (which == 1)
        try_secret(feed);
    else
        try_ring(feed);
    return 0;
}
