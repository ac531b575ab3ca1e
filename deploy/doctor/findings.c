#include "deploy/doctor/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/document.h"

struct finding {
    enum finding_family family;
    enum finding_level level;
    char *what, *why, *advice; /* NULL: none */
};

struct findings {
    size_t count, capacity;
    struct finding *items;
    bool is_short;
};

static const char *const family_names[FAMILY_COUNT] = {
    [FAMILY_JOB] = "job",         [FAMILY_NAMES] = "names",   [FAMILY_ADDRESSES] = "addresses",
    [FAMILY_KEYS] = "keys",       [FAMILY_RUN] = "run",       [FAMILY_SERVERS] = "servers",
    [FAMILY_CORES] = "cores",     [FAMILY_MEMORY] = "memory", [FAMILY_DISK] = "disk",
    [FAMILY_LIMITS] = "limits",   [FAMILY_DATA] = "data",
};

static const struct {
    const char *text, *mark, *colour;
} levels[FINDING_LEVELS] = {
    [FINDING_OK] = {"ok", "ok", "\033[32m"},
    [FINDING_NOTE] = {"note", "note", "\033[36m"},
    [FINDING_UNCHECKED] = {"not checked", "?", "\033[36m"},
    [FINDING_WARNING] = {"warning", "WARNING", "\033[33m"},
    [FINDING_ERROR] = {"error", "ERROR", "\033[1;31m"},
};

enum { INDENT = 11 };

const char *finding_level_text(enum finding_level level)
{
    return levels[level].text;
}

struct findings *findings_create(void)
{
    return calloc(1, sizeof(struct findings));
}

void findings_destroy(struct findings *findings)
{
    if (!findings)
        return;
    for (size_t i = 0; i < findings->count; i++) {
        free(findings->items[i].what);
        free(findings->items[i].why);
        free(findings->items[i].advice);
    }
    free(findings->items);
    free(findings);
}

static void format(struct findings *findings, char **field, const char *text, va_list args)
{
    free(*field);
    if (vasprintf(field, text, args) < 0) {
        *field = NULL;
        findings->is_short = true;
    }
}

void findings_say(struct findings *findings, enum finding_family family, enum finding_level level,
                  const char *what, ...)
{
    if (findings->count == findings->capacity) {
        size_t capacity = findings->capacity ? 2 * findings->capacity : 64;
        struct finding *items = realloc(findings->items, capacity * sizeof(*items));
        if (!items) {
            findings->is_short = true;
            return;
        }
        findings->items = items;
        findings->capacity = capacity;
    }
    struct finding *finding = &findings->items[findings->count++];
    *finding = (struct finding){.family = family, .level = level};
    va_list args;
    va_start(args, what);
    format(findings, &finding->what, what, args);
    va_end(args);
}

void findings_why(struct findings *findings, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    if (findings->count)
        format(findings, &findings->items[findings->count - 1].why, why, args);
    va_end(args);
}

void findings_do(struct findings *findings, const char *advice, ...)
{
    va_list args;
    va_start(args, advice);
    if (findings->count)
        format(findings, &findings->items[findings->count - 1].advice, advice, args);
    va_end(args);
}

size_t findings_count(const struct findings *findings, enum finding_level level)
{
    size_t count = 0;
    for (size_t i = 0; i < findings->count; i++)
        count += findings->items[i].level == level;
    return count;
}

enum finding_level findings_worst(const struct findings *findings)
{
    enum finding_level worst = FINDING_OK;
    for (size_t i = 0; i < findings->count; i++)
        if (findings->items[i].level > worst)
            worst = findings->items[i].level;
    return worst;
}

bool findings_is_short(const struct findings *findings)
{
    return findings->is_short;
}

/* Characters of UTF-8, not bytes; a control character of a peer's is shown as a '?'. */
static size_t put_word(const char *word, size_t bytes, FILE *out)
{
    size_t width = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)word[i];
        fputc(c < 0x20 || c == 0x7f ? '?' : c, out);
        width += (c & 0xc0) != 0x80;
    }
    return width;
}

/* From column `at` on; what follows the first line is set in to INDENT. */
static void print_wrapped(const char *text, size_t at, size_t columns, FILE *out)
{
    bool is_first = true;
    while (*text) {
        size_t bytes = strcspn(text, " \n");
        if (!is_first && at + 1 + bytes > columns) {
            fprintf(out, "\n%*s", INDENT, "");
            at = INDENT;
        } else if (!is_first) {
            fputc(' ', out);
            at++;
        }
        at += put_word(text, bytes, out);
        text += bytes;
        text += strspn(text, " \n");
        is_first = false;
    }
    fputc('\n', out);
}

static void print_finding(const struct finding *finding, FILE *out, size_t columns,
                          bool has_colour)
{
    const char *mark = levels[finding->level].mark;
    fprintf(out, "  %s%s%s%*s", has_colour ? levels[finding->level].colour : "", mark,
            has_colour ? "\033[0m" : "", INDENT - 2 - (int)strlen(mark), "");
    print_wrapped(finding->what ? finding->what : "", INDENT, columns, out);
    if (finding->why) {
        fprintf(out, "%*s", INDENT, "");
        print_wrapped(finding->why, INDENT, columns, out);
    }
    if (finding->advice) {
        fprintf(out, "%*s-> ", INDENT - 3, "");
        print_wrapped(finding->advice, INDENT, columns, out);
    }
}

void findings_print(const struct findings *findings, FILE *out, size_t columns, bool has_colour)
{
    for (int family = 0; family < FAMILY_COUNT; family++) {
        bool is_begun = false;
        for (size_t i = 0; i < findings->count; i++) {
            if ((int)findings->items[i].family != family)
                continue;
            if (!is_begun)
                fprintf(out, "%s%s%s\n", has_colour ? "\033[1m" : "", family_names[family],
                        has_colour ? "\033[0m" : "");
            is_begun = true;
            print_finding(&findings->items[i], out, columns, has_colour);
        }
    }
}

static struct document *text_or_empty(const char *text)
{
    return document_text(text ? text : "");
}

struct document *findings_document(const struct findings *findings)
{
    struct document *rows = document_array();
    for (int family = 0; family < FAMILY_COUNT; family++) {
        for (size_t i = 0; i < findings->count; i++) {
            const struct finding *finding = &findings->items[i];
            if ((int)finding->family != family)
                continue;
            struct document *row = document_object();
            int err = document_put(row, "family", document_text(family_names[family]));
            if (err == 0)
                err = document_put(row, "level", document_text(levels[finding->level].text));
            if (err == 0)
                err = document_put(row, "what", text_or_empty(finding->what));
            if (err == 0)
                err = document_put(row, "why", text_or_empty(finding->why));
            if (err == 0)
                err = document_put(row, "do", text_or_empty(finding->advice));
            if (document_append(rows, row) != 0 || err != 0) {
                document_destroy(rows);
                return NULL;
            }
        }
    }
    return rows;
}
