#include "tests/sim/cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "common/batching.h"
#include "common/philox.h"
#include "proto/outbox.h"
#include "ps/shard.h"
#include "worker/exchange.h"

enum {
    BLOCKS_MAX = 64,
    TENSORS = 3,
    PARTIES_MAX = 256,
    TICK_US = 50000,
    TRAIN_SAMPLES = 100,
    TEST_SAMPLES = 40
};

static const uint64_t hour_us = 3600u * 1000000ull;

/* One message on its way, packed. */
struct parcel {
    uint64_t at_us, number; /* number: later ones after earlier ones of the same moment */
    size_t to;              /* index of a party */
    struct address from;
    void *header;
    size_t header_bytes;
    struct buffer *payload;
};

struct party_node {
    struct address self;
    struct coordinator *coordinator;
    struct shard *shard;
    struct exchange *exchange;
    bool is_store, is_compute;
    bool is_silent;
    size_t mate;          /* a worker's compute and the other way round */
    uint64_t busy_us;     /* a compute: until when */
    uint64_t speed_us;    /* a compute: time of one lane */
    uint64_t in_flight[PARTIES_MAX];     /* a worker: bytes pushed to a shard, not answered */
    uint64_t block_in_flight[BLOCKS_MAX]; /* the same of each block */
};

struct sim_state {
    uint64_t step;
    uint32_t block;
    struct buffer *bytes;
};

struct sim_store {
    struct sim_state *states;
    size_t count, capacity;
    size_t block_count;
};

struct sim {
    const struct sim_spec *spec;
    struct party_node parties[PARTIES_MAX];
    size_t party_count;
    struct parcel *heap;
    size_t heap_count, heap_capacity;
    uint64_t now_us, number;
    struct draw_key chance;
    uint64_t chance_idx;
    uint64_t last_us[PARTIES_MAX][PARTIES_MAX];
    struct buffer_pool *pool;
    struct arena *arena;
    struct layout *layout;
    struct sim_store *store;
    struct sim_result *result;
};

static uint64_t chance(struct sim *sim, uint64_t below)
{
    return draw_u32(&sim->chance, sim->chance_idx++) % (below == 0 ? 1 : below);
}

