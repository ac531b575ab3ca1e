#include "worker/data/norm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int norm_create(double scale, size_t count, size_t stride, struct norm *out)
{
    *out = (struct norm){.scale = scale, .count = count, .stride = stride};
    out->means = calloc(count, sizeof(double));
    out->stds = calloc(count, sizeof(double));
    if (!out->means || !out->stds) {
        norm_clear(out);
        return ERR_NOMEM;
    }
    for (size_t c = 0; c < count; c++)
        out->stds[c] = 1;
    return 0;
}

int norm_copy(const struct norm *norm, struct norm *out)
{
    if (norm_create(norm->scale, norm->count, norm->stride, out) < 0)
        return ERR_NOMEM;
    memcpy(out->means, norm->means, norm->count * sizeof(double));
    memcpy(out->stds, norm->stds, norm->count * sizeof(double));
    return 0;
}

void norm_clear(struct norm *norm)
{
    free(norm->means);
    free(norm->stds);
    *norm = (struct norm){0};
}

struct channel {
    double shift; /* the first value: squares about it do not cancel */
    double sum;   /* of value - shift */
    double sum_squares;
    uint64_t count;
};

struct moments {
    size_t count, stride; /* as in the norm */
    struct channel channels[];
};

int moments_create(const struct norm *norm, struct moments **moments_out)
{
    struct moments *moments =
        calloc(1, sizeof(*moments) + norm->count * sizeof(moments->channels[0]));
    if (!moments)
        return ERR_NOMEM;
    moments->count = norm->count;
    moments->stride = norm->stride;
    *moments_out = moments;
    return 0;
}

void moments_destroy(struct moments *moments)
{
    free(moments);
}

static void add_run(struct channel *channel, const double *values, size_t count)
{
    if (channel->count == 0)
        channel->shift = values[0];
    double shift = channel->shift, sum = channel->sum, sum_squares = channel->sum_squares;
    for (size_t i = 0; i < count; i++) {
        double value = values[i] - shift;
        sum += value;
        sum_squares += value * value;
    }
    channel->sum = sum;
    channel->sum_squares = sum_squares;
    channel->count += count;
}

/* Values that belong to one channel after another. */
static void add_turns(struct moments *moments, const double *values, size_t first, size_t count)
{
    size_t channel_idx = first % moments->count;
    for (size_t i = 0; i < count; i++) {
        struct channel *channel = &moments->channels[channel_idx];
        if (channel->count++ == 0)
            channel->shift = values[i];
        double value = values[i] - channel->shift;
        channel->sum += value;
        channel->sum_squares += value * value;
        channel_idx = channel_idx + 1 < moments->count ? channel_idx + 1 : 0;
    }
}

void moments_add(struct moments *moments, const double *elements, size_t first, size_t count)
{
    if (moments->count == 1) {
        add_run(&moments->channels[0], elements, count);
        return;
    }
    if (moments->stride == 1) {
        add_turns(moments, elements, first, count);
        return;
    }
    for (size_t done = 0; done < count;) {
        size_t element = first + done;
        size_t run = moments->stride - element % moments->stride;
        if (run > count - done)
            run = count - done;
        size_t channel_idx = element / moments->stride % moments->count;
        add_run(&moments->channels[channel_idx], elements + done, run);
        done += run;
    }
}

void moments_finish(const struct moments *moments, struct norm *norm)
{
    for (size_t c = 0; c < norm->count; c++) {
        const struct channel *channel = &moments->channels[c];
        if (channel->count == 0)
            continue;
        double n = (double)channel->count, mean = channel->sum / n;
        double variance = channel->sum_squares / n - mean * mean;
        double std = variance > 0 ? sqrt(variance) * fabs(norm->scale) : 0;
        norm->means[c] = (channel->shift + mean) * norm->scale;
        norm->stds[c] = std > 0 ? std : 1;
    }
}

/* Whether a list is empty, one number for all, or one a channel. */
static int check_list(const struct real_list *list, const char *path, size_t channel_count,
                      struct err_msg *why)
{
    if (list->count == 0 || list->count == 1 || list->count == channel_count)
        return 0;
    return err_set(why, ERR_INPUT, "%s: found %zu numbers, expected 1 or %zu", path, list->count,
                   channel_count);
}

/* out: [count]; what an empty list leaves as it is. */
static void fill_list(const struct real_list *list, double *out, size_t count)
{
    for (size_t c = 0; list->count > 0 && c < count; c++)
        out[c] = list->items[list->count == 1 ? 0 : c];
}

/* Contradictions within the settings, before a number of channels is looked at. */
static int check_norm_settings(const struct settings *settings, struct err_msg *why)
{
    bool is_measured = settings->data.normalise == NORMALISE_STANDARD;
    if (is_measured && (settings->data.mean.count || settings->data.std.count))
        return err_set(
            why, ERR_INPUT,
            "data.normalise is \"standard\", which measures mean and std: leave data.mean "
            "and data.std out");
    if (!(fabs(settings->data.scale) > 0))
        return err_set(why, ERR_INPUT, "data.scale: found 0, which leaves nothing of the data");
    return 0;
}

int norm_of_job(const struct settings *settings, size_t channel_count, size_t stride,
                struct norm *out, struct err_msg *why)
{
    const struct real_list *mean = &settings->data.mean, *std = &settings->data.std;
    bool is_measured = settings->data.normalise == NORMALISE_STANDARD;
    size_t count = is_measured || mean->count > 1 || std->count > 1 ? channel_count : 1;
    int rc = check_norm_settings(settings, why);
    if (rc == 0)
        rc = check_list(mean, "data.mean", channel_count, why);
    if (rc == 0)
        rc = check_list(std, "data.std", channel_count, why);
    if (rc == 0 && norm_create(settings->data.scale, count, stride, out) < 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc < 0)
        return rc;
    fill_list(mean, out->means, count);
    fill_list(std, out->stds, count);
    for (size_t c = 0; rc == 0 && c < count; c++)
        if (!(fabs(out->stds[c]) > 0))
            rc = err_set(why, ERR_INPUT, "data.std: number %zu is 0", c);
    return rc;
}
