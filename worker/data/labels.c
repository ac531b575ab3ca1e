#include "worker/data/labels.h"

#include <inttypes.h>
#include <math.h>

/* The most classes: their numbers are kept as floats. */
enum { PIECE_ELEMENTS = 2048, CLASSES_MAX = 1 << 24 };

/* What is known while labels are read. */
struct check {
    const struct samples *samples;
    enum loss_kind loss;
    struct labels_found *found;
    double largest;
    bool is_bounded; /* class_count was given */
    struct err_msg *why;
};

static int blame(const struct check *check, uint64_t element, double value)
{
    static const char *const expected[] = {
        [LOSS_SOFTMAX_CROSS_ENTROPY] = "a class number 0, 1, 2, ... (softmax_cross_entropy)",
        [LOSS_BINARY_CROSS_ENTROPY] = "0 or 1 (binary_cross_entropy)",
        [LOSS_MEAN_SQUARED_ERROR] = "a finite number",
    };
    return err_set(check->why, ERR_INPUT,
                   "%s: the label of sample %" PRIu64 " (from 0) is %.9g, expected %s",
                   rows_name(check->samples->labels), element / check->found->label_count, value,
                   expected[check->loss]);
}

/* One of several labels of a sample, each the class at a position, that says: none here. */
static bool is_left_out(const struct check *check, double value)
{
    return check->loss == LOSS_SOFTMAX_CROSS_ENTROPY && check->found->label_count > 1 &&
           value < 0 && value == floor(value);
}

static int check_one(struct check *check, uint64_t element, double value)
{
    bool is_class = value >= 0 && value < CLASSES_MAX && value == floor(value);
    bool is_share = value >= 0 && value <= 1;
    if (!isfinite((float)value))
        return blame(check, element, value);
    if (check->loss == LOSS_SOFTMAX_CROSS_ENTROPY && !is_class && !is_left_out(check, value))
        return blame(check, element, value);
    if (check->loss == LOSS_BINARY_CROSS_ENTROPY &&
        !(is_share && (is_class || check->found->label_count > 1)))
        return blame(check, element, value);
    if (check->is_bounded && is_class && value >= check->found->class_count)
        return err_set(
            check->why, ERR_INPUT,
            "%s: the label of sample %" PRIu64 " (from 0) is %.9g, but the training part "
            "has the classes 0 to %" PRIu32,
            rows_name(check->samples->labels), element, value, check->found->class_count - 1);
    if (value > check->largest)
        check->largest = value;
    return 0;
}

static int check_all(struct check *check)
{
    const struct rows *rows = check->samples->labels;
    enum rows_type type = rows_form(rows)->type;
    uint64_t count = rows_form(rows)->count * check->found->label_count;
    _Alignas(8) char piece[PIECE_ELEMENTS * 8];
    double values[PIECE_ELEMENTS];
    for (uint64_t done = 0; done < count; done += PIECE_ELEMENTS) {
        size_t size = count - done < PIECE_ELEMENTS ? (size_t)(count - done) : PIECE_ELEMENTS;
        struct rows_span span = {done / check->found->label_count,
                                 (size_t)(done % check->found->label_count), size};
        int rc = rows_read(rows, span, piece, check->why);
        if (rc == 0)
            rows_widen(type, piece, size, values);
        for (size_t i = 0; rc == 0 && i < size; i++)
            rc = check_one(check, done + i, values[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int labels_check(const struct samples *samples, enum loss_kind loss, struct labels_found *found,
                 struct err_msg *why)
{
    const struct vocabulary *classes = &samples->classes;
    struct check check = {
        .samples = samples,
        .loss = loss,
        .found = found,
        .is_bounded = found->class_count > 0,
        .why = why,
    };
    found->label_count = (uint32_t)rows_elements(rows_form(samples->labels));
    if (loss == LOSS_BINARY_CROSS_ENTROPY && classes->word_count > 2)
        return err_set(
            why, ERR_INPUT,
            "%s: its labels have %zu classes (\"%s\", \"%s\", \"%s\", ...), expected two "
            "for binary_cross_entropy",
            rows_name(samples->labels), classes->word_count, classes->words[0], classes->words[1],
            classes->words[2]);
    int rc = check_all(&check);
    if (rc < 0 || loss == LOSS_MEAN_SQUARED_ERROR)
        return rc;
    if (loss == LOSS_BINARY_CROSS_ENTROPY)
        found->class_count = 2;
    else if (!check.is_bounded)
        found->class_count =
            classes->word_count > 0 ? (uint32_t)classes->word_count : (uint32_t)check.largest + 1;
    return 0;
}
