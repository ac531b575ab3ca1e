#include "ps/placement.h"

#include <stdlib.h>
#include <string.h>

/* Evening out stops when the fullest place has no more than this many tenths of the mean. */
enum { FULLEST_TENTHS = 11, MOVES_A_PLAN = 64, HEAT_MIN = HEAT_ONE / 16, HEAT_MAX = HEAT_ONE * 16 };

int placement_create(struct placement *placement, const struct layout *layout)
{
    size_t count = layout->block_count;
    placement->layout = layout;
    placement->primary = calloc(count, sizeof(*placement->primary));
    placement->backup = calloc(count, sizeof(*placement->backup));
    placement->learner = calloc(count, sizeof(*placement->learner));
    placement->is_move = calloc(count, sizeof(*placement->is_move));
    placement->since = calloc(count, sizeof(*placement->since));
    placement->heat = calloc(count, sizeof(*placement->heat));
    if (placement->primary == NULL || placement->backup == NULL || placement->learner == NULL ||
        placement->is_move == NULL || placement->since == NULL || placement->heat == NULL) {
        placement_free(placement);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++)
        placement->heat[i] = HEAT_ONE;
    return 0;
}

void placement_free(struct placement *placement)
{
    free(placement->primary);
    free(placement->backup);
    free(placement->learner);
    free(placement->is_move);
    free(placement->since);
    free(placement->heat);
    *placement = (struct placement){0};
}

static uint64_t block_bytes(const struct placement *placement, size_t block_idx)
{
    const struct range *range = &placement->layout->blocks[block_idx].range;
    return (range->end - range->begin) * sizeof(float);
}

/* In bytes, times 2 * HEAT_ONE.  All blocks' together fit: heats are shares, bytes below 2^49. */
static uint64_t block_load(const struct placement *placement, size_t block_idx)
{
    return block_bytes(placement, block_idx) * (HEAT_ONE + placement->heat[block_idx]);
}

static const struct place *find(struct places places, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < places.count; i++)
        if (places.items[i].id == id)
            return &places.items[i];
    return NULL;
}

/* What each place has, or is getting. */
struct loads {
    uint64_t *primary; /* [places.count] load of what it is primary of */
    uint64_t *all;     /* [places.count] bytes */
};

static void loads_free(struct loads *loads)
{
    free(loads->primary);
    free(loads->all);
}

static void load_add(struct loads *loads, struct places places, uint64_t id, uint64_t bytes)
{
    const struct place *place = find(places, id);
    if (place != NULL)
        loads->all[place - places.items] += bytes;
}

static int loads_make(const struct placement *placement, struct places places,
                      struct loads *loads)
{
    loads->primary = calloc(places.count + 1, sizeof(*loads->primary));
    loads->all = calloc(places.count + 1, sizeof(*loads->all));
    if (loads->primary == NULL || loads->all == NULL) {
        loads_free(loads);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        uint64_t bytes = block_bytes(placement, i);
        const struct place *primary = find(places, placement->primary[i]);
        if (primary != NULL)
            loads->primary[primary - places.items] += block_load(placement, i);
        load_add(loads, places, placement->primary[i], bytes);
        load_add(loads, places, placement->backup[i], bytes);
        load_add(loads, places, placement->learner[i], bytes);
    }
    return 0;
}

/* The emptiest place that stays and is of another process than `not_rank` (NOT_RANK_ANY: of any)
 * and none of the two; NULL when there is none. */
#define NOT_RANK_ANY UINT32_MAX

static const struct place *emptiest(struct places places, const uint64_t *load, uint32_t not_rank,
                                    const uint64_t not_ids[2])
{
    const struct place *best = NULL;
    for (size_t i = 0; i < places.count; i++) {
        const struct place *place = &places.items[i];
        bool is_fit = !place->is_leaving && place->rank != not_rank &&
                      place->id != not_ids[0] && place->id != not_ids[1];
        if (is_fit && (best == NULL || load[i] < load[best - places.items]))
            best = place;
    }
    return best;
}

struct dealt {
    uint64_t load;
    size_t idx;
};

