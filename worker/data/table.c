#include "worker/data/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/digest.h"
#include "common/nearest.h"
#include "worker/data/csv.h"

enum column_kind { COLUMN_NUMBER, COLUMN_CATEGORY, COLUMN_LABEL_NUMBER, COLUMN_LABEL_TEXT };

struct column {
    char *name;
    enum column_kind kind;
    size_t first_feature;    /* of the row; not for labels */
    struct vocabulary words; /* of categories and text labels */
};

struct table {
    char delimiter;
    bool has_header;
    struct column *columns;
    size_t column_count, label_idx, feature_count;
};

void table_destroy(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->column_count; i++) {
        free(table->columns[i].name);
        vocabulary_clear(&table->columns[i].words);
    }
    free(table->columns);
    free(table);
}

/* A cell as a message may show it: short, and without control characters. */
static const char *shown(const char *cell, char out[48])
{
    size_t used = 0;
    for (; cell[used] && used < 44; used++)
        out[used] = (unsigned char)cell[used] < 0x20 || cell[used] == 0x7f ? '?' : cell[used];
    memcpy(out + used, cell[used] ? "..." : "", cell[used] ? 4 : 1);
    return out;
}

static bool is_whole(const char *text)
{
    return *text != 0 && strlen(text) < 9 && text[strspn(text, "0123456789")] == 0;
}

/* A column by its name, or else by its number. */
static int find_column(const struct table *table, const char *path, const char *what,
                       const char *wanted, size_t *idx_out, struct err_msg *why)
{
    struct nearest nearest = {.word = wanted};
    for (size_t i = 0; i < table->column_count; i++) {
        if (table->has_header && strcmp(table->columns[i].name, wanted) == 0) {
            *idx_out = i;
            return 0;
        }
        nearest_offer(&nearest, table->columns[i].name);
    }
    size_t number = is_whole(wanted) ? (size_t)strtoul(wanted, NULL, 10) : SIZE_MAX;
    if (number < table->column_count) {
        *idx_out = number;
        return 0;
    }
    const char *meant = table->has_header ? nearest_word(&nearest) : NULL;
    if (meant)
        return err_set(why, ERR_INPUT, "%s: has no %s \"%s\"; did you mean \"%s\"?", path, what,
                       wanted, meant);
    return err_set(why, ERR_INPUT, "%s: has no %s \"%s\"; expected %sa number from 0 to %zu", path,
                   what, wanted, table->has_header ? "a name of its header line, or " : "",
                   table->column_count - 1);
}

static int name_columns(struct table *table, const struct csv *csv, struct err_msg *why)
{
    table->columns = calloc(csv_cell_count(csv), sizeof(*table->columns));
    if (!table->columns)
        return err_set(why, ERR_NOMEM, "%s: out of memory", csv_path(csv));
    for (size_t i = 0; i < csv_cell_count(csv); i++) {
        char number[32];
        snprintf(number, sizeof(number), "%zu", i);
        table->columns[i].name = strdup(table->has_header ? csv_cell(csv, i) : number);
        if (!table->columns[i].name)
            return err_set(why, ERR_NOMEM, "%s: out of memory", csv_path(csv));
        table->column_count++;
    }
    if (table->column_count < 2)
        return err_set(why, ERR_INPUT,
                       "%s:%" PRIu64 ": found one column; expected features and a label, with "
                       "\"%c\" between them (data.delimiter)",
                       csv_path(csv), csv_line(csv), table->delimiter);
    return 0;
}

static int assign_kinds(struct table *table, const char *path, const struct table_options *options,
                        struct err_msg *why)
{
    table->label_idx = table->column_count - 1;
    int rc = 0;
    if (*options->label_column)
        rc =
            find_column(table, path, "label column", options->label_column, &table->label_idx, why);
    if (rc < 0)
        return rc;
    table->columns[table->label_idx].kind = COLUMN_LABEL_NUMBER;
    for (size_t i = 0; i < options->categorical_count; i++) {
        size_t idx = 0;
        rc = find_column(table, path, "categorical column", options->categorical[i], &idx, why);
        if (rc < 0)
            return rc;
        table->columns[idx].kind = idx == table->label_idx ? COLUMN_LABEL_TEXT : COLUMN_CATEGORY;
    }
    if (table->columns[table->label_idx].kind == COLUMN_LABEL_TEXT && options->labels_are_numbers)
        return err_set(why, ERR_INPUT,
                       "%s: the label column \"%s\" is categorical, but the loss needs numbers",
                       path, table->columns[table->label_idx].name);
    return 0;
}

