#include "worker/data/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/digest.h"
#include "common/utf8.h"

enum { WINDOW_BYTES = 1 << 16, TOKENS_AT_ONCE = 4096 };

/* A file's characters, one after another. */
struct reader {
    struct inflate *in;
    const char *path;
    char window[WINDOW_BYTES];
    size_t at, end; /* of what the window holds and was not read yet */
    bool has_begun; /* the window is filled, a byte order mark left behind */
    bool is_whole;  /* nothing follows the window */
    uint64_t line, column; /* of the character last read, from 1 */
    uint64_t count;        /* characters read */
    uint32_t last;         /* 0: none */
    struct err_msg *why;
};

static int open_reader(const char *path, struct reader **reader_out, struct err_msg *why)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return err_set(why, ERR_NOMEM, "%s: out of memory", path);
    reader->path = path;
    reader->why = why;
    reader->line = 1;
    int rc = inflate_open(path, &reader->in, why);
    if (rc == 0)
        *reader_out = reader;
    else
        free(reader);
    return rc;
}

static void close_reader(struct reader *reader)
{
    if (!reader)
        return;
    inflate_close(reader->in);
    free(reader);
}

static int refill(struct reader *reader)
{
    size_t left = reader->end - reader->at, got = 0;
    memmove(reader->window, reader->window + reader->at, left);
    int rc =
        inflate_read(reader->in, reader->window + left, WINDOW_BYTES - left, &got, reader->why);
    reader->at = 0;
    reader->end = left + got;
    reader->is_whole = reader->end < WINDOW_BYTES;
    return rc;
}

static int begin(struct reader *reader)
{
    static const char mark[] = "\xef\xbb\xbf";
    int rc = refill(reader);
    if (reader->end >= strlen(mark) && memcmp(reader->window, mark, strlen(mark)) == 0)
        reader->at = strlen(mark);
    reader->has_begun = true;
    return rc;
}

static void count_character(struct reader *reader, uint32_t code_point)
{
    if (reader->last == '\n') {
        reader->line++;
        reader->column = 0;
    }
    reader->column++;
    reader->count++;
    reader->last = code_point;
}

/* The next character: 1, 0 at the end, or an error. */
static int read_character(struct reader *reader, uint32_t *code_point_out)
{
    int rc = 0;
    if (!reader->has_begun)
        rc = begin(reader);
    else if (reader->end - reader->at < UTF8_BYTES_MAX && !reader->is_whole)
        rc = refill(reader);
    if (rc < 0)
        return rc;
    if (reader->at == reader->end)
        return 0;
    const char *at = reader->window + reader->at;
    size_t size_bytes = utf8_character_bytes(at, reader->end - reader->at);
    uint32_t code_point = size_bytes ? utf8_code_point(at, size_bytes) : 0;
    reader->at += size_bytes;
    count_character(reader, code_point);
    if (code_point == 0)
        return err_set(reader->why, ERR_INPUT,
                       "%s:%" PRIu64 ": character %" PRIu64 " of the line: found the byte 0x%02x, "
                       "expected a text in UTF-8",
                       reader->path, reader->line, reader->column, (unsigned)(unsigned char)*at);
    *code_point_out = code_point;
    return 1;
}

static int add_characters(const unsigned char *marks, const char *path,
                          struct vocabulary *characters, struct err_msg *why)
{
    int rc = 0;
    for (uint32_t c = 0; rc == 0 && c < UTF8_CODE_POINTS; c++) {
        char word[UTF8_BYTES_MAX + 1];
        if (!(marks[c / 8] >> c % 8 & 1))
            continue;
        utf8_write(c, word);
        rc = vocabulary_add(characters, word);
    }
    if (rc == ERR_FULL)
        return err_set(why, ERR_INPUT,
                       "%s: has over %d kinds of characters, the most that a text may have", path,
                       VOCABULARY_WORDS_MAX);
    return rc < 0 ? err_set(why, rc, "%s: %s", path, err_text(rc)) : 0;
}

int text_learn(const char *path, struct vocabulary *characters, struct err_msg *why)
{
    struct reader *reader = NULL;
    int rc = open_reader(path, &reader, why);
    if (rc < 0)
        return rc;
    unsigned char *marks = calloc(1, UTF8_CODE_POINTS / 8);
    if (!marks)
        rc = err_set(why, ERR_NOMEM, "%s: out of memory", path);
    uint32_t c = 0;
    while (rc == 0 && (rc = read_character(reader, &c)) > 0) {
        marks[c / 8] |= (unsigned char)(1u << c % 8);
        rc = 0;
    }
    if (rc == 0 && reader->count == 0)
        rc = err_set(why, ERR_INPUT, "%s: is empty", path);
    if (rc == 0)
        rc = add_characters(marks, path, characters, why);
    free(marks);
    close_reader(reader);
    return rc;
}

/* The tokens of characters: those of ASCII in a table, others by search. */
struct token_table {
    long ascii[128];       /* -1: none */
    uint32_t *code_points; /* [count], sorted */
    size_t count;
};

