#ifndef COMMON_MODEL_SPEC_H
#define COMMON_MODEL_SPEC_H

/* model_spec - the model as the job file says it: a loss, and a list of operators that name inputs.
 *
 * Nothing here knows a shape; worker/nn/graph.h plans a model_spec for the data it gets.  Names are
 * unique, inputs point backwards, and every number is in its range: the reader of the job file
 * (jobfile.h) hands over values, and one table (op, key, type, range, default, help) judges them.
 *
 * Owner:    struct settings.  Thread: read-only once made.
 * Memory:   one array of operators.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/err.h"
#include "common/layout.h"
#include "common/settings_table.h"

enum loss_kind {
    LOSS_SOFTMAX_CROSS_ENTROPY,
    LOSS_BINARY_CROSS_ENTROPY,
    LOSS_MEAN_SQUARED_ERROR
};

enum op_kind {
    OP_DENSE,
    OP_CONV2D,
    OP_MAXPOOL2D,
    OP_AVGPOOL2D,
    OP_GLOBAL_AVGPOOL,
    OP_RELU,
    OP_TANH,
    OP_SIGMOID,
    OP_FLATTEN,
    OP_DROPOUT,
    OP_ADD,
    OP_SPATIAL_DROPOUT,
    OP_DROP_PATH,
    OP_BATCH_NORM,
    OP_LAYER_NORM,
    OP_GROUP_NORM,
    OP_GELU,
    OP_SILU,
    OP_LEAKY_RELU,
    OP_ELU,
    OP_SOFTPLUS,
    OP_SOFTMAX,
    OP_MUL,
    OP_CONCAT,
    OP_SEQUENCE,
    OP_LAST,
    OP_GLOBAL_MAXPOOL,
    OP_PAD_CHANNELS,
    OP_EMBEDDING,
    OP_POSITIONAL_EMBEDDING,
    OP_LSTM,
    OP_GRU,
    OP_SELF_ATTENTION,
    OP_CONV1D,
    OP_CONV_TRANSPOSE2D,
    OP_UPSAMPLE2D,
    OP_KIND_COUNT
};

/* Which function gelu is. */
enum gelu_form {
    GELU_ERF, /* x times the normal distribution's share below x */
    GELU_TANH /* the approximation of Hendrycks & Gimpel 2016, section 2 */
};

enum interpolation { INTERPOLATION_NEAREST, INTERPOLATION_BILINEAR };

enum { OP_NAME_BYTES = 48, OP_INPUTS_MAX = 8, OP_COUNT_MAX = 4096 };

/* One operator.  Fields that its kind does not have are zero. */
struct op_spec {
    enum op_kind kind;
    char name[OP_NAME_BYTES];
    int32_t inputs[OP_INPUTS_MAX]; /* index of the operator that makes it; -1: the model's input */
    uint32_t input_count;          /* 2 for add and mul, 2 to 8 for concat, 1 for most others */
    uint32_t units;                /* dense, embedding, lstm, gru: numbers out, a position */
    uint32_t vocabulary;           /* embedding: rows; 0: as many as the data has tokens */
    float deviation;               /* embeddings: of the normal numbers they start with */
    uint32_t heads;                /* self_attention */
    bool causal;                   /* self_attention, conv1d: a position sees none behind it */
    bool reverse;                  /* lstm, gru: from the last position to the first */
    uint32_t filters;              /* convolutions: channels out */
    uint32_t kernel[2];            /* convolutions, pools: rows, columns; conv1d: [0] */
    uint32_t stride[2];            /* convolutions, pools: rows, columns; conv1d: [0] */
    uint32_t padding[2];           /* conv2d, pools: rows, columns a side; 0 if padding_same */
    bool padding_same;             /* conv2d, pools: outputs = inputs / stride, rounded up */
    uint32_t dilation[2];          /* convolutions: pixels from tap to tap; 0 is 1 */
    uint32_t groups;               /* conv1d, conv2d: each sees its own channels only; group_norm;
                                    * 0 is 1 */
    bool winograd;                 /* conv2d: 3x3 of stride 1 may take the fast form */
    uint32_t output_padding[2];    /* conv_transpose2d: rows, columns behind */
    uint32_t factor;               /* upsample2d */
    enum interpolation interpolation; /* upsample2d */
    float rate;                    /* dropouts: share set to zero, 0..<1 */
    bool bias;                     /* dense, convolutions */
    enum init_kind init;           /* dense, convolutions: of the weight; a bias starts at zero */
    uint32_t tied;                 /* dense: 1 + index of the operator whose weight it uses, turned;
                                    * 0: it has its own */
    float momentum;                /* batch_norm: share of a step in the running statistics */
    float epsilon;                 /* norms: added to the variance */
    uint32_t channels;             /* pad_channels: out */
    float slope;                   /* leaky_relu: below zero; elu: what it tends to, negated */
    enum gelu_form approximate;    /* gelu */
    bool frozen;                   /* all that have tensors: they stay */
    float rate_scale;              /* and: of the learning rate; 0, as in a zeroed spec, is 1 */
    int line;                      /* of the job file, for messages */
};

/* How the files of model.init_from keep what has two dimensions or more (pretrained.h). */
enum init_layout { INIT_LAYOUT_TALWEG, INIT_LAYOUT_PYTORCH };

/* How matrices are multiplied: gemm.h, gemm_parts.h. */
enum products { PRODUCTS_F32, PRODUCTS_BF16X3 };

/* Valid when zeroed: no operators. */
struct model_spec {
    enum loss_kind loss;
    double label_smoothing;         /* 0..<1; softmax cross-entropy alone, as is the next */
    struct real_list class_weights; /* of each class; empty: 1; settings free it */
    bool recompute; /* activations are computed again in backward, for less memory */
    enum products products;
    size_t op_count;
    struct op_spec *ops; /* [op_count], in the order of the job file */
    char *init_from;     /* as is the rest, of the table of settings; NULL or "": from nothing */
    struct text_list init_rename;
    enum init_layout init_layout;
};

/* The weights begin as a file has them. */
static inline bool model_has_init(const struct model_spec *model)
{
    return model->init_from != NULL && model->init_from[0] != 0;
}

struct document;
struct jobfile;
struct job_value;

/* What a kind takes; the same for all but a few. */
struct op_inputs {
    size_t min, max;
};
struct op_inputs op_kind_inputs(enum op_kind kind);

/* Reads `operators` (model.operators of file) into model_out->ops; the rest is left alone.
 * ERR_INPUT with file, line, what was found and what was expected; ERR_NOMEM. */
MUST_USE int model_spec_read(const struct jobfile *file, const struct job_value *operators,
                             struct model_spec *model_out, struct err_msg *why);

/* The operators as JSON, with their own keys and those that were left to the default.  NULL: out of
 * memory. */
MUST_USE struct document *model_spec_document(const struct model_spec *model);

/* Writes all of the operators exactly, one a line, to take a digest of. */
void model_spec_write(const struct model_spec *model, FILE *stream);
void model_spec_destroy(struct model_spec *model); /* frees the operators, not the struct */

/* The word of the job file: "conv2d".  Static. */
const char *op_kind_name(enum op_kind kind);

/* Prints what each operator takes, from the table. */
void model_spec_print(FILE *stream, enum settings_form form);

#endif
