#include "common/keyring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/guard.h"
#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

#define KEY_A "iz%IMylFirXea<92^^Z+p%[Iqrt%l.(8k:3]sLOG"
#define KEY_B "kVadAwLMsIUg!Uh6]w291s.dVD{LikfV@)F)@c.>"

static int parse(const char *text, struct key *keys, size_t *count, struct err_msg *why)
{
    return key_list_parse(text, strlen(text), "allowed", keys, 4, count, why);
}

static void test_key_list_reads_what_it_wrote(void)
{
    const struct key keys[] = {{.role = KEY_COORDINATOR, .name = "head", .public_key = KEY_A},
                               {.role = KEY_WORKER, .name = "worker-7", .public_key = KEY_B}};
    struct key read[4];
    size_t count = 0;
    const char *path = temp_path("written");
    CU_ASSERT_EQUAL(key_list_write(path, keys, 2, NULL), 0);
    CU_ASSERT_EQUAL(key_list_read(path, read, 4, &count, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(count, 2);
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(read[i].role, keys[i].role);
        CU_ASSERT_STRING_EQUAL(read[i].name, keys[i].name);
        CU_ASSERT_STRING_EQUAL(read[i].public_key, keys[i].public_key);
        CU_ASSERT_STRING_EQUAL(read[i].secret_key, "");
    }
}

static void test_key_list_takes_comments_and_blank_lines(void)
{
    struct key keys[4];
    size_t count = 9;
    CU_ASSERT_EQUAL(parse("# all of them\n\n  \t\r\n  worker a " KEY_A "\r\nclient b " KEY_B, keys,
                          &count, NULL),
                    0);
    CU_ASSERT_EQUAL(count, 2);
    CU_ASSERT_EQUAL(parse("", keys, &count, NULL), 0);
    CU_ASSERT_EQUAL(count, 0);
}

static void test_key_list_names_the_line_and_what_is_wrong(void)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"worker a " KEY_A " " KEY_B, "allowed:1: found four words"},
        {"\nworker " KEY_A, "allowed:2: found 2 words"},
        {"guest a " KEY_A, "allowed:1: found the role \"guest\""},
        {"worker a/b " KEY_A, "allowed:1: found the name \"a/b\""},
        {"worker a short", "allowed:1: found a public key of 5 characters"},
        {"worker a " KEY_A "\nworker b " KEY_A, "allowed:2: found the key of a again"},
        {"worker a " KEY_A "\nclient a " KEY_B, "allowed:2: found the name a for a second time"},
        {"a b c d e f", "allowed:1: found 5 words"},
    };
    struct key keys[4];
    size_t count;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err_msg why = {0};
        CU_ASSERT_EQUAL(parse(cases[i].text, keys, &count, &why), ERR_INPUT);
        CU_ASSERT(strncmp(why.text, cases[i].said, strlen(cases[i].said)) == 0);
    }
}

static void test_key_list_takes_no_more_than_its_capacity(void)
{
    struct key keys[1];
    struct err_msg why = {0};
    size_t count;
    const char *text = "worker a " KEY_A "\nworker b " KEY_B "\n";
    CU_ASSERT_EQUAL(key_list_parse(text, strlen(text), "allowed", keys, 1, &count, &why),
                    ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "more than 1 key"));
}

static void test_key_secret_is_refused_when_others_can_read_it(void)
{
    struct key key = {.role = KEY_CLIENT, .name = "client"}, read;
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(guard_make_pair(key.public_key, key.secret_key), 0);
    const char *path = temp_path("client.key");
    CU_ASSERT_EQUAL(key_secret_write(path, &key, &why), 0);
    CU_ASSERT_EQUAL(key_secret_read(path, &read, &why), 0);
    CU_ASSERT_STRING_EQUAL(read.secret_key, key.secret_key);
    CU_ASSERT(guard_is_pair(&read));
    CU_ASSERT_EQUAL(chmod(path, 0644), 0);
    CU_ASSERT_EQUAL(key_secret_read(path, &read, &why), ERR_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "others can read or write (mode 644)"));
    CU_ASSERT_PTR_NULL(strstr(why.text, key.secret_key));
    CU_ASSERT_EQUAL(chmod(path, 0620), 0);
    CU_ASSERT_EQUAL(key_secret_read(path, &read, &why), ERR_REFUSED);
    CU_ASSERT_EQUAL(key_secret_write(path, &key, &why), ERR_IO); /* never over another */
}

