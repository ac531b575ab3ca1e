#ifndef WORKER_NN_LOSS_H
#define WORKER_NN_LOSS_H

/* loss - how far outputs are from labels, as a sum over samples, and its gradient.
 *
 *   softmax_cross_entropy  -log softmax(z)[label]; a label is a class index
 *   binary_cross_entropy   sum over outputs of log(1 + exp(z)) - label z; labels are 0 or 1
 *   mean_squared_error     mean over outputs of (z - label)^2
 *
 * Shapes:   outputs z, grad: [count][output_count]; labels: [count][label_count].
 * Owner:    graph.  Memory: none.  Thread: any.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/model_spec.h"
#include "worker/nn/graph.h"

struct loss_batch {
    enum loss_kind kind;
    size_t count, output_count, label_count;
    const real *outputs, *labels;
};

/* ERR_INPUT with a sentence when the network's outputs do not fit the labels. */
MUST_USE int loss_check(enum loss_kind kind, const struct graph_input *data, size_t output_count,
                        struct err_msg *why);

/* Loss, right answers and gradient of the sum over samples.  grad is overwritten.  A class index
 * outside 0..output_count-1 is a bug of the caller. */
void loss_apply(const struct loss_batch *batch, real *grad, struct loss_result *result_out);

/* What a user sees: probabilities for softmax and binary cross-entropy, else the outputs as they
 * are.  predictions: [count][output_count]. */
void loss_predict(const struct loss_batch *batch, real *predictions);

const char *loss_name(enum loss_kind kind); /* the word of the job file; static */

#endif
