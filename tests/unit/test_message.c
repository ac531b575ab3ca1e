#include "proto/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "proto/wire_check.h"
#include "tests/unit/unit.h"

enum { ROUND_COUNT = 40, ARENA_BYTES = 8 << 20 };

/* A plain generator: values only have to vary, and to be the same in every run. */
static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 11;
}

static uint64_t draw_below(uint64_t *state, uint64_t bound)
{
    return draw(state) % bound;
}

static void draw_text(uint64_t *state, char *out, size_t size_bytes)
{
    size_t length = draw_below(state, size_bytes);
    for (size_t i = 0; i < length; i++)
        out[i] = (char)(' ' + draw_below(state, 95));
    out[length] = 0;
}

static void draw_hex(uint64_t *state, char out[HEX_BYTES])
{
    for (size_t i = 0; i < HEX_BYTES - 1; i++)
        out[i] = "0123456789abcdef"[draw_below(state, 16)];
    out[HEX_BYTES - 1] = 0;
}

static uint64_t draw_count(uint64_t *state)
{
    return draw(state) >> draw_below(state, 53);
}

/* What a drawn message borrows. */
struct props {
    struct layout *layout;
    struct shard_member shards[5];
    struct worker_member workers[7];
    uint32_t *block_shard, *block_backup, *block_learner;
    uint32_t lane_worker[16];
    float floats[30];
    struct buffer payload;
};

static struct layout *draw_layout(uint64_t *state)
{
    struct tensor_spec tensors[6] = {0};
    size_t count = 1 + draw_below(state, ARRAY_LEN(tensors));
    for (size_t i = 0; i < count; i++) {
        snprintf(tensors[i].name, sizeof(tensors[i].name), "op%zu.weight", i);
        tensors[i].dims = 1 + (uint32_t)draw_below(state, TENSOR_DIMS_MAX);
        for (uint32_t d = 0; d < tensors[i].dims; d++)
            tensors[i].shape[d] = 1 + (uint32_t)draw_below(state, 9);
        tensors[i].init = (enum init_kind)draw_below(state, 3);
        tensors[i].init_scale = (float)draw_below(state, 100) / 7.0f;
        tensors[i].has_decay = draw_below(state, 2) == 1;
        tensors[i].update = (enum tensor_update)draw_below(state, UPDATE_FROZEN + 1);
        tensors[i].rate_scale = (float)draw_below(state, 100) / 100;
    }
    struct layout *layout = NULL;
    uint32_t block_bytes = 4 * (1 + (uint32_t)draw_below(state, 500));
    CU_ASSERT_FATAL(layout_create(tensors, count, block_bytes, &layout, NULL) == 0);
    return layout;
}

static void draw_hello(uint64_t *state, struct props *props, struct hello *hello)
{
    hello->rank = (int32_t)draw_below(state, WORKERS_MAX + 1) - 1;
    hello->shard_count = (uint32_t)draw_below(state, 9);
    hello->shard_idx = hello->shard_count == 0 ? 0 : hello->shard_count - 1;
    hello->pid = (uint32_t)draw(state);
    draw_text(state, hello->host, sizeof(hello->host));
    draw_text(state, hello->endpoint, sizeof(hello->endpoint));
    draw_text(state, hello->version, sizeof(hello->version));
    draw_text(state, hello->kernels, sizeof(hello->kernels));
    if (draw_below(state, 2) == 1)
        draw_hex(state, hello->fingerprint);
    hello->thread_count = (uint32_t)draw_below(state, 257);
    hello->planned_bytes = draw_count(state);
    hello->train_count = draw_count(state);
    hello->test_count = draw_count(state);
    hello->layout = draw_below(state, 3) == 0 ? NULL : props->layout;
}

static void draw_members(uint64_t *state, struct props *props, struct view *view)
{
    view->shard_count = 1 + draw_below(state, ARRAY_LEN(props->shards));
    view->worker_count = draw_below(state, ARRAY_LEN(props->workers) + 1);
    for (size_t i = 0; i < view->shard_count; i++) {
        struct shard_member *shard = &props->shards[i];
        *shard = (struct shard_member){(uint32_t)draw_below(state, 9), 2, draw(state), "", ""};
        draw_text(state, shard->endpoint, sizeof(shard->endpoint));
        draw_text(state, shard->door, sizeof(shard->door));
    }
    for (size_t i = 0; i < view->worker_count; i++) {
        struct worker_member *worker = &props->workers[i];
        *worker = (struct worker_member){(uint32_t)draw_below(state, 9), draw(state), ""};
        draw_text(state, worker->door, sizeof(worker->door));
    }
    view->shards = props->shards;
    view->workers = props->workers;
}

