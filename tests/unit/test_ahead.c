#include "worker/ahead.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/clock.h"
#include "tests/unit/unit.h"

enum { DEADLINE_S = 60, THREADS = 3, STEPS = 40 };

/* The digits job's lanes, behind a reader that counts, can be held up, and can fail. */
struct bench {
    struct settings *settings;
    struct batching batching;
    struct dataset *train, *test;
    struct lane_source *source;
    struct ahead *ahead;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    uint64_t read_count, failed_step; /* failed: reads of this step fail; 0: none */
    uint64_t held_step;               /* reads of this step wait; 0: none */
    bool is_held;                     /* one does */
};

static int read_slowly(void *ctx, const struct batch_key *key, struct lane_batch *batch,
                       struct err_msg *why)
{
    struct bench *bench = ctx;
    pthread_mutex_lock(&bench->lock);
    while (bench->held_step != 0 && bench->held_step == key->step) {
        bench->is_held = true;
        pthread_cond_broadcast(&bench->changed);
        pthread_cond_wait(&bench->changed, &bench->lock);
    }
    bool is_bad = bench->failed_step != 0 && bench->failed_step == key->step;
    pthread_mutex_unlock(&bench->lock);
    int err = is_bad ? err_set(why, ERR_IO, "the disk is gone")
                     : lane_source_read(bench->source, key, batch, why);
    pthread_mutex_lock(&bench->lock);
    bench->read_count++;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
    return err;
}

static void open_bench_with(struct bench *bench, uint32_t thread_count, uint64_t worth_us,
                            const char *set)
{
    const char *sets[] = {"exchange.local_steps=5", "augment.mixup=0.4", set};
    struct err_msg why = {0};
    *bench = (struct bench){0};
    int err = settings_load(JOBS_DIR "/digits-mlp.cfg", sets, set == NULL ? 2 : 3,
                            &bench->settings, &why);
    if (err == 0)
        err = dataset_open(bench->settings, DATASET_TRAIN, &bench->train, &why);
    if (err == 0)
        err = dataset_open(bench->settings, DATASET_TEST, &bench->test, &why);
    if (err != 0)
        printf("\n    %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    bench->batching = (struct batching){bench->settings->job.seed,
                                        dataset_info(bench->train)->count,
                                        bench->settings->job.batch, bench->settings->job.lanes};
    struct lane_source_spec source = {bench->settings, &bench->batching, bench->train,
                                      bench->test};
    CU_ASSERT_EQUAL_FATAL(lane_source_create(&source, &bench->source, &why), 0);
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    struct ahead_spec spec = {.source = bench->source, .read = read_slowly, .ctx = bench,
                              .worth_us = worth_us,
                              .lane_count = bench->batching.lane_count,
                              .thread_count = thread_count};
    CU_ASSERT_EQUAL_FATAL(ahead_create(&spec, &bench->ahead), 0);
}

static void open_bench(struct bench *bench, uint32_t thread_count, const char *set)
{
    open_bench_with(bench, thread_count, 0, set);
}

static void close_bench(struct bench *bench)
{
    ahead_destroy(bench->ahead);
    lane_source_destroy(bench->source);
    pthread_cond_destroy(&bench->changed);
    pthread_mutex_destroy(&bench->lock);
    dataset_close(bench->test);
    dataset_close(bench->train);
    settings_destroy(bench->settings);
}

static struct batch_key train_key(uint64_t step, uint32_t lane)
{
    return (struct batch_key){BATCH_TRAIN, step, lane};
}

static void want(struct bench *bench, uint64_t step, uint32_t lane)
{
    ahead_want(bench->ahead, &(struct batch_key){BATCH_TRAIN, step, lane});
}

/* It holds what a read of its own holds. */
static bool is_right(const struct bench *bench, const struct batch_key *key,
                     const struct lane_batch *batch)
{
    struct lane_batch expected;
    struct err_msg why;
    const struct dataset_info *info = dataset_info(bench->train);
    if (lane_batch_make(bench->source, &expected) != 0 ||
        lane_source_read(bench->source, key, &expected, &why) != 0)
        return false;
    size_t count = expected.count, bytes = count * sizeof(float);
    bool is_same = batch->count == count &&
                   memcmp(batch->inputs, expected.inputs, bytes * info->input_count) == 0 &&
                   memcmp(batch->labels, expected.labels, bytes) == 0;
    if (key->part == BATCH_TRAIN)
        is_same = is_same && memcmp(batch->mix_labels, expected.mix_labels, bytes) == 0 &&
                  memcmp(batch->mix_weights, expected.mix_weights, bytes) == 0;
    lane_batch_clear(&expected);
    return is_same;
}

/* How long the batch was waited for. */
static uint64_t take(struct bench *bench, const struct batch_key *key, struct lane_batch **batch)
{
    struct err_msg why;
    uint64_t waited_us = 0;
    CU_ASSERT_EQUAL_FATAL(ahead_take(bench->ahead, key, batch, &waited_us, &why), 0);
    CU_ASSERT(is_right(bench, key, *batch));
    return waited_us;
}