static int larger_first(const void *a, const void *b)
{
    const struct dealt *left = a, *right = b;
    if (left->load != right->load)
        return left->load < right->load ? 1 : -1;
    return left->idx < right->idx ? -1 : left->idx > right->idx;
}

static void deal_block(struct placement *placement, struct places places, struct loads *loads,
                       size_t idx)
{
    const uint64_t nobody[2] = {0, 0};
    const struct place *primary = emptiest(places, loads->primary, NOT_RANK_ANY, nobody);
    if (primary == NULL) /* all are leaving: better there than nowhere */
        primary = &places.items[idx % places.count];
    placement->primary[idx] = primary->id;
    loads->primary[primary - places.items] += block_load(placement, idx);
    if (!placement->has_replicas)
        return;
    const struct place *backup = emptiest(places, loads->all, primary->rank, nobody);
    placement->backup[idx] = backup == NULL ? 0 : backup->id;
    if (backup != NULL) /* of the backups alone: primaries are even already */
        loads->all[backup - places.items] += block_bytes(placement, idx);
}

int placement_deal(struct placement *placement, struct places places)
{
    size_t count = placement->layout->block_count;
    if (places.count == 0)
        return ERR_INPUT;
    memset(placement->primary, 0, count * sizeof(*placement->primary));
    memset(placement->backup, 0, count * sizeof(*placement->backup));
    memset(placement->learner, 0, count * sizeof(*placement->learner));
    struct dealt *blocks = calloc(count, sizeof(*blocks));
    struct loads loads;
    if (blocks == NULL || loads_make(placement, places, &loads) != 0) {
        free(blocks);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++)
        blocks[i] = (struct dealt){block_load(placement, i), i};
    qsort(blocks, count, sizeof(*blocks), larger_first);
    for (size_t i = 0; i < count; i++)
        deal_block(placement, places, &loads, blocks[i].idx);
    placement->change_count++;
    loads_free(&loads);
    free(blocks);
    return 0;
}

bool placement_lose(struct placement *placement, struct places places)
{
    bool is_changed = false;
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        if (placement->learner[i] != 0 && find(places, placement->learner[i]) == NULL) {
            placement->learner[i] = 0;
            is_changed = true;
        }
        bool has_primary = find(places, placement->primary[i]) != NULL;
        bool has_backup = find(places, placement->backup[i]) != NULL;
        if (placement->backup[i] != 0 && has_primary && !has_backup) {
            placement->backup[i] = 0;
            is_changed = true;
        }
        if (has_primary)
            continue;
        is_changed = is_changed || placement->learner[i] != 0;
        placement->learner[i] = 0; /* it was being filled by who is gone */
        if (!has_backup)
            continue; /* whichever of the two comes back first goes on */
        placement->primary[i] = placement->backup[i];
        placement->backup[i] = 0;
        is_changed = true;
    }
    placement->change_count += is_changed;
    return is_changed;
}

size_t placement_orphans(const struct placement *placement, struct places places)
{
    size_t count = 0;
    for (size_t i = 0; i < placement->layout->block_count; i++)
        count += find(places, placement->primary[i]) == NULL;
    return count;
}

/* The backup becomes primary.  Who was primary has all that the backup has, and stays as backup;
 * nothing is answered before it has caught up with its successor. */
static void swap(struct placement *placement, size_t idx)
{
    uint64_t old = placement->primary[idx];
    placement->primary[idx] = placement->backup[idx];
    placement->backup[idx] = placement->has_replicas ? old : 0;
    placement->learner[idx] = 0;
}

static void teach(struct placement *placement, size_t idx, const struct place *learner,
                  bool is_move, uint32_t view)
{
    placement->learner[idx] = learner->id;
    placement->is_move[idx] = is_move;
    placement->since[idx] = view;
}

