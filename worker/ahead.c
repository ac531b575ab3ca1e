#include "worker/ahead.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include "common/clock.h"

enum { WISHES_PER_LANE = 4, MEAN_READS = 16 };

enum slot_state {
    SLOT_FREE,
    SLOT_READING, /* by the reader */
    SLOT_READY,
    SLOT_TAKEN /* by a thread, which may still be reading it */
};

struct slot {
    struct lane_batch batch;
    enum slot_state state;
    struct batch_key key;
    bool is_guess;    /* no task is known that needs it */
    uint64_t read_us; /* how long the thread that has it has read it; 0: it was there */
};

/* Batches that will be taken and are not begun, the first one first. */
struct wishes {
    struct batch_key *items; /* ring */
    size_t first, count, capacity;
};

struct ahead {
    struct ahead_spec spec;
    pthread_t reader;
    bool is_running;
    pthread_mutex_t lock;
    pthread_cond_t has_work; /* for the reader */
    pthread_cond_t is_read;  /* for threads that wait for a slot in SLOT_READING */
    bool is_ending;          /* under lock, as all that follows */
    bool is_asleep;          /* the reader */
    double mean_us;          /* of a read, of the newest ones above all; 0: none yet */
    size_t slot_count, taken_count;
    struct slot *slots;
    struct wishes wishes;
    uint64_t *guesses; /* [lane_count]: step after the lane's last one; 0: none */
};

static bool is_same(const struct batch_key *a, const struct batch_key *b)
{
    return a->part == b->part && a->step == b->step && a->lane == b->lane;
}

static struct batch_key *wish_at(const struct wishes *wishes, size_t i)
{
    return &wishes->items[(wishes->first + i) % wishes->capacity];
}

/* One that there is no room for is not read ahead. */
static void add_wish(struct wishes *wishes, const struct batch_key *key, bool is_first)
{
    if (wishes->count == wishes->capacity)
        return;
    if (is_first)
        wishes->first = (wishes->first + wishes->capacity - 1) % wishes->capacity;
    wishes->count++;
    *wish_at(wishes, is_first ? 0 : wishes->count - 1) = *key;
}

static void remove_wish(struct wishes *wishes, size_t i)
{
    for (; i > 0; i--) /* those before it move up: it is among the first */
        *wish_at(wishes, i) = *wish_at(wishes, i - 1);
    wishes->first = (wishes->first + 1) % wishes->capacity;
    wishes->count--;
}

static void remove_wish_of(struct wishes *wishes, const struct batch_key *key)
{
    for (size_t i = 0; i < wishes->count; i++)
        if (is_same(wish_at(wishes, i), key)) {
            remove_wish(wishes, i);
            return;
        }
}

/* What was read ahead, or is being read. */
static struct slot *find_slot(const struct ahead *ahead, const struct batch_key *key)
{
    for (size_t i = 0; i < ahead->slot_count; i++) {
        struct slot *slot = &ahead->slots[i];
        bool is_ahead = slot->state == SLOT_READING || slot->state == SLOT_READY;
        if (is_ahead && is_same(&slot->key, key))
            return slot;
    }
    return NULL;
}

/* How much is lost when a slot is read over; -1: it must not be. */
static int worth(const struct slot *slot)
{
    if (slot->state == SLOT_FREE)
        return 0;
    if (slot->state != SLOT_READY)
        return -1;
    return slot->is_guess ? 1 : 2;
}

/* The slot whose content is worth least, if not above worth_max; NULL: none. */
static struct slot *cheapest_slot(const struct ahead *ahead, int worth_max)
{
    struct slot *best = NULL;
    for (size_t i = 0; i < ahead->slot_count; i++) {
        struct slot *slot = &ahead->slots[i];
        int found = worth(slot);
        if (found >= 0 && found <= worth_max && (best == NULL || found < worth(best)))
            best = slot;
    }
    return best;
}

/* A slot for a guess: free, or with one for a step that is over, likely. */
static struct slot *slot_for_guess(const struct ahead *ahead, uint64_t step)
{
    struct slot *slot = cheapest_slot(ahead, 0);
    for (size_t i = 0; i < ahead->slot_count && slot == NULL; i++) {
        struct slot *old = &ahead->slots[i];
        if (worth(old) == 1 && (old->key.part == BATCH_EVAL || old->key.step < step))
            slot = old;
    }
    return slot;
}

/* Wishes that are left to threads which have nothing to do: each comes for one at once, and would
 * only wait for the reader. */