/* Backup and learner are the next shards in turn, as far as there are more, or nobody. */
static void draw_holders(uint64_t *state, struct props *props, struct view *view)
{
    view->block_count = props->layout->block_count;
    for (size_t i = 0; i < view->block_count; i++) {
        uint32_t count = (uint32_t)view->shard_count;
        uint32_t primary = (uint32_t)draw_below(state, count);
        uint64_t wants = draw_below(state, 4);
        props->block_shard[i] = primary;
        props->block_backup[i] = (wants & 1) != 0 && count > 1 ? (primary + 1) % count : NOBODY;
        props->block_learner[i] = (wants & 2) != 0 && count > 2 ? (primary + 2) % count : NOBODY;
    }
    view->block_shard = props->block_shard;
    view->block_backup = draw_below(state, 3) == 0 ? NULL : props->block_backup;
    view->block_learner = draw_below(state, 3) == 0 ? NULL : props->block_learner;
}

static void draw_view(uint64_t *state, struct props *props, struct view *view)
{
    view->number = 1 + (uint32_t)draw_below(state, 1000);
    view->era = 1 + (uint32_t)draw_below(state, 1000);
    view->step_count = draw_count(state);
    view->start_step = view->step_count / 2;
    if (view->step_count > 8 && draw_below(state, 2) == 1)
        view->early_stop = (struct early_stop){.hold_step = view->step_count - 3,
                                               .best_step = draw_below(state, 5),
                                               .best_loss = (double)draw_below(state, 99) / 7,
                                               .worse_count = draw_below(state, 9)};
    view->train_count = draw_count(state);
    view->test_count = draw_count(state);
    view->is_restored = draw_below(state, 2) == 1;
    view->store_incarnation = draw(state);
    draw_text(state, view->store_endpoint, sizeof(view->store_endpoint));
    draw_members(state, props, view);
    draw_holders(state, props, view);
    view->lane_count = (size_t)1 << draw_below(state, 5);
    for (size_t i = 0; i < view->lane_count; i++) {
        uint32_t worker = (uint32_t)draw_below(state, view->worker_count + 1);
        props->lane_worker[i] = worker == view->worker_count ? NOBODY : worker;
    }
    view->lane_worker = props->lane_worker;
    view->layout = draw_below(state, 2) == 0 ? NULL : props->layout;
}

static void draw_beat(uint64_t *state, struct beat *beat)
{
    *beat = (struct beat){.sent_ms = draw_count(state),
                          .step = draw_count(state),
                          .version_sum = draw_count(state),
                          .parked_bytes = draw_count(state),
                          .sample_count = draw_count(state),
                          .push_count = draw_count(state),
                          .block_count = draw_below(state, 1000),
                          .bytes_in = draw_count(state),
                          .bytes_out = draw_count(state),
                          .held_bytes = draw_count(state),
                          .rss_bytes = draw_count(state),
                          .peak_rss_bytes = draw_count(state),
                          .cpu_us = draw_count(state),
                          .exchange_us = draw_count(state)};
    beat->exposed_us = draw_below(state, beat->exchange_us + 1);
    beat->compute_us = draw_count(state);
    beat->data_us = draw_below(state, beat->compute_us + 1);
    for (size_t i = 0; i < BEAT_STALENESS; i++)
        beat->staleness_count[i] = draw_count(state);
    if (draw_below(state, 2) == 0)
        return;
    beat->lack_begin = (uint32_t)draw_below(state, LANES_MAX);
    beat->lack_end = beat->lack_begin + 1 +
                     (uint32_t)draw_below(state, LANES_MAX - beat->lack_begin);
}

static void draw_lane(uint64_t *state, struct lane_result *lane)
{
    *lane = (struct lane_result){.step = draw_count(state),
                                 .lane = (uint32_t)draw_below(state, LANES_MAX),
                                 .loss_sum = (double)draw(state) / 1234.5,
                                 .sample_count = 1 + draw_below(state, 1000),
                                 .compute_us = draw_count(state),
                                 .is_void = draw_below(state, 2) == 1};
    lane->answer_count = draw_below(state, 100000);
    lane->correct_count = draw_below(state, lane->answer_count + 1);
}

static void draw_outcome(uint64_t *state, struct outcome *outcome)
{
    outcome->code = -(int32_t)draw_below(state, 14);
    outcome->step = draw_count(state);
    outcome->newest = draw_count(state);
    draw_text(state, outcome->text, sizeof(outcome->text));
}