static int check_width(const struct table *table, const struct csv *csv, struct err_msg *why)
{
    if (csv_cell_count(csv) == table->column_count)
        return 0;
    return err_set(why, ERR_INPUT, "%s:%" PRIu64 ": found %zu cells, expected %zu as in %s",
                   csv_path(csv), csv_line(csv), csv_cell_count(csv), table->column_count,
                   table->has_header ? "the header" : "the first line");
}

static bool has_words(const struct column *column)
{
    return column->kind == COLUMN_CATEGORY || column->kind == COLUMN_LABEL_TEXT;
}

static int learn_record(struct table *table, const struct csv *csv, struct err_msg *why)
{
    int rc = check_width(table, csv, why);
    for (size_t i = 0; rc == 0 && i < table->column_count; i++) {
        struct column *column = &table->columns[i];
        if (!has_words(column))
            continue;
        rc = vocabulary_add(&column->words, csv_cell(csv, i));
        if (rc == ERR_FULL)
            return err_set(why, ERR_INPUT,
                           "%s:%" PRIu64 ": column \"%s\" has over %d different words; expected a "
                           "column of categories",
                           csv_path(csv), csv_line(csv), column->name, VOCABULARY_WORDS_MAX);
        if (rc < 0)
            return err_set(why, rc, "%s: %s", csv_path(csv), err_text(rc));
    }
    return rc;
}

static int place_features(struct table *table, const char *path, struct err_msg *why)
{
    for (size_t i = 0; i < table->column_count; i++) {
        struct column *column = &table->columns[i];
        column->first_feature = table->feature_count;
        if (column->kind == COLUMN_NUMBER)
            table->feature_count++;
        else if (column->kind == COLUMN_CATEGORY)
            table->feature_count += column->words.word_count;
    }
    if (table->feature_count > ROWS_ELEMENTS_MAX)
        return err_set(why, ERR_INPUT, "%s: its categories make %zu features of a sample, over %d",
                       path, table->feature_count, ROWS_ELEMENTS_MAX);
    return 0;
}

/* Goes to the first record that is a sample, taking the header on the way. */
static int begin_samples(struct table *table, struct csv *csv, const struct table_options *options,
                         struct err_msg *why)
{
    int rc = csv_next(csv, why);
    if (rc > 0)
        rc = name_columns(table, csv, why);
    else if (rc == 0)
        return err_set(why, ERR_INPUT, "%s: is empty", csv_path(csv));
    if (rc == 0)
        rc = assign_kinds(table, csv_path(csv), options, why);
    if (rc < 0 || !table->has_header)
        return rc < 0 ? rc : 1;
    return csv_next(csv, why);
}

/* Neither a number nor a way to say that a number is missing: strtod takes "nan" and "inf" too. */
static bool is_word(const char *cell)
{
    char *end = NULL;
    strtod(cell, &end);
    return *cell != 0 && *end != 0;
}

static int learn(struct table *table, struct csv *csv, const struct table_options *options,
                 struct err_msg *why)
{
    int rc = begin_samples(table, csv, options, why);
    if (rc == 0)
        return err_set(why, ERR_INPUT, "%s: holds a header and no samples", csv_path(csv));
    if (rc > 0)
        rc = check_width(table, csv, why);
    if (rc < 0)
        return rc;
    struct column *label = &table->columns[table->label_idx];
    const char *first = csv_cell(csv, table->label_idx);
    if (!options->labels_are_numbers && is_word(first))
        label->kind = COLUMN_LABEL_TEXT;
    if (options->categorical_count > 0 || label->kind == COLUMN_LABEL_TEXT) {
        do {
            rc = learn_record(table, csv, why);
            if (rc == 0)
                rc = csv_next(csv, why);
        } while (rc > 0);
    }
    return rc < 0 ? rc : place_features(table, csv_path(csv), why);
}

int table_learn(const char *path, const struct table_options *options, struct table **table_out,
                struct err_msg *why)
{
    struct csv *csv = NULL;
    int rc = csv_open(path, options->delimiter, &csv, why);
    if (rc < 0)
        return rc;
    struct table *table = calloc(1, sizeof(*table));
    if (table) {
        table->delimiter = options->delimiter;
        table->has_header = options->has_header;
        rc = learn(table, csv, options, why);
    } else {
        rc = err_set(why, ERR_NOMEM, "%s: out of memory", path);
    }
    csv_close(csv);
    if (rc < 0) {
        table_destroy(table);
        return rc;
    }
    *table_out = table;
    return 0;
}

