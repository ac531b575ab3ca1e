#include "worker/data/view.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { CHUNK_ELEMENTS = 2048, ELEMENT_BYTES_MAX = 8 };

static bool all_finite(const float *values, size_t count)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        found |= (bits & 0x7f800000u) == 0x7f800000u; /* all exponent bits: infinity or NaN */
    }
    return found == 0;
}

static int blame(const struct view *view, uint64_t row, const float *values, struct err_msg *why)
{
    size_t at = 0;
    while (all_finite(values + at, 1))
        at++;
    return err_set(why, ERR_INPUT,
                   "%s: sample %" PRIu64 " (from 0): number %zu of it is not finite once scaled",
                   rows_name(view->rows), row, at);
}

/* Puts elements first..first+count, which lie plane after plane, where they belong: channels last.
 */
static void put_planes(const struct view *view, const float *values, size_t first, size_t count,
                       float *out)
{
    size_t plane = view->elements / view->plane_count;
    size_t channel = first / plane, pixel = first % plane;
    for (size_t i = 0; i < count; i++) {
        out[pixel * view->plane_count + channel] = values[i];
        if (++pixel == plane) {
            pixel = 0;
            channel++;
        }
    }
}

static void convert(const struct view *view, const void *from, size_t first, size_t count,
                    float *out)
{
    if (view->plane_count == 0) {
        scaling_apply(view->scaling, from, first, count, out + first);
        return;
    }
    float values[CHUNK_ELEMENTS];
    scaling_apply(view->scaling, from, first, count, values);
    put_planes(view, values, first, count, out);
}

int view_read(const struct view *view, uint64_t row, float *out, struct err_msg *why)
{
    enum rows_type type = rows_form(view->rows)->type;
    const char *kept = rows_at(view->rows, row);
    if (kept && view->plane_count == 0) {
        convert(view, kept, 0, view->elements, out);
    } else {
        _Alignas(8) char chunk[CHUNK_ELEMENTS * ELEMENT_BYTES_MAX];
        size_t count = 0;
        for (size_t first = 0; first < view->elements; first += count) {
            size_t left = view->elements - first;
            count = left < CHUNK_ELEMENTS ? left : CHUNK_ELEMENTS;
            struct rows_span span = {row, first, count};
            int rc = kept ? 0 : rows_read(view->rows, span, chunk, why);
            if (rc < 0)
                return rc;
            convert(view, kept ? kept + first * rows_type_bytes(type) : chunk, first, count, out);
        }
    }
    bool may_be_odd = type == ROWS_F32 || type == ROWS_F64;
    return may_be_odd && !all_finite(out, view->elements) ? blame(view, row, out, why) : 0;
}
