#include "ps/store.h"

#include <inttypes.h>
#include <dirent.h>
#include "common/checkpoint.h"
#include "common/safetensors.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_store_makes_a_checkpoint_of_a_step_with_all_its_blocks) \
    X(test_store_takes_several_steps_at_once_in_any_order) \
    X(test_store_answers_a_block_that_comes_twice) \
    X(test_store_gives_blocks_back_to_a_resumed_run) \
    X(test_store_resumes_with_another_block_size) \
    X(test_store_serves_after_the_view_what_came_before_it) \
    X(test_store_serves_later_what_it_has_no_room_for_now) \
    X(test_store_refuses_who_and_what_does_not_belong) \
    X(test_store_tells_the_coordinator_that_the_model_is_another) \
    X(test_store_tells_the_coordinator_when_the_disk_is_full) \
    X(test_store_gives_up_a_step_whose_blocks_stop_coming) \
    X(test_store_passes_over_a_step_when_a_later_one_is_whole) \
    X(test_store_bounds_the_steps_in_the_making) \
    X(test_store_create_says_why_it_cannot) \
    X(test_store_create_refuses_other_settings) \
    X(test_store_resumes_a_run_that_is_longer_or_shorter) \
    X(test_store_sweeps_what_a_killed_store_left) \
    X(test_store_begins_an_era_at_a_checkpoint_it_has_written) \
    X(test_store_goes_on_over_views_of_the_same_era) \
    X(test_store_drops_what_is_of_another_era) \
    X(test_store_refuses_an_era_that_begins_at_what_is_not_there) \
    X(test_store_of_a_run_taken_up_again_is_past_its_first_checkpoint) \
    X(test_store_resumes_the_one_before_a_torn_one) \
    X(test_store_tries_the_last_step_again) \
    X(test_store_waits_on_for_blocks_of_the_last_step) \
    X(test_store_removes_old_checkpoints_at_its_end) \
    X(test_store_gives_what_a_job_begins_with) \
    X(test_store_says_what_of_the_beginning_does_not_fit) \
    X(test_store_resumes_whatever_a_job_would_begin_with) \
    X(test_store_keeps_the_best_and_the_one_that_is_being_evaluated) \
    X(test_store_writes_no_step_past_an_evaluation_before_it_knows_how_that_ended) \
    X(test_store_tries_a_step_that_is_being_evaluated_again)

enum { PARTS = 3, STEP_COUNT = 100, SHARDS = 2, BLOCK_BYTES = 64 };

static const struct run_id run_of_all = {0x1234, 0x5678};
static const struct address coordinator = {PARTY_COORDINATOR, 0};
static const uint64_t incarnations[SHARDS] = {71, 72};

static const struct tensor_spec tensors[] = {
    {.name = "fc.weight", .dims = 2, .shape = {10, 7}, .has_decay = true},
    {.name = "fc.bias", .dims = 1, .shape = {7}},
};

static const char job_text[] =
    "job = { seed = 1; lanes = 8; batch = 32; steps = 100; };\n"
    "data = { format = \"csv\"; train_inputs = \"x.csv\"; };\n"
    "model = { loss = \"softmax_cross_entropy\";"
    " operators = ( { op = \"dense\"; name = \"fc\"; units = 7; } ); };\n"
    "optimizer = { kind = \"adam\"; };\n"
    "checkpoint = { keep = 2; };\n"
    "cluster = { answer_s = 60.0; };\n";

/* One store and what a test needs around it. */
struct bench {
    char dir[PATH_MAX], out[PATH_MAX];
    struct settings *settings;
    struct layout *layout;
    struct buffer_pool *pool;
    struct store *store;
    struct outbox said;
    size_t held_bytes;
    uint32_t view, era; /* the store's */
    bool has_initial;   /* model.init_from */
    struct early_stop early_stop; /* of the next view */
    uint64_t start_step;
};