static void draw_key(uint64_t *state, struct block_key *key)
{
    uint32_t size = 1u << draw_below(state, 11);
    key->step = draw_count(state);
    key->block = (uint32_t)draw_below(state, WIRE_BLOCKS_MAX);
    key->lane_begin = size * (uint32_t)draw_below(state, LANES_MAX / size);
    key->lane_end = key->lane_begin + size;
}

static void draw_message(uint64_t *state, enum message_kind kind, struct props *props,
                         struct message *msg)
{
    *msg = (struct message){.kind = kind,
                            .run = {draw(state) << 11, draw(state)},
                            .sender = draw(state) << 11 | 5,
                            .view = (uint32_t)draw(state),
                            .era = (uint32_t)draw(state)};
    const struct wire_kind *row = wire_kind_of(kind);
    switch (row->body) {
    case BODY_HELLO:
        draw_hello(state, props, &msg->hello);
        break;
    case BODY_WELCOME:
        msg->welcome.rank = (uint32_t)draw_below(state, WORKERS_MAX);
        break;
    case BODY_VIEW:
        draw_view(state, props, &msg->view_body);
        break;
    case BODY_BEAT:
        draw_beat(state, &msg->beat);
        break;
    case BODY_LANE:
        draw_lane(state, &msg->lane);
        break;
    case BODY_DIGEST:
        msg->digest.step = draw_count(state);
        draw_hex(state, msg->digest.hex);
        break;
    case BODY_OUTCOME:
        draw_outcome(state, &msg->outcome);
        break;
    case BODY_KEY:
        draw_key(state, &msg->key);
        if (kind == MSG_PUSH || kind == MSG_PULL || kind == MSG_WEIGHTS || kind == MSG_UPDATE)
            msg->key.codec = (enum codec_kind)draw_below(state, CODEC_COUNT);
        break;
    case BODY_DRAIN:
        msg->drain.is_server = draw_below(state, 2) == 1;
        msg->drain.rank = (uint32_t)draw_below(state, WORKERS_MAX);
        break;
    case BODY_NONE:
        break;
    }
    if (row->payload == PAYLOAD_NONE)
        return;
    props->payload = (struct buffer){.data = props->floats, .size_bytes = sizeof(props->floats)};
    atomic_init(&props->payload.ref_count, 1);
    msg->payload = &props->payload;
}

static void props_create(uint64_t *state, struct props *props)
{
    *props = (struct props){.layout = draw_layout(state)};
    size_t count = props->layout->block_count;
    props->block_shard = calloc(3 * count, sizeof(*props->block_shard));
    CU_ASSERT_FATAL(props->block_shard != NULL);
    props->block_backup = props->block_shard + count;
    props->block_learner = props->block_backup + count;
}

static void props_destroy(struct props *props)
{
    layout_destroy(props->layout);
    free(props->block_shard);
}

static bool layouts_equal(const struct layout *a, const struct layout *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->tensor_count == b->tensor_count && a->block_count == b->block_count &&
           a->weight_count == b->weight_count && a->block_bytes == b->block_bytes &&
           memcmp(a->tensors, b->tensors, a->tensor_count * sizeof(*a->tensors)) == 0;
}

static bool cuts_equal(const struct layout *a, const struct layout *b)
{
    return layouts_equal(a, b) &&
           (a == NULL || (memcmp(a->tensor_begin, b->tensor_begin,
                                 (a->tensor_count + 1) * sizeof(*a->tensor_begin)) == 0 &&
                          memcmp(a->blocks, b->blocks, a->block_count * sizeof(*a->blocks)) == 0));
}

static bool hellos_equal(const struct hello *a, const struct hello *b)
{
    return a->rank == b->rank && a->shard_idx == b->shard_idx &&
           a->shard_count == b->shard_count && a->pid == b->pid && strcmp(a->host, b->host) == 0 &&
           strcmp(a->endpoint, b->endpoint) == 0 && strcmp(a->version, b->version) == 0 &&
           strcmp(a->kernels, b->kernels) == 0 && strcmp(a->fingerprint, b->fingerprint) == 0 &&
           a->thread_count == b->thread_count && a->planned_bytes == b->planned_bytes &&
           a->train_count == b->train_count &&
           a->test_count == b->test_count && layouts_equal(a->layout, b->layout);
}

static bool holders_equal(const uint32_t *a, const uint32_t *b, size_t block_count)
{
    if (a == NULL || b == NULL)
        return a == b;
    return memcmp(a, b, block_count * sizeof(*a)) == 0;
}