/* Whatever the order of its words, or which is missing. */
static void test_key_secret_is_not_shown_when_its_file_is_wrong(void)
{
    static const char *const texts[] = {KEY_B " worker a " KEY_A, "worker " KEY_B "? a " KEY_A,
                                        "worker a " KEY_B, "worker a " KEY_B "x " KEY_B};
    struct key read;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err_msg why = {0};
        const char *path = temp_text("wrong.key", texts[i]);
        CU_ASSERT_EQUAL_FATAL(chmod(path, 0600), 0);
        CU_ASSERT_EQUAL(key_secret_read(path, &read, &why), ERR_INPUT);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "wrong.key:1: found"));
        CU_ASSERT_PTR_NULL(strstr(why.text, "kVadAwLMs"));
    }
}

/* A folder with a coordinator, a server and three workers; the secret of worker a. */
static struct key pairs[5];

static void write_list(const char *folder, size_t count)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/allowed", folder);
    CU_ASSERT_EQUAL_FATAL(key_list_write(path, pairs, count, NULL), 0);
}

static const char *make_folder(const char *name)
{
    static const char *const names[] = {"coordinator", "server", "worker-0", "worker-1",
                                        "worker-2"};
    static char folder[PATH_MAX];
    char path[PATH_MAX + 16];
    snprintf(folder, sizeof(folder), "%s", temp_path(name));
    CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        pairs[i].role = i < 2 ? (enum key_role)i : KEY_WORKER;
        snprintf(pairs[i].name, sizeof(pairs[i].name), "%s", names[i]);
        CU_ASSERT_EQUAL_FATAL(guard_make_pair(pairs[i].public_key, pairs[i].secret_key), 0);
        snprintf(path, sizeof(path), "%s/%s.key", folder, names[i]);
        CU_ASSERT_EQUAL_FATAL(key_secret_write(path, &pairs[i], NULL), 0);
    }
    write_list(folder, ARRAY_LEN(names));
    return folder;
}

static void test_keyring_finds_the_key_of_its_role_and_rank(void)
{
    struct keyring *ring;
    struct err_msg why = {0};
    char path[PATH_MAX + 16];
    const char *folder = make_folder("ring");
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_COORDINATOR, -1, &ring, &why), 0);
    CU_ASSERT_STRING_EQUAL(keyring_own(ring)->name, "coordinator");
    CU_ASSERT_STRING_EQUAL(keyring_peer(ring, KEY_SERVER), pairs[1].public_key);
    keyring_close(ring);
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_WORKER, 1, &ring, &why), 0);
    CU_ASSERT_STRING_EQUAL(keyring_own(ring)->name, "worker-1");
    keyring_close(ring);
    CU_ASSERT_EQUAL(keyring_open(folder, KEY_WORKER, 7, &ring, &why), ERR_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "more than one worker-*.key"));
    CU_ASSERT_EQUAL(keyring_open(folder, KEY_CLIENT, -1, &ring, &why), ERR_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "ring/client.key: there is no such file"));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "talweg keygen"));
    for (int i = 1; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/worker-%d.key", folder, i);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_WORKER, 7, &ring, &why), 0); /* the only one */
    CU_ASSERT_STRING_EQUAL(keyring_own(ring)->name, "worker-0");
    keyring_close(ring);
}

static void test_keyring_takes_a_changed_list_once_it_has_settled(void)
{
    struct keyring *ring;
    struct err_msg why = {0};
    bool has_changed;
    const char *folder = make_folder("changing");
    write_list(folder, 4); /* without worker 2 */
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_SERVER, -1, &ring, &why), 0);
    int number = keyring_find(ring, pairs[3].public_key);
    CU_ASSERT(number >= 0 && keyring_is_allowed(ring, number));
    CU_ASSERT_EQUAL(keyring_find(ring, pairs[4].public_key), -1);
    write_list(folder, 3);
    CU_ASSERT_EQUAL(keyring_refresh(ring, false, &has_changed, &why), 0);
    CU_ASSERT(!has_changed && keyring_is_allowed(ring, number)); /* may still be written to */
    CU_ASSERT_EQUAL(keyring_refresh(ring, false, &has_changed, &why), 0);
    CU_ASSERT(has_changed && !keyring_is_allowed(ring, number));
    CU_ASSERT_STRING_EQUAL(keyring_at(ring, number)->name, "worker-1");
    CU_ASSERT_EQUAL(keyring_find(ring, pairs[3].public_key), -1);
    write_list(folder, 5);
    CU_ASSERT_EQUAL(keyring_refresh(ring, true, &has_changed, &why), 0);
    CU_ASSERT(has_changed && keyring_is_allowed(ring, number)); /* the same number as before */
    CU_ASSERT(keyring_find(ring, pairs[4].public_key) >= 0);
    CU_ASSERT_EQUAL(keyring_allowed_count(ring), 5);
    keyring_close(ring);
}

