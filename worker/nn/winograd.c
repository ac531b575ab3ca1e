#include "worker/nn/winograd.h"

#include "worker/nn/conv_kernels.h"
#include "worker/nn/kernels.h"

enum {
    BLOCK = 64,            /* channels and filters at a time */
    TILE_CHANNELS = 2048, /* tiles at a time times channels */
    TILES_MIN = 32, /* and fewer transform the weight too often */
    TAPS = 9,
    SPACE = 16 /* reals between what would lie a power of two apart, and share cache sets */
};

/* One direction: images of `channels` become maps of `filters`.  For the gradient of the images,
 * the gradients of the maps are the images, and taps stand in reverse. */
struct wing {
    size_t size[2], channels;
    size_t out[2], filters;
    size_t before[2];
    bool is_reversed;
    size_t tiles[2]; /* of a map: rows, columns */
    size_t block;    /* tiles that are transformed at a time */

    /* Strides, and where the parts lie in scratch. */
    size_t tile_stride, in_stride; /* of transformed pixels: [36][block][channels] */
    size_t out_tile_stride, out_stride;
    size_t weight_stride;
    size_t in_at, out_at, weight_at, taps_at, pixels_at, lists_at, count;
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool winograd_fits(const struct conv *c)
{
    for (int a = 0; a < 2; a++)
        if (c->kernel[a] != 3 || c->stride[a] != 1 || c->dilation[a] != 1)
            return false;
    return c->groups == 1 && c->channels % WINOGRAD_LANES == 0 &&
           c->filters % WINOGRAD_LANES == 0 && c->out[0] > 2 && c->out[1] > 2;
}

/* Lays scratch out.  out_cols: channels of what lies at out_at, [36][block][out_cols]. */
static void lay_out(struct wing *w, size_t out_cols)
{
    size_t channels = w->channels > w->filters ? w->channels : w->filters;
    size_t tiles = TILE_CHANNELS / channels / 8 * 8;
    for (int a = 0; a < 2; a++)
        w->tiles[a] = (w->out[a] + WINOGRAD_TILE - 1) / WINOGRAD_TILE;
    w->block = tiles < TILES_MIN ? TILES_MIN : tiles;
    w->tile_stride = w->channels + SPACE;
    w->in_stride = w->block * w->tile_stride + SPACE;
    w->out_tile_stride = out_cols + SPACE;
    w->out_stride = w->block * w->out_tile_stride + SPACE;
    w->weight_stride = BLOCK * BLOCK + SPACE;
    w->out_at = w->in_at + WINOGRAD_POINTS * w->in_stride;
    w->weight_at = w->out_at + WINOGRAD_POINTS * w->out_stride;
    w->taps_at = w->weight_at + WINOGRAD_POINTS * w->weight_stride;
    w->pixels_at = w->taps_at + TAPS * BLOCK * BLOCK;
    w->lists_at = w->pixels_at + WINOGRAD_POINTS * channels;
    w->count = w->lists_at + 3 * (w->block > BLOCK ? w->block : BLOCK);
}

static struct wing forward_wing(const struct conv *c, size_t out_cols)
{
    struct wing w = {.size = {c->size[0], c->size[1]},
                     .channels = c->channels,
                     .out = {c->out[0], c->out[1]},
                     .filters = c->filters,
                     .before = {c->before[0], c->before[1]}};
    lay_out(&w, out_cols);
    return w;
}

static struct wing backward_wing(const struct conv *c)
{
    struct wing w = {.size = {c->out[0], c->out[1]},
                     .channels = c->filters,
                     .out = {c->size[0], c->size[1]},
                     .filters = c->channels,
                     .before = {2 - c->before[0], 2 - c->before[1]},
                     .is_reversed = true};
    lay_out(&w, BLOCK);
    return w;
}

size_t winograd_scratch_count(const struct conv *conv)
{
    struct wing forward = forward_wing(conv, BLOCK), weights = forward_wing(conv, conv->filters);
    struct wing backward = backward_wing(conv);
    size_t most = forward.count > backward.count ? forward.count : backward.count;
    return most > weights.count ? most : weights.count;
}

static uint32_t *list_at(real *scratch, size_t at)
{
    return (uint32_t *)(void *)(scratch + at);
}

static void list(uint32_t *list, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++)
        list[i] = (uint32_t)(i * stride);
}