static bool views_equal(const struct view *a, const struct view *b)
{
    bool is_equal = a->number == b->number && a->era == b->era && a->start_step == b->start_step &&
                    a->step_count == b->step_count && a->train_count == b->train_count &&
                    a->test_count == b->test_count && a->is_restored == b->is_restored &&
                    a->store_incarnation == b->store_incarnation &&
                    strcmp(a->store_endpoint, b->store_endpoint) == 0 &&
                    a->shard_count == b->shard_count && a->worker_count == b->worker_count &&
                    a->block_count == b->block_count && a->lane_count == b->lane_count &&
                    memcmp(&a->early_stop, &b->early_stop, sizeof(a->early_stop)) == 0;
    for (size_t i = 0; is_equal && i < a->shard_count; i++)
        is_equal = a->shards[i].rank == b->shards[i].rank &&
                   a->shards[i].shard_idx == b->shards[i].shard_idx &&
                   a->shards[i].incarnation == b->shards[i].incarnation &&
                   strcmp(a->shards[i].endpoint, b->shards[i].endpoint) == 0;
    for (size_t i = 0; is_equal && i < a->worker_count; i++)
        is_equal = a->workers[i].rank == b->workers[i].rank &&
                   a->workers[i].incarnation == b->workers[i].incarnation;
    return is_equal &&
           holders_equal(a->block_shard, b->block_shard, a->block_count) &&
           holders_equal(a->block_backup, b->block_backup, a->block_count) &&
           holders_equal(a->block_learner, b->block_learner, a->block_count) &&
           memcmp(a->lane_worker, b->lane_worker, a->lane_count * sizeof(uint32_t)) == 0 &&
           cuts_equal(a->layout, b->layout);
}

static bool lanes_equal(const struct lane_result *a, const struct lane_result *b)
{
    return a->step == b->step && a->lane == b->lane && a->loss_sum == b->loss_sum &&
           a->correct_count == b->correct_count && a->answer_count == b->answer_count &&
           a->sample_count == b->sample_count &&
           a->compute_us == b->compute_us && a->is_void == b->is_void;
}

static bool bodies_equal(const struct message *a, const struct message *b)
{
    switch (wire_kind_of(a->kind)->body) {
    case BODY_HELLO:
        return hellos_equal(&a->hello, &b->hello);
    case BODY_WELCOME:
        return a->welcome.rank == b->welcome.rank;
    case BODY_VIEW:
        return views_equal(&a->view_body, &b->view_body);
    case BODY_BEAT:
        return memcmp(&a->beat, &b->beat, sizeof(a->beat)) == 0;
    case BODY_LANE:
        return lanes_equal(&a->lane, &b->lane);
    case BODY_DIGEST:
        return a->digest.step == b->digest.step && strcmp(a->digest.hex, b->digest.hex) == 0;
    case BODY_OUTCOME:
        return a->outcome.code == b->outcome.code && a->outcome.step == b->outcome.step &&
               a->outcome.newest == b->outcome.newest &&
               strcmp(a->outcome.text, b->outcome.text) == 0;
    case BODY_KEY:
        return a->key.step == b->key.step && a->key.block == b->key.block &&
               a->key.lane_begin == b->key.lane_begin && a->key.lane_end == b->key.lane_end &&
               a->key.codec == b->key.codec;
    case BODY_DRAIN:
        return a->drain.is_server == b->drain.is_server && a->drain.rank == b->drain.rank;
    case BODY_NONE:
        return true;
    }
    return false;
}

static bool messages_equal(const struct message *a, const struct message *b)
{
    return a->kind == b->kind && run_equal(a->run, b->run) && a->sender == b->sender &&
           a->view == b->view && a->era == b->era && a->payload == b->payload && bodies_equal(a, b);
}

/* Calls visit with a drawn message of each kind and its header, ROUND_COUNT times. */
static void each_message(void (*visit)(const struct message *msg, const unsigned char *bytes,
                                       size_t size, struct arena *arena, uint64_t *state))
{
    uint64_t state = 20240607;
    struct arena *out = NULL, *in = NULL;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &out) == 0);
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &in) == 0);
    for (int round = 0; round < ROUND_COUNT; round++) {
        for (int kind = MSG_HELLO; kind <= MSG_SAME; kind++) {
            struct props props;
            struct message msg;
            const void *bytes = NULL;
            size_t size = 0;
            props_create(&state, &props);
            draw_message(&state, (enum message_kind)kind, &props, &msg);
            arena_reset(out);
            CU_ASSERT_FATAL(message_pack(&msg, out, &bytes, &size) == 0);
            visit(&msg, bytes, size, in, &state);
            props_destroy(&props);
        }
    }
    arena_destroy(out);
    arena_destroy(in);
}

