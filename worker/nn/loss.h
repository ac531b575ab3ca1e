#ifndef WORKER_NN_LOSS_H
#define WORKER_NN_LOSS_H

/* loss - how far outputs are from labels, as a sum over samples, and its gradient.
 *
 *   softmax_cross_entropy  -log softmax(z)[label]; a label is a class index.  With one at each of T
 *                          positions, the mean over those that count (cross_entropy.h: this,
 *                          label smoothing and class weights)
 *   binary_cross_entropy   sum over outputs of log(1 + exp(z)) - label z; labels are 0 or 1
 *   mean_squared_error     mean over outputs of (z - label)^2
 *
 * A batch's gradient is of the sum over samples, whatever classes weigh; the servers divide it by
 * the number of samples.
 *
 * Shapes:   outputs z, grad: [count][output_count]; labels: [count][label_count]; output_count is
 *           label_count x classes where labels are positions.
 * Owner:    graph.  Memory: the class weights of a loss_spec.  Thread: any.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/model_spec.h"
#include "worker/nn/graph.h"
#include "worker/nn/op.h"

/* What is made small; valid when zeroed. */
struct loss_spec {
    enum loss_kind kind;
    double label_smoothing;
    real *class_weights; /* [class_weight_count]; NULL: all classes weigh 1 */
    size_t class_weight_count;
};

struct loss_batch {
    const struct loss_spec *spec;
    size_t count, output_count, label_count;
    const real *outputs, *labels;
    const real *mix_labels, *mix_weights; /* as in graph_batch; NULL without mixup */
    real *scratch;                        /* [loss_scratch_count], for mixup */
};

/* Takes what the model says of its loss.  ERR_NOMEM. */
MUST_USE int loss_spec_create(const struct model_spec *model, struct loss_spec *spec_out);
void loss_spec_free(struct loss_spec *spec); /* what it holds, not the struct */

/* ERR_INPUT with a sentence when the network's output, or the class weights, do not fit the
 * labels. */
MUST_USE int loss_check(const struct loss_spec *spec, const struct graph_input *data,
                        const struct op_shape *output, struct err_msg *why);

/* Reals of a loss_batch's scratch; 0 for classes at each of several positions, never mixed. */
size_t loss_scratch_count(const struct graph_input *data, size_t output_count);

/* Loss, right answers and gradient of the sum over samples.  grad is overwritten.  A class index
 * beyond the classes is a bug of the caller; one below 0 does not count. */
void loss_apply(const struct loss_batch *batch, real *grad, struct loss_result *result_out);

/* What a user sees: probabilities for softmax (at each position) and binary cross-entropy, else the
 * outputs as they are.  labels are not read.  predictions: [count][output_count]. */
void loss_predict(const struct loss_batch *batch, real *predictions);

const char *loss_name(enum loss_kind kind); /* the word of the job file; static */

#endif
