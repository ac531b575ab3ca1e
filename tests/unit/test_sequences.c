/* Shape rules of the operators of sequences: what they give, and what they refuse in which words.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/networks.h"
#include "tests/unit/unit.h"

#define TESTS(X)                                                  \
    X(test_sequences_embedding_has_a_row_for_each_token)          \
    X(test_sequences_embedding_takes_a_larger_vocabulary)         \
    X(test_sequences_embedding_of_one_token_is_a_row)             \
    X(test_sequences_embedding_refuses_what_are_no_tokens)        \
    X(test_sequences_embedding_refuses_a_small_vocabulary)        \
    X(test_sequences_positional_embedding_refuses_a_row)          \
    X(test_sequences_recurrent_refuses_a_row)                     \
    X(test_sequences_recurrent_names_its_tensors)                 \
    X(test_sequences_self_attention_gives_a_third)                \
    X(test_sequences_self_attention_refuses_what_it_cannot_cut)   \
    X(test_sequences_network_gives_the_same_bits_on_every_run)

static struct network token_network(uint32_t steps, uint32_t tokens)
{
    return (struct network){
        .loss = LOSS_MEAN_SQUARED_ERROR,
        .data = {.dims = 1, .shape = {steps}, .label_count = 2, .token_count = tokens}};
}

/* Ends the network in as many numbers as there are labels, and plans it; NULL: refused. */
static struct graph *finish(struct network *net, struct err_msg *why)
{
    struct graph *graph = NULL;
    network_add_kind(net, OP_FLATTEN);
    network_add_dense(net, 2);
    struct model_spec spec = network_spec(net);
    int err = graph_create(&spec, &net->data, &graph, why);
    CU_ASSERT(err == 0 || err == ERR_INPUT);
    return graph;
}

static bool refuses(struct network *net, const char *sentence)
{
    struct err_msg why = {""};
    struct graph *graph = finish(net, &why);
    bool is_refused = graph == NULL && strstr(why.text, sentence) != NULL;
    if (!is_refused)
        printf("\n    said     %s\n    expected %s\n", why.text, sentence);
    graph_destroy(graph);
    return is_refused;
}

static bool is_tensor(const struct graph *graph, size_t tensor_idx, const char *name, uint32_t rows,
                      uint32_t columns)
{
    const struct tensor_spec *tensor = graph_tensor(graph, tensor_idx);
    bool is_it = strcmp(tensor->name, name) == 0 && tensor->shape[0] == rows &&
                 tensor->dims == (columns > 0 ? 2 : 1) && tensor->has_decay == (columns > 0);
    if (columns > 0)
        is_it &= tensor->shape[1] == columns;
    return is_it;
}

static void network_add_embedding(struct network *net, uint32_t units, uint32_t vocabulary)
{
    network_add(net, (struct op_spec){.kind = OP_EMBEDDING,
                                      .units = units,
                                      .vocabulary = vocabulary,
                                      .deviation = 0.02f});
}