static void check_round_trip(const struct message *msg, const unsigned char *bytes, size_t size,
                             struct arena *arena, uint64_t *state)
{
    (void)state;
    struct message back;
    struct err_msg why = {0};
    arena_reset(arena);
    int err = message_unpack(bytes, size, msg->payload, arena, &back, &why);
    CU_ASSERT_FATAL(err == 0);
    CU_ASSERT(messages_equal(msg, &back));
}

static void test_message_comes_back_as_it_was_sent(void)
{
    each_message(check_round_trip);
}

/* An allocation of the very size lets the sanitizer see a read past the end. */
static int unpack_exact(const unsigned char *bytes, size_t size, struct buffer *payload,
                        struct arena *arena, struct err_msg *why)
{
    struct message msg;
    unsigned char *copy = malloc(size + (size == 0));
    CU_ASSERT_FATAL(copy != NULL);
    memcpy(copy, bytes, size);
    arena_reset(arena);
    int err = message_unpack(copy, size, payload, arena, &msg, why);
    free(copy);
    return err;
}

static void check_truncated(const struct message *msg, const unsigned char *bytes, size_t size,
                            struct arena *arena, uint64_t *state)
{
    (void)state;
    for (size_t kept = 0; kept < size; kept++) {
        struct err_msg why = {0};
        CU_ASSERT(unpack_exact(bytes, kept, msg->payload, arena, &why) == ERR_PROTO);
        CU_ASSERT(why.text[0] != 0);
    }
}

static void test_message_is_refused_when_cut_at_any_byte(void)
{
    each_message(check_truncated);
}

static void check_changed(const struct message *msg, const unsigned char *bytes, size_t size,
                          struct arena *arena, uint64_t *state)
{
    unsigned char *changed = malloc(size);
    CU_ASSERT_FATAL(changed != NULL);
    for (int i = 0; i < 200; i++) {
        memcpy(changed, bytes, size);
        for (uint64_t n = 1 + draw_below(state, 4); n > 0; n--)
            changed[draw_below(state, size)] = (unsigned char)draw(state);
        int err = unpack_exact(changed, size, msg->payload, arena, NULL);
        CU_ASSERT(err == 0 || err == ERR_PROTO || err == ERR_NOMEM);
    }
    free(changed);
}

static void test_message_never_crashes_when_bytes_are_changed(void)
{
    each_message(check_changed);
}

static void test_message_refuses_random_bytes(void)
{
    uint64_t state = 99;
    unsigned char bytes[300];
    struct arena *arena = NULL;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    for (int i = 0; i < 20000; i++) {
        size_t size = draw_below(&state, sizeof(bytes));
        for (size_t k = 0; k < size; k++)
            bytes[k] = (unsigned char)draw(&state);
        CU_ASSERT(unpack_exact(bytes, size, NULL, arena, NULL) == ERR_PROTO);
    }
    arena_destroy(arena);
}

static void test_message_of_a_local_kind_cannot_be_packed(void)
{
    struct arena *arena = NULL;
    const void *bytes;
    size_t size;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    const int kinds[] = {MSG_NONE, MSG_SAME + 1, MSG_TRAIN_LANE, MSG_EVAL_LANE, MSG_LEAF,
                         MSG_LEAF_VOID, MSG_DROP_LANES, MSG_LANE_DROPPED, MSG_GONE, -1};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct message msg = {.kind = (enum message_kind)kinds[i]};
        CU_ASSERT(message_pack(&msg, arena, &bytes, &size) == ERR_INPUT);
    }
    arena_destroy(arena);
}

static void test_message_has_its_payload_or_is_refused(void)
{
    uint64_t state = 5;
    struct arena *arena = NULL;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    for (int kind = MSG_HELLO; kind <= MSG_SAME; kind++) {
        struct props props;
        struct message msg, back;
        struct err_msg why = {0};
        const void *bytes;
        size_t size;
        props_create(&state, &props);
        draw_message(&state, (enum message_kind)kind, &props, &msg);
        arena_reset(arena);
        CU_ASSERT_FATAL(message_pack(&msg, arena, &bytes, &size) == 0);
        struct buffer other = {.data = props.floats, .size_bytes = 7};
        enum wire_payload payload = wire_kind_of(msg.kind)->payload;
        int odd = message_unpack(bytes, size, &other, arena, &back, &why);
        bool is_any = payload == PAYLOAD_TEXT || payload == PAYLOAD_ECHO;
        CU_ASSERT(odd == (is_any ? 0 : ERR_PROTO));
        int none = message_unpack(bytes, size, NULL, arena, &back, &why);
        CU_ASSERT(none == (payload == PAYLOAD_NONE ? 0 : ERR_PROTO));
        other.size_bytes = 0;
        CU_ASSERT(message_unpack(bytes, size, &other, arena, &back, &why) == ERR_PROTO);
        props_destroy(&props);
    }
    arena_destroy(arena);
}