static int blame_cell(const struct column *column, const struct csv *csv, const char *cell,
                      struct err_msg *why)
{
    char text[48];
    bool is_label = column->kind == COLUMN_LABEL_NUMBER;
    if (*cell == 0)
        return err_set(why, ERR_INPUT,
                       "%s:%" PRIu64 ": column \"%s\": found an empty cell, expected "
                       "a number",
                       csv_path(csv), csv_line(csv), column->name);
    return err_set(why, ERR_INPUT,
                   "%s:%" PRIu64 ": column \"%s\": found \"%s\", expected a %snumber%s",
                   csv_path(csv), csv_line(csv), column->name, shown(cell, text),
                   is_label ? "label that is a " : "",
                   is_label ? "" : " (name the column in data.categorical if it holds categories)");
}

/* The class of a text label.  UCI's Adult ends the labels of its test file, alone, with a full
 * stop: such a label is taken for the word without it when only that one is known. */
static long find_class(const struct vocabulary *classes, const char *cell)
{
    long class = vocabulary_find(classes, cell);
    size_t length = strlen(cell);
    char word[256];
    if (class >= 0 || length < 2 || length > sizeof(word) || cell[length - 1] != '.')
        return class;
    memcpy(word, cell, length - 1);
    word[length - 1] = 0;
    return vocabulary_find(classes, word);
}

static int encode_label(const struct column *column, const struct csv *csv, const char *cell,
                        float *label_out, struct err_msg *why)
{
    if (column->kind == COLUMN_LABEL_NUMBER) {
        double number = 0;
        if (!csv_number(cell, &number))
            return blame_cell(column, csv, cell, why);
        *label_out = (float)number;
        return 0;
    }
    char text[48];
    long class = find_class(&column->words, cell);
    if (*cell == 0)
        return err_set(why, ERR_INPUT, "%s:%" PRIu64 ": column \"%s\": found an empty label",
                       csv_path(csv), csv_line(csv), column->name);
    if (class < 0)
        return err_set(why, ERR_INPUT,
                       "%s:%" PRIu64 ": column \"%s\": found the class \"%s\", which the training "
                       "file does not have (its first is \"%s\")",
                       csv_path(csv), csv_line(csv), column->name, shown(cell, text),
                       column->words.words[0]);
    *label_out = (float)class;
    return 0;
}

/* A file without labels may leave their column out. */
static bool lacks_label(const struct table *table, const struct csv *csv, bool has_labels)
{
    return !has_labels && csv_cell_count(csv) + 1 == table->column_count;
}

/* The cell of a column that is there. */
static const char *cell_of(const struct table *table, const struct csv *csv, size_t column_idx)
{
    bool is_moved = csv_cell_count(csv) < table->column_count && column_idx > table->label_idx;
    return csv_cell(csv, is_moved ? column_idx - 1 : column_idx);
}

/* One record to features [feature_count] and a label; label_out NULL: none is looked for. */
static int encode_record(const struct table *table, const struct csv *csv, float *features,
                         float *label_out, struct err_msg *why)
{
    int rc = lacks_label(table, csv, label_out != NULL) ? 0 : check_width(table, csv, why);
    for (size_t i = 0; rc == 0 && i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        if (i == table->label_idx && !label_out)
            continue;
        const char *cell = cell_of(table, csv, i);
        double number = 0;
        if (column->kind == COLUMN_CATEGORY) {
            long word = vocabulary_find(&column->words, cell);
            memset(features + column->first_feature, 0, column->words.word_count * sizeof(float));
            if (word >= 0)
                features[column->first_feature + (size_t)word] = 1;
        } else if (column->kind != COLUMN_NUMBER) {
            rc = encode_label(column, csv, cell, label_out, why);
        } else if (csv_number(cell, &number)) {
            features[column->first_feature] = (float)number;
        } else {
            rc = blame_cell(column, csv, cell, why);
        }
    }
    return rc;
}

static int skip_header(const struct table *table, struct csv *csv, bool has_labels,
                       struct err_msg *why)
{
    if (!table->has_header)
        return 0;
    int rc = csv_next(csv, why);
    if (rc <= 0)
        return rc;
    bool is_short = lacks_label(table, csv, has_labels);
    rc = is_short ? 0 : check_width(table, csv, why);
    char found[48], expected[48];
    for (size_t i = 0; rc == 0 && i < table->column_count; i++) {
        if (is_short && i == table->label_idx)
            continue;
        const char *cell = cell_of(table, csv, i);
        if (strcmp(cell, table->columns[i].name) != 0)
            rc = err_set(why, ERR_INPUT,
                         "%s:%" PRIu64 ": column %zu is \"%s\", expected \"%s\" as in the training "
                         "file",
                         csv_path(csv), csv_line(csv), i, shown(cell, found),
                         shown(table->columns[i].name, expected));
    }
    return rc;
}

