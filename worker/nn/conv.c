#include "worker/nn/conv.h"

#include "worker/nn/conv_kernels.h"
#include "worker/nn/kernels.h"

enum {
    ROWS_AIM = 256, /* rows of a product: images are joined up to these */
    ROWS_MAX = 512  /* and no more at a time, so that what they read stays near */
};

/* One axis of a sweep: windows over a source, and where the sums of each go. */
struct axis {
    uint32_t source;
    int64_t before;  /* pixels put before the source; below 0: pixels of it that nobody reads */
    uint32_t padded; /* pixels with all padding */
    uint32_t count;  /* windows */
    uint32_t step;   /* from one to the next */
    uint32_t to_from, to_step; /* pixel that a window's sums belong to */
    uint32_t to_size;
    uint32_t taps, tap_from, tap_step; /* which of the kernel's it has */
    uint32_t reach;                    /* pixels from tap to tap */
    bool is_reversed;                  /* the first tap lies at the window's end */
};

/* One product: windows over sources, times a weight, into sums. */
struct sweep {
    struct axis axis[2]; /* rows, columns */
    size_t from_channels, to_channels;
    size_t groups;
    size_t taps;       /* of both axes */
    size_t group_from; /* channels a group reads */
    size_t group_to;   /* and gives */
    size_t inner;      /* taps * group_from */
    size_t images;     /* that are multiplied together */
    size_t windows;    /* of one image */
    bool is_padded;
};

/* Where the parts lie in scratch. */
struct room {
    size_t padded_at, panels_at, row_at, to_at, inner_at, tail_at, count;
};