/* set: as given to --set, or NULL. */
static struct settings *load_settings(const char *dir, const char *set)
{
    struct settings *settings = NULL;
    struct err_msg why = {""};
    scratch_write(scratch_path(dir, "job.cfg"), job_text, strlen(job_text));
    if (settings_load(scratch_path(dir, "job.cfg"), &set, set != NULL, &settings, &why) != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(settings != NULL);
    return settings;
}

static void set_up(struct bench *b)
{
    *b = (struct bench){0};
    scratch_make(b->dir);
    CU_ASSERT_FATAL(chmod(b->dir, 0755) == 0);
    strcpy(b->out, scratch_path(b->dir, "out"));
    b->settings = load_settings(b->dir, NULL);
    CU_ASSERT_FATAL(layout_create(tensors, ARRAY_LEN(tensors), BLOCK_BYTES, &b->layout, NULL) == 0);
    CU_ASSERT_FATAL(buffer_pool_create(0, &b->pool) == 0);
}

static void tear_down(struct bench *b)
{
    outbox_free(&b->said);
    store_destroy(b->store);
    buffer_pool_destroy(b->pool);
    layout_destroy(b->layout);
    settings_destroy(b->settings);
    scratch_remove(b->dir);
}

static int create(struct bench *b, const char *resume_dir, uint64_t incarnation,
                  struct err_msg *why)
{
    struct store_spec spec = {.out_dir = b->out,
                              .resume_dir = resume_dir,
                              .settings = b->settings,
                              .run = run_of_all,
                              .incarnation = incarnation,
                              .held_bytes = b->held_bytes};
    store_destroy(b->store);
    b->store = NULL;
    return store_create(&spec, &b->store, why);
}

/* One message in; what is said to it replaces what was said before. */
static void step(struct bench *b, uint64_t now_ms, struct address from, const struct message *msg)
{
    outbox_clear(&b->said);
    store_step(b->store, now_ms, from, msg, &b->said);
}

/* The next view of the era. */
static void send_view(struct bench *b)
{
    struct shard_member shards[SHARDS] = {{.incarnation = incarnations[0]},
                                          {.incarnation = incarnations[1]}};
    struct message msg = {.kind = MSG_VIEW, .run = run_of_all, .view = ++b->view, .era = b->era};
    msg.view_body = (struct view){.number = b->view,
                                  .era = b->era,
                                  .start_step = b->start_step,
                                  .is_restored = b->start_step > 0 || b->has_initial,
                                  .step_count = STEP_COUNT,
                                  .early_stop = b->early_stop,
                                  .shard_count = SHARDS,
                                  .shards = shards,
                                  .block_count = b->layout->block_count,
                                  .layout = b->layout};
    step(b, 0, coordinator, &msg);
}

static void begin_era(struct bench *b, uint64_t start_step)
{
    b->era++;
    b->start_step = start_step;
    send_view(b);
}

static void must_create(struct bench *b, const char *resume_dir, uint64_t incarnation)
{
    struct err_msg why = {""};
    int err = create(b, resume_dir, incarnation, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(err == 0);
    b->view = 0;
    b->era = 1;
    b->start_step = store_resume_step(b->store);
}

/* A store with a view. */
static void start(struct bench *b, const char *resume_dir, uint64_t incarnation)
{
    must_create(b, resume_dir, incarnation);
    send_view(b);
    CU_ASSERT(b->said.count == 0);
}

/* A moment later. */
static void tick(struct bench *b, uint64_t now_ms)
{
    step(b, now_ms, (struct address){0}, NULL);
}

static float value_of(uint64_t step_number, size_t part, uint64_t i)
{
    return (float)(step_number * 1000 + part * 100 + i) + 0.5f;
}

static struct message state_of(struct bench *b, uint64_t step_number, uint32_t block)
{
    const struct range *range = &b->layout->blocks[block].range;
    size_t count = (size_t)(range->end - range->begin);
    struct message msg = {.kind = MSG_BLOCK_STATE,
                          .run = run_of_all,
                          .view = b->view,
                          .era = b->era,
                          .key = {.step = step_number, .block = block}};
    msg.payload = buffer_pool_take(b->pool, PARTS * count * sizeof(float));
    CU_ASSERT_FATAL(msg.payload != NULL);
    float *values = msg.payload->data;
    for (size_t part = 0; part < PARTS; part++)
        for (uint64_t i = range->begin; i < range->end; i++)
            *values++ = value_of(step_number, part, i);
    return msg;
}

static struct address shard_of(uint32_t block)
{
    return (struct address){PARTY_SHARD, incarnations[block % SHARDS]};
}

/* A shard hands a block's state in; it must be told that it is kept. */
static void hand_in(struct bench *b, uint64_t now_ms, uint64_t step_number, uint32_t block)
{
    struct message msg = state_of(b, step_number, block);
    step(b, now_ms, shard_of(block), &msg);
    buffer_unref(msg.payload);
    size_t kept_count = 0;
    for (size_t i = 0; i < b->said.count; i++) {
        const struct envelope *e = &b->said.items[i];
        if (e->msg.kind != MSG_BLOCK_KEPT)
            continue;
        CU_ASSERT(address_equal(e->to, shard_of(block)) && e->msg.key.block == block &&
                  e->msg.key.step == step_number && run_equal(e->msg.run, run_of_all));
        kept_count++;
    }
    CU_ASSERT(kept_count == 1);
}

/* The first message of a kind among what was just said; NULL: none. */
static const struct message *said(const struct bench *b, enum message_kind kind)
{
    for (size_t i = 0; i < b->said.count; i++)
        if (b->said.items[i].msg.kind == kind)
            return &b->said.items[i].msg;
    return NULL;
}

/* Hands in all blocks of a step; the last must end it with this code. */
static void hand_in_all(struct bench *b, uint64_t step_number, int code)
{
    for (uint32_t i = 0; i < b->layout->block_count; i++)
        hand_in(b, 0, step_number, i);
    const struct message *done = said(b, MSG_CHECKPOINT_DONE);
    CU_ASSERT_FATAL(done != NULL);
    CU_ASSERT(done->outcome.code == code && done->outcome.step == step_number);
}

static void expect_values(struct bench *b, const char *name, uint64_t step_number)
{
    struct checkpoint_reader *reader;
    float weights[77];
    CU_ASSERT_FATAL(checkpoint_open(scratch_path(b->out, name), &reader, NULL) == 0);
    CU_ASSERT(checkpoint_info(reader)->step == step_number);
    CU_ASSERT_STRING_EQUAL(checkpoint_info(reader)->run_id, "00000000000012340000000000005678");
    CU_ASSERT_STRING_EQUAL(checkpoint_info(reader)->optimizer, "adam");
    CU_ASSERT(checkpoint_check(reader, b->layout, NULL, NULL) == 0);
    CU_ASSERT(checkpoint_read_weights(reader, b->layout, weights, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        CU_ASSERT(weights[i] == value_of(step_number, 0, i));
    checkpoint_close(reader);
}

static size_t count_in(const char *dir)
{
    DIR *folder = opendir(dir);
    CU_ASSERT_FATAL(folder != NULL);
    size_t count = 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static void test_store_makes_a_checkpoint_of_a_step_with_all_its_blocks(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    CU_ASSERT(store_resume_step(b.store) == 0 && store_resume_path(b.store)[0] == 0);
    uint32_t last = (uint32_t)b.layout->block_count - 1;
    for (uint32_t i = last; i > 0; i--) {
        hand_in(&b, 0, 40, i);
        CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) == NULL && store_is_waiting(b.store));
    }
    hand_in(&b, 0, 40, 0);
    const struct message *done = said(&b, MSG_CHECKPOINT_DONE);
    CU_ASSERT_FATAL(done != NULL);
    CU_ASSERT(done->outcome.code == 0 && done->outcome.step == 40 && done->sender == 9);
    CU_ASSERT_STRING_EQUAL(done->outcome.text, scratch_path(b.out, "checkpoint-40"));
    CU_ASSERT(!store_is_waiting(b.store));
    expect_values(&b, "checkpoint-40", 40);
    tear_down(&b);
}

static void test_store_takes_several_steps_at_once_in_any_order(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    uint32_t count = (uint32_t)b.layout->block_count;
    for (uint32_t i = 0; i < count - 1; i++) {
        hand_in(&b, 0, 10, i);
        hand_in(&b, 0, 30, count - 1 - i);
        hand_in(&b, 0, 20, (i * 5 + 2) % count);
    }
    hand_in(&b, 0, 30, 0);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    hand_in(&b, 0, 10, count - 1);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(scratch_has(b.out, "checkpoint-10"));
    hand_in(&b, 0, 20, ((count - 1) * 5 + 2) % count);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.step == 20);
    expect_values(&b, "checkpoint-20", 20);
    expect_values(&b, "checkpoint-30", 30);
    hand_in_all(&b, 40, 0); /* keep = 2 */
    CU_ASSERT(count_in(b.out) == 4);
    tick(&b, 999);
    CU_ASSERT(count_in(b.out) == 4);
    tick(&b, 2000);
    tick(&b, 3000);
    CU_ASSERT(count_in(b.out) == 2 && scratch_has(b.out, "checkpoint-30"));
    tear_down(&b);
}

static void test_store_answers_a_block_that_comes_twice(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in(&b, 0, 40, 1);
    hand_in(&b, 0, 40, 1);
    hand_in_all(&b, 40, 0);
    hand_in(&b, 0, 40, 1);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) == NULL && !store_is_waiting(b.store));
    CU_ASSERT(count_in(b.out) == 1);
    expect_values(&b, "checkpoint-40", 40);
    tear_down(&b);
}

