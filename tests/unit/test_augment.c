#include "worker/data/augment.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

enum { ROWS = 4, COLS = 5, CHANNELS = 3, COUNT = ROWS * COLS * CHANNELS };

/* Levels of 0..1, scaled as (level - 0.5) / 0.25 in the first channel, others apart from it. */
static const float black[CHANNELS] = {-2, -1, 0}, white[CHANNELS] = {2, 3, 1};

static struct augment augment_of(struct augment_settings settings)
{
    return (struct augment){.settings = settings, .rows = ROWS, .cols = COLS,
                            .channels = CHANNELS, .black = black, .white = white};
}

/* A pixel's numbers tell where it was. */
static void draw_image(float *image)
{
    for (size_t i = 0; i < COUNT; i++)
        image[i] = (float)i / 100 + 0.1f;
}

static const float *at(const float *image, size_t row, size_t col)
{
    return image + (row * COLS + col) * CHANNELS;
}

static bool is_pixel(const float *image, size_t row, size_t col, const float *expected)
{
    return memcmp(at(image, row, col), expected, CHANNELS * sizeof(float)) == 0;
}

static void test_augment_flip_mirrors_left_and_right(void)
{
    struct augment augment = augment_of((struct augment_settings){0});
    float before[COUNT], image[COUNT];
    draw_image(before);
    draw_image(image);
    augment_flip(&augment, image);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < COLS; c++)
            CU_ASSERT(is_pixel(image, r, c, at(before, r, COLS - 1 - c)));
    augment_flip_vertical(&augment, image);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < COLS; c++)
            CU_ASSERT(is_pixel(image, r, c, at(before, ROWS - 1 - r, COLS - 1 - c)));
}

/* The frame made in full, by hand. */
static void check_crop(uint32_t pad, uint32_t row, uint32_t col)
{
    struct augment augment = augment_of((struct augment_settings){.pad = pad});
    float before[COUNT], image[COUNT], scratch[COUNT];
    draw_image(before);
    draw_image(image);
    augment_crop(&augment, row, col, image, scratch);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLS; c++) {
            uint32_t y = r + row, x = c + col; /* in the frame */
            bool is_in = y >= pad && y < pad + ROWS && x >= pad && x < pad + COLS;
            CU_ASSERT(is_pixel(image, r, c, is_in ? at(before, y - pad, x - pad) : black));
        }
}

static void test_augment_crop_takes_a_piece_of_the_image_in_its_frame(void)
{
    for (uint32_t row = 0; row <= 4; row++)
        for (uint32_t col = 0; col <= 4; col++)
            check_crop(2, row, col);
    check_crop(9, 0, 18); /* nothing of the image is left */
    check_crop(9, 9, 9);
    check_crop(9, 5, 9);
}

static void turn_square(float degrees, const float *before, float *image, uint32_t side)
{
    struct augment augment = augment_of((struct augment_settings){0});
    float scratch[64];
    augment.rows = augment.cols = side;
    augment.channels = 1;
    memcpy(image, before, (size_t)side * side * sizeof(*image));
    augment_rotate(&augment, degrees, image, scratch);
}

static void test_augment_rotate_turns_quarters_exactly(void)
{
    for (uint32_t side = 3; side <= 4; side++) {
        float before[16], image[16];
        for (size_t i = 0; i < 16; i++)
            before[i] = (float)i + 1;
        turn_square(90, before, image, side); /* counter-clockwise: the top right goes top left */
        for (uint32_t r = 0; r < side; r++)
            for (uint32_t c = 0; c < side; c++)
                CU_ASSERT_EQUAL(image[r * side + c], before[c * side + side - 1 - r]);
        turn_square(-90, before, image, side);
        for (uint32_t r = 0; r < side; r++)
            for (uint32_t c = 0; c < side; c++)
                CU_ASSERT_EQUAL(image[r * side + c], before[(side - 1 - c) * side + r]);
        turn_square(180, before, image, side);
        for (uint32_t i = 0; i < side * side; i++)
            CU_ASSERT_EQUAL(image[i], before[side * side - 1 - i]);
        turn_square(0, before, image, side);
        CU_ASSERT_EQUAL(memcmp(image, before, side * side * sizeof(*image)), 0);
    }
}