static size_t round_up(size_t count, size_t unit)
{
    return (count + unit - 1) / unit * unit;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

struct conv_weight conv_weight_of(const struct conv *conv, const real *data)
{
    size_t channels = conv->channels / conv->groups;
    return (struct conv_weight){data, channels * conv->filters, conv->filters, 1};
}

static bool is_depthwise(const struct conv *conv)
{
    return conv->groups > 1 && conv->groups == conv->channels && conv->groups == conv->filters;
}

static struct axis forward_axis(const struct conv *c, int a)
{
    return (struct axis){
        .source = c->size[a],
        .before = c->before[a],
        .padded = (c->out[a] - 1) * c->stride[a] + (c->kernel[a] - 1) * c->dilation[a] + 1,
        .count = c->out[a],
        .step = c->stride[a],
        .to_step = 1,
        .to_size = c->out[a],
        .taps = c->kernel[a],
        .tap_step = 1,
        .reach = c->dilation[a],
    };
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* Pixel r of an image meets tap t at map pixel (r + before - t dilation) / stride where that has no
 * remainder: those of one class of r meet every n-th tap, at neighbouring map pixels. */
static struct axis backward_axis(const struct conv *c, int a, uint32_t class)
{
    uint32_t stride = c->stride[a], dilation = c->dilation[a];
    uint32_t divisor = common_divisor(stride, dilation), first = 0;
    struct axis axis = {.source = c->out[a], .step = 1, .to_size = c->size[a], .to_step = stride};
    axis.to_from = (class + stride - c->before[a] % stride) % stride;
    axis.count =
        axis.to_from < c->size[a] ? (c->size[a] - axis.to_from + stride - 1) / stride : 0;
    axis.tap_step = stride / divisor;
    axis.reach = dilation / divisor;
    axis.is_reversed = true;
    while (first < axis.tap_step && first * dilation % stride != class)
        first++;
    if (first < axis.tap_step && first < c->kernel[a]) {
        axis.tap_from = first;
        axis.taps = (c->kernel[a] - first + axis.tap_step - 1) / axis.tap_step;
        axis.before = (int64_t)(first * dilation / stride) + (axis.taps - 1) * axis.reach -
                      (axis.to_from + c->before[a]) / stride;
        axis.padded = axis.count + (axis.taps - 1) * axis.reach;
    }
    return axis;
}

static struct sweep finish_sweep(struct sweep s)
{
    const struct axis *rows = &s.axis[0], *cols = &s.axis[1];
    s.taps = (size_t)rows->taps * cols->taps;
    s.group_from = s.from_channels / s.groups;
    s.group_to = s.to_channels / s.groups;
    s.inner = s.taps * s.group_from;
    s.windows = (size_t)rows->count * cols->count;
    s.images = s.windows >= ROWS_AIM || s.windows == 0 ? 1 : ROWS_AIM / s.windows;
    for (int a = 0; a < 2; a++)
        s.is_padded |= s.axis[a].before != 0 || s.axis[a].padded > s.axis[a].source;
    return s;
}

static struct sweep forward_sweep(const struct conv *c)
{
    return finish_sweep((struct sweep){.axis = {forward_axis(c, 0), forward_axis(c, 1)},
                                       .from_channels = c->channels,
                                       .to_channels = c->filters,
                                       .groups = c->groups});
}

static struct sweep backward_sweep(const struct conv *c, uint32_t row_class, uint32_t col_class)
{
    return finish_sweep(
        (struct sweep){.axis = {backward_axis(c, 0, row_class), backward_axis(c, 1, col_class)},
                       .from_channels = c->filters,
                       .to_channels = c->channels,
                       .groups = c->groups});
}

static size_t padded_count(const struct sweep *s)
{
    return (size_t)s->axis[0].padded * s->axis[1].padded * s->from_channels;
}

/* Of a row of gradients in scratch: a group's last columns are read rounded up too. */
static size_t tail_stride(const struct sweep *s)
{
    return round_up(s->to_channels, CONV_COLS) + CONV_COLS;
}

static struct room room_of(const struct sweep *s)
{
    struct room room = {0};
    size_t rows = s->images * s->windows;
    room.panels_at = s->is_padded ? round_up(s->images * padded_count(s), 16) : 0;
    room.row_at = room.panels_at + s->groups * round_up(s->group_to, CONV_PANEL) * s->inner;
    room.to_at = room.row_at + round_up(rows, 16);
    room.inner_at = room.to_at + round_up(larger(rows, larger(s->inner, ROWS_MAX)), 16);
    room.tail_at = room.inner_at + round_up(s->inner + s->taps, 16);
    room.count = room.tail_at;
    if (s->group_to % CONV_COLS != 0)
        room.count += ROWS_MAX * tail_stride(s);
    return room;
}

size_t conv_scratch_count(const struct conv *conv)
{
    struct sweep forward = forward_sweep(conv);
    size_t most = room_of(&forward).count;
    for (uint32_t row = 0; row < conv->stride[0]; row++)
        for (uint32_t col = 0; col < conv->stride[1]; col++) {
            struct sweep backward = backward_sweep(conv, row, col);
            most = larger(most, room_of(&backward).count);
        }
    return most;
}

/* Lists of offsets lie in scratch too: an uint32_t is no larger than a real. */
static uint32_t *list_at(real *scratch, size_t at)
{
    return (uint32_t *)(void *)(scratch + at);
}

/* row_at: where each window begins in the padded images; to_at: where its sums go. */
static void list_windows(const struct sweep *s, uint32_t *row_at, uint32_t *to_at)
{
    const struct axis *rows = &s->axis[0], *cols = &s->axis[1];
    size_t image = s->is_padded ? padded_count(s)
                                : (size_t)rows->source * cols->source * s->from_channels;
    size_t line = (s->is_padded ? cols->padded : cols->source) * s->from_channels, n = 0;
    for (size_t k = 0; k < s->images; k++)
        for (size_t i = 0; i < rows->count; i++)
            for (size_t j = 0; j < cols->count; j++, n++) {
                size_t to_row = k * rows->to_size + rows->to_from + i * rows->to_step;
                size_t to_col = cols->to_from + j * cols->to_step;
                row_at[n] = (uint32_t)(k * image + i * rows->step * line +
                                       j * cols->step * s->from_channels);
                to_at[n] = (uint32_t)((to_row * cols->to_size + to_col) * s->to_channels);
            }
}

static size_t tap_pixel(const struct axis *axis, size_t tap)
{
    return (axis->is_reversed ? axis->taps - 1 - tap : tap) * axis->reach;
}

/* Where each (tap, channel) lies in a window; with channels = 1, each tap. */
static void list_taps(const struct sweep *s, size_t channels, uint32_t *inner_at)
{
    size_t line = (s->is_padded ? s->axis[1].padded : s->axis[1].source) * s->from_channels;
    for (size_t i = 0; i < s->axis[0].taps; i++)
        for (size_t j = 0; j < s->axis[1].taps; j++)
            for (size_t c = 0; c < channels; c++)
                *inner_at++ = (uint32_t)(tap_pixel(&s->axis[0], i) * line +
                                         tap_pixel(&s->axis[1], j) * s->from_channels + c);
}

/* The number of a sweep's tap in the whole kernel. */
static size_t kernel_tap(const struct conv *c, const struct sweep *s, size_t tap)
{
    const struct axis *rows = &s->axis[0], *cols = &s->axis[1];
    size_t row = rows->tap_from + tap / cols->taps * rows->tap_step;
    return row * c->kernel[1] + cols->tap_from + tap % cols->taps * cols->tap_step;
}

/* One panel: [group_from][CONV_PANEL] of one tap. */
static void pack_tap(const real *weight, size_t inner, size_t inner_stride, size_t cols,
                     size_t col_stride, real *panel)
{
    for (size_t i = 0; i < inner; i++, panel += CONV_PANEL) {
        size_t j = 0;
        for (; j < cols; j++)
            panel[j] = weight[i * inner_stride + j * col_stride];
        for (; j < CONV_PANEL; j++)
            panel[j] = 0;
    }
}

/* The weight as panels [group][panel][inner][CONV_PANEL], its columns padded with zeros. */
static void pack_weight(const struct conv_pass *pass, const struct sweep *s, bool is_backward,
                        real *panels)
{
    const struct conv_weight *w = &pass->weight;
    size_t inner_stride = is_backward ? w->filter_stride : w->channel_stride;
    size_t col_stride = is_backward ? w->channel_stride : w->filter_stride;
    size_t group_stride = pass->conv->filters / s->groups * w->filter_stride;
    for (size_t g = 0; g < s->groups; g++)
        for (size_t col = 0; col < s->group_to; col += CONV_PANEL)
            for (size_t tap = 0; tap < s->taps; tap++, panels += s->group_from * CONV_PANEL) {
                size_t cols = s->group_to - col < CONV_PANEL ? s->group_to - col : CONV_PANEL;
                pack_tap(w->data + kernel_tap(pass->conv, s, tap) * w->tap_stride +
                             g * group_stride + col * col_stride,
                         s->group_from, inner_stride, cols, col_stride, panels);
            }
}

/* One row of one image with its padding; source: the row, NULL where there is none. */
static void pad_row(const struct axis *cols, size_t channels, const real *source, real *row)
{
    int64_t begin = cols->before > 0 ? cols->before : 0;
    int64_t end = cols->before + (int64_t)cols->source;
    end = end < (int64_t)cols->padded ? end : (int64_t)cols->padded;
    if (!source || end <= begin) {
        kernel_zero(row, cols->padded * channels);
        return;
    }
    kernel_zero(row, (size_t)begin * channels);
    kernel_copy(row + (size_t)begin * channels,
                source + (size_t)(begin - cols->before) * channels,
                (size_t)(end - begin) * channels);
    kernel_zero(row + (size_t)end * channels, (size_t)((int64_t)cols->padded - end) * channels);
}

/* `images` images with their padding, or as they lie when they need none. */
static const real *pad(const struct sweep *s, const real *from, size_t images, real *padded)
{
    const struct axis *rows = &s->axis[0], *cols = &s->axis[1];
    size_t line = cols->source * s->from_channels;
    if (!s->is_padded)
        return from;
    for (size_t k = 0; k < images; k++)
        for (int64_t i = 0; i < (int64_t)rows->padded; i++) {
            int64_t at = i - rows->before;
            const real *source = at >= 0 && at < (int64_t)rows->source
                                     ? from + (k * rows->source + (size_t)at) * line
                                     : NULL;
            pad_row(cols, s->from_channels, source,
                    padded + (k * rows->padded + (size_t)i) * cols->padded * s->from_channels);
        }
    return padded;
}

/* The windows of some images times all panels. */
static void multiply_windows(const struct sweep *s, const struct conv_pass *pass,
                             const struct room *room, const real *from, real *to, size_t rows)
{
    const struct conv_kernels *kernels = conv_kernels_best();
    for (size_t row = 0; row < rows; row += ROWS_MAX) {
        const real *panel = pass->scratch + room->panels_at;
        for (size_t g = 0; g < s->groups; g++)
            for (size_t col = 0; col < s->group_to; col += CONV_PANEL) {
                size_t first = g * s->group_to + col;
                kernels->multiply(&(struct conv_product){
                    .rows = rows - row < ROWS_MAX ? rows - row : ROWS_MAX,
                    .inner = s->inner,
                    .cols = s->group_to - col < CONV_PANEL ? s->group_to - col : CONV_PANEL,
                    .a = from + g * s->group_from,
                    .row_at = list_at(pass->scratch, room->row_at) + row,
                    .inner_at = list_at(pass->scratch, room->inner_at),
                    .b = panel,
                    .b_stride = CONV_PANEL,
                    .c = to + first,
                    .c_at = list_at(pass->scratch, room->to_at) + row,
                    .bias = pass->bias ? pass->bias + first : NULL,
                    .relu = pass->relu,
                });
                panel += s->inner * CONV_PANEL;
            }
    }
}

/* The same, channel by channel: panels hold [taps][channels], and what follows inner_at where each
 * tap of it begins. */
static void multiply_depthwise(const struct sweep *s, const struct conv_pass *pass,
                               const struct room *room, const real *from, real *to, size_t rows)
{
    const struct conv_kernels *kernels = conv_kernels_best();
    const uint32_t *row_at = list_at(pass->scratch, room->row_at);
    const uint32_t *to_at = list_at(pass->scratch, room->to_at);
    const uint32_t *tap_at = list_at(pass->scratch, room->inner_at);
    for (size_t row = 0; row < rows; row++) {
        real *sums = to + to_at[row];
        if (pass->bias)
            kernel_copy(sums, pass->bias, s->to_channels);
        else
            kernel_zero(sums, s->to_channels);
        kernels->multiply_channels(from + row_at[row], tap_at, pass->weight.data, tap_at + s->taps,
                                   s->taps, s->to_channels, sums);
        if (pass->relu)
            kernel_relu(sums, sums, s->to_channels);
    }
}

static void list_depthwise(const struct sweep *s, const struct conv_pass *pass, uint32_t *tap_at)
{
    list_taps(s, 1, tap_at);
    for (size_t tap = 0; tap < s->taps; tap++)
        tap_at[s->taps + tap] =
            (uint32_t)(kernel_tap(pass->conv, s, tap) * pass->weight.tap_stride);
}

static void run_sweep(const struct conv_pass *pass, const struct sweep *s, bool is_backward)
{
    struct room room = room_of(s);
    bool is_by_channel = is_depthwise(pass->conv);
    size_t from_count = (size_t)s->axis[0].source * s->axis[1].source * s->from_channels;
    size_t to_count = (size_t)s->axis[0].to_size * s->axis[1].to_size * s->to_channels;
    list_windows(s, list_at(pass->scratch, room.row_at), list_at(pass->scratch, room.to_at));
    if (is_by_channel) {
        list_depthwise(s, pass, list_at(pass->scratch, room.inner_at));
    } else {
        list_taps(s, s->group_from, list_at(pass->scratch, room.inner_at));
        pack_weight(pass, s, is_backward, pass->scratch + room.panels_at);
    }
    for (size_t k = 0; k < pass->count; k += s->images) {
        size_t images = pass->count - k < s->images ? pass->count - k : s->images;
        const real *from = pad(s, pass->from + k * from_count, images, pass->scratch);
        (is_by_channel ? multiply_depthwise : multiply_windows)(
            s, pass, &room, from, pass->to + k * to_count, images * s->windows);
    }
}

void conv_forward(const struct conv_pass *pass)
{
    struct sweep s = forward_sweep(pass->conv);
    run_sweep(pass, &s, false);
}

void conv_backward_data(const struct conv_pass *pass)
{
    for (uint32_t row = 0; row < pass->conv->stride[0]; row++)
        for (uint32_t col = 0; col < pass->conv->stride[1]; col++) {
            struct sweep s = backward_sweep(pass->conv, row, col);
            run_sweep(pass, &s, true);
        }
}

/* What multiplies the gradients of some windows into that of the weight. */
struct weight_sweep {
    const struct sweep *sweep;
    const uint32_t *window_at, *tap_at, *to_at;
    real *tail; /* [ROWS_MAX][tail_stride] */
    real *weight_grad;
};

/* Gradients of rows windows, with a stride that a product can read: each row of it to the end. */
static const real *align_rows(const struct weight_sweep *w, const real *from, size_t rows,
                              size_t *stride_out)
{
    size_t cols = w->sweep->to_channels, stride = tail_stride(w->sweep);
    *stride_out = cols;
    if (w->sweep->group_to % CONV_COLS == 0)
        return from;
    for (size_t i = 0; i < rows; i++) {
        kernel_copy(w->tail + i * stride, from + i * cols, cols);
        kernel_zero(w->tail + i * stride + cols, stride - cols);
    }
    *stride_out = stride;
    return w->tail;
}

static void multiply_weight(const struct weight_sweep *w, const real *images, const real *grads,
                            size_t first, size_t rows, bool keep)
{
    const struct sweep *s = w->sweep;
    size_t stride;
    const real *b = align_rows(w, grads + first * s->to_channels, rows, &stride);
    for (size_t g = 0; g < s->groups; g++)
        conv_kernels_best()->multiply(&(struct conv_product){
            .rows = s->inner,
            .inner = rows,
            .cols = s->group_to,
            .a = images + g * s->group_from,
            .row_at = w->tap_at,
            .inner_at = w->window_at + first,
            .b = b + g * s->group_to,
            .b_stride = stride,
            .c = w->weight_grad + g * s->group_to,
            .c_at = w->to_at,
            .keep = keep,
        });
}

static void multiply_weight_by_channel(const struct weight_sweep *w, const real *images,
                                       const real *grads, size_t first, size_t rows, bool keep)
{
    const struct sweep *s = w->sweep;
    if (!keep)
        kernel_zero(w->weight_grad, s->taps * s->to_channels);
    for (size_t tap = 0; tap < s->taps; tap++)
        conv_kernels_best()->multiply_channels(images + w->tap_at[tap], w->window_at + first,
                                               grads + first * s->to_channels, w->to_at, rows,
                                               s->to_channels,
                                               w->weight_grad + tap * s->to_channels);
}

void conv_backward_weights(const struct conv *conv, size_t count, const real *images,
                           const real *map_grads, real *weight_grad, real *scratch)
{
    struct sweep s = forward_sweep(conv);
    struct room room = room_of(&s);
    uint32_t *to_at = list_at(scratch, room.to_at);
    struct weight_sweep w = {&s,    list_at(scratch, room.row_at), list_at(scratch, room.inner_at),
                             to_at, scratch + room.tail_at,        weight_grad};
    list_windows(&s, list_at(scratch, room.row_at), to_at);
    list_taps(&s, s.group_from, list_at(scratch, room.inner_at));
    for (size_t i = 0; i < s.inner || i < ROWS_MAX; i++)
        to_at[i] = (uint32_t)(i * s.to_channels);
    for (size_t k = 0; k < count; k += s.images) {
        size_t rows = (count - k < s.images ? count - k : s.images) * s.windows;
        const real *from = pad(&s, images + k * conv->size[0] * conv->size[1] * conv->channels,
                               rows / s.windows, scratch);
        const real *grads = map_grads + k * s.windows * s.to_channels;
        for (size_t row = 0; row < rows; row += ROWS_MAX)
            (is_depthwise(conv) ? multiply_weight_by_channel : multiply_weight)(
                &w, from, grads, row, rows - row < ROWS_MAX ? rows - row : ROWS_MAX,
                k > 0 || row > 0);
    }
}
