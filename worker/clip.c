#include "worker/clip.h"

#include <float.h>
#include <math.h>

/* Sums in so many parts, in one order, whatever the processor. */
enum { PARTS = 8 };

bool clip_needs_whole(const struct settings *settings)
{
    return settings->optimizer.clip_norm > 0;
}

static bool is_clipped(const struct layout *layout, size_t tensor_idx)
{
    return layout->tensors[tensor_idx].update == UPDATE_OPTIMIZER;
}

static size_t tensor_count_of(const struct layout *layout, size_t tensor_idx)
{
    return (size_t)(layout->tensor_begin[tensor_idx + 1] - layout->tensor_begin[tensor_idx]);
}

static double sum_of_squares(const float *values, size_t count)
{
    double parts[PARTS] = {0}, sum = 0;
    size_t whole = count - count % PARTS;
    for (size_t i = 0; i < whole; i += PARTS)
        for (size_t k = 0; k < PARTS; k++)
            parts[k] += (double)values[i + k] * (double)values[i + k];
    for (size_t k = 0; k < PARTS; k++)
        sum += parts[k];
    for (size_t i = whole; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sum;
}

double clip_norm(const struct layout *layout, const float *grad)
{
    double sum = 0;
    for (size_t i = 0; i < layout->tensor_count; i++)
        if (is_clipped(layout, i))
            sum += sum_of_squares(grad + layout->tensor_begin[i], tensor_count_of(layout, i));
    return sqrt(sum);
}

void clip_tensor(const struct settings *settings, const struct layout *layout, size_t tensor_idx,
                 uint64_t sample_count, float *grad)
{
    float bound = (float)(settings->optimizer.clip_value * (double)sample_count);
    float *values = grad + layout->tensor_begin[tensor_idx];
    size_t count = tensor_count_of(layout, tensor_idx);
    if (settings->optimizer.clip_value <= 0 || !is_clipped(layout, tensor_idx))
        return;
    for (size_t i = 0; i < count; i++) {
        float size = fabsf(values[i]);
        float bounded = copysignf(bound, values[i]);
        values[i] = size > bound && size <= FLT_MAX ? bounded : values[i];
    }
}

void clip_gradient(const struct settings *settings, const struct layout *layout,
                   uint64_t sample_count, float *grad)
{
    double limit = settings->optimizer.clip_norm * (double)sample_count;
    for (size_t i = 0; i < layout->tensor_count; i++)
        clip_tensor(settings, layout, i, sample_count, grad);
    double norm = limit > 0 ? clip_norm(layout, grad) : 0;
    if (!(norm > limit) || !isfinite(norm))
        return;
    float scale = (float)(limit / norm);
    for (size_t i = 0; i < layout->tensor_count; i++) {
        float *values = grad + layout->tensor_begin[i];
        size_t count = is_clipped(layout, i) ? tensor_count_of(layout, i) : 0;
        for (size_t k = 0; k < count; k++)
            values[k] *= scale;
    }
}
