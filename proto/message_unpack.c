#include "proto/message.h"

#include <math.h>
#include <string.h>
#include "proto/wire_check.h"
#include "talweg.pb-c.h"

/* What protobuf-c takes while it reads: from the arena, and nothing is given back one by one. */
struct scratch {
    struct arena *arena;
    bool is_full;
};

static void *take_scratch(void *context, size_t size_bytes)
{
    struct scratch *scratch = context;
    void *taken = arena_take(scratch->arena, size_bytes);
    scratch->is_full = scratch->is_full || taken == NULL;
    return taken;
}

static void keep_scratch(void *context, void *taken)
{
    (void)context;
    (void)taken;
}

static int read_text(const char *name, const char *wire, char *out, size_t size_bytes,
                     struct err_msg *why)
{
    size_t length = strlen(wire);
    if (length >= size_bytes)
        return err_set(why, ERR_PROTO, "%s has %zu bytes; at most %zu are possible", name, length,
                       size_bytes - 1);
    memcpy(out, wire, length + 1);
    return 0;
}

static int read_tensor(const Talweg__Tensor *wire, struct tensor_spec *out, struct err_msg *why)
{
    int err = read_text("name of a tensor", wire->name, out->name, sizeof(out->name), why);
    if (err != 0)
        return err;
    for (const char *c = out->name; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(why, ERR_PROTO, "name of a tensor has a control character");
    if (wire->n_shape < 1 || wire->n_shape > TENSOR_DIMS_MAX)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has %zu dimensions", out->name,
                       wire->n_shape);
    if ((int)wire->init < INIT_ZERO || (int)wire->init > INIT_UNIFORM)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has initialisation %d", out->name,
                       (int)wire->init);
    if (!isfinite(wire->init_scale) || wire->init_scale < 0)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has initial scale %g", out->name,
                       (double)wire->init_scale);
    if ((int)wire->update < UPDATE_OPTIMIZER || (int)wire->update > UPDATE_FROZEN)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has update %d", out->name,
                       (int)wire->update);
    out->dims = (uint32_t)wire->n_shape;
    memcpy(out->shape, wire->shape, wire->n_shape * sizeof(out->shape[0]));
    out->init = (enum init_kind)wire->init;
    out->init_scale = wire->init_scale;
    out->has_decay = wire->has_decay;
    out->update = (enum tensor_update)wire->update;
    out->rate_scale = wire->rate_scale; /* its range is the layout's to check */
    return 0;
}

/* A few bytes can describe very many blocks: they are cut only where the message has a place for
 * each of them.  What layout_create makes is then copied into the arena. */
static int cut_layout(struct arena *arena, size_t placed_count, struct layout *layout,
                      struct err_msg *why)
{
    struct layout *made = NULL;
    size_t tensor_count = layout->tensor_count, block_count = layout->block_count;
    if (block_count != placed_count)
        return err_set(why, ERR_PROTO, "%zu blocks are placed; the layout has %zu", placed_count,
                       block_count);
    layout->tensor_begin = arena_take(arena, (tensor_count + 1) * sizeof(*layout->tensor_begin));
    layout->blocks = arena_take(arena, block_count * sizeof(*layout->blocks));
    if (layout->tensor_begin == NULL || layout->blocks == NULL)
        return ERR_NOMEM;
    int err = layout_create(layout->tensors, tensor_count, layout->block_bytes, &made, why);
    if (err != 0)
        return err;
    memcpy(layout->tensor_begin, made->tensor_begin,
           (tensor_count + 1) * sizeof(*layout->tensor_begin));
    memcpy(layout->blocks, made->blocks, block_count * sizeof(*layout->blocks));
    layout_destroy(made);
    return 0;
}

/* Checked as a model's is.  placed_count: how many blocks the message places; 0: it places none,
 * and they are not cut. */
static int read_layout(const Talweg__Layout *wire, struct arena *arena, size_t placed_count,
                       const struct layout **out, struct err_msg *why)
{
    *out = NULL;
    if (wire == NULL)
        return 0;
    if (wire->n_tensors > LAYOUT_TENSORS_MAX)
        return err_set(why, ERR_PROTO, "a layout of %zu tensors", wire->n_tensors);
    struct tensor_spec *tensors = arena_take(arena, wire->n_tensors * sizeof(*tensors));
    struct layout *layout = arena_take(arena, sizeof(*layout));
    if (tensors == NULL || layout == NULL)
        return ERR_NOMEM;
    int err = 0;
    for (size_t i = 0; i < wire->n_tensors && err == 0; i++)
        err = read_tensor(wire->tensors[i], &tensors[i], why);
    if (err == 0)
        err = layout_describe(tensors, wire->n_tensors, wire->block_bytes, layout, why);
    if (err == 0 && placed_count > 0)
        err = cut_layout(arena, placed_count, layout, why);
    *out = layout;
    return err == ERR_INPUT ? ERR_PROTO : err;
}

