#include "common/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "common/digest.h"
#include "common/document.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_checkpoint_gives_back_what_was_put_in_any_order) \
    X(test_checkpoint_reads_with_another_block_size) \
    X(test_checkpoint_says_what_it_is_of) \
    X(test_checkpoint_spreads_over_files_with_an_index) \
    X(test_checkpoint_refuses_too_many_files) \
    X(test_checkpoint_takes_a_block_twice) \
    X(test_checkpoint_is_not_committed_when_a_block_is_missing) \
    X(test_checkpoint_replaces_one_of_the_same_step) \
    X(test_checkpoint_abandoned_leaves_nothing) \
    X(test_checkpoint_open_names_a_file_that_is_changed_cut_or_missing) \
    X(test_checkpoint_open_notices_every_changed_byte_of_the_manifest) \
    X(test_checkpoint_open_says_that_there_is_none) \
    X(test_checkpoint_check_names_both_shapes) \
    X(test_checkpoint_check_names_the_setting_that_differs) \
    X(test_checkpoint_leaves_nothing_when_the_disk_is_full) \
    X(test_checkpoint_says_so_when_it_may_not_write) \
    X(test_checkpoint_latest_finds_the_whole_one_written_last) \
    X(test_checkpoint_candidates_are_those_written_last_first) \
    X(test_checkpoint_prune_keeps_the_latest_and_what_is_not_its_own) \
    X(test_checkpoint_prune_spares_the_best_and_what_is_being_evaluated) \
    X(test_checkpoint_says_what_was_known_of_evaluations) \
    X(test_checkpoint_sweep_takes_what_killed_writers_left) \
    X(test_checkpoint_is_whole_or_absent_wherever_its_writer_is_killed)

enum { STATES = 2, PARTS = 1 + STATES };

#define FINGERPRINT "job.seed:f00d data.scale:1 "

static const struct tensor_spec tensors[] = {
    {.name = "conv1.weight", .dims = 4, .shape = {3, 3, 1, 4}, .has_decay = true},
    {.name = "conv1.bias", .dims = 1, .shape = {4}},
    {.name = "fc.weight", .dims = 2, .shape = {10, 7}, .has_decay = true},
    {.name = "fc.bias", .dims = 1, .shape = {7}},
};

enum { WEIGHTS = 36 + 4 + 70 + 7, BLOCK_BYTES = 64, BLOCKS = 3 + 1 + 5 + 1 };

static struct layout *make_layout(uint32_t block_bytes)
{
    struct layout *layout = NULL;
    CU_ASSERT_FATAL(layout_create(tensors, ARRAY_LEN(tensors), block_bytes, &layout, NULL) == 0);
    return layout;
}

/* What element i of a part is in these tests. */
static float value_of(uint64_t step, size_t part, uint64_t i)
{
    return (float)(step * 10000 + part * 1000 + i) + 0.25f;
}

static struct checkpoint_spec spec_of(const char *dir, uint64_t step, const struct layout *layout)
{
    return (struct checkpoint_spec){.out_dir = dir,
                                    .tag = "00000000000000aa",
                                    .layout = layout,
                                    .file_bytes = 1 << 20,
                                    .info = {.step = step,
                                             .run_id = "0123456789abcdef0123456789abcdef",
                                             .fingerprint = FINGERPRINT,
                                             .optimizer = "adam",
                                             .state_count = STATES,
                                             .states = {"exp_avg", "exp_avg_sq"}}};
}

static int put(struct checkpoint_writer *writer, const struct layout *layout, uint64_t step,
               size_t block_idx)
{
    float parts[PARTS * WEIGHTS];
    const struct range *range = &layout->blocks[block_idx].range;
    size_t count = 0;
    for (size_t part = 0; part < PARTS; part++)
        for (uint64_t i = range->begin; i < range->end; i++)
            parts[count++] = value_of(step, part, i);
    return checkpoint_put(writer, block_idx, parts, NULL);
}

