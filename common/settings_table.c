#include "common/settings_table.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include "common/err.h"
#include "common/settings.h"

#define WHOLE_MAX 0x1p63
#define BYTES_MAX 0x1p50
#define STEPS_MAX 0x1p53
#define REAL_MAX 1e30

#define ROW(path_, type_, unit_, min_, max_, initial_, is_decisive_, help_)                    \
    {.path = #path_, .type = SETTING_##type_, .offset = offsetof(struct settings, path_),      \
     .unit = unit_, .min = min_, .max = max_, .initial = initial_,                             \
     .is_decisive = is_decisive_, .help = help_},
#define CHOICE(path_, choices_, initial_, is_decisive_, help_)                                 \
    {.path = #path_, .type = SETTING_CHOICE, .offset = offsetof(struct settings, path_),       \
     .unit = "", .initial = initial_, .choices = choices_, .is_decisive = is_decisive_,        \
     .help = help_},
#define WORD(path_, type_, initial_, is_decisive_, help_)                                      \
    ROW(path_, type_, "", 0, 0, initial_, is_decisive_, help_)

static const struct setting table[] = {
    WORD(job.name, TEXT, "job", false, "what the run is called in its summary")
    ROW(job.seed, U64, "", 0, WHOLE_MAX, "1", true,
        "of all randomness: sample order, initial weights, dropout, the held-out part")
    ROW(job.lanes, U32, "lanes", 1, 1024, "8", true,
        "pieces of a step's batch, a power of two: the unit of work, and what fixes the bits")
    ROW(job.batch, U32, "samples", 1, 1048576, "64", true,
        "samples of one step over all workers, at least one a lane")
    ROW(job.epochs, U64, "epochs", 0, 1e9, "0", true,
        "how often every sample is seen; give this or job.steps; "
        "--set of one replaces the other")
    ROW(job.steps, U64, "steps", 0, STEPS_MAX, "0", true,
        "how many steps are taken; give this or job.epochs; "
        "--set of one replaces the other")
    ROW(job.eval_every, U64, "steps", 0, STEPS_MAX, "0", false,
        "steps between evaluations on the test data; 0: at the end of each epoch; "
        "consistency local: at the next end of a round")
    ROW(job.patience, U32, "evaluations", 0, 1000000, "0", false,
        "the job ends when the held-out loss was no better than its best in so many evaluations, "
        "and that one's checkpoint is kept; every version that is evaluated gets one, and is "
        "waited for. 0: all steps are made")
    ROW(job.min_delta, REAL, "", 0, REAL_MAX, "0", false,
        "patience: by more than this a held-out loss must be lower than the best to be better")
    CHOICE(job.on_nonfinite, "stop skip", "stop", true,
           "what follows a gradient that is no number: stop the job, or skip that step everywhere")

    CHOICE(data.format, "auto idx npy csv shards text", "auto", true,
           "of the data files; auto: from the file's name (text: .txt, .txt.gz) and first bytes")
    WORD(data.train_inputs, PATH, "", true, "file with the training inputs (CSV: and labels)")
    WORD(data.train_labels, PATH, "", true, "file with the training labels; empty for CSV")
    WORD(data.test_inputs, PATH, "", true, "file with the test inputs; empty: none")
    WORD(data.test_labels, PATH, "", true, "file with the test labels; empty for CSV")
    ROW(data.test_fraction, REAL, "", 0, 0.9, "0", true,
        "share of the training data held out for tests when there is no test file; "
        "of a text, or another stream of tokens, its end")
    ROW(data.sequence, U32, "tokens", 0, 1048576, "0", true,
        "inputs are tokens, so many a sample: a text's characters, or numbers of a vocabulary; "
        "a stream of them is cut, each token's label is the next; 0: inputs are no tokens")
    WORD(data.label_column, COLUMN, "", true,
         "CSV: the label's column, by name or number from 0; empty: the last")
    WORD(data.header, BOOL, "true", true, "CSV: the first line holds the names of the columns")
    WORD(data.delimiter, TEXT, ",", true, "CSV: the one character between cells")
    WORD(data.categorical, COLUMNS, "", true,
         "CSV: columns whose cells are words, by name or number; each word becomes an input")
    CHOICE(data.layout, "nhwc nchw", "nhwc", true,
           "order of an image's axes in the file: N samples, H rows, W columns, C channels")
    ROW(data.scale, REAL, "", -REAL_MAX, REAL_MAX, "1", true, "every input is multiplied by this")
    ROW(data.mean, REALS, "", -REAL_MAX, REAL_MAX, "", true,
        "subtracted from the scaled inputs: one number, one a channel, or one a feature")
    ROW(data.std, REALS, "", ABOVE_0, REAL_MAX, "", true,
        "what the inputs are divided by after the mean is subtracted; as many as data.mean")
    CHOICE(data.normalise, "none standard", "none", true,
           "standard: mean 0 and deviation 1 per feature or channel, measured on training data")
    ROW(data.label_scale, REAL, "", -REAL_MAX, REAL_MAX, "1", true,
        "regression: every label is multiplied by this")
    ROW(data.memory_bytes, U64, "bytes", 0, BYTES_MAX, "268435456", false,
        "data up to this size is kept in memory; of more, what is needed is read from disk")
    WORD(data.spool_dir, PATH, "", false,
         "folder for unpacked data while a process runs; empty: TMPDIR, or /tmp")

    ROW(augment.flip, REAL, "", 0, 1, "0", true,
        "how likely a training image is mirrored, left and right changed")
    ROW(augment.flip_vertical, REAL, "", 0, 1, "0", true,
        "how likely a training image is mirrored, top and bottom changed")
    ROW(augment.pad, U32, "pixels", 0, 4096, "0", true,
        "a training image is cut at a random place out of itself in a frame so wide, whose pixels "
        "are as a zero of the data file")
    ROW(augment.rotate, REAL, "degrees", 0, 180, "0", true,
        "a training image is turned by up to so much either way, bilinear")
    ROW(augment.brightness, REAL, "", 0, 10, "0", true,
        "a training image is made lighter or darker by a factor up to so far from 1")
    ROW(augment.contrast, REAL, "", 0, 10, "0", true,
        "the same of its pixels' distance from the mean of its grey")
    ROW(augment.saturation, REAL, "", 0, 10, "0", true,
        "the same of its pixels' distance from their own grey; images of 3 channels")
    ROW(augment.mixup, REAL, "", 0, 1000, "0", true,
        "training samples of a lane are mixed with one another, inputs and losses, m to 1 - m with "
        "m of Beta(mixup, mixup)")

    CHOICE(model.loss, "softmax_cross_entropy binary_cross_entropy mean_squared_error",
           "softmax_cross_entropy", true, "what training makes small")
    ROW(model.label_smoothing, REAL, "", 0, BELOW_1, "0", true,
        "softmax_cross_entropy: share of each label that is spread evenly over all classes; also "
        "when it is evaluated")
    ROW(model.class_weights, REALS, "", 0, 1e6, "", true,
        "softmax_cross_entropy: what the loss of a sample of each class is multiplied by; the "
        "step's mean is over samples, not over their weights; empty: 1; also when it is evaluated")
    ROW(model.recompute, BOOL, "", 0, 0, "false", false,
        "less memory for a third more time: most activations are computed again in backward")
    CHOICE(model.products, "f32 bf16x3", "f32", true,
           "how dense multiplies matrices, and lstm and gru in backward; bf16x3: numbers as sums of "
           "three of bf16, no less exact, in other bits; faster where processors have AMX (Intel's, "
           "from 2023 on), and the same bits but many times slower where they do not; x86-64 with "
           "AVX2")
    WORD(model.init_from, PATH, "", true,
         "file that the weights begin with: safetensors, a sharded index, or a folder with one of "
         "them, as a checkpoint; only the coordinator reads it; what it lacks begins as usual")
    WORD(model.init_rename, TEXTS, "", true,
         "names that differ there, as \"ours=theirs\"; a * on both sides stands for the same text")
    CHOICE(model.init_layout, "talweg pytorch", "talweg", true,
           "pytorch: the file has dense weights as [out][in], convolutions' as "
           "[out][in][rows][columns], and they are turned")
    {.path = "model.operators", .type = SETTING_OPERATORS, .unit = "", .is_decisive = true,
     .help = "the network, as a list of operators; the last one's output is the model's"},

    CHOICE(optimizer.kind, "sgd momentum nesterov adam adamw", "sgd", true,
           "how the servers turn gradients into weights; consistency local: how each lane does")
    ROW(optimizer.rate, REAL, "", 0, 1000, "0.01", true, "learning rate, before the schedule")
    ROW(optimizer.momentum, REAL, "", 0, BELOW_1, "0.9", true,
        "momentum, nesterov: share of the velocity that stays")
    ROW(optimizer.beta1, REAL, "", 0, BELOW_1, "0.9", true,
        "adam, adamw: decay of the gradient's mean")
    ROW(optimizer.beta2, REAL, "", 0, BELOW_1, "0.999", true,
        "adam, adamw: decay of the squared gradient's mean")
    ROW(optimizer.epsilon, REAL, "", ABOVE_0, 1, "1e-08", true,
        "adam, adamw: added to the divisor")
    ROW(optimizer.weight_decay, REAL, "", 0, 1000, "0", true,
        "L2, of weights but not of biases; adamw: decoupled from the gradient")
    ROW(optimizer.l1, REAL, "", 0, 1000, "0", true, "L1, of weights but not of biases")
    ROW(optimizer.clip_norm, REAL, "", 0, REAL_MAX, "0", true,
        "a lane's mean gradient, over all tensors, is scaled down to this norm; 0: as it is. With "
        "this no part of a gradient is sent before all of it is there")
    ROW(optimizer.clip_value, REAL, "", 0, REAL_MAX, "0", true,
        "each number of a lane's mean gradient is held between this and its negative; 0: as it is")
    CHOICE(optimizer.schedule, "constant step cosine", "constant", true,
           "how the rate falls over the run")
    ROW(optimizer.warmup_steps, U64, "steps", 0, STEPS_MAX, "0", true,
        "steps over which the rate rises from 0 in a line")
    ROW(optimizer.decay_every, U64, "steps", 0, STEPS_MAX, "0", true,
        "schedule step: steps between two falls of the rate")
    ROW(optimizer.decay_factor, REAL, "", ABOVE_0, 1, "0.1", true,
        "schedule step: what the rate is multiplied by at each fall")
    ROW(optimizer.min_rate, REAL, "", 0, 1000, "0", true,
        "schedules step and cosine: the rate never falls below this")
    ROW(optimizer.average, REAL, "", 0, BELOW_1, "0", true,
        "share of the weights' moving average that stays in a step, as 0.999: servers keep one "
        "beside the weights; checkpoints have it, `talweg eval --average` looks at it; 0: none")

    CHOICE(exchange.consistency, "bsp ssp async local", "bsp", true,
           "bsp: a step is made of all its lanes, so the weights have the same bits in every run; "
           "ssp: a lane may be exchange.staleness steps ahead of the slowest; async: any number; "
           "local: a lane makes exchange.local_steps steps by itself between two exchanges")
    ROW(exchange.staleness, U32, "steps", 0, 1000000, "2", true,
        "ssp: how many steps the weights that a lane works on may lack of another lane's")
    ROW(exchange.local_steps, U32, "steps", 1, 1000000, "50", true,
        "local: steps of a round; a job has whole rounds, and takes further steps to its last end; "
        "what is told of the run counts rounds")
    ROW(exchange.outer_rate, REAL, "", ABOVE_0, 1000, "0.7", true,
        "local: share of the lanes' mean change that the servers' weights take, before momentum")
    ROW(exchange.outer_momentum, REAL, "", 0, BELOW_1, "0.9", true,
        "local: share of the servers' velocity that stays (Nesterov); with 0, and "
        "exchange.outer_rate 1, weights become the mean of the lanes'")
    CHOICE(exchange.codec, "f32 bf16 int8 topk", "f32", true,
           "how gradients and weights are sent; bf16, int8: with 8 bits of precision, and with "
           "about 7 and a scale for each 256 numbers, the same bits in every run; topk: what "
           "has grown largest, the rest is kept for later (bsp with sgd, momentum or nesterov). "
           "Servers keep all bits, and send them when the job ends")
    ROW(exchange.topk_fraction, REAL, "", ABOVE_0, 1, "0.01", true,
        "codec topk: share of each block's gradient that a worker sends in a step")
    ROW(exchange.topk_warmup_steps, U64, "steps", 0, STEPS_MAX, "0", true,
        "codec topk: steps over which that share falls from all, by the same factor each")
    ROW(exchange.block_bytes, U32, "bytes", 4096, 33554432, "1048576", false,
        "size of a block, the piece in which weights are placed and sent; a multiple of 4")
    ROW(exchange.credit_bytes, U64, "bytes", 4096, BYTES_MAX, "33554432", false,
        "what a worker may have sent to one shard without an answer yet")
    ROW(exchange.parked_bytes, U64, "bytes", 4096, BYTES_MAX, "1073741824", false,
        "what a shard holds of gradients that wait for others before it puts further blocks off, "
        "and again of those that copies on other servers have not confirmed")
    WORD(exchange.shared_memory, BOOL, "true", false,
         "payloads lie in shared memory where worker and server are on one host and of one user")
    WORD(exchange.shared_folder, TEXT, "/dev/shm", false,
         "where processes of one host find each other for that: a folder talweg-UID of sockets is "
         "made there; containers need to share it")
    ROW(exchange.retry_ms, U32, "ms", 10, 60000, "200", false,
        "how long at least an answer is waited for before it is asked for again")
    WORD(exchange.overlap, BOOL, "true", false,
         "bsp: a step begins when the first layer's weights are there, while others are still on "
         "their way; the bits are the same")

    ROW(worker.threads, U32, "threads", 1, 256, "1", false,
        "threads of a worker that compute lanes")
    WORD(worker.kernels, TEXT, "auto", false,
         "kernels of OpenBLAS, such as \"ARMV8\", which multiplies on processors that are not "
         "x86-64 alone: workers with the same ones compute the same bits; auto: what OpenBLAS, or "
         "OPENBLAS_CORETYPE, chooses")

    ROW(cluster.servers, U32, "processes", 1, 1024, "1", false, "parameter servers")
    ROW(cluster.workers, U32, "processes", 1, 1024, "1", false, "workers")
    ROW(cluster.shards, U32, "threads", 1, 64, "1", false, "shards of each server")
    ROW(cluster.replicas, U32, "", 0, 1, "0", false,
        "copies of each block on other servers: with 1 a server may die and nothing is repeated")
    WORD(cluster.coordinator, TEXT, "", false,
         "where servers and workers find the coordinator: tcp://HOST:PORT or ipc://FILE")
    WORD(cluster.bind, TEXT, "", false, "where the coordinator or a server listens")
    WORD(cluster.advertise, TEXT, "", false,
         "under which address others reach it, where that is not the one it listens on")
    WORD(cluster.keys, PATH, "", false,
         "folder of keys that `talweg keygen` made: everything is encrypted, and only who is on "
         "its list may speak; flag --keys and TALWEG_KEYS set it, too")
    WORD(cluster.insecure, BOOL, "false", false,
         "allow listening on a network where anyone may connect and nothing is encrypted")
    ROW(cluster.wait_s, REAL, "s", 0.1, 86400, "60", false,
        "how long to wait for all processes to be there")
    ROW(cluster.silence_s, REAL, "s", 0.1, 86400, "20", false,
        "a process not heard from for so long is taken for dead, however slow it was before")
    ROW(cluster.silence_floor_s, REAL, "s", 0.1, 86400, "2", false,
        "for so long at least a process may be silent, however regular it was before")
    ROW(cluster.answer_s, REAL, "s", 0.1, 86400, "60", false,
        "how long to wait for an answer before giving up")
    ROW(cluster.give_up_s, REAL, "s", 0.1, 86400, "60", false,
        "how long too few processes, or no coordinator, are put up with before the job is ended")
    CHOICE(cluster.last_worker, "stop wait", "stop", false,
           "what follows when the last worker is asked to leave: the run stops with a checkpoint, "
           "or waits for others, up to cluster.give_up_s")
    ROW(cluster.beat_ms, U32, "ms", 10, 60000, "500", false, "time between two signs of life")

    ROW(checkpoint.every, U64, "steps", 0, STEPS_MAX, "0", false,
        "steps between two checkpoints; 0: only at the end; "
        "consistency local: at the next end of a round")
    ROW(checkpoint.keep, U32, "checkpoints", 0, 1000000, "3", false,
        "how many of the newest checkpoints stay; 0: all")
    ROW(checkpoint.file_bytes, U64, "bytes", 4096, BYTES_MAX, "2147483648", false,
        "size at which a checkpoint begins another file")

    ROW(log.every, U64, "steps", 1, STEPS_MAX, "10", false,
        "steps between two rows of metrics.jsonl")
    CHOICE(log.level, "debug info warn error", "info", false, "the least serious events to log")
};

