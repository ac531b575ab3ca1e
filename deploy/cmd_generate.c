#include "deploy/commands.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/utf8.h"
#include "deploy/sampler.h"
#include "deploy/trained.h"

enum { KEY_SEED = 1000, KEY_TOP_K, LENGTH_MAX = 1000000000 };

struct generate_options {
    struct trained_spec spec;
    struct sampler_spec sampler;
    const char *prompt; /* NULL: a line end, which is not printed */
    uint64_t length;
};

static const struct argp_option option_list[] = {
    {"prompt", 'p', "TEXT", 0, "what the text begins with; default: a new line", 0},
    {"length", 'n', "N", 0, "characters to write after it; default: 500", 0},
    {"temperature", 't', "X", 0,
     "1: as likely as the network says; below: bolder; 0: always the likeliest; default: 0.8", 0},
    {"top-k", KEY_TOP_K, "K", 0, "draw among the K likeliest alone; default: all", 0},
    {"seed", KEY_SEED, "S", 0, "of what is drawn; default: 1", 0},
    {0},
};

static uint64_t parse_whole(const char *name, const char *arg, uint64_t max,
                            struct argp_state *state)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(arg, &end, 10);
    if (*arg < '0' || *arg > '9' || *end || errno || number > max)
        argp_error(state, "--%s: found '%s', expected a whole number from 0 to %" PRIu64, name, arg,
                   max);
    return number;
}

