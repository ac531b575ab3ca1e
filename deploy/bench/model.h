#ifndef DEPLOY_BENCH_MODEL_H
#define DEPLOY_BENCH_MODEL_H

/* model - the models that the benchmark exchanges: shapes without a network behind them.
 *
 *   flat      one tensor of so many bytes
 *   resnet50  the 161 tensors of ResNet-50, 25,557,032 floats
 *   100m      a language model of width 1000 with five blocks, 100,000,000 floats
 *
 * Owner:    the caller of what is made.  Thread: any.
 * Memory:   one layout.
 * Source:   He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1;
 *           Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.
 * Surprise: all weights begin at zero: nothing is learned here.
 */
#include "common/layout.h"

enum bench_model { BENCH_FLAT, BENCH_RESNET50, BENCH_100M, BENCH_MODEL_COUNT };

/* "flat", "resnet50", "100m".  Static. */
const char *bench_model_name(enum bench_model model);

/* ERR_NOT_FOUND when there is no such name. */
MUST_USE int bench_model_find(const char *name, enum bench_model *model_out);

/* bytes: of the flat model, a multiple of 4; the others have their own.  ERR_INPUT with a sentence,
 * ERR_NOMEM. */
MUST_USE int bench_model_layout(enum bench_model model, uint64_t bytes, uint32_t block_bytes,
                                struct layout **layout_out, struct err_msg *why);

#endif
