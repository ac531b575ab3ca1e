#ifndef COMMON_SETTINGS_TABLE_H
#define COMMON_SETTINGS_TABLE_H

/* settings_table - one row per setting: path, type, place, unit, range, default and help.
 *
 * Parsing, --set, `talweg settings` and the reference in deploy/SETTINGS.md read this table and
 * nothing else, so they cannot disagree.  The keys of operators are rows of the same form.
 *
 * Owner:    constants.  Thread: any.
 * Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum setting_type {
    SETTING_U32,
    SETTING_U64,
    SETTING_REAL,  /* kept as a double */
    SETTING_FLOAT, /* a real number, kept as a float */
    SETTING_BOOL,
    SETTING_TEXT,
    SETTING_PATH,      /* text: settings.h says what a relative one is relative to */
    SETTING_CHOICE,    /* one of a list of words; kept as an int, its place in the list */
    SETTING_COLUMN,    /* a column of a CSV file, by name or number; kept as text */
    SETTING_COLUMNS,   /* struct text_list of such columns */
    SETTING_TEXTS,     /* struct text_list */
    SETTING_REALS,     /* struct real_list */
    SETTING_PAIR,      /* uint32_t[2]: rows, columns; one number stands for both */
    SETTING_PADDING,   /* a pair, or the word "same", kept as PADDING_SAME twice */
    SETTING_NAME,      /* of an operator: model_spec.h */
    SETTING_INPUTS,    /* of an operator */
    SETTING_OPERATOR,  /* of an operator: the name of another */
    SETTING_OPERATORS, /* the list of operators */
};

#define PADDING_SAME UINT32_MAX

/* How a reference is printed. */
enum settings_form { SETTINGS_TEXT, SETTINGS_MARKDOWN };

struct text_list {
    size_t count;
    char **items; /* [count] */
};

struct real_list {
    size_t count;
    double *items; /* [count] */
};

/* Bounds that leave out the number they name. */
#define ABOVE_0 0x1p-1022
#define BELOW_1 0x1.fffffffffffffp-1

struct setting {
    const char *path; /* "optimizer.rate"; the key of an operator stands alone: "filters" */
    enum setting_type type;
    size_t offset;       /* of the field in struct settings, or in struct op_spec */
    const char *unit;    /* "" if none */
    double min, max;     /* of each number, both included */
    const char *initial; /* the default as a job file would say it, texts bare; NULL: required */
    const char *choices; /* words with a space between; NULL if not a choice */
    bool is_decisive;    /* decides the weights: part of the fingerprint */
    const char *help;    /* one line */
};

/* The rows, in the order of the reference; count_out of them. */
const struct setting *settings_table(size_t *count_out);

/* The row of a path, or NULL. */
const struct setting *settings_table_find(const char *path);

/* The place of a word in the row's choices, or -1. */
int setting_choice_find(const struct setting *setting, const char *word);

/* The word at a place of the row's choices, cut to bytes; "" past the end. */
void setting_choice_word(const struct setting *setting, int choice_idx, char *word_out,
                         size_t bytes);

/* What a person may write: "a whole number from 1 to 1024 (bytes)". */
void setting_expected(const struct setting *setting, char *text_out, size_t bytes);

/* Prints one row of the reference, under its path or, for operators, under the given name. */
void setting_print(FILE *stream, enum settings_form form, const struct setting *setting,
                   const char *name);

#endif
