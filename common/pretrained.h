#ifndef COMMON_PRETRAINED_H
#define COMMON_PRETRAINED_H

/* pretrained - the weights that a job begins with, from files that others have written.
 *
 * model.init_from names a safetensors file, a sharded index, or a folder with one of them, such as
 * a checkpoint; model.init_rename pairs tensors whose names differ: "ours=theirs", where one "*" on
 * both sides stands for the same text ("conv*=features.conv*").  The first pair that fits counts.
 *
 * PyTorch keeps a dense weight as [out][in], a convolution's as [out][in][rows][columns], that of a
 * transposed one as [in][out][rows][columns]; ours are [in][out] and [rows][columns][in][out].
 * With model.init_layout "pytorch" whatever has two dimensions or more is taken to be turned so,
 * but for embeddings, which are alike.
 *
 * Shapes:   a tensor: as the layout has it, f32.
 * Owner:    the store; `talweg eval`.  Thread: one.
 * Memory:   the table of tensors; of a turned one, one output's inputs while it is read.
 * Source:   https://github.com/huggingface/safetensors, "Format".
 * Surprise: none.
 */
#include "common/layout.h"
#include "common/model_spec.h"

struct pretrained;

/* Opens the files of model->init_from.  model is borrowed for its life.  ERR_NOT_FOUND, ERR_INPUT,
 * ERR_IO, ERR_NOMEM with a sentence. */
MUST_USE int pretrained_open(const struct model_spec *model, struct pretrained **pretrained_out,
                             struct err_msg *why);
void pretrained_close(struct pretrained *pretrained);

/* Finds each of the layout's tensors, which is borrowed from then on; what is missing in the files
 * and what of them is not used is logged.  ERR_INPUT: one has another shape, a type that is not
 * read, or none is there at all; ERR_NOMEM. */
MUST_USE int pretrained_match(struct pretrained *pretrained, const struct layout *layout,
                              struct err_msg *why);

/* A block of the matched layout, as the files have it, else as layout_init_block makes it.
 * out: [the block's elements].  Errors as safetensors_read. */
MUST_USE int pretrained_read_block(const struct pretrained *pretrained, size_t block_idx,
                                   uint64_t seed, float *out, struct err_msg *why);

/* The same of all blocks.  out: [weight_count]. */
MUST_USE int pretrained_read(const struct pretrained *pretrained, uint64_t seed, float *out,
                             struct err_msg *why);

#endif
