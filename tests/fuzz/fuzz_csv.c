/* A CSV as a data set.
 *
 * Input: flags as in fuzz_data.h and 1: a header, 2: semicolons; then the label's column and a
 * categorical one, each to the end of its line; then the file. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/fuzz_data.h"

static void take_line(struct feed *feed, char *out, size_t room)
{
    size_t used = 0;
    uint8_t byte;
    while (feed_left(feed) > 0 && (byte = feed_u8(feed)) != '\n' && byte != 0)
        if (used + 1 < room)
            out[used++] = (char)byte;
    out[used] = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct fuzz_job job;
    unsigned flags = feed_u8(&feed);
    char label[64], category[64], *categories[] = {category};
    take_line(&feed, label, sizeof(label));
    take_line(&feed, category, sizeof(category));
    fuzz_job_of(&job, fuzz_file(0, feed.at, feed_left(&feed)), "", flags & ~128u);
    job.settings.data.format = FORMAT_CSV;
    job.settings.data.header = (flags & 1) != 0;
    job.settings.data.label_column = label;
    if ((flags & 2) != 0)
        job.text[2][0] = ';';
    if (category[0] != 0) {
        job.settings.data.categorical.items = categories;
        job.settings.data.categorical.count = 1;
    }
    fuzz_read_all(&job);
    return 0;
}