static size_t wishes_left_alone(const struct ahead *ahead)
{
    size_t idle_count = ahead->spec.thread_count - ahead->taken_count, ready_count = 0;
    for (size_t i = 0; i < ahead->slot_count; i++) {
        const struct slot *slot = &ahead->slots[i];
        ready_count += worth(slot) == 2 || (slot->state == SLOT_READING && !slot->is_guess);
    }
    return idle_count > ready_count ? idle_count - ready_count : 0;
}

static struct slot *begin_wish(struct ahead *ahead)
{
    size_t i = wishes_left_alone(ahead);
    struct slot *slot = i < ahead->wishes.count ? cheapest_slot(ahead, 1) : NULL;
    if (slot == NULL)
        return NULL;
    slot->key = *wish_at(&ahead->wishes, i);
    slot->is_guess = false;
    remove_wish(&ahead->wishes, i);
    return slot;
}

static struct slot *begin_guess(struct ahead *ahead)
{
    for (uint32_t lane = 0; lane < ahead->spec.lane_count; lane++) {
        struct batch_key key = {BATCH_TRAIN, ahead->guesses[lane], lane};
        if (key.step == 0)
            continue;
        struct slot *slot = slot_for_guess(ahead, key.step);
        if (slot == NULL)
            return NULL;
        ahead->guesses[lane] = 0;
        slot->key = key;
        slot->is_guess = true;
        return slot;
    }
    return NULL;
}

static bool is_worth_it(const struct ahead *ahead)
{
    return ahead->mean_us >= (double)ahead->spec.worth_us;
}

static void note_read(struct ahead *ahead, uint64_t us)
{
    ahead->mean_us += ((double)us - ahead->mean_us) / (ahead->mean_us > 0 ? MEAN_READS : 1);
}

/* What to read next, with the slot for it; NULL: nothing now. */
static struct slot *begin_read(struct ahead *ahead)
{
    if (!is_worth_it(ahead))
        return NULL;
    struct slot *slot = begin_wish(ahead);
    if (slot == NULL && ahead->wishes.count == 0)
        slot = begin_guess(ahead);
    if (slot != NULL)
        slot->state = SLOT_READING;
    return slot;
}

static void wake_reader(struct ahead *ahead)
{
    if (ahead->is_asleep && is_worth_it(ahead))
        pthread_cond_signal(&ahead->has_work);
}

static void *run_reader(void *arg)
{
    struct ahead *ahead = arg;
    pthread_mutex_lock(&ahead->lock);
    while (!ahead->is_ending) {
        struct slot *slot = begin_read(ahead);
        if (slot == NULL) {
            ahead->is_asleep = true;
            pthread_cond_wait(&ahead->has_work, &ahead->lock);
            ahead->is_asleep = false;
            continue;
        }
        struct batch_key key = slot->key;
        struct err_msg why; /* whoever needs the batch will find the same */
        pthread_mutex_unlock(&ahead->lock);
        uint64_t begin_us = clock_now_us();
        int err = ahead->spec.read(ahead->spec.ctx, &key, &slot->batch, &why);
        uint64_t read_us = clock_now_us() - begin_us;
        pthread_mutex_lock(&ahead->lock);
        note_read(ahead, read_us);
        slot->state = err == 0 ? SLOT_READY : SLOT_FREE;
        pthread_cond_broadcast(&ahead->is_read);
    }
    pthread_mutex_unlock(&ahead->lock);
    return NULL;
}

static int make(struct ahead *ahead)
{
    const struct ahead_spec *spec = &ahead->spec;
    ahead->slot_count = spec->thread_count + AHEAD_SPARE_BATCHES;
    ahead->slots = calloc(ahead->slot_count, sizeof(*ahead->slots));
    ahead->guesses = calloc(spec->lane_count, sizeof(*ahead->guesses));
    ahead->wishes.capacity = (size_t)WISHES_PER_LANE * spec->lane_count;
    ahead->wishes.items = calloc(ahead->wishes.capacity, sizeof(*ahead->wishes.items));
    int err = ahead->slots == NULL || ahead->guesses == NULL || ahead->wishes.items == NULL
                  ? ERR_NOMEM
                  : 0;
    for (size_t i = 0; i < ahead->slot_count && err == 0; i++)
        err = lane_batch_make(spec->source, &ahead->slots[i].batch);
    return err;
}

int ahead_create(const struct ahead_spec *spec, struct ahead **ahead_out)
{
    *ahead_out = NULL;
    struct ahead *ahead = calloc(1, sizeof(*ahead));
    if (ahead == NULL)
        return ERR_NOMEM;
    ahead->spec = *spec;
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->has_work, NULL);
    pthread_cond_init(&ahead->is_read, NULL);
    int err = make(ahead);
    if (err == 0 && pthread_create(&ahead->reader, NULL, run_reader, ahead) != 0)
        err = ERR_NOMEM;
    if (err != 0) {
        ahead_destroy(ahead);
        return err;
    }
    ahead->is_running = true;
    *ahead_out = ahead;
    return 0;
}