const struct setting *settings_table(size_t *count_out)
{
    *count_out = ARRAY_LEN(table);
    return table;
}

const struct setting *settings_table_find(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].path, path) == 0)
            return &table[i];
    }
    return NULL;
}

void setting_choice_word(const struct setting *setting, int choice_idx, char *word_out,
                         size_t bytes)
{
    const char *word = setting->choices;
    for (; choice_idx > 0 && *word != '\0'; choice_idx--) {
        word += strcspn(word, " ");
        word += *word == ' ';
    }
    snprintf(word_out, bytes, "%.*s", (int)strcspn(word, " "), word);
}

int setting_choice_find(const struct setting *setting, const char *word)
{
    char choice[64];
    for (int i = 0;; i++) {
        setting_choice_word(setting, i, choice, sizeof(choice));
        if (choice[0] == '\0')
            return -1;
        if (strcmp(choice, word) == 0)
            return i;
    }
}

/* Text that grows in place and is cut at its end. */
struct writer {
    char *text;
    size_t bytes, used_bytes;
};

__attribute__((format(printf, 2, 3))) static void add(struct writer *writer,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t left_bytes = writer->bytes - writer->used_bytes;
    int needed = vsnprintf(writer->text + writer->used_bytes, left_bytes, format, args);
    va_end(args);
    if (needed > 0)
        writer->used_bytes += (size_t)needed < left_bytes ? (size_t)needed : left_bytes - 1;
}

