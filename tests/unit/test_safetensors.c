#include "common/safetensors.h"

#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_safetensors_reads_back_what_it_wrote) \
    X(test_safetensors_file_is_the_container_byte_for_byte) \
    X(test_safetensors_writes_part_of_a_tensor_at_its_place) \
    X(test_safetensors_opens_a_file_of_another_writer) \
    X(test_safetensors_refuses_a_range_outside_the_tensor) \
    X(test_safetensors_refuses_headers_that_lie) \
    X(test_safetensors_refuses_a_header_longer_than_the_file) \
    X(test_safetensors_refuses_a_cut_file) \
    X(test_safetensors_survives_any_changed_byte_of_its_header) \
    X(test_safetensors_says_why_a_file_cannot_be_opened) \
    X(test_safetensors_leaves_nothing_when_the_disk_is_full) \
    X(test_safetensors_never_overwrites_a_file) \
    X(test_safetensors_digest_is_of_the_file_and_of_its_data)

static const struct safetensors_entry three[] = {
    {.name = "conv1.weight", .dims = 4, .shape = {3, 3, 1, 2}},
    {.name = "conv1.bias", .dims = 1, .shape = {2}},
    {.name = "scale", .dims = 0},
};

static void fill(float *values, size_t count, float first)
{
    for (size_t i = 0; i < count; i++)
        values[i] = first + (float)i;
}

/* A file of the three tensors with known values. */
static void write_three(const char *path)
{
    struct safetensors *file;
    float values[18];
    fill(values, 18, 0.5f);
    CU_ASSERT_FATAL(safetensors_create(path, three, ARRAY_LEN(three), &file, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 2, 0, values, 1, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 0, 0, values, 18, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 1, 0, values + 4, 2, NULL) == 0);
    CU_ASSERT(safetensors_sync(file, NULL) == 0);
    safetensors_close(file);
}

static void test_safetensors_reads_back_what_it_wrote(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    float values[18], expected[18];
    scratch_make(dir);
    const char *path = scratch_path(dir, "a.safetensors");
    write_three(path);
    CU_ASSERT_FATAL(safetensors_open(path, &file, NULL) == 0);
    CU_ASSERT(safetensors_count(file) == 3);
    for (size_t i = 0; i < 3; i++) {
        const struct safetensors_entry *entry = safetensors_entry(file, i);
        CU_ASSERT_STRING_EQUAL(entry->name, three[i].name);
        CU_ASSERT(entry->dims == three[i].dims);
        CU_ASSERT(memcmp(entry->shape, three[i].shape, sizeof(entry->shape)) == 0);
    }
    CU_ASSERT(safetensors_entry(file, 1)->begin_bytes == 72 &&
              safetensors_entry(file, 2)->end_bytes == 84);
    fill(expected, 18, 0.5f);
    CU_ASSERT(safetensors_read(file, 0, 0, values, 18, NULL) == 0);
    CU_ASSERT(memcmp(values, expected, sizeof(values)) == 0);
    CU_ASSERT(safetensors_read(file, 1, 1, values, 1, NULL) == 0 && values[0] == expected[5]);
    CU_ASSERT(safetensors_read(file, 2, 0, values, 1, NULL) == 0 && values[0] == 0.5f);
    safetensors_close(file);
    scratch_remove(dir);
}

static void test_safetensors_file_is_the_container_byte_for_byte(void)
{
    static const char header[] = "{\"__metadata__\": {\"format\": \"pt\"}, "
                                 "\"w\": {\"dtype\": \"F32\", \"shape\": [2], "
                                 "\"data_offsets\": [0, 8]}}";
    const struct safetensors_entry entry = {.name = "w", .dims = 1, .shape = {2}};
    const float values[2] = {1.0f, -2.0f};
    struct safetensors *file;
    char dir[PATH_MAX];
    scratch_make(dir);
    const char *path = scratch_path(dir, "a.safetensors");
    CU_ASSERT_FATAL(safetensors_create(path, &entry, 1, &file, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 0, 0, values, 2, NULL) == 0);
    safetensors_close(file);
    size_t size, padded = (sizeof(header) - 1 + 7) / 8 * 8;
    char *bytes = scratch_read(path, &size);
    uint64_t length;
    memcpy(&length, bytes, 8);
    CU_ASSERT(length == padded && size == 8 + padded + 8);
    CU_ASSERT(memcmp(bytes + 8, header, sizeof(header) - 1) == 0);
    for (size_t i = 8 + sizeof(header) - 1; i < 8 + padded; i++)
        CU_ASSERT(bytes[i] == ' ');
    CU_ASSERT(memcmp(bytes + 8 + padded, values, 8) == 0);
    free(bytes);
    scratch_remove(dir);
}