static void fetch(struct bench *b, uint64_t step_number, uint32_t block)
{
    struct message msg = {.kind = MSG_BLOCK_FETCH,
                          .run = run_of_all,
                          .view = b->view,
                          .era = b->era,
                          .key = {.step = step_number, .block = block}};
    step(b, 0, shard_of(block), &msg);
}

/* What was just said is the state of this block at this step. */
static void expect_state(struct bench *b, uint64_t step_number, uint32_t block)
{
    const struct message *state = said(b, MSG_BLOCK_STATE);
    CU_ASSERT_FATAL(state != NULL && state->payload != NULL);
    struct message expected = state_of(b, step_number, block);
    CU_ASSERT(state->key.step == step_number && state->key.block == block);
    CU_ASSERT(state->payload->size_bytes == expected.payload->size_bytes);
    CU_ASSERT(memcmp(state->payload->data, expected.payload->data, expected.payload->size_bytes) ==
              0);
    buffer_unref(expected.payload);
}

static void test_store_gives_blocks_back_to_a_resumed_run(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    start(&b, b.out, 10);
    CU_ASSERT(store_resume_step(b.store) == 40);
    CU_ASSERT_STRING_EQUAL(store_resume_path(b.store), scratch_path(b.out, "checkpoint-40"));
    for (uint32_t i = 0; i < b.layout->block_count; i++) {
        fetch(&b, 40, i);
        expect_state(&b, 40, i);
        fetch(&b, 40, i);
        expect_state(&b, 40, i);
    }
    fetch(&b, 39, 0);
    CU_ASSERT(said(&b, MSG_REFUSED) != NULL);
    tear_down(&b);
}

static void test_store_resumes_with_another_block_size(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    layout_destroy(b.layout);
    CU_ASSERT_FATAL(layout_create(tensors, ARRAY_LEN(tensors), 24, &b.layout, NULL) == 0);
    start(&b, b.out, 10);
    fetch(&b, 40, 7);
    expect_state(&b, 40, 7);
    tear_down(&b);
}

