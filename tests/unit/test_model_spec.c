#include "common/model_spec.h"

#include <stdlib.h>
#include <string.h>
#include "common/document.h"
#include "common/jobfile.h"
#include "tests/unit/unit.h"

/* Reads the operators of a text like `( { op = "relu"; } )`, which starts on line 1 of "job". */
static int read_ops(const char *text, struct model_spec *model, struct err_msg *why)
{
    char *line = NULL;
    struct jobfile *file = NULL;
    int bytes = asprintf(&line, "operators = %s;", text);
    if (bytes < 0 || jobfile_parse("job", line, (size_t)bytes, &file, why) != 0) {
        printf("\n    %s\n", why->text);
        abort();
    }
    free(line);
    int err = model_spec_read(file, &jobfile_root(file)->items[0], model, why);
    jobfile_destroy(file);
    return err;
}

static struct model_spec model_of(const char *text)
{
    struct model_spec model = {.loss = LOSS_MEAN_SQUARED_ERROR};
    struct err_msg why = {{0}};
    if (read_ops(text, &model, &why) != 0)
        printf("\n    %s\n", why.text);
    CU_ASSERT_NOT_EQUAL_FATAL(model.op_count, 0);
    CU_ASSERT_EQUAL(model.loss, LOSS_MEAN_SQUARED_ERROR);
    return model;
}

static bool refuses(const char *text, const char *sentence)
{
    struct model_spec model = {0};
    struct err_msg why = {{0}};
    int err = read_ops(text, &model, &why);
    bool is_refused = err == ERR_INPUT && strncmp(why.text, sentence, strlen(sentence)) == 0;
    if (!is_refused)
        printf("\n    said     %s\n    expected %s\n", why.text, sentence);
    CU_ASSERT_PTR_NULL(model.ops);
    return is_refused;
}

static void test_model_spec_reads_each_operator(void)
{
    struct model_spec model = model_of(
        "( { op = \"conv2d\"; filters = 6; kernel = (3, 5); padding = (1, 2); stride = 2; },\n"
        "  { op = \"maxpool2d\"; }, { op = \"avgpool2d\"; kernel = 3; padding = 1; },\n"
        "  { op = \"global_avgpool\"; }, { op = \"relu\"; }, { op = \"tanh\"; },\n"
        "  { op = \"sigmoid\"; }, { op = \"flatten\"; }, { op = \"dropout\"; rate = 0.25; },\n"
        "  { op = \"dense\"; units = 4; bias = false; init = \"xavier\"; } )");
    const struct op_spec *conv = &model.ops[0];
    CU_ASSERT_EQUAL_FATAL(model.op_count, 10);
    CU_ASSERT(conv->kind == OP_CONV2D && conv->filters == 6 && conv->bias && conv->line == 1);
    CU_ASSERT(conv->kernel[0] == 3 && conv->kernel[1] == 5);
    CU_ASSERT(conv->stride[0] == 2 && conv->stride[1] == 2);
    CU_ASSERT(conv->padding[0] == 1 && conv->padding[1] == 2 && !conv->padding_same);
    CU_ASSERT(conv->init == INIT_HE);
    CU_ASSERT(model.ops[1].kernel[0] == 2 && model.ops[1].stride[1] == 2 && model.ops[1].line == 2);
    CU_ASSERT(model.ops[2].kernel[1] == 3 && model.ops[2].stride[0] == 3);
    CU_ASSERT(model.ops[2].padding[0] == 1 && model.ops[2].filters == 0);
    CU_ASSERT_EQUAL(model.ops[8].rate, 0.25F);
    CU_ASSERT(model.ops[9].units == 4 && !model.ops[9].bias && model.ops[9].init == INIT_XAVIER);
    model_spec_destroy(&model);
}