void ahead_destroy(struct ahead *ahead)
{
    if (ahead == NULL)
        return;
    pthread_mutex_lock(&ahead->lock);
    ahead->is_ending = true;
    pthread_cond_signal(&ahead->has_work);
    pthread_mutex_unlock(&ahead->lock);
    if (ahead->is_running)
        pthread_join(ahead->reader, NULL);
    for (size_t i = 0; i < ahead->slot_count && ahead->slots != NULL; i++)
        lane_batch_clear(&ahead->slots[i].batch);
    free(ahead->slots);
    free(ahead->guesses);
    free(ahead->wishes.items);
    pthread_cond_destroy(&ahead->is_read);
    pthread_cond_destroy(&ahead->has_work);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead);
}

static void want(struct ahead *ahead, const struct batch_key *key, bool is_first)
{
    struct slot *slot = find_slot(ahead, key);
    if (slot != NULL)
        slot->is_guess = false;
    else
        add_wish(&ahead->wishes, key, is_first);
}

void ahead_want(struct ahead *ahead, const struct batch_key *first)
{
    pthread_mutex_lock(&ahead->lock);
    if (first->part == BATCH_TRAIN)
        ahead->guesses[first->lane] = 0;
    want(ahead, first, false);
    wake_reader(ahead);
    pthread_mutex_unlock(&ahead->lock);
}

void ahead_forget(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    ahead->wishes.count = 0;
    for (uint32_t lane = 0; lane < ahead->spec.lane_count; lane++)
        ahead->guesses[lane] = 0;
    for (size_t i = 0; i < ahead->slot_count; i++)
        ahead->slots[i].is_guess = true;
    pthread_mutex_unlock(&ahead->lock);
}

/* What comes after a batch: the next one of its task, or of its lane. */
static void note_next(struct ahead *ahead, const struct batch_key *taken)
{
    struct batch_key next = *taken;
    bool is_of_task = lane_source_next(ahead->spec.source, &next);
    if (is_of_task)
        want(ahead, &next, true);
    else if (taken->part == BATCH_TRAIN && lane_source_has_step(ahead->spec.source, next.step))
        ahead->guesses[taken->lane] = next.step;
}

/* The slot with the batch, or one to read it into; waits for a read that is under way. */
static struct slot *take_slot(struct ahead *ahead, const struct batch_key *key, bool *is_there_out)
{
    struct slot *slot = find_slot(ahead, key);
    while (slot != NULL && slot->state == SLOT_READING) {
        pthread_cond_wait(&ahead->is_read, &ahead->lock);
        slot = find_slot(ahead, key);
    }
    *is_there_out = slot != NULL;
    if (slot == NULL)
        slot = cheapest_slot(ahead, 2);
    assert(slot != NULL); /* each other thread has one, the reader one */
    return slot;
}

int ahead_take(struct ahead *ahead, const struct batch_key *key, struct lane_batch **batch_out,
               uint64_t *waited_us, struct err_msg *why)
{
    uint64_t begin_us = clock_now_us();
    bool is_there;
    int err = 0;
    pthread_mutex_lock(&ahead->lock);
    struct slot *slot = take_slot(ahead, key, &is_there);
    slot->state = SLOT_TAKEN;
    ahead->taken_count++;
    remove_wish_of(&ahead->wishes, key);
    note_next(ahead, key);
    wake_reader(ahead);
    pthread_mutex_unlock(&ahead->lock);
    uint64_t read_begin_us = clock_now_us();
    if (!is_there)
        err = ahead->spec.read(ahead->spec.ctx, key, &slot->batch, why);
    uint64_t end_us = clock_now_us();
    slot->read_us = is_there ? 0 : end_us - read_begin_us;
    *waited_us += end_us - begin_us;
    *batch_out = &slot->batch;
    if (err != 0)
        ahead_give_back(ahead, &slot->batch);
    return err;
}

void ahead_give_back(struct ahead *ahead, struct lane_batch *batch)
{
    struct slot *slot = (struct slot *)batch; /* its first member */
    pthread_mutex_lock(&ahead->lock);
    if (slot->read_us > 0)
        note_read(ahead, slot->read_us);
    slot->state = SLOT_FREE;
    ahead->taken_count--;
    wake_reader(ahead);
    pthread_mutex_unlock(&ahead->lock);
}