static void check_other_kinds(const struct message *msg, const unsigned char *bytes, size_t size,
                              struct arena *arena, uint64_t *state)
{
    (void)state;
    unsigned char *changed = malloc(size);
    CU_ASSERT_FATAL(changed != NULL);
    memcpy(changed, bytes, size);
    CU_ASSERT_FATAL(bytes[0] == 0x08 && bytes[1] == msg->kind); /* the first field */
    for (int kind = MSG_NONE; kind <= MSG_SAME + 1; kind++) {
        const struct wire_kind *row = wire_kind_of((enum message_kind)kind);
        changed[1] = (unsigned char)kind;
        if (row != NULL && row->body == wire_kind_of(msg->kind)->body)
            continue;
        struct buffer *payload = row == NULL || row->payload == PAYLOAD_NONE ? NULL : msg->payload;
        CU_ASSERT(unpack_exact(changed, size, payload, arena, NULL) == ERR_PROTO);
    }
    free(changed);
}

static void test_message_is_refused_when_its_body_is_of_another_kind(void)
{
    each_message(check_other_kinds);
}

static void test_message_is_refused_when_a_text_does_not_fit(void)
{
    /* kind: hello; body: host, of 64 bytes; wire */
    unsigned char bytes[72] = {0x08, 0x01, 0x3a, 66, 0x2a, 64};
    struct arena *arena = NULL;
    struct err_msg why = {0};
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    memset(bytes + 6, 'h', 64);
    bytes[70] = 0x78;
    bytes[71] = WIRE_VERSION;
    CU_ASSERT(unpack_exact(bytes, sizeof(bytes), NULL, arena, &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "hello: host has 64 bytes; at most 63 are possible");
    bytes[3] = 65;
    bytes[5] = 63;
    bytes[69] = 0x78;
    bytes[70] = WIRE_VERSION;
    CU_ASSERT(unpack_exact(bytes, sizeof(bytes) - 1, NULL, arena, &why) == 0);
    arena_destroy(arena);
}

static void test_message_of_another_wire_version_is_refused_by_number(void)
{
    const unsigned char bytes[] = {0x08, MSG_STATUS_ASK, 0x78, 1};
    struct arena *arena = NULL;
    struct err_msg why = {0};
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    CU_ASSERT(unpack_exact(bytes, sizeof(bytes), NULL, arena, &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "wire version 1; expected 5");
    arena_destroy(arena);
}

/* A view of three blocks on three shards, as bytes, with these backups and learners. */
static int view_with(const char *backups, const char *learners, struct err_msg *why)
{
    unsigned char bytes[100] = {0x08, MSG_VIEW, 0x4a, 0};
    size_t size = 4;
    const char *const fields[] = {"\x08\x01",         /* number: 1 */
                                  "\x4a\x02\x10\x01", /* shards: three, of shard_idx 1 */
                                  "\x4a\x02\x10\x01", "\x4a\x02\x10\x01",
                                  "\x5a\x03\x01\x01\x01",         /* block_shard: 1, 1, 1 */
                                  "\x62\x05\xff\xff\xff\xff\x0f", /* lane_worker: nobody */
                                  "\x70\x01",                     /* era: 1 */
                                  backups, learners};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        memcpy(bytes + size, fields[i], strlen(fields[i]));
        size += strlen(fields[i]);
    }
    bytes[3] = (unsigned char)(size - 4);
    bytes[size++] = 0x78;
    bytes[size++] = WIRE_VERSION;
    struct arena *arena = NULL;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    *why = (struct err_msg){0};
    int err = unpack_exact(bytes, size, NULL, arena, why);
    arena_destroy(arena);
    return err;
}

static void test_message_refuses_a_view_with_too_few_backups_or_learners(void)
{
    struct err_msg why;
    CU_ASSERT(view_with("", "", &why) == 0);
    CU_ASSERT(view_with("\x7a\x03\x02\x02\x02", "", &why) == 0);
    CU_ASSERT(view_with("", "\x82\x01\x03\x02\x02\x02", &why) == 0);
    CU_ASSERT(view_with("\x7a\x02\x02\x02", "", &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "view: 2 backups and 0 learners; expected 0 or 3");
    CU_ASSERT(view_with("\x7a\x04\x02\x02\x02\x02", "", &why) == ERR_PROTO);
    CU_ASSERT(view_with("", "\x82\x01\x01\x02", &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "view: 0 backups and 1 learners; expected 0 or 3");
    CU_ASSERT(view_with("\x7a\x03\x02\x01\x02", "", &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "view: backup of block 1 is shard 1, its primary too");
}

static void test_message_refuses_a_beat_with_too_few_counts_of_staleness(void)
{
    /* kind: beat; body: staleness_count, of seven; wire */
    unsigned char bytes[15] = {0x08, MSG_BEAT, 0x52, 9, 0x7a, 7};
    struct arena *arena = NULL;
    struct err_msg why = {0};
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    bytes[13] = 0x78;
    bytes[14] = WIRE_VERSION;
    CU_ASSERT(unpack_exact(bytes, 15, NULL, arena, &why) == ERR_PROTO);
    CU_ASSERT_STRING_EQUAL(why.text, "beat: 7 counts of staleness; expected 0 or 8");
    const unsigned char none[] = {0x08, MSG_BEAT, 0x52, 0, 0x78, WIRE_VERSION};
    struct message back;
    CU_ASSERT_FATAL(message_unpack(none, sizeof(none), NULL, arena, &back, NULL) == 0);
    CU_ASSERT(back.beat.staleness_count[BEAT_STALENESS - 1] == 0);
    arena_destroy(arena);
}

static void test_message_carries_a_view_of_very_many_blocks(void)
{
    enum { BLOCK_COUNT = 100000 };
    struct shard_member shards[3] = {{.rank = 0}, {.rank = 1}, {.rank = 2}};
    uint32_t lane_worker[1] = {NOBODY};
    uint32_t *holders = calloc(3 * BLOCK_COUNT, sizeof(*holders));
    struct arena *out = NULL, *in = NULL;
    CU_ASSERT_FATAL(holders != NULL);
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &out) == 0);
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &in) == 0);
    for (uint32_t i = 0; i < 3 * BLOCK_COUNT; i++)
        holders[i] = (i % BLOCK_COUNT + i / BLOCK_COUNT) % 3;
    struct message msg = {.kind = MSG_VIEW}, back;
    msg.view_body = (struct view){.number = 1, .era = 1, .shard_count = 3, .lane_count = 1,
                                  .block_count = BLOCK_COUNT, .shards = shards,
                                  .block_shard = holders, .block_backup = holders + BLOCK_COUNT,
                                  .block_learner = holders + 2 * BLOCK_COUNT,
                                  .lane_worker = lane_worker};
    const void *bytes;
    size_t size;
    CU_ASSERT_FATAL(message_pack(&msg, out, &bytes, &size) == 0);
    CU_ASSERT_FATAL(message_unpack(bytes, size, NULL, in, &back, NULL) == 0);
    CU_ASSERT(messages_equal(&msg, &back));
    arena_destroy(out);
    arena_destroy(in);
    free(holders);
}