static void test_store_serves_after_the_view_what_came_before_it(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    must_create(&b, b.out, 10);
    fetch(&b, 40, 2);
    struct message state = state_of(&b, 50, 3);
    CU_ASSERT(b.said.count == 0 && store_is_waiting(b.store));
    step(&b, 0, shard_of(3), &state);
    buffer_unref(state.payload);
    CU_ASSERT(b.said.count == 0);
    send_view(&b);
    expect_state(&b, 40, 2);
    CU_ASSERT(said(&b, MSG_BLOCK_KEPT) != NULL && b.said.count == 2);
    for (uint32_t i = 0; i < b.layout->block_count; i++)
        if (i != 3)
            hand_in(&b, 0, 50, i);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    expect_values(&b, "checkpoint-50", 50);
    tear_down(&b);
}

static void test_store_serves_later_what_it_has_no_room_for_now(void)
{
    struct bench b;
    set_up(&b);
    b.held_bytes = 4096;
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    start(&b, b.out, 10);
    /* Answers that nobody has sent yet hold their room. */
    struct outbox unsent = {0};
    size_t asked = 0;
    for (; !store_is_waiting(b.store) && asked < 1000; asked++) {
        struct message msg = {
            .kind = MSG_BLOCK_FETCH, .run = run_of_all, .era = 1, .key = {.step = 40}};
        store_step(b.store, 0, shard_of(0), &msg, &unsent);
    }
    CU_ASSERT(asked < 1000 && asked > 2 && unsent.count == asked - 1);
    fetch(&b, 40, 0);
    CU_ASSERT(b.said.count == 0);
    outbox_free(&unsent);
    step(&b, 0, (struct address){0}, NULL);
    CU_ASSERT(b.said.count == 2 && !store_is_waiting(b.store));
    expect_state(&b, 40, 0);
    CU_ASSERT(store_refused_count(b.store) == 0);
    tear_down(&b);
}

/* The message is refused with this code, and changes nothing. */
static void expect_refused(struct bench *b, struct address from, struct message msg, int code)
{
    uint64_t before = store_refused_count(b->store);
    step(b, 0, from, &msg);
    buffer_unref(msg.payload);
    const struct message *no = said(b, MSG_REFUSED);
    CU_ASSERT(store_refused_count(b->store) == before + 1);
    CU_ASSERT(no != NULL && no->outcome.code == code && b->said.count == 1);
    CU_ASSERT(count_in(b->out) == 0 && !store_is_waiting(b->store));
}

static void test_store_refuses_who_and_what_does_not_belong(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    struct message msg = state_of(&b, 40, 0);
    msg.run.low++;
    expect_refused(&b, shard_of(0), msg, ERR_REFUSED);
    msg = state_of(&b, 40, 0);
    step(&b, 0, (struct address){PARTY_SHARD, 99}, &msg); /* it may be in the next view */
    CU_ASSERT(b.said.count == 0 && store_refused_count(b.store) == 2);
    buffer_unref(msg.payload);
    msg = state_of(&b, 40, 0);
    msg.key.block = (uint32_t)b.layout->block_count;
    expect_refused(&b, shard_of(0), msg, ERR_PROTO);
    msg = state_of(&b, 40, 0);
    msg.payload->size_bytes -= sizeof(float);
    expect_refused(&b, shard_of(0), msg, ERR_PROTO);
    expect_refused(&b, shard_of(0), state_of(&b, STEP_COUNT + 1, 0), ERR_PROTO);
    msg = (struct message){
        .kind = MSG_BLOCK_FETCH, .run = run_of_all, .era = 1, .key = {.step = 40}};
    expect_refused(&b, shard_of(0), msg, ERR_NOT_FOUND);
    msg.kind = MSG_PULL;
    step(&b, 0, shard_of(0), &msg);
    step(&b, 0, (struct address){PARTY_WORKER, 71}, &msg);
    CU_ASSERT(b.said.count == 0 && store_refused_count(b.store) == 8);
    tear_down(&b);
}

static void test_store_tells_the_coordinator_that_the_model_is_another(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    struct tensor_spec other[2] = {tensors[0], tensors[1]};
    other[0].shape[0] = 12;
    layout_destroy(b.layout);
    CU_ASSERT_FATAL(layout_create(other, 2, BLOCK_BYTES, &b.layout, NULL) == 0);
    must_create(&b, b.out, 10);
    send_view(&b);
    const struct message *no = said(&b, MSG_REFUSED);
    CU_ASSERT_FATAL(no != NULL && b.said.items[0].to.party == PARTY_COORDINATOR);
    CU_ASSERT(no->outcome.code == ERR_INPUT);
    CU_ASSERT(strstr(no->outcome.text, "[10, 7]") != NULL);
    CU_ASSERT(strstr(no->outcome.text, "[12, 7]") != NULL);
    tear_down(&b);
}

