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

/* What is printed, as a user reads it. */
struct score {
    double loss, accuracy, perplexity; /* NaN where one does not apply */
};

/* exp(loss) is the perplexity when the loss is the plain one, of a text's positions. */
static bool has_perplexity(const struct trained *trained)
{
    const struct model_spec *model = &trained->settings->model;
    return trained->info->class_count > 0 && trained->info->label_count > 1 &&
           model->label_smoothing == 0 && model->class_weights.count == 0;
}

static struct score score_of(const struct trained *trained, const struct loss_result *total)
{
    struct score score = {.loss = total->loss_sum / (double)total->count};
    bool has_answers = trained->info->class_count > 0 && total->answers > 0;
    score.accuracy = has_answers ? (double)total->correct / (double)total->answers : NAN;
    score.perplexity = has_perplexity(trained) ? exp(score.loss) : NAN;
    return score;
}

static int print_json(const struct trained *trained, const struct score *score,
                      const struct loss_result *total)
{
    struct document *result = document_object();
    int code = ERR_NOMEM;
    if (result &&
        document_put(result, "checkpoint", document_text(trained->checkpoint_path)) == 0 &&
        document_put(result, "step", document_whole((int64_t)trained->checkpoint.step)) == 0 &&
        document_put(result, "digest", document_text(trained->checkpoint.digest)) == 0 &&
        document_put(result, "samples", document_whole((int64_t)total->count)) == 0 &&
        document_put(result, "loss", document_real(score->loss)) == 0 &&
        document_put(result, "accuracy", document_real(score->accuracy)) == 0 &&
        document_put(result, "perplexity", document_real(score->perplexity)) == 0)
        code = document_show(result, stdout);
    document_destroy(result);
    return code;
}

static int print_result(const struct trained *trained, const struct loss_result *total,
                        bool has_json)
{
    struct score score = score_of(trained, total);
    if (has_json)
        return print_json(trained, &score, total);
    printf("loss        %.6g\n", score.loss);
    if (isfinite(score.perplexity))
        printf("perplexity  %.6g\n", score.perplexity);
    if (isfinite(score.accuracy))
        printf("accuracy    %.2f %%  (%" PRIu64 " of %" PRIu64 "%s)\n", 100 * score.accuracy,
               total->correct, total->answers, trained->info->label_count > 1 ? " positions" : "");
    else
        printf("samples     %" PRIu64 "\n", total->count);
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
        code = trained_evaluate(&trained, &total, &why);
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