/* A whole checkpoint of this spec, its blocks put in a mixed order. */
static int write_spec(const struct checkpoint_spec *spec, char path_out[PATH_MAX],
                      struct err_msg *why)
{
    struct checkpoint_writer *writer;
    size_t count = spec->layout->block_count;
    int err = checkpoint_begin(spec, &writer, why);
    for (size_t i = 0; i < count && err == 0; i++)
        err = put(writer, spec->layout, spec->info.step, (i * 7 + 3) % count);
    if (err != 0)
        return err;
    err = checkpoint_commit(writer, path_out, why);
    if (err != 0)
        checkpoint_abandon(writer);
    return err;
}

static void write_step(const char *dir, uint64_t step)
{
    char path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct checkpoint_spec spec = spec_of(dir, step, layout);
    CU_ASSERT_FATAL(write_spec(&spec, path, NULL) == 0);
    layout_destroy(layout);
}

/* All values of a step's checkpoint are as written, seen through blocks of this size. */
static void expect_whole(const char *path, uint64_t step, uint32_t block_bytes)
{
    struct layout *layout = make_layout(block_bytes);
    struct checkpoint_reader *reader;
    struct err_msg why = {""};
    float parts[PARTS * WEIGHTS], weights[WEIGHTS];
    int err = checkpoint_open(path, &reader, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(err == 0);
    CU_ASSERT(checkpoint_info(reader)->step == step);
    CU_ASSERT(checkpoint_check(reader, layout, FINGERPRINT, NULL) == 0);
    size_t wrong = 0;
    for (size_t b = 0; b < layout->block_count; b++) {
        const struct range *range = &layout->blocks[b].range;
        CU_ASSERT(checkpoint_read(reader, layout, b, PARTS, parts, NULL) == 0);
        const float *next = parts;
        for (size_t part = 0; part < PARTS; part++)
            for (uint64_t i = range->begin; i < range->end; i++)
                wrong += *next++ != value_of(step, part, i);
    }
    CU_ASSERT(checkpoint_read_weights(reader, layout, weights, NULL) == 0);
    for (size_t i = 0; i < WEIGHTS; i++)
        wrong += weights[i] != value_of(step, 0, i);
    CU_ASSERT(wrong == 0);
    checkpoint_close(reader);
    layout_destroy(layout);
}

/* Entries of a folder. */
static size_t count_in(const char *dir)
{
    DIR *folder = opendir(dir);
    CU_ASSERT_FATAL(folder != NULL);
    size_t count = 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static void test_checkpoint_gives_back_what_was_put_in_any_order(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    CU_ASSERT(layout->block_count == BLOCKS);
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 40, layout);
    CU_ASSERT(write_spec(&spec, path, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, "checkpoint-40"));
    expect_whole(path, 40, BLOCK_BYTES);
    CU_ASSERT(count_in(dir) == 1 && count_in(path) == 4);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_reads_with_another_block_size(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    write_step(dir, 40);
    expect_whole(scratch_path(dir, "checkpoint-40"), 40, 4);
    expect_whole(scratch_path(dir, "checkpoint-40"), 40, 100);
    expect_whole(scratch_path(dir, "checkpoint-40"), 40, 1 << 20);
    scratch_remove(dir);
}

static void test_checkpoint_says_what_it_is_of(void)
{
    char dir[PATH_MAX], expected[65];
    struct checkpoint_reader *reader;
    float weights[WEIGHTS];
    scratch_make(dir);
    write_step(dir, 40);
    CU_ASSERT_FATAL(checkpoint_open(scratch_path(dir, "checkpoint-40"), &reader, NULL) == 0);
    const struct checkpoint_info *info = checkpoint_info(reader);
    CU_ASSERT_STRING_EQUAL(info->run_id, "0123456789abcdef0123456789abcdef");
    CU_ASSERT_STRING_EQUAL(info->fingerprint, FINGERPRINT);
    CU_ASSERT_STRING_EQUAL(info->optimizer, "adam");
    CU_ASSERT(info->state_count == 2);
    CU_ASSERT_STRING_EQUAL(info->states[1], "exp_avg_sq");
    for (size_t i = 0; i < WEIGHTS; i++)
        weights[i] = value_of(40, 0, i);
    struct digest *digest = digest_create();
    CU_ASSERT_FATAL(digest != NULL);
    digest_add(digest, weights, sizeof(weights));
    digest_hex(digest, expected);
    digest_destroy(digest);
    CU_ASSERT_STRING_EQUAL(info->digest, expected);
    checkpoint_close(reader);
    scratch_remove(dir);
}

static void test_checkpoint_spreads_over_files_with_an_index(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct document *index;
    const char *file;
    int64_t total_bytes;
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 7, layout);
    spec.file_bytes = 40 * sizeof(float); /* conv1 fits, fc.weight is larger, fc.bias is left */
    CU_ASSERT(write_spec(&spec, path, NULL) == 0);
    expect_whole(path, 7, BLOCK_BYTES);
    CU_ASSERT(scratch_has(path, "model-00001-of-00003.safetensors"));
    CU_ASSERT(scratch_has(path, "model-00003-of-00003.safetensors"));
    CU_ASSERT(scratch_has(path, "optimizer-00006-of-00006.safetensors"));
    CU_ASSERT_FATAL(
        document_load(scratch_path(path, "model.safetensors.index.json"), &index, NULL) == 0);
    const struct document *map = document_get(index, "weight_map");
    CU_ASSERT(document_count(map) == ARRAY_LEN(tensors));
    CU_ASSERT(document_get_text(map, "conv1.bias", &file, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(file, "model-00001-of-00003.safetensors");
    CU_ASSERT(document_get_text(map, "fc.weight", &file, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(file, "model-00002-of-00003.safetensors");
    CU_ASSERT(
        document_get_whole(document_get(index, "metadata"), "total_size", &total_bytes, NULL) == 0);
    CU_ASSERT(total_bytes == WEIGHTS * sizeof(float));
    document_destroy(index);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_refuses_too_many_files(void)
{
    enum { COUNT = 600 };
    char dir[PATH_MAX];
    struct tensor_spec *many = calloc(COUNT, sizeof(*many));
    struct layout *layout;
    struct checkpoint_writer *writer;
    struct err_msg why = {""};
    CU_ASSERT_FATAL(many != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(many[i].name, sizeof(many[i].name), "t%zu", i);
        many[i].dims = 1;
        many[i].shape[0] = 10;
    }
    CU_ASSERT_FATAL(layout_create(many, COUNT, 64, &layout, NULL) == 0);
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 7, layout);
    spec.file_bytes = 16;
    CU_ASSERT(checkpoint_begin(&spec, &writer, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "checkpoint.file_bytes = 16 would make 600 files") != NULL);
    CU_ASSERT(count_in(dir) == 0);
    layout_destroy(layout);
    free(many);
    scratch_remove(dir);
}

static void test_checkpoint_takes_a_block_twice(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct checkpoint_writer *writer;
    size_t first;
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 3, layout);
    CU_ASSERT_FATAL(checkpoint_begin(&spec, &writer, NULL) == 0);
    CU_ASSERT(checkpoint_missing(writer, &first) == BLOCKS && first == 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        CU_ASSERT(put(writer, layout, 3, i) == 0 && put(writer, layout, 3, i / 2) == 0);
        CU_ASSERT(checkpoint_missing(writer, &first) == BLOCKS - 1 - i && first == i + 1);
    }
    CU_ASSERT(checkpoint_commit(writer, path, NULL) == 0);
    expect_whole(path, 3, BLOCK_BYTES);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_is_not_committed_when_a_block_is_missing(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct checkpoint_writer *writer;
    struct err_msg why = {""};
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 3, layout);
    CU_ASSERT_FATAL(checkpoint_begin(&spec, &writer, NULL) == 0);
    for (size_t i = 0; i < BLOCKS; i++)
        if (i != 6)
            CU_ASSERT(put(writer, layout, 3, i) == 0);
    CU_ASSERT(checkpoint_commit(writer, path, &why) == ERR_AGAIN);
    CU_ASSERT(strstr(why.text, "1 of 10 blocks are missing, first block 6") != NULL);
    checkpoint_abandon(writer);
    CU_ASSERT(count_in(dir) == 0);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_replaces_one_of_the_same_step(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 40, layout);
    spec.file_bytes = 1; /* other files than the one that replaces it has */
    CU_ASSERT(write_spec(&spec, path, NULL) == 0);
    scratch_flip(scratch_path(path, "checkpoint.json"), 20);
    write_step(dir, 40);
    expect_whole(path, 40, BLOCK_BYTES);
    CU_ASSERT(count_in(dir) == 1 && count_in(path) == 4);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_abandoned_leaves_nothing(void)
{
    char dir[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct checkpoint_writer *writer;
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 3, layout);
    CU_ASSERT_FATAL(checkpoint_begin(&spec, &writer, NULL) == 0);
    CU_ASSERT(put(writer, layout, 3, 0) == 0 && count_in(dir) == 1);
    checkpoint_abandon(writer);
    checkpoint_abandon(NULL);
    CU_ASSERT(count_in(dir) == 0);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void expect_refused(const char *path, const char *file, const char *sentence)
{
    struct checkpoint_reader *reader;
    struct err_msg why = {""};
    CU_ASSERT(checkpoint_open(path, &reader, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, file) != NULL && strstr(why.text, sentence) != NULL);
    if (strstr(why.text, file) == NULL || strstr(why.text, sentence) == NULL)
        printf("\n  expected %s: %s\n  said %s\n", file, sentence, why.text);
}

static void test_checkpoint_open_names_a_file_that_is_changed_cut_or_missing(void)
{
    static const char *const files[] = {"model-00001-of-00001.safetensors",
                                        "optimizer-00001-of-00001.safetensors",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char dir[PATH_MAX], path[PATH_MAX], file[PATH_MAX];
        struct stat status;
        scratch_make(dir);
        write_step(dir, 40);
        strcpy(path, scratch_path(dir, "checkpoint-40"));
        strcpy(file, scratch_path(path, files[i]));
        CU_ASSERT_FATAL(stat(file, &status) == 0);
        const long places[] = {0, 9, (long)status.st_size / 2, -1};
        for (size_t k = 0; k < ARRAY_LEN(places); k++) {
            scratch_flip(file, places[k]);
            expect_refused(path, files[i], "was changed");
            scratch_flip(file, places[k]);
        }
        expect_whole(path, 40, BLOCK_BYTES);
        CU_ASSERT(truncate(file, status.st_size - 1) == 0);
        expect_refused(path, files[i], "bytes; the manifest says");
        CU_ASSERT(unlink(file) == 0);
        expect_refused(path, files[i], "is missing");
        scratch_remove(dir);
    }
}

static void test_checkpoint_open_notices_every_changed_byte_of_the_manifest(void)
{
    char dir[PATH_MAX], path[PATH_MAX], file[PATH_MAX];
    struct checkpoint_reader *reader;
    size_t size;
    scratch_make(dir);
    write_step(dir, 40);
    strcpy(path, scratch_path(dir, "checkpoint-40"));
    strcpy(file, scratch_path(path, "checkpoint.json"));
    char *bytes = scratch_read(file, &size);
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 1;
        scratch_write(file, bytes, size);
        bytes[at] ^= 1;
        CU_ASSERT(checkpoint_open(path, &reader, NULL) == ERR_INPUT);
    }
    for (size_t length = 0; length < size; length += 13) {
        scratch_write(file, bytes, length);
        CU_ASSERT(checkpoint_open(path, &reader, NULL) == ERR_INPUT);
    }
    scratch_write(file, bytes, size);
    expect_whole(path, 40, BLOCK_BYTES);
    free(bytes);
    scratch_remove(dir);
}

static void test_checkpoint_open_says_that_there_is_none(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct checkpoint_reader *reader;
    struct err_msg why = {""};
    scratch_make(dir);
    CU_ASSERT(checkpoint_open(scratch_path(dir, "none"), &reader, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "none/checkpoint.json") != NULL);
    CU_ASSERT(checkpoint_latest(scratch_path(dir, "none"), path, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "no such folder") != NULL);
    CU_ASSERT(checkpoint_latest(dir, path, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "no checkpoint-<step> folder") != NULL);
    scratch_remove(dir);
}

/* Opens the checkpoint and checks it against other tensors. */
static int check_against(const char *path, const struct tensor_spec *other, size_t count,
                         struct err_msg *why)
{
    struct checkpoint_reader *reader;
    struct layout *layout;
    CU_ASSERT_FATAL(layout_create(other, count, BLOCK_BYTES, &layout, NULL) == 0);
    CU_ASSERT_FATAL(checkpoint_open(path, &reader, NULL) == 0);
    int err = checkpoint_check(reader, layout, NULL, why);
    checkpoint_close(reader);
    layout_destroy(layout);
    return err;
}

static void test_checkpoint_check_names_both_shapes(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct err_msg why = {""};
    struct tensor_spec other[ARRAY_LEN(tensors) + 1];
    scratch_make(dir);
    write_step(dir, 40);
    strcpy(path, scratch_path(dir, "checkpoint-40"));
    memcpy(other, tensors, sizeof(tensors));
    other[ARRAY_LEN(tensors)] = (struct tensor_spec){.name = "more", .dims = 1, .shape = {1}};
    CU_ASSERT(check_against(path, other, ARRAY_LEN(tensors), &why) == 0);
    CU_ASSERT(check_against(path, other, ARRAY_LEN(tensors) - 1, &why) == ERR_INPUT);
    CU_ASSERT(check_against(path, other, ARRAY_LEN(tensors) + 1, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "it has 4 tensors") != NULL);
    CU_ASSERT(strstr(why.text, "the job has 5") != NULL);
    other[2].shape[0] = 12;
    CU_ASSERT(check_against(path, other, ARRAY_LEN(tensors), &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "\"fc.weight\" of shape [10, 7]") != NULL);
    CU_ASSERT(strstr(why.text, "\"fc.weight\" of shape [12, 7]") != NULL);
    other[2].shape[0] = 10;
    strcpy(other[3].name, "fc.offset");
    CU_ASSERT(check_against(path, other, ARRAY_LEN(tensors), &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "\"fc.bias\" of shape [7]") != NULL);
    CU_ASSERT(strstr(why.text, "\"fc.offset\" of shape [7]") != NULL);
    scratch_remove(dir);
}

/* What is said to a job of this fingerprint; "" when it may go on from the checkpoint. */
static struct err_msg settings_refusal(const struct checkpoint_reader *reader,
                                       const struct layout *layout, const char *fingerprint)
{
    struct err_msg why = {""}, again = {""};
    int err = checkpoint_check_settings(reader, fingerprint, &why);
    CU_ASSERT(err == (why.text[0] == 0 ? 0 : ERR_INPUT));
    CU_ASSERT(checkpoint_check(reader, layout, fingerprint, &again) == err);
    CU_ASSERT_STRING_EQUAL(why.text, again.text);
    return why;
}

static void test_checkpoint_check_names_the_setting_that_differs(void)
{
    char dir[PATH_MAX];
    struct checkpoint_reader *reader;
    struct err_msg why = {""};
    struct layout *layout = make_layout(BLOCK_BYTES);
    scratch_make(dir);
    write_step(dir, 40);
    CU_ASSERT_FATAL(checkpoint_open(scratch_path(dir, "checkpoint-40"), &reader, NULL) == 0);
    CU_ASSERT(checkpoint_check(reader, layout, NULL, &why) == 0);
    why = settings_refusal(reader, layout, FINGERPRINT);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    why = settings_refusal(reader, layout, "job.seed:beef data.scale:2 ");
    CU_ASSERT(strstr(why.text, "another job.seed than") != NULL);
    CU_ASSERT(strstr(why.text, scratch_path(dir, "checkpoint-40")) == why.text);
    why = settings_refusal(reader, layout, "job.seed:f00d data.scale:12 ");
    CU_ASSERT(strstr(why.text, "another data.scale than") != NULL);
    why = settings_refusal(reader, layout, "job.seed:f00d data.new:1 data.scale:1 ");
    CU_ASSERT(strstr(why.text, "another data.new than") != NULL);
    why = settings_refusal(reader, layout, "job.seed:f00d ");
    CU_ASSERT(strstr(why.text, "other settings than") != NULL);
    checkpoint_close(reader);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_leaves_nothing_when_the_disk_is_full(void)
{
    /* The header fits none of them, the model but not the manifest's index, all but the manifest.
     */
    static const rlim_t limits[] = {100, 700, 900, 1024};
    char dir[PATH_MAX], path[PATH_MAX];
    struct layout *layout = make_layout(BLOCK_BYTES);
    scratch_make(dir);
    write_step(dir, 20);
    struct checkpoint_spec spec = spec_of(dir, 40, layout);
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct err_msg why = {""};
        scratch_limit_files(limits[i]);
        int err = write_spec(&spec, path, &why);
        scratch_limit_files(0);
        CU_ASSERT(err == ERR_IO && strstr(why.text, "File too large") != NULL);
        CU_ASSERT(count_in(dir) == 1);
        expect_whole(scratch_path(dir, "checkpoint-20"), 20, BLOCK_BYTES);
    }
    /* No room left only once all blocks are there. */
    struct checkpoint_writer *writer;
    struct err_msg why = {""};
    CU_ASSERT_FATAL(checkpoint_begin(&spec, &writer, NULL) == 0);
    for (size_t i = 0; i < BLOCKS; i++)
        CU_ASSERT(put(writer, layout, 40, i) == 0);
    scratch_limit_files(400);
    CU_ASSERT(checkpoint_commit(writer, path, &why) == ERR_IO);
    scratch_limit_files(0);
    CU_ASSERT(strstr(why.text, "checkpoint.json") != NULL && !scratch_has(dir, "checkpoint-40"));
    expect_whole(scratch_path(dir, "checkpoint-20"), 20, BLOCK_BYTES);
    CU_ASSERT(checkpoint_commit(writer, path, &why) == 0); /* there is room again */
    expect_whole(path, 40, BLOCK_BYTES);
    CU_ASSERT(count_in(dir) == 2);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_says_so_when_it_may_not_write(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct err_msg why = {""};
    struct layout *layout = make_layout(BLOCK_BYTES);
    scratch_make(dir);
    struct checkpoint_spec spec = spec_of(dir, 40, layout);
    scratch_drop_rights(dir, false);
    CU_ASSERT(write_spec(&spec, path, &why) == ERR_IO);
    scratch_drop_rights(dir, true);
    CU_ASSERT(strstr(why.text, "Permission denied") != NULL && strstr(why.text, dir) != NULL);
    spec.out_dir = "/proc/self/cmdline";
    CU_ASSERT(write_spec(&spec, path, &why) == ERR_IO);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void set_time(const char *dir, uint64_t step, time_t seconds)
{
    char manifest[PATH_MAX];
    struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    snprintf(manifest, sizeof(manifest), "%s/checkpoint-%" PRIu64 "/checkpoint.json", dir, step);
    CU_ASSERT(utimensat(AT_FDCWD, manifest, times, 0) == 0);
}

static void test_checkpoint_latest_finds_the_whole_one_written_last(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct err_msg why = {""};
    scratch_make(dir);
    write_step(dir, 9);
    write_step(dir, 100); /* of an earlier run in the same folder */
    write_step(dir, 20);
    set_time(dir, 100, 1000);
    set_time(dir, 9, 1000);
    set_time(dir, 20, 2000);
    CU_ASSERT(mkdir(scratch_path(dir, "checkpoint-0200"), 0700) == 0);
    CU_ASSERT(mkdir(scratch_path(dir, "checkpoint-300"), 0700) == 0);
    CU_ASSERT(checkpoint_latest(dir, path, &why) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, "checkpoint-20"));
    CU_ASSERT(checkpoint_latest(scratch_path(dir, "checkpoint-9"), path, &why) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, "checkpoint-9"));
    scratch_flip(scratch_path(dir, "checkpoint-20/checkpoint.json"), 30);
    CU_ASSERT(checkpoint_latest(dir, path, &why) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, "checkpoint-100"));
    scratch_flip(scratch_path(dir, "checkpoint-100/checkpoint.json"), 30);
    scratch_flip(scratch_path(dir, "checkpoint-9/checkpoint.json"), 30);
    CU_ASSERT(checkpoint_latest(dir, path, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "has no whole checkpoint") != NULL);
    scratch_remove(dir);
}

static void expect_candidate(const char *dir, size_t idx, const char *name)
{
    char path[PATH_MAX];
    CU_ASSERT_FATAL(checkpoint_candidate(dir, idx, path, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, name));
}

static void test_checkpoint_candidates_are_those_written_last_first(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct err_msg why = {""};
    scratch_make(dir);
    for (uint64_t step = 10; step <= 40; step += 10)
        write_step(dir, step);
    set_time(dir, 10, 2000);
    set_time(dir, 20, 3000);
    set_time(dir, 30, 3000);
    CU_ASSERT(unlink(scratch_path(dir, "checkpoint-40/checkpoint.json")) == 0);
    expect_candidate(dir, 0, "checkpoint-40");
    expect_candidate(dir, 1, "checkpoint-30");
    expect_candidate(dir, 2, "checkpoint-20");
    expect_candidate(dir, 3, "checkpoint-10");
    CU_ASSERT(checkpoint_candidate(dir, 4, path, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "only 4") != NULL);
    CU_ASSERT(checkpoint_candidate(scratch_path(dir, "checkpoint-30"), 0, path, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(path, scratch_path(dir, "checkpoint-30"));
    CU_ASSERT(checkpoint_candidate(path, 1, path, NULL) == ERR_NOT_FOUND);
    scratch_remove(dir);
}

static void test_checkpoint_prune_keeps_the_latest_and_what_is_not_its_own(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    for (uint64_t step = 10; step <= 60; step += 10)
        write_step(dir, step);
    CU_ASSERT(mkdir(scratch_path(dir, "checkpoint-5"), 0700) == 0);
    scratch_write(scratch_path(dir, "checkpoint-5/notes.txt"), "mine", 4);
    CU_ASSERT(checkpoint_prune(dir, &(struct prune_rule){.step = 50, .keep = 0}, NULL) == 0);
    CU_ASSERT(count_in(dir) == 7);
    CU_ASSERT(checkpoint_prune(dir, &(struct prune_rule){.step = 50, .keep = 2}, NULL) == 0);
    CU_ASSERT(count_in(dir) == 4);
    CU_ASSERT(scratch_has(dir, "checkpoint-60") && scratch_has(dir, "checkpoint-50"));
    CU_ASSERT(scratch_has(dir, "checkpoint-40") && scratch_has(dir, "checkpoint-5/notes.txt"));
    scratch_remove(dir);
}

static void test_checkpoint_prune_spares_the_best_and_what_is_being_evaluated(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    for (uint64_t step = 10; step <= 60; step += 10)
        write_step(dir, step);
    struct prune_rule rule = {.step = 60, .keep = 1, .spared = {20, 50}};
    CU_ASSERT(checkpoint_prune(dir, &rule, NULL) == 0);
    CU_ASSERT(count_in(dir) == 3 && scratch_has(dir, "checkpoint-60"));
    CU_ASSERT(scratch_has(dir, "checkpoint-20") && scratch_has(dir, "checkpoint-50"));
    scratch_remove(dir);
}

static void test_checkpoint_says_what_was_known_of_evaluations(void)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct checkpoint_info info;
    scratch_make(dir);
    struct layout *layout = make_layout(BLOCK_BYTES);
    struct checkpoint_spec spec = spec_of(dir, 30, layout);
    spec.info.early_stop = (struct early_stop){30, 20, 0.1, 1};
    CU_ASSERT_FATAL(write_spec(&spec, path, NULL) == 0);
    CU_ASSERT_FATAL(checkpoint_read_info(path, &info, NULL) == 0);
    CU_ASSERT(info.step == 30 && strlen(info.digest) == 64);
    CU_ASSERT_EQUAL(memcmp(&info.early_stop, &spec.info.early_stop, sizeof(info.early_stop)), 0);
    CU_ASSERT(checkpoint_read_info(dir, &info, NULL) == ERR_NOT_FOUND);
    layout_destroy(layout);
    scratch_remove(dir);
}

static void test_checkpoint_sweep_takes_what_killed_writers_left(void)
{
    static const char *const stay[] = {"checkpoint-4.tmp-00000000000000bb",
                                       "checkpoint-x.tmp-1",
                                       "checkpoint-4.tmp-",
                                       "checkpoint-4.tmp-a b",
                                       "log",
                                       "checkpoint-3"};
    static const char *const go[] = {"checkpoint-4.tmp-00000000000000aa",
                                     "checkpoint-123.tmp-removed"};
    char dir[PATH_MAX];
    scratch_make(dir);
    for (size_t i = 0; i < ARRAY_LEN(stay); i++)
        CU_ASSERT(mkdir(scratch_path(dir, stay[i]), 0700) == 0);
    for (size_t i = 0; i < ARRAY_LEN(go); i++) {
        CU_ASSERT(mkdir(scratch_path(dir, go[i]), 0700) == 0);
        scratch_write(scratch_path(scratch_path(dir, go[i]), "file"), "x", 1);
    }
    CU_ASSERT(checkpoint_sweep(dir, "00000000000000bb", NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(stay); i++)
        CU_ASSERT(scratch_has(dir, stay[i]));
    CU_ASSERT(count_in(dir) == ARRAY_LEN(stay));
    scratch_remove(dir);
}

/* Some containers forbid it. */
static bool can_trace(void)
{
    int status;
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
    CU_ASSERT_FATAL(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* In a child: writes and prunes, to be stopped at a system call. */
static void write_and_prune(const char *dir)
{
    char path[PATH_MAX];
    struct layout *layout = NULL;
    if (layout_create(tensors, ARRAY_LEN(tensors), BLOCK_BYTES, &layout, NULL) != 0)
        _exit(3);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    struct checkpoint_spec spec = spec_of(dir, 40, layout);
    int err = write_spec(&spec, path, NULL);
    if (err == 0)
        err = checkpoint_prune(dir, &(struct prune_rule){.step = 40, .keep = 1}, NULL);
    _exit(err == 0 ? 0 : 2);
}

/* Runs it and kills it at the limit-th stop before or after a system call.  False when it came to
 * its end before that. */
static bool kill_at(const char *dir, unsigned limit)
{
    int status;
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0)
        write_and_prune(dir);
    CU_ASSERT_FATAL(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    for (unsigned i = 0; i < limit; i++) {
        CU_ASSERT_FATAL(ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0);
        CU_ASSERT_FATAL(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status)) {
            CU_ASSERT(WEXITSTATUS(status) == 0);
            return false;
        }
    }
    CU_ASSERT(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
    return true;
}

static void test_checkpoint_is_whole_or_absent_wherever_its_writer_is_killed(void)
{
    unsigned limit = 1, new_count = 0, old_count = 0;
    bool is_killed = true;
    if (!can_trace()) {
        printf("\n    not run: this place does not let a process trace its child");
        return;
    }
    for (; is_killed; limit++) {
        char dir[PATH_MAX], path[PATH_MAX];
        scratch_make(dir);
        write_step(dir, 20);
        is_killed = kill_at(dir, limit);
        CU_ASSERT(checkpoint_latest(dir, path, NULL) == 0);
        bool is_new = scratch_has(dir, "checkpoint-40");
        new_count += is_new;
        old_count += !is_new;
        expect_whole(path, is_new ? 40 : 20, BLOCK_BYTES);
        if (scratch_has(dir, "checkpoint-20"))
            expect_whole(scratch_path(dir, "checkpoint-20"), 20, BLOCK_BYTES);
        CU_ASSERT(checkpoint_sweep(dir, "00000000000000cc", NULL) == 0);
        CU_ASSERT(count_in(dir) == (size_t)is_new + (size_t)scratch_has(dir, "checkpoint-20"));
        CU_ASSERT(is_killed || !scratch_has(dir, "checkpoint-20"));
        scratch_remove(dir);
    }
    printf("\n    killed at %u places: %u times the old one, %u times the new one", limit - 1,
           old_count, new_count);
    CU_ASSERT(old_count > 20 && new_count > 20);
}

UNIT_MAIN("checkpoint", TESTS)
