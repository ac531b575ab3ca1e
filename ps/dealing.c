#include "ps/dealing.h"

static double mean_known_ms(const struct hand *hands, size_t hand_count)
{
    double sum = 0.0;
    size_t known = 0;
    for (size_t i = 0; i < hand_count; i++) {
        sum += hands[i].lane_ms;
        known += hands[i].lane_ms > 0.0;
    }
    return known == 0 ? 1.0 : sum / (double)known;
}

/* A thread computes one lane at a time: lanes come in rounds. */
static double time_ms(const struct hand *hand, uint32_t count, double mean_ms)
{
    uint32_t threads = hand->threads == 0 ? 1 : hand->threads;
    double lane_ms = hand->lane_ms > 0.0 ? hand->lane_ms : mean_ms;
    if (count == 0)
        return 0.0;
    return hand->behind_ms + lane_ms * (double)((count + threads - 1) / threads);
}

/* Who would be done first with one more lane; who has fewest, and the lowest rank, among equals. */
static struct hand *first_done(struct hand *hands, size_t hand_count, double mean_ms)
{
    struct hand *best = &hands[0];
    for (size_t i = 1; i < hand_count; i++) {
        double mine = time_ms(&hands[i], hands[i].count + 1, mean_ms);
        double other = time_ms(best, best->count + 1, mean_ms);
        if (mine < other || (mine <= other && hands[i].count < best->count))
            best = &hands[i];
    }
    return best;
}

void dealing_deal(struct hand *hands, size_t hand_count, uint32_t lane_count, uint64_t *owners)
{
    double mean_ms = mean_known_ms(hands, hand_count);
    uint32_t lane = 0;
    for (size_t i = 0; i < hand_count; i++)
        hands[i].count = 0;
    for (uint32_t i = 0; i < lane_count; i++) {
        owners[i] = 0;
        if (hand_count > 0)
            first_done(hands, hand_count, mean_ms)->count++;
    }
    for (size_t i = 0; i < hand_count; i++)
        for (uint32_t n = 0; n < hands[i].count; n++)
            owners[lane++] = hands[i].id;
}

double dealing_span_ms(const struct hand *hands, size_t hand_count)
{
    double mean_ms = mean_known_ms(hands, hand_count), span_ms = 0.0;
    for (size_t i = 0; i < hand_count; i++) {
        double ms = time_ms(&hands[i], hands[i].count, mean_ms);
        span_ms = ms > span_ms ? ms : span_ms;
    }
    return span_ms;
}
