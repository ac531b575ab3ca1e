#include "deploy/plan/advice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "deploy/plan/rate.h"

/* An alternative is worth a word from so many times the speed on; a codec besides, or rounds, when
 * so much faster than the one that changes less. */
static const double GAIN_MIN = 1.1;

/* Of the workers' number, what is good enough to need no advice. */
static const double GOOD_ENOUGH = 0.9;

static const uint32_t local_steps_tried[] = {10, 50, 200};
static const uint32_t block_bytes_tried[] = {256 << 10, 64 << 10};
enum { SERVERS_TRIED_MAX = 16 };

struct plan_inputs advice_alone(const struct plan_inputs *inputs)
{
    struct plan_inputs alone = *inputs;
    alone.cluster.workers = alone.cluster.servers = 1;
    alone.cluster.bytes_per_s = alone.cluster.round_trip_s = 0.0;
    alone.job.codec = CODEC_F32;
    alone.job.consistency = CONSISTENCY_BSP;
    alone.job.replicas = 0;
    return alone;
}

static int try_option(const struct plan_inputs *inputs, struct advice *advice, const char *text)
{
    struct advice_option *option = &advice->options[advice->option_count];
    snprintf(option->text, sizeof(option->text), "%s", text);
    int err = plan_predict(inputs, &option->prediction);
    if (err != 0)
        return err;
    option->speedup = option->prediction.samples_per_s / advice->one_machine;
    advice->option_count++;
    return 0;
}

static int try_codecs(const struct plan_inputs *inputs, struct advice *advice)
{
    static const struct {
        enum codec_kind codec;
        const char *text;
    } codecs[] = {{CODEC_BF16, "codec bf16"},
                  {CODEC_INT8, "codec int8"},
                  {CODEC_SPARSE, "codec topk"}};
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct plan_inputs other = *inputs;
        bool is_possible = codecs[i].codec != CODEC_SPARSE ||
                           (inputs->job.may_topk && inputs->job.consistency == CONSISTENCY_BSP);
        if (codecs[i].codec == inputs->job.codec || !is_possible)
            continue;
        other.job.codec = codecs[i].codec;
        int err = try_option(&other, advice, codecs[i].text);
        if (err != 0)
            return err;
    }
    return 0;
}

static int try_rounds(const struct plan_inputs *inputs, struct advice *advice)
{
    bool is_local = inputs->job.consistency == CONSISTENCY_LOCAL;
    if (inputs->job.codec == CODEC_SPARSE)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(local_steps_tried); i++) {
        struct plan_inputs other = *inputs;
        char text[64];
        if (is_local && inputs->job.local_steps >= local_steps_tried[i])
            continue;
        other.job.consistency = CONSISTENCY_LOCAL;
        other.job.local_steps = local_steps_tried[i];
        snprintf(text, sizeof(text), "local steps %u", local_steps_tried[i]);
        int err = try_option(&other, advice, text);
        if (err != 0)
            return err;
    }
    return 0;
}

/* Smaller pieces come back while others are still sent. */
static int try_blocks(const struct plan_inputs *inputs, struct advice *advice)
{
    const struct layout *layout = inputs->job.layout;
    for (size_t i = 0; i < ARRAY_LEN(block_bytes_tried); i++) {
        struct plan_inputs other = *inputs;
        struct layout *smaller = NULL;
        struct err_msg why;
        char text[64];
        if (layout->block_bytes <= block_bytes_tried[i])
            continue;
        int err = layout_create(layout->tensors, layout->tensor_count, block_bytes_tried[i],
                                &smaller, &why);
        other.job.layout = smaller;
        snprintf(text, sizeof(text), "block_bytes %u", block_bytes_tried[i]);
        if (err == 0)
            err = try_option(&other, advice, text);
        layout_destroy(smaller);
        if (err != 0)
            return err;
    }
    return 0;
}

static int try_sizes(const struct plan_inputs *inputs, struct advice *advice)
{
    struct plan_inputs other = *inputs;
    char text[64];
    uint32_t servers = 2 * inputs->cluster.servers;
    int err = 0;
    if (servers <= SERVERS_TRIED_MAX) {
        other.cluster.servers = servers;
        snprintf(text, sizeof(text), "%u servers", servers);
        err = try_option(&other, advice, text);
    }
    if (err == 0 && inputs->cluster.workers > 1) {
        other = *inputs;
        other.cluster.workers = inputs->cluster.workers / 2;
        snprintf(text, sizeof(text), "%u worker%s", other.cluster.workers,
                 other.cluster.workers == 1 ? "" : "s");
        err = try_option(&other, advice, text);
    }
    return err;
}

/* Of each kind (its first word) the least change that comes within a tenth of the best. */
static void choose(struct advice *advice)
{
    for (size_t i = 0; i < advice->option_count; i++) {
        struct advice_option *option = &advice->options[i];
        size_t word = strcspn(option->text, " ") + 1;
        bool is_kept = option->speedup >= GAIN_MIN * advice->speedup;
        for (size_t k = 0; k < advice->option_count; k++) {
            const struct advice_option *other = &advice->options[k];
            if (k == i || strncmp(other->text, option->text, word) != 0)
                continue;
            bool is_much_faster = other->speedup > GAIN_MIN * option->speedup;
            is_kept = is_kept && !(k < i ? option->speedup < GAIN_MIN * other->speedup
                                         : is_much_faster);
        }
        option->is_named = is_kept;
    }
}

static void append(struct advice *advice, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(struct advice *advice, const char *format, ...)
{
    size_t used = strlen(advice->text);
    va_list args;
    va_start(args, format);
    vsnprintf(advice->text + used, sizeof(advice->text) - used, format, args);
    va_end(args);
}

static void say(const struct plan_inputs *inputs, struct advice *advice)
{
    const struct plan_cluster *cluster = &inputs->cluster;
    uint32_t workers = cluster->workers;
    char rate[RATE_TEXT_BYTES];
    size_t named = 0;
    rate_print(cluster->bytes_per_s, rate);
    append(advice, "%u machine%s over %s would be %.2g times one machine", workers,
           workers == 1 ? "" : "s", rate, advice->speedup);
    if (advice->now.idle_workers > 0)
        append(advice, "; %u of them would have no lane, since job.lanes is %u",
               advice->now.idle_workers, inputs->job.lanes);
    for (size_t i = 0; i < advice->option_count && advice->speedup < GOOD_ENOUGH * workers; i++) {
        const struct advice_option *option = &advice->options[i];
        if (!option->is_named)
            continue;
        append(advice, "%s%s (%.2g times)", named == 0 ? ": use " : ", or ", option->text,
               option->speedup);
        named++;
    }
    append(advice, ". What costs most is %s.", plan_part_words(advice->now.bottleneck));
}

int advice_give(const struct plan_inputs *inputs, struct advice *out)
{
    struct plan_inputs alone = advice_alone(inputs);
    struct plan_prediction one;
    *out = (struct advice){0};
    int err = plan_predict(&alone, &one);
    if (err == 0)
        err = plan_predict(inputs, &out->now);
    if (err != 0)
        return err;
    out->one_machine = one.samples_per_s;
    out->speedup = out->now.samples_per_s / out->one_machine;
    err = try_codecs(inputs, out);
    if (err == 0)
        err = try_rounds(inputs, out);
    if (err == 0)
        err = try_blocks(inputs, out);
    if (err == 0)
        err = try_sizes(inputs, out);
    if (err != 0)
        return err;
    choose(out);
    say(inputs, out);
    return 0;
}