static void test_safetensors_writes_part_of_a_tensor_at_its_place(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    float values[18], part[5];
    fill(part, 5, 100.0f);
    scratch_make(dir);
    CU_ASSERT_FATAL(
        safetensors_create(scratch_path(dir, "a"), three, ARRAY_LEN(three), &file, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 0, 13, part, 5, NULL) == 0);
    CU_ASSERT(safetensors_write(file, 0, 2, part, 3, NULL) == 0);
    CU_ASSERT(safetensors_read(file, 0, 0, values, 18, NULL) == 0);
    CU_ASSERT(values[1] == 0.0f && values[2] == 100.0f && values[4] == 102.0f && values[5] == 0.0f);
    CU_ASSERT(values[12] == 0.0f && values[13] == 100.0f && values[17] == 104.0f);
    CU_ASSERT(safetensors_read(file, 1, 0, values, 2, NULL) == 0 && values[0] == 0.0f);
    safetensors_close(file);
    scratch_remove(dir);
}

/* A file with this header and data_bytes of data 1, 2, 3, ... */
static void write_header(const char *path, const char *header, size_t data_bytes)
{
    char bytes[4096] = {0};
    uint64_t length = strlen(header);
    CU_ASSERT_FATAL(8 + length + data_bytes < sizeof(bytes));
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++)
        bytes[8 + length + i] = (char)(i + 1);
    scratch_write(path, bytes, 8 + length + data_bytes);
}

static void test_safetensors_opens_a_file_of_another_writer(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    float value;
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    /* Not in the order of the data, no metadata, other spacing, an empty tensor. */
    write_header(path,
                 "{\"b\":{\"shape\":[1,2],\"dtype\":\"F32\",\"data_offsets\":[4,12]},"
                 "\"none\":{\"shape\":[0],\"dtype\":\"F32\",\"data_offsets\":[4,4]},"
                 "\"a\":{\"shape\":[1],\"dtype\":\"F32\",\"data_offsets\":[0,4]}}  ",
                 12);
    CU_ASSERT_FATAL(safetensors_open(path, &file, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(safetensors_entry(file, 0)->name, "a");
    CU_ASSERT_STRING_EQUAL(safetensors_entry(file, 2)->name, "b");
    CU_ASSERT(safetensors_read(file, 2, 1, &value, 1, NULL) == 0);
    CU_ASSERT(memcmp(&value, "\x09\x0a\x0b\x0c", 4) == 0);
    safetensors_close(file);
    scratch_remove(dir);
}

static void test_safetensors_refuses_a_range_outside_the_tensor(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    float values[20] = {0};
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    write_three(path);
    CU_ASSERT_FATAL(safetensors_open(path, &file, NULL) == 0);
    CU_ASSERT(safetensors_read(file, 0, 0, values, 19, NULL) == ERR_INPUT);
    CU_ASSERT(safetensors_read(file, 0, 19, values, 0, NULL) == ERR_INPUT);
    CU_ASSERT(safetensors_read(file, 0, UINT64_MAX, values, 2, NULL) == ERR_INPUT);
    CU_ASSERT(safetensors_read(file, 3, 0, values, 1, NULL) == ERR_INPUT);
    CU_ASSERT(safetensors_write(file, 1, 1, values, 2, NULL) == ERR_INPUT);
    safetensors_close(file);
    scratch_remove(dir);
}

static void test_safetensors_refuses_headers_that_lie(void)
{
    static const struct {
        const char *header, *sentence;
    } cases[] = {
        {"[]", "no JSON object"},
        {"{\"a\": 3}", "dtype"},
        {"nothing", "header"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", "F64"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "shape has -2"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":\"x\",\"data_offsets\":[0,8]}}", "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
         "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}", "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "do not lie"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "do not lie"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "do not lie"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "no pair"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "its tensors have 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "begins at byte 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", "fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "begins at byte 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296],"
         "\"data_offsets\":[0,8]}}",
         "fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,4611686018427387904],\"data_offsets\":[0,8]}}",
         "fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}",
         "do not lie"},
        {"{}", "8 bytes of data"},
    };
    char dir[PATH_MAX];
    scratch_make(dir);
    const char *path = scratch_path(dir, "bad.safetensors");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct safetensors *file;
        struct err_msg why = {""};
        write_header(path, cases[i].header, 8);
        CU_ASSERT(safetensors_open(path, &file, &why) == ERR_INPUT);
        CU_ASSERT(strstr(why.text, cases[i].sentence) != NULL && strstr(why.text, path) != NULL);
        if (strstr(why.text, cases[i].sentence) == NULL)
            printf("\n%s\n  said: %s\n", cases[i].header, why.text);
    }
    scratch_remove(dir);
}

static void test_safetensors_refuses_a_header_longer_than_the_file(void)
{
    static const uint64_t lengths[] = {17, 1 << 20, (uint64_t)1 << 40, UINT64_MAX, UINT64_MAX - 7};
    char dir[PATH_MAX];
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char bytes[24] = {0};
        struct safetensors *file;
        memcpy(bytes, &lengths[i], 8);
        scratch_write(path, bytes, sizeof(bytes));
        CU_ASSERT(safetensors_open(path, &file, NULL) == ERR_INPUT);
    }
    scratch_remove(dir);
}

