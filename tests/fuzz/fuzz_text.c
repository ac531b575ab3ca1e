/* A text, or an array, as a data set of tokens.
 *
 * Input: flags as in fuzz_data.h and 1: an array, or what else the content says; tokens of a
 * sample; then the file. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/fuzz_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct fuzz_job job;
    unsigned flags = feed_u8(&feed);
    uint32_t sequence = feed_u8(&feed) % 33u;
    fuzz_job_of(&job, fuzz_file(0, feed.at, feed_left(&feed)), "", flags & (4 | 8 | 64));
    job.settings.data.format = (flags & 1) != 0 ? FORMAT_AUTO : FORMAT_TEXT;
    job.settings.data.sequence = sequence;
    fuzz_read_all(&job);
    return 0;
}