static void test_sequences_embedding_has_a_row_for_each_token(void)
{
    struct network net = token_network(4, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 3, 0);
    struct graph *graph = finish(&net, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
    CU_ASSERT(is_tensor(graph, 0, "embedding_0.weight", 9, 3));
    CU_ASSERT_EQUAL(graph_tensor(graph, 0)->init, INIT_NORMAL);
    CU_ASSERT_EQUAL(graph_tensor(graph, 0)->init_scale, 0.02f);
    CU_ASSERT_EQUAL(graph_tensor(graph, 1)->shape[0], 4 * 3);
    graph_destroy(graph);
}

static void test_sequences_embedding_takes_a_larger_vocabulary(void)
{
    struct network net = token_network(4, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 3, 16);
    struct graph *graph = finish(&net, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
    CU_ASSERT(is_tensor(graph, 0, "embedding_0.weight", 16, 3));
    graph_destroy(graph);
}

static void test_sequences_embedding_of_one_token_is_a_row(void)
{
    struct network net = token_network(1, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 3, 0);
    network_add_dense(&net, 2);
    struct model_spec spec = network_spec(&net);
    struct graph *graph = NULL;
    CU_ASSERT_EQUAL_FATAL(graph_create(&spec, &net.data, &graph, &why), 0);
    graph_destroy(graph);
    net = token_network(1, 9);
    network_add_embedding(&net, 3, 0);
    network_add(&net, (struct op_spec){.kind = OP_LSTM, .units = 2});
    CU_ASSERT(refuses(&net, "needs a sequence (positions x features) but gets 3"));
}

static void test_sequences_embedding_refuses_what_are_no_tokens(void)
{
    struct network net = token_network(4, 0);
    network_add_embedding(&net, 3, 5);
    CU_ASSERT(refuses(&net, "embedding_0 (embedding) needs tokens, but the data's inputs are "
                            "numbers"));
    net = token_network(4, 9);
    net.data.dims = 2;
    net.data.shape[1] = 2;
    network_add_embedding(&net, 3, 0);
    CU_ASSERT(refuses(&net, "needs tokens, but the data's inputs are not one row of them"));
    net = token_network(4, 9);
    network_add_dense(&net, 4);
    network_add_embedding(&net, 3, 0);
    CU_ASSERT(refuses(&net, "takes the tokens of the data, so its input must be \"input\""));
}

static void test_sequences_embedding_refuses_a_small_vocabulary(void)
{
    struct network net = token_network(4, 9);
    network_add_embedding(&net, 3, 8);
    CU_ASSERT(refuses(&net, "has a vocabulary of 8, but the data has 9 tokens"));
}

static void test_sequences_positional_embedding_refuses_a_row(void)
{
    struct network net = token_network(4, 0);
    network_add_kind(&net, OP_POSITIONAL_EMBEDDING);
    CU_ASSERT(refuses(&net, "needs a sequence (positions x features) but gets 4"));
}

static void test_sequences_recurrent_refuses_a_row(void)
{
    static const enum op_kind kinds[] = {OP_LSTM, OP_GRU};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct network net = token_network(4, 0);
        network_add(&net, (struct op_spec){.kind = kinds[i], .units = 3});
        CU_ASSERT(refuses(&net, "needs a sequence (positions x features) but gets 4"));
    }
}

static void test_sequences_recurrent_names_its_tensors(void)
{
    struct network net = token_network(4, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 3, 0);
    network_add(&net, (struct op_spec){.kind = OP_LSTM, .units = 4});
    network_add(&net, (struct op_spec){.kind = OP_GRU, .units = 5});
    struct graph *graph = finish(&net, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
    CU_ASSERT(is_tensor(graph, 1, "lstm_1.weight_ih", 3, 16));
    CU_ASSERT(is_tensor(graph, 2, "lstm_1.weight_hh", 4, 16));
    CU_ASSERT(is_tensor(graph, 3, "lstm_1.bias", 16, 0));
    CU_ASSERT(is_tensor(graph, 4, "gru_2.weight_ih", 4, 15));
    CU_ASSERT(is_tensor(graph, 5, "gru_2.weight_hh", 5, 15));
    CU_ASSERT(is_tensor(graph, 6, "gru_2.bias_ih", 15, 0));
    CU_ASSERT(is_tensor(graph, 7, "gru_2.bias_hh", 15, 0));
    CU_ASSERT_EQUAL(graph_tensor(graph, 1)->init, INIT_UNIFORM);
    CU_ASSERT_EQUAL(graph_tensor(graph, 1)->init_scale, 0.5f);
    graph_destroy(graph);
}

static void test_sequences_self_attention_gives_a_third(void)
{
    struct network net = token_network(4, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 12, 0);
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 2});
    struct graph *graph = finish(&net, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
    CU_ASSERT_EQUAL(graph_tensor(graph, 1)->shape[0], 4 * 4);
    graph_destroy(graph);
}

static void test_sequences_self_attention_refuses_what_it_cannot_cut(void)
{
    struct network net = token_network(4, 9);
    network_add_embedding(&net, 10, 0);
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 2});
    CU_ASSERT(refuses(&net, "needs a sequence of queries, keys and values (positions x 3 times the "
                            "width, as a dense gives them) but gets 4x10"));
    net = token_network(4, 9);
    network_add_embedding(&net, 12, 0);
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 3});
    CU_ASSERT(refuses(&net, "has 3 heads, which do not divide the width 4 of its queries"));
}

/* Two runs, one of which has computed other things before. */
static void test_sequences_network_gives_the_same_bits_on_every_run(void)
{
    enum { BATCH = 5, STEPS = 70 };
    struct network net = token_network(STEPS, 9);
    struct err_msg why = {""};
    network_add_embedding(&net, 12, 0);
    network_add_kind(&net, OP_POSITIONAL_EMBEDDING);
    network_add(&net, (struct op_spec){.kind = OP_LSTM, .units = 20});
    network_add(&net, (struct op_spec){.kind = OP_GRU, .units = 24, .reverse = true});
    network_add(&net, (struct op_spec){.kind = OP_SELF_ATTENTION, .heads = 2, .causal = true});
    struct graph *graph = finish(&net, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
    size_t bytes = graph_weight_count(graph) * sizeof(real);
    real *weights = malloc(bytes), *first = malloc(bytes), *second = malloc(bytes);
    real inputs[BATCH * STEPS], labels[BATCH * 2];
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        inputs[i] = (real)(i * i % 9);
    wave(labels, ARRAY_LEN(labels), 1.3, 1);
    wave(weights, graph_weight_count(graph), 2.39, 0.3);
    struct graph_batch batch = {.inputs = inputs, .labels = labels, .count = BATCH};
    struct loss_result result;
    struct graph_run *small = NULL, *large = NULL;
    CU_ASSERT_EQUAL_FATAL(graph_run_create(graph, BATCH, &small), 0);
    CU_ASSERT_EQUAL_FATAL(graph_run_create(graph, BATCH + 3, &large), 0);
    graph_train(large, &batch, weights, first, NULL, NULL, &result);
    graph_train(large, &batch, weights, first, NULL, NULL, &result);
    graph_train(small, &batch, weights, second, NULL, NULL, &result);
    CU_ASSERT(isfinite(result.loss_sum) && memcmp(first, second, bytes) == 0);
    graph_run_destroy(small);
    graph_run_destroy(large);
    graph_destroy(graph);
    free(weights);
    free(first);
    free(second);
}

UNIT_MAIN("sequences", TESTS)
