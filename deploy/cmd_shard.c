#include "deploy/commands.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "worker/data/npy.h"
#include "worker/data/parts.h"
#include "worker/data/samples.h"
#include "worker/data/text.h"

enum {
    KEY_LABELS = 1000,
    KEY_LABEL_COLUMN,
    KEY_NO_HEADER,
    KEY_DELIMITER,
    KEY_CATEGORICAL,
    KEY_WORDS,
    KEY_OUT,
    KEY_PARTS
};

/* What a packed file or a CSV may take of memory on its way; beyond it a file holds the rows. */
enum { SHARD_MEMORY_BYTES = 64 << 20 };

struct shard_options {
    const char *input, *labels, *label_column, *words, *out;
    const char **categorical; /* [categorical_count], into argv */
    size_t categorical_count;
    char delimiter;
    bool has_header;
    uint32_t part_count;
};

static const struct argp_option options[] = {
    {"out", KEY_OUT, "DIR", 0, "folder to make; one that is there must be empty (required)", 0},
    {"parts", KEY_PARTS, "N", 0, "number of parts, as equal as they divide (required)", 0},
    {"labels", KEY_LABELS, "FILE", 0, "labels of an IDX or NPY input, IDX or NPY", 0},
    {"label-column", KEY_LABEL_COLUMN, "NAME", 0,
     "CSV: label column, by name or by number from 0 (default: the last)", 0},
    {"categorical", KEY_CATEGORICAL, "A,B", 0,
     "CSV: columns that hold words, by name or number; each word becomes a feature", 0},
    {"words", KEY_WORDS, "FILE", 0,
     "CSV, text: take the words of categories and classes, or the characters, from this file, the "
     "training file, when INPUT is the test file",
     0},
    {"no-header", KEY_NO_HEADER, NULL, 0, "CSV: the first line is a sample, not names", 0},
    {"delimiter", KEY_DELIMITER, "C", 0, "CSV: what stands between cells (default: a comma)", 0},
    {0},
};

/* Splits a list at its commas, in place. */
static void split_list(struct argp_state *state, struct shard_options *shard, char *list)
{
    char *rest = list;
    for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
        size_t room = (shard->categorical_count + 1) * sizeof(*shard->categorical);
        const char **grown = realloc(shard->categorical, room);
        if (!grown)
            argp_failure(state, EXIT_FAILED, 0, "out of memory");
        shard->categorical = grown;
        shard->categorical[shard->categorical_count++] = word;
    }
}

static void read_delimiter(struct argp_state *state, struct shard_options *shard, const char *text)
{
    bool is_tab = strcmp(text, "\\t") == 0;
    if (!is_tab && (strlen(text) != 1 || strchr("\"\r\n", *text)))
        argp_error(state, "--delimiter: found \"%s\", expected one character, no quote or line end",
                   text);
    shard->delimiter = is_tab ? '\t' : *text;
}

static void read_parts(struct argp_state *state, struct shard_options *shard, const char *text)
{
    char *end = NULL;
    long count = strtol(text, &end, 10);
    if (*end != 0 || end == text || count < 1 || count > PARTS_MAX)
        argp_error(state, "--parts: found \"%s\", expected a number from 1 to %d", text, PARTS_MAX);
    shard->part_count = (uint32_t)count;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct shard_options *shard = state->input;
    if (key == KEY_OUT)
        shard->out = value;
    else if (key == KEY_PARTS)
        read_parts(state, shard, value);
    else if (key == KEY_LABELS)
        shard->labels = value;
    else if (key == KEY_LABEL_COLUMN)
        shard->label_column = value;
    else if (key == KEY_CATEGORICAL)
        split_list(state, shard, value);
    else if (key == KEY_WORDS)
        shard->words = value;
    else if (key == KEY_NO_HEADER)
        shard->has_header = false;
    else if (key == KEY_DELIMITER)
        read_delimiter(state, shard, value);
    else if (key == ARGP_KEY_ARG && !shard->input)
        shard->input = value;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "found a second input \"%s\", expected one", value);
    else if (key == ARGP_KEY_END && (!shard->input || !shard->out || !shard->part_count))
        argp_error(state, "INPUT, --out and --parts are needed");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* What --words names, by which the input is read. */
struct shard_words {
    struct table *table;
    struct vocabulary characters;
};

static int learn_words(const char *path, const struct table_options *table,
                       struct shard_words *words, struct err_msg *why)
{
    enum data_format format;
    int rc = samples_detect(path, &format, why);
    if (rc == 0 && format == FORMAT_TEXT)
        return text_learn(path, &words->characters, why);
    return rc == 0 ? table_learn(path, table, &words->table, why) : rc;
}

static int open_input(const struct shard_options *shard, struct shard_words *words,
                      struct samples *samples, struct err_msg *why)
{
    struct samples_spec spec = {
        .format = FORMAT_AUTO,
        .inputs = shard->input,
        .labels = shard->labels,
        .table =
            {
                .delimiter = shard->delimiter,
                .has_header = shard->has_header,
                .label_column = shard->label_column,
                .categorical = shard->categorical,
                .categorical_count = shard->categorical_count,
            },
    };
    int rc = shard->words ? learn_words(shard->words, &spec.table, words, why) : 0;
    if (rc < 0)
        return rc;
    spec.known.table = words->table;
    spec.known.characters = words->characters.word_count ? &words->characters : NULL;
    struct rows_place place = {.spool_dir = "", .memory_bytes = SHARD_MEMORY_BYTES};
    return samples_open(&spec, &place, samples, why);
}

static void print_result(const struct shard_options *shard, const struct samples *samples)
{
    const struct rows_form *form = rows_form(samples->inputs);
    printf("%s: %" PRIu32 " part%s, %" PRIu64 " rows of", shard->out, shard->part_count,
           shard->part_count == 1 ? "" : "s", form->count);
    for (uint32_t d = 0; d < form->dims; d++)
        printf(" %s%" PRIu32, d ? "x " : "", form->shape[d]);
    printf(" %s%s", npy_descr(form->type), samples->labels ? ", with labels" : "");
    if (samples->classes.word_count)
        printf(" (%zu %s)", samples->classes.word_count,
               samples->labels ? "classes" : "kinds of characters");
    printf("\n");
}

int cmd_shard(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "INPUT",
        .doc =
            "Cut a data set (IDX, NPY, CSV or text, plain or gzip) into NPY files, with a "
            "manifest.json that says rows, shape, dtype and sha256 of each; a job reads DIR as its "
            "data.train_inputs.",
    };
    struct shard_options shard = {
        .labels = "", .label_column = "", .delimiter = ',', .has_header = true};
    struct samples samples = {0};
    struct shard_words words = {0};
    struct err_msg why = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &shard) != 0)
        return EXIT_USAGE;
    int rc = open_input(&shard, &words, &samples, &why);
    if (rc == 0)
        rc = parts_write(&samples, shard.out, shard.part_count, &why);
    if (rc == 0)
        print_result(&shard, &samples);
    else
        fprintf(stderr, "talweg shard: %s\n", why.text[0] ? why.text : err_text(rc));
    samples_close(&samples);
    table_destroy(words.table);
    vocabulary_clear(&words.characters);
    free(shard.categorical);
    return rc == 0 ? EXIT_FINE : EXIT_FAILED;
}
