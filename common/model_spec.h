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
    OP_KIND_COUNT
};

enum { OP_NAME_BYTES = 48, OP_INPUTS_MAX = 2, OP_COUNT_MAX = 4096 };

/* One operator.  Fields that its kind does not have are zero. */
struct op_spec {
    enum op_kind kind;
    char name[OP_NAME_BYTES];
    int32_t inputs[OP_INPUTS_MAX]; /* index of the operator that makes it; -1: the model's input */
    uint32_t input_count;          /* 2 for add, 1 for all others */
    uint32_t units;                /* dense: numbers out */
    uint32_t filters;              /* conv2d: channels out */
    uint32_t kernel[2];            /* conv2d, pools: rows, columns */
    uint32_t stride[2];            /* conv2d, pools: rows, columns */
    uint32_t padding[2];           /* conv2d, pools: rows, columns a side; 0 if padding_same */
    bool padding_same;             /* conv2d, pools: outputs = inputs / stride, rounded up */
    float rate;                    /* dropout: share of inputs set to zero, 0..<1 */
    bool bias;                     /* dense, conv2d */
    enum init_kind init;           /* dense, conv2d: of the weight; a bias starts at zero */
    int line;                      /* of the job file, for messages */
};

/* Valid when zeroed: no operators. */
struct model_spec {
    enum loss_kind loss;
    size_t op_count;
    struct op_spec *ops; /* [op_count], in the order of the job file */
};

struct document;
struct jobfile;
struct job_value;

/* Reads `operators` (model.operators of file) into model_out->ops; the loss is left alone.
 * ERR_INPUT with file, line, what was found and what was expected; ERR_NOMEM. */
MUST_USE int model_spec_read(const struct jobfile *file, const struct job_value *operators,
                             struct model_spec *model_out, struct err_msg *why);

/* The operators as JSON, with their own keys and those that were left to the default.  NULL: out of
 * memory. */
MUST_USE struct document *model_spec_document(const struct model_spec *model);

/* Writes all of the operators exactly, one a line, to take a digest of. */
void model_spec_write(const struct model_spec *model, FILE *stream);
void model_spec_destroy(struct model_spec *model); /* frees what it holds, not the struct */

/* The word of the job file: "conv2d".  Static. */
const char *op_kind_name(enum op_kind kind);

/* Prints what each operator takes, from the table. */
void model_spec_print(FILE *stream, enum settings_form form);

#endif