static void test_model_spec_reads_norms_and_activations(void)
{
    struct model_spec model = model_of(
        "( { op = \"batch_norm\"; momentum = 0.25; }, { op = \"layer_norm\"; epsilon = 0.5; },\n"
        "  { op = \"group_norm\"; groups = 4; }, { op = \"gelu\"; approximate = \"tanh\"; },\n"
        "  { op = \"leaky_relu\"; }, { op = \"elu\"; alpha = 2; }, { op = \"gelu\"; },\n"
        "  { op = \"pad_channels\"; channels = 64; },\n"
        "  { op = \"concat\"; inputs = (\"gelu1\", \"gelu2\", \"pad_channels1\"); } )");
    CU_ASSERT_EQUAL_FATAL(model.op_count, 9);
    CU_ASSERT(model.ops[0].momentum == 0.25F && model.ops[0].epsilon == 1e-5F);
    CU_ASSERT(model.ops[1].epsilon == 0.5F && model.ops[1].momentum == 0);
    CU_ASSERT(model.ops[2].groups == 4 && model.ops[3].approximate == GELU_TANH);
    CU_ASSERT(model.ops[4].slope == 0.01F && model.ops[5].slope == 2);
    CU_ASSERT(model.ops[6].approximate == GELU_ERF && model.ops[7].channels == 64);
    CU_ASSERT(model.ops[8].input_count == 3 && model.ops[8].inputs[2] == 7);
    model_spec_destroy(&model);
    CU_ASSERT(refuses("( { op = \"pad_channels\"; } )",
                      "job:1: model.operators[0].channels: missing: pad_channels needs it"));
    CU_ASSERT(refuses("( { op = \"concat\"; inputs = \"input\"; } )",
                      "job:1: model.operators[0].inputs: found 1 names, and concat takes 2 to 8"));
}

static void test_model_spec_reads_what_a_step_does_to_weights(void)
{
    struct model_spec model = model_of(
        "( { op = \"conv2d\"; filters = 1; kernel = 3; frozen = true; }, { op = \"flatten\"; },\n"
        "  { op = \"dense\"; units = 4; rate = 0.1; }, { op = \"dense\"; units = 4; } )");
    CU_ASSERT(model.ops[0].frozen && model.ops[0].rate_scale == 1.0F);
    CU_ASSERT(!model.ops[2].frozen && model.ops[2].rate_scale == 0.1F);
    CU_ASSERT(model.ops[3].rate_scale == 1.0F);
    model_spec_destroy(&model);
    CU_ASSERT(refuses("( { op = \"dense\"; units = 4; rate = 0; } )",
                      "job:1: model.operators[0].rate: found the whole number 0, expected a real "
                      "number from 1e-06"));
}

static void test_model_spec_reads_same_padding(void)
{
    struct model_spec model =
        model_of("( { op = \"conv2d\"; filters = 1; kernel = 3; padding = \"same\"; } )");
    CU_ASSERT(model.ops[0].padding_same && model.ops[0].padding[0] == 0);
    CU_ASSERT(model.ops[0].stride[0] == 1 && model.ops[0].padding[1] == 0);
    model_spec_destroy(&model);
}

static void test_model_spec_names_and_joins_operators(void)
{
    struct model_spec model =
        model_of("( { op = \"relu\"; }, { op = \"dense\"; units = 2; name = \"fc\"; },\n"
                 "  { op = \"relu\"; }, { op = \"add\"; inputs = (\"relu2\", \"input\"); },\n"
                 "  { op = \"tanh\"; inputs = \"relu2\"; }, { op = \"add\"; inputs = [\"add1\", "
                 "\"tanh1\"]; } )");
    CU_ASSERT_STRING_EQUAL(model.ops[0].name, "relu1");
    CU_ASSERT_STRING_EQUAL(model.ops[1].name, "fc");
    CU_ASSERT_STRING_EQUAL(model.ops[2].name, "relu2");
    CU_ASSERT(model.ops[0].input_count == 1 && model.ops[0].inputs[0] == -1);
    CU_ASSERT(model.ops[2].input_count == 1 && model.ops[2].inputs[0] == 1);
    CU_ASSERT(model.ops[3].input_count == 2 && model.ops[3].inputs[0] == 2);
    CU_ASSERT_EQUAL(model.ops[3].inputs[1], -1);
    CU_ASSERT_EQUAL(model.ops[4].inputs[0], 2);
    CU_ASSERT(model.ops[5].inputs[0] == 3 && model.ops[5].inputs[1] == 4);
    model_spec_destroy(&model);
}

