#include "proto/message.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "proto/wire_check.h"
#include "talweg.pb-c.h"

enum { WIRE_VERSION = 3 };

_Static_assert((int)MSG_BLOCK_KEPT == (int)TALWEG__KIND__BLOCK_KEPT, "kinds are numbered alike");
_Static_assert((int)MSG_UPDATED == (int)TALWEG__KIND__UPDATED, "kinds are numbered alike");
_Static_assert((int)MSG_DRAINING == (int)TALWEG__KIND__DRAINING, "kinds are numbered alike");
_Static_assert((int)BODY_HELLO == (int)TALWEG__HEADER__BODY_HELLO, "bodies are numbered alike");
_Static_assert((int)BODY_KEY == (int)TALWEG__HEADER__BODY_KEY, "bodies are numbered alike");
_Static_assert((int)BODY_DRAIN == (int)TALWEG__HEADER__BODY_DRAIN, "bodies are numbered alike");
_Static_assert((int)INIT_HE == (int)TALWEG__INIT__HE, "initialisations are numbered alike");
_Static_assert((int)INIT_XAVIER == (int)TALWEG__INIT__XAVIER, "initialisations are numbered alike");

/* The generated form of one body; what it points to lies in the message or in the arena. */
union body {
    Talweg__Hello hello;
    Talweg__Welcome welcome;
    Talweg__View view;
    Talweg__Beat beat;
    Talweg__LaneResult lane;
    Talweg__Digest digest;
    Talweg__Outcome outcome;
    Talweg__BlockKey key;
    Talweg__Drain drain;
};