static int read_hello(const Talweg__Hello *wire, struct arena *arena, struct hello *out,
                      struct err_msg *why)
{
    out->rank = wire->rank;
    out->shard_idx = wire->shard_idx;
    out->shard_count = wire->shard_count;
    out->pid = wire->pid;
    out->thread_count = wire->thread_count;
    out->train_count = wire->train_count;
    out->test_count = wire->test_count;
    out->planned_bytes = wire->planned_bytes;
    int err = read_text("host", wire->host, out->host, sizeof(out->host), why);
    if (err == 0)
        err = read_text("endpoint", wire->endpoint, out->endpoint, sizeof(out->endpoint), why);
    if (err == 0)
        err = read_text("door", wire->door, out->door, sizeof(out->door), why);
    if (err == 0)
        err = read_text("version", wire->version, out->version, sizeof(out->version), why);
    if (err == 0)
        err = read_text("kernels", wire->kernels, out->kernels, sizeof(out->kernels), why);
    if (err == 0)
        err = read_text("fingerprint", wire->fingerprint, out->fingerprint,
                        sizeof(out->fingerprint), why);
    return err != 0 ? err : read_layout(wire->layout, arena, 0, &out->layout, why);
}

static int read_members(const Talweg__View *wire, struct arena *arena, struct view *out,
                        struct err_msg *why)
{
    if (wire->n_shards > SHARDS_MAX || wire->n_workers > WORKERS_MAX)
        return err_set(why, ERR_PROTO, "%zu shards and %zu workers; at most %d and %d are possible",
                       wire->n_shards, wire->n_workers, SHARDS_MAX, WORKERS_MAX);
    struct shard_member *shards = arena_take(arena, wire->n_shards * sizeof(*shards));
    struct worker_member *workers = arena_take(arena, wire->n_workers * sizeof(*workers));
    if (shards == NULL || workers == NULL)
        return ERR_NOMEM;
    int err = 0;
    for (size_t i = 0; i < wire->n_shards && err == 0; i++) {
        const Talweg__ShardMember *row = wire->shards[i];
        shards[i].rank = row->rank;
        shards[i].shard_idx = row->shard_idx;
        shards[i].incarnation = row->incarnation;
        err = read_text("endpoint of a shard", row->endpoint, shards[i].endpoint,
                        sizeof(shards[i].endpoint), why);
        if (err == 0)
            err = read_text("door of a shard", row->door, shards[i].door, sizeof(shards[i].door),
                            why);
    }
    for (size_t i = 0; i < wire->n_workers && err == 0; i++) {
        const Talweg__WorkerMember *row = wire->workers[i];
        workers[i] = (struct worker_member){.rank = row->rank, .incarnation = row->incarnation};
        err = read_text("door of a worker", row->door, workers[i].door, sizeof(workers[i].door),
                        why);
    }
    out->shard_count = wire->n_shards;
    out->shards = shards;
    out->worker_count = wire->n_workers;
    out->workers = workers;
    return err;
}

/* One of each block, or none at all: NULL. */
static int read_holders(const Talweg__View *wire, struct view *out, struct err_msg *why)
{
    size_t count = wire->n_block_shard;
    if ((wire->n_block_backup != 0 && wire->n_block_backup != count) ||
        (wire->n_block_learner != 0 && wire->n_block_learner != count))
        return err_set(why, ERR_PROTO, "%zu backups and %zu learners; expected 0 or %zu",
                       wire->n_block_backup, wire->n_block_learner, count);
    out->block_count = count;
    out->block_shard = wire->block_shard;
    out->block_backup = wire->n_block_backup == 0 ? NULL : wire->block_backup;
    out->block_learner = wire->n_block_learner == 0 ? NULL : wire->block_learner;
    return 0;
}

static void read_early_stop(const Talweg__EarlyStop *wire, struct early_stop *out)
{
    if (wire == NULL)
        return;
    out->hold_step = wire->hold_step;
    out->best_step = wire->best_step;
    out->best_loss = wire->best_loss;
    out->worse_count = wire->worse_count;
}