static void take_and_give_back(struct bench *bench, struct batch_key key)
{
    struct lane_batch *batch;
    take(bench, &key, &batch);
    ahead_give_back(bench->ahead, batch);
}

static struct timespec deadline(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += DEADLINE_S;
    return at;
}

/* Waits until so many batches have been read; false: they are not. */
static bool wait_reads(struct bench *bench, uint64_t read_count)
{
    struct timespec until = deadline();
    int err = 0;
    pthread_mutex_lock(&bench->lock);
    while (err == 0 && bench->read_count < read_count)
        err = pthread_cond_timedwait(&bench->changed, &bench->lock, &until);
    bool is_exact = bench->read_count == read_count;
    pthread_mutex_unlock(&bench->lock);
    return is_exact;
}

static void hold(struct bench *bench, uint64_t step)
{
    pthread_mutex_lock(&bench->lock);
    bench->held_step = step;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static bool wait_held(struct bench *bench)
{
    struct timespec until = deadline();
    int err = 0;
    pthread_mutex_lock(&bench->lock);
    while (err == 0 && !bench->is_held)
        err = pthread_cond_timedwait(&bench->changed, &bench->lock, &until);
    bool is_held = bench->is_held;
    pthread_mutex_unlock(&bench->lock);
    return is_held;
}

static void test_ahead_reads_what_waiting_tasks_will_need(void)
{
    struct bench bench;
    struct lane_batch *batch;
    struct batch_key first = train_key(3, 0);
    open_bench(&bench, 1, NULL);
    for (uint32_t lane = 0; lane < 3; lane++)
        want(&bench, 3, lane);
    take(&bench, &first, &batch); /* the thread is busy: the next two are read meanwhile */
    CU_ASSERT(wait_reads(&bench, 3));
    ahead_give_back(bench.ahead, batch);
    take_and_give_back(&bench, train_key(3, 1));
    take_and_give_back(&bench, train_key(3, 2));
    close_bench(&bench);
}

/* Three slots: one is taken, so two lanes' next steps are read, and found when they are wanted. */
static void test_ahead_guesses_that_lanes_stay(void)
{
    struct bench bench;
    open_bench(&bench, 1, NULL);
    want(&bench, 3, 4);
    take_and_give_back(&bench, train_key(3, 4));
    CU_ASSERT(wait_reads(&bench, 2));
    want(&bench, 4, 4);
    take_and_give_back(&bench, train_key(4, 4)); /* read ahead; then step 5 is */
    CU_ASSERT(wait_reads(&bench, 3));
    take_and_give_back(&bench, train_key(9, 4)); /* a wrong guess */
    CU_ASSERT(wait_reads(&bench, 5));
    close_bench(&bench);
}

static void test_ahead_leaves_short_reads_to_those_who_need_them(void)
{
    struct bench bench;
    open_bench_with(&bench, 1, 1000000 * DEADLINE_S, NULL);
    for (uint64_t step = 1; step <= STEPS; step++) {
        want(&bench, step, 0);
        want(&bench, step + 1, 1);
        take_and_give_back(&bench, train_key(step, 0));
    }
    ahead_destroy(bench.ahead); /* the reader is over, and has read nothing */
    bench.ahead = NULL;
    CU_ASSERT_EQUAL(bench.read_count, STEPS);
    close_bench(&bench);
}

static void test_ahead_reads_the_next_step_of_a_round(void)
{
    struct bench bench;
    struct lane_batch *batch;
    open_bench(&bench, 1, "exchange.consistency=local");
    struct batch_key key;
    CU_ASSERT(lane_source_first(bench.source, BATCH_TRAIN, 2, 6, &key) && key.step == 10);
    want(&bench, 10, 6);
    for (uint64_t i = 0; i < 5; i++) {
        take(&bench, &key, &batch);
        CU_ASSERT(wait_reads(&bench, i + 2)); /* the last: the first of the next round */
        ahead_give_back(bench.ahead, batch);
        CU_ASSERT_EQUAL(lane_source_next(bench.source, &key), i < 4);
    }
    close_bench(&bench);
}

static void test_ahead_reads_all_pieces_of_an_evaluation(void)
{
    struct bench bench;
    struct batch_key key;
    uint64_t count = 0;
    open_bench(&bench, 1, "job.batch=16");
    for (uint32_t lane = 0; lane < bench.batching.lane_count; lane++)
        if (lane_source_first(bench.source, BATCH_EVAL, 77, lane, &key))
            do {
                struct lane_batch *batch;
                take(&bench, &key, &batch);
                count += batch->count;
                ahead_give_back(bench.ahead, batch);
            } while (lane_source_next(bench.source, &key));
    CU_ASSERT_EQUAL(count, dataset_info(bench.test)->count);
    close_bench(&bench);
}

/* The reader is held up with step 4. */
static void hold_reader(struct bench *bench, struct lane_batch **batch)
{
    struct batch_key first = train_key(3, 0);
    hold(bench, 4);
    want(bench, 3, 0);
    want(bench, 4, 1);
    take(bench, &first, batch);
    CU_ASSERT_FATAL(wait_held(bench));
}

static void test_ahead_lets_threads_read_for_themselves_when_the_reader_is_slow(void)
{
    struct bench bench;
    struct lane_batch *batch;
    open_bench(&bench, 1, NULL);
    hold_reader(&bench, &batch);
    ahead_give_back(bench.ahead, batch);
    for (uint64_t step = 5; step < 5 + STEPS; step++) {
        want(&bench, step, 2);
        take_and_give_back(&bench, train_key(step, 2));
    }
    ahead_forget(bench.ahead);
    hold(&bench, 0);
    close_bench(&bench); /* in the middle of a read, or after it */
}

/* CUnit knows of one thread only: it asserts what others have found. */
struct taker {
    struct bench *bench;
    pthread_t thread;
    uint64_t waited_us;
    size_t wrong_count;
};

static void take_beside_others(struct taker *taker, struct batch_key key)
{
    struct ahead *ahead = taker->bench->ahead;
    struct lane_batch *batch;
    struct err_msg why;
    if (ahead_take(ahead, &key, &batch, &taker->waited_us, &why) != 0) {
        taker->wrong_count++;
        return;
    }
    taker->wrong_count += !is_right(taker->bench, &key, batch);
    ahead_give_back(ahead, batch);
}

static void *take_held(void *arg)
{
    take_beside_others(arg, train_key(4, 1));
    return NULL;
}

static void test_ahead_tells_how_long_a_batch_was_waited_for(void)
{
    struct bench bench;
    struct lane_batch *batch;
    open_bench(&bench, 2, NULL);
    want(&bench, 9, 7); /* left to the thread that has nothing to do */
    hold_reader(&bench, &batch);
    struct taker taker = {.bench = &bench};
    uint64_t begin_us = clock_now_us();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&taker.thread, NULL, take_held, &taker), 0);
    while (clock_now_us() - begin_us < 60000)
        continue;
    hold(&bench, 0);
    pthread_join(taker.thread, NULL);
    CU_ASSERT(taker.waited_us >= 20000 && taker.waited_us <= clock_now_us() - begin_us);
    CU_ASSERT_EQUAL(taker.wrong_count, 0);
    ahead_give_back(bench.ahead, batch);
    close_bench(&bench);
}