/* A file on its way to rows. */
struct encoding {
    struct spool *inputs, *labels;
    bool has_labels; /* labels are looked for; else each is 0 */
    float *features; /* [feature_count], of the record at hand */
    uint64_t count;
    struct rows *input_rows, *label_rows; /* what became of it */
};

static int encode_all(const struct table *table, struct csv *csv, struct encoding *encoding,
                      struct err_msg *why)
{
    int rc = skip_header(table, csv, encoding->has_labels, why);
    if (rc == 0)
        rc = csv_next(csv, why);
    while (rc > 0) {
        float label = 0;
        float *label_out = encoding->has_labels ? &label : NULL;
        rc = encode_record(table, csv, encoding->features, label_out, why);
        if (rc == 0)
            rc = spool_add(encoding->inputs, encoding->features,
                           table->feature_count * sizeof(float), why);
        if (rc == 0)
            rc = spool_add(encoding->labels, &label, sizeof(label), why);
        encoding->count++;
        if (rc == 0)
            rc = csv_next(csv, why);
    }
    if (rc == 0 && encoding->count == 0)
        rc = err_set(why, ERR_INPUT, "%s: holds no samples", csv_path(csv));
    return rc;
}

static int finish(const struct table *table, struct encoding *encoding, const char *path,
                  struct err_msg *why)
{
    struct rows_form labels = {.type = ROWS_F32, .count = encoding->count};
    struct rows_form inputs = labels;
    inputs.dims = 1;
    inputs.shape[0] = (uint32_t)table->feature_count;
    int rc = rows_check(&inputs, path, why);
    if (rc < 0)
        return rc;
    rc = rows_from_spool(encoding->inputs, &inputs, path, &encoding->input_rows, why);
    encoding->inputs = NULL;
    if (rc < 0)
        return rc;
    rc = rows_from_spool(encoding->labels, &labels, path, &encoding->label_rows, why);
    encoding->labels = NULL;
    if (rc < 0)
        rows_close(encoding->input_rows);
    return rc;
}

int table_encode(const struct table *table, const char *path, struct rows_place *place,
                 struct rows **inputs_out, struct rows **labels_out, struct err_msg *why)
{
    struct csv *csv = NULL;
    int rc = csv_open(path, table->delimiter, &csv, why);
    if (rc < 0)
        return rc;
    uint64_t label_bytes = place->memory_bytes / (table->feature_count + 1);
    struct encoding encoding = {.features = calloc(table->feature_count, sizeof(float)),
                                .has_labels = labels_out != NULL};
    if (!encoding.features ||
        spool_create(place->spool_dir, place->memory_bytes - label_bytes, &encoding.inputs) < 0 ||
        spool_create(place->spool_dir, label_bytes, &encoding.labels) < 0)
        rc = err_set(why, ERR_NOMEM, "%s: out of memory", path);
    if (rc == 0)
        rc = encode_all(table, csv, &encoding, why);
    if (rc == 0)
        rc = finish(table, &encoding, path, why);
    if (rc == 0) {
        *inputs_out = encoding.input_rows;
        rows_take_place(*inputs_out, place);
        if (labels_out) {
            *labels_out = encoding.label_rows;
            rows_take_place(*labels_out, place);
        } else {
            rows_close(encoding.label_rows);
        }
    }
    spool_destroy(encoding.inputs);
    spool_destroy(encoding.labels);
    free(encoding.features);
    csv_close(csv);
    return rc;
}

bool table_has_words(const struct table *table)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (has_words(&table->columns[i]))
            return true;
    return false;
}

const struct vocabulary *table_classes(const struct table *table)
{
    const struct column *label = &table->columns[table->label_idx];
    return label->kind == COLUMN_LABEL_TEXT ? &label->words : NULL;
}

int table_digest(const struct table *table, char hex_out[65])
{
    struct digest *digest = digest_create();
    if (!digest)
        return ERR_NOMEM;
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        unsigned char kind = (unsigned char)column->kind;
        digest_add(digest, &kind, 1);
        digest_add(digest, column->name, strlen(column->name) + 1);
        for (size_t w = 0; w < column->words.word_count; w++)
            digest_add(digest, column->words.words[w], strlen(column->words.words[w]) + 1);
        digest_add(digest, "\n", 1);
    }
    digest_hex(digest, hex_out);
    digest_destroy(digest);
    return 0;
}
