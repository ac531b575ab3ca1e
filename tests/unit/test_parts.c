#include "worker/data/parts.h"

#include <glob.h>
#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

enum { COUNT = 10, SIDE = 6 };

/* Ten images of 2 x 3 big-endian i32, whose numbers count up, with u8 labels. */
static void open_source(struct samples *samples)
{
    unsigned char inputs[16 + COUNT * SIDE * 4] = {0, 0, 0x0c, 3, 0, 0, 0, COUNT,
                                                   0, 0, 0,    2, 0, 0, 0, 3};
    unsigned char labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    for (unsigned i = 0; i < COUNT * SIDE; i++)
        inputs[16 + i * 4 + 3] = (unsigned char)i;
    for (unsigned i = 0; i < COUNT; i++)
        labels[8 + i] = (unsigned char)(i % 3);
    struct samples_spec spec = {.inputs = temp_write("inputs", inputs, sizeof(inputs)),
                                .labels = temp_write("labels", labels, sizeof(labels))};
    struct rows_place place = {"", 0};
    struct err_msg why = {0};
    CU_ASSERT_EQUAL_FATAL(samples_open(&spec, &place, samples, &why), 0);
}

/* Writes the ten samples as parts into a new folder. */
static const char *write_parts(const char *name, uint32_t part_count)
{
    struct samples samples;
    struct err_msg why = {0};
    const char *folder = temp_path(name);
    open_source(&samples);
    CU_ASSERT_EQUAL(parts_write(&samples, folder, part_count, &why), 0);
    if (why.text[0])
        printf("\n  said: %s\n", why.text);
    samples_close(&samples);
    return folder;
}

static int open_parts(const char *folder, uint64_t memory_bytes, struct samples *out,
                      struct err_msg *why)
{
    struct samples_spec spec = {.inputs = folder, .labels = ""};
    struct rows_place place = {"", memory_bytes};
    *why = (struct err_msg){0};
    return samples_open(&spec, &place, out, why);
}

static void test_parts_give_back_what_was_cut(void)
{
    for (uint32_t part_count = 1; part_count <= COUNT; part_count += 3) {
        char name[16];
        snprintf(name, sizeof(name), "cut%u", part_count);
        const char *folder = write_parts(name, part_count);
        for (uint64_t memory_bytes = 0; memory_bytes <= 1 << 20; memory_bytes += 1 << 20) {
            struct samples samples;
            struct err_msg why;
            int32_t numbers[COUNT * SIDE];
            unsigned char labels[COUNT];
            CU_ASSERT_EQUAL_FATAL(open_parts(folder, memory_bytes, &samples, &why), 0);
            CU_ASSERT_EQUAL(rows_form(samples.inputs)->count, COUNT);
            CU_ASSERT_EQUAL(rows_at(samples.inputs, 0) != NULL, memory_bytes > 0);
            struct rows_span all = {0, 0, COUNT * SIDE};
            CU_ASSERT_EQUAL(rows_read(samples.inputs, all, numbers, &why), 0);
            CU_ASSERT_EQUAL(
                rows_read(samples.labels, (struct rows_span){0, 0, COUNT}, labels, &why), 0);
            for (int i = 0; i < COUNT * SIDE; i++)
                CU_ASSERT_EQUAL(numbers[i], i);
            for (int i = 0; i < COUNT; i++)
                CU_ASSERT_EQUAL(labels[i], i % 3);
            samples_close(&samples);
        }
    }
}

static void test_parts_refuse_a_folder_that_is_not_empty(void)
{
    const char *folder = write_parts("full", 2);
    struct samples samples;
    struct err_msg why = {0};
    open_source(&samples);
    CU_ASSERT_EQUAL(parts_write(&samples, folder, 2, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "is not empty"));
    CU_ASSERT_EQUAL(parts_write(&samples, temp_path("many"), COUNT + 1, &why), ERR_INPUT);
    CU_ASSERT_EQUAL(parts_write(&samples, "/nowhere/parts", 2, &why), ERR_IO);
    const char *empty = temp_path("empty");
    CU_ASSERT_EQUAL(mkdir(empty, 0777), 0);
    CU_ASSERT_EQUAL(parts_write(&samples, empty, 2, &why), 0);
    samples_close(&samples);
}

static void test_parts_leave_nothing_when_the_disk_is_full(void)
{
    struct samples samples;
    struct err_msg why = {0};
    glob_t found = {0};
    open_source(&samples);
    scratch_limit_files(300); /* the second file of a part does not fit */
    CU_ASSERT_EQUAL(parts_write(&samples, temp_path("torn"), 1, &why), ERR_IO);
    scratch_limit_files(0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "cannot write"));
    CU_ASSERT_EQUAL(glob(temp_path("torn*"), 0, NULL, &found), GLOB_NOMATCH);
    globfree(&found);
    samples_close(&samples);
}

static void refuse(const char *folder, uint64_t memory_bytes, const char *sentence)
{
    struct samples samples;
    struct err_msg why;
    CU_ASSERT(open_parts(folder, memory_bytes, &samples, &why) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
}

static void test_parts_name_the_damaged_file(void)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", write_parts("damaged", 2));
    scratch_flip(scratch_path(folder, "part-00001.npy"), -1);
    refuse(folder, 1 << 20, "part-00001.npy: its sha256 is");
    scratch_flip(scratch_path(folder, "part-00001.npy"), -1);
    CU_ASSERT_EQUAL(truncate(scratch_path(folder, "part-00000.labels.npy"), 130), 0);
    refuse(folder, 0, "part-00000.labels.npy: its header says");
    CU_ASSERT_EQUAL(remove(scratch_path(folder, "part-00000.labels.npy")), 0);
    refuse(folder, 0, "part-00000.labels.npy: cannot open");
}

/* The manifest of two parts with one text in it replaced by another of the same length. */
static void refuse_manifest(const char *from, const char *to, const char *sentence)
{
    static unsigned run;
    char folder[PATH_MAX], name[32];
    size_t size = 0;
    snprintf(name, sizeof(name), "manifest%u", run++);
    snprintf(folder, sizeof(folder), "%s", write_parts(name, 2));
    char *text = scratch_read(scratch_path(folder, "manifest.json"), &size);
    char *at = strstr(text, from);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    memcpy(at, to, strlen(to));
    scratch_write(scratch_path(folder, "manifest.json"), text, size);
    free(text);
    refuse(folder, 0, sentence);
}

static void test_parts_refuse_a_manifest_that_does_not_fit(void)
{
    refuse_manifest("\"part-00001.npy\"", "\"../t-00001.npy\"", "not the name of a file beside it");
    refuse_manifest("\"rows\": 10", "\"rows\": 11", "says 11 rows, its parts hold 10");
    refuse_manifest("[5, 2, 3]", "[5, 3, 2]", "dtype or shape is not what manifest.json says");
    refuse_manifest("\"parts\"", "\"party\"", "parts");
    refuse_manifest("{", "[", "manifest.json");
    refuse_manifest("\"encoding\"", "\"encodong\"", "encoding");
}

#define TESTS(X) \
    X(test_parts_give_back_what_was_cut) \
    X(test_parts_refuse_a_folder_that_is_not_empty) \
    X(test_parts_leave_nothing_when_the_disk_is_full) \
    X(test_parts_name_the_damaged_file) \
    X(test_parts_refuse_a_manifest_that_does_not_fit)

UNIT_MAIN("parts", TESTS)
