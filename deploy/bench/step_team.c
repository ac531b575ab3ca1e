#include "deploy/bench/step_team.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/optimizer.h"
#include "common/schedule.h"
#include "common/vector_math.h"
#include "deploy/bench/peak.h"
#include "worker/clip.h"

/* Elements that are summed up and updated at a time: few enough to stay in cache meanwhile. */
enum { PIECE = 8192, ALIGNMENT = 64 };

enum work { WORK_WEIGHTS, WORK_STEP, WORK_PEAK, WORK_END };

struct member {
    struct step_team *team;
    uint32_t idx;
    pthread_t thread;
    bool is_running;
    struct graph_run *run;
    struct graph_profile profile;
    double loss_sum; /* of its lanes in this step */
    double peak_gflops;
};

/* Where all members wait for each other. */
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t is_over;
    uint32_t expected, arrived;
    uint64_t number;
};

struct step_team {
    struct step_spec spec;
    uint32_t lane_count;
    uint64_t step;
    enum work work;
    struct meeting meeting;
    struct member *members; /* [threads]; the first is the caller's */
    void *vectors;          /* what the next three lie in */
    float *weights;         /* [weight_count], as are the others */
    float *state[OPTIMIZER_STATES_MAX]; /* zeros are put there in the first step */
    float **grads;          /* [lane_count] */
    struct step_profile profile;
    size_t bytes;
};

uint32_t step_lanes(uint32_t threads)
{
    uint32_t lanes = 1;
    while (lanes < threads)
        lanes *= 2;
    return lanes;
}

/* Returns when all are here. */
static void meet(struct step_team *team)
{
    struct meeting *meeting = &team->meeting;
    pthread_mutex_lock(&meeting->lock);
    uint64_t number = meeting->number;
    if (++meeting->arrived == meeting->expected) {
        meeting->arrived = 0;
        meeting->number++;
        pthread_cond_broadcast(&meeting->is_over);
    }
    while (meeting->number == number)
        pthread_cond_wait(&meeting->is_over, &meeting->lock);
    pthread_mutex_unlock(&meeting->lock);
}

static void train_lane(struct member *self, uint32_t lane)
{
    struct step_team *team = self->team;
    const struct step_samples *samples = team->spec.samples;
    size_t begin = (size_t)team->spec.batch * lane / team->lane_count;
    size_t end = (size_t)team->spec.batch * (lane + 1) / team->lane_count;
    size_t first = (size_t)(team->step % STEP_BATCHES) * team->spec.batch + begin;
    struct loss_result loss;
    struct graph_batch batch = {
        .inputs = samples->inputs + first * samples->input_count,
        .labels = samples->labels + first * samples->input.label_count,
        .count = end - begin,
        .draw = {.seed = team->spec.settings->job.seed, .step = team->step, .lane = lane},
        .profile = &self->profile};
    (void)graph_train(self->run, &batch, team->weights, team->grads[lane], NULL, NULL, &loss);
    clip_gradient(team->spec.settings, team->spec.layout, loss.count, team->grads[lane]);
    self->loss_sum += loss.loss_sum;
}

/* All additions of the tree over lanes but the last, which the optimizer makes. */
static void sum_lanes(struct step_team *team, size_t begin, size_t count)
{
    for (uint32_t half = 1; 2 * half < team->lane_count; half *= 2)
        for (uint32_t lane = 0; lane < team->lane_count; lane += 2 * half)
            vector_add(team->grads[lane] + begin, team->grads[lane + half] + begin, count);
}

static void update_piece(struct step_team *team, size_t tensor_idx, size_t begin, size_t end)
{
    const struct settings *settings = team->spec.settings;
    const struct tensor_spec *tensor = &team->spec.layout->tensors[tensor_idx];
    float scale = tensor_rate_scale(tensor);
    uint32_t lanes = team->lane_count;
    struct update update = {
        .weights = team->weights + begin,
        .grad = team->grads[0] + begin,
        .grad2 = lanes > 1 ? team->grads[lanes / 2] + begin : NULL,
        .grad_scale = 1.0f / (float)team->spec.batch,
        .weights_out = team->weights + begin,
        .count = end - begin,
        .has_decay = tensor->has_decay,
        .step = team->step,
        .rate = (float)schedule_rate(settings, team->step, UINT64_MAX) * scale,
    };
    for (size_t k = 0; k < optimizer_state_count(settings->optimizer.kind); k++) {
        update.state[k] = team->state[k] + begin;
        /* A page that is read before it is written to is made twice, and all processors told. */
        if (team->step == 0)
            memset(update.state[k], 0, (end - begin) * sizeof(float));
    }
    sum_lanes(team, begin, end - begin);
    if (tensor->update == UPDATE_AVERAGE)
        optimizer_average(&update, (float)(1.0 - (double)scale),
                          (float)((double)scale / (double)team->spec.batch));
    else
        optimizer_apply(settings, &update);
}

