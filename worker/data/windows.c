#include "worker/data/windows.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include "common/batching.h"
#include "common/philox.h"

int windows_make(uint64_t token_count, uint32_t length, uint64_t seed, const char *name,
                 struct windows *out, struct err_msg *why)
{
    *out = (struct windows){.end = token_count, .length = length, .seed = seed};
    if (token_count > length)
        return 0;
    return err_set(why, ERR_INPUT,
                   "%s: holds %" PRIu64 " tokens, expected at least %" PRIu64
                   ": one sample (data.sequence) and the token that follows it",
                   name, token_count, (uint64_t)length + 1);
}

int windows_split(const struct windows *whole, double fraction, const char *name,
                  struct windows *train_out, struct windows *held_out, struct err_msg *why)
{
    uint64_t count = whole->end - whole->begin, least = (uint64_t)whole->length + 1;
    if (count < 2 * least)
        return err_set(why, ERR_INPUT,
                       "%s: holds %" PRIu64 " tokens, expected at least %" PRIu64
                       ": a sample of %" PRIu32 " (data.sequence) and the token that follows it, "
                       "to train on and as much to hold out (data.test_fraction)",
                       name, count, 2 * least, whole->length);
    uint64_t held = (uint64_t)llround((double)count * fraction);
    if (held < least)
        held = least;
    if (held > count - least)
        held = count - least;
    *train_out = *held_out = *whole;
    train_out->end -= held;
    held_out->begin = train_out->end;
    return 0;
}

uint64_t windows_count(const struct windows *windows)
{
    return (windows->end - windows->begin - 1) / windows->length;
}

uint64_t windows_first(const struct windows *windows, uint64_t epoch, uint64_t sample_idx)
{
    assert(sample_idx < windows_count(windows));
    struct draw_key key = {.seed = windows->seed, .step = epoch, .where = DRAW_WINDOWS};
    uint64_t shift = epoch == 0 ? 0 : draw_u32(&key, 0) % windows->length;
    uint64_t last = windows->end - windows->length - 1;
    uint64_t first = windows->begin + sample_idx * windows->length + shift;
    return first < last ? first : last;
}
