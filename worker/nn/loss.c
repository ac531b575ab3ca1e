#include "worker/nn/loss.h"

#include <assert.h>
#include <math.h>
#include "worker/nn/kernels.h"

const char *loss_name(enum loss_kind kind)
{
    switch (kind) {
    case LOSS_SOFTMAX_CROSS_ENTROPY:
        return "softmax_cross_entropy";
    case LOSS_BINARY_CROSS_ENTROPY:
        return "binary_cross_entropy";
    case LOSS_MEAN_SQUARED_ERROR:
        return "mean_squared_error";
    }
    return "unknown loss";
}

static int check_softmax(const struct graph_input *data, size_t output_count, struct err_msg *why)
{
    if (data->class_count == 0)
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy needs a class for each sample, but the labels "
                       "are %u number(s) (mean_squared_error takes these)",
                       data->label_count);
    if (output_count != data->class_count || data->label_count != 1)
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy: the data has %u classes, but the network's "
                       "last operator gives %zu output(s)",
                       data->class_count, output_count);
    return 0;
}

int loss_check(enum loss_kind kind, const struct graph_input *data, size_t output_count,
               struct err_msg *why)
{
    if (kind == LOSS_SOFTMAX_CROSS_ENTROPY)
        return check_softmax(data, output_count, why);
    if (kind == LOSS_BINARY_CROSS_ENTROPY && data->class_count > 2)
        return err_set(why, ERR_INPUT,
                       "loss binary_cross_entropy knows labels 0 and 1, but the data has %u "
                       "classes (softmax_cross_entropy takes these)",
                       data->class_count);
    if (output_count != data->label_count)
        return err_set(why, ERR_INPUT,
                       "loss %s: the data has %u label(s) a sample, but the network's last "
                       "operator gives %zu output(s)",
                       loss_name(kind), data->label_count, output_count);
    return 0;
}

static size_t largest(const real *row, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

/* probabilities = exp(z - max) / sum; returns log(sum). */
static double softmax(const real *z, real max, size_t count, real *probabilities)
{
    for (size_t i = 0; i < count; i++)
        probabilities[i] = z[i] - max;
    kernel_exp(probabilities, probabilities, count);
    real sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += probabilities[i];
    kernel_scale(probabilities, probabilities, 1 / sum, count);
    return log((double)sum);
}

/* d/dz = softmax(z) - onehot(label). */
static void softmax_sample(const real *z, const real *labels, size_t count, real *grad,
                           struct loss_result *result)
{
    assert(labels[0] >= 0 && labels[0] < (real)count);
    size_t label = (size_t)labels[0], answer = largest(z, count);
    double log_sum = softmax(z, z[answer], count, grad);
    grad[label] -= 1;
    result->loss_sum += log_sum + (double)z[answer] - (double)z[label];
    result->correct += answer == label;
}

/* log(1 + exp(z)) - y z without overflow; d/dz = sigmoid(z) - y. */
static void binary_sample(const real *z, const real *labels, size_t count, real *grad,
                          struct loss_result *result)
{
    double loss = 0;
    bool is_correct = true;
    kernel_sigmoid(grad, z, count);
    for (size_t i = 0; i < count; i++) {
        double value = (double)z[i];
        loss += fmax(value, 0) - value * (double)labels[i] + log1p(exp(-fabs(value)));
        grad[i] -= labels[i];
        is_correct = is_correct && (z[i] > 0) == (labels[i] > (real)0.5);
    }
    result->loss_sum += loss;
    result->correct += is_correct;
}

/* mean of (z - y)^2; d/dz = 2 (z - y) / count. */
static void squared_sample(const real *z, const real *labels, size_t count, real *grad,
                           struct loss_result *result)
{
    double loss = 0;
    for (size_t i = 0; i < count; i++) {
        real miss = z[i] - labels[i];
        loss += (double)miss * (double)miss;
        grad[i] = 2 * miss / (real)count;
    }
    result->loss_sum += loss / (double)count;
}

void loss_apply(const struct loss_batch *batch, real *grad, struct loss_result *result_out)
{
    *result_out = (struct loss_result){.count = batch->count};
    for (size_t i = 0; i < batch->count; i++) {
        const real *z = batch->outputs + i * batch->output_count;
        const real *labels = batch->labels + i * batch->label_count;
        real *row = grad + i * batch->output_count;
        if (batch->kind == LOSS_SOFTMAX_CROSS_ENTROPY)
            softmax_sample(z, labels, batch->output_count, row, result_out);
        else if (batch->kind == LOSS_BINARY_CROSS_ENTROPY)
            binary_sample(z, labels, batch->output_count, row, result_out);
        else
            squared_sample(z, labels, batch->output_count, row, result_out);
    }
}

void loss_predict(const struct loss_batch *batch, real *predictions)
{
    size_t width = batch->output_count;
    for (size_t i = 0; i < batch->count; i++) {
        const real *z = batch->outputs + i * width;
        if (batch->kind == LOSS_SOFTMAX_CROSS_ENTROPY)
            softmax(z, z[largest(z, width)], width, predictions + i * width);
        else if (batch->kind == LOSS_BINARY_CROSS_ENTROPY)
            kernel_sigmoid(predictions + i * width, z, width);
        else
            kernel_copy(predictions + i * width, z, width);
    }
}
