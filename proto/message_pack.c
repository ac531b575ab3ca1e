#include "proto/message.h"

#include <stdio.h>
#include "proto/wire_check.h"
#include "talweg.pb-c.h"

_Static_assert((int)MSG_BLOCK_KEPT == (int)TALWEG__KIND__BLOCK_KEPT, "kinds are numbered alike");
_Static_assert((int)MSG_UPDATED == (int)TALWEG__KIND__UPDATED, "kinds are numbered alike");
_Static_assert((int)MSG_DRAINING == (int)TALWEG__KIND__DRAINING, "kinds are numbered alike");
_Static_assert((int)MSG_SAME == (int)TALWEG__KIND__SAME, "kinds are numbered alike");
_Static_assert((int)BODY_HELLO == (int)TALWEG__HEADER__BODY_HELLO, "bodies are numbered alike");
_Static_assert((int)BODY_KEY == (int)TALWEG__HEADER__BODY_KEY, "bodies are numbered alike");
_Static_assert((int)BODY_DRAIN == (int)TALWEG__HEADER__BODY_DRAIN, "bodies are numbered alike");
_Static_assert((int)INIT_UNIFORM == (int)TALWEG__INIT__UNIFORM, "beginnings are numbered alike");
_Static_assert((int)UPDATE_FROZEN == (int)TALWEG__UPDATE__FROZEN, "updates are numbered alike");

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
        rows[i].update = (Talweg__Update)tensor->update;
        rows[i].rate_scale = tensor->rate_scale;
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
    wire->planned_bytes = hello->planned_bytes;
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

/* Nothing goes for a job without patience. */
static int write_early_stop(const struct early_stop *stop, struct arena *arena, Talweg__View *wire)
{
    if (stop->hold_step == 0)
        return 0;
    wire->early_stop = arena_take(arena, sizeof(*wire->early_stop));
    if (wire->early_stop == NULL)
        return ERR_NOMEM;
    talweg__early_stop__init(wire->early_stop);
    wire->early_stop->hold_step = stop->hold_step;
    wire->early_stop->best_step = stop->best_step;
    wire->early_stop->best_loss = stop->best_loss;
    wire->early_stop->worse_count = stop->worse_count;
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
    if (err == 0)
        err = write_early_stop(&view->early_stop, arena, wire);
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
    wire->compute_us = beat->compute_us;
    wire->data_us = beat->data_us;
}

static void write_lane(const struct lane_result *lane, Talweg__LaneResult *wire)
{
    talweg__lane_result__init(wire);
    wire->step = lane->step;
    wire->lane = lane->lane;
    wire->loss_sum = lane->loss_sum;
    wire->answer_count = lane->answer_count;
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
    wire->codec = (uint32_t)key->codec;
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

void message_library(char *text, size_t size_bytes)
{
    snprintf(text, size_bytes, "libprotobuf-c %s", protobuf_c_version());
}