static int read_view(const Talweg__View *wire, struct arena *arena, struct view *out,
                     struct err_msg *why)
{
    out->number = wire->number;
    out->era = wire->era;
    out->start_step = wire->start_step;
    out->step_count = wire->step_count;
    out->train_count = wire->train_count;
    out->test_count = wire->test_count;
    out->is_restored = wire->is_restored;
    out->store_incarnation = wire->store_incarnation;
    out->lane_count = wire->n_lane_worker;
    out->lane_worker = wire->lane_worker;
    read_early_stop(wire->early_stop, &out->early_stop);
    int err = read_text("store_endpoint", wire->store_endpoint, out->store_endpoint,
                        sizeof(out->store_endpoint), why);
    if (err == 0)
        err = read_holders(wire, out, why);
    if (err == 0)
        err = read_members(wire, arena, out, why);
    return err != 0 ? err : read_layout(wire->layout, arena, out->block_count, &out->layout, why);
}

static int read_beat(const Talweg__Beat *wire, struct beat *out, struct err_msg *why)
{
    if (wire->n_staleness_count != 0 && wire->n_staleness_count != BEAT_STALENESS)
        return err_set(why, ERR_PROTO, "%zu counts of staleness; expected 0 or %d",
                       wire->n_staleness_count, BEAT_STALENESS);
    if (wire->n_shared_shard > BEAT_SHARED)
        return err_set(why, ERR_PROTO, "%zu shards that memory is shared with; at most %d",
                       wire->n_shared_shard, BEAT_SHARED);
    for (size_t i = 0; i < wire->n_shared_shard; i++)
        out->shared_shards[i] = wire->shared_shard[i];
    out->shared_count = (uint32_t)wire->n_shared_shard;
    for (size_t i = 0; i < wire->n_staleness_count; i++)
        out->staleness_count[i] = wire->staleness_count[i];
    out->sent_ms = wire->sent_ms;
    out->step = wire->step;
    out->lack_begin = wire->lack_begin;
    out->lack_end = wire->lack_end;
    out->version_sum = wire->version_sum;
    out->parked_bytes = wire->parked_bytes;
    out->sample_count = wire->sample_count;
    out->push_count = wire->push_count;
    out->block_count = wire->block_count;
    out->bytes_in = wire->bytes_in;
    out->bytes_out = wire->bytes_out;
    out->held_bytes = wire->held_bytes;
    out->rss_bytes = wire->rss_bytes;
    out->peak_rss_bytes = wire->peak_rss_bytes;
    out->cpu_us = wire->cpu_us;
    out->exchange_us = wire->exchange_us;
    out->exposed_us = wire->exposed_us;
    out->compute_us = wire->compute_us;
    out->data_us = wire->data_us;
    return 0;
}

static void read_lane(const Talweg__LaneResult *wire, struct lane_result *out)
{
    out->step = wire->step;
    out->lane = wire->lane;
    out->loss_sum = wire->loss_sum;
    out->answer_count = wire->answer_count;
    out->correct_count = wire->correct_count;
    out->sample_count = wire->sample_count;
    out->compute_us = wire->compute_us;
    out->is_void = wire->is_void;
}

