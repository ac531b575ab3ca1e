#include "deploy/bench/cmd_step.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/usage.h"
#include "deploy/bench/quantile.h"
#include "deploy/bench/step_report.h"
#include "deploy/bench/step_team.h"
#include "deploy/commands.h"
#include "worker/nn/gemm.h"
#include "worker/nn/kernel_choice.h"

enum { SETS_MAX = 256, STEPS_MAX = 100000, THREADS_MAX = 1024, BATCH_MAX = 1 << 20 };
enum { SIZE_MAX_OF_INPUT = 1 << 24, WARM_STEPS = 2, STEPS_MIN = 10, PEAKS = 6 };

/* Steps are timed for so long unless their number is given. */
static const double SECONDS = 3.0;

enum option_key {
    KEY_THREADS = 't',
    KEY_STEPS = 'n',
    KEY_BATCH = 'b',
    KEY_SET = 'S',
    KEY_JSON = 'j',
    KEY_BY_OPERATOR = 'o',
    KEY_INPUT = 0x100,
    KEY_CLASSES,
    KEY_TARGETS,
    KEY_TOKENS,
    KEY_SEQUENCE
};

struct step_options {
    const char *job_path;
    const char *sets[SETS_MAX];
    size_t set_count;
    uint32_t threads, batch; /* batch 0: the job's */
    uint32_t steps;          /* 0: as many as take SECONDS */
    struct graph_input input; /* dims 0: the job's data */
    uint32_t tokens, sequence;
    bool has_json, by_operator;
};

static const struct argp_option option_list[] = {
    {"threads", KEY_THREADS, "N", 0, "threads, each with lanes of its own; default 1", 0},
    {"steps", KEY_STEPS, "N", 0, "steps that are timed; default: as many as take 3 s", 0},
    {"batch", KEY_BATCH, "N", 0, "samples of a step; default: job.batch", 0},
    {"by-operator", KEY_BY_OPERATOR, NULL, 0, "how long each operator takes as well", 0},
    {"input", KEY_INPUT, "SHAPE", 0,
     "drawn numbers in place of the job's data: 784, or 28x28x1 for images", 0},
    {"classes", KEY_CLASSES, "N", 0, "with --input: classes of the labels", 0},
    {"targets", KEY_TARGETS, "N", 0, "with --input: numbers of a label, for a regression", 0},
    {"tokens", KEY_TOKENS, "N", 0,
     "drawn tokens in place of the job's data: the size of the vocabulary", 0},
    {"sequence", KEY_SEQUENCE, "N", 0, "with --tokens: tokens of a sample", 0},
    {"set", KEY_SET, "PATH=VALUE", 0, "a setting in place of the job file's; may be repeated", 0},
    {"json", KEY_JSON, NULL, 0, "print JSON instead of tables; operators are always in it", 0},
    {0},
};

static uint32_t parse_whole(const char *flag, const char *text, uint32_t max,
                            struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 || value > max)
        argp_error(state, "%s: found '%s', expected a whole number from 1 to %u", flag, text, max);
    return (uint32_t)value;
}

/* "784" or "28x28x1". */
static void parse_shape(const char *text, struct graph_input *input, struct argp_state *state)
{
    char end;
    int found = sscanf(text, "%ux%ux%u%c", &input->shape[0], &input->shape[1], &input->shape[2],
                       &end);
    size_t count = 1;
    for (int i = 0; i < found && i < 3; i++)
        count = input->shape[i] > SIZE_MAX_OF_INPUT ? 0 : count * input->shape[i];
    char plain[16];
    snprintf(plain, sizeof(plain), "%u", found > 0 ? input->shape[0] : 0);
    bool is_row = found == 1 && strcmp(plain, text) == 0;
    if ((found != 3 && !is_row) || count < 1 || count > SIZE_MAX_OF_INPUT)
        argp_error(state, "--input: found '%s', expected a shape such as 784 or 28x28x1", text);
    input->dims = found == 3 ? 3 : 1;
}

static void end_options(struct step_options *options, struct argp_state *state)
{
    struct graph_input *input = &options->input;
    if (options->job_path == NULL)
        argp_error(state, "which job file?");
    if ((options->tokens > 0) != (options->sequence > 0))
        argp_error(state, "--tokens and --sequence go together; found one of them");
    if (options->tokens > 0 && (input->dims > 0 || input->label_count > 0))
        argp_error(state, "--tokens: found --input, --classes or --targets as well");
    if ((input->dims > 0) != (input->label_count > 0))
        argp_error(state, "--input: expected --classes or --targets with it, and only with it");
    if (options->tokens > 0)
        *input = (struct graph_input){.dims = 1,
                                      .shape = {options->sequence},
                                      .label_count = options->sequence,
                                      .class_count = options->tokens,
                                      .token_count = options->tokens};
}