/* The member's part of the flat vector, piece by piece. */
static void update_part(struct member *self)
{
    struct step_team *team = self->team;
    const struct layout *layout = team->spec.layout;
    size_t count = (size_t)layout->weight_count, threads = team->spec.threads;
    size_t begin = count / PIECE * self->idx / threads * PIECE;
    size_t end = self->idx + 1 == threads ? count
                                          : count / PIECE * (self->idx + 1) / threads * PIECE;
    for (size_t t = 0; t < layout->tensor_count; t++) {
        size_t at = (size_t)layout->tensor_begin[t], stop = (size_t)layout->tensor_begin[t + 1];
        if (layout->tensors[t].update == UPDATE_FROZEN)
            continue;
        at = at < begin ? begin : at;
        stop = stop > end ? end : stop;
        for (; at < stop; at += PIECE)
            update_piece(team, t, at, stop - at < PIECE ? stop : at + PIECE);
    }
}

static void compute_part(struct member *self)
{
    self->loss_sum = 0.0;
    for (uint32_t lane = self->idx; lane < self->team->lane_count; lane += self->team->spec.threads)
        train_lane(self, lane);
}

/* The initial weights of the blocks that begin in the member's part. */
static void init_part(struct member *self)
{
    struct step_team *team = self->team;
    const struct layout *layout = team->spec.layout;
    for (size_t i = 0; i < layout->block_count; i++) {
        uint64_t begin = layout->blocks[i].range.begin;
        if (begin * team->spec.threads / layout->weight_count == self->idx)
            layout_init_block(layout, i, team->spec.settings->job.seed, team->weights + begin);
    }
}

static void *run_member(void *arg)
{
    struct member *self = arg;
    struct step_team *team = self->team;
    while (true) {
        meet(team);
        if (team->work == WORK_END)
            return NULL;
        if (team->work == WORK_WEIGHTS) {
            init_part(self);
        } else if (team->work == WORK_PEAK) {
            self->peak_gflops = peak_gflops();
        } else {
            compute_part(self);
            meet(team);
            update_part(self);
        }
        meet(team);
    }
}

void step_team_step(struct step_team *team, struct step_result *result_out)
{
    uint64_t begin_ns = clock_now_ns();
    team->work = WORK_STEP;
    meet(team);
    compute_part(&team->members[0]);
    meet(team);
    uint64_t middle_ns = clock_now_ns();
    update_part(&team->members[0]);
    meet(team);
    *result_out = (struct step_result){
        .compute_s = (double)(middle_ns - begin_ns) * 1e-9,
        .update_s = (double)(clock_now_ns() - middle_ns) * 1e-9,
    };
    for (uint32_t i = 0; i < team->spec.threads; i++)
        result_out->loss += team->members[i].loss_sum / team->spec.batch;
    team->step++;
}

double step_team_peak_gflops(struct step_team *team)
{
    double sum = 0.0;
    team->work = WORK_PEAK;
    meet(team);
    team->members[0].peak_gflops = peak_gflops();
    meet(team);
    for (uint32_t i = 0; i < team->spec.threads; i++)
        sum += team->members[i].peak_gflops;
    return sum;
}

const struct step_profile *step_team_profile(struct step_team *team)
{
    struct step_profile *sum = &team->profile;
    size_t op_count = graph_op_count(team->spec.graph);
    double share = 1.0 / team->spec.threads;
    memset(sum->forward_ns, 0, op_count * sizeof(double));
    memset(sum->backward_ns, 0, op_count * sizeof(double));
    sum->loss_ns = 0.0;
    for (uint32_t i = 0; i < team->spec.threads; i++) {
        const struct graph_profile *profile = &team->members[i].profile;
        sum->loss_ns += (double)profile->loss_ns * share;
        for (size_t k = 0; k < op_count; k++) {
            sum->forward_ns[k] += (double)profile->forward_ns[k] * share;
            sum->backward_ns[k] += (double)profile->backward_ns[k] * share;
        }
    }
    return sum;
}

void step_team_forget(struct step_team *team)
{
    size_t bytes = graph_op_count(team->spec.graph) * sizeof(uint64_t);
    for (uint32_t i = 0; i < team->spec.threads; i++) {
        struct graph_profile *profile = &team->members[i].profile;
        memset(profile->forward_ns, 0, bytes);
        memset(profile->backward_ns, 0, bytes);
        profile->loss_ns = 0;
    }
}

size_t step_team_bytes(const struct step_team *team)
{
    return team->bytes;
}

const float *step_team_weights(const struct step_team *team)
{
    return team->weights;
}