/* The text goes into logs and onto terminals: control characters become spaces. */
static int read_outcome(const Talweg__Outcome *wire, struct outcome *out, struct err_msg *why)
{
    out->code = wire->code;
    out->step = wire->step;
    out->newest = wire->newest;
    int err = read_text("text of an outcome", wire->text, out->text, sizeof(out->text), why);
    for (char *c = out->text; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return err;
}

static void read_key(const Talweg__BlockKey *wire, struct block_key *out)
{
    out->step = wire->step;
    out->block = wire->block;
    out->lane_begin = wire->lane_begin;
    out->lane_end = wire->lane_end;
    out->codec = (enum codec_kind)wire->codec;
}

static int read_body(const Talweg__Header *wire, struct arena *arena, struct message *out,
                     struct err_msg *why)
{
    switch (wire->body_case) {
    case TALWEG__HEADER__BODY_HELLO:
        return read_hello(wire->hello, arena, &out->hello, why);
    case TALWEG__HEADER__BODY_WELCOME:
        out->welcome.rank = wire->welcome->rank;
        return 0;
    case TALWEG__HEADER__BODY_VIEW_BODY:
        return read_view(wire->view_body, arena, &out->view_body, why);
    case TALWEG__HEADER__BODY_BEAT:
        return read_beat(wire->beat, &out->beat, why);
    case TALWEG__HEADER__BODY_LANE:
        read_lane(wire->lane, &out->lane);
        return 0;
    case TALWEG__HEADER__BODY_DIGEST:
        out->digest.step = wire->digest->step;
        return read_text("digest", wire->digest->hex, out->digest.hex, sizeof(out->digest.hex),
                         why);
    case TALWEG__HEADER__BODY_OUTCOME:
        return read_outcome(wire->outcome, &out->outcome, why);
    case TALWEG__HEADER__BODY_KEY:
        read_key(wire->key, &out->key);
        return 0;
    case TALWEG__HEADER__BODY_DRAIN:
        out->drain.is_server = wire->drain->is_server;
        out->drain.rank = wire->drain->rank;
        return 0;
    default:
        return 0;
    }
}

static int read_parcel(const Talweg__Header *wire, struct arena *arena, struct parcel *out,
                       struct err_msg *why)
{
    if (wire->n_parcel_bytes != 0 && wire->n_parcel_bytes != wire->n_parcel_block)
        return err_set(why, ERR_PROTO, "%zu sizes of %zu blocks", wire->n_parcel_bytes,
                       wire->n_parcel_block);
    *out = (struct parcel){.count = wire->n_parcel_block,
                           .blocks = wire->parcel_block,
                           .bytes = wire->n_parcel_bytes == 0 ? NULL : wire->parcel_bytes,
                           .loan_count = wire->n_loans};
    if (wire->n_loans == 0)
        return 0;
    struct loan *loans = arena_take(arena, wire->n_loans * sizeof(*loans));
    if (loans == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < wire->n_loans; i++)
        loans[i] = (struct loan){.segment = wire->loans[i]->segment,
                                   .offset = wire->loans[i]->offset,
                                   .size_bytes = wire->loans[i]->size_bytes,
                                   .number = wire->loans[i]->number};
    out->loans = loans;
    return 0;
}

int message_unpack_all(const void *bytes, size_t size, struct buffer *const *payloads,
                       size_t payload_count, struct arena *arena, struct message *out,
                       struct err_msg *why)
{
    struct scratch scratch = {.arena = arena};
    ProtobufCAllocator allocator = {take_scratch, keep_scratch, &scratch};
    const Talweg__Header *wire = talweg__header__unpack(&allocator, size, bytes);
    if (wire == NULL && scratch.is_full)
        return err_set(why, ERR_NOMEM, "a header of %zu bytes needs more than it may", size);
    if (wire == NULL)
        return err_set(why, ERR_PROTO, "a header of %zu bytes is no protobuf of ours", size);
    if (wire->wire != WIRE_VERSION)
        return err_set(why, ERR_PROTO, "wire version %u; expected %d", wire->wire, WIRE_VERSION);
    const struct wire_kind *kind = wire_kind_of((enum message_kind)wire->kind);
    if (kind == NULL)
        return err_set(why, ERR_PROTO, "unknown kind %d", (int)wire->kind);
    if ((int)wire->body_case != (int)kind->body)
        return err_set(why, ERR_PROTO, "%s: has body %d; expected %d", kind->text,
                       (int)wire->body_case, (int)kind->body);
    struct message msg = {
        .kind = kind->kind,
        .run = {wire->run_high, wire->run_low},
        .sender = wire->sender,
        .view = wire->view,
        .era = wire->era,
        .payload = payload_count == 0 ? NULL : payloads[0],
    };
    int err = read_body(wire, arena, &msg, why);
    if (err == 0)
        err = read_parcel(wire, arena, &msg.parcel, why);
    if (payload_count > 1) {
        msg.parcel.frame_count = payload_count;
        msg.parcel.frames = payloads;
    }
    if (err == ERR_NOMEM)
        return err_set(why, err, "%s: a header of %zu bytes needs more than it may", kind->text,
                       size);
    if (err != 0)
        return err_prefix(why, err, "%s: ", kind->text);
    err = wire_check(&msg, why);
    if (err == 0)
        *out = msg;
    return err;
}

int message_unpack(const void *bytes, size_t size, struct buffer *payload, struct arena *arena,
                   struct message *out, struct err_msg *why)
{
    return message_unpack_all(bytes, size, &payload, payload != NULL, arena, out, why);
}