/* Where a tile of side x side pixels lies: at (row, col) of an image, which may be before it. */
struct place {
    size_t image;
    ptrdiff_t row, col;
};

static struct place place_of(const struct wing *w, size_t tile)
{
    size_t of_image = w->tiles[0] * w->tiles[1], at = tile % of_image;
    return (struct place){tile / of_image, (ptrdiff_t)(at / w->tiles[1] * WINOGRAD_TILE),
                          (ptrdiff_t)(at % w->tiles[1] * WINOGRAD_TILE)};
}

/* Row `row` of an image as side pixels from col on, with zeros for what is not on the image. */
static void copy_row(const size_t size[2], const real *image, size_t channels, ptrdiff_t row,
                     ptrdiff_t col, size_t side, real *to)
{
    ptrdiff_t cols = (ptrdiff_t)size[1], end = (ptrdiff_t)side;
    ptrdiff_t first = col < 0 ? -col : 0, last = cols - col < end ? cols - col : end;
    if (row < 0 || row >= (ptrdiff_t)size[0]) {
        kernel_zero(to, side * channels);
        return;
    }
    kernel_zero(to, (size_t)first * channels);
    kernel_copy(to + (size_t)first * channels,
                image + (size_t)(row * cols + col + first) * channels,
                (size_t)(last - first) * channels);
    kernel_zero(to + (size_t)last * channels, (size_t)(end - last) * channels);
}

/* The tile's pixels: where they lie, or a copy in room when not all are on the image. */
static const real *tile_pixels(const size_t size[2], const real *images, struct place place,
                               size_t side, struct winograd_pixels *pixels, real *room)
{
    size_t channels = pixels->channels;
    const real *image = images + place.image * size[0] * size[1] * channels;
    ptrdiff_t rows = (ptrdiff_t)size[0], cols = (ptrdiff_t)size[1], reach = (ptrdiff_t)side;
    pixels->col_stride = channels;
    pixels->row_stride = size[1] * channels;
    if (place.row >= 0 && place.col >= 0 && place.row + reach <= rows && place.col + reach <= cols)
        return image + ((size_t)place.row * size[1] + (size_t)place.col) * channels;
    pixels->row_stride = side * channels;
    for (size_t i = 0; i < side; i++)
        copy_row(size, image, channels, place.row + (ptrdiff_t)i, place.col, side,
                 room + i * side * channels);
    return room;
}

static void transform_in(const struct wing *w, const real *images, size_t first, size_t count,
                         real *scratch)
{
    for (size_t k = 0; k < count; k++) {
        struct winograd_pixels pixels = {.channels = w->channels};
        struct place place = place_of(w, first + k);
        place.row -= (ptrdiff_t)w->before[0];
        place.col -= (ptrdiff_t)w->before[1];
        const real *in = tile_pixels(w->size, images, place, WINOGRAD_SIDE, &pixels,
                                     scratch + w->pixels_at);
        conv_kernels_best()->tile_in(&pixels, in, scratch + w->in_at + k * w->tile_stride,
                                     w->in_stride);
    }
}

/* The part of maps that one block of filters gives. */
static void transform_out(const struct wing *w, const struct conv_pass *pass, size_t first,
                          size_t count, size_t filter, size_t filters)
{
    for (size_t k = 0; k < count; k++) {
        struct place place = place_of(w, first + k);
        size_t row = (size_t)place.row, col = (size_t)place.col;
        struct winograd_pixels pixels = {.row_stride = w->out[1] * w->filters,
                                         .col_stride = w->filters,
                                         .channels = filters,
                                         .relu = pass->relu,
                                         .rows = smaller(w->out[0] - row, WINOGRAD_TILE),
                                         .cols = smaller(w->out[1] - col, WINOGRAD_TILE)};
        size_t pixel = (place.image * w->out[0] + row) * w->out[1] + col;
        conv_kernels_best()->tile_out(
            &pixels, pass->scratch + w->out_at + k * w->out_tile_stride, w->out_stride,
            pass->bias ? pass->bias + filter : NULL, pass->to + pixel * w->filters + filter);
    }
}

