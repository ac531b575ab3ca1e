#include "worker/data/tokens.h"

#include <inttypes.h>
#include <math.h>

/* The most kinds: tokens are handed to the network as floats. */
enum { PIECE_TOKENS = 2048, KINDS_MAX = 1 << 24 };

bool tokens_is_stream(const struct settings *settings, const struct samples *samples)
{
    return settings->data.sequence > 0 && rows_form(samples->inputs)->dims == 0;
}

static int check_settings(const struct settings *settings, bool is_stream, struct err_msg *why)
{
    if (settings->data.scale < 1 || settings->data.scale > 1)
        return err_set(why, ERR_INPUT,
                       "data.scale: found %g, expected 1: tokens (data.sequence) are not scaled",
                       settings->data.scale);
    if (settings->data.mean.count > 0 || settings->data.std.count > 0 ||
        settings->data.normalise != NORMALISE_NONE)
        return err_set(why, ERR_INPUT,
                       "%s: tokens (data.sequence) are not scaled: leave it out",
                       settings->data.normalise != NORMALISE_NONE ? "data.normalise"
                       : settings->data.mean.count > 0            ? "data.mean"
                                                                  : "data.std");
    if (is_stream && settings->model.loss != LOSS_SOFTMAX_CROSS_ENTROPY)
        return err_set(why, ERR_INPUT,
                       "model.loss: a stream of tokens (data.sequence) has a class as the label of "
                       "each, expected softmax_cross_entropy");
    return 0;
}

static int check_shape(const struct settings *settings, const struct samples *samples,
                       struct err_msg *why)
{
    const struct rows_form *form = rows_form(samples->inputs);
    if (form->dims == 0 && samples->labels)
        return err_set(why, ERR_INPUT,
                       "%s: labels beside a stream of tokens: each token's label is the one that "
                       "follows it; leave the labels file out",
                       rows_name(samples->labels));
    if (form->dims == 0 || (form->dims == 1 && form->shape[0] == settings->data.sequence))
        return 0;
    return err_set(why, ERR_INPUT,
                   "%s: found samples of %zu numbers in %" PRIu32 " dimension%s, expected a stream "
                   "of tokens (one dimension in all), or %" PRIu32 " a sample (data.sequence)",
                   rows_name(samples->inputs), rows_elements(form), form->dims,
                   form->dims == 1 ? "" : "s", settings->data.sequence);
}

/* limit: kinds, 0 when they are to be counted. */
static int check_piece(const struct rows *rows, uint64_t first, const double *values, size_t count,
                       uint32_t limit, struct err_msg *why)
{
    double bound = limit ? limit : KINDS_MAX;
    for (size_t i = 0; i < count; i++) {
        if (values[i] >= 0 && values[i] < bound && values[i] == floor(values[i]))
            continue;
        if (limit && values[i] >= bound && values[i] == floor(values[i]))
            return err_set(why, ERR_INPUT,
                           "%s: token %" PRIu64 " (from 0) is %.9g, but the training part has the "
                           "tokens 0 to %" PRIu32,
                           rows_name(rows), first + i, values[i], limit - 1);
        return err_set(why, ERR_INPUT,
                       "%s: token %" PRIu64 " (from 0) is %.9g, expected a whole number from 0 to "
                       "%d (data.sequence)",
                       rows_name(rows), first + i, values[i], KINDS_MAX - 1);
    }
    return 0;
}

/* The largest token, or an error. */
static int check_values(const struct rows *rows, uint32_t limit, double *largest_out,
                        struct err_msg *why)
{
    const struct rows_form *form = rows_form(rows);
    size_t elements = rows_elements(form);
    uint64_t count = form->count * elements;
    _Alignas(8) char piece[PIECE_TOKENS * 8];
    double values[PIECE_TOKENS];
    *largest_out = 0;
    for (uint64_t done = 0; done < count; done += PIECE_TOKENS) {
        size_t size = count - done < PIECE_TOKENS ? (size_t)(count - done) : PIECE_TOKENS;
        struct rows_span span = {done / elements, (size_t)(done % elements), size};
        int rc = rows_read(rows, span, piece, why);
        if (rc < 0)
            return rc;
        rows_widen(form->type, piece, size, values);
        rc = check_piece(rows, done, values, size, limit, why);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < size; i++)
            *largest_out = fmax(*largest_out, values[i]);
    }
    return 0;
}

int tokens_check(const struct settings *settings, const struct samples *samples,
                 uint32_t *kind_count, struct err_msg *why)
{
    double largest = 0;
    bool is_stream = tokens_is_stream(settings, samples);
    size_t named = is_stream ? samples->classes.word_count : 0;
    int rc = check_settings(settings, is_stream, why);
    if (rc == 0)
        rc = check_shape(settings, samples, why);
    if (rc == 0)
        rc = check_values(samples->inputs, named && !*kind_count ? (uint32_t)named : *kind_count,
                          &largest, why);
    if (rc == 0 && *kind_count == 0)
        *kind_count = named ? (uint32_t)named : (uint32_t)largest + 1;
    return rc;
}