/* Room for all flat vectors, not touched yet. */
static int take_vectors(struct step_team *team)
{
    size_t bytes = (size_t)team->spec.layout->weight_count * sizeof(float);
    size_t state_count = optimizer_state_count(team->spec.settings->optimizer.kind);
    size_t vector_count = 1 + state_count + team->lane_count;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    team->vectors = aligned_alloc(ALIGNMENT, vector_count * bytes);
    team->grads = calloc(team->lane_count, sizeof(*team->grads));
    if (team->vectors == NULL || team->grads == NULL)
        return ERR_NOMEM;
    char *next = team->vectors;
    team->weights = team->vectors;
    for (size_t k = 0; k < state_count; k++)
        team->state[k] = (float *)(void *)(next += bytes);
    for (uint32_t lane = 0; lane < team->lane_count; lane++)
        team->grads[lane] = (float *)(void *)(next += bytes);
    team->bytes += vector_count * bytes;
    return 0;
}

static int equip_member(struct step_team *team, uint32_t idx)
{
    struct member *self = &team->members[idx];
    size_t op_count = graph_op_count(team->spec.graph);
    size_t lane_max = (team->spec.batch + team->lane_count - 1) / team->lane_count;
    self->team = team;
    self->idx = idx;
    self->profile = (struct graph_profile){.now_ns = clock_now_ns,
                                           .forward_ns = calloc(op_count, sizeof(uint64_t)),
                                           .backward_ns = calloc(op_count, sizeof(uint64_t))};
    if (self->profile.forward_ns == NULL || self->profile.backward_ns == NULL)
        return ERR_NOMEM;
    int err = graph_run_create(team->spec.graph, lane_max, &self->run);
    if (err == 0)
        team->bytes += graph_run_bytes(self->run);
    return err;
}

static int equip(struct step_team *team)
{
    const struct step_samples *samples = team->spec.samples;
    size_t op_count = graph_op_count(team->spec.graph);
    team->bytes = samples->count * (samples->input_count + samples->input.label_count) *
                  sizeof(float);
    team->members = calloc(team->spec.threads, sizeof(*team->members));
    team->profile.forward_ns = calloc(op_count, sizeof(double));
    team->profile.backward_ns = calloc(op_count, sizeof(double));
    if (team->members == NULL || team->profile.forward_ns == NULL ||
        team->profile.backward_ns == NULL)
        return ERR_NOMEM;
    int err = take_vectors(team);
    for (uint32_t i = 0; err == 0 && i < team->spec.threads; i++)
        err = equip_member(team, i);
    return err;
}

/* The caller is the first. */
static int start_members(struct step_team *team)
{
    for (uint32_t i = 1; i < team->spec.threads; i++) {
        struct member *self = &team->members[i];
        if (pthread_create(&self->thread, NULL, run_member, self) != 0)
            return ERR_NOMEM;
        self->is_running = true;
    }
    return 0;
}

static void init_weights(struct step_team *team)
{
    team->work = WORK_WEIGHTS;
    meet(team);
    init_part(&team->members[0]);
    meet(team);
}

int step_team_create(const struct step_spec *spec, struct step_team **team_out, struct err_msg *why)
{
    struct step_team *team = calloc(1, sizeof(*team));
    int err = team == NULL ? ERR_NOMEM : 0;
    if (err == 0) {
        team->spec = *spec;
        team->lane_count = step_lanes(spec->threads);
        team->meeting = (struct meeting){.lock = PTHREAD_MUTEX_INITIALIZER,
                                         .is_over = PTHREAD_COND_INITIALIZER,
                                         .expected = spec->threads};
        err = equip(team);
    }
    if (err == 0)
        err = start_members(team);
    if (err == 0) {
        init_weights(team);
        *team_out = team;
        return 0;
    }
    step_team_destroy(team);
    return err_set(why, err, "no memory for a step of %u samples on %u threads", spec->batch,
                   spec->threads);
}

/* Also when not all of them could be started. */
static void end_members(struct step_team *team)
{
    uint32_t running = 1;
    for (uint32_t i = 1; i < team->spec.threads; i++)
        running += team->members[i].is_running;
    team->work = WORK_END;
    pthread_mutex_lock(&team->meeting.lock);
    team->meeting.expected = running;
    pthread_mutex_unlock(&team->meeting.lock);
    meet(team);
    for (uint32_t i = 1; i < team->spec.threads; i++)
        if (team->members[i].is_running)
            pthread_join(team->members[i].thread, NULL);
}

static void free_member(struct member *member)
{
    graph_run_destroy(member->run);
    free(member->profile.forward_ns);
    free(member->profile.backward_ns);
}

void step_team_destroy(struct step_team *team)
{
    if (team == NULL)
        return;
    if (team->members != NULL)
        end_members(team);
    for (uint32_t i = 0; team->members != NULL && i < team->spec.threads; i++)
        free_member(&team->members[i]);
    free(team->grads);
    free(team->vectors);
    free(team->profile.forward_ns);
    free(team->profile.backward_ns);
    free(team->members);
    free(team);
}
