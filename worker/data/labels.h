#ifndef WORKER_DATA_LABELS_H
#define WORKER_DATA_LABELS_H

/* labels - whether the labels of a data set are what its loss needs, and how many classes there
 * are.
 *
 * Shapes:   labels [rows][label_count].  softmax_cross_entropy: one class a sample, or several, one
 *           at each position, where a whole number below 0 stands for none.
 * Owner:    none: one function.  Thread: any.
 * Memory:   none; labels are read in pieces.
 * Source:   none.
 * Surprise: none.
 */
#include "common/model_spec.h"
#include "worker/data/samples.h"

struct labels_found {
    uint32_t label_count; /* numbers a sample */
    uint32_t class_count; /* 0: regression.  In: the classes there are, or 0 to count them */
};

/* Reads all labels.  ERR_INPUT with a sentence that names file and sample: not finite, no class
 * number, a class beyond class_count. */
MUST_USE int labels_check(const struct samples *samples, enum loss_kind loss,
                          struct labels_found *found, struct err_msg *why);

#endif
