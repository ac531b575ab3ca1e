/* self_attention: what each position takes from the others: softmax(q k^T / sqrt(d)) v, in heads.
 *
 * In: {T, 3D}: q, k and v of each position, as a dense of 3D units makes them; head h has columns
 * h d to (h + 1) d of each, d = D / heads.  Out: {T, D}.  With `causal` a position takes nothing
 * from those behind it.
 *
 * Scores are made a tile at a time and never kept: forward leaves the logarithm of each row's sum,
 * from which backward makes the tile again.  Tiles that are masked whole are skipped.
 * Source: Vaswani et al. 2017, section 3.2; tiles: Dao et al. 2022, algorithms 1 and 4. */
#include "worker/nn/op.h"

#include <math.h>
#include "worker/nn/attention_kernels.h"
#include "worker/nn/kernels.h"
#include "worker/nn/panels.h"

/* Positions a side of a tile: a tile stays in the first cache, and few of its queries see less than
 * its keys; numbers that are summed side by side. */
enum { QUERIES = 32, KEYS = 128, LANES = 16 };

/* One head of one sample.  panels.h: what is turned has a position a column, the others a row. */
struct head {
    size_t steps, width; /* T, d */
    size_t stride, out_stride;
    bool is_causal;
    real scale;
    const real *q, *k, *v; /* rows of `stride` */
    real *out;             /* rows of `out_stride` */
    real *log_sum;         /* [T]: of exp of the scores */
    real *inner;           /* [T], backward: out . out_grad */
    real *scores, *scores_grad;       /* [QUERIES][KEYS] */
    real *row_max, *row_sum, *factor; /* [QUERIES] */
    real *k_turned, *v_turned;        /* panels */
    real *q_panels, *kv_panels, *out_grad_panels; /* kv: v forward, k backward */
    const real *out_grad;
    real *q_grad, *k_grad, *v_grad; /* rows of `stride` */
};

/* A tile: rows are queries, columns keys. */
struct tile {
    size_t row, rows, col, cols;
};

static int plan(struct op_plan *p, struct err_msg *why)
{
    const struct op_shape *in = &p->in[0];
    uint32_t heads = p->spec->heads;
    char found[40];
    op_shape_text(in, found);
    if (in->dims != 2 || in->size[1] % 3 != 0)
        return err_set(why, ERR_INPUT,
                       "needs a sequence of queries, keys and values (positions x 3 times the "
                       "width, as a dense gives them) but gets %s",
                       found);
    uint32_t width = in->size[1] / 3;
    if (width % heads != 0)
        return err_set(why, ERR_INPUT,
                       "has %u heads, which do not divide the width %u of its queries", heads,
                       width);
    uint64_t steps = in->size[0], keys = p->spec->causal ? (steps + 1) / 2 : steps;
    p->out = (struct op_shape){.dims = 2, .size = {in->size[0], width}};
    p->keep_count = 2 * (size_t)heads * in->size[0];
    p->scratch_count = 2 * QUERIES * KEYS + 3 * QUERIES +
                       2 * panels_count(width / heads, steps) +
                       3 * panels_count(steps, width / heads);
    p->flops = 4 * steps * keys * width;
    return 0;
}

static void take_scratch(struct head *h, real *scratch)
{
    h->scores = scratch;
    h->scores_grad = h->scores + QUERIES * KEYS;
    h->row_max = h->scores_grad + QUERIES * KEYS;
    h->row_sum = h->row_max + QUERIES;
    h->factor = h->row_sum + QUERIES;
    h->k_turned = h->factor + QUERIES;
    h->v_turned = h->k_turned + panels_count(h->width, h->steps);
    h->q_panels = h->v_turned + panels_count(h->width, h->steps);
    h->kv_panels = h->q_panels + panels_count(h->steps, h->width);
    h->out_grad_panels = h->kv_panels + panels_count(h->steps, h->width);
}

