#ifndef WORKER_DATA_AUGMENT_H
#define WORKER_DATA_AUGMENT_H

/* augment - a training image changed at random, as it might as well have been taken.
 *
 * In this order, each only where its setting is above 0: cropped out of a frame (pad), mirrored
 * (flip, flip_vertical), turned (rotate), and its colours changed (brightness, contrast,
 * saturation, in an order that is drawn).  All is drawn by (seed, step, lane, place in the lane)
 * and by nothing else; one setting does not change what another draws.
 *
 * What lies outside an image is black: what a zero of the data file becomes when it is scaled, as
 * torchvision's RandomCrop(padding) gives it before Normalize.
 *
 * Shapes:   an image: [rows][cols][channels] f32, scaled as the network takes it.
 * Owner:    the caller's images.  Thread: no state.
 * Memory:   none; scratch is the caller's, as large as an image.
 * Source:   torchvision's RandomCrop, RandomHorizontalFlip, RandomVerticalFlip, RandomRotation
 *           (bilinear, fill 0) and ColorJitter (without hue).
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/philox.h"
#include "common/settings.h"

struct augment {
    struct augment_settings settings;
    uint32_t rows, cols, channels;
    const float *black, *white; /* [channels]: the darkest and the lightest that a pixel may be */
};

/* ERR_INPUT with a sentence when a setting does not go with images of dims axes (3: images) and so
 * many channels. */
MUST_USE int augment_check(const struct augment_settings *settings, uint32_t dims,
                           uint32_t channels, struct err_msg *why);

/* Anything but mixup is on. */
bool augment_changes_images(const struct augment_settings *settings);

/* Changes the image of sample_idx, its place in the lane.  draw: seed, step and lane.  scratch: as
 * large as the image. */
void augment_image(const struct augment *augment, const struct draw_key *draw, size_t sample_idx,
                   float *image, float *scratch);

/* The piece of the image in its frame of black, `pad` pixels wide, that begins `row` pixels from
 * the frame's top and `col` from its left; row = col = pad: the image itself. */
void augment_crop(const struct augment *augment, uint32_t row, uint32_t col, float *image,
                  float *scratch);

void augment_flip(const struct augment *augment, float *image);          /* left and right */
void augment_flip_vertical(const struct augment *augment, float *image); /* top and bottom */

/* Turns the image about its middle, counter-clockwise. */
void augment_rotate(const struct augment *augment, float degrees, float *image, float *scratch);

/* What one kind of change makes of a pixel, all in [0, 1] from black to white, and cut to that:
 * factor * pixel + (1 - factor) * other, with
 *
 *     brightness  other = 0
 *     contrast    other = the mean of the image's grey
 *     saturation  other = the pixel's grey
 *
 * grey = 0.2989 red + 0.587 green + 0.114 blue; with one channel, the pixel itself. */
enum augment_colour { AUGMENT_BRIGHTNESS, AUGMENT_CONTRAST, AUGMENT_SATURATION, AUGMENT_COLOURS };
void augment_colour(const struct augment *augment, enum augment_colour kind, float factor,
                    float *image);

#endif