/* What is linear in rows and columns stays so under bilinear interpolation, but at the rim. */
static void test_augment_rotate_by_any_angle_follows_a_slope(void)
{
    float before[64], image[64];
    for (size_t i = 0; i < 64; i++)
        before[i] = (float)(i / 8) + 10 * (float)(i % 8);
    turn_square(30, before, image, 8);
    for (uint32_t r = 2; r < 6; r++)
        for (uint32_t c = 2; c < 6; c++) {
            double down = r - 3.5, right = c - 3.5, turn = 30 * acos(-1) / 180;
            double row = 3.5 + right * sin(turn) + down * cos(turn);
            double col = 3.5 + right * cos(turn) - down * sin(turn);
            CU_ASSERT_DOUBLE_EQUAL(image[r * 8 + c], row + 10 * col, 1e-4);
        }
    turn_square(45, before, image, 8);
    CU_ASSERT_EQUAL(image[0], black[0]); /* from outside */
}

static double level(const float *pixel, size_t channel)
{
    return ((double)pixel[channel] - (double)black[channel]) /
           ((double)white[channel] - (double)black[channel]);
}

static double grey(const float *pixel)
{
    return 0.2989 * level(pixel, 0) + 0.587 * level(pixel, 1) + 0.114 * level(pixel, 2);
}

/* torchvision's _blend, by hand. */
static void check_colour(enum augment_colour kind, double factor)
{
    struct augment augment = augment_of((struct augment_settings){0});
    float before[COUNT], image[COUNT];
    double mean = 0;
    draw_image(before);
    draw_image(image);
    for (size_t i = 0; i < COUNT; i += CHANNELS)
        mean += grey(before + i) / (ROWS * COLS);
    augment_colour(&augment, kind, (float)factor, image);
    for (size_t i = 0; i < COUNT; i++) {
        const float *pixel = before + i / CHANNELS * CHANNELS;
        double other = kind == AUGMENT_CONTRAST     ? mean
                       : kind == AUGMENT_SATURATION ? grey(pixel)
                                                    : 0;
        double expected = factor * level(pixel, i % CHANNELS) + (1 - factor) * other;
        expected = fmin(fmax(expected, 0), 1);
        CU_ASSERT_DOUBLE_EQUAL(level(image + i / CHANNELS * CHANNELS, i % CHANNELS), expected,
                               1e-6);
    }
}

static void test_augment_colour_blends_as_torchvision_does(void)
{
    for (enum augment_colour kind = 0; kind < AUGMENT_COLOURS; kind++) {
        check_colour(kind, 0);
        check_colour(kind, 0.6);
        check_colour(kind, 1);
        check_colour(kind, 3); /* is cut */
    }
}

static const struct augment_settings all = {.flip = 0.5, .flip_vertical = 0.5, .pad = 2,
                                            .rotate = 20, .brightness = 0.4, .contrast = 0.4,
                                            .saturation = 0.4};

static void change(const struct augment_settings *settings, struct draw_key draw, size_t sample,
                   float *image)
{
    struct augment augment = augment_of(*settings);
    float scratch[COUNT];
    draw_image(image);
    augment_image(&augment, &draw, sample, image, scratch);
}

static void test_augment_image_is_a_function_of_seed_step_lane_and_place(void)
{
    float image[COUNT], same[COUNT], other[5][COUNT];
    change(&all, (struct draw_key){7, 3, 2, 0}, 1, image);
    change(&all, (struct draw_key){7, 3, 2, 99}, 1, same); /* `where` is not the caller's */
    CU_ASSERT_EQUAL(memcmp(image, same, sizeof(image)), 0);
    change(&all, (struct draw_key){8, 3, 2, 0}, 1, other[0]);
    change(&all, (struct draw_key){7, 4, 2, 0}, 1, other[1]);
    change(&all, (struct draw_key){7, 3, 3, 0}, 1, other[2]);
    change(&all, (struct draw_key){7, 3, 2, 0}, 2, other[3]);
    draw_image(other[4]);
    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_NOT_EQUAL(memcmp(image, other[i], sizeof(image)), 0);
}

