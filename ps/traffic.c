#include "ps/traffic.h"

#include <inttypes.h>
#include <math.h>
#include "common/log.h"

/* Beats come half a second apart and cut the window at another step than its ends: 32 steps make
 * that an error of a sixteenth. */
enum { WINDOW_MS = 5000, WINDOW_STEPS = 32, WINDOWS_MIN = 3, WINDOWS_MAX = 192 };

static const double EXCESS_MIN = 1.25, EXCESS_MAX = 16.0, SOME_HEAT = 1e-12;

static uint64_t bytes_of(const struct member *member)
{
    return member->beat.bytes_in + member->beat.bytes_out;
}

static void begin(struct traffic *traffic, struct members *members,
                  const struct placement *placement, uint64_t step, uint64_t now_ms)
{
    traffic->begin_ms = now_ms;
    traffic->begin_step = step;
    traffic->change_count = placement->change_count;
    traffic->is_begun = true;
    for (size_t i = 0; i < members->count; i++) {
        struct member *member = &members->items[i];
        member->traffic.bytes = bytes_of(member);
        member->traffic.ms = member->beat_ms;
    }
}

static void forget(struct members *members)
{
    for (size_t i = 0; i < members->count; i++)
        members->items[i].traffic.excess_count = 0;
}

/* Sets each shard's heat: its traffic over that expected of it, in any unit; 0: it is primary of
 * nothing.  False when some shard cannot be judged. */
static bool measure(struct members *members, const struct placement *placement)
{
    for (size_t i = 0; i < members->count; i++) {
        struct member *member = &members->items[i];
        struct traffic_marks *marks = &member->traffic;
        marks->heat = 0.0;
        if (member->who.party != PARTY_SHARD)
            continue;
        double expected = placement_traffic(placement, member->who.id);
        if (expected <= 0.0)
            continue;
        if (member->beat_ms <= marks->ms || bytes_of(member) < marks->bytes)
            return false;
        marks->heat = SOME_HEAT + (double)(bytes_of(member) - marks->bytes) /
                                      (double)(member->beat_ms - marks->ms) / expected;
    }
    return true;
}

/* The lower one of two; 0: nobody has any. */
static double median_heat(const struct members *members)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        count += members->items[i].traffic.heat > 0.0;
    for (size_t i = 0; i < members->count; i++) {
        double heat = members->items[i].traffic.heat;
        size_t below = 0, as_much = 0;
        for (size_t n = 0; n < members->count; n++) {
            double other = members->items[n].traffic.heat;
            below += other > 0.0 && other < heat;
            as_much += other == heat;
        }
        if (heat > 0.0 && below <= (count - 1) / 2 && (count - 1) / 2 < below + as_much)
            return heat;
    }
    return 0.0;
}

/* How many windows in a row a shard has been out of proportion, and by how much at least. */
static void judge(struct traffic_marks *marks, double median)
{
    double excess = fmax(fmin(marks->heat / median, EXCESS_MAX), 1.0 / EXCESS_MAX);
    if (marks->heat <= 0.0 || (excess <= EXCESS_MIN && excess >= 1.0 / EXCESS_MIN)) {
        marks->excess_count = 0;
        return;
    }
    bool is_same_side = (excess > 1.0) == (marks->excess > 1.0);
    bool is_least = excess > 1.0 ? excess < marks->excess : excess > marks->excess;
    marks->excess_count = is_same_side && marks->excess_count > 0 ? marks->excess_count + 1 : 1;
    if (marks->excess_count == 1 || is_least)
        marks->excess = excess;
}

static bool warm(const struct members *members, struct placement *placement, uint32_t windows)
{
    bool is_changed = false;
    for (size_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        if (member->traffic.excess_count < windows)
            continue;
        placement_warm(placement, member->who.id, member->traffic.excess);
        is_changed = true;
        log_event(LOG_INFO, "traffic", "server=%" PRIu32 " shard=%" PRIu32 " times=%.2f",
                  member->rank, member->hello.shard_idx, member->traffic.excess);
    }
    return is_changed;
}

bool traffic_watch(struct traffic *traffic, struct members *members, struct placement *placement,
                   uint64_t step, uint64_t now_ms)
{
    if (!traffic->is_begun || traffic->change_count != placement->change_count ||
        step < traffic->begin_step) {
        forget(members);
        begin(traffic, members, placement, step, now_ms);
        return false;
    }
    if (now_ms - traffic->begin_ms < WINDOW_MS || step - traffic->begin_step < WINDOW_STEPS)
        return false;
    bool is_changed = false;
    if (!placement_is_filling(placement) && measure(members, placement)) {
        double median = median_heat(members);
        if (traffic->window_count == 0)
            traffic->window_count = WINDOWS_MIN;
        for (size_t i = 0; median > 0.0 && i < members->count; i++)
            judge(&members->items[i].traffic, median);
        is_changed = warm(members, placement, traffic->window_count);
    } else {
        forget(members);
    }
    if (is_changed) {
        forget(members);
        traffic->window_count = traffic->window_count * 2 < WINDOWS_MAX ? traffic->window_count * 2
                                                                        : WINDOWS_MAX;
    }
    begin(traffic, members, placement, step, now_ms);
    return is_changed;
}