static void test_store_tells_the_coordinator_when_the_disk_is_full(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 10, 0);
    scratch_limit_files(200);
    hand_in(&b, 0, 20, 0);
    scratch_limit_files(0);
    const struct message *done = said(&b, MSG_CHECKPOINT_DONE);
    CU_ASSERT_FATAL(done != NULL);
    CU_ASSERT(done->outcome.code == ERR_IO && done->outcome.step == 20);
    CU_ASSERT(strstr(done->outcome.text, "File too large") != NULL);
    hand_in(&b, 0, 20, 1);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) == NULL);
    CU_ASSERT(count_in(b.out) == 1);
    expect_values(&b, "checkpoint-10", 10);
    /* Full only when the manifest is to be written. */
    uint32_t last = (uint32_t)b.layout->block_count - 1;
    for (uint32_t i = 0; i < last; i++)
        hand_in(&b, 0, 30, i);
    scratch_limit_files(600);
    hand_in(&b, 0, 30, last);
    scratch_limit_files(0);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == ERR_IO && count_in(b.out) == 1);
    expect_values(&b, "checkpoint-10", 10);
    hand_in_all(&b, 40, 0);
    expect_values(&b, "checkpoint-40", 40);
    tear_down(&b);
}

static void test_store_gives_up_a_step_whose_blocks_stop_coming(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in(&b, 1000, 40, 0);
    hand_in(&b, 50000, 40, 2);
    step(&b, 109999, (struct address){0}, NULL);
    CU_ASSERT(b.said.count == 0 && store_is_waiting(b.store));
    step(&b, 110000, (struct address){0}, NULL);
    const struct message *done = said(&b, MSG_CHECKPOINT_DONE);
    CU_ASSERT_FATAL(done != NULL);
    CU_ASSERT(done->outcome.code == ERR_TIMEOUT && done->outcome.step == 40);
    CU_ASSERT(strstr(done->outcome.text, "the first is block 1") != NULL);
    CU_ASSERT(!store_is_waiting(b.store) && count_in(b.out) == 0);
    tear_down(&b);
}

static void test_store_passes_over_a_step_when_a_later_one_is_whole(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in(&b, 0, 38, 0);
    hand_in_all(&b, 40, 0);
    step(&b, 200000, (struct address){0}, NULL);
    CU_ASSERT(b.said.count == 0 && !store_is_waiting(b.store));
    CU_ASSERT(count_in(b.out) == 1);
    tear_down(&b);
}

static void test_store_bounds_the_steps_in_the_making(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    for (uint64_t i = 1; i <= STORE_STEPS_MAX; i++)
        hand_in(&b, 0, i, 0);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) == NULL && count_in(b.out) == STORE_STEPS_MAX);
    hand_in(&b, 0, 50, 0);
    CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == ERR_FULL);
    hand_in_all(&b, 3, 0);
    hand_in_all(&b, 51, 0);
    tear_down(&b);
}

static void test_store_create_says_why_it_cannot(void)
{
    struct bench b;
    struct err_msg why = {""};
    set_up(&b);
    CU_ASSERT(create(&b, scratch_path(b.dir, "nowhere"), 9, &why) == ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "nowhere") != NULL);
    scratch_drop_rights(b.out, false);
    CU_ASSERT(create(&b, NULL, 9, &why) == ERR_IO);
    scratch_drop_rights(b.out, true);
    CU_ASSERT(strstr(why.text, "Permission denied") != NULL && strstr(why.text, b.out) != NULL);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    scratch_flip(scratch_path(b.out, "checkpoint-40/model-00001-of-00001.safetensors"), -1);
    CU_ASSERT(create(&b, b.out, 9, &why) == ERR_INPUT);
    CU_ASSERT(strstr(why.text, "model-00001-of-00001.safetensors: was changed") != NULL);
    strcpy(b.out, scratch_path(b.dir, "job.cfg"));
    CU_ASSERT(create(&b, NULL, 9, &why) == ERR_IO);
    CU_ASSERT(strstr(why.text, "is not a folder") != NULL);
    strcpy(b.out, scratch_path(b.dir, "not/there"));
    CU_ASSERT(create(&b, NULL, 9, &why) == ERR_IO);
    tear_down(&b);
}

static int resume_with(struct bench *b, const char *set, struct err_msg *why)
{
    store_destroy(b->store);
    b->store = NULL;
    settings_destroy(b->settings);
    b->settings = load_settings(b->dir, set);
    return create(b, b->out, 10, why);
}

static void test_store_create_refuses_other_settings(void)
{
    static const char *const others[] = {"job.seed=2",           "job.batch=64",
                                         "job.lanes=4",          "data.scale=2.0",
                                         "optimizer.rate=0.5",   "model.loss=mean_squared_error",
                                         "optimizer.kind=adamw", "data.train_inputs=y.csv"};
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct err_msg why = {""};
        char words[64];
        CU_ASSERT(resume_with(&b, others[i], &why) == ERR_INPUT);
        snprintf(words, sizeof(words), "another %.*s than", (int)strcspn(others[i], "="),
                 others[i]);
        CU_ASSERT(strstr(why.text, words) != NULL);
    }
    tear_down(&b);
}

static void test_store_resumes_a_run_that_is_longer_or_shorter(void)
{
    static const char *const lengths[] = {"job.steps=200", "job.steps=50", "job.eval_every=7",
                                          "checkpoint.every=9"};
    struct bench b;
    struct err_msg why = {""};
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        CU_ASSERT_FATAL(resume_with(&b, lengths[i], &why) == 0);
        b.view = 0;
        b.start_step = 40;
        send_view(&b);
        fetch(&b, 40, 1);
        expect_state(&b, 40, 1);
    }
    tear_down(&b);
}

