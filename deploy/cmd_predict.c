#include "deploy/commands.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "deploy/trained.h"

struct predict_options {
    struct trained_spec spec;
    const char *out;
};

static const struct argp_option option_list[] = {
    {"input", 'i', "FILE", 0, "samples of the job's format, no labels; default: the test part", 0},
    {"out", 'o', "FILE", 0, "where the CSV goes; default: stdout", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct predict_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->spec;
        return 0;
    case 'i':
        options->spec.input = arg;
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = trained_options,
    .doc = "What a checkpoint says of each sample, as CSV.\v"
           "A line a sample, in the order of the data: its index, the class it is given and the "
           "probability of each class, or, for a regression, the numbers.  Where samples have a "
           "class at each of their positions, a line a position.",
};

/* A CSV cell: quoted where it must be. */
static void print_cell(FILE *out, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++)
        fprintf(out, *text == '"' ? "\"%c" : "%c", *text);
    fputc('"', out);
}

/* The class's own name where labels were text, else its number. */
static void print_class(FILE *out, const struct trained *trained, uint32_t class_idx)
{
    const char *name = dataset_class_name(trained->dataset, class_idx);
    if (name)
        print_cell(out, name);
    else
        fprintf(out, "%" PRIu32, class_idx);
}

/* Rows of class scores a sample: one at each of its positions. */
static size_t row_count(const struct trained *trained)
{
    return trained->info->class_count > 0 ? trained->info->label_count : 1;
}

static void print_head(FILE *out, const struct trained *trained)
{
    size_t width = graph_output_count(trained->graph) / row_count(trained);
    fputs("index", out);
    if (row_count(trained) > 1)
        fputs(",position", out);
    if (trained->info->class_count)
        fputs(",class", out);
    for (size_t i = 0; i < width; i++)
        fprintf(out, trained->info->class_count ? ",p%zu" : ",y%zu", i);
    fputc('\n', out);
}

/* The most likely class; one output alone is the probability of class 1. */
static uint32_t class_of(const float *outputs, size_t output_count)
{
    if (output_count == 1)
        return outputs[0] >= 0.5f;
    size_t best_idx = 0;
    for (size_t i = 1; i < output_count; i++) {
        if (outputs[i] > outputs[best_idx])
            best_idx = i;
    }
    return (uint32_t)best_idx;
}

/* What follows the sample's index, and its position, to the end of the line. */
static void print_row(FILE *out, const struct trained *trained, const float *row, size_t width)
{
    if (trained->info->class_count) {
        fputc(',', out);
        print_class(out, trained, class_of(row, width));
    }
    for (size_t i = 0; i < width; i++)
        fprintf(out, ",%.9g", (double)row[i]);
    fputc('\n', out);
}

static void print_sample(FILE *out, const struct trained *trained, uint64_t index,
                         const float *outputs)
{
    size_t rows = row_count(trained), width = graph_output_count(trained->graph) / rows;
    for (size_t position = 0; position < rows; position++) {
        fprintf(out, "%" PRIu64, index);
        if (rows > 1)
            fprintf(out, ",%zu", position);
        print_row(out, trained, outputs + position * width, width);
    }
}

static int predict(struct trained *trained, FILE *out, struct err_msg *why)
{
    size_t output_count = graph_output_count(trained->graph), count;
    float *outputs = calloc(TRAINED_BATCH, output_count * sizeof(float));
    if (!outputs)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int code = 0;
    print_head(out, trained);
    for (uint64_t first = 0; code == 0 && first < trained->info->count; first += count) {
        code = trained_read(trained, first, &count, why);
        if (code < 0)
            break;
        graph_predict(trained->run, trained->inputs, count, trained->weights, outputs);
        for (size_t i = 0; i < count; i++)
            print_sample(out, trained, first + i, outputs + i * output_count);
    }
    free(outputs);
    return code;
}

/* Writes to a file of its own or to stdout, and hears of a disk that is full. */
static int write_predictions(struct trained *trained, const char *path, struct err_msg *why)
{
    FILE *out = path ? fopen(path, "w") : stdout;
    const char *name = path ? path : "stdout";
    if (!out)
        return err_set(why, ERR_IO, "%s: cannot be written: %s", name, strerror(errno));
    int code = predict(trained, out, why);
    bool is_torn = fflush(out) != 0 || ferror(out);
    int saved_errno = errno;
    if (path && fclose(out) != 0 && !is_torn) {
        saved_errno = errno;
        is_torn = true;
    }
    if (code == 0 && is_torn)
        return err_set(why, ERR_IO, "%s: cannot be written: %s", name, strerror(saved_errno));
    return code;
}

int cmd_predict(int argc, char **argv)
{
    struct predict_options options = {.spec.part = DATASET_TEST};
    struct trained trained;
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    int code = trained_open(&options.spec, &trained, &why);
    if (code == 0)
        code = write_predictions(&trained, options.out, &why);
    trained_close(&trained);
    if (code < 0)
        fprintf(stderr, "talweg predict: %s\n", why.text);
    return code < 0 ? EXIT_FAILED : EXIT_FINE;
}