static double parse_temperature(const char *arg, struct argp_state *state)
{
    char *end = NULL;
    double number = strtod(arg, &end);
    if (end == arg || *end || !(number >= 0 && number <= 1000))
        argp_error(state, "--temperature: found '%s', expected a number from 0 to 1000", arg);
    return number;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct generate_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->spec;
        return 0;
    case 'p':
        options->prompt = arg;
        if (!*arg)
            argp_error(state, "--prompt: found nothing, expected at least one character");
        return 0;
    case 'n':
        options->length = parse_whole("length", arg, LENGTH_MAX, state);
        return 0;
    case 't':
        options->sampler.temperature = parse_temperature(arg, state);
        return 0;
    case KEY_TOP_K:
        options->sampler.top_k = (size_t)parse_whole("top-k", arg, LENGTH_MAX, state);
        return 0;
    case KEY_SEED:
        options->sampler.seed = parse_whole("seed", arg, INT64_MAX, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = trained_options,
    .doc = "Text that a checkpoint writes, character by character, after a prompt.\v"
           "The job's data is a text (data.format text, or parts of one), and its network looks at "
           "no later character to tell the next: recurrent, or with causal attention.  It is shown "
           "the last data.sequence characters each time.  The same seed gives the same text.",
};

/* A text being written. */
struct writer {
    struct trained *trained;
    struct sampler *sampler;
    size_t length;  /* tokens the network sees at once */
    size_t held;    /* of the text's last tokens, in trained->inputs */
    float *outputs; /* [length][class_count] */
    bool is_terminal;
};

/* The network sees `length` tokens and gives a probability of each kind at each of them. */
static int check_network(const struct trained *trained, struct err_msg *why)
{
    const struct dataset_info *info = trained->info;
    if (info->token_count == 0 || !dataset_class_name(trained->dataset, 0) ||
        info->label_count != info->input_count)
        return err_set(why, ERR_INPUT,
                       "the job's data is no text; expected a job whose data.train_inputs is one "
                       "(data.format text), or parts of one");
    size_t expected = info->input_count * info->class_count;
    if (graph_output_count(trained->graph) == expected)
        return 0;
    return err_set(why, ERR_INPUT,
                   "the network gives %zu numbers, expected %zu: the probabilities of %" PRIu32
                   " characters at each of %zu positions",
                   graph_output_count(trained->graph), expected, info->class_count,
                   info->input_count);
}

static void take_token(struct writer *writer, size_t token)
{
    float *window = writer->trained->inputs;
    if (writer->held == writer->length) {
        memmove(window, window + 1, (writer->length - 1) * sizeof(*window));
        writer->held--;
    }
    window[writer->held++] = (float)token;
}

/* The characters there are, as far as there is room; those that cannot be shown are left out. */
static void list_characters(const struct trained *trained, char *out, size_t size_bytes)
{
    size_t used = 0;
    for (uint32_t i = 0; i < trained->info->class_count; i++) {
        const char *name = dataset_class_name(trained->dataset, i);
        size_t name_bytes = strlen(name);
        if ((unsigned char)*name <= ' ' || used + name_bytes >= size_bytes)
            continue;
        memcpy(out + used, name, name_bytes);
        used += name_bytes;
    }
    out[used] = 0;
}

static int blame_character(const struct trained *trained, const char *character, uint64_t place,
                           struct err_msg *why)
{
    char known[400];
    list_characters(trained, known, sizeof(known));
    uint32_t code_point = utf8_code_point(character, strlen(character));
    bool is_shown = code_point >= ' ' && code_point != 0x7f;
    return err_set(why, ERR_INPUT,
                   "the prompt's character %" PRIu64 " is %s%s%sU+%04" PRIX32
                   ", which is not among the %" PRIu32
                   " that the training text has: %s",
                   place, is_shown ? "'" : "", is_shown ? character : "", is_shown ? "', " : "",
                   code_point, trained->info->class_count, known);
}

static int take_prompt(struct writer *writer, const char *prompt, struct err_msg *why)
{
    uint64_t place = 1;
    for (size_t size_bytes; *prompt; prompt += size_bytes, place++) {
        char character[UTF8_BYTES_MAX + 1] = "";
        size_bytes = utf8_character_bytes(prompt, strnlen(prompt, UTF8_BYTES_MAX));
        if (size_bytes == 0)
            return err_set(why, ERR_INPUT,
                           "the prompt's character %" PRIu64 " starts with the byte 0x%02x, "
                           "expected a text in UTF-8",
                           place, (unsigned)(unsigned char)*prompt);
        memcpy(character, prompt, size_bytes);
        long token = dataset_find_class(writer->trained->dataset, character);
        if (token < 0)
            return blame_character(writer->trained, character, place, why);
        take_token(writer, (size_t)token);
    }
    return 0;
}

/* A training text may hold what a terminal takes for orders. */
static bool print_character(const struct writer *writer, const char *character)
{
    char shown[UTF8_BYTES_MAX + 1];
    snprintf(shown, sizeof(shown), "%s", character);
    if (writer->is_terminal && *character != '\t')
        err_blank(shown);
    return fputs(shown, stdout) >= 0 && fflush(stdout) == 0;
}

/* What follows the tokens held.  Behind them the window holds tokens that the network, which looks
 * back only, does not use for the last one held. */
static size_t next_token(struct writer *writer, uint64_t position)
{
    struct trained *trained = writer->trained;
    size_t class_count = trained->info->class_count;
    for (size_t i = writer->held; i < writer->length; i++)
        trained->inputs[i] = 0;
    graph_predict(trained->run, trained->inputs, 1, trained->weights, writer->outputs);
    return sampler_pick(writer->sampler, writer->outputs + (writer->held - 1) * class_count,
                        position);
}

static int write_text(struct writer *writer, const struct generate_options *options,
                      struct err_msg *why)
{
    const struct dataset *dataset = writer->trained->dataset;
    int code = take_prompt(writer, options->prompt ? options->prompt : "\n", why);
    if (code < 0)
        return code;
    if (options->prompt)
        fputs(options->prompt, stdout);
    for (uint64_t i = 0; i < options->length; i++) {
        size_t token = next_token(writer, i);
        if (!print_character(writer, dataset_class_name(dataset, (uint32_t)token)))
            return err_set(why, ERR_IO, "stdout: cannot be written: %s", strerror(errno));
        take_token(writer, token);
    }
    if (writer->is_terminal)
        putchar('\n');
    return 0;
}

static int generate(struct trained *trained, const struct generate_options *options,
                    struct err_msg *why)
{
    int code = check_network(trained, why);
    if (code < 0)
        return code;
    struct writer writer = {
        .trained = trained,
        .length = trained->info->input_count,
        .outputs = calloc(graph_output_count(trained->graph), sizeof(float)),
        .is_terminal = isatty(STDOUT_FILENO) == 1,
    };
    if (!writer.outputs ||
        sampler_create(&options->sampler, trained->info->class_count, &writer.sampler) < 0)
        code = err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (code == 0)
        code = write_text(&writer, options, why);
    sampler_destroy(writer.sampler);
    free(writer.outputs);
    return code;
}

int cmd_generate(int argc, char **argv)
{
    struct generate_options options = {
        .spec = {.part = DATASET_TRAIN, .batch_max = 1},
        .sampler = {.temperature = 0.8, .seed = 1},
        .length = 500,
    };
    struct trained trained;
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    int code = trained_open(&options.spec, &trained, &why);
    if (code == 0)
        code = generate(&trained, &options, &why);
    trained_close(&trained);
    if (code < 0)
        fprintf(stderr, "talweg generate: %s\n", why.text);
    return code < 0 ? EXIT_FAILED : EXIT_FINE;
}