static bool is_earlier(const struct parcel *a, const struct parcel *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void heap_put(struct sim *sim, struct parcel parcel)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity == 0 ? 256 : 2 * sim->heap_capacity;
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof(*sim->heap));
        assert(sim->heap != NULL);
    }
    parcel.number = sim->number++;
    size_t i = sim->heap_count++;
    while (i > 0 && is_earlier(&parcel, &sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = parcel;
}

static struct parcel heap_take(struct sim *sim)
{
    struct parcel first = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t i = 0;
    while (true) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_count)
            break;
        if (child + 1 < sim->heap_count && is_earlier(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!is_earlier(&sim->heap[child], &last))
            break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return first;
}

static size_t party_of(const struct sim *sim, struct address who, size_t sender)
{
    if (who.party == PARTY_COMPUTE)
        return sim->parties[sender].mate;
    for (size_t i = 0; i < sim->party_count; i++)
        if (sim->parties[i].self.party == who.party &&
            (who.party == PARTY_COORDINATOR || sim->parties[i].self.id == who.id))
            return i;
    return sim->party_count;
}

/* Keeps account of what each worker has pushed to each shard and not had answered. */
static void watch_credit(struct sim *sim, size_t from, size_t to, const struct message *msg)
{
    uint32_t block = msg->key.block;
    if (msg->kind == MSG_PUSH) {
        struct party_node *worker = &sim->parties[from];
        worker->in_flight[to] += msg->payload->size_bytes;
        worker->block_in_flight[block] += msg->payload->size_bytes;
        if (worker->in_flight[to] > sim->result->in_flight_max)
            sim->result->in_flight_max = worker->in_flight[to];
    } else if (msg->kind == MSG_WEIGHTS) {
        struct party_node *worker = &sim->parties[to];
        worker->in_flight[from] -= worker->block_in_flight[block];
        worker->block_in_flight[block] = 0;
    }
}

/* The same parcel once more, some time after the first. */
static void repeat(struct sim *sim, const struct parcel *first)
{
    struct parcel second = *first;
    second.header = malloc(first->header_bytes);
    assert(second.header != NULL);
    memcpy(second.header, first->header, first->header_bytes);
    if (first->payload != NULL) {
        second.payload = buffer_pool_take(sim->pool, first->payload->size_bytes);
        memcpy(second.payload->data, first->payload->data, first->payload->size_bytes);
    }
    second.at_us += 1 + chance(sim, 10000ull * sim->spec->delay_ms);
    heap_put(sim, second);
}

/* Packs the message as for a wire and sends it on its way. */
static void post(struct sim *sim, size_t from, struct address to_address,
                 const struct message *msg)
{
    size_t to = party_of(sim, to_address, from);
    const void *header;
    size_t bytes;
    if (to == sim->party_count)
        return;
    watch_credit(sim, from, to, msg);
    arena_reset(sim->arena);
    int err = message_pack(msg, sim->arena, &header, &bytes);
    assert(err == 0);
    struct parcel parcel = {.to = to, .from = sim->parties[from].self, .header_bytes = bytes};
    parcel.header = malloc(bytes);
    memcpy(parcel.header, header, bytes);
    if (msg->payload != NULL) {
        parcel.payload = buffer_pool_take(sim->pool, msg->payload->size_bytes);
        memcpy(parcel.payload->data, msg->payload->data, msg->payload->size_bytes);
    }
    parcel.at_us = sim->now_us + 10 + chance(sim, sim->spec->delay_ms * 1000ull);
    if (sim->spec->is_fifo && parcel.at_us <= sim->last_us[from][to])
        parcel.at_us = sim->last_us[from][to] + 1;
    sim->last_us[from][to] = parcel.at_us;
    sim->result->message_count++;
    heap_put(sim, parcel);
    if (chance(sim, 100) < sim->spec->twice_percent)
        repeat(sim, &parcel);
}

/* Compute results stay inside the worker's process: they go straight into its exchange. */
static void flush(struct sim *sim, size_t from, struct outbox *out);

static void hand_over(struct sim *sim, size_t worker, const struct message *msg)
{
    struct outbox out = {0};
    exchange_step(sim->parties[worker].exchange, sim->now_us / 1000,
                  (struct address){PARTY_COMPUTE, 0}, msg, &out);
    flush(sim, worker, &out);
    outbox_free(&out);
}

/* The gradient of a lane: a pull towards a point that is the lane's own, times its samples. */
static void fill_gradient(const struct sim *sim, const struct lane_task *task,
                          const struct range *range, float samples, float *out)
{
    struct draw_key key = {.seed = sim->spec->settings.job.seed,
                           .step = task->step,
                           .lane = task->lane,
                           .where = DRAW_OPERATOR};
    for (uint64_t i = range->begin; i < range->end; i++)
        out[i - range->begin] =
            samples * (task->weights[i] - (draw_uniform(&key, i) - 0.5f)) * 0.37f;
}

static void train(struct sim *sim, size_t worker, const struct lane_task *task)
{
    const struct settings *settings = &sim->spec->settings;
    struct batching batching = {settings->job.seed, TRAIN_SAMPLES, settings->job.batch,
                                settings->job.lanes};
    uint64_t samples[TRAIN_SAMPLES];
    uint32_t count = batching_lane_samples(&batching, task->step, task->lane, samples);
    for (size_t i = sim->layout->block_count; i-- > 0;) {
        const struct range *range = &sim->layout->blocks[i].range;
        struct message leaf = {.kind = MSG_LEAF};
        leaf.key = (struct block_key){task->step, (uint32_t)i, task->lane, task->lane + 1};
        leaf.payload =
            buffer_pool_take(sim->pool, (size_t)(range->end - range->begin) * sizeof(float));
        fill_gradient(sim, task, range, (float)count, leaf.payload->data);
        hand_over(sim, worker, &leaf);
        buffer_unref(leaf.payload);
    }
    struct message done = {.kind = MSG_LANE_DONE};
    done.lane = (struct lane_result){.step = task->step,
                                     .lane = task->lane,
                                     .loss_sum = (double)task->weights[0] * count,
                                     .sample_count = count};
    hand_over(sim, worker, &done);
}

static void evaluate(struct sim *sim, size_t worker, const struct lane_task *task)
{
    struct range share =
        batching_eval_range(TEST_SAMPLES, sim->spec->settings.job.lanes, task->lane);
    struct message done = {.kind = MSG_EVAL_DONE};
    done.lane = (struct lane_result){.step = task->step,
                                     .lane = task->lane,
                                     .loss_sum = (double)task->weights[1],
                                     .sample_count = share.end - share.begin};
    hand_over(sim, worker, &done);
}

/* A task is not packed: it waits in the heap with its message as header. */
static void post_task(struct sim *sim, size_t worker, const struct message *task)
{
    struct party_node *compute = &sim->parties[sim->parties[worker].mate];
    struct parcel parcel = {.to = sim->parties[worker].mate, .header = malloc(sizeof(*task))};
    memcpy(parcel.header, task, sizeof(*task));
    if (compute->busy_us < sim->now_us)
        compute->busy_us = sim->now_us;
    compute->busy_us += compute->speed_us / 2 + chance(sim, compute->speed_us);
    parcel.at_us = compute->busy_us;
    heap_put(sim, parcel);
}

static void flush(struct sim *sim, size_t from, struct outbox *out)
{
    assert(!outbox_failed(out));
    for (size_t i = 0; i < out->count; i++) {
        if (sim->parties[from].is_silent)
            continue;
        if (out->items[i].to.party == PARTY_COMPUTE)
            post_task(sim, from, &out->items[i].msg);
        else
            post(sim, from, out->items[i].to, &out->items[i].msg);
    }
    outbox_clear(out);
}

static struct sim_state *store_find(struct sim_store *store, uint64_t step, uint32_t block)
{
    for (size_t i = 0; i < store->count; i++)
        if (store->states[i].step == step && store->states[i].block == block)
            return &store->states[i];
    return NULL;
}

static size_t store_count(const struct sim_store *store, uint64_t step)
{
    size_t count = 0;
    for (size_t i = 0; i < store->count; i++)
        count += store->states[i].step == step;
    return count;
}

static void store_keep(struct sim *sim, size_t self, struct address from,
                       const struct message *msg)
{
    struct sim_store *store = sim->store;
    struct message answer = {.kind = MSG_BLOCK_KEPT,
                             .run = msg->run,
                             .sender = sim->parties[self].self.id,
                             .key = msg->key};
    if (store_find(store, msg->key.step, msg->key.block) == NULL) {
        if (store->count == store->capacity) {
            store->capacity = store->capacity == 0 ? 64 : 2 * store->capacity;
            store->states = realloc(store->states, store->capacity * sizeof(*store->states));
            assert(store->states != NULL);
        }
        store->states[store->count++] = (struct sim_state){msg->key.step, msg->key.block,
                                                           buffer_ref(msg->payload)};
    }
    post(sim, self, from, &answer);
    if (store_count(store, msg->key.step) < sim->layout->block_count)
        return;
    answer = (struct message){
        .kind = MSG_CHECKPOINT_DONE, .run = msg->run, .sender = sim->parties[self].self.id};
    answer.outcome.step = msg->key.step;
    snprintf(answer.outcome.text, sizeof(answer.outcome.text), "memory");
    post(sim, self, (struct address){PARTY_COORDINATOR, 0}, &answer);
}

static void store_hear(struct sim *sim, size_t self, struct address from,
                       const struct message *msg)
{
    sim->store->block_count = sim->layout->block_count;
    if (msg->kind == MSG_BLOCK_STATE) {
        store_keep(sim, self, from, msg);
    } else if (msg->kind == MSG_BLOCK_FETCH) {
        struct sim_state *state = store_find(sim->store, msg->key.step, msg->key.block);
        assert(state != NULL);
        struct message answer = {.kind = MSG_BLOCK_STATE,
                                 .run = msg->run,
                                 .sender = sim->parties[self].self.id,
                                 .key = msg->key,
                                 .payload = state->bytes};
        post(sim, self, from, &answer);
    }
}

static void run_task(struct sim *sim, size_t worker, const struct message *task)
{
    if (task->kind == MSG_TRAIN_LANE)
        train(sim, worker, &task->task);
    else
        evaluate(sim, worker, &task->task);
}

static void hear(struct sim *sim, size_t self, struct address from, const struct message *msg)
{
    struct party_node *node = &sim->parties[self];
    struct outbox out = {0};
    uint64_t now_ms = sim->now_us / 1000;
    if (node->coordinator != NULL)
        coordinator_step(node->coordinator, now_ms, from, msg, &out);
    else if (node->shard != NULL)
        shard_step(node->shard, now_ms, from, msg, &out);
    else if (node->exchange != NULL)
        exchange_step(node->exchange, now_ms, from, msg, &out);
    else if (node->is_store && msg != NULL)
        store_hear(sim, self, from, msg);
    flush(sim, self, &out);
    outbox_free(&out);
}

static void deliver(struct sim *sim, struct parcel *parcel)
{
    struct party_node *node = &sim->parties[parcel->to];
    struct message msg;
    struct err_msg why;
    sim->now_us = parcel->at_us;
    if (node->is_compute) {
        if (!sim->parties[node->mate].is_silent)
            run_task(sim, node->mate, parcel->header);
    } else if (!node->is_silent) {
        struct arena *arena;
        int err = arena_create(4096, 1 << 20, &arena);
        if (err == 0)
            err = message_unpack(parcel->header, parcel->header_bytes, parcel->payload, arena,
                                 &msg, &why);
        assert(err == 0);
        hear(sim, parcel->to, parcel->from, &msg);
        arena_destroy(arena);
    }
    free(parcel->header);
    buffer_unref(parcel->payload);
}

static size_t add_party(struct sim *sim, enum party party)
{
    assert(sim->party_count < PARTIES_MAX);
    size_t idx = sim->party_count++;
    sim->parties[idx].self = (struct address){party, 0x1000 + idx};
    return idx;
}

static struct hello make_hello(const struct sim *sim, uint32_t rank, uint32_t shard,
                               bool is_worker)
{
    struct hello hello = {.rank = (int32_t)rank, .pid = 100 + rank, .host = "sim",
                          .version = TALWEG_VERSION, .kernels = "formula"};
    memset(hello.fingerprint, 'a', 64);
    if (is_worker) {
        hello.thread_count = 1;
        hello.train_count = TRAIN_SAMPLES;
        hello.test_count = TEST_SAMPLES;
        hello.layout = sim->layout;
    } else {
        hello.shard_idx = shard;
        hello.shard_count = sim->spec->settings.cluster.shards;
        snprintf(hello.endpoint, sizeof(hello.endpoint), "inproc://%u.%u", rank, shard);
    }
    return hello;
}

static void add_coordinator(struct sim *sim, size_t store)
{
    size_t idx = add_party(sim, PARTY_COORDINATOR);
    struct coordinator_spec spec = {.settings = &sim->spec->settings,
                                    .run = {1, sim->spec->resume_step + 1},
                                    .incarnation = sim->parties[idx].self.id,
                                    .resume_step = sim->spec->resume_step,
                                    .store_incarnation = sim->parties[store].self.id,
                                    .store_endpoint = "inproc://store"};
    memset(spec.fingerprint, 'a', 64);
    int err = coordinator_create(&spec, &sim->parties[idx].coordinator);
    assert(err == 0);
}

static void add_members(struct sim *sim)
{
    const struct settings *settings = &sim->spec->settings;
    for (uint32_t i = 0; i < settings->cluster.servers * settings->cluster.shards; i++) {
        size_t idx = add_party(sim, PARTY_SHARD);
        struct shard_spec spec = {.settings = settings,
                                  .hello = make_hello(sim, i / settings->cluster.shards,
                                                      i % settings->cluster.shards, false),
                                  .incarnation = sim->parties[idx].self.id};
        int err = shard_create(&spec, &sim->parties[idx].shard);
        assert(err == 0);
    }
    for (uint32_t i = 0; i < settings->cluster.workers; i++) {
        if ((int32_t)i == sim->spec->absent_worker)
            continue;
        size_t idx = add_party(sim, PARTY_WORKER);
        size_t compute = add_party(sim, PARTY_COMPUTE);
        struct exchange_spec spec = {.settings = settings,
                                     .hello = make_hello(sim, i, 0, true),
                                     .incarnation = sim->parties[idx].self.id};
        int err = exchange_create(&spec, &sim->parties[idx].exchange);
        assert(err == 0);
        sim->parties[idx].mate = compute;
        sim->parties[compute].mate = idx;
        sim->parties[compute].is_compute = true;
        sim->parties[compute].speed_us = 1000 + chance(sim, 20000);
    }
}

static void create(struct sim *sim, const struct sim_spec *spec, struct sim_result *result)
{
    struct tensor_spec tensors[TENSORS] = {
        {.name = "a.weight", .dims = 2, .shape = {7, 9}, .init = INIT_HE, .init_scale = 0.5f,
         .has_decay = true},
        {.name = "a.bias", .dims = 1, .shape = {9}},
        {.name = "b.weight", .dims = 2, .shape = {9, 5}, .init = INIT_XAVIER, .init_scale = 0.7f,
         .has_decay = true}};
    *result = (struct sim_result){0};
    sim->spec = spec;
    sim->result = result;
    sim->chance = (struct draw_key){.seed = spec->seed, .where = 99};
    int err = layout_create(tensors, TENSORS, spec->settings.exchange.block_bytes, &sim->layout,
                            NULL);
    if (err == 0)
        err = buffer_pool_create(0, &sim->pool);
    if (err == 0)
        err = arena_create(4096, 1 << 20, &sim->arena);
    assert(err == 0);
    sim->store = spec->store != NULL ? spec->store : sim_store_create();
    size_t store = add_party(sim, PARTY_STORE);
    sim->parties[store].is_store = true;
    add_coordinator(sim, store);
    add_members(sim);
}

static void destroy(struct sim *sim)
{
    while (sim->heap_count > 0) {
        struct parcel parcel = heap_take(sim);
        free(parcel.header);
        buffer_unref(parcel.payload);
    }
    for (size_t i = 0; i < sim->party_count; i++) {
        coordinator_destroy(sim->parties[i].coordinator);
        shard_destroy(sim->parties[i].shard);
        exchange_destroy(sim->parties[i].exchange);
    }
    if (sim->spec->store == NULL)
        sim_store_destroy(sim->store);
    free(sim->heap);
    arena_destroy(sim->arena);
    layout_destroy(sim->layout);
    buffer_pool_destroy(sim->pool);
}

static void note_refused(struct sim *sim)
{
    for (size_t i = 0; i < sim->party_count; i++) {
        if (sim->parties[i].coordinator != NULL)
            sim->result->refused_count += coordinator_refused_count(sim->parties[i].coordinator);
        if (sim->parties[i].shard != NULL)
            sim->result->refused_count += shard_refused_count(sim->parties[i].shard);
    }
}

static void tick_all(struct sim *sim)
{
    const struct sim_spec *spec = sim->spec;
    uint32_t worker = 0;
    for (size_t i = 0; i < sim->party_count; i++) {
        if (sim->parties[i].exchange != NULL &&
            (int32_t)worker++ == spec->silent_worker && sim->now_us / 1000 >= spec->silent_ms)
            sim->parties[i].is_silent = true;
        hear(sim, i, (struct address){0}, NULL);
    }
}

void sim_run(const struct sim_spec *spec, struct sim_result *result_out)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    assert(sim != NULL);
    create(sim, spec, result_out);
    struct coordinator *coordinator = sim->parties[1].coordinator;
    bool is_stopped = false;
    for (uint64_t tick_us = 1000; !coordinator_is_over(coordinator); tick_us += TICK_US) {
        assert(tick_us < hour_us);
        while (sim->heap_count > 0 && sim->heap[0].at_us <= tick_us) {
            struct parcel parcel = heap_take(sim);
            deliver(sim, &parcel);
        }
        sim->now_us = tick_us;
        tick_all(sim);
        if (spec->stop_ms > 0 && !is_stopped && tick_us / 1000 >= spec->stop_ms) {
            struct outbox out = {0};
            is_stopped = true;
            coordinator_stop(coordinator, &out);
            flush(sim, 1, &out);
            outbox_free(&out);
        }
    }
    coordinator_progress(coordinator, sim->now_us / 1000, &result_out->progress);
    result_out->end_ms = sim->now_us / 1000;
    note_refused(sim);
    destroy(sim);
    free(sim);
}