static void transform_out_grad(const struct wing *w, const real *grads, size_t first, size_t count,
                               real *scratch)
{
    for (size_t k = 0; k < count; k++) {
        struct winograd_pixels pixels = {.channels = w->filters};
        const real *in = tile_pixels(w->out, grads, place_of(w, first + k), WINOGRAD_TILE, &pixels,
                                     scratch + w->pixels_at);
        conv_kernels_best()->tile_out_grad(
            &pixels, in, scratch + w->out_at + k * w->out_tile_stride, w->out_stride);
    }
}

typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef real stored_quad
    __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));

/* to[4][BLOCK] = from[4][stride], turned round. */
static void turn_quads(const real *from, size_t stride, real *to)
{
    quad a = *(const stored_quad *)from, b = *(const stored_quad *)(from + stride);
    from += 2 * stride;
    quad c = *(const stored_quad *)from, d = *(const stored_quad *)(from + stride);
    quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(stored_quad *)to = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(stored_quad *)(to + BLOCK) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(stored_quad *)(to + 2 * BLOCK) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(stored_quad *)(to + 3 * BLOCK) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* A block of the weight, [9][channels][filters], with taps reversed and the two turned round: what
 * the gradient of an image is multiplied with. */
static void turn_taps(const struct conv_weight *weight, size_t channel, size_t channels,
                      size_t filter, size_t filters, real *taps)
{
    for (size_t tap = 0; tap < TAPS; tap++) {
        const real *from = weight->data + (TAPS - 1 - tap) * weight->tap_stride +
                           filter * weight->channel_stride + channel;
        real *to = taps + tap * BLOCK * BLOCK;
        for (size_t i = 0; i < channels; i += 4)
            for (size_t j = 0; j < filters; j += 4)
                turn_quads(from + j * weight->channel_stride + i, weight->channel_stride,
                           to + i * BLOCK + j);
    }
}

/* The transformed weight of a block of channels and one of filters: [36][channels][BLOCK]. */
static void transform_weight(const struct wing *w, const struct conv_pass *pass, size_t channel,
                             size_t channels, size_t filter, size_t filters)
{
    const struct conv_weight *weight = &pass->weight;
    const real *taps = weight->data + channel * weight->channel_stride + filter;
    size_t tap_stride = weight->tap_stride, stride = weight->channel_stride;
    if (w->is_reversed) {
        turn_taps(weight, channel, channels, filter, filters, pass->scratch + w->taps_at);
        taps = pass->scratch + w->taps_at;
        tap_stride = BLOCK * BLOCK;
        stride = BLOCK;
    }
    for (size_t i = 0; i < channels; i++)
        conv_kernels_best()->taps_in(taps + i * stride, tap_stride, filters,
                                     pass->scratch + w->weight_at + i * BLOCK, w->weight_stride);
}

/* out[36][tiles][filters] (+)= in[36][tiles][channels] weight[36][channels][filters]. */
static void multiply_points(const struct wing *w, real *scratch, size_t tiles, size_t channel,
                            size_t channels, size_t filters)
{
    uint32_t *tile_at = list_at(scratch, w->lists_at), *inner_at = tile_at + w->block;
    uint32_t *out_at = inner_at + BLOCK;
    list(tile_at, tiles, w->tile_stride);
    list(inner_at, channels, 1);
    list(out_at, tiles, w->out_tile_stride);
    for (size_t point = 0; point < WINOGRAD_POINTS; point++)
        conv_kernels_best()->multiply(&(struct conv_product){
            .rows = tiles,
            .inner = channels,
            .cols = filters,
            .a = scratch + w->in_at + point * w->in_stride + channel,
            .row_at = tile_at,
            .inner_at = inner_at,
            .b = scratch + w->weight_at + point * w->weight_stride,
            .b_stride = BLOCK,
            .c = scratch + w->out_at + point * w->out_stride,
            .c_at = out_at,
            .keep = channel > 0,
        });
}

static void run(const struct wing *w, const struct conv_pass *pass)
{
    size_t tiles = pass->count * w->tiles[0] * w->tiles[1];
    bool is_one_block = w->channels <= BLOCK && w->filters <= BLOCK;
    for (size_t first = 0; first < tiles; first += w->block) {
        size_t count = smaller(tiles - first, w->block);
        transform_in(w, pass->from, first, count, pass->scratch);
        for (size_t filter = 0; filter < w->filters; filter += BLOCK) {
            size_t filters = smaller(w->filters - filter, BLOCK);
            for (size_t channel = 0; channel < w->channels; channel += BLOCK) {
                size_t channels = smaller(w->channels - channel, BLOCK);
                if (first == 0 || !is_one_block)
                    transform_weight(w, pass, channel, channels, filter, filters);
                multiply_points(w, pass->scratch, count, channel, channels, filters);
            }
            transform_out(w, pass, first, count, filter, filters);
        }
    }
}

void winograd_forward(const struct conv_pass *pass)
{
    struct wing w = forward_wing(pass->conv, BLOCK);
    run(&w, pass);
}

void winograd_backward_data(const struct conv_pass *pass)
{
    struct wing w = backward_wing(pass->conv);
    run(&w, pass);
}

/* weight[36][channels][BLOCK] = in[36][tiles][channels]^T out[36][tiles][filters], of one block. */
static void multiply_weight_points(const struct wing *w, real *scratch, size_t tiles,
                                   size_t channel, size_t channels, size_t filter, size_t filters)
{
    uint32_t *tile_at = list_at(scratch, w->lists_at), *row_at = tile_at + w->block;
    uint32_t *weight_at = row_at + BLOCK;
    list(tile_at, tiles, w->tile_stride);
    list(row_at, channels, 1);
    list(weight_at, channels, BLOCK);
    for (size_t point = 0; point < WINOGRAD_POINTS; point++)
        conv_kernels_best()->multiply(&(struct conv_product){
            .rows = channels,
            .inner = tiles,
            .cols = filters,
            .a = scratch + w->in_at + point * w->in_stride + channel,
            .row_at = row_at,
            .inner_at = tile_at,
            .b = scratch + w->out_at + point * w->out_stride + filter,
            .b_stride = w->out_tile_stride,
            .c = scratch + w->weight_at + point * w->weight_stride,
            .c_at = weight_at,
        });
}

/* What a block of tiles gives to a block of the weight's gradient. */
static void add_weight_block(const struct wing *w, real *scratch, size_t tiles, bool keep,
                             size_t channel, size_t filter, real *weight_grad)
{
    size_t channels = smaller(w->channels - channel, BLOCK);
    size_t filters = smaller(w->filters - filter, BLOCK);
    multiply_weight_points(w, scratch, tiles, channel, channels, filter, filters);
    for (size_t i = 0; i < channels; i++)
        conv_kernels_best()->taps_grad(scratch + w->weight_at + i * BLOCK, w->weight_stride,
                                       filters, keep,
                                       weight_grad + (channel + i) * w->filters + filter,
                                       w->channels * w->filters);
}

void winograd_backward_weights(const struct conv *conv, size_t count, const real *images,
                               const real *map_grads, real *weight_grad, real *scratch)
{
    struct wing w = forward_wing(conv, conv->filters);
    size_t tiles = count * w.tiles[0] * w.tiles[1];
    for (size_t first = 0; first < tiles; first += w.block) {
        size_t block = smaller(tiles - first, w.block);
        transform_in(&w, images, first, block, scratch);
        transform_out_grad(&w, map_grads, first, block, scratch);
        for (size_t channel = 0; channel < w.channels; channel += BLOCK)
            for (size_t filter = 0; filter < w.filters; filter += BLOCK)
                add_weight_block(&w, scratch, block, first > 0, channel, filter, weight_grad);
    }
}