static void test_keyring_keeps_its_list_when_the_new_one_is_none(void)
{
    struct keyring *ring;
    struct err_msg why = {0};
    bool has_changed;
    char path[PATH_MAX + 16];
    const char *folder = make_folder("broken");
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_SERVER, -1, &ring, &why), 0);
    int number = keyring_find(ring, pairs[2].public_key);
    snprintf(path, sizeof(path), "%s/allowed", folder);
    scratch_write(path, "", 0);
    CU_ASSERT_EQUAL(keyring_refresh(ring, true, &has_changed, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "no key of a coordinator"));
    CU_ASSERT(keyring_is_allowed(ring, number));
    write_list(folder, 1); /* without this server itself */
    CU_ASSERT_EQUAL(keyring_refresh(ring, true, &has_changed, &why), ERR_INPUT);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(keyring_refresh(ring, true, &has_changed, &why), ERR_NOT_FOUND);
    CU_ASSERT(keyring_is_allowed(ring, number));
    keyring_close(ring);
}

static void test_keyring_wants_itself_on_the_list(void)
{
    struct keyring *ring;
    struct err_msg why = {0};
    const char *folder = make_folder("unlisted");
    write_list(folder, 3);
    CU_ASSERT_EQUAL(keyring_open(folder, KEY_WORKER, 1, &ring, &why), ERR_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "worker-1"));
}

static void test_keyring_digest_is_of_who_is_on_the_list(void)
{
    struct keyring *ring, *other;
    struct err_msg why = {0};
    bool has_changed;
    char path[PATH_MAX + 16];
    char all[DIGEST_HEX_BYTES], fewer[DIGEST_HEX_BYTES], again[DIGEST_HEX_BYTES];
    const char *folder = make_folder("digest");
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_SERVER, -1, &ring, &why), 0);
    CU_ASSERT_EQUAL(keyring_digest(ring, all), 0);
    write_list(folder, 3);
    CU_ASSERT_EQUAL(keyring_refresh(ring, true, &has_changed, &why), 0);
    CU_ASSERT_EQUAL(keyring_digest(ring, fewer), 0);
    CU_ASSERT_STRING_NOT_EQUAL(all, fewer);
    const struct key reversed[] = {pairs[2], pairs[1], pairs[0]};
    snprintf(path, sizeof(path), "%s/allowed", folder);
    CU_ASSERT_EQUAL_FATAL(key_list_write(path, reversed, 3, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(keyring_open(folder, KEY_COORDINATOR, -1, &other, &why), 0);
    CU_ASSERT_EQUAL(keyring_digest(other, again), 0);
    CU_ASSERT_STRING_EQUAL(fewer, again); /* whoever asks, in whichever order */
    keyring_close(ring);
    keyring_close(other);
}

#define TESTS(X)                                               \
    X(test_key_list_reads_what_it_wrote)                       \
    X(test_key_list_takes_comments_and_blank_lines)            \
    X(test_key_list_names_the_line_and_what_is_wrong)          \
    X(test_key_list_takes_no_more_than_its_capacity)           \
    X(test_key_secret_is_refused_when_others_can_read_it)      \
    X(test_key_secret_is_not_shown_when_its_file_is_wrong)     \
    X(test_keyring_finds_the_key_of_its_role_and_rank)         \
    X(test_keyring_takes_a_changed_list_once_it_has_settled)   \
    X(test_keyring_keeps_its_list_when_the_new_one_is_none)    \
    X(test_keyring_digest_is_of_who_is_on_the_list)            \
    X(test_keyring_wants_itself_on_the_list)

UNIT_MAIN("keyring", TESTS)