struct sim_store *sim_store_create(void)
{
    struct sim_store *store = calloc(1, sizeof(*store));
    assert(store != NULL);
    return store;
}

void sim_store_destroy(struct sim_store *store)
{
    for (size_t i = 0; i < store->count; i++)
        buffer_unref(store->states[i].bytes);
    free(store->states);
    free(store);
}

size_t sim_store_steps(const struct sim_store *store, uint64_t steps_out[SIM_HISTORY_MAX])
{
    size_t found = 0;
    for (uint64_t step = 1; step <= 10000 && found < SIM_HISTORY_MAX; step++)
        if (store->block_count > 0 && store_count(store, step) == store->block_count)
            steps_out[found++] = step;
    return found;
}

struct settings sim_settings(uint32_t servers, uint32_t workers)
{
    struct settings settings = {0};
    settings.job.seed = 7;
    settings.job.lanes = 8;
    settings.job.batch = 24;
    settings.job.steps = 30;
    settings.job.eval_every = 10;
    settings.model.loss = LOSS_SOFTMAX_CROSS_ENTROPY;
    settings.optimizer.kind = OPTIMIZER_ADAM;
    settings.optimizer.rate = 0.05;
    settings.optimizer.beta1 = 0.9;
    settings.optimizer.beta2 = 0.999;
    settings.optimizer.epsilon = 1e-8;
    settings.optimizer.weight_decay = 0.01;
    settings.exchange.block_bytes = 64;
    settings.exchange.credit_bytes = 1 << 20;
    settings.worker.threads = 1;
    settings.cluster.servers = servers;
    settings.cluster.workers = workers;
    settings.cluster.shards = 1;
    settings.cluster.wait_s = 60;
    settings.cluster.silence_s = 20;
    settings.cluster.answer_s = 60;
    settings.cluster.beat_ms = 500;
    settings.log.every = 10;
    return settings;
}