/* An array of generated structs and the array of pointers to them that protobuf-c wants. */
static void *take_rows(struct arena *arena, size_t count, size_t row_bytes, void ***pointers_out)
{
    void **pointers = arena_take(arena, count * sizeof(*pointers));
    char *rows = arena_take(arena, count * row_bytes);
    if (pointers == NULL || rows == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        pointers[i] = rows + i * row_bytes;
    *pointers_out = pointers;
    return rows;
}

static int write_layout(const struct layout *layout, struct arena *arena, Talweg__Layout **out)
{
    *out = NULL;
    if (layout == NULL)
        return 0;
    void **pointers;
    Talweg__Layout *wire = arena_take(arena, sizeof(*wire));
    Talweg__Tensor *rows = take_rows(arena, layout->tensor_count, sizeof(*rows), &pointers);
    if (wire == NULL || rows == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < layout->tensor_count; i++) {
        const struct tensor_spec *tensor = &layout->tensors[i];
        talweg__tensor__init(&rows[i]);
        rows[i].name = (char *)tensor->name;
        rows[i].n_shape = tensor->dims;
        rows[i].shape = (uint32_t *)tensor->shape;
        rows[i].init = (Talweg__Init)tensor->init;
        rows[i].init_scale = tensor->init_scale;
        rows[i].has_decay = tensor->has_decay;
    }
    talweg__layout__init(wire);
    wire->block_bytes = layout->block_bytes;
    wire->n_tensors = layout->tensor_count;
    wire->tensors = (Talweg__Tensor **)pointers;
    *out = wire;
    return 0;
}

static int write_hello(const struct hello *hello, struct arena *arena, Talweg__Hello *wire)
{
    talweg__hello__init(wire);
    wire->rank = hello->rank;
    wire->shard_idx = hello->shard_idx;
    wire->shard_count = hello->shard_count;
    wire->pid = hello->pid;
    wire->host = (char *)hello->host;
    wire->endpoint = (char *)hello->endpoint;
    wire->door = (char *)hello->door;
    wire->version = (char *)hello->version;
    wire->kernels = (char *)hello->kernels;
    wire->fingerprint = (char *)hello->fingerprint;
    wire->thread_count = hello->thread_count;
    wire->train_count = hello->train_count;
    wire->test_count = hello->test_count;
    return write_layout(hello->layout, arena, &wire->layout);
}

static int write_members(const struct view *view, struct arena *arena, Talweg__View *wire)
{
    void **shard_rows, **worker_rows;
    Talweg__ShardMember *shards = take_rows(arena, view->shard_count, sizeof(*shards), &shard_rows);
    Talweg__WorkerMember *workers =
        take_rows(arena, view->worker_count, sizeof(*workers), &worker_rows);
    if (shards == NULL || workers == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < view->shard_count; i++) {
        talweg__shard_member__init(&shards[i]);
        shards[i].rank = view->shards[i].rank;
        shards[i].shard_idx = view->shards[i].shard_idx;
        shards[i].incarnation = view->shards[i].incarnation;
        shards[i].endpoint = (char *)view->shards[i].endpoint;
        shards[i].door = (char *)view->shards[i].door;
    }
    for (size_t i = 0; i < view->worker_count; i++) {
        talweg__worker_member__init(&workers[i]);
        workers[i].rank = view->workers[i].rank;
        workers[i].incarnation = view->workers[i].incarnation;
        workers[i].door = (char *)view->workers[i].door;
    }
    wire->n_shards = view->shard_count;
    wire->shards = (Talweg__ShardMember **)shard_rows;
    wire->n_workers = view->worker_count;
    wire->workers = (Talweg__WorkerMember **)worker_rows;
    return 0;
}

static int write_view(const struct view *view, struct arena *arena, Talweg__View *wire)
{
    talweg__view__init(wire);
    wire->number = view->number;
    wire->era = view->era;
    wire->start_step = view->start_step;
    wire->step_count = view->step_count;
    wire->train_count = view->train_count;
    wire->test_count = view->test_count;
    wire->is_restored = view->is_restored;
    wire->store_incarnation = view->store_incarnation;
    wire->store_endpoint = (char *)view->store_endpoint;
    wire->n_block_shard = view->block_count;
    wire->block_shard = (uint32_t *)view->block_shard;
    wire->n_block_backup = view->block_backup == NULL ? 0 : view->block_count;
    wire->block_backup = (uint32_t *)view->block_backup;
    wire->n_block_learner = view->block_learner == NULL ? 0 : view->block_count;
    wire->block_learner = (uint32_t *)view->block_learner;
    wire->n_lane_worker = view->lane_count;
    wire->lane_worker = (uint32_t *)view->lane_worker;
    int err = write_members(view, arena, wire);
    return err != 0 ? err : write_layout(view->layout, arena, &wire->layout);
}

static void write_beat(const struct beat *beat, Talweg__Beat *wire)
{
    talweg__beat__init(wire);
    wire->sent_ms = beat->sent_ms;
    wire->step = beat->step;
    wire->lack_begin = beat->lack_begin;
    wire->lack_end = beat->lack_end;
    wire->version_sum = beat->version_sum;
    wire->n_staleness_count = BEAT_STALENESS;
    wire->staleness_count = (uint64_t *)beat->staleness_count;
    wire->parked_bytes = beat->parked_bytes;
    wire->sample_count = beat->sample_count;
    wire->push_count = beat->push_count;
    wire->block_count = beat->block_count;
    wire->bytes_in = beat->bytes_in;
    wire->bytes_out = beat->bytes_out;
    wire->held_bytes = beat->held_bytes;
    wire->rss_bytes = beat->rss_bytes;
    wire->peak_rss_bytes = beat->peak_rss_bytes;
    wire->cpu_us = beat->cpu_us;
    wire->n_shared_shard = beat->shared_count;
    wire->shared_shard = (uint32_t *)beat->shared_shards;
    wire->exchange_us = beat->exchange_us;
    wire->exposed_us = beat->exposed_us;
}

static void write_lane(const struct lane_result *lane, Talweg__LaneResult *wire)
{
    talweg__lane_result__init(wire);
    wire->step = lane->step;
    wire->lane = lane->lane;
    wire->loss_sum = lane->loss_sum;
    wire->correct_count = lane->correct_count;
    wire->sample_count = lane->sample_count;
    wire->compute_us = lane->compute_us;
    wire->is_void = lane->is_void;
}

static void write_outcome(const struct outcome *outcome, Talweg__Outcome *wire)
{
    talweg__outcome__init(wire);
    wire->code = outcome->code;
    wire->step = outcome->step;
    wire->newest = outcome->newest;
    wire->text = (char *)outcome->text;
}

static void write_key(const struct block_key *key, Talweg__BlockKey *wire)
{
    talweg__block_key__init(wire);
    wire->step = key->step;
    wire->block = key->block;
    wire->lane_begin = key->lane_begin;
    wire->lane_end = key->lane_end;
}

/* wire->body_case is set; fills *body and lets the header point to it. */
static int write_body(const struct message *msg, struct arena *arena, union body *body,
                      Talweg__Header *wire)
{
    switch (wire->body_case) {
    case TALWEG__HEADER__BODY_HELLO:
        wire->hello = &body->hello;
        return write_hello(&msg->hello, arena, &body->hello);
    case TALWEG__HEADER__BODY_WELCOME:
        wire->welcome = &body->welcome;
        talweg__welcome__init(&body->welcome);
        body->welcome.rank = msg->welcome.rank;
        return 0;
    case TALWEG__HEADER__BODY_VIEW_BODY:
        wire->view_body = &body->view;
        return write_view(&msg->view_body, arena, &body->view);
    case TALWEG__HEADER__BODY_BEAT:
        wire->beat = &body->beat;
        write_beat(&msg->beat, &body->beat);
        return 0;
    case TALWEG__HEADER__BODY_LANE:
        wire->lane = &body->lane;
        write_lane(&msg->lane, &body->lane);
        return 0;
    case TALWEG__HEADER__BODY_DIGEST:
        wire->digest = &body->digest;
        talweg__digest__init(&body->digest);
        body->digest.step = msg->digest.step;
        body->digest.hex = (char *)msg->digest.hex;
        return 0;
    case TALWEG__HEADER__BODY_OUTCOME:
        wire->outcome = &body->outcome;
        write_outcome(&msg->outcome, &body->outcome);
        return 0;
    case TALWEG__HEADER__BODY_KEY:
        wire->key = &body->key;
        write_key(&msg->key, &body->key);
        return 0;
    case TALWEG__HEADER__BODY_DRAIN:
        wire->drain = &body->drain;
        talweg__drain__init(&body->drain);
        body->drain.is_server = msg->drain.is_server;
        body->drain.rank = msg->drain.rank;
        return 0;
    default:
        return 0;
    }
}

static int write_parcel(const struct parcel *parcel, struct arena *arena, Talweg__Header *wire)
{
    void **pointers;
    wire->n_parcel_block = parcel->count;
    wire->parcel_block = (uint32_t *)parcel->blocks;
    wire->n_parcel_bytes = parcel->bytes == NULL ? 0 : parcel->count;
    wire->parcel_bytes = (uint32_t *)parcel->bytes;
    if (parcel->loan_count == 0)
        return 0;
    Talweg__Loan *rows = take_rows(arena, parcel->loan_count, sizeof(*rows), &pointers);
    if (rows == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < parcel->loan_count; i++) {
        talweg__loan__init(&rows[i]);
        rows[i].segment = parcel->loans[i].segment;
        rows[i].offset = parcel->loans[i].offset;
        rows[i].size_bytes = parcel->loans[i].size_bytes;
        rows[i].number = parcel->loans[i].number;
    }
    wire->n_loans = parcel->loan_count;
    wire->loans = (Talweg__Loan **)pointers;
    return 0;
}

int message_pack(const struct message *msg, struct arena *arena, const void **bytes_out,
                 size_t *size_out)
{
    if (wire_check(msg, NULL) != 0)
        return ERR_INPUT;
    union body body;
    Talweg__Header wire = TALWEG__HEADER__INIT;
    wire.kind = (Talweg__Kind)msg->kind;
    wire.run_high = msg->run.high;
    wire.run_low = msg->run.low;
    wire.sender = msg->sender;
    wire.view = msg->view;
    wire.era = msg->era;
    wire.wire = WIRE_VERSION;
    wire.body_case = (Talweg__Header__BodyCase)wire_kind_of(msg->kind)->body;
    int err = write_body(msg, arena, &body, &wire);
    if (err == 0)
        err = write_parcel(&msg->parcel, arena, &wire);
    if (err != 0)
        return err;
    size_t size = talweg__header__get_packed_size(&wire);
    uint8_t *bytes = arena_take(arena, size);
    if (bytes == NULL)
        return ERR_NOMEM;
    talweg__header__pack(&wire, bytes);
    *bytes_out = bytes;
    *size_out = size;
    return 0;
}

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
    if ((int)wire->init < INIT_ZERO || (int)wire->init > INIT_XAVIER)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has initialisation %d", out->name,
                       (int)wire->init);
    if (!isfinite(wire->init_scale) || wire->init_scale < 0)
        return err_set(why, ERR_PROTO, "tensor \"%s\" has initial scale %g", out->name,
                       (double)wire->init_scale);
    out->dims = (uint32_t)wire->n_shape;
    memcpy(out->shape, wire->shape, wire->n_shape * sizeof(out->shape[0]));
    out->init = (enum init_kind)wire->init;
    out->init_scale = wire->init_scale;
    out->has_decay = wire->has_decay;
    return 0;
}

