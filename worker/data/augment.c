#include "worker/data/augment.h"

#include <math.h>
#include <string.h>
#include "common/batching.h"
#include "common/elementary.h"

/* What each number of a sample's stream is for. */
enum draw_place {
    PLACE_ROW,
    PLACE_COL,
    PLACE_FLIP,
    PLACE_FLIP_VERTICAL,
    PLACE_ANGLE,
    PLACE_ORDER,
    PLACE_COLOUR, /* and the enum augment_colour */
    PLACE_COUNT = PLACE_COLOUR + AUGMENT_COLOURS
};

static bool changes_colours(const struct augment_settings *s)
{
    return s->brightness > 0 || s->contrast > 0 || s->saturation > 0;
}

bool augment_changes_images(const struct augment_settings *settings)
{
    return settings->flip > 0 || settings->flip_vertical > 0 || settings->pad > 0 ||
           settings->rotate > 0 || changes_colours(settings);
}

int augment_check(const struct augment_settings *settings, uint32_t dims, uint32_t channels,
                  struct err_msg *why)
{
    if (augment_changes_images(settings) && dims != 3)
        return err_set(why, ERR_INPUT,
                       "augment: a sample of the data is a row of numbers, expected images (of "
                       "what is set here, only augment.mixup goes with rows)");
    if (changes_colours(settings) && channels != 1 && channels != 3)
        return err_set(why, ERR_INPUT,
                       "augment: brightness, contrast and saturation are of 1 or 3 channels, the "
                       "data's images have %u",
                       channels);
    if (settings->saturation > 0 && channels != 3)
        return err_set(why, ERR_INPUT,
                       "augment.saturation: found %g, expected 0: the data's images are grey",
                       settings->saturation);
    return 0;
}

static size_t row_count(const struct augment *a)
{
    return (size_t)a->cols * a->channels;
}

static size_t image_count(const struct augment *a)
{
    return a->rows * row_count(a);
}

static void fill_black(const struct augment *a, float *pixels, size_t pixel_count)
{
    for (size_t i = 0; i < pixel_count; i++)
        for (uint32_t c = 0; c < a->channels; c++)
            pixels[i * a->channels + c] = a->black[c];
}

void augment_crop(const struct augment *augment, uint32_t row, uint32_t col, float *image,
                  float *scratch)
{
    int64_t pad = augment->settings.pad, down = (int64_t)row - pad, right = (int64_t)col - pad;
    size_t channels = augment->channels, cols = augment->cols, row_size = row_count(augment);
    size_t off = (size_t)(right < 0 ? -right : right), kept = off < cols ? cols - off : 0;
    memcpy(scratch, image, image_count(augment) * sizeof(*image));
    for (int64_t r = 0; r < augment->rows; r++) {
        float *out = image + (size_t)r * row_size;
        if (r + down < 0 || r + down >= augment->rows || kept == 0) {
            fill_black(augment, out, cols);
            continue;
        }
        const float *in = scratch + (size_t)(r + down) * row_size;
        size_t to = right < 0 ? off : 0, from = right < 0 ? 0 : off;
        memcpy(out + to * channels, in + from * channels, kept * channels * sizeof(*out));
        fill_black(augment, right < 0 ? out : out + kept * channels, cols - kept);
    }
}

