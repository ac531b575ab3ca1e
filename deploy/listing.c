#include "deploy/listing.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct cell {
    char text[LISTING_CELL_BYTES];
};

struct listing {
    size_t column_count;
    bool is_right[LISTING_COLUMNS_MAX];
    size_t cell_count, cell_max; /* the heads are the first row */
    struct cell *cells;
};

static int add_head(struct listing *listing, const char *head, size_t length)
{
    listing->is_right[listing->column_count] = head[0] == '>';
    if (head[0] == '>') {
        head++;
        length--;
    }
    listing->column_count++;
    int code = listing_add(listing, "%.*s", (int)length, head);
    if (code < 0)
        return code;
    for (char *c = listing->cells[listing->cell_count - 1].text; *c; c++) {
        if (*c == '_')
            *c = ' ';
    }
    return 0;
}

int listing_create(const char *heads, struct listing **listing_out)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return ERR_NOMEM;
    while (*heads && listing->column_count < LISTING_COLUMNS_MAX) {
        size_t length = strcspn(heads, " ");
        int code = add_head(listing, heads, length);
        if (code < 0) {
            listing_destroy(listing);
            return code;
        }
        heads += length + strspn(heads + length, " ");
    }
    *listing_out = listing;
    return 0;
}

void listing_destroy(struct listing *listing)
{
    if (!listing)
        return;
    free(listing->cells);
    free(listing);
}

int listing_add(struct listing *listing, const char *format, ...)
{
    if (listing->cell_count == listing->cell_max) {
        size_t cell_max = listing->cell_max ? 2 * listing->cell_max : 64;
        struct cell *cells = realloc(listing->cells, cell_max * sizeof(*cells));
        if (!cells)
            return ERR_NOMEM;
        listing->cells = cells;
        listing->cell_max = cell_max;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(listing->cells[listing->cell_count++].text, LISTING_CELL_BYTES, format, args);
    va_end(args);
    return 0;
}

void listing_print(const struct listing *listing, FILE *out)
{
    int widths[LISTING_COLUMNS_MAX] = {0};
    if (listing->cell_count <= listing->column_count)
        return;
    for (size_t i = 0; i < listing->cell_count; i++) {
        int width = (int)strlen(listing->cells[i].text);
        if (widths[i % listing->column_count] < width)
            widths[i % listing->column_count] = width;
    }
    for (size_t i = 0; i < listing->cell_count; i++) {
        size_t column = i % listing->column_count;
        bool is_last = column + 1 == listing->column_count;
        int width = is_last && !listing->is_right[column] ? 0 : widths[column];
        fprintf(out, "%*s%s", listing->is_right[column] ? width : -width, listing->cells[i].text,
                is_last ? "\n" : "  ");
    }
}