/* Before anything is taken for them: how many blocks these tensors make. */
static int count_blocks(const struct tensor_spec *tensors, size_t count, uint32_t block_bytes,
                        uint64_t *count_out, struct err_msg *why)
{
    uint64_t blocks = 0, block_elements = block_bytes / sizeof(float);
    if (block_elements == 0)
        return err_set(why, ERR_PROTO, "a block of %u bytes", block_bytes);
    for (size_t i = 0; i < count && blocks <= WIRE_BLOCKS_MAX; i++)
        blocks += (tensor_element_count(&tensors[i]) + block_elements - 1) / block_elements;
    if (blocks > WIRE_BLOCKS_MAX)
        return err_set(why, ERR_PROTO, "a layout of more than %d blocks", WIRE_BLOCKS_MAX);
    *count_out = blocks;
    return 0;
}

/* layout_create checks a peer's layout as it does a model's; what it made is then copied into the
 * arena, whose limit has been asked first, since a few bytes can describe very many blocks. */
static int make_layout(const struct tensor_spec *tensors, size_t tensor_count,
                       uint32_t block_bytes, struct layout *out, struct err_msg *why)
{
    struct layout *made = NULL;
    int err = layout_create(tensors, tensor_count, block_bytes, &made, why);
    if (err != 0)
        return err == ERR_INPUT ? ERR_PROTO : err;
    struct layout copy = *made;
    copy.tensors = out->tensors;
    copy.tensor_begin = out->tensor_begin;
    copy.blocks = out->blocks;
    memcpy(copy.tensors, made->tensors, tensor_count * sizeof(*copy.tensors));
    memcpy(copy.tensor_begin, made->tensor_begin, (tensor_count + 1) * sizeof(*copy.tensor_begin));
    memcpy(copy.blocks, made->blocks, made->block_count * sizeof(*copy.blocks));
    *out = copy;
    layout_destroy(made);
    return 0;
}