static int hello_with(struct layout *layout, size_t limit_bytes, struct err_msg *why)
{
    struct arena *out = NULL, *in = NULL;
    struct message msg = {.kind = MSG_HELLO, .hello = {.rank = -1, .layout = layout}}, back;
    const void *bytes;
    size_t size;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &out) == 0);
    CU_ASSERT_FATAL(arena_create(100, limit_bytes, &in) == 0);
    CU_ASSERT_FATAL(message_pack(&msg, out, &bytes, &size) == 0);
    int err = message_unpack(bytes, size, NULL, in, &back, why);
    arena_destroy(out);
    arena_destroy(in);
    return err;
}

static void test_message_refuses_a_layout_that_no_model_has(void)
{
    struct tensor_spec tensors[2] = {{.name = "a", .dims = 2, .shape = {3, 4}},
                                     {.name = "b", .dims = 1, .shape = {5}}};
    struct layout layout = {.tensor_count = 2, .tensors = tensors, .block_bytes = 16};
    struct err_msg why = {0};
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == 0);
    layout.block_bytes = 0;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    layout.block_bytes = 18;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    layout.block_bytes = 4;
    tensors[0].name[0] = 'b';
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].name[0] = '\t';
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].name[0] = 'a';
    tensors[0].init_scale = INFINITY;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].init_scale = 1;
    tensors[0].init = (enum init_kind)9;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].init = INIT_HE;
    tensors[0].update = (enum tensor_update)3;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].update = UPDATE_AVERAGE;
    tensors[0].rate_scale = 2;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].update = UPDATE_OPTIMIZER;
    tensors[0].rate_scale = 1;
    tensors[0].shape[0] = 0;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    tensors[0].shape[0] = UINT32_MAX; /* more blocks than there may be */
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
    layout.tensor_count = 0;
    CU_ASSERT(hello_with(&layout, ARENA_BYTES, &why) == ERR_PROTO);
}

