#ifndef DEPLOY_AVERAGE_H
#define DEPLOY_AVERAGE_H

/* average - the held-out figures of a run's averaged weights, beside those of its last ones.
 *
 * Owner:    `talweg train`.  Thread: one.
 * Memory:   that of trained, for the call.
 * Surprise: none.
 */
#include "common/document.h"
#include "deploy/trained.h"

/* Evaluates the average in spec's checkpoint and puts average_test_loss and average_test_accuracy
 * into the summary, which is saved at path again.  A job without a test part: nothing is done. */
MUST_USE int average_add(struct trained_spec *spec, struct document *summary, const char *path,
                         struct err_msg *why);

#endif
