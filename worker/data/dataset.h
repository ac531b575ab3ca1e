#ifndef WORKER_DATA_DATASET_H
#define WORKER_DATA_DATASET_H

/* dataset - the samples of a job by index, as the network takes them.
 *
 * The training part decides: its words number categories and classes, its samples give mean and
 * deviation, its labels the number of classes; the test part is read by the same.  Without test
 * files, data.test_fraction of the training file is held out, by a permutation keyed by the seed;
 * of a stream of tokens (data.sequence; a text is one) the end, and the rest is cut into windows.
 *
 * Shapes:   inputs [count][input_count], images as H, W, C whatever their order in the file;
 *           labels [count][label_count], a class as its index.
 * Owner:    who opened it.  Thread: dataset_read from any number of threads at once.
 * Memory:   at most data.memory_bytes, and a quarter of the address space a process may have; what
 *           does not fit is read from disk.  dataset_read allocates nothing.
 * Source:   none.
 * Surprise: a held-out part and its training part share one copy of the samples.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/settings.h"

enum dataset_part { DATASET_TRAIN, DATASET_TEST };

struct dataset_info {
    uint64_t count;       /* samples, >= 1 */
    uint32_t dims;        /* 1: features, 3: an image */
    uint32_t shape[3];    /* {F} or {H, W, C} */
    size_t input_count;   /* numbers a sample */
    uint32_t label_count; /* numbers a sample: 1 for a class, T for a class at each position (below
                             0: none there), K for a regression */
    uint32_t class_count; /* 0: regression; 2 for binary cross-entropy */
    uint32_t token_count; /* kinds of tokens where inputs are tokens (data.sequence), else 0 */
};

struct dataset;

/* Opens a part.  ERR_NOT_FOUND, and no sentence needed, only when it is the test part and the job
 * has none; else ERR_INPUT, ERR_IO or ERR_NOMEM with a sentence.  *out is NULL after an error. */
MUST_USE int dataset_open(const struct settings *settings, enum dataset_part part,
                          struct dataset **out, struct err_msg *why);

/* The test part beside an open training part, without reading that one again.  Both may be closed
 * in either order.  Errors as dataset_open. */
MUST_USE int dataset_open_test(const struct settings *settings, const struct dataset *train,
                               struct dataset **out, struct err_msg *why);

/* All samples at `path`, read as the training part's are: IDX or NPY, a CSV of a job whose training
 * part is one, parts.  A CSV's label column and parts' labels may be missing; labels are not looked
 * at and come out as 0.  Reads the training part, but does not keep it.  Errors as dataset_open. */
MUST_USE int dataset_open_inputs(const struct settings *settings, const char *path,
                                 struct dataset **out, struct err_msg *why);
void dataset_close(struct dataset *dataset);

/* Borrowed until dataset_close. */
const struct dataset_info *dataset_info(const struct dataset *dataset);

/* The text of a class when labels were text, the character of a text's token; else NULL.  Borrowed
 * until dataset_close. */
const char *dataset_class_name(const struct dataset *dataset, uint32_t class_idx);

/* What a pixel of 0 becomes, and the lightest, 255 in files of whole numbers (65535 in those of two
 * bytes) and 1 in those of reals: [shape[2]] each.  Only of images. */
void dataset_pixel_range(const struct dataset *dataset, float *black, float *white);

/* The class or token of that name, or -1. */
long dataset_find_class(const struct dataset *dataset, const char *name);

/* Reads samples to inputs and labels.  Index e * count + i is sample i as epoch e sees it: windows
 * of a stream lie elsewhere in each epoch (windows.h), all else is the same in all.  ERR_IO when
 * the disk fails, ERR_INPUT when a number is not finite; the sentence names file and sample. */
MUST_USE int dataset_read(const struct dataset *dataset, const uint64_t *indices, size_t count,
                          float *inputs, float *labels, struct err_msg *why);

#endif
