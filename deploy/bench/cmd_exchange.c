#include "deploy/bench/cmd_exchange.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/launch.h"
#include "deploy/bench/exchange.h"
#include "deploy/bench/report.h"
#include "deploy/commands.h"

enum { BLOCK_BYTES_MIN = 4096, BLOCK_BYTES_MAX = 32 << 20, SHARDS_A_SERVER_MAX = 64 };
enum { BENCH_SETS_MAX = 64 };

static const uint64_t MODEL_BYTES_MAX = UINT64_C(16) << 30;

enum option_key {
    KEY_TRANSPORT = 't',
    KEY_SERVERS = 's',
    KEY_WORKERS = 'w',
    KEY_MODEL = 'm',
    KEY_OPTIMIZER = 'o',
    KEY_SET = 'S',
    KEY_JSON = 'j',
    KEY_SHARDS = 0x100,
    KEY_BLOCK_BYTES,
    KEY_BYTES,
    KEY_SECONDS,
    KEY_LIMITS,
    KEY_NO_LIMITS
};

struct exchange_options {
    struct bench_case what;
    const char *sets[BENCH_SETS_MAX];
    bool has_model, has_bytes, has_json, has_no_limits;
};

static const struct argp_option option_list[] = {
    {"transport", KEY_TRANSPORT, "NAME", 0,
     "shm (payloads in shared memory; the default), ipc (unix sockets), tcp (loopback) or "
     "tcp+curve (loopback, encrypted)", 0},
    {"servers", KEY_SERVERS, "N", 0, "server processes; default 1", 0},
    {"shards", KEY_SHARDS, "N", 0, "threads of each server; default 1", 0},
    {"workers", KEY_WORKERS, "N", 0, "worker processes; default 1", 0},
    {"block-bytes", KEY_BLOCK_BYTES, "N", 0, "size of a block; default 1048576", 0},
    {"bytes", KEY_BYTES, "N", 0, "size of a model of one tensor; default 67108864", 0},
    {"model", KEY_MODEL, "NAME", 0,
     "resnet50 (161 tensors, 102 MB) or 100m (100 million floats) in its place", 0},
    {"optimizer", KEY_OPTIMIZER, "NAME", 0,
     "none (gradients are added to the weights; the default) or adam", 0},
    {"seconds", KEY_SECONDS, "S", 0, "how long at least steps are measured; default 3", 0},
    {"set", KEY_SET, "PATH=VALUE", 0, "one more setting of the job; may be repeated", 0},
    {"limits", KEY_LIMITS, NULL, 0, "measure what the machine can do as well (the default)", 0},
    {"no-limits", KEY_NO_LIMITS, NULL, 0, "leave that out", 0},
    {"json", KEY_JSON, NULL, 0, "print JSON instead of a table", 0},
    {0},
};

static uint64_t parse_whole(const char *flag, const char *text, uint64_t max,
                            struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 || value > max)
        argp_error(state, "%s: found '%s', expected a whole number from 1 to %llu", flag, text,
                   (unsigned long long)max);
    return value;
}

static uint64_t parse_bytes(const char *flag, const char *text, uint64_t min, uint64_t max,
                            struct argp_state *state)
{
    uint64_t bytes = parse_whole(flag, text, max, state);
    if (bytes < min || bytes % sizeof(float) != 0)
        argp_error(state, "%s: found '%s', expected a multiple of 4 from %llu to %llu", flag, text,
                   (unsigned long long)min, (unsigned long long)max);
    return bytes;
}

static double parse_seconds(const char *text, struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.1 && value <= 3600.0))
        argp_error(state, "--seconds: found '%s', expected a number from 0.1 to 3600", text);
    return value;
}

static enum bench_transport parse_transport(const char *text, struct argp_state *state)
{
    enum bench_transport transport = BENCH_SHM;
    if (bench_transport_find(text, &transport) != 0)
        argp_error(state, "--transport: found '%s', expected shm, ipc, tcp or tcp+curve", text);
    return transport;
}

static enum bench_model parse_model(const char *text, struct argp_state *state)
{
    enum bench_model model = BENCH_FLAT;
    if (bench_model_find(text, &model) != 0 || model == BENCH_FLAT)
        argp_error(state, "--model: found '%s', expected resnet50 or 100m", text);
    return model;
}

static enum optimizer_kind parse_optimizer(const char *text, struct argp_state *state)
{
    if (strcmp(text, "none") != 0 && strcmp(text, "adam") != 0)
        argp_error(state, "--optimizer: found '%s', expected none or adam", text);
    return strcmp(text, "adam") == 0 ? OPTIMIZER_ADAM : OPTIMIZER_SGD;
}