static void test_store_sweeps_what_a_killed_store_left(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in(&b, 0, 40, 0);
    CU_ASSERT(count_in(b.out) == 1);
    struct store *killed = b.store; /* it never gets to clean up; freed below */
    b.store = NULL;
    start(&b, NULL, 10);
    CU_ASSERT(count_in(b.out) == 0);
    hand_in_all(&b, 40, 0);
    store_destroy(killed);
    CU_ASSERT(count_in(b.out) == 1);
    expect_values(&b, "checkpoint-40", 40);
    tear_down(&b);
}

/* A state of that era; true when it is kept. */
static bool is_kept_in(struct bench *b, uint32_t era, uint64_t step_number, uint32_t block)
{
    struct message msg = state_of(b, step_number, block);
    msg.era = era;
    step(b, 0, shard_of(block), &msg);
    buffer_unref(msg.payload);
    return said(b, MSG_BLOCK_KEPT) != NULL;
}

static void test_store_begins_an_era_at_a_checkpoint_it_has_written(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 20, 0);
    hand_in_all(&b, 40, 0);
    hand_in(&b, 0, 50, 0);
    begin_era(&b, 40);
    CU_ASSERT(b.said.count == 0 && !store_is_waiting(b.store));
    CU_ASSERT(!scratch_has(b.out, "checkpoint-50.tmp-0000000000000009"));
    for (uint32_t i = 0; i < b.layout->block_count; i++) {
        fetch(&b, 40, i);
        expect_state(&b, 40, i);
        CU_ASSERT(said(&b, MSG_BLOCK_STATE)->era == 2);
    }
    fetch(&b, 20, 0);
    CU_ASSERT(said(&b, MSG_REFUSED) != NULL);
    hand_in_all(&b, 50, 0);
    expect_values(&b, "checkpoint-50", 50);
    begin_era(&b, 20); /* as if the coordinator had not heard of the others */
    hand_in_all(&b, 40, 0);
    hand_in_all(&b, 50, 0);
    begin_era(&b, 0);
    hand_in_all(&b, 20, 0);
    tear_down(&b);
}

static void test_store_goes_on_over_views_of_the_same_era(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in(&b, 0, 40, 0);
    send_view(&b);
    for (uint32_t i = 1; i < b.layout->block_count; i++)
        hand_in(&b, 0, 40, i);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    expect_values(&b, "checkpoint-40", 40);
    tear_down(&b);
}

static void test_store_drops_what_is_of_another_era(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    begin_era(&b, 0);
    CU_ASSERT(!is_kept_in(&b, 1, 40, 0) && !is_kept_in(&b, 3, 40, 0));
    CU_ASSERT(b.said.count == 0 && !store_is_waiting(b.store));
    CU_ASSERT(store_refused_count(b.store) == 2 && count_in(b.out) == 0);
    CU_ASSERT(is_kept_in(&b, 2, 40, 0));
    /* A shard of a view that is on its way here is not sent off. */
    struct message msg = state_of(&b, 40, 1);
    msg.view = b.view + 1;
    step(&b, 0, (struct address){PARTY_SHARD, 99}, &msg);
    CU_ASSERT(b.said.count == 0);
    buffer_unref(msg.payload);
    tear_down(&b);
}

static void test_store_refuses_an_era_that_begins_at_what_is_not_there(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    scratch_flip(scratch_path(b.out, "checkpoint-40/model-00001-of-00001.safetensors"), -1);
    begin_era(&b, 40);
    const struct message *no = said(&b, MSG_REFUSED);
    CU_ASSERT_FATAL(no != NULL && b.said.items[0].to.party == PARTY_COORDINATOR);
    CU_ASSERT(strstr(no->outcome.text, "was changed") != NULL);
    begin_era(&b, 30);
    CU_ASSERT(said(&b, MSG_REFUSED) != NULL);
    CU_ASSERT(is_kept_in(&b, 1, 50, 0)); /* still the era before */
    tear_down(&b);
}

static void test_store_of_a_run_taken_up_again_is_past_its_first_checkpoint(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 20, 0);
    hand_in_all(&b, 40, 0);
    must_create(&b, scratch_path(b.out, "checkpoint-40"), 10);
    b.start_step = 20; /* the era's; some shard may have missed it all */
    send_view(&b);
    fetch(&b, 20, 1);
    expect_state(&b, 20, 1);
    begin_era(&b, 40);
    fetch(&b, 40, 1);
    expect_state(&b, 40, 1);
    must_create(&b, scratch_path(b.out, "checkpoint-40"), 11);
    b.start_step = 10; /* long gone */
    send_view(&b);
    CU_ASSERT(b.said.count == 0);
    hand_in_all(&b, 50, 0);
    tear_down(&b);
}

