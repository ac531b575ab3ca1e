#include <string.h>
#include "tests/unit/unit.h"
#include "worker/nn/op.h"

enum { SAMPLES = 64, POSITIONS = 6, CHANNELS = 5, SIZE = POSITIONS * CHANNELS };

static real in[SAMPLES * SIZE], out[SAMPLES * SIZE], again[SAMPLES * SIZE], keep[SAMPLES * SIZE];

/* rate 0.25: what stays is multiplied by 4 / 3. */
static struct op_spec spec = {.rate = 0.25f, .input_count = 1};
static const real scale = 1 / (1 - (real)0.25f);

static void run(const struct op_kernel *kernel, struct draw_key draw, bool is_training,
                struct op_shape shape, real *to)
{
    struct op_plan plan = {.spec = &spec, .in = {shape}, .in_count = SIZE};
    struct err_msg why = {""};
    CU_ASSERT_EQUAL_FATAL(kernel->plan(&plan, &why), 0);
    plan.out_count = SIZE;
    struct op_call call = {.plan = &plan,
                           .count = SAMPLES,
                           .is_training = is_training,
                           .draw = draw,
                           .keep = keep,
                           .in = {in},
                           .out = to};
    kernel->forward(&call);
}

static void fill(void)
{
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        in[i] = (real)(i % 97 + 1);
}

static const struct draw_key key = {.seed = 5, .step = 7, .lane = 1, .where = 16};
static const struct op_shape image = {.dims = 3, .size = {2, 3, CHANNELS}};
static const struct op_shape sequence = {.dims = 2, .size = {POSITIONS, CHANNELS}};

/* Groups of one fate: numbers first, then at this stride; counts those that are zero. */
static size_t count_dropped(size_t group_count, size_t group_size, size_t stride, size_t per_row)
{
    size_t dropped = 0;
    for (size_t group = 0; group < group_count; group++) {
        size_t first = group / per_row * SIZE + group % per_row;
        bool is_dropped = out[first] == 0;
        dropped += is_dropped;
        for (size_t i = 0; i < group_size; i++) {
            size_t at = first + i * stride;
            CU_ASSERT(out[at] == (is_dropped ? 0 : in[at] * scale));
        }
    }
    return dropped;
}

static void test_dropout_spatial_drops_whole_channels(void)
{
    fill();
    run(&op_spatial_dropout, key, true, image, out);
    size_t dropped = count_dropped(SAMPLES * CHANNELS, POSITIONS, CHANNELS, CHANNELS);
    CU_ASSERT(dropped > 50 && dropped < 110); /* of 320, about 80 */
    run(&op_spatial_dropout, key, true, sequence, again);
    CU_ASSERT_EQUAL(memcmp(out, again, sizeof(out)), 0);
}

static void test_dropout_path_drops_whole_samples(void)
{
    fill();
    run(&op_drop_path, key, true, sequence, out);
    size_t dropped = count_dropped(SAMPLES, SIZE, 1, 1);
    CU_ASSERT(dropped > 5 && dropped < 28); /* of 64, about 16 */
}

static void check_draws(const struct op_kernel *kernel)
{
    struct draw_key others[] = {key, key, key, key};
    others[0].seed++;
    others[1].step++;
    others[2].lane++;
    others[3].where++;
    fill();
    run(kernel, key, true, sequence, out);
    run(kernel, key, true, sequence, again);
    CU_ASSERT_EQUAL(memcmp(out, again, sizeof(out)), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        run(kernel, others[i], true, sequence, again);
        CU_ASSERT_NOT_EQUAL(memcmp(out, again, sizeof(out)), 0);
    }
    run(kernel, key, false, sequence, again);
    CU_ASSERT_EQUAL(memcmp(in, again, sizeof(in)), 0);
}

static void test_dropout_depends_on_its_key_alone_and_evaluation_drops_nothing(void)
{
    check_draws(&op_dropout);
    check_draws(&op_spatial_dropout);
    check_draws(&op_drop_path);
}

#define TESTS(X) \
    X(test_dropout_spatial_drops_whole_channels) \
    X(test_dropout_path_drops_whole_samples) \
    X(test_dropout_depends_on_its_key_alone_and_evaluation_drops_nothing)

UNIT_MAIN("dropout", TESTS)