static struct head head_of(const struct op_call *call, size_t sample, size_t head_idx)
{
    const struct op_plan *p = call->plan;
    size_t heads = p->spec->heads, steps = p->in[0].size[0], out_stride = p->out.size[1];
    size_t width = out_stride / heads, stride = 3 * out_stride;
    struct head h = {.steps = steps,
                     .width = width,
                     .stride = stride,
                     .out_stride = out_stride,
                     .is_causal = p->spec->causal,
                     .scale = 1 / (real)sqrt((double)width)};
    size_t at = sample * steps * stride + head_idx * width;
    size_t out_at = sample * steps * out_stride + head_idx * width;
    h.q = call->in[0] + at;
    h.k = h.q + out_stride;
    h.v = h.k + out_stride;
    h.out = call->out + out_at;
    h.log_sum = call->keep + (sample * heads + head_idx) * 2 * steps;
    h.inner = h.log_sum + steps;
    take_scratch(&h, call->scratch);
    if (call->out_grad != NULL && call->in_grad != NULL) {
        h.out_grad = call->out_grad + out_at;
        h.q_grad = call->in_grad + at;
        h.k_grad = h.q_grad + out_stride;
        h.v_grad = h.k_grad + out_stride;
    }
    return h;
}

/* A tile as wide as the mask leaves it. */
static struct tile tile_at(const struct head *h, size_t row, size_t col)
{
    size_t rows = h->steps - row < QUERIES ? h->steps - row : QUERIES;
    size_t end = h->is_causal ? row + rows : h->steps;
    return (struct tile){row, rows, col, end - col < KEYS ? end - col : KEYS};
}

static struct attention_tile scores_of(const struct head *h, const struct tile *tile)
{
    return (struct attention_tile){.rows = tile->rows,
                                   .cols = tile->cols,
                                   .seen = h->is_causal ? tile->row + 1 - tile->col : tile->cols,
                                   .stride = KEYS,
                                   .scale = h->scale,
                                   .scores = h->scores,
                                   .max = h->row_max,
                                   .sum = h->row_sum,
                                   .factor = h->factor,
                                   .log_sum = h->log_sum + tile->row,
                                   .inner = h->inner + tile->row,
                                   .scores_grad = h->scores_grad};
}

static void pack_turned(const struct head *h, const real *rows, real *panels)
{
    panels_pack(h->width, h->steps, (struct blas_matrix){rows, h->stride, BLAS_TRANSPOSED}, panels);
}

static void pack(const struct head *h, const real *rows, size_t stride, real *panels)
{
    panels_pack(h->steps, h->width, (struct blas_matrix){rows, stride, BLAS_PLAIN}, panels);
}

static size_t whole_panels(size_t cols)
{
    return (cols + PANEL_COLS - 1) / PANEL_COLS * PANEL_COLS;
}

/* out[tile] = queries keys^T, for q k^T and for out_grad v^T; queries: the first position's.  Whole
 * panels, which are faster: what is beyond the tile's keys is not looked at. */
static void multiply_turned(const struct head *h, const struct tile *tile, const real *queries,
                            size_t stride, const real *keys, real *out)
{
    panels_multiply(&(struct panel_product){.rows = tile->rows,
                                            .cols = whole_panels(tile->cols),
                                            .inner = h->width,
                                            .A = queries + tile->row * stride,
                                            .A_stride = stride,
                                            .panels = keys + tile->col * h->width,
                                            .C = out,
                                            .C_stride = KEYS,
                                            .anew = true});
}

/* What the queries of a tile take from its keys: out (+)= scores keys. */
static void add_to_queries(const struct head *h, const struct tile *tile, const real *scores,
                           real *out, size_t stride)
{
    panels_multiply(&(struct panel_product){.rows = tile->rows,
                                            .cols = h->width,
                                            .inner = tile->cols,
                                            .A = scores,
                                            .A_stride = KEYS,
                                            .panels = h->kv_panels + tile->col * PANEL_COLS,
                                            .panel_rows = h->steps,
                                            .C = out + tile->row * stride,
                                            .C_stride = stride,
                                            .anew = tile->col == 0});
}

/* What its keys take from its queries: grad (+)= scores^T queries. */
static void add_to_keys(const struct head *h, const struct tile *tile, const real *scores,
                        const real *queries, real *grad, bool anew)
{
    panels_multiply(&(struct panel_product){.rows = tile->cols,
                                            .cols = h->width,
                                            .inner = tile->rows,
                                            .A = scores,
                                            .A_stride = KEYS,
                                            .A_form = BLAS_TRANSPOSED,
                                            .panels = queries + tile->row * PANEL_COLS,
                                            .panel_rows = h->steps,
                                            .C = grad + tile->col * h->stride,
                                            .C_stride = h->stride,
                                            .anew = anew});
}

static void fill(real *out, size_t count, real value)
{
    for (size_t i = 0; i < count; i++)
        out[i] = value;
}

