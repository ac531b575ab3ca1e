#ifndef WORKER_DATA_NORM_H
#define WORKER_DATA_NORM_H

/* norm - the mean and the deviation of each channel of a data set, given by the job or measured.
 *
 * Shapes:   a sample's element e, in file order, is of channel e / stride % count.
 * Owner:    the dataset.  Thread: one while it is measured, any after.
 * Memory:   two doubles a channel, four while measuring.
 * Source:   sums about a shift near the mean: Chan, Golub, LeVeque, "Algorithms for computing the
 *           sample variance", 1983, section 3.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/settings.h"

struct norm {
    double scale;  /* values are multiplied by it first */
    size_t count;  /* channels: 1, those of an image, or all elements, each by itself */
    size_t stride; /* elements between one channel and the next */
    double *means; /* [count], of scaled values */
    double *stds;  /* [count], none is 0 */
};

/* Channels with mean 0 and deviation 1.  ERR_NOMEM. */
MUST_USE int norm_create(double scale, size_t count, size_t stride, struct norm *out);

/* As the job says (data.scale, data.mean, data.std), or, for data.normalise "standard", still to be
 * measured.  ERR_INPUT with a sentence when the settings contradict; out is then to be cleared. */
MUST_USE int norm_of_job(const struct settings *settings, size_t channel_count, size_t stride,
                         struct norm *out, struct err_msg *why);
MUST_USE int norm_copy(const struct norm *norm, struct norm *out);
void norm_clear(struct norm *norm);

/* Sums over samples; the same bits whenever samples are added in the same order. */
struct moments;

MUST_USE int moments_create(const struct norm *norm, struct moments **moments_out);
void moments_destroy(struct moments *moments);

/* Adds elements first..first+count of a sample, not yet scaled. */
void moments_add(struct moments *moments, const double *elements, size_t first, size_t count);

/* Mean and deviation (of the whole population) of what was added to the norm; a deviation of 0, as
 * of a pixel that is always black, becomes 1. */
void moments_finish(const struct moments *moments, struct norm *norm);

#endif
