#ifndef COMMON_LAYOUT_H
#define COMMON_LAYOUT_H

/* layout - how a model's tensors lie in one flat vector, and how that is cut into blocks.
 *
 * Tensors lie one after another in the order given.  A block is a range of one tensor of at most
 * block_bytes: the unit of placement, transfer, update and checkpoint.  Blocks are numbered in the
 * order of the flat vector.
 *
 * Shapes:   flat vector: [weight_count] f32.
 * Owner:    its creator; read-only after creation.  Thread: any, once made.
 * Memory:   two arrays, taken at creation.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

enum { TENSOR_DIMS_MAX = 4, TENSOR_NAME_BYTES = 64 };

enum { LAYOUT_TENSORS_MAX = 65536, LAYOUT_BLOCKS_MAX = 1 << 24 };

enum { RATE_SCALE_MAX = 1000 };

/* Half-open range of indices. */
struct range {
    uint64_t begin, end;
};

enum init_kind {
    INIT_ZERO,
    INIT_HE,     /* normal, deviation sqrt(2 / fan_in): He et al. 2015, section 2.2 */
    INIT_XAVIER, /* uniform in +-sqrt(6 / (fan_in + fan_out)): Glorot & Bengio 2010, eq. 16 */
    INIT_ONE,
    INIT_NORMAL, /* deviation init_scale */
    INIT_UNIFORM /* in +-init_scale */
};

/* What a step does to a tensor. */
enum tensor_update {
    UPDATE_OPTIMIZER = 0, /* what the job's optimizer says */
    UPDATE_AVERAGE,       /* w += rate_scale * (mean - w), mean = what lanes pushed, by samples:
                           * the running statistics of Ioffe & Szegedy 2015, algorithm 2 */
    UPDATE_FROZEN         /* nothing: it keeps what it begins with, and no step sends it */
};

struct tensor_spec {
    char name[TENSOR_NAME_BYTES];      /* "conv1.weight" */
    uint32_t dims;                     /* 1..TENSOR_DIMS_MAX */
    uint32_t shape[TENSOR_DIMS_MAX];   /* row major, each >= 1 */
    enum init_kind init;
    float init_scale;                  /* deviation (INIT_HE, _NORMAL), bound (_XAVIER, _UNIFORM) */
    bool has_decay;                    /* weight decay and L1 apply (weights yes, biases no) */
    enum tensor_update update;
    float rate_scale; /* UPDATE_OPTIMIZER: times the learning rate, up to RATE_SCALE_MAX; 0, as in
                       * a zeroed spec, counts as 1.  UPDATE_AVERAGE: the share of what is new in
                       * one step, 0 to 1 */
};

struct block_spec {
    uint32_t tensor_idx;
    struct range range; /* elements of the flat vector */
};

struct layout {
    size_t tensor_count;
    struct tensor_spec *tensors;
    uint64_t *tensor_begin; /* [tensor_count + 1]: first element of each, then weight_count */
    uint64_t weight_count;
    uint32_t block_bytes;
    size_t block_count;
    struct block_spec *blocks;
};

/* What there is to know of a layout before it is cut: all but tensor_begin and blocks, which are
 * NULL.  It borrows the specs and takes no memory but for the call.  Errors as layout_create. */
MUST_USE int layout_describe(struct tensor_spec *tensors, size_t tensor_count,
                             uint32_t block_bytes, struct layout *layout_out,
                             struct err_msg *why);

/* Copies the specs.  ERR_INPUT with a sentence for an empty or duplicate name, a zero or too large
 * shape, a rate_scale out of its range, or block_bytes that is not a multiple of 4 or below 4. */
MUST_USE int layout_create(const struct tensor_spec *tensors, size_t tensor_count,
                           uint32_t block_bytes, struct layout **layout_out, struct err_msg *why);
void layout_destroy(struct layout *layout);

/* Elements of a tensor (product of its shape); 0 when it does not fit 47 bits. */
uint64_t tensor_element_count(const struct tensor_spec *tensor);

/* The factor of the learning rate, or the share: rate_scale, or 1 where a spec left it zeroed. */
float tensor_rate_scale(const struct tensor_spec *tensor);

/* The blocks of one tensor, as a half-open range of block numbers. */
struct range layout_tensor_blocks(const struct layout *layout, size_t tensor_idx);

/* Weights of one block at version 0: a pure function of (seed, tensor, element).
 * out: [range.end - range.begin]. */
void layout_init_block(const struct layout *layout, size_t block_idx, uint64_t seed, float *out);

/* sha256 over names, shapes, initialisation, updates and block size, as 64 hex digits and a NUL. */
MUST_USE int layout_digest(const struct layout *layout, char hex_out[65]);

#endif
