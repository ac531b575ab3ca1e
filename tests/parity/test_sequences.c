/* What the operators of sequences give forward, against their formulas written as plain loops in
 * double.  (Their gradients: test_gradients.c.) */
#include <math.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"
#include "worker/nn/attention_kernels.h"
#include "worker/nn/op.h"

#define TESTS(X)                                            \
    X(test_sequences_embedding_gives_each_token_its_row)    \
    X(test_sequences_embedding_adds_gradients_of_a_token)   \
    X(test_sequences_positional_embedding_is_its_formula)   \
    X(test_sequences_lstm_is_its_formula)                   \
    X(test_sequences_gru_is_its_formula)                    \
    X(test_sequences_self_attention_is_its_formula)         \
    X(test_sequences_attention_has_its_bits_at_every_level) \
    X(test_sequences_give_a_sample_its_bits_in_any_batch)

enum { SAMPLES = 3, ROOM = 1 << 18, UNITS_MAX = 64, STEPS_MAX = 160 };

struct bench {
    struct op_spec spec;
    struct graph_input data;
    struct op_plan plan;
    struct op_call call;
    real in[ROOM], out[ROOM], keep[ROOM], scratch[ROOM], alone[ROOM];
    real tensor[OP_TENSORS_MAX][ROOM];
};

static struct bench bench;

static void run_forward(const struct op_kernel *kernel, struct op_spec spec, struct op_shape in)
{
    struct bench *b = &bench;
    struct err_msg why = {""};
    b->spec = spec;
    b->data = (struct graph_input){.dims = 1, .shape = {in.size[0]}, .token_count = 7};
    b->plan = (struct op_plan){
        .spec = &b->spec, .in = {in}, .in_count = op_shape_count(&in), .data = &b->data};
    CU_ASSERT_EQUAL_FATAL(kernel->plan(&b->plan, &why), 0);
    b->plan.out_count = op_shape_count(&b->plan.out);
    CU_ASSERT_FATAL(SAMPLES * b->plan.in_count <= ROOM && SAMPLES * b->plan.out_count <= ROOM);
    CU_ASSERT_FATAL(SAMPLES * b->plan.keep_count <= ROOM && b->plan.scratch_count <= ROOM);
    b->call = (struct op_call){.plan = &b->plan,
                               .count = SAMPLES,
                               .is_training = true,
                               .keep = b->keep,
                               .scratch = b->scratch,
                               .in = {b->in},
                               .out = b->out};
    wave(b->in, SAMPLES * b->plan.in_count, 0.37, 2);
    for (size_t i = 0; spec.kind == OP_EMBEDDING && i < SAMPLES * b->plan.in_count; i++)
        b->in[i] = (real)((i * 5 + i / 3) % 7);
    for (size_t t = 0; t < b->plan.tensor_count; t++) {
        wave(b->tensor[t], ROOM, 2.39 + (double)t, 0.5);
        b->call.tensor[t] = b->tensor[t];
    }
    kernel->forward(&b->call);
}

static void test_sequences_embedding_gives_each_token_its_row(void)
{
    run_forward(&op_embedding,
                (struct op_spec){.kind = OP_EMBEDDING, .units = 5, .inputs = {-1}},
                (struct op_shape){.dims = 1, .size = {11}});
    for (size_t i = 0; i < SAMPLES * 11 * 5; i++)
        CU_ASSERT_EQUAL(bench.out[i], bench.tensor[0][(size_t)bench.in[i / 5] * 5 + i % 5]);
}

static void test_sequences_embedding_adds_gradients_of_a_token(void)
{
    run_forward(&op_embedding,
                (struct op_spec){.kind = OP_EMBEDDING, .units = 2, .inputs = {-1}},
                (struct op_shape){.dims = 1, .size = {11}});
    double expected[7][2] = {{0}};
    wave(bench.out, ROOM, 0.9, 1);
    for (size_t i = 0; i < SAMPLES * 11 * 2; i++)
        expected[(size_t)bench.in[i / 2]][i % 2] += (double)bench.out[i];
    wave(bench.alone, 7 * 2, 1, 1); /* overwritten, whatever lies there */
    bench.call.out_grad = bench.out;
    bench.call.tensor_grad[0] = bench.alone;
    op_embedding.backward_weights(&bench.call);
    for (size_t i = 0; i < 7 * 2; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)bench.alone[i], expected[i / 2][i % 2], 1e-5);
}

