/* What must never happen, looked for in every message that is sent. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/rounds.h"
#include "tests/sim/world.h"

enum { OUTBOX_MAX = 4096 };

static const float sum_tolerance = 1e-3f;

void sim_violate(struct sim *sim, const char *format, ...)
{
    char *text = sim->result->violation;
    if (text[0] != 0)
        return;
    int used = snprintf(text, SIM_TEXT_BYTES, "at %" PRIu64 " ms: ", sim->now_us / 1000);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, SIM_TEXT_BYTES - (size_t)used, format, args);
    va_end(args);
    sim_trace(sim, "VIOLATION %s", text);
    sim->is_over = true;
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    if (!sim->has_trace)
        return;
    printf("%9.3f ", (double)sim->now_us / 1000.0);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static bool has_key(enum message_kind kind)
{
    switch (kind) {
    case MSG_PUSH:
    case MSG_PULL:
    case MSG_WEIGHTS:
    case MSG_BLOCK_FETCH:
    case MSG_BLOCK_STATE:
    case MSG_BLOCK_KEPT:
    case MSG_VOID:
    case MSG_PASS:
    case MSG_SAME:
    case MSG_LACK:
    case MSG_UPDATE:
    case MSG_UPDATE_VOID:
    case MSG_UPDATED:
    case MSG_REPLICA:
    case MSG_FILLED:
        return true;
    default:
        return false;
    }
}

static void trace_view(const struct view *view)
{
    printf(" number=%u of era %u start=%" PRIu64 " blocks", view->number, view->era,
           view->start_step);
    for (size_t i = 0; i < view->block_count; i++)
        printf(" %d/%d/%d", (int)view->block_shard[i],
               view->block_backup == NULL ? -1 : (int)view->block_backup[i],
               view->block_learner == NULL ? -1 : (int)view->block_learner[i]);
    printf(" shards");
    for (size_t i = 0; i < view->shard_count; i++)
        printf(" %" PRIx64, view->shards[i].incarnation);
    printf(" lanes");
    for (size_t i = 0; i < view->lane_count; i++)
        printf(" %d", (int)view->lane_worker[i]);
}

void sim_trace_letter(struct sim *sim, size_t from, size_t to, const struct message *msg,
                      const char *fate)
{
    char sender[40], receiver[40];
    if (!sim->has_trace)
        return;
    sim_text(sim, from, sender, sizeof(sender));
    sim_text(sim, to, receiver, sizeof(receiver));
    printf("%9.3f %s -> %s %s view=%u era=%u", (double)sim->now_us / 1000.0, sender, receiver,
           message_kind_text(msg->kind), msg->view, msg->era);
    if (has_key(msg->kind))
        printf(" block=%u step=%" PRIu64 " lanes=%u..%u", msg->key.block, msg->key.step,
               msg->key.lane_begin, msg->key.lane_end);
    else if (msg->kind == MSG_VIEW)
        trace_view(&msg->view_body);
    else if (msg->kind == MSG_BYE || msg->kind == MSG_REFUSED || msg->kind == MSG_FINISH ||
             msg->kind == MSG_ALARM || msg->kind == MSG_CHECKPOINT_DONE)
        printf(" code=%d step=%" PRIu64 " %s", msg->outcome.code, msg->outcome.step,
               msg->outcome.text);
    else if (msg->kind == MSG_LANE_DONE || msg->kind == MSG_EVAL_DONE)
        printf(" step=%" PRIu64 " lane=%u", msg->lane.step, msg->lane.lane);
    printf("%s%s\n", fate[0] == 0 ? "" : " ** ", fate);
}

/* FNV-1a, never 0. */
uint64_t sim_hash(const void *data, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash == 0 ? 1 : hash;
}

static bool is_bsp(const struct sim *sim)
{
    return !settings_has_clocks(&sim->spec->settings);
}

uint64_t sim_step_count(const struct sim *sim)
{
    struct batching unused = {0}; /* the job is given in steps */
    return rounds_of_job(&sim->spec->settings, &unused);
}

/* Whether the version's bits follow from the job. */
static bool is_exact(const struct sim *sim)
{
    return is_bsp(sim) && sim->spec->settings.exchange.codec != CODEC_SPARSE;
}

/* One version of a block has one content, and one that is sent where that is rounded: in this run,
 * and in the undisturbed one. */