static void add_bound(struct writer *writer, double bound)
{
    int exponent = 0;
    if (bound >= WHOLE_MAX && bound < REAL_MAX)
        add(writer, "2^63-1");
    else if (bound >= BYTES_MAX && frexp(bound, &exponent) == 0.5)
        add(writer, "2^%d", exponent - 1);
    else
        add(writer, "%.15g", bound);
}

static void add_range(struct writer *writer, const struct setting *setting)
{
    bool is_above = setting->min == ABOVE_0, is_below = setting->max == BELOW_1;
    bool has_min = setting->min > -REAL_MAX, has_max = setting->max < REAL_MAX;
    if (has_min && has_max && !is_above && !is_below) {
        add(writer, " from ");
        add_bound(writer, setting->min);
        add(writer, " to ");
        add_bound(writer, setting->max);
        return;
    }
    if (has_min) {
        add(writer, is_above ? " above " : " from ");
        add_bound(writer, is_above ? 0 : setting->min);
    }
    if (has_max) {
        add(writer, "%s%s", has_min ? " and " : " ", is_below ? "below " : "up to ");
        add_bound(writer, is_below ? 1 : setting->max);
    }
}

static void add_choices(struct writer *writer, const struct setting *setting)
{
    char word[64];
    for (int i = 0;; i++) {
        setting_choice_word(setting, i, word, sizeof(word));
        if (word[0] == '\0')
            return;
        add(writer, "%s\"%s\"", i == 0 ? "" : ", ", word);
    }
}