/* What one block needs: to get off a place that is left, or a backup. */
static bool mend(struct placement *placement, struct places places, struct loads *loads,
                 size_t idx, uint32_t view)
{
    const struct place *primary = find(places, placement->primary[idx]);
    const struct place *backup = find(places, placement->backup[idx]);
    const uint64_t not_ids[2] = {placement->primary[idx], placement->backup[idx]};
    if (primary == NULL || placement->learner[idx] != 0)
        return false;
    /* A move within a process leaves the backup in it too. */
    bool has_backup = backup != NULL && !backup->is_leaving && backup->rank != primary->rank;
    if (primary->is_leaving && has_backup) {
        swap(placement, idx);
        return true;
    }
    bool is_move = primary->is_leaving;
    if (!is_move && (!placement->has_replicas || has_backup))
        return false;
    const struct place *learner =
        emptiest(places, loads->all, is_move ? NOT_RANK_ANY : primary->rank, not_ids);
    if (learner == NULL && !is_move && backup != NULL && backup->is_leaving) {
        placement->backup[idx] = 0; /* there is no other place: it may go all the same */
        return true;
    }
    if (learner == NULL)
        return false;
    teach(placement, idx, learner, is_move, view);
    loads->all[learner - places.items] += block_bytes(placement, idx);
    return true;
}

static void fullest_and_emptiest(struct places places, const uint64_t *load, size_t *full_out,
                                 size_t *empty_out)
{
    *full_out = *empty_out = 0;
    for (size_t i = 1; i < places.count; i++) {
        if (load[i] > load[*full_out])
            *full_out = i;
        if (load[i] < load[*empty_out])
            *empty_out = i;
    }
}

/* The largest primary block of `from` that makes things more even on `to`; block_count: none.
 * Those that `to` is backup of come first: they have nothing to move. */
static size_t block_to_move(const struct placement *placement, uint64_t from, uint64_t to,
                            uint64_t most_load)
{
    size_t best = placement->layout->block_count;
    bool is_best_there = false;
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        uint64_t load = block_load(placement, i);
        bool is_there = placement->backup[i] == to;
        if (placement->primary[i] != from || placement->learner[i] != 0 || load > most_load)
            continue;
        bool is_better = best == placement->layout->block_count ||
                         (is_there && !is_best_there) ||
                         (is_there == is_best_there && load > block_load(placement, best));
        if (is_better) {
            best = i;
            is_best_there = is_there;
        }
    }
    return best;
}

/* The two that a block is to move between; false: they are even enough. */
static bool is_uneven(struct places places, const uint64_t *load, size_t *full_out,
                      size_t *empty_out)
{
    uint64_t total = 0;
    for (size_t i = 0; i < places.count; i++)
        total += load[i];
    fullest_and_emptiest(places, load, full_out, empty_out);
    return load[*full_out] * 10 * places.count > total * FULLEST_TENTHS;
}

static bool even_out_primaries(struct placement *placement, struct places places, uint64_t *load,
                               uint32_t view)
{
    size_t full, empty, moved = 0;
    for (; moved < MOVES_A_PLAN && is_uneven(places, load, &full, &empty); moved++) {
        uint64_t from = places.items[full].id, to = places.items[empty].id;
        /* Who was primary is to be backup, of another process. */
        bool is_within = places.items[full].rank == places.items[empty].rank;
        size_t idx = block_to_move(placement, from, to, (load[full] - load[empty]) / 2);
        if ((is_within && placement->has_replicas) || idx == placement->layout->block_count)
            break;
        if (placement->backup[idx] == to)
            swap(placement, idx);
        else
            teach(placement, idx, &places.items[empty], true, view);
        load[full] -= block_load(placement, idx);
        load[empty] += block_load(placement, idx);
    }
    return moved > 0;
}

/* The largest block that `from` is backup of and that makes things more even as one of `to`. */
static size_t copy_to_move(const struct placement *placement, struct places places,
                           const struct place *from, const struct place *to, uint64_t most_bytes)
{
    size_t none = placement->layout->block_count, best = none;
    for (size_t i = 0; i < none; i++) {
        const struct place *primary = find(places, placement->primary[i]);
        if (placement->backup[i] != from->id || placement->learner[i] != 0 || primary == NULL ||
            primary->rank == to->rank || block_bytes(placement, i) > most_bytes)
            continue;
        if (best == none || block_bytes(placement, i) > block_bytes(placement, best))
            best = i;
    }
    return best;
}