static error_t parse_data_option(int key, char *text, struct argp_state *state)
{
    struct step_options *options = state->input;
    switch (key) {
    case KEY_INPUT:
        parse_shape(text, &options->input, state);
        return 0;
    case KEY_CLASSES:
        options->input.class_count = parse_whole("--classes", text, 1 << 24, state);
        options->input.label_count = 1;
        return 0;
    case KEY_TARGETS:
        options->input.class_count = 0;
        options->input.label_count = parse_whole("--targets", text, 1 << 20, state);
        return 0;
    case KEY_TOKENS:
        options->tokens = parse_whole("--tokens", text, 1 << 24, state);
        return 0;
    case KEY_SEQUENCE:
        options->sequence = parse_whole("--sequence", text, 1 << 20, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct step_options *options = state->input;
    switch (key) {
    case KEY_THREADS:
        options->threads = parse_whole("--threads", text, THREADS_MAX, state);
        return 0;
    case KEY_STEPS:
        options->steps = parse_whole("--steps", text, STEPS_MAX, state);
        return 0;
    case KEY_BATCH:
        options->batch = parse_whole("--batch", text, BATCH_MAX, state);
        return 0;
    case KEY_SET:
        if (options->set_count == SETS_MAX)
            argp_error(state, "--set: found it more than %d times", SETS_MAX);
        options->sets[options->set_count++] = text;
        return 0;
    case KEY_JSON:
        options->has_json = true;
        return 0;
    case KEY_BY_OPERATOR:
        options->by_operator = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->job_path != NULL)
            argp_error(state, "one job file, not '%s' as well", text);
        options->job_path = text;
        return 0;
    case ARGP_KEY_END:
        end_options(options, state);
        return 0;
    default:
        return parse_data_option(key, text, state);
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "JOB",
    .doc =
        "Measure a training step of a job's network in this process alone: forward, backward and "
        "optimizer, on samples that are in memory.\v"
        "Lanes are as many as threads, made up to a power of two; their gradients are summed and "
        "applied as servers do.  GFLOP/s are the multiplications and additions of matrix products "
        "and convolutions as they are written down; at most: what all threads reach in a loop that "
        "does nothing else, before and after.  Start is counted from when the process began, to a "
        "hundredth of a second.\n\n"
        "Exit code: 0 measured; 1 failed, the reason on stderr; 2 wrong command line; 130 or 143 "
        "stopped by Ctrl-C or SIGTERM.",
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

/* All that is measured with; each part is NULL until it is made. */
struct bench {
    struct settings *settings;
    struct step_samples samples;
    struct graph *graph;
    struct layout *layout;
    struct step_team *team;
    double *seconds; /* [STEPS_MAX], of the timed steps */
    struct step_measured measured;
};

static int get_samples(const struct step_options *options, struct bench *bench,
                       struct err_msg *why)
{
    size_t count = (size_t)bench->measured.batch * STEP_BATCHES;
    if (options->input.dims > 0)
        return step_samples_draw(&options->input, count, bench->settings->job.seed,
                                 &bench->samples, why);
    int err = step_samples_read(bench->settings, count, &bench->samples, why);
    if (err == 0)
        return 0;
    struct err_msg data = *why;
    return err_set(why, err, "%s (--input or --tokens: samples that are drawn)", data.text);
}

static int open_bench(const struct step_options *options, struct bench *bench, struct err_msg *why)
{
    struct step_measured *m = &bench->measured;
    int err = settings_load(options->job_path, options->sets, options->set_count,
                            &bench->settings, why);
    if (err == 0)
        err = kernels_choose(bench->settings->worker.kernels, why);
    if (err != 0)
        return err;
    m->threads = options->threads;
    m->lanes = step_lanes(options->threads);
    m->batch = options->batch > 0 ? options->batch : bench->settings->job.batch;
    if (m->batch < m->lanes)
        return err_set(why, ERR_INPUT, "--batch: found %u, expected at least %u, one a lane",
                       m->batch, m->lanes);
    if (!gemm_has_room(m->threads))
        return err_set(why, ERR_NOMEM, "no address space for the matrix products of %u threads",
                       m->threads);
    err = get_samples(options, bench, why);
    if (err == 0)
        err = graph_create(&bench->settings->model, &bench->samples.input, &bench->graph, why);
    if (err == 0)
        err = layout_create(graph_tensors(bench->graph), graph_tensor_count(bench->graph),
                            bench->settings->exchange.block_bytes, &bench->layout, why);
    if (err != 0)
        return err;
    struct step_spec spec = {.settings = bench->settings,
                             .graph = bench->graph,
                             .layout = bench->layout,
                             .samples = &bench->samples,
                             .threads = m->threads,
                             .batch = m->batch};
    return step_team_create(&spec, &bench->team, why);
}

static void close_bench(struct bench *bench)
{
    step_team_destroy(bench->team);
    layout_destroy(bench->layout);
    graph_destroy(bench->graph);
    step_samples_free(&bench->samples);
    settings_destroy(bench->settings);
    free(bench->seconds);
}

static void first_step(struct bench *bench)
{
    struct step_measured *m = &bench->measured;
    struct step_result result;
    m->ready_at_ms = clock_wall_ms();
    m->ready_s = usage_age_s();
    step_team_step(bench->team, &result);
    m->first_step_at_ms = clock_wall_ms();
    m->first_step_s = usage_age_s();
    m->first_loss = result.loss;
}

static void take_peak(struct bench *bench)
{
    for (int i = 0; i < PEAKS; i++) {
        double gflops = step_team_peak_gflops(bench->team);
        if (gflops > bench->measured.peak_gflops)
            bench->measured.peak_gflops = gflops;
    }
}

/* False: asked to stop. */
static bool time_steps(const struct step_options *options, struct bench *bench)
{
    struct step_measured *m = &bench->measured;
    struct step_result result;
    double sum_s = 0.0;
    for (int i = 0; i < WARM_STEPS; i++)
        step_team_step(bench->team, &result);
    step_team_forget(bench->team);
    uint64_t cpu_us = clock_cpu_us();
    while (m->step_count < (options->steps > 0 ? options->steps : STEPS_MAX)) {
        if (stop_signal != 0)
            return false;
        if (options->steps == 0 && m->step_count >= STEPS_MIN && sum_s >= SECONDS)
            break;
        step_team_step(bench->team, &result);
        bench->seconds[m->step_count++] = result.compute_s + result.update_s;
        sum_s += result.compute_s + result.update_s;
        m->update_s += result.update_s;
    }
    m->cpu_s = (double)(clock_cpu_us() - cpu_us) * 1e-6 / (double)m->step_count;
    m->update_s /= (double)m->step_count;
    m->last_loss = result.loss;
    return true;
}

static int measure(const struct step_options *options, struct bench *bench, struct err_msg *why)
{
    struct step_measured *m = &bench->measured;
    bench->seconds = calloc(STEPS_MAX, sizeof(*bench->seconds));
    if (bench->seconds == NULL)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int err = open_bench(options, bench, why);
    if (err != 0)
        return err;
    first_step(bench);
    take_peak(bench);
    if (!time_steps(options, bench))
        return ERR_STOPPED;
    take_peak(bench);
    quantile_sort(bench->seconds, m->step_count);
    m->median_s = quantile_of(bench->seconds, m->step_count, 0.5);
    m->min_s = bench->seconds[0];
    m->p90_s = quantile_of(bench->seconds, m->step_count, 0.9);
    m->name = bench->settings->job.name;
    m->model = &bench->settings->model;
    m->graph = bench->graph;
    m->kernels = gemm_kernels();
    m->profile = step_team_profile(bench->team);
    m->planned_bytes = step_team_bytes(bench->team);
    m->peak_rss_bytes = usage_now().peak_rss_bytes;
    return 0;
}

static int print(const struct step_options *options, const struct step_measured *measured)
{
    if (!options->has_json) {
        step_report_print(stdout, measured, options->by_operator);
        return EXIT_FINE;
    }
    struct document *document = step_report_document(measured);
    int code = document_show(document, stdout);
    document_destroy(document);
    if (code != 0)
        fprintf(stderr, "talweg bench step: %s\n", err_text(code));
    return code == 0 ? EXIT_FINE : EXIT_FAILED;
}

int cmd_bench_step(int argc, char **argv)
{
    struct step_options options = {.threads = 1};
    struct sigaction action = {.sa_handler = on_signal};
    struct bench bench = {0};
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int err = measure(&options, &bench, &why);
    int code = err == 0 ? print(&options, &bench.measured) : EXIT_FAILED;
    if (err == ERR_STOPPED)
        code = EXIT_SIGNAL + stop_signal;
    else if (err != 0)
        fprintf(stderr, "talweg bench step: %s\n", why.text[0] ? why.text : err_text(err));
    close_bench(&bench);
    return code;
}
