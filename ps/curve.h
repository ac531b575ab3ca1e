#ifndef PS_CURVE_H
#define PS_CURVE_H

/* curve - loss and accuracy against epochs, as a picture made by gnuplot.
 *
 * Owner:    report.  Thread: one.
 * Memory:   at most CURVE_POINTS_MAX points a line: beyond that every second one is dropped.
 * Surprise: curve_draw starts gnuplot and waits for it, up to 20 seconds.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

enum { CURVE_POINTS_MAX = 4096 };

enum curve_line { CURVE_TRAIN_LOSS, CURVE_TEST_LOSS, CURVE_TEST_ACCURACY, CURVE_LINE_COUNT };

struct curve;

MUST_USE int curve_create(struct curve **curve_out);
void curve_destroy(struct curve *curve);

/* Adds a point; one that is not finite is left out. */
void curve_add(struct curve *curve, enum curve_line line, double epoch, double value);

/* Points of a line that would be drawn. */
size_t curve_point_count(const struct curve *curve, enum curve_line line);

/* Writes an SVG picture of 900 x 560 to path.  ERR_NOT_FOUND: no gnuplot on the PATH, or no points;
 * ERR_IO, ERR_TIMEOUT, with gnuplot's words.  Nothing is left at path on failure. */
MUST_USE int curve_draw(const struct curve *curve, const char *title, const char *path,
                        struct err_msg *why);

#endif
