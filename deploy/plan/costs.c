#include "deploy/plan/speed.h"

#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/codec.h"
#include "common/optimizer.h"
#include "common/rounds.h"
#include "common/vector_math.h"

/* A block as large as they usually are, in and out of memory that no cache holds. */
enum { COUNT = 1 << 18, BLOCKS = 16, TIMES = 3 };

/* The choice of what is sent of a block by topk, with its two vectors of memory, and making numbers
 * of pairs: tests/bench/README.md, Codecs. */
static const double TOPK_ENCODE_S = 5e-9, TOPK_DECODE_S = 0.5e-9;

struct vectors {
    float *a, *b, *state[OPTIMIZER_STATES_MAX];
    struct settings servers, own; /* the servers' optimizer, and the lanes' */
    const struct settings *now;
    struct codec_grid grid;
    bool is_finite;
};

static void do_add(struct vectors *v, size_t at)
{
    vector_add(v->a + at, v->b + at, COUNT);
}

static void do_copy(struct vectors *v, size_t at)
{
    memcpy(v->a + at, v->b + at, COUNT * sizeof(float));
}

static void do_check(struct vectors *v, size_t at)
{
    v->is_finite = vector_is_finite(v->b + at, COUNT) && v->is_finite;
}

static void do_update(struct vectors *v, size_t at)
{
    struct update update = {.weights = v->a + at,
                            .grad = v->b + at,
                            .grad_scale = 1e-3f,
                            .state = {v->state[0] + at, v->state[1] + at},
                            .weights_out = v->a + at,
                            .count = COUNT,
                            .has_decay = true,
                            .step = 1,
                            .rate = 1e-6f};
    optimizer_apply(v->now, &update);
}

static void do_round(struct vectors *v, size_t at)
{
    codec_round_node(&v->grid, (struct lane_node){0, 1}, v->a + at, COUNT);
}

static void do_encode(struct vectors *v, size_t at)
{
    codec_encode(v->grid.codec, v->a + at, COUNT, v->state[0] + at);
}

static void do_decode(struct vectors *v, size_t at)
{
    if (codec_decode(v->grid.codec, v->state[0] + at, codec_bytes(v->grid.codec, COUNT), v->b + at,
                     COUNT) != 0)
        v->is_finite = false;
}

/* Seconds for one weight: the least of some times through all blocks. */
static double time_of(struct vectors *v, void (*what)(struct vectors *v, size_t at))
{
    double least_us = 0.0;
    for (int i = 0; i < TIMES; i++) {
        uint64_t begin_us = clock_now_us();
        for (size_t block = 0; block < BLOCKS; block++)
            what(v, block * COUNT);
        double us = (double)(clock_now_us() - begin_us);
        least_us = i == 0 || us < least_us ? us : least_us;
    }
    return least_us * 1e-6 / ((double)COUNT * BLOCKS);
}

static void fill(float *values)
{
    for (size_t i = 0; i < (size_t)COUNT * BLOCKS; i++)
        values[i] = 1e-3f * (float)((i * 2654435761u) % 2001) - 1.0f;
}

static void time_all(struct vectors *v, struct plan_speed *out)
{
    out->add_s = time_of(v, do_add);
    out->copy_s = time_of(v, do_copy);
    out->check_s = time_of(v, do_check);
    v->now = &v->servers;
    out->update_s = time_of(v, do_update);
    v->now = &v->own;
    out->inner_s = time_of(v, do_update);
    for (enum codec_kind codec = CODEC_BF16; codec <= CODEC_INT8; codec++) {
        fill(v->a); /* of the sizes that the optimizer leaves alone */
        v->grid.codec = codec;
        out->round_s[codec] = time_of(v, do_round);
        out->encode_s[codec] = time_of(v, do_encode);
        out->decode_s[codec] = time_of(v, do_decode);
    }
    out->decode_s[CODEC_F32] = out->copy_s;
    out->encode_s[CODEC_SPARSE] = TOPK_ENCODE_S;
    out->decode_s[CODEC_SPARSE] = TOPK_DECODE_S;
}

int speed_costs(const struct study *study, struct plan_speed *out, struct err_msg *why)
{
    struct vectors v = {.servers = rounds_server_settings(study->settings),
                        .own = *study->settings};
    size_t count = (size_t)COUNT * BLOCKS;
    v.a = malloc(count * sizeof(float));
    v.b = malloc(count * sizeof(float));
    for (size_t i = 0; i < OPTIMIZER_STATES_MAX; i++)
        v.state[i] = calloc(count, sizeof(float));
    int err = v.a == NULL || v.b == NULL || v.state[0] == NULL || v.state[1] == NULL ? ERR_NOMEM
                                                                                      : 0;
    *out = (struct plan_speed){.read_share = study->read_share, .done_share = study->done_share};
    if (err == 0) {
        fill(v.a);
        fill(v.b);
        time_all(&v, out);
    }
    free(v.a);
    free(v.b);
    for (size_t i = 0; i < OPTIMIZER_STATES_MAX; i++)
        free(v.state[i]);
    return err == 0 ? 0 : err_set(why, err, "vectors to be measured: %s", err_text(err));
}