static void test_model_spec_reads_operators_of_sequences(void)
{
    struct model_spec model = model_of(
        "( { op = \"embedding\"; units = 8; }, { op = \"positional_embedding\"; },\n"
        "  { op = \"lstm\"; units = 6; }, { op = \"gru\"; units = 5; reverse = true; },\n"
        "  { op = \"self_attention\"; heads = 2; causal = true; },\n"
        "  { op = \"dense\"; tie = \"embedding1\"; } )");
    CU_ASSERT_EQUAL_FATAL(model.op_count, 6);
    const struct op_spec *embedding = &model.ops[0], *attention = &model.ops[4];
    CU_ASSERT(embedding->units == 8 && embedding->vocabulary == 0 && embedding->deviation == 1);
    CU_ASSERT_EQUAL(model.ops[1].deviation, 0.02f);
    CU_ASSERT(model.ops[2].units == 6 && !model.ops[2].reverse);
    CU_ASSERT(model.ops[3].units == 5 && model.ops[3].reverse);
    CU_ASSERT(attention->heads == 2 && attention->causal);
    CU_ASSERT_EQUAL(model.ops[5].tied, 1);
    model_spec_destroy(&model);
    CU_ASSERT(refuses("( { op = \"lstm\"; } )",
                      "job:1: model.operators[0].units: missing: lstm needs it"));
}

static void test_model_spec_replaces_an_earlier_model(void)
{
    struct model_spec model = model_of("( { op = \"relu\"; }, { op = \"relu\"; } )");
    struct err_msg why = {{0}};
    CU_ASSERT_EQUAL(read_ops("( { op = \"tanh\"; } )", &model, &why), 0);
    CU_ASSERT(model.op_count == 1 && model.ops[0].kind == OP_TANH);
    CU_ASSERT_EQUAL(read_ops("( { op = \"tan\"; } )", &model, &why), ERR_INPUT);
    CU_ASSERT(model.op_count == 1 && model.ops[0].kind == OP_TANH);
    model_spec_destroy(&model);
}

static void test_model_spec_refuses_unknown_keys_and_guesses(void)
{
    CU_ASSERT(refuses("( { op = \"relu\"; },\n { op = \"dense\"; unit = 3; } )",
                      "job:2: model.operators[1].unit: unknown key of dense; did you mean "
                      "\"units\"?"));
    CU_ASSERT(refuses("( { op = \"relu\"; filters = 3; } )",
                      "job:1: model.operators[0].filters: unknown key of relu; `talweg settings`"));
    CU_ASSERT(refuses("( { op = \"dens\"; units = 3; } )",
                      "job:1: model.operators[0].op: found the text \"dens\", expected one of "
                      "\"dense\", \"conv2d\""));
    CU_ASSERT(
        refuses("( { units = 3; } )", "job:1: model.operators[0].op: missing: which operator"));
}

static void test_model_spec_refuses_bad_values(void)
{
    CU_ASSERT(refuses("( { op = \"conv2d\"; kernel = 3; } )",
                      "job:1: model.operators[0].filters: missing: conv2d needs"));
    CU_ASSERT(refuses("( { op = \"dense\"; units = -1; } )",
                      "job:1: model.operators[0].units: found the whole number -1, expected a "
                      "whole number from 0 to 16777216"));
    CU_ASSERT(refuses("( { op = \"dense\"; tie = \"embed\"; } )",
                      "job:1: model.operators[0].tie: no operator before it is called \"embed\""));
    CU_ASSERT(refuses("( { op = \"dropout\"; rate = 1.0; } )",
                      "job:1: model.operators[0].rate: found the real number 1, expected a real "
                      "number from 0 to 0.99"));
    CU_ASSERT(
        refuses("( { op = \"maxpool2d\"; kernel = (1, 2, 3); } )",
                "job:1: model.operators[0].kernel: found a list, expected a whole number from "
                "1 to 1024, or two of them, rows and columns, as (3, 5)"));
    CU_ASSERT(refuses("( { op = \"maxpool2d\"; kernel = (1, 0); } )",
                      "job:1: model.operators[0].kernel: found a list, expected"));
    CU_ASSERT(
        refuses("( { op = \"conv2d\"; filters = 1; kernel = 1; padding = \"full\"; } )",
                "job:1: model.operators[0].padding: found the text \"full\", expected \"same\""));
    CU_ASSERT(refuses("( { op = \"dense\"; units = 1; bias = 1; } )",
                      "job:1: model.operators[0].bias: found the whole number 1, expected true"));
    CU_ASSERT(
        refuses("( 3 )", "job:1: model.operators[0]: found the whole number 3, expected a group"));
    CU_ASSERT(refuses("{ op = \"relu\"; }", "job:1: model.operators: found a group { }, expected"));
    CU_ASSERT(refuses("( )", "job:1: model.operators: found an empty list, expected a list of"));
}