static void test_safetensors_refuses_a_cut_file(void)
{
    char dir[PATH_MAX];
    struct stat status;
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    write_three(path);
    CU_ASSERT_FATAL(stat(path, &status) == 0);
    for (off_t size = status.st_size - 1; size >= 0; size--) {
        struct safetensors *file;
        CU_ASSERT_FATAL(truncate(path, size) == 0);
        CU_ASSERT(safetensors_open(path, &file, NULL) == ERR_INPUT);
    }
    scratch_remove(dir);
}

static void test_safetensors_survives_any_changed_byte_of_its_header(void)
{
    char dir[PATH_MAX];
    size_t size;
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    write_three(path);
    char *bytes = scratch_read(path, &size);
    for (size_t at = 0; at < size - 21 * sizeof(float); at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct safetensors *file;
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            scratch_write(path, bytes, size);
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            int err = safetensors_open(path, &file, NULL);
            CU_ASSERT(err == 0 || err == ERR_INPUT);
            if (err == 0) /* a letter of a name, or of the metadata */
                safetensors_close(file);
        }
    }
    free(bytes);
    scratch_remove(dir);
}

static void test_safetensors_says_why_a_file_cannot_be_opened(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    struct err_msg why = {""};
    scratch_make(dir);
    CU_ASSERT(safetensors_open(scratch_path(dir, "none"), &file, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "none") != NULL);
    CU_ASSERT(safetensors_open(dir, &file, &why) == ERR_INPUT);
    CU_ASSERT(mkfifo(scratch_path(dir, "fifo"), 0600) == 0);
    CU_ASSERT(safetensors_open(scratch_path(dir, "fifo"), &file, &why) == ERR_INPUT);
    scratch_drop_rights(dir, false);
    CU_ASSERT(safetensors_create(scratch_path(dir, "new"), three, 3, &file, &why) == ERR_IO);
    CU_ASSERT(strstr(why.text, "Permission denied") != NULL);
    scratch_drop_rights(dir, true);
    scratch_remove(dir);
}

static void test_safetensors_leaves_nothing_when_the_disk_is_full(void)
{
    static const struct safetensors_entry large = {.name = "w", .dims = 1, .shape = {1 << 20}};
    char dir[PATH_MAX];
    struct safetensors *file;
    struct err_msg why = {""};
    scratch_make(dir);
    scratch_limit_files(4096);
    CU_ASSERT(safetensors_create(scratch_path(dir, "a"), &large, 1, &file, &why) == ERR_IO);
    scratch_limit_files(0);
    CU_ASSERT(strstr(why.text, "File too large") != NULL);
    CU_ASSERT(!scratch_has(dir, "a"));
    scratch_remove(dir);
}

static void test_safetensors_never_overwrites_a_file(void)
{
    char dir[PATH_MAX];
    struct safetensors *file;
    scratch_make(dir);
    scratch_write(scratch_path(dir, "a"), "mine", 4);
    CU_ASSERT(safetensors_create(scratch_path(dir, "a"), three, 3, &file, NULL) == ERR_IO);
    size_t size;
    char *bytes = scratch_read(scratch_path(dir, "a"), &size);
    CU_ASSERT(size == 4 && memcmp(bytes, "mine", 4) == 0);
    free(bytes);
    scratch_remove(dir);
}

static void test_safetensors_digest_is_of_the_file_and_of_its_data(void)
{
    char dir[PATH_MAX], whole[65], data[65], expected[65];
    struct safetensors *file;
    uint64_t bytes;
    scratch_make(dir);
    const char *path = scratch_path(dir, "a");
    write_three(path);
    struct digest *digest = digest_create(), *direct = digest_create();
    CU_ASSERT_FATAL(digest != NULL && direct != NULL);
    CU_ASSERT_FATAL(safetensors_open(path, &file, NULL) == 0);
    CU_ASSERT(safetensors_digest(file, digest, whole, &bytes, NULL) == 0);
    CU_ASSERT(digest_file(path, expected) == 0);
    CU_ASSERT_STRING_EQUAL(whole, expected);
    float values[21];
    CU_ASSERT(safetensors_read(file, 0, 0, values, 18, NULL) == 0);
    CU_ASSERT(safetensors_read(file, 1, 0, values + 18, 2, NULL) == 0);
    CU_ASSERT(safetensors_read(file, 2, 0, values + 20, 1, NULL) == 0);
    digest_add(direct, values, sizeof(values));
    digest_hex(direct, expected);
    digest_hex(digest, data);
    CU_ASSERT_STRING_EQUAL(data, expected);
    digest_destroy(digest);
    digest_destroy(direct);
    safetensors_close(file);
    scratch_remove(dir);
}

UNIT_MAIN("safetensors", TESTS)
