/* batch_norm: out = (in - mean) / sqrt(variance + epsilon) weight + bias for each channel, mean and
 * variance over the samples of the call and their pixels or positions.
 *
 * A lane is the batch: its statistics are those of its own samples, as in the ghost batches of
 * Hoffer, Hubara and Soudry 2017, section 4.  Evaluation takes running_mean and running_var, which
 * are weights that follow the statistics (UPDATE_AVERAGE); so does training once they are frozen.
 * Source: Ioffe and Szegedy 2015, algorithms 1 and 2. */
#include "worker/nn/norm_kernels.h"
#include "worker/nn/op_norm.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    size_t width = op_shape_width(&p->in[0]);
    (void)why;
    norm_plan(p);
    const uint32_t shape[] = {(uint32_t)width};
    struct tensor_spec *running[] = {op_plan_tensor(p, "running_mean", 1, shape),
                                     op_plan_tensor(p, "running_var", 1, shape)};
    running[1]->init = INIT_ONE;
    for (size_t k = 0; k < ARRAY_LEN(running); k++) {
        running[k]->update = UPDATE_AVERAGE;
        running[k]->rate_scale = p->spec->momentum;
    }
    p->batch_keep_count = 5 * width;
    p->scratch_count = norm_scratch_count(width) + 3 * width;
    return 0;
}

/* One call: rows of channels, and what lies in batch_keep and in scratch, each [cols]. */
struct parts {
    size_t rows, cols;
    real *mean, *variance, *scale, *grad_sum, *product_sum; /* scale: 1 / deviation */
    real *maps[3], *work;
};

static struct parts parts_of(const struct op_call *call)
{
    size_t cols = op_shape_width(&call->plan->out);
    real *keep = call->batch_keep, *maps = call->scratch + norm_scratch_count(cols);
    return (struct parts){
        .rows = call->count * op_shape_rows(&call->plan->out),
        .cols = cols,
        .mean = keep,
        .variance = keep + cols,
        .scale = keep + 2 * cols,
        .grad_sum = keep + 3 * cols,
        .product_sum = keep + 4 * cols,
        .maps = {maps, maps + cols, maps + 2 * cols},
        .work = call->scratch,
    };
}

static bool is_running(const struct op_call *call)
{
    return !call->is_training ||
           call->plan->tensors[NORM_RUNNING_MEAN].update == UPDATE_FROZEN;
}

static void take_statistics(const struct op_call *call, const struct parts *d)
{
    if (!is_running(call)) {
        norm_moments(d->mean, d->variance, call->in[0], d->rows, d->cols, d->work);
        return;
    }
    for (size_t c = 0; c < d->cols; c++) {
        d->mean[c] = call->tensor[NORM_RUNNING_MEAN][c];
        d->variance[c] = call->tensor[NORM_RUNNING_VARIANCE][c];
    }
}

static void forward(const struct op_call *call)
{
    struct parts d = parts_of(call);
    if (!call->is_again)
        take_statistics(call, &d);
    for (size_t c = 0; c < d.cols; c++) {
        d.scale[c] = (real)norm_scale_of(call, (double)d.variance[c]);
        d.maps[0][c] = d.scale[c] * call->tensor[NORM_WEIGHT][c];
    }
    norm_apply(call->out, call->in[0],
               &(struct norm_map){d.mean, d.maps[0], call->tensor[NORM_BIAS],
                                  call->plan->fused_relu},
               d.rows, d.cols);
}

/* What lanes push of the running statistics: count times the statistic.  The variance is that of
 * which the samples are a part (divided by rows - 1), as PyTorch's; a single row has none and
 * leaves the running one as it is. */
static void push_statistics(const struct op_call *call, const struct parts *d)
{
    real count = (real)call->count, rows = (real)d->rows;
    const real *variance = d->rows > 1 ? d->variance : call->tensor[NORM_RUNNING_VARIANCE];
    real factor = d->rows > 1 && !is_running(call) ? count * (rows / (rows - 1)) : count;
    for (size_t c = 0; c < d->cols; c++) {
        call->tensor_grad[NORM_RUNNING_MEAN][c] = count * d->mean[c];
        call->tensor_grad[NORM_RUNNING_VARIANCE][c] = factor * variance[c];
    }
}

static void backward_weights(const struct op_call *call)
{
    struct parts d = parts_of(call);
    norm_grad_sums(d.grad_sum, d.product_sum, call->out_grad, call->in[0], d.mean, d.rows, d.cols,
                   d.work);
    for (size_t c = 0; c < d.cols; c++) {
        call->tensor_grad[NORM_WEIGHT][c] = d.product_sum[c] * d.scale[c];
        call->tensor_grad[NORM_BIAS][c] = d.grad_sum[c];
    }
    push_statistics(call, &d);
}

/* With n rows, x = (in - mean) scale: in_grad = weight scale (out_grad - sum(out_grad) / n
 * - x sum(out_grad x) / n); the sums are those that backward_weights kept.  Where mean and variance
 * are none of these rows', it is weight scale out_grad. */
static void backward_data(const struct op_call *call)
{
    struct parts d = parts_of(call);
    bool is_own = !is_running(call);
    real rows = (real)d.rows;
    for (size_t c = 0; c < d.cols; c++) {
        real gain = call->tensor[NORM_WEIGHT][c] * d.scale[c];
        d.maps[0][c] = gain;
        d.maps[1][c] = is_own ? -gain * d.scale[c] * d.scale[c] * (d.product_sum[c] / rows) : 0;
        d.maps[2][c] = is_own ? -gain * (d.grad_sum[c] / rows) : 0;
    }
    norm_apply_grad(call->in_grad, call->out_grad, call->in[0],
                    &(struct norm_grad_map){d.mean, d.maps[0], d.maps[1], d.maps[2]}, d.rows,
                    d.cols);
}

const struct op_kernel op_batch_norm = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .can_overwrite = true,
    .reads_in = true,
    .can_relu = true,
    .is_cheap = true,
};