/* What the reader could not read is read again by whoever needs it, who says why. */
static void test_ahead_gives_the_error_of_a_read(void)
{
    struct bench bench;
    struct lane_batch *batch, *none;
    struct batch_key first = train_key(3, 0), bad = train_key(9, 1);
    struct err_msg why = {0};
    uint64_t waited_us = 0;
    open_bench(&bench, 1, NULL);
    bench.failed_step = 9;
    want(&bench, 3, 0);
    want(&bench, 9, 1);
    take(&bench, &first, &batch);
    CU_ASSERT(wait_reads(&bench, 3)); /* the guess that lane 0 stays as well */
    ahead_give_back(bench.ahead, batch);
    CU_ASSERT_EQUAL(ahead_take(bench.ahead, &bad, &none, &waited_us, &why), ERR_IO);
    CU_ASSERT_STRING_EQUAL(why.text, "the disk is gone");
    take_and_give_back(&bench, train_key(5, 1)); /* it goes on */
    close_bench(&bench);
}

static void *take_many(void *arg)
{
    struct taker *taker = arg;
    uint32_t lanes = taker->bench->batching.lane_count;
    for (uint64_t step = 1; step <= STEPS; step++)
        for (uint32_t lane = 0; lane < lanes; lane++) {
            take_beside_others(taker, train_key(step, lane)); /* the same ones */
            if (lane % 3 == 0)
                want(taker->bench, step + 1, lane);
            if (step % 7 == 0 && lane == 5)
                ahead_forget(taker->bench->ahead);
        }
    return NULL;
}

static void test_ahead_gives_the_same_bits_whoever_reads(void)
{
    struct bench bench;
    struct taker takers[THREADS];
    open_bench(&bench, THREADS, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.bench = &bench};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&takers[i].thread, NULL, take_many, &takers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(takers[i].thread, NULL);
        CU_ASSERT_EQUAL(takers[i].wrong_count, 0);
    }
    close_bench(&bench);
}

#define TESTS(X)                                                             \
    X(test_ahead_reads_what_waiting_tasks_will_need)                         \
    X(test_ahead_guesses_that_lanes_stay)                                    \
    X(test_ahead_leaves_short_reads_to_those_who_need_them)                  \
    X(test_ahead_reads_the_next_step_of_a_round)                             \
    X(test_ahead_reads_all_pieces_of_an_evaluation)                          \
    X(test_ahead_lets_threads_read_for_themselves_when_the_reader_is_slow)   \
    X(test_ahead_tells_how_long_a_batch_was_waited_for)                      \
    X(test_ahead_gives_the_error_of_a_read)                                  \
    X(test_ahead_gives_the_same_bits_whoever_reads)

UNIT_MAIN("ahead", TESTS)