static void end_options(const struct exchange_options *options, struct argp_state *state)
{
    if (options->has_model && options->has_bytes)
        argp_error(state, "--bytes: --model has its own size; expected one of the two");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct exchange_options *options = state->input;
    struct bench_case *what = &options->what;
    switch (key) {
    case KEY_TRANSPORT:
        what->transport = parse_transport(text, state);
        return 0;
    case KEY_SERVERS:
        what->servers = (uint32_t)parse_whole("--servers", text, LAUNCH_RANK_MAX + 1, state);
        return 0;
    case KEY_SHARDS:
        what->shards = (uint32_t)parse_whole("--shards", text, SHARDS_A_SERVER_MAX, state);
        return 0;
    case KEY_WORKERS:
        what->workers = (uint32_t)parse_whole("--workers", text, LAUNCH_RANK_MAX + 1, state);
        return 0;
    case KEY_BLOCK_BYTES:
        what->block_bytes = (uint32_t)parse_bytes("--block-bytes", text, BLOCK_BYTES_MIN,
                                                  BLOCK_BYTES_MAX, state);
        return 0;
    case KEY_BYTES:
        what->model_bytes = parse_bytes("--bytes", text, sizeof(float), MODEL_BYTES_MAX, state);
        options->has_bytes = true;
        return 0;
    case KEY_MODEL:
        what->model = parse_model(text, state);
        options->has_model = true;
        return 0;
    case KEY_OPTIMIZER:
        what->optimizer = parse_optimizer(text, state);
        return 0;
    case KEY_SECONDS:
        what->seconds = parse_seconds(text, state);
        return 0;
    case KEY_SET:
        if (what->set_count == BENCH_SETS_MAX)
            argp_error(state, "--set: found it more than %d times", BENCH_SETS_MAX);
        if (strncmp(text, "exchange.overlap", strlen("exchange.overlap")) == 0)
            argp_error(state, "--set: found '%s', but a stand-in computes nothing to hide behind",
                       text);
        options->sets[what->set_count++] = text;
        return 0;
    case KEY_LIMITS:
    case KEY_NO_LIMITS:
        options->has_no_limits = key == KEY_NO_LIMITS;
        return 0;
    case KEY_JSON:
        options->has_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "found '%s', expected options only", text);
        return 0;
    case ARGP_KEY_END:
        end_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .doc =
        "Measure how fast this machine's processes exchange gradients and weights: real servers, "
        "and workers whose gradients are there at once, so that nothing but the exchange takes "
        "time.\v"
        "goodput: payload pushed plus pulled by all workers, 1 GB = 1e9 bytes.  step: from one "
        "version whole at a worker to the next.  Processor time is of the measured steps, memory "
        "the peak since the start.  The machine's limits are measured before and after; other "
        "work on it makes all of this worth less.\n\n"
        "Exit code: 0 measured; 1 failed, the reason on stderr; 2 wrong command line; 130 or 143 "
        "stopped by Ctrl-C or SIGTERM.",
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

/* The limits before and after, since a machine is not the same from one second to the next. */
static int measure(const struct exchange_options *options, struct bench_result *result,
                   struct limits *limits, struct err_msg *why)
{
    enum limit_wire wire = bench_wire(options->what.transport);
    int err = options->has_no_limits ? 0 : limits_take(limits, wire, why);
    if (err == 0)
        err = bench_exchange(&options->what, result, why);
    if (err == 0 && !options->has_no_limits)
        err = limits_take(limits, wire, why);
    return err;
}

static int print(const struct exchange_options *options, const struct bench_result *result,
                 const struct limits *limits)
{
    if (!options->has_json) {
        bench_report_print(stdout, &options->what, result, limits);
        return EXIT_FINE;
    }
    struct document *document = bench_report_document(&options->what, result, limits);
    int code = document_show(document, stdout);
    document_destroy(document);
    if (code != 0)
        fprintf(stderr, "talweg bench exchange: %s\n", err_text(code));
    return code == 0 ? EXIT_FINE : EXIT_FAILED;
}

int cmd_bench_exchange(int argc, char **argv)
{
    struct exchange_options options = {.what = {.transport = BENCH_SHM,
                                                .servers = 1,
                                                .shards = 1,
                                                .workers = 1,
                                                .block_bytes = 1 << 20,
                                                .model = BENCH_FLAT,
                                                .model_bytes = 64 << 20,
                                                .optimizer = OPTIMIZER_SGD,
                                                .seconds = 3.0,
                                                .is_asked_to_stop = &stop_signal}};
    struct sigaction action = {.sa_handler = on_signal};
    struct bench_result result = {0};
    struct limits limits = {0};
    struct err_msg why = {0};
    options.what.sets = options.sets;
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int err = measure(&options, &result, &limits, &why);
    if (err == 0)
        return print(&options, &result, options.has_no_limits ? NULL : &limits);
    fprintf(stderr, "talweg bench exchange: %s\n", why.text[0] ? why.text : err_text(err));
    return err == ERR_STOPPED ? EXIT_SIGNAL + stop_signal : EXIT_FAILED;
}