/* By all that places have: a new one takes its share of the copies as well. */
static bool even_out_copies(struct placement *placement, struct places places, uint64_t *load,
                            uint32_t view)
{
    size_t full, empty, moved = 0;
    for (; moved < MOVES_A_PLAN && is_uneven(places, load, &full, &empty); moved++) {
        const struct place *to = &places.items[empty];
        size_t idx = copy_to_move(placement, places, &places.items[full], to,
                                  (load[full] - load[empty]) / 2);
        if (idx == placement->layout->block_count)
            break;
        teach(placement, idx, to, false, view);
        load[full] -= block_bytes(placement, idx);
        load[empty] += block_bytes(placement, idx);
    }
    return moved > 0;
}

int placement_plan(struct placement *placement, struct places places, uint32_t view)
{
    struct loads loads;
    bool is_changed = false, is_busy = false;
    if (places.count < 2)
        return 0;
    for (size_t i = 0; i < places.count; i++) /* first it is to be empty */
        is_busy = is_busy || places.items[i].is_leaving;
    if (loads_make(placement, places, &loads) != 0)
        return ERR_NOMEM;
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        is_changed = mend(placement, places, &loads, i, view) || is_changed;
        is_busy = is_busy || placement->learner[i] != 0;
    }
    if (!is_changed && !is_busy)
        is_changed = even_out_primaries(placement, places, loads.primary, view) ||
                     even_out_copies(placement, places, loads.all, view);
    loads_free(&loads);
    placement->change_count += is_changed;
    return is_changed;
}

double placement_traffic(const struct placement *placement, uint64_t primary)
{
    double sum = 0.0, all = 0.0;
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        double traffic = (double)block_bytes(placement, i) * placement->heat[i];
        all += traffic;
        sum += placement->primary[i] == primary ? traffic : 0.0;
    }
    return sum / all;
}

void placement_warm(struct placement *placement, uint64_t primary, double factor)
{
    double bytes = 0.0, traffic = 0.0;
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        double times = placement->primary[i] == primary ? factor : 1.0;
        bytes += (double)block_bytes(placement, i);
        traffic += (double)block_bytes(placement, i) * placement->heat[i] * times;
    }
    double unit = HEAT_ONE * bytes / traffic; /* so that the mean stays HEAT_ONE */
    for (size_t i = 0; i < placement->layout->block_count; i++) {
        double times = placement->primary[i] == primary ? factor * unit : unit;
        double heat = placement->heat[i] * times + 0.5;
        placement->heat[i] = heat < HEAT_MIN ? HEAT_MIN : heat > HEAT_MAX ? HEAT_MAX
                                                                          : (uint32_t)heat;
    }
}

bool placement_is_filling(const struct placement *placement)
{
    for (size_t i = 0; i < placement->layout->block_count; i++)
        if (placement->learner[i] != 0)
            return true;
    return false;
}

bool placement_filled(struct placement *placement, size_t block_idx, uint64_t primary,
                      uint32_t view)
{
    if (placement->learner[block_idx] == 0 || placement->primary[block_idx] != primary ||
        view < placement->since[block_idx])
        return false;
    if (placement->is_move[block_idx]) {
        placement->backup[block_idx] = placement->has_replicas ? placement->primary[block_idx] : 0;
        placement->primary[block_idx] = placement->learner[block_idx];
    } else {
        placement->backup[block_idx] = placement->learner[block_idx];
    }
    placement->learner[block_idx] = 0;
    placement->change_count++;
    return true;
}

bool placement_go_alone(struct placement *placement, size_t block_idx, uint64_t primary)
{
    bool has_follower = placement->backup[block_idx] != 0 || placement->learner[block_idx] != 0;
    if (placement->primary[block_idx] != primary || !has_follower)
        return false;
    placement->backup[block_idx] = placement->learner[block_idx] = 0;
    placement->change_count++;
    return true;
}

bool placement_is_protected(const struct placement *placement)
{
    for (size_t i = 0; i < placement->layout->block_count; i++)
        if (placement->backup[i] == 0)
            return false;
    return true;
}

bool placement_uses(const struct placement *placement, uint64_t id)
{
    for (size_t i = 0; i < placement->layout->block_count; i++)
        if (placement->primary[i] == id || placement->backup[i] == id ||
            placement->learner[i] == id)
            return true;
    return false;
}
