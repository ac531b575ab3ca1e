#include "worker/data/csv.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "worker/data/inflate.h"

enum { WINDOW_BYTES = 1 << 16, AT_END = -1 };

struct csv {
    struct inflate *in;
    char delimiter;
    uint64_t line;        /* of the next byte */
    uint64_t record_line; /* of the record at hand */
    unsigned char window[WINDOW_BYTES];
    size_t window_fill, window_at;
    char *text; /* the cells of the record, each ending in a NUL */
    size_t text_fill, text_room;
    size_t *cells; /* where each starts in text */
    size_t cell_count, cell_room;
};

int csv_open(const char *path, char delimiter, struct csv **csv_out, struct err_msg *why)
{
    struct csv *csv = calloc(1, sizeof(*csv));
    if (!csv)
        return err_set(why, ERR_NOMEM, "%s: out of memory", path);
    csv->delimiter = delimiter;
    csv->line = 1;
    int rc = inflate_open(path, &csv->in, why);
    if (rc == 0)
        rc = inflate_read(csv->in, csv->window, WINDOW_BYTES, &csv->window_fill, why);
    if (rc < 0) {
        csv_close(csv);
        return rc;
    }
    if (csv->window_fill >= 3 && memcmp(csv->window, "\xef\xbb\xbf", 3) == 0)
        csv->window_at = 3;
    *csv_out = csv;
    return 0;
}

void csv_close(struct csv *csv)
{
    if (!csv)
        return;
    inflate_close(csv->in);
    free(csv->text);
    free(csv->cells);
    free(csv);
}

/* The next byte without taking it, AT_END, or below that an error. */
static int peek(struct csv *csv, struct err_msg *why)
{
    if (csv->window_at == csv->window_fill) {
        csv->window_at = 0;
        int rc = inflate_read(csv->in, csv->window, WINDOW_BYTES, &csv->window_fill, why);
        if (rc < 0) {
            csv->window_fill = 0;
            return rc + AT_END; /* error codes are negative too: put them below AT_END */
        }
        if (csv->window_fill == 0)
            return AT_END;
    }
    return csv->window[csv->window_at];
}

static void take(struct csv *csv)
{
    csv->line += csv->window[csv->window_at] == '\n';
    csv->window_at++;
}

static int blame(const struct csv *csv, const char *what, struct err_msg *why)
{
    return err_set(why, ERR_INPUT, "%s:%" PRIu64 ": %s", inflate_path(csv->in), csv->line, what);
}

static int add_byte(struct csv *csv, int byte, struct err_msg *why)
{
    if (csv->text_fill == csv->text_room) {
        if (csv->text_room >= CSV_RECORD_BYTES_MAX)
            return blame(csv, "a record of over 64 MiB: is a quote left open?", why);
        size_t room = csv->text_room ? csv->text_room * 2 : 4096;
        char *text = realloc(csv->text, room);
        if (!text)
            return err_set(why, ERR_NOMEM, "%s: out of memory", inflate_path(csv->in));
        csv->text = text;
        csv->text_room = room;
    }
    csv->text[csv->text_fill++] = (char)byte;
    return 0;
}

static int begin_cell(struct csv *csv, struct err_msg *why)
{
    if (csv->cell_count == csv->cell_room) {
        if (csv->cell_room >= CSV_CELLS_MAX)
            return blame(csv, "a record of over a million cells", why);
        size_t room = csv->cell_room ? csv->cell_room * 2 : 64;
        size_t *cells = realloc(csv->cells, room * sizeof(*cells));
        if (!cells)
            return err_set(why, ERR_NOMEM, "%s: out of memory", inflate_path(csv->in));
        csv->cells = cells;
        csv->cell_room = room;
    }
    csv->cells[csv->cell_count++] = csv->text_fill;
    return 0;
}

static bool is_blank(const struct csv *csv, int byte)
{
    return (byte == ' ' || byte == '\t') && byte != csv->delimiter;
}

static bool ends_cell(const struct csv *csv, int byte)
{
    return byte == (unsigned char)csv->delimiter || byte == '\n' || byte == '\r' || byte < 0;
}

static int skip_blanks(struct csv *csv, struct err_msg *why)
{
    int byte = peek(csv, why);
    while (byte >= 0 && is_blank(csv, byte)) {
        take(csv);
        byte = peek(csv, why);
    }
    return byte;
}

/* After an opening quote, up to and with the closing one.  Returns the byte behind it and blanks.
 */
