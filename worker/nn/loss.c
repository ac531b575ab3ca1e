#include "worker/nn/loss.h"

#include <math.h>
#include <stdlib.h>
#include "worker/nn/cross_entropy.h"
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

int loss_spec_create(const struct model_spec *model, struct loss_spec *spec_out)
{
    const struct real_list *weights = &model->class_weights;
    *spec_out =
        (struct loss_spec){.kind = model->loss, .label_smoothing = model->label_smoothing};
    if (weights->count == 0)
        return 0;
    spec_out->class_weights = calloc(weights->count, sizeof(real));
    if (spec_out->class_weights == NULL)
        return ERR_NOMEM;
    spec_out->class_weight_count = weights->count;
    for (size_t i = 0; i < weights->count; i++)
        spec_out->class_weights[i] = (real)weights->items[i];
    return 0;
}

void loss_spec_free(struct loss_spec *spec)
{
    free(spec->class_weights);
    *spec = (struct loss_spec){0};
}

/* One row of class scores for each label. */
static bool are_rows(const struct graph_input *data, const struct op_shape *output)
{
    if (data->label_count == 1)
        return op_shape_count(output) == data->class_count;
    return output->dims == 2 && output->size[0] == data->label_count &&
           output->size[1] == data->class_count;
}

static int check_softmax(const struct loss_spec *spec, const struct graph_input *data,
                         const struct op_shape *output, struct err_msg *why)
{
    char found[40];
    op_shape_text(output, found);
    if (data->class_count == 0)
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy needs a class for each sample, but the labels "
                       "are %u number(s) (mean_squared_error takes these)",
                       data->label_count);
    if (!are_rows(data, output) && data->label_count > 1)
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy: the data has a label at each of %u positions, "
                       "of %u classes, so the network's last operator must give %ux%u, but gives "
                       "%s",
                       data->label_count, data->class_count, data->label_count, data->class_count,
                       found);
    if (!are_rows(data, output) && output->dims == 2)
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy: the network's last operator gives %s, an "
                       "answer at each of %u positions, but the data has one label a sample, of "
                       "%u classes",
                       found, output->size[0], data->class_count);
    if (!are_rows(data, output))
        return err_set(why, ERR_INPUT,
                       "loss softmax_cross_entropy: the data has %u classes, but the network's "
                       "last operator gives %zu output(s)",
                       data->class_count, op_shape_count(output));
    if (spec->class_weight_count != 0 && spec->class_weight_count != data->class_count)
        return err_set(why, ERR_INPUT,
                       "model.class_weights has %zu numbers, but the data has %u classes",
                       spec->class_weight_count, data->class_count);
    return 0;
}

int loss_check(const struct loss_spec *spec, const struct graph_input *data,
               const struct op_shape *output, struct err_msg *why)
{
    size_t output_count = op_shape_count(output);
    if (spec->kind == LOSS_SOFTMAX_CROSS_ENTROPY)
        return check_softmax(spec, data, output, why);
    if (data->label_count > 1 && data->class_count > 0)
        return err_set(why, ERR_INPUT,
                       "loss %s takes one label a sample, but the data has classes at each of %u "
                       "positions (softmax_cross_entropy takes these)",
                       loss_name(spec->kind), data->label_count);
    if (spec->kind == LOSS_BINARY_CROSS_ENTROPY && data->class_count > 2)
        return err_set(why, ERR_INPUT,
                       "loss binary_cross_entropy knows labels 0 and 1, but the data has %u "
                       "classes (softmax_cross_entropy takes these)",
                       data->class_count);
    if (output_count != data->label_count)
        return err_set(why, ERR_INPUT,
                       "loss %s: the data has %u label(s) a sample, but the network's last "
                       "operator gives %zu output(s)",
                       loss_name(spec->kind), data->label_count, output_count);
    return 0;
}

size_t loss_scratch_count(const struct graph_input *data, size_t output_count)
{
    return data->class_count > 0 && data->label_count > 1 ? 0 : output_count;
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
    result->answers++;
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

static struct cross_entropy cross_entropy_of(const struct loss_batch *batch)
{
    const struct loss_spec *spec = batch->spec;
    size_t class_count = batch->output_count / batch->label_count;
    struct cross_entropy what = {.class_count = class_count,
                                 .row_count = batch->label_count,
                                 .label_smoothing = spec->label_smoothing,
                                 .class_weights = spec->class_weights,
                                 .weight_sum = (double)class_count};
    if (spec->class_weights != NULL)
        what.weight_sum = 0;
    for (size_t i = 0; i < spec->class_weight_count; i++)
        what.weight_sum += (double)spec->class_weights[i];
    return what;
}

static void apply_sample(const struct loss_batch *batch, const struct cross_entropy *what,
                         const real *z, const real *labels, real *grad, struct loss_result *result)
{
    if (batch->spec->kind == LOSS_SOFTMAX_CROSS_ENTROPY)
        cross_entropy_sample(what, z, labels, grad, result);
    else if (batch->spec->kind == LOSS_BINARY_CROSS_ENTROPY)
        binary_sample(z, labels, batch->output_count, grad, result);
    else
        squared_sample(z, labels, batch->output_count, grad, result);
}

/* Mixup: m loss(label) + (1 - m) loss(mixed label), which for cross-entropy is the loss of the
 * mixed labels, and for squares has its gradient (Zhang et al. 2018, section 2).  An answer is
 * right when it is the label that weighs more. */
static void apply_mixed(const struct loss_batch *batch, const struct cross_entropy *what,
                        size_t sample, real *grad, struct loss_result *result)
{
    const real *z = batch->outputs + sample * batch->output_count;
    struct loss_result own = {0}, mixed = {0};
    real m = batch->mix_weights[sample];
    size_t labels_at = sample * batch->label_count;
    apply_sample(batch, what, z, batch->labels + labels_at, grad, &own);
    apply_sample(batch, what, z, batch->mix_labels + labels_at, batch->scratch, &mixed);
    for (size_t i = 0; i < batch->output_count; i++)
        grad[i] = m * grad[i] + (1 - m) * batch->scratch[i];
    result->loss_sum += (double)m * own.loss_sum + (1 - (double)m) * mixed.loss_sum;
    result->correct += m >= (real)0.5 ? own.correct : mixed.correct;
    result->answers += own.answers;
}

void loss_apply(const struct loss_batch *batch, real *grad, struct loss_result *result_out)
{
    struct cross_entropy what = cross_entropy_of(batch);
    *result_out = (struct loss_result){.count = batch->count};
    for (size_t i = 0; i < batch->count; i++) {
        const real *z = batch->outputs + i * batch->output_count;
        const real *labels = batch->labels + i * batch->label_count;
        real *row = grad + i * batch->output_count;
        if (batch->mix_labels != NULL)
            apply_mixed(batch, &what, i, row, result_out);
        else
            apply_sample(batch, &what, z, labels, row, result_out);
    }
}

void loss_predict(const struct loss_batch *batch, real *predictions)
{
    size_t rows = batch->count * batch->label_count, width = batch->output_count;
    if (batch->spec->kind == LOSS_SOFTMAX_CROSS_ENTROPY)
        cross_entropy_softmax(batch->outputs, rows, width / batch->label_count, predictions);
    else if (batch->spec->kind == LOSS_BINARY_CROSS_ENTROPY)
        kernel_sigmoid(predictions, batch->outputs, batch->count * width);
    else
        kernel_copy(predictions, batch->outputs, batch->count * width);
}