static bool is_numeric(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_U32:
    case SETTING_U64:
    case SETTING_REAL:
    case SETTING_FLOAT:
    case SETTING_REALS:
    case SETTING_PAIR:
    case SETTING_PADDING:
        return true;
    default:
        return false;
    }
}

void setting_expected(const struct setting *setting, char *text_out, size_t bytes)
{
    static const char *const kinds[] = {
        [SETTING_U32] = "a whole number",
        [SETTING_U64] = "a whole number",
        [SETTING_REAL] = "a real number",
        [SETTING_FLOAT] = "a real number",
        [SETTING_BOOL] = "true or false",
        [SETTING_TEXT] = "a text",
        [SETTING_PATH] = "a path",
        [SETTING_CHOICE] = "one of ",
        [SETTING_COLUMN] = "a column's name or number",
        [SETTING_COLUMNS] = "a list of columns, as (\"sex\", 3)",
        [SETTING_TEXTS] = "a list of texts, as (\"one\", \"two\")",
        [SETTING_REALS] = "a list of real numbers",
        [SETTING_PAIR] = "a whole number",
        [SETTING_PADDING] = "\"same\", or a whole number",
        [SETTING_NAME] = "a text of 1 to 47 letters, digits, '_', '-' and '.'",
        [SETTING_INPUTS] = "names of operators before it, or \"input\"",
        [SETTING_OPERATOR] = "the name of an operator before it",
        [SETTING_OPERATORS] = "a list of groups, as ( { op = \"dense\"; units = 10; } )",
    };
    struct writer writer = {.text = text_out, .bytes = bytes};
    add(&writer, "%s", kinds[setting->type]);
    if (setting->type == SETTING_CHOICE)
        add_choices(&writer, setting);
    if (is_numeric(setting))
        add_range(&writer, setting);
    if (setting->type == SETTING_REALS)
        add(&writer, ", as (0.5, 0.25)");
    if (setting->type == SETTING_PAIR || setting->type == SETTING_PADDING)
        add(&writer, ", or two of them, rows and columns, as (3, 5)");
    if (setting->unit[0] != '\0')
        add(&writer, " (%s)", setting->unit);
}

static void write_initial(const struct setting *setting, char *text_out, size_t bytes)
{
    bool is_text = setting->type == SETTING_TEXT || setting->type == SETTING_PATH ||
                   setting->type == SETTING_COLUMN || setting->type == SETTING_CHOICE;
    if (setting->initial == NULL)
        snprintf(text_out, bytes, "required");
    else if (is_text)
        snprintf(text_out, bytes, "\"%s\"", setting->initial);
    else if (setting->type == SETTING_COLUMNS || setting->type == SETTING_TEXTS ||
             setting->type == SETTING_REALS)
        snprintf(text_out, bytes, "()");
    else
        snprintf(text_out, bytes, "%s", setting->initial);
}

void setting_print(FILE *stream, enum settings_form form, const struct setting *setting,
                   const char *name)
{
    char expected[512], initial[128];
    setting_expected(setting, expected, sizeof(expected));
    write_initial(setting, initial, sizeof(initial));
    if (form == SETTINGS_MARKDOWN)
        fprintf(stream, "| `%s` | %s | `%s` | %s |\n", name, expected, initial, setting->help);
    else
        fprintf(stream, "%-26s %s\n    %s; %s\n", name, initial, expected, setting->help);
}