static void forward_tile(const struct head *h, const struct tile *tile)
{
    struct attention_tile scores = scores_of(h, tile);
    multiply_turned(h, tile, h->q, h->stride, h->k_turned, h->scores);
    attention_kernels_best()->softmax(&scores);
    for (size_t r = 0; r < tile->rows && tile->col > 0; r++) {
        real *out = h->out + (tile->row + r) * h->out_stride;
        kernel_scale(out, out, h->factor[r], h->width);
    }
    add_to_queries(h, tile, h->scores, h->out, h->out_stride);
}

/* One row of tiles. */
static void forward_rows(const struct head *h, size_t row)
{
    struct tile tile = tile_at(h, row, 0);
    fill(h->row_max, tile.rows, -(real)INFINITY);
    fill(h->row_sum, tile.rows, 0);
    size_t end = h->is_causal ? row + tile.rows : h->steps;
    for (size_t col = 0; col < end; col += KEYS) {
        tile = tile_at(h, row, col);
        forward_tile(h, &tile);
    }
    for (size_t r = 0; r < tile.rows; r++) {
        real *out = h->out + (row + r) * h->out_stride;
        kernel_scale(out, out, 1 / h->row_sum[r], h->width);
        h->log_sum[row + r] = h->row_max[r] + (real)log((double)h->row_sum[r]);
    }
}

static void forward(const struct op_call *call)
{
    for (size_t sample = 0; sample < call->count; sample++)
        for (size_t i = 0; i < call->plan->spec->heads; i++) {
            struct head h = head_of(call, sample, i);
            pack_turned(&h, h.k, h.k_turned);
            pack(&h, h.v, h.stride, h.kv_panels);
            for (size_t row = 0; row < h.steps; row += QUERIES)
                forward_rows(&h, row);
        }
}

/* Algorithm 4, lines 11 to 21; anew: the gradients of the tile's keys are not begun. */
static void backward_tile(const struct head *h, const struct tile *tile, bool anew)
{
    struct attention_tile scores = scores_of(h, tile);
    multiply_turned(h, tile, h->q, h->stride, h->k_turned, h->scores);
    multiply_turned(h, tile, h->out_grad, h->out_stride, h->v_turned, h->scores_grad);
    attention_kernels_best()->softmax_grad(&scores);
    add_to_keys(h, tile, h->scores, h->out_grad_panels, h->v_grad, anew);
    add_to_keys(h, tile, h->scores_grad, h->q_panels, h->k_grad, anew);
    add_to_queries(h, tile, h->scores_grad, h->q_grad, h->stride);
}

/* inner = out . out_grad of each position. */
static void make_inner(const struct head *h)
{
    for (size_t t = 0; t < h->steps; t++) {
        const real *out = h->out + t * h->out_stride, *grad = h->out_grad + t * h->out_stride;
        real lanes[LANES] = {0}, sum = 0;
        size_t whole = h->width / LANES * LANES;
        for (size_t i = 0; i < whole; i += LANES)
            for (size_t l = 0; l < LANES; l++)
                lanes[l] += out[i + l] * grad[i + l];
        for (size_t i = whole; i < h->width; i++)
            sum += out[i] * grad[i];
        for (size_t l = 0; l < LANES; l++)
            sum += lanes[l];
        h->inner[t] = sum;
    }
}

/* Rows from the last up: that sees all keys, so that it begins the gradients of all of them. */
static void backward_columns(const struct head *h, size_t col)
{
    size_t first = h->is_causal ? col : 0, last = (h->steps - 1) / QUERIES * QUERIES;
    for (size_t row = last + QUERIES; row > first; row -= QUERIES) {
        struct tile tile = tile_at(h, row - QUERIES, col);
        backward_tile(h, &tile, row > last);
    }
}

static void backward_data(const struct op_call *call)
{
    for (size_t sample = 0; sample < call->count; sample++)
        for (size_t i = 0; i < call->plan->spec->heads; i++) {
            struct head h = head_of(call, sample, i);
            make_inner(&h);
            pack_turned(&h, h.k, h.k_turned);
            pack_turned(&h, h.v, h.v_turned);
            pack(&h, h.q, h.stride, h.q_panels);
            pack(&h, h.k, h.stride, h.kv_panels);
            pack(&h, h.out_grad, h.out_stride, h.out_grad_panels);
            for (size_t col = 0; col < h.steps; col += KEYS)
                backward_columns(&h, col);
        }
}

const struct op_kernel op_self_attention = {
    .plan = plan,
    .forward = forward,
    .backward_data = backward_data,
    .reads_in = true,
    .reads_out = true,
};