static int take_quoted(struct csv *csv, struct err_msg *why)
{
    uint64_t open_line = csv->line;
    for (;;) {
        int byte = peek(csv, why);
        if (byte == AT_END)
            return AT_END + err_set(why, ERR_INPUT, "%s:%" PRIu64 ": this quote is never closed",
                                    inflate_path(csv->in), open_line);
        if (byte < 0)
            return byte;
        take(csv);
        if (byte == '"') {
            byte = peek(csv, why);
            if (byte != '"')
                break;
            take(csv);
        }
        int rc =
            byte == 0 ? blame(csv, "a zero byte: this is not text", why) : add_byte(csv, byte, why);
        if (rc < 0)
            return AT_END + rc;
    }
    int byte = skip_blanks(csv, why);
    if (!ends_cell(csv, byte))
        return AT_END +
               blame(csv, "text after a closing quote; a quote inside is written twice", why);
    return byte;
}

static int take_plain(struct csv *csv, struct err_msg *why)
{
    size_t begin = csv->text_fill;
    int byte = peek(csv, why);
    while (!ends_cell(csv, byte)) {
        int rc =
            byte == 0 ? blame(csv, "a zero byte: this is not text", why) : add_byte(csv, byte, why);
        if (rc < 0)
            return AT_END + rc;
        take(csv);
        byte = peek(csv, why);
    }
    while (csv->text_fill > begin && is_blank(csv, csv->text[csv->text_fill - 1]))
        csv->text_fill--;
    return byte;
}

/* One cell.  Returns the byte that ended it, not yet taken, or an error below AT_END. */
static int take_cell(struct csv *csv, struct err_msg *why)
{
    int rc = begin_cell(csv, why);
    if (rc < 0)
        return AT_END + rc;
    int byte = skip_blanks(csv, why);
    if (byte == '"') {
        take(csv);
        byte = take_quoted(csv, why);
    } else if (!ends_cell(csv, byte)) {
        byte = take_plain(csv, why);
    }
    if (byte < AT_END)
        return byte;
    rc = add_byte(csv, 0, why);
    return rc < 0 ? AT_END + rc : byte;
}

static bool is_line_end(int byte)
{
    return byte == '\n' || byte == '\r';
}

int csv_next(struct csv *csv, struct err_msg *why)
{
    csv->cell_count = 0;
    csv->text_fill = 0;
    int byte = skip_blanks(csv, why);
    while (is_line_end(byte)) {
        take(csv);
        byte = skip_blanks(csv, why);
    }
    if (byte == AT_END)
        return 0;
    csv->record_line = csv->line;
    while (byte > AT_END) {
        byte = take_cell(csv, why);
        if (byte == AT_END || is_line_end(byte))
            return 1;
        if (byte > AT_END)
            take(csv); /* the delimiter */
    }
    return byte - AT_END;
}

size_t csv_cell_count(const struct csv *csv)
{
    return csv->cell_count;
}

const char *csv_cell(const struct csv *csv, size_t cell_idx)
{
    return csv->text + csv->cells[cell_idx];
}

uint64_t csv_line(const struct csv *csv)
{
    return csv->record_line;
}

const char *csv_path(const struct csv *csv)
{
    return inflate_path(csv->in);
}

/* Digits with at most one point, no exponent, few enough that m / 10^k is exact before rounding
 * (Clinger 1990): then one division gives the bits that strtod gives, in a tenth of its time. */
static bool short_number(const char *cell, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool is_negative = *cell == '-';
    uint64_t mantissa = 0;
    size_t digits = 0, behind_point = 0;
    bool has_point = false;
    for (cell += is_negative; *cell; cell++) {
        if (*cell >= '0' && *cell <= '9' && digits < 15) {
            mantissa = mantissa * 10 + (uint64_t)(*cell - '0');
            digits++;
            behind_point += has_point;
        } else if (*cell == '.' && !has_point) {
            has_point = true;
        } else {
            return false;
        }
    }
    double value = (double)mantissa / powers[behind_point];
    *out = is_negative ? -value : value;
    return digits > 0;
}

bool csv_number(const char *cell, double *out)
{
    if (short_number(cell, out))
        return true;
    if (*cell == 0 || cell[strspn(cell, "0123456789+-.eE")] != 0)
        return false;
    char *end = NULL;
    double value = strtod(cell, &end);
    if (*end != 0 || end == cell || !isfinite((float)value))
        return false;
    *out = value;
    return true;
}