static int read_layout(const Talweg__Layout *wire, struct arena *arena, const struct layout **out,
                       struct err_msg *why)
{
    *out = NULL;
    if (wire == NULL)
        return 0;
    if (wire->n_tensors > LAYOUT_TENSORS_MAX)
        return err_set(why, ERR_PROTO, "a layout of %zu tensors", wire->n_tensors);
    struct tensor_spec *tensors = arena_take(arena, wire->n_tensors * sizeof(*tensors));
    if (tensors == NULL)
        return ERR_NOMEM;
    int err = 0;
    for (size_t i = 0; i < wire->n_tensors && err == 0; i++)
        err = read_tensor(wire->tensors[i], &tensors[i], why);
    uint64_t block_count = 0;
    if (err == 0)
        err = count_blocks(tensors, wire->n_tensors, wire->block_bytes, &block_count, why);
    if (err != 0)
        return err;
    struct layout *layout = arena_take(arena, sizeof(*layout));
    if (layout == NULL)
        return ERR_NOMEM;
    layout->tensors = arena_take(arena, wire->n_tensors * sizeof(*layout->tensors));
    layout->tensor_begin = arena_take(arena, (wire->n_tensors + 1) * sizeof(uint64_t));
    layout->blocks = arena_take(arena, block_count * sizeof(*layout->blocks));
    if (layout->tensors == NULL || layout->tensor_begin == NULL || layout->blocks == NULL)
        return ERR_NOMEM;
    *out = layout;
    return make_layout(tensors, wire->n_tensors, wire->block_bytes, layout, why);
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
    return err != 0 ? err : read_layout(wire->layout, arena, &out->layout, why);
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
    int err = read_text("store_endpoint", wire->store_endpoint, out->store_endpoint,
                        sizeof(out->store_endpoint), why);
    if (err == 0)
        err = read_holders(wire, out, why);
    if (err == 0)
        err = read_members(wire, arena, out, why);
    return err != 0 ? err : read_layout(wire->layout, arena, &out->layout, why);
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
    return 0;
}

static void read_lane(const Talweg__LaneResult *wire, struct lane_result *out)
{
    out->step = wire->step;
    out->lane = wire->lane;
    out->loss_sum = wire->loss_sum;
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

int message_unpack(const void *bytes, size_t size, struct buffer *payload, struct arena *arena,
                   struct message *out, struct err_msg *why)
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
        .payload = payload,
    };
    int err = read_body(wire, arena, &msg, why);
    if (err == 0)
        err = read_parcel(wire, arena, &msg.parcel, why);
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
