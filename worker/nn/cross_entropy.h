#ifndef WORKER_NN_CROSS_ENTROPY_H
#define WORKER_NN_CROSS_ENTROPY_H

/* cross_entropy - how far rows of class scores are from the right classes, and its gradient.
 *
 * A sample has one row, or one at each of its positions (language models).  Of a row z with the
 * class y, C classes of weights w and label smoothing e
 *
 *   loss   = sum over c of target[c] * -log softmax(z)[c]
 *   target = (1 - e) w[y] onehot(y) + e / C * w
 *   d/dz   = softmax(z) * sum(target) - target
 *
 * A label below 0 is a position that does not count.  A sample's loss is the mean over its rows
 * that count, 0 when none does: over rows, not over their weights as in PyTorch, whose mean over a
 * batch is this one's times rows / sum of w[y].
 *
 * Shapes:   z, grad: [rows][class_count]; labels: [rows].
 * Owner:    loss.  Memory: none.  Thread: any.
 * Source:   Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; PyTorch's
 *           CrossEntropyLoss.
 * Surprise: sums over 32 classes and more are taken in 16 parts (8 of doubles), of fewer in order.
 */
#include <stddef.h>
#include "worker/nn/graph.h"

struct cross_entropy {
    size_t class_count, row_count; /* rows: of a sample */
    double label_smoothing;        /* 0..<1 */
    const real *class_weights;     /* [class_count]; NULL: all are 1 */
    double weight_sum;             /* over classes */
};

/* Adds one sample to result's loss_sum, correct and answers; grad is overwritten with the gradient
 * of the sample's loss.  A label of class_count or more is a bug of the caller. */
void cross_entropy_sample(const struct cross_entropy *what, const real *z, const real *labels,
                          real *grad, struct loss_result *result);

/* out[rows][cols]: the softmax of each row; may be z. */
void cross_entropy_softmax(const real *z, size_t rows, size_t cols, real *out);

#endif
