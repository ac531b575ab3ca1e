/* IDX and NPY, plain or packed, told by their content: a data set is opened and all of it is read.
 *
 * Input: flags, the size of the inputs' file (2 bytes), that file, the labels' file.  Flags: 1, 2:
 * the files are packed first (a fuzzer finds no checksums); 4: rows stay in their files; 8, 16: the
 * loss; 32: measured; 64: some are held out; 128: NCHW. */
#include "tests/fuzz/fuzz.h"

#include <zlib.h>
#include "tests/fuzz/fuzz_data.h"

enum { PACKED_MAX = 1 << 18 };

static const char *write_file(size_t number, struct feed file, bool is_packed)
{
    static unsigned char packed[PACKED_MAX];
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)file.at,
                       .avail_in = (unsigned)feed_left(&file),
                       .next_out = packed,
                       .avail_out = PACKED_MAX};
    if (!is_packed)
        return fuzz_file(number, file.at, feed_left(&file));
    must(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    (void)deflate(&stream, Z_FINISH);
    (void)deflateEnd(&stream);
    return fuzz_file(number, packed, stream.total_out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct fuzz_job job;
    unsigned flags = feed_u8(&feed);
    struct feed inputs = feed_part(&feed, feed_u16(&feed));
    const char *labels = feed_left(&feed) == 0 ? "" : write_file(1, feed, (flags & 2) != 0);
    fuzz_job_of(&job, write_file(0, inputs, (flags & 1) != 0), labels, flags);
    fuzz_read_all(&job);
    return 0;
}