static void test_augment_image_without_settings_changes_nothing(void)
{
    struct augment_settings none = {0};
    float before[COUNT], image[COUNT];
    draw_image(before);
    for (size_t sample = 0; sample < 100; sample++) {
        change(&none, (struct draw_key){7, 3, 2, 0}, sample, image);
        CU_ASSERT_EQUAL(memcmp(image, before, sizeof(image)), 0);
    }
    CU_ASSERT(!augment_changes_images(&none) && augment_changes_images(&all));
}

/* One setting does not shift what another draws, and each comes as often as it should. */
static void test_augment_image_draws_each_change_by_itself(void)
{
    struct augment_settings flip = {.flip = 0.25}, both = {.flip = 0.25, .pad = 1};
    struct augment frame = augment_of(both);
    size_t flip_count = 0, place_count[9] = {0};
    float before[COUNT], flipped[COUNT], image[COUNT], cut[COUNT], scratch[COUNT];
    draw_image(before);
    draw_image(flipped);
    augment_flip(&frame, flipped);
    for (size_t sample = 0; sample < 4000; sample++) {
        change(&flip, (struct draw_key){7, 3, 2, 0}, sample, image);
        bool is_flipped = memcmp(image, flipped, sizeof(image)) == 0;
        CU_ASSERT(is_flipped || memcmp(image, before, sizeof(image)) == 0);
        flip_count += is_flipped;
        change(&both, (struct draw_key){7, 3, 2, 0}, sample, image);
        if (is_flipped)
            augment_flip(&frame, image);
        for (uint32_t place = 0; place < 9; place++) {
            draw_image(cut);
            augment_crop(&frame, place / 3, place % 3, cut, scratch);
            place_count[place] += memcmp(cut, image, sizeof(image)) == 0;
        }
    }
    CU_ASSERT(flip_count > 900 && flip_count < 1100);
    for (size_t place = 0; place < 9; place++)
        CU_ASSERT(place_count[place] > 350 && place_count[place] < 540);
}

static void test_augment_check_says_what_does_not_go_with_the_data(void)
{
    struct err_msg why = {0};
    struct augment_settings flip = {.flip = 0.5}, saturation = {.saturation = 0.5};
    struct augment_settings mixup = {.mixup = 0.2};
    CU_ASSERT_EQUAL(augment_check(&flip, 3, 7, &why), 0);
    CU_ASSERT_EQUAL(augment_check(&mixup, 1, 0, &why), 0);
    CU_ASSERT_EQUAL(augment_check(&flip, 1, 0, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "expected images"));
    CU_ASSERT_EQUAL(augment_check(&saturation, 3, 4, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "have 4"));
    CU_ASSERT_EQUAL(augment_check(&saturation, 3, 1, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "augment.saturation"));
}

#define TESTS(X)                                                        \
    X(test_augment_flip_mirrors_left_and_right)                         \
    X(test_augment_crop_takes_a_piece_of_the_image_in_its_frame)        \
    X(test_augment_rotate_turns_quarters_exactly)                       \
    X(test_augment_rotate_by_any_angle_follows_a_slope)                 \
    X(test_augment_colour_blends_as_torchvision_does)                   \
    X(test_augment_image_is_a_function_of_seed_step_lane_and_place)     \
    X(test_augment_image_without_settings_changes_nothing)              \
    X(test_augment_image_draws_each_change_by_itself)                   \
    X(test_augment_check_says_what_does_not_go_with_the_data)

UNIT_MAIN("augment", TESTS)