static void check_content(struct sim *sim, size_t from, const struct message *msg)
{
    const struct block_key *key = &msg->key;
    const struct range *range = &sim->layout->blocks[key->block].range;
    bool is_rounded = codec_rounds(key->codec);
    char who[40];
    if (!is_exact(sim) || key->step > SIM_HISTORY_MAX)
        return;
    size_t count = (size_t)(range->end - range->begin);
    uint64_t hash = sim_hash(msg->payload->data, codec_bytes(key->codec, count));
    uint64_t *seen = &(is_rounded ? sim->seen.rounded : sim->seen.hash)[key->block][key->step];
    const struct sim_history *expected = sim->spec->expected;
    uint64_t known = *seen;
    if (expected != NULL)
        known = (is_rounded ? expected->rounded : expected->hash)[key->block][key->step];
    sim_text(sim, from, who, sizeof(who));
    if (known != 0 && known != hash)
        sim_violate(sim, "%s sends other bits of block %u version %" PRIu64 " (%s)", who,
                    key->block, key->step, message_kind_text(msg->kind));
    *seen = hash;
}

/* The last version, where the sum of all gradients is known but not the order of additions, which a
 * running mean depends on. */
static void check_sum(struct sim *sim, const struct message *msg)
{
    const struct block_spec *block = &sim->layout->blocks[msg->key.block];
    const struct range *range = &block->range;
    bool is_sum = sim->layout->tensors[block->tensor_idx].update == UPDATE_OPTIMIZER;
    const float *weights = msg->payload->data;
    const struct sim_history *expected = sim->spec->expected;
    if (msg->key.step != sim_step_count(sim) || msg->key.codec == CODEC_SPARSE)
        return;
    if (msg->key.codec != CODEC_F32) {
        sim_violate(sim, "the weights that the job ends with are sent rounded");
        return;
    }
    for (uint64_t i = range->begin; i < range->end; i++) {
        float weight = weights[i - range->begin];
        sim->seen.weights[i] = weight;
        if (!is_bsp(sim) && expected != NULL && is_sum &&
            !(fabsf(weight - expected->weights[i]) <= sum_tolerance))
            sim_violate(sim, "weight %" PRIu64 " of block %u ends as %g; all gradients once make "
                        "%g", i, msg->key.block, (double)weight, (double)expected->weights[i]);
    }
}

/* What an era's shards have answered stays newest of that era once a later one goes on, but for one
 * version that was made before and is confirmed only now. */
static bool is_of_past_era(struct sim *sim, const struct sim_front *front, size_t from,
                           const struct message *msg)
{
    char who[40];
    if (msg->era >= front->era)
        return false;
    sim_text(sim, from, who, sizeof(who));
    if (msg->key.step > front->version_of_era[msg->era % SIM_ERAS_MAX] + 1 && front->has_progress)
        sim_violate(sim, "%s makes version %" PRIu64 " of block %u in era %u; era %u goes on", who,
                    msg->key.step, msg->key.block, msg->era, front->era);
    return true;
}

/* Who answers a version first is nobody whose place another has taken and gone on from. */
static void check_front(struct sim *sim, size_t from, const struct message *msg)
{
    struct sim_front *front = &sim->fronts[msg->key.block];
    char who[40], other[40];
    if (!is_bsp(sim) || is_of_past_era(sim, front, from, msg))
        return; /* a pull of ssp is for a clock, which says nothing of who made what */
    if (msg->era > front->era) {
        front->version_of_era[front->era % SIM_ERAS_MAX] = front->version;
        front->era = msg->era;
        front->has_progress = false;
    } else if (msg->key.step <= front->version) {
        return;
    } else {
        sim_text(sim, from, who, sizeof(who));
        sim_text(sim, front->shard, other, sizeof(other));
        if (front->shard != from && msg->view < front->view)
            sim_violate(sim, "%s is first to answer version %" PRIu64 " of block %u under view %u; "
                        "%s answered version %" PRIu64 " under view %u", who, msg->key.step,
                        msg->key.block, msg->view, other, front->version, front->view);
        front->has_progress = true;
    }
    front->version = msg->key.step;
    front->view = msg->view;
    front->shard = from;
}