static int make_table(const struct vocabulary *characters, struct token_table *table)
{
    table->count = characters->word_count;
    table->code_points = calloc(table->count + 1, sizeof(*table->code_points));
    if (!table->code_points)
        return ERR_NOMEM;
    memset(table->ascii, -1, sizeof(table->ascii));
    for (size_t i = 0; i < table->count; i++) {
        const char *word = characters->words[i];
        table->code_points[i] = utf8_code_point(word, utf8_character_bytes(word, strlen(word)));
        if (table->code_points[i] < 128)
            table->ascii[table->code_points[i]] = (long)i;
    }
    return 0;
}

static long find_token(const struct token_table *table, uint32_t code_point)
{
    if (code_point < 128)
        return table->ascii[code_point];
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->code_points[middle] == code_point)
            return (long)middle;
        *(table->code_points[middle] < code_point ? &low : &high) =
            table->code_points[middle] < code_point ? middle + 1 : middle;
    }
    return -1;
}

static int blame_unknown(const struct reader *reader, uint32_t code_point)
{
    char character[UTF8_BYTES_MAX + 1];
    utf8_write(code_point, character);
    bool is_shown = code_point >= 0x20 && code_point != 0x7f;
    return err_set(reader->why, ERR_INPUT,
                   "%s:%" PRIu64 ": character %" PRIu64 " of the line: found %s%s%sU+%04" PRIX32
                   ", which the training text does not have",
                   reader->path, reader->line, reader->column, is_shown ? "'" : "",
                   is_shown ? character : "", is_shown ? "', " : "", code_point);
}

/* Tokens on their way to a spool. */
struct writer {
    struct spool *spool;
    bool is_wide; /* u16, else u8 */
    size_t held;
    uint8_t narrow[TOKENS_AT_ONCE];
    uint16_t wide[TOKENS_AT_ONCE];
};

static int flush_tokens(struct writer *writer, struct err_msg *why)
{
    size_t count = writer->held;
    writer->held = 0;
    if (writer->is_wide)
        return spool_add(writer->spool, writer->wide, count * sizeof(uint16_t), why);
    return spool_add(writer->spool, writer->narrow, count, why);
}

static int write_token(struct writer *writer, long token, struct err_msg *why)
{
    if (writer->is_wide)
        writer->wide[writer->held++] = (uint16_t)token;
    else
        writer->narrow[writer->held++] = (uint8_t)token;
    return writer->held == TOKENS_AT_ONCE ? flush_tokens(writer, why) : 0;
}

static int encode_all(struct reader *reader, const struct token_table *table,
                      struct writer *writer)
{
    uint32_t code_point = 0;
    int rc = 0;
    while ((rc = read_character(reader, &code_point)) > 0) {
        long token = find_token(table, code_point);
        rc = token < 0 ? blame_unknown(reader, code_point)
                       : write_token(writer, token, reader->why);
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && reader->count == 0)
        return err_set(reader->why, ERR_INPUT, "%s: is empty", reader->path);
    return rc < 0 ? rc : flush_tokens(writer, reader->why);
}

/* Consumes the writer's spool. */
static int make_rows(struct writer *writer, const struct reader *reader, struct rows_place *place,
                     struct rows **rows_out)
{
    struct rows_form form = {.type = writer->is_wide ? ROWS_U16 : ROWS_U8, .count = reader->count};
    struct spool *spool = writer->spool;
    writer->spool = NULL;
    int rc = rows_from_spool(spool, &form, reader->path, rows_out, reader->why);
    if (rc == 0)
        rows_take_place(*rows_out, place);
    return rc;
}

int text_encode(const char *path, const struct vocabulary *characters, struct rows_place *place,
                struct rows **rows_out, struct err_msg *why)
{
    struct reader *reader = NULL;
    struct token_table table = {0};
    int rc = open_reader(path, &reader, why);
    if (rc < 0)
        return rc;
    struct writer *writer = calloc(1, sizeof(*writer));
    if (!writer || make_table(characters, &table) < 0 ||
        spool_create(place->spool_dir, place->memory_bytes, &writer->spool) < 0)
        rc = err_set(why, ERR_NOMEM, "%s: out of memory", path);
    if (rc == 0) {
        writer->is_wide = characters->word_count > 256;
        rc = encode_all(reader, &table, writer);
    }
    if (rc == 0)
        rc = make_rows(writer, reader, place, rows_out);
    if (writer)
        spool_destroy(writer->spool);
    free(writer);
    free(table.code_points);
    close_reader(reader);
    return rc;
}

int text_digest(const struct vocabulary *characters, char hex_out[65])
{
    struct digest *digest = digest_create();
    if (!digest)
        return ERR_NOMEM;
    for (size_t i = 0; i < characters->word_count; i++)
        digest_add(digest, characters->words[i], strlen(characters->words[i]) + 1);
    digest_hex(digest, hex_out);
    digest_destroy(digest);
    return 0;
}