static void test_store_resumes_the_one_before_a_torn_one(void)
{
    struct bench b;
    struct err_msg why = {""};
    set_up(&b);
    start(&b, NULL, 9);
    hand_in_all(&b, 30, 0);
    hand_in_all(&b, 40, 0);
    must_create(&b, b.out, 10);
    CU_ASSERT_STRING_EQUAL(store_resume_note(b.store), "");
    scratch_flip(scratch_path(b.out, "checkpoint-40/model-00001-of-00001.safetensors"), -1);
    start(&b, b.out, 11);
    CU_ASSERT(store_resume_step(b.store) == 30);
    CU_ASSERT(strstr(store_resume_note(b.store), "was changed") != NULL);
    CU_ASSERT(strstr(store_resume_note(b.store), "; going on from ") != NULL);
    CU_ASSERT(strstr(store_resume_note(b.store), "checkpoint-30, which") != NULL);
    fetch(&b, 30, 0);
    expect_state(&b, 30, 0);
    CU_ASSERT(create(&b, scratch_path(b.out, "checkpoint-40"), 12, &why) == ERR_INPUT);
    CU_ASSERT(unlink(scratch_path(b.out, "checkpoint-40/checkpoint.json")) == 0);
    start(&b, b.out, 13);
    CU_ASSERT(store_resume_step(b.store) == 30);
    CU_ASSERT(strstr(store_resume_note(b.store), "checkpoint-40/checkpoint.json") != NULL);
    tear_down(&b);
}

static void test_store_tries_the_last_step_again(void)
{
    struct bench b;
    uint32_t last = 0;
    set_up(&b);
    start(&b, NULL, 9);
    for (uint32_t i = 1; i < b.layout->block_count; i++)
        hand_in(&b, 0, STEP_COUNT, last = i);
    /* No room for the block, then none for the manifest. */
    static const rlim_t rooms[] = {200, 600};
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        struct message msg = state_of(&b, STEP_COUNT, 0);
        scratch_limit_files(rooms[i]);
        step(&b, 2000 * (i + 1), shard_of(0), &msg);
        CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL && b.said.count == 1);
        CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == ERR_IO);
        CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.step == STEP_COUNT);
        step(&b, 2000 * (i + 1) + 999, shard_of(0), &msg); /* not that soon */
        CU_ASSERT(b.said.count == 0);
        scratch_limit_files(0);
        buffer_unref(msg.payload);
    }
    hand_in(&b, 8000, STEP_COUNT, 0);
    CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == 0);
    expect_values(&b, "checkpoint-100", STEP_COUNT);
    hand_in(&b, 9000, STEP_COUNT, last);
    tear_down(&b);
}

static void test_store_waits_on_for_blocks_of_the_last_step(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    for (uint32_t i = 1; i < b.layout->block_count; i++)
        hand_in(&b, 0, STEP_COUNT, i);
    for (uint64_t i = 1; i <= 2; i++) {
        tick(&b, i * 60000);
        CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL);
        CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == ERR_TIMEOUT);
        tick(&b, i * 60000 + 100);
        CU_ASSERT(b.said.count == 0);
    }
    hand_in(&b, 130000, STEP_COUNT, 0);
    expect_values(&b, "checkpoint-100", STEP_COUNT);
    tear_down(&b);
}

static void test_store_removes_old_checkpoints_at_its_end(void)
{
    struct bench b;
    set_up(&b);
    start(&b, NULL, 9);
    for (uint64_t i = 10; i <= 50; i += 10)
        hand_in_all(&b, i, 0);
    begin_era(&b, 20); /* none is gone yet */
    CU_ASSERT(b.said.count == 0 && count_in(b.out) == 5);
    hand_in_all(&b, 30, 0);
    store_destroy(b.store);
    b.store = NULL;
    CU_ASSERT(scratch_has(b.out, "checkpoint-30") && scratch_has(b.out, "checkpoint-20"));
    CU_ASSERT(!scratch_has(b.out, "checkpoint-10"));
    tear_down(&b);
}

/* A job with adam and an average, whose weights are in a file, but for the bias. */
static void begin_with(struct bench *b, uint64_t rows)
{
    const struct safetensors_entry entry = {.name = "fc.weight", .dims = 2, .shape = {rows, 7}};
    struct safetensors *file = NULL;
    char path[PATH_MAX], set[PATH_MAX + 32];
    float values[77];
    strcpy(path, scratch_path(b->dir, "initial.safetensors"));
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        values[i] = (float)i + 0.5f;
    CU_ASSERT_FATAL(safetensors_create(path, &entry, 1, &file, NULL) == 0);
    CU_ASSERT_FATAL(safetensors_write(file, 0, 0, values, 7 * (size_t)rows, NULL) == 0);
    safetensors_close(file);
    snprintf(set, sizeof(set), "model.init_from=%s", path);
    settings_destroy(b->settings);
    b->settings = load_settings(b->dir, set);
    b->has_initial = true;
}

static void test_store_gives_what_a_job_begins_with(void)
{
    struct bench b;
    set_up(&b);
    begin_with(&b, 10);
    b.settings->optimizer.average = 0.9;
    start(&b, NULL, 9);
    fetch(&b, 0, 1); /* elements 16 to 31 of the weight */
    const struct message *state = said(&b, MSG_BLOCK_STATE);
    CU_ASSERT_FATAL(state != NULL && state->payload->size_bytes == 4 * 16 * sizeof(float));
    const float *parts = state->payload->data;
    CU_ASSERT(parts[0] == 16.5f && parts[15] == 31.5f);
    CU_ASSERT(parts[16] == 0.0f && parts[47] == 0.0f);
    CU_ASSERT(parts[48] == 16.5f && parts[63] == 31.5f); /* the average */
    uint32_t last = (uint32_t)b.layout->block_count - 1;
    fetch(&b, 0, last);
    state = said(&b, MSG_BLOCK_STATE);
    CU_ASSERT_FATAL(state != NULL);
    CU_ASSERT_EQUAL(((const float *)state->payload->data)[0], 0.0f); /* a bias, as usual */
    begin_era(&b, 0); /* nothing was kept yet: from the file again */
    fetch(&b, 0, 1);
    CU_ASSERT_FATAL(said(&b, MSG_BLOCK_STATE) != NULL);
    CU_ASSERT_EQUAL(((const float *)said(&b, MSG_BLOCK_STATE)->payload->data)[0], 16.5f);
    tear_down(&b);
}