static void note_push(struct sim *sim, size_t from, size_t to, const struct message *msg)
{
    struct sim_party *worker = &sim->parties[from];
    struct sim_pushed *pushed = &worker->pushed[msg->key.block];
    if (msg->key.step != pushed->step || to != pushed->to)
        *pushed = (struct sim_pushed){.to = to, .step = msg->key.step};
    for (size_t i = 0; i < pushed->node_count; i++)
        if (pushed->nodes[i].begin == msg->key.lane_begin &&
            pushed->nodes[i].end == msg->key.lane_end)
            return; /* once more */
    if (pushed->node_count < NODES_MAX) {
        pushed->nodes[pushed->node_count].begin = msg->key.lane_begin;
        pushed->nodes[pushed->node_count++].end = msg->key.lane_end;
    }
    pushed->bytes += msg->payload->size_bytes;
    uint64_t total = 0;
    for (size_t i = 0; i < SIM_BLOCKS_MAX; i++)
        total += worker->pushed[i].to == to ? worker->pushed[i].bytes : 0;
    if (total > sim->result->in_flight_max)
        sim->result->in_flight_max = total;
}

/* An era begins at the newest checkpoint that is known of, whoever has died since. */
static void check_era(struct sim *sim, const struct view *view)
{
    if (view->era > sim->newest_era && view->start_step < sim->known_step && is_bsp(sim))
        sim_violate(sim, "era %u begins at step %" PRIu64 "; a checkpoint of step %" PRIu64
                    " was known of", view->era, view->start_step, sim->known_step);
    sim->newest_era = view->era > sim->newest_era ? view->era : sim->newest_era;
}

void sim_check_post(struct sim *sim, size_t from, size_t to, const struct message *msg)
{
    bool is_shard = sim->parties[from].shard != NULL;
    if (sim->result->outbox_max > OUTBOX_MAX)
        sim_violate(sim, "%u messages in one outbox", sim->result->outbox_max);
    if (msg->kind == MSG_WEIGHTS) {
        check_content(sim, from, msg);
        check_sum(sim, msg);
        check_front(sim, from, msg);
    } else if (msg->kind == MSG_SAME) {
        check_front(sim, from, msg);
    } else if (is_shard && (msg->kind == MSG_BLOCK_STATE || msg->kind == MSG_REPLICA)) {
        check_content(sim, from, msg);
    } else if (msg->kind == MSG_PUSH && to < PARTIES_MAX) {
        note_push(sim, from, to, msg);
    } else if (msg->kind == MSG_VIEW) {
        check_era(sim, &msg->view_body);
    } else if (is_shard && msg->kind == MSG_BEAT) {
        if (msg->beat.parked_bytes > sim->result->parked_max)
            sim->result->parked_max = msg->beat.parked_bytes;
    }
}

void sim_check_hear(struct sim *sim, size_t to, const struct message *msg)
{
    struct sim_party *worker = &sim->parties[to];
    if (worker->exchange == NULL)
        return;
    if ((msg->kind == MSG_WEIGHTS || msg->kind == MSG_SAME) &&
        msg->key.step > worker->pushed[msg->key.block].step) {
        worker->pushed[msg->key.block] = (struct sim_pushed){.to = PARTIES_MAX};
    } else if (msg->kind == MSG_VIEW && msg->view_body.era > worker->era) {
        worker->era = msg->view_body.era;
        for (size_t i = 0; i < SIM_BLOCKS_MAX; i++)
            worker->pushed[i] = (struct sim_pushed){.to = PARTIES_MAX};
    }
}

/* A coordinator has heard it, written down what it has to, and lives. */
void sim_check_known(struct sim *sim, const struct message *msg)
{
    if (msg->kind == MSG_CHECKPOINT_DONE && msg->outcome.code == 0 &&
        msg->outcome.step > sim->known_step)
        sim->known_step = msg->outcome.step;
}

static void check_checkpoints(struct sim *sim)
{
    const struct settings *settings = &sim->spec->settings;
    for (uint64_t step = 1; step <= sim_step_count(sim); step++)
        if (rounds_is_due(settings, settings->checkpoint.every, step) &&
            (sim->kept_steps >> step & 1) == 0)
            sim_violate(sim, "there never was a checkpoint of step %" PRIu64, step);
}

void sim_check_end(struct sim *sim)
{
    if (sim->spec->keeps_all)
        check_checkpoints(sim);
    for (size_t i = 0; i < sim->process_count; i++)
        if (sim->processes[i].is_alive)
            sim_violate(sim, "process %zu (kind %d rank %d) still waits, %" PRIu64
                        " ms after the end", i, (int)sim->processes[i].kind,
                        sim->processes[i].rank, (sim->now_us - sim->over_us) / 1000);
}