static void test_sequences_positional_embedding_is_its_formula(void)
{
    run_forward(&op_positional_embedding, (struct op_spec){.kind = OP_POSITIONAL_EMBEDDING},
                (struct op_shape){.dims = 2, .size = {6, 4}});
    for (size_t i = 0; i < SAMPLES * 24; i++)
        CU_ASSERT_EQUAL(bench.out[i], bench.in[i] + bench.tensor[0][i % 24]);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Column `col` of row [size] times matrix [size][cols]. */
static double column(const real *matrix, size_t cols, size_t col, const double *row, size_t size)
{
    double sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += row[i] * (double)matrix[i * cols + col];
    return sum;
}

/* One step of a cell: from x, hidden and cell of before to the next hidden and cell. */
struct state {
    double hidden[UNITS_MAX], cell[UNITS_MAX];
};
typedef void (*cell_formula)(const double *x, const struct state *before, struct state *after);

static void lstm_formula(const double *x, const struct state *before, struct state *after)
{
    size_t units = bench.spec.units, inputs = bench.plan.in[0].size[1];
    for (size_t j = 0; j < units; j++) {
        double gate[4];
        for (size_t g = 0; g < 4; g++) {
            size_t col = g * units + j;
            gate[g] = column(bench.tensor[0], 4 * units, col, x, inputs) +
                      column(bench.tensor[1], 4 * units, col, before->hidden, units) +
                      (double)bench.tensor[2][col];
        }
        after->cell[j] = sigmoid(gate[1]) * before->cell[j] + sigmoid(gate[0]) * tanh(gate[2]);
        after->hidden[j] = sigmoid(gate[3]) * tanh(after->cell[j]);
    }
}

static void gru_formula(const double *x, const struct state *before, struct state *after)
{
    size_t units = bench.spec.units, inputs = bench.plan.in[0].size[1];
    for (size_t j = 0; j < units; j++) {
        double from_input[3], from_hidden[3];
        for (size_t g = 0; g < 3; g++) {
            size_t col = g * units + j;
            from_input[g] = column(bench.tensor[0], 3 * units, col, x, inputs) +
                            (double)bench.tensor[2][col];
            from_hidden[g] = column(bench.tensor[1], 3 * units, col, before->hidden, units) +
                             (double)bench.tensor[3][col];
        }
        double reset = sigmoid(from_input[0] + from_hidden[0]);
        double keep = sigmoid(from_input[1] + from_hidden[1]);
        double new = tanh(from_input[2] + reset * from_hidden[2]);
        after->hidden[j] = (1 - keep) * new + keep * before->hidden[j];
    }
}

/* Largest distance between what the operator gave and its formula, over all samples. */
static double compare_recurrent(cell_formula formula)
{
    size_t steps = bench.plan.in[0].size[0], inputs = bench.plan.in[0].size[1];
    size_t units = bench.spec.units;
    double worst = 0, x[UNITS_MAX];
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        struct state before = {{0}, {0}}, after = {{0}, {0}};
        for (size_t step = 0; step < steps; step++) {
            size_t place = sample * steps + (bench.spec.reverse ? steps - 1 - step : step);
            for (size_t i = 0; i < inputs; i++)
                x[i] = (double)bench.in[place * inputs + i];
            formula(x, &before, &after);
            for (size_t j = 0; j < units; j++)
                worst = fmax(worst, fabs((double)bench.out[place * units + j] - after.hidden[j]));
            before = after;
        }
    }
    return worst;
}

static void check_recurrent(const struct op_kernel *kernel, enum op_kind kind, cell_formula formula)
{
    static const uint32_t sizes[][3] = {{1, 3, 4}, {6, 5, 7}, {9, 40, 33}, {4, 1, 64}, {20, 8, 1}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int reverse = 0; reverse < 2; reverse++) {
            run_forward(
                kernel,
                (struct op_spec){.kind = kind, .units = sizes[i][2], .reverse = reverse != 0},
                (struct op_shape){.dims = 2, .size = {sizes[i][0], sizes[i][1]}});
            CU_ASSERT(compare_recurrent(formula) < 1e-5);
        }
}

static void test_sequences_lstm_is_its_formula(void)
{
    check_recurrent(&op_lstm, OP_LSTM, lstm_formula);
}

static void test_sequences_gru_is_its_formula(void)
{
    check_recurrent(&op_gru, OP_GRU, gru_formula);
}

/* The rows of a position: q, k, v are parts 0, 1, 2. */
static const real *part_of(size_t sample, size_t position, size_t part, size_t head)
{
    size_t steps = bench.plan.in[0].size[0], width = bench.plan.out.size[1];
    size_t head_width = width / bench.spec.heads;
    return bench.in + (sample * steps + position) * 3 * width + part * width + head * head_width;
}

/* Largest distance of one head's outputs at one position. */
static double compare_head(size_t sample, size_t position, size_t head)
{
    size_t steps = bench.plan.in[0].size[0], width = bench.plan.out.size[1];
    size_t head_width = width / bench.spec.heads, seen = bench.spec.causal ? position + 1 : steps;
    const real *q = part_of(sample, position, 0, head);
    double weights[STEPS_MAX], total = 0, worst = 0;
    for (size_t t = 0; t < seen; t++) {
        double score = 0;
        for (size_t i = 0; i < head_width; i++)
            score += (double)q[i] * (double)part_of(sample, t, 1, head)[i];
        weights[t] = exp(score / sqrt((double)head_width));
        total += weights[t];
    }
    const real *out = bench.out + (sample * steps + position) * width + head * head_width;
    for (size_t i = 0; i < head_width; i++) {
        double sum = 0;
        for (size_t t = 0; t < seen; t++)
            sum += weights[t] / total * (double)part_of(sample, t, 2, head)[i];
        worst = fmax(worst, fabs((double)out[i] - sum));
    }
    return worst;
}