static void test_store_says_what_of_the_beginning_does_not_fit(void)
{
    struct bench b;
    set_up(&b);
    begin_with(&b, 9);
    must_create(&b, NULL, 9);
    send_view(&b);
    CU_ASSERT_FATAL(said(&b, MSG_REFUSED) != NULL);
    CU_ASSERT(strstr(said(&b, MSG_REFUSED)->outcome.text, "has shape [9, 7]; expected [10, 7]") !=
              NULL);
    CU_ASSERT_EQUAL(unlink(scratch_path(b.dir, "initial.safetensors")), 0);
    struct err_msg why = {""};
    CU_ASSERT_EQUAL(create(&b, NULL, 10, &why), ERR_NOT_FOUND);
    CU_ASSERT(strstr(why.text, "model.init_from: ") != NULL);
    tear_down(&b);
}

static void test_store_resumes_whatever_a_job_would_begin_with(void)
{
    struct bench b;
    set_up(&b);
    begin_with(&b, 10);
    start(&b, NULL, 9);
    hand_in_all(&b, 40, 0);
    CU_ASSERT_EQUAL(unlink(scratch_path(b.dir, "initial.safetensors")), 0);
    start(&b, b.out, 10);
    fetch(&b, 40, 1);
    expect_state(&b, 40, 1);
    tear_down(&b);
}

/* keep = 2, and the best and the one in question beside. */
static void test_store_keeps_the_best_and_the_one_that_is_being_evaluated(void)
{
    struct bench b;
    set_up(&b);
    b.early_stop = (struct early_stop){.hold_step = 10};
    start(&b, NULL, 9);
    for (uint64_t i = 10; i <= 60; i += 10) {
        hand_in_all(&b, i, 0);
        b.early_stop = (struct early_stop){.hold_step = i + 10, .best_step = 20, .best_loss = 0.5};
        send_view(&b);
    }
    for (uint64_t ms = 2000; ms <= 6000; ms += 1000)
        tick(&b, ms);
    CU_ASSERT(count_in(b.out) == 3 && scratch_has(b.out, "checkpoint-20"));
    CU_ASSERT(scratch_has(b.out, "checkpoint-50") && scratch_has(b.out, "checkpoint-60"));
    start(&b, b.out, 10);
    struct early_stop stop = store_resume_early_stop(b.store);
    CU_ASSERT(store_resume_step(b.store) == 60 && stop.hold_step == 60);
    CU_ASSERT(stop.best_step == 20 && stop.best_loss == 0.5);
    tear_down(&b);
}

/* Else a checkpoint would say of evaluations what was so before. */
static void test_store_writes_no_step_past_an_evaluation_before_it_knows_how_that_ended(void)
{
    struct bench b;
    struct checkpoint_info info;
    set_up(&b);
    b.early_stop = (struct early_stop){.hold_step = 10};
    start(&b, NULL, 9);
    hand_in_all(&b, 10, 0);
    for (uint32_t i = 0; i < b.layout->block_count; i++) {
        struct message msg = state_of(&b, 11, i);
        step(&b, 0, shard_of(i), &msg);
        CU_ASSERT(b.said.count == 0 && store_is_waiting(b.store));
        buffer_unref(msg.payload);
    }
    b.early_stop = (struct early_stop){.hold_step = 20, .best_step = 10, .best_loss = 2};
    send_view(&b);
    CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == 0);
    CU_ASSERT_FATAL(
        checkpoint_read_info(scratch_path(b.out, "checkpoint-11"), &info, NULL) == 0);
    CU_ASSERT(info.early_stop.best_step == 10 && info.early_stop.hold_step == 20);
    tear_down(&b);
}

static void test_store_tries_a_step_that_is_being_evaluated_again(void)
{
    struct bench b;
    set_up(&b);
    b.early_stop = (struct early_stop){.hold_step = 10};
    start(&b, NULL, 9);
    for (uint32_t i = 1; i < b.layout->block_count; i++)
        hand_in(&b, 0, 10, i);
    struct message msg = state_of(&b, 10, 0);
    scratch_limit_files(200);
    step(&b, 2000, shard_of(0), &msg);
    scratch_limit_files(0);
    buffer_unref(msg.payload);
    CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL && b.said.count == 1);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == ERR_IO);
    hand_in(&b, 8000, 10, 0);
    CU_ASSERT_FATAL(said(&b, MSG_CHECKPOINT_DONE) != NULL);
    CU_ASSERT(said(&b, MSG_CHECKPOINT_DONE)->outcome.code == 0);
    expect_values(&b, "checkpoint-10", 10);
    tear_down(&b);
}

UNIT_MAIN("store", TESTS)
