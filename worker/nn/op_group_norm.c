/* group_norm: as batch_norm, but mean and variance are those of one sample's group of channels,
 * over all its pixels or positions, in training as in evaluation.
 *
 * Source: Wu and He 2018, section 3; one group: layer normalisation of the whole sample; as many
 * groups as channels: instance normalisation. */
#include "worker/nn/norm_kernels.h"
#include "worker/nn/op_norm.h"

static int plan(struct op_plan *p, struct err_msg *why)
{
    size_t width = op_shape_width(&p->in[0]);
    if (width % p->spec->groups != 0)
        return err_set(why, ERR_INPUT, "cuts %zu channels into %u groups, which do not come out "
                       "even (expected groups that divide the channels)", width, p->spec->groups);
    norm_plan(p);
    p->keep_count = 4 * width;
    p->scratch_count = norm_scratch_count(width) + 3 * width;
    return 0;
}

/* One sample: its rows of channels, and what lies in keep and in scratch, each [cols]. */
struct parts {
    size_t rows, cols, group; /* group: channels of one */
    const real *in;
    real *mean, *scale, *grad_sum, *product_sum; /* mean, scale: of the channel's group */
    real *maps[3], *work;
};

static struct parts parts_of(const struct op_call *call, size_t sample)
{
    size_t cols = op_shape_width(&call->plan->out);
    real *keep = call->keep + sample * call->plan->keep_count;
    real *maps = call->scratch + norm_scratch_count(cols);
    return (struct parts){
        .rows = op_shape_rows(&call->plan->out),
        .cols = cols,
        .group = cols / call->plan->spec->groups,
        .in = call->in[0] + sample * call->plan->in_count,
        .mean = keep,
        .scale = keep + cols,
        .grad_sum = keep + 2 * cols,
        .product_sum = keep + 3 * cols,
        .maps = {maps, maps + cols, maps + 2 * cols},
        .work = call->scratch,
    };
}

/* Makes the moments of channels those of their group: its mean is theirs, its variance what they
 * have inside and what lies between them. */
static void join_channels(const struct op_call *call, const struct parts *d, size_t first)
{
    double mean = 0, variance = 0;
    for (size_t c = first; c < first + d->group; c++)
        mean += (double)d->mean[c] / (double)d->group;
    for (size_t c = first; c < first + d->group; c++) {
        double step = (double)d->mean[c] - mean;
        variance += ((double)d->scale[c] + step * step) / (double)d->group;
    }
    for (size_t c = first; c < first + d->group; c++) {
        d->mean[c] = (real)mean;
        d->scale[c] = (real)norm_scale_of(call, variance);
    }
}

static void forward(const struct op_call *call)
{
    for (size_t sample = 0; sample < call->count; sample++) {
        struct parts d = parts_of(call, sample);
        norm_moments(d.mean, d.scale, d.in, d.rows, d.cols, d.work);
        for (size_t first = 0; first < d.cols; first += d.group)
            join_channels(call, &d, first);
        for (size_t c = 0; c < d.cols; c++)
            d.maps[0][c] = d.scale[c] * call->tensor[NORM_WEIGHT][c];
        norm_apply(call->out + sample * call->plan->out_count, d.in,
                   &(struct norm_map){d.mean, d.maps[0], call->tensor[NORM_BIAS], false},
                   d.rows, d.cols);
    }
}

static void sum_grads(const struct op_call *call, const struct parts *d, size_t sample)
{
    norm_grad_sums(d->grad_sum, d->product_sum, call->out_grad + sample * call->plan->out_count,
                   d->in, d->mean, d->rows, d->cols, d->work);
}

static void backward_weights(const struct op_call *call)
{
    real *weight_grad = call->tensor_grad[NORM_WEIGHT], *bias_grad = call->tensor_grad[NORM_BIAS];
    for (size_t sample = 0; sample < call->count; sample++) {
        struct parts d = parts_of(call, sample);
        sum_grads(call, &d, sample);
        for (size_t c = 0; c < d.cols; c++) {
            real before[] = {sample == 0 ? 0 : weight_grad[c], sample == 0 ? 0 : bias_grad[c]};
            weight_grad[c] = before[0] + d.product_sum[c] * d.scale[c];
            bias_grad[c] = before[1] + d.grad_sum[c];
        }
    }
}

/* Of the numbers of a group, with x = (in - mean) scale and g = out_grad weight:
 * in_grad = scale (g - mean(g) - x mean(g x)). */
static void make_maps(const struct op_call *call, const struct parts *d, size_t first)
{
    const real *weight = call->tensor[NORM_WEIGHT];
    double grads = 0, products = 0, count = (double)(d->rows * d->group);
    double scale = (double)d->scale[first];
    for (size_t c = first; c < first + d->group; c++) {
        grads += (double)(weight[c] * d->grad_sum[c]) / count;
        products += (double)(weight[c] * d->product_sum[c]) / count;
    }
    for (size_t c = first; c < first + d->group; c++) {
        d->maps[0][c] = weight[c] * d->scale[c];
        d->maps[1][c] = (real)(-scale * scale * scale * products);
        d->maps[2][c] = (real)(-scale * grads);
    }
}

/* The sums are those that backward_weights kept, which does not come by when all is frozen. */
static void backward_data(const struct op_call *call)
{
    bool is_frozen = call->plan->tensors[NORM_WEIGHT].update == UPDATE_FROZEN;
    for (size_t sample = 0; sample < call->count; sample++) {
        struct parts d = parts_of(call, sample);
        size_t at = sample * call->plan->in_count;
        if (is_frozen)
            sum_grads(call, &d, sample);
        for (size_t first = 0; first < d.cols; first += d.group)
            make_maps(call, &d, first);
        norm_apply_grad(call->in_grad + at, call->out_grad + at, d.in,
                        &(struct norm_grad_map){d.mean, d.maps[0], d.maps[1], d.maps[2]}, d.rows,
                        d.cols);
    }
}

const struct op_kernel op_group_norm = {
    .plan = plan,
    .forward = forward,
    .backward_weights = backward_weights,
    .backward_data = backward_data,
    .can_overwrite = true,
    .reads_in = true,
};