static void check_attention(uint32_t steps, uint32_t width, uint32_t heads, bool causal)
{
    double worst = 0;
    run_forward(
        &op_self_attention,
        (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = heads, .causal = causal},
        (struct op_shape){.dims = 2, .size = {steps, 3 * width}});
    for (size_t sample = 0; sample < SAMPLES; sample++)
        for (size_t position = 0; position < steps; position++)
            for (size_t head = 0; head < heads; head++)
                worst = fmax(worst, compare_head(sample, position, head));
    CU_ASSERT(worst < 1e-5);
}

/* Within one tile of scores, at its edge, beyond it; heads narrower and wider than a vector. */
static void test_sequences_self_attention_is_its_formula(void)
{
    static const uint32_t lengths[] = {1, 7, 31, 32, 33, 64, 127, 128, 150};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        for (int causal = 0; causal < 2; causal++) {
            check_attention(lengths[i], 64, 1, causal != 0);
            check_attention(lengths[i], 60, 3, causal != 0);
            check_attention(lengths[i], 8, 4, causal != 0);
        }
}

enum { TILE_ROWS = 7, TILE_COLS = 48, TILE_ROOM = TILE_ROWS * TILE_COLS };

struct tile_bench {
    real scores[TILE_ROOM], scores_grad[TILE_ROOM];
    real max[TILE_ROWS], sum[TILE_ROWS], factor[TILE_ROWS], log_sum[TILE_ROWS], inner[TILE_ROWS];
};

/* Forward and then back, on numbers that `seen` columns of the first row may see. */
static void run_tile(const struct attention_kernels *kernels, size_t cols, size_t seen,
                     struct tile_bench *b)
{
    struct attention_tile tile = {.rows = TILE_ROWS,
                                  .cols = cols,
                                  .seen = seen,
                                  .stride = TILE_COLS,
                                  .scale = (real)0.37,
                                  .scores = b->scores,
                                  .max = b->max,
                                  .sum = b->sum,
                                  .factor = b->factor,
                                  .log_sum = b->log_sum,
                                  .inner = b->inner,
                                  .scores_grad = b->scores_grad};
    wave(b->scores, TILE_ROOM, 0.83, 9);
    wave(b->scores_grad, TILE_ROOM, 1.57, 2);
    wave(b->max, TILE_ROWS, 2.1, 3);
    wave(b->sum, TILE_ROWS, 0.7, 5);
    wave(b->log_sum, TILE_ROWS, 1.9, 4);
    wave(b->inner, TILE_ROWS, 0.9, 1);
    kernels->softmax(&tile);
    kernels->softmax_grad(&tile);
}

static void test_sequences_attention_has_its_bits_at_every_level(void)
{
    static struct tile_bench base, best;
    static const size_t widths[] = {1, 15, 16, 17, 31, 47, 48};
    for (size_t i = 0; i < ARRAY_LEN(widths); i++)
        for (size_t seen = 1; seen <= widths[i]; seen += 3) {
            run_tile(&attention_kernels_base, widths[i], seen, &base);
            run_tile(attention_kernels_best(), widths[i], seen, &best);
            CU_ASSERT(memcmp(&base, &best, sizeof(base)) == 0);
            for (size_t c = seen; c < widths[i]; c++)
                CU_ASSERT(base.scores[c] == 0 && base.scores_grad[c] == 0);
        }
}

/* A sample's numbers do not depend on which others it is computed with. */
static void test_sequences_give_a_sample_its_bits_in_any_batch(void)
{
    static const struct op_kernel *const kernels[] = {&op_lstm, &op_gru, &op_self_attention};
    static const enum op_kind kinds[] = {OP_LSTM, OP_GRU, OP_SELF_ATTENTION};
    for (size_t i = 0; i < ARRAY_LEN(kernels); i++) {
        run_forward(kernels[i],
                    (struct op_spec){.kind = kinds[i], .units = 50, .heads = 4, .causal = true},
                    (struct op_shape){.dims = 2, .size = {70, 48}});
        struct op_call call = bench.call;
        call.count = 1;
        call.out = bench.alone;
        for (size_t sample = 0; sample < SAMPLES; sample++) {
            call.in[0] = bench.in + sample * bench.plan.in_count;
            kernels[i]->forward(&call);
            CU_ASSERT(memcmp(bench.alone, bench.out + sample * bench.plan.out_count,
                             bench.plan.out_count * sizeof(real)) == 0);
        }
    }
}

UNIT_MAIN("sequences", TESTS)
