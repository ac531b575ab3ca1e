#include "deploy/commands.h"

#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "common/document.h"
#include "deploy/trained.h"

struct eval_options {
    struct trained_spec spec;
    bool has_json;
};

static const struct argp_option option_list[] = {
    {"part", 'p', "test|train", 0, "which samples; default: test", 0},
    {"json", 'j', NULL, 0, "print JSON", 0},
    {0},
};

static void parse_part(struct eval_options *options, const char *arg, struct argp_state *state)
{
    if (strcmp(arg, "train") == 0)
        options->spec.part = DATASET_TRAIN;
    else if (strcmp(arg, "test") != 0)
        argp_error(state, "--part is test or train, not '%s'", arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct eval_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->spec;
        return 0;
    case 'p':
        parse_part(options, arg, state);
        return 0;
    case 'j':
        options->has_json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = trained_options,
    .doc = "Loss and accuracy of a checkpoint on the job's test part.",
};

static int evaluate(struct trained *trained, struct loss_result *total, struct err_msg *why)
{
    size_t count;
    *total = (struct loss_result){0};
    for (uint64_t first = 0; first < trained->info->count; first += count) {
        struct loss_result result;
        int code = trained_read(trained, first, &count, why);
        if (code < 0)
            return code;
        struct graph_batch batch = {
            .inputs = trained->inputs, .labels = trained->labels, .count = count};
        graph_eval(trained->run, &batch, trained->weights, &result);
        total->loss_sum += result.loss_sum;
        total->correct += result.correct;
        total->count += result.count;
    }
    return 0;
}

static int print_json(const struct trained *trained, double loss, double accuracy, uint64_t count)
{
    struct document *result = document_object();
    char *text = NULL;
    if (result &&
        document_put(result, "checkpoint", document_text(trained->checkpoint_path)) == 0 &&
        document_put(result, "step", document_whole((int64_t)trained->checkpoint.step)) == 0 &&
        document_put(result, "digest", document_text(trained->checkpoint.digest)) == 0 &&
        document_put(result, "samples", document_whole((int64_t)count)) == 0 &&
        document_put(result, "loss", document_real(loss)) == 0 &&
        document_put(result, "accuracy", document_real(accuracy)) == 0)
        text = document_print(result, true);
    document_destroy(result);
    if (!text)
        return ERR_NOMEM;
    fputs(text, stdout);
    free(text);
    return 0;
}

static int print_result(const struct trained *trained, const struct loss_result *total,
                        bool has_json)
{
    double count = (double)total->count;
    double loss = total->loss_sum / count;
    double accuracy = trained->info->class_count ? (double)total->correct / count : NAN;
    if (has_json)
        return print_json(trained, loss, accuracy, total->count);
    printf("loss      %.6g\n", loss);
    if (trained->info->class_count)
        printf("accuracy  %.2f %%  (%" PRIu64 " of %" PRIu64 ")\n", 100 * accuracy, total->correct,
               total->count);
    else
        printf("samples   %" PRIu64 "\n", total->count);
    return 0;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_options options = {.spec.part = DATASET_TEST};
    struct trained trained;
    struct loss_result total;
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    int code = trained_open(&options.spec, &trained, &why);
    if (code == 0)
        code = evaluate(&trained, &total, &why);
    if (code == 0) {
        code = print_result(&trained, &total, options.has_json);
        if (code < 0)
            err_set(&why, code, "%s", err_text(code));
    }
    trained_close(&trained);
    if (code < 0)
        fprintf(stderr, "talweg eval: %s\n", why.text);
    return code < 0 ? EXIT_FAILED : EXIT_FINE;
}