static void test_model_spec_refuses_bad_names(void)
{
    CU_ASSERT(
        refuses("( { op = \"relu\"; }, { op = \"tanh\"; name = \"relu1\"; } )",
                "job:1: model.operators[1].name: \"relu1\" is the name of model.operators[0]"));
    CU_ASSERT(refuses("( { op = \"relu\"; name = \"tanh1\"; }, { op = \"tanh\"; } )",
                      "job:1: model.operators[1].name: \"tanh1\" is the name of"));
    CU_ASSERT(
        refuses("( { op = \"relu\"; name = \"input\"; } )",
                "job:1: model.operators[0].name: \"input\" is the name of the model's input"));
    CU_ASSERT(
        refuses("( { op = \"relu\"; name = \"a/b\"; } )",
                "job:1: model.operators[0].name: found the text \"a/b\", expected a text of"));
    CU_ASSERT(refuses(
        "( { op = \"relu\"; name = \"a23456789012345678901234567890123456789012345678\"; } )",
        "job:1: model.operators[0].name: found the text"));
}

static void test_model_spec_refuses_bad_inputs(void)
{
    CU_ASSERT(
        refuses("( { op = \"relu\"; inputs = \"relu1\"; } )",
                "job:1: model.operators[0].inputs: no operator before it is called \"relu1\""));
    CU_ASSERT(
        refuses("( { op = \"relu\"; }, { op = \"tanh\"; inputs = (\"rely1\"); } )",
                "job:1: model.operators[1].inputs: no operator before it is called \"rely1\"; "
                "did you mean \"relu1\"?"));
    CU_ASSERT(
        refuses("( { op = \"add\"; } )", "job:1: model.operators[0].inputs: missing: add needs"));
    CU_ASSERT(refuses("( { op = \"add\"; inputs = \"input\"; } )",
                      "job:1: model.operators[0].inputs: found 1 names, and add takes 2"));
    CU_ASSERT(refuses("( { op = \"relu\"; inputs = (\"input\", \"input\"); } )",
                      "job:1: model.operators[0].inputs: found 2 names, and relu takes 1"));
    CU_ASSERT(
        refuses("( { op = \"relu\"; inputs = 3; } )",
                "job:1: model.operators[0].inputs: found the whole number 3, expected names"));
    CU_ASSERT(refuses("( { op = \"relu\"; }, { op = \"tanh\"; inputs = \"input\"; } )",
                      "job:1: model.operators[0]: no operator takes the output of \"relu1\""));
}

static void test_model_spec_document_says_what_was_read(void)
{
    struct model_spec model =
        model_of("( { op = \"conv2d\"; filters = 2; kernel = 3; padding = \"same\"; },"
                 " { op = \"dropout\"; }, { op = \"add\"; inputs = (\"dropout1\", \"input\"); } )");
    struct document *document = model_spec_document(&model);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    char *text = document_print(document, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"padding\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"same\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "0.5"));
    CU_ASSERT_EQUAL(document_count(document), 3);
    CU_ASSERT_EQUAL(document_count(document_get(document_at(document, 2), "inputs")), 2);
    free(text);
    document_destroy(document);
    model_spec_destroy(&model);
}

static void test_model_spec_kinds_have_names(void)
{
    CU_ASSERT_STRING_EQUAL(op_kind_name(OP_DENSE), "dense");
    CU_ASSERT_STRING_EQUAL(op_kind_name(OP_GLOBAL_AVGPOOL), "global_avgpool");
    CU_ASSERT_STRING_EQUAL(op_kind_name(OP_ADD), "add");
}

#define TESTS(X) \
    X(test_model_spec_reads_each_operator) \
    X(test_model_spec_reads_norms_and_activations) \
    X(test_model_spec_reads_what_a_step_does_to_weights) \
    X(test_model_spec_reads_same_padding) \
    X(test_model_spec_names_and_joins_operators) \
    X(test_model_spec_reads_operators_of_sequences) \
    X(test_model_spec_replaces_an_earlier_model) \
    X(test_model_spec_refuses_unknown_keys_and_guesses) \
    X(test_model_spec_refuses_bad_values) \
    X(test_model_spec_refuses_bad_names) \
    X(test_model_spec_refuses_bad_inputs) \
    X(test_model_spec_document_says_what_was_read) \
    X(test_model_spec_kinds_have_names)

UNIT_MAIN("model_spec", TESTS)
