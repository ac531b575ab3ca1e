/* A checkpoint's manifest, and a file of tensors: alone, and as a checkpoint's own.
 *
 * Input: which (1 byte): 0 a safetensors file; 1 checkpoint.json of a checkpoint that is whole, its
 * last line's digest made right; 2 a safetensors file that the manifest has the digest of. */
#include "tests/fuzz/fuzz.h"

#include <sys/stat.h>
#include "common/checkpoint.h"
#include "common/checkpoint_manifest.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/safetensors.h"

enum { STEP = 3, WEIGHTS = 14, READ_MAX = 4096, HEX = DIGEST_HEX_BYTES - 1 };

static struct layout *layout;
static char folder[PATH_MAX];
static struct manifest whole; /* as it was written */

static void make_checkpoint(void)
{
    static const struct tensor_spec tensors[] = {{.name = "w", .dims = 2, .shape = {3, 4}},
                                                 {.name = "b", .dims = 1, .shape = {2}}};
    static const float parts[2 * 12] = {1, 2, 3};
    struct checkpoint_writer *writer;
    struct err_msg why;
    if (layout != NULL)
        return;
    must(layout_create(tensors, ARRAY_LEN(tensors), 64, &layout, NULL) == 0);
    char out[PATH_MAX];
    snprintf(out, sizeof(out), "%s", fuzz_path("checkpoints"));
    must(mkdir(out, 0700) == 0);
    struct checkpoint_spec spec = {.out_dir = out,
                                   .tag = "fuzz",
                                   .layout = layout,
                                   .file_bytes = 1 << 20,
                                   .info = {.step = STEP,
                                            .run_id = "00000000000000010000000000000002",
                                            .fingerprint = "job.seed:0 ",
                                            .optimizer = "momentum",
                                            .state_count = 1,
                                            .states = {"momentum"}}};
    must(checkpoint_begin(&spec, &writer, &why) == 0);
    for (size_t i = 0; i < layout->block_count; i++)
        must(checkpoint_put(writer, i, parts, &why) == 0);
    must(checkpoint_commit(writer, folder, &why) == 0);
    must(manifest_read(folder, &whole, &why) == 0);
}

static void read_tensors(struct feed feed)
{
    static float values[READ_MAX];
    struct safetensors *file = NULL;
    struct err_msg why = {0};
    char hex[DIGEST_HEX_BYTES];
    uint64_t bytes;
    int err = safetensors_open(fuzz_file(0, feed.at, feed_left(&feed)), &file, &why);
    if (err != 0) {
        must_say(why.text);
        return;
    }
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_entry *entry = safetensors_entry(file, i);
        uint64_t count = (entry->end_bytes - entry->begin_bytes) / sizeof(float);
        must(entry->end_bytes <= feed_left(&feed));
        must(safetensors_read(file, i, 0, values, count < READ_MAX ? count : READ_MAX, &why) == 0);
        must(safetensors_read(file, i, count, values, 1, &why) != 0);
    }
    must(safetensors_digest(file, NULL, hex, &bytes, &why) == 0 && bytes == feed_left(&feed));
    safetensors_close(file);
}

static void open_checkpoint(void)
{
    float weights[WEIGHTS], parts[2 * 12];
    struct checkpoint_reader *reader = NULL;
    struct err_msg why = {0};
    if (checkpoint_open(folder, &reader, &why) != 0) {
        must_say(why.text);
        return;
    }
    (void)!checkpoint_check_settings(reader, "job.seed:1 ", &why);
    must(checkpoint_info(reader)->state_count <= CHECKPOINT_STATES_MAX);
    if (checkpoint_check(reader, layout, NULL, &why) == 0) {
        (void)!checkpoint_read_weights(reader, layout, weights, &why);
        for (size_t i = 0; i < layout->block_count && checkpoint_info(reader)->state_count > 0; i++)
            (void)!checkpoint_read(reader, layout, i, 2, parts, &why);
    }
    checkpoint_close(reader);
}

/* The digest that the text ends with becomes its own, so that what is before it is looked at. */
static void seal(char *text, size_t size)
{
    static const char tail[] = "\"\n}\n";
    size_t tail_bytes = sizeof(tail) - 1;
    char hex[DIGEST_HEX_BYTES];
    if (size < tail_bytes + HEX || memcmp(text + size - tail_bytes, tail, tail_bytes) != 0)
        return;
    char *digits = text + size - tail_bytes - HEX;
    struct digest *digest = digest_create();
    must(digest != NULL);
    memset(digits, '0', HEX);
    digest_add(digest, text, size);
    digest_hex(digest, hex);
    digest_destroy(digest);
    memcpy(digits, hex, HEX);
}

static void try_manifest(struct feed feed)
{
    char path[PATH_MAX];
    size_t size = feed_left(&feed);
    char *text = malloc(size + 1);
    must(text != NULL);
    memcpy(text, feed.at, size);
    seal(text, size);
    snprintf(path, sizeof(path), "checkpoints/checkpoint-%d/checkpoint.json", STEP);
    fuzz_write(path, text, size);
    free(text);
    open_checkpoint();
}

/* The checkpoint's first file is another one now, and its manifest knows. */
static void try_file(struct feed feed)
{
    char path[PATH_MAX];
    struct err_msg why;
    struct manifest changed = whole;
    struct manifest_file files[8];
    must(whole.file_count <= ARRAY_LEN(files));
    memcpy(files, whole.files, whole.file_count * sizeof(*files));
    changed.files = files;
    snprintf(path, sizeof(path), "checkpoints/checkpoint-%d/%s", STEP, files[0].name);
    char *kept = NULL;
    size_t kept_size;
    must(file_read(fuzz_path(path), 1 << 20, &kept, &kept_size, &why) == 0);
    fuzz_write(path, feed.at, feed_left(&feed));
    must(manifest_measure(fuzz_path(path), &files[0], &why) == 0);
    must(manifest_write(folder, &changed, &why) == 0);
    open_checkpoint();
    fuzz_write(path, kept, kept_size);
    must(manifest_write(folder, &whole, &why) == 0);
    free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    uint8_t which = feed_u8(&feed) % 3;
    make_checkpoint();
    if (which == 0)
        read_tensors(feed);
    else if (which == 1)
        try_manifest(feed);
    else
        try_file(feed);
    return 0;
}