/* A hundred bytes may describe ten million blocks: no place is taken for them before the message
 * itself has a word on each. */
static void test_message_of_many_blocks_takes_memory_as_it_is_long(void)
{
    struct tensor_spec tensor = {.name = "a", .dims = 1, .shape = {10 << 20}};
    struct layout layout = {.tensor_count = 1, .tensors = &tensor, .block_bytes = 4};
    struct err_msg why = {0};
    CU_ASSERT(hello_with(&layout, 16384, &why) == 0);

    static const struct shard_member shard = {.incarnation = 1};
    static const uint32_t zero = 0, nobody = NOBODY;
    struct arena *out = NULL, *in = NULL;
    struct message msg = {.kind = MSG_VIEW}, back;
    const void *bytes;
    size_t size;
    msg.view_body = (struct view){.number = 1, .era = 1, .train_count = 1, .shard_count = 1,
                                  .block_count = 1, .lane_count = 1, .shards = &shard,
                                  .block_shard = &zero, .lane_worker = &nobody};
    layout.block_count = 1; /* a lie */
    msg.view_body.layout = &layout;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &out) == 0);
    CU_ASSERT_FATAL(arena_create(100, 16384, &in) == 0);
    CU_ASSERT_FATAL(message_pack(&msg, out, &bytes, &size) == 0);
    CU_ASSERT(message_unpack(bytes, size, NULL, in, &back, &why) == ERR_PROTO);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "1 blocks are placed; the layout has 10485760"));
    arena_destroy(out);
    arena_destroy(in);
}

static void test_message_text_reaches_its_reader_clean(void)
{
    struct message msg = {.kind = MSG_REFUSED, .outcome = {.code = ERR_REFUSED}}, back;
    struct arena *arena = NULL;
    const void *bytes;
    size_t size;
    CU_ASSERT_FATAL(arena_create(100, ARENA_BYTES, &arena) == 0);
    snprintf(msg.outcome.text, sizeof(msg.outcome.text), "a\nb\tc\x1b[2Jd");
    CU_ASSERT_FATAL(message_pack(&msg, arena, &bytes, &size) == 0);
    CU_ASSERT_FATAL(message_unpack(bytes, size, NULL, arena, &back, NULL) == 0);
    CU_ASSERT_STRING_EQUAL(back.outcome.text, "a b c [2Jd");
    arena_destroy(arena);
}

static void test_message_says_when_its_arena_is_full(void)
{
    uint64_t state = 3;
    struct props props;
    struct message msg, back = {0};
    struct arena *small = NULL, *large = NULL;
    const void *bytes;
    size_t size;
    props_create(&state, &props);
    draw_message(&state, MSG_VIEW, &props, &msg);
    CU_ASSERT_FATAL(arena_create(16, 64, &small) == 0);
    CU_ASSERT_FATAL(arena_create(16, ARENA_BYTES, &large) == 0);
    CU_ASSERT(message_pack(&msg, small, &bytes, &size) == ERR_NOMEM);
    CU_ASSERT_FATAL(message_pack(&msg, large, &bytes, &size) == 0);
    arena_reset(small);
    CU_ASSERT(message_unpack(bytes, size, NULL, small, &back, NULL) == ERR_NOMEM);
    CU_ASSERT(back.kind == MSG_NONE);
    arena_destroy(small);
    arena_destroy(large);
    props_destroy(&props);
}

#define TESTS(X)                                                    \
    X(test_message_comes_back_as_it_was_sent)                       \
    X(test_message_is_refused_when_cut_at_any_byte)                 \
    X(test_message_never_crashes_when_bytes_are_changed)            \
    X(test_message_refuses_random_bytes)                            \
    X(test_message_of_a_local_kind_cannot_be_packed)                \
    X(test_message_has_its_payload_or_is_refused)                   \
    X(test_message_is_refused_when_its_body_is_of_another_kind)     \
    X(test_message_is_refused_when_a_text_does_not_fit)             \
    X(test_message_of_another_wire_version_is_refused_by_number)    \
    X(test_message_refuses_a_view_with_too_few_backups_or_learners) \
    X(test_message_refuses_a_beat_with_too_few_counts_of_staleness) \
    X(test_message_carries_a_view_of_very_many_blocks)              \
    X(test_message_refuses_a_layout_that_no_model_has)              \
    X(test_message_of_many_blocks_takes_memory_as_it_is_long)       \
    X(test_message_text_reaches_its_reader_clean)                   \
    X(test_message_says_when_its_arena_is_full)

UNIT_MAIN("message", TESTS)
