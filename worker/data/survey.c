#include "worker/data/survey.h"

#include <inttypes.h>
#include <math.h>

enum { PIECE_ELEMENTS = 2048 };

static bool all_finite(const double *values, size_t count)
{
    bool is_finite = true;
    for (size_t i = 0; i < count; i++)
        is_finite &= isfinite(values[i]) != 0;
    return is_finite;
}

static int blame(const struct rows *rows, uint64_t row, size_t first, const double *values,
                 struct err_msg *why)
{
    size_t at = 0;
    while (isfinite(values[at]))
        at++;
    return err_set(why, ERR_INPUT,
                   "%s: sample %" PRIu64 " (from 0): number %zu of it is %s, expected a finite one",
                   rows_name(rows), row, first + at, isnan(values[at]) ? "NaN" : "infinite");
}

/* moments NULL: only look. */
static int read_row(const struct rows *rows, uint64_t row, struct moments *moments,
                    struct err_msg *why)
{
    const struct rows_form *form = rows_form(rows);
    size_t elements = rows_elements(form);
    const char *kept = rows_at(rows, row);
    _Alignas(8) char piece[PIECE_ELEMENTS * 8];
    double values[PIECE_ELEMENTS];
    for (size_t first = 0; first < elements; first += PIECE_ELEMENTS) {
        size_t count = elements - first < PIECE_ELEMENTS ? elements - first : PIECE_ELEMENTS;
        struct rows_span span = {row, first, count};
        int rc = kept ? 0 : rows_read(rows, span, piece, why);
        if (rc < 0)
            return rc;
        const void *from = kept ? kept + first * rows_type_bytes(form->type) : piece;
        rows_widen(form->type, from, count, values);
        if (!all_finite(values, count))
            return blame(rows, row, first, values, why);
        if (moments)
            moments_add(moments, values, first, count);
    }
    return 0;
}

int survey_measure(const struct rows *rows, const unsigned char *marks, struct norm *norm,
                   struct err_msg *why)
{
    struct moments *moments = NULL;
    if (moments_create(norm, &moments) < 0)
        return err_set(why, ERR_NOMEM, "out of memory");
    int rc = 0;
    for (uint64_t row = 0; rc == 0 && row < rows_form(rows)->count; row++) {
        bool counts = !marks || marks[row / 8] >> row % 8 & 1;
        if (counts || rows_at(rows, row))
            rc = read_row(rows, row, counts ? moments : NULL, why);
    }
    if (rc == 0)
        moments_finish(moments, norm);
    moments_destroy(moments);
    return rc;
}

int survey_check(const struct rows *rows, struct err_msg *why)
{
    enum rows_type type = rows_form(rows)->type;
    if ((type != ROWS_F32 && type != ROWS_F64) || !rows_at(rows, 0))
        return 0;
    int rc = 0;
    for (uint64_t row = 0; rc == 0 && row < rows_form(rows)->count; row++)
        rc = read_row(rows, row, NULL, why);
    return rc;
}
