/* Payloads of peers, and gradients whatever their bits: rounding twice is rounding once, and what
 * is encoded comes back. */
#include "tests/fuzz/fuzz.h"

#include "common/codec.h"
#include "common/sparse.h"

enum { COUNT_MAX = 1100 };

static void decode(enum codec_kind codec, struct feed feed, size_t count)
{
    size_t size = feed_left(&feed);
    if (!codec_fits(codec, size, count))
        return;
    unsigned char *bytes = malloc(size);
    float *out = calloc(count, sizeof(*out));
    must(bytes != NULL && out != NULL);
    memcpy(bytes, feed.at, size);
    int err = codec_decode(codec, bytes, size, out, count);
    must(err == 0 || codec == CODEC_SPARSE);
    free(bytes);
    free(out);
}

static void round_trip(enum codec_kind codec, const float *values, size_t count)
{
    static float rounded[COUNT_MAX], again[COUNT_MAX], back[COUNT_MAX];
    static unsigned char bytes[sizeof(rounded)];
    struct codec_grid grid = {.codec = codec, .seed = 1, .step = 2};
    struct lane_node node = {0, 1};
    memcpy(rounded, values, count * sizeof(*values));
    codec_round_node(&grid, node, rounded, count);
    memcpy(again, rounded, count * sizeof(*values));
    codec_round_node(&grid, node, again, count);
    must(memcmp(again, rounded, count * sizeof(*values)) == 0);
    codec_encode(codec, rounded, count, bytes);
    int err = codec_decode(codec, bytes, codec_bytes(codec, count), back, count);
    must(err == 0);
    for (size_t i = 0; i < count; i++) /* a group with one that is no number has none */
        must(back[i] == rounded[i] || back[i] != back[i]);
}

static void pick(const float *values, size_t count, size_t keep)
{
    static float left[COUNT_MAX];
    static unsigned char pairs[COUNT_MAX * CODEC_PAIR_BYTES];
    memcpy(left, values, count * sizeof(*values));
    sparse_move_largest(left, count, keep, pairs);
    int err = codec_decode(CODEC_SPARSE, pairs, keep * CODEC_PAIR_BYTES, left, count);
    must(err == 0 && memcmp(left, values, count * sizeof(*values)) == 0);
    size_t sums = sparse_count(values, NULL, count);
    sparse_gather(values, NULL, values, count, pairs);
    err = codec_decode(CODEC_SPARSE, pairs, (sums == 0 ? 1 : sums) * CODEC_PAIR_BYTES, left, count);
    must(err == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float values[COUNT_MAX];
    struct feed feed = {data, data + size};
    enum codec_kind codec = feed_u8(&feed) % CODEC_COUNT;
    size_t count = 1 + feed_u16(&feed) % COUNT_MAX;
    size_t keep = 1 + feed_u16(&feed) % count;
    decode(codec, feed, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = feed_u16(&feed);
        bits |= feed_u16(&feed) << 16;
        memcpy(&values[i], &bits, sizeof(bits));
    }
    if (codec_rounds(codec))
        round_trip(codec, values, count);
    else if (codec == CODEC_SPARSE)
        pick(values, count, keep);
    return 0;
}
