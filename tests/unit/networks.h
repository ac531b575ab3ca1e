#ifndef TESTS_UNIT_NETWORKS_H
#define TESTS_UNIT_NETWORKS_H

/* networks - models written down in a line or two, and numbers to feed them.
 *
 * Owner:    tests of worker/nn.  Memory: none; a struct network is a value.
 * Surprise: none.
 *
 * Use:      struct network net = {.loss = LOSS_MEAN_SQUARED_ERROR};
 *           network_add(&net, (struct op_spec){.kind = OP_DENSE, .units = 3, .bias = true});
 */
#include <math.h>
#include <stdio.h>
#include "common/model_spec.h"
#include "worker/nn/graph.h"

enum { NETWORK_OPS_MAX = 64 };

struct network {
    enum loss_kind loss;
    double label_smoothing;
    struct real_list class_weights;
    bool recompute;
    enum products products;
    struct graph_input data;
    size_t op_count;
    struct op_spec ops[NETWORK_OPS_MAX];
};

/* Adds an operator that reads the one before, unless it says otherwise (network_add_from). */
static inline void network_add(struct network *net, struct op_spec op)
{
    if (op.input_count == 0) {
        op.input_count = 1;
        op.inputs[0] = (int32_t)net->op_count - 1;
    }
    for (int axis = 0; axis < 2; axis++)
        if (op.stride[axis] == 0)
            op.stride[axis] = op.kind == OP_CONV2D || op.kind == OP_CONV_TRANSPOSE2D
                                  ? 1
                                  : op.kernel[axis];
    op.line = (int)net->op_count + 1;
    snprintf(op.name, sizeof(op.name), "%s_%zu", op_kind_name(op.kind), net->op_count);
    net->ops[net->op_count++] = op;
}

static inline void network_add_kind(struct network *net, enum op_kind kind)
{
    network_add(net, (struct op_spec){.kind = kind});
}

static inline void network_add_dense(struct network *net, uint32_t units)
{
    network_add(net,
                (struct op_spec){.kind = OP_DENSE, .units = units, .bias = true, .init = INIT_HE});
}

/* A square kernel with stride 1 and padding "same". */
static inline void network_add_conv(struct network *net, uint32_t filters, uint32_t kernel)
{
    network_add(net, (struct op_spec){.kind = OP_CONV2D,
                                      .filters = filters,
                                      .kernel = {kernel, kernel},
                                      .padding_same = true,
                                      .bias = true,
                                      .init = INIT_HE});
}

static inline void network_add_pool(struct network *net, enum op_kind kind, uint32_t kernel)
{
    network_add(net, (struct op_spec){.kind = kind, .kernel = {kernel, kernel}});
}

static inline void network_add_sum(struct network *net, int32_t left, int32_t right)
{
    network_add(net, (struct op_spec){.kind = OP_ADD, .inputs = {left, right}, .input_count = 2});
}

static inline struct model_spec network_spec(struct network *net)
{
    return (struct model_spec){.loss = net->loss,
                               .label_smoothing = net->label_smoothing,
                               .class_weights = net->class_weights,
                               .recompute = net->recompute,
                               .products = net->products,
                               .op_count = net->op_count,
                               .ops = net->ops};
}

/* out[i] = scale sin(rate (i + 1)): numbers that anyone can make again. */
static inline void wave(real *out, size_t count, double rate, double scale)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (real)(scale * sin(rate * (double)(i + 1)));
}

#endif
