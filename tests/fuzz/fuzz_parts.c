/* The manifest of a data set that was cut into parts.  The parts are there and as they were
 * written; the manifest is the input. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/fuzz_data.h"
#include "worker/data/npy.h"
#include "worker/data/parts.h"

enum { SAMPLES = 5, FEATURES = 2 };

static size_t put_array(const struct rows_form *form, const void *rows, size_t rows_bytes,
                        char *out)
{
    size_t header_bytes = npy_write_header(form, out);
    memcpy(out + header_bytes, rows, rows_bytes);
    return header_bytes + rows_bytes;
}

/* What `talweg shard` makes of five samples, in two parts. */
static void make_parts(const char *folder)
{
    static const float inputs[SAMPLES][FEATURES] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}};
    static const uint8_t labels[SAMPLES] = {0, 1, 2, 1, 0};
    struct rows_form form = {
        .type = ROWS_F32, .dims = 1, .shape = {FEATURES}, .count = SAMPLES};
    struct rows_form label_form = {.type = ROWS_U8, .count = SAMPLES};
    struct rows_place place = {"", 1 << 20};
    struct samples samples;
    struct err_msg why;
    char bytes[2][NPY_WRITE_BYTES_MAX + sizeof(inputs)];
    size_t sizes[2] = {put_array(&form, inputs, sizeof(inputs), bytes[0]),
                       put_array(&label_form, labels, sizeof(labels), bytes[1])};
    struct samples_spec spec = {.format = FORMAT_NPY,
                                .inputs = fuzz_file(0, bytes[0], sizes[0]),
                                .labels = fuzz_file(1, bytes[1], sizes[1])};
    must(samples_open(&spec, &place, &samples, &why) == 0);
    must(parts_write(&samples, folder, 2, &why) == 0);
    samples_close(&samples);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct fuzz_job job;
    char folder[PATH_MAX];
    unsigned flags = feed_u8(&feed);
    snprintf(folder, sizeof(folder), "%s", fuzz_path("parts"));
    if (access(folder, F_OK) != 0)
        make_parts(folder);
    fuzz_write("parts/manifest.json", feed.at, feed_left(&feed));
    fuzz_job_of(&job, folder, "", flags & ~3u);
    fuzz_read_all(&job);
    return 0;
}