static void swap(float *a, float *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

void augment_flip(const struct augment *augment, float *image)
{
    size_t channels = augment->channels, row_size = row_count(augment);
    for (size_t r = 0; r < augment->rows; r++) {
        float *row = image + r * row_size;
        for (size_t c = 0; c < augment->cols / 2; c++)
            swap(row + c * channels, row + (augment->cols - 1 - c) * channels, channels);
    }
}

void augment_flip_vertical(const struct augment *augment, float *image)
{
    size_t row_size = row_count(augment);
    for (size_t r = 0; r < augment->rows / 2; r++)
        swap(image + r * row_size, image + (augment->rows - 1 - r) * row_size, row_size);
}

/* Of any angle; of whole quarters exactly. */
static void turn_degrees(double degrees, double *cosine_out, double *sine_out)
{
    double quarters = floor(degrees / 90 + 0.5), cosine, sine;
    elementary_turn((degrees - 90 * quarters) * (0x1.921fb54442d18p+1 / 180), &cosine, &sine);
    unsigned quarter = (unsigned)((int64_t)quarters & 3);
    double even = quarter % 2 == 0 ? cosine : sine, odd = quarter % 2 == 0 ? sine : cosine;
    *cosine_out = quarter == 0 || quarter == 3 ? even : -even;
    *sine_out = quarter < 2 ? odd : -odd;
}

/* The pixel there, or black. */
static const float *pixel_at(const struct augment *a, const float *image, int64_t row, int64_t col)
{
    if (row < 0 || row >= a->rows || col < 0 || col >= a->cols)
        return a->black;
    return image + (size_t)row * row_count(a) + (size_t)col * a->channels;
}

/* Bilinear between the four pixels around. */
static void sample_at(const struct augment *a, const float *image, double row, double col,
                      float *out)
{
    double top = floor(row), left = floor(col);
    int64_t r = (int64_t)top, c = (int64_t)left;
    float down = (float)(row - top), right = (float)(col - left);
    const float *near[2] = {pixel_at(a, image, r, c), pixel_at(a, image, r, c + 1)};
    const float *below[2] = {pixel_at(a, image, r + 1, c), pixel_at(a, image, r + 1, c + 1)};
    for (uint32_t k = 0; k < a->channels; k++) {
        float upper = (1 - right) * near[0][k] + right * near[1][k];
        float lower = (1 - right) * below[0][k] + right * below[1][k];
        out[k] = (1 - down) * upper + down * lower;
    }
}

/* A pixel comes from where the opposite turn takes it; rows count downwards. */
void augment_rotate(const struct augment *augment, float degrees, float *image, float *scratch)
{
    double cosine, sine;
    double row_middle = ((double)augment->rows - 1) / 2;
    double col_middle = ((double)augment->cols - 1) / 2;
    turn_degrees((double)degrees, &cosine, &sine);
    memcpy(scratch, image, image_count(augment) * sizeof(*image));
    for (uint32_t r = 0; r < augment->rows; r++) {
        for (uint32_t c = 0; c < augment->cols; c++) {
            double down = (double)r - row_middle, right = (double)c - col_middle;
            sample_at(augment, scratch, row_middle + right * sine + down * cosine,
                      col_middle + right * cosine - down * sine, image);
            image += augment->channels;
        }
    }
}

/* What channel c weighs in a pixel's grey. */
static float grey_weight(const struct augment *a, uint32_t channel)
{
    static const float weights[] = {0.2989f, 0.587f, 0.114f};
    return a->channels == 1 ? 1 : weights[channel];
}

/* From 0, black, to 1, white. */
static float level_of(const struct augment *a, uint32_t channel, float value)
{
    return (value - a->black[channel]) / (a->white[channel] - a->black[channel]);
}

static float grey_of(const struct augment *a, const float *pixel)
{
    float grey = 0;
    for (uint32_t c = 0; c < a->channels; c++)
        grey += grey_weight(a, c) * level_of(a, c, pixel[c]);
    return grey;
}

static float mean_grey(const struct augment *a, const float *image)
{
    size_t pixel_count = (size_t)a->rows * a->cols;
    double sum = 0;
    for (size_t i = 0; i < pixel_count; i++)
        sum += (double)grey_of(a, image + i * a->channels);
    return (float)(sum / (double)pixel_count);
}

void augment_colour(const struct augment *augment, enum augment_colour kind, float factor,
                    float *image)
{
    size_t pixel_count = (size_t)augment->rows * augment->cols;
    float other = kind == AUGMENT_CONTRAST ? mean_grey(augment, image) : 0;
    for (size_t i = 0; i < pixel_count; i++, image += augment->channels) {
        if (kind == AUGMENT_SATURATION)
            other = grey_of(augment, image);
        for (uint32_t c = 0; c < augment->channels; c++) {
            float black = augment->black[c], span = augment->white[c] - black;
            float level = factor * level_of(augment, c, image[c]) + (1 - factor) * other;
            image[c] = black + span * (level < 0 ? 0 : level > 1 ? 1 : level);
        }
    }
}

static void change_colours(const struct augment *a, const float draws[PLACE_COUNT], float *image)
{
    static const enum augment_colour orders[6][AUGMENT_COLOURS] = {
        {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const double amounts[AUGMENT_COLOURS] = {a->settings.brightness, a->settings.contrast,
                                             a->settings.saturation};
    const enum augment_colour *order = orders[(size_t)(6 * draws[PLACE_ORDER])];
    for (size_t i = 0; i < AUGMENT_COLOURS; i++) {
        float amount = (float)amounts[order[i]];
        float least = amount < 1 ? 1 - amount : 0;
        float factor = least + (1 + amount - least) * draws[PLACE_COLOUR + order[i]];
        if (amount > 0)
            augment_colour(a, order[i], factor, image);
    }
}

void augment_image(const struct augment *augment, const struct draw_key *draw, size_t sample_idx,
                   float *image, float *scratch)
{
    const struct augment_settings *s = &augment->settings;
    struct draw_key key = *draw;
    float draws[PLACE_COUNT];
    key.where = DRAW_AUGMENT + (uint32_t)sample_idx;
    draw_fill_uniform(&key, 0, draws, PLACE_COUNT);
    float places = (float)(2 * s->pad + 1);
    if (s->pad > 0)
        augment_crop(augment, (uint32_t)(places * draws[PLACE_ROW]),
                     (uint32_t)(places * draws[PLACE_COL]), image, scratch);
    if ((double)draws[PLACE_FLIP] < s->flip)
        augment_flip(augment, image);
    if ((double)draws[PLACE_FLIP_VERTICAL] < s->flip_vertical)
        augment_flip_vertical(augment, image);
    if (s->rotate > 0)
        augment_rotate(augment, (float)s->rotate * (2 * draws[PLACE_ANGLE] - 1), image, scratch);
    change_colours(augment, draws, image);
}
