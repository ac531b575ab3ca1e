#include "deploy/commands.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include "deploy/plan/meter.h"
#include "deploy/plan/rate.h"
#include "deploy/plan/report.h"
#include "deploy/plan/speed.h"

enum { SETS_MAX = 256 };

enum option_key {
    KEY_BANDWIDTH = 'b',
    KEY_ROUND_TRIP = 'r',
    KEY_SERVERS = 's',
    KEY_WORKERS = 'w',
    KEY_SET = 'S',
    KEY_JSON = 'j',
    KEY_MEASURE = 'm',
    KEY_ANSWER = 'a',
    KEY_SAMPLES = 0x100,
    KEY_STEP,
    KEY_SECONDS,
    KEY_CORES
};

/* Unless said. */
static const double BYTES_PER_S = 125e6, ROUND_TRIP_S = 200e-6, SECONDS = 1.0;

struct plan_options {
    const char *job_path;
    const char *measure, *answer; /* HOST:PORT or NULL */
    const char *sets[SETS_MAX];
    size_t set_count;
    uint32_t workers, servers, cores; /* workers, servers: 0: as the job has it */
    double bytes_per_s, round_trip_s; /* 0, below 0: not said */
    double samples_per_s, step_s;     /* 0: measured */
    double seconds;
    bool has_json;
};

static const struct argp_option option_list[] = {
    {"bandwidth", KEY_BANDWIDTH, "RATE", 0,
     "of each machine's link, each way: 1Gbit/s (the default), 250Mbit/s, 12.5MB/s", 0},
    {"round-trip", KEY_ROUND_TRIP, "MS", 0, "between two machines; default 0.2", 0},
    {"measure", KEY_MEASURE, "HOST:PORT", 0,
     "measure both between here and a machine on which `talweg plan --answer HOST:PORT` runs", 0},
    {"answer", KEY_ANSWER, "HOST:PORT", 0,
     "answer one such measurement at that address of this machine, then end", 0},
    {"samples-per-s", KEY_SAMPLES, "N", 0,
     "how many one thread of a worker trains on, in place of a measurement here", 0},
    {"step-ms", KEY_STEP, "MS", 0, "the same, as the compute of a whole step on one machine", 0},
    {"seconds", KEY_SECONDS, "S", 0, "how long lanes are measured here; default 1", 0},
    {"workers", KEY_WORKERS, "N", 0, "up to so many; default: cluster.workers", 0},
    {"servers", KEY_SERVERS, "N", 0, "up to so many; default: cluster.servers", 0},
    {"cores", KEY_CORES, "N", 0,
     "all processes share so many cores, as on one machine for a trial; "
     "default: every worker has a core for each thread, and one to spare",
     0},
    {"set", KEY_SET, "PATH=VALUE", 0, "a setting in place of the job file's; may be repeated", 0},
    {"json", KEY_JSON, NULL, 0, "print JSON", 0},
    {0},
};

static uint32_t parse_whole(const char *flag, const char *text, struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 ||
        value > PLAN_MEMBERS_MAX)
        argp_error(state, "%s: found '%s', expected a whole number from 1 to %d", flag, text,
                   PLAN_MEMBERS_MAX);
    return (uint32_t)value;
}

static double parse_real(const char *flag, const char *text, double least,
                         struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= 1e9))
        argp_error(state, "%s: found '%s', expected a number from %g to 1e9", flag, text, least);
    return value;
}

static void end_options(const struct plan_options *options, struct argp_state *state)
{
    if (options->answer != NULL && options->job_path != NULL)
        argp_error(state, "--answer: only answers; expected no job file beside it");
    if (options->measure != NULL && (options->bytes_per_s > 0.0 || options->round_trip_s >= 0.0))
        argp_error(state, "--measure: --bandwidth and --round-trip say what the network is like; "
                          "expected either");
    if (options->job_path == NULL && options->answer == NULL)
        argp_error(state, "which job file?");
    if (options->samples_per_s > 0.0 && options->step_s > 0.0)
        argp_error(state, "--step-ms: --samples-per-s says the speed already; expected one of "
                          "the two");
}

static void take_argument(struct plan_options *options, char *text, struct argp_state *state)
{
    if (options->job_path != NULL)
        argp_error(state, "one job file, not '%s' as well", text);
    options->job_path = text;
}

static void take_set(struct plan_options *options, char *text, struct argp_state *state)
{
    if (options->set_count == SETS_MAX)
        argp_error(state, "more than %d times --set", SETS_MAX);
    options->sets[options->set_count++] = text;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct plan_options *options = state->input;
    switch (key) {
    case KEY_BANDWIDTH:
        if (rate_parse(text, &options->bytes_per_s) != 0)
            argp_error(state,
                       "--bandwidth: found '%s', expected a rate such as 1Gbit/s or 100MB/s", text);
        return 0;
    case KEY_ROUND_TRIP:
        options->round_trip_s = parse_real("--round-trip", text, 0.0, state) * 1e-3;
        return 0;
    case KEY_MEASURE:
        options->measure = text;
        return 0;
    case KEY_ANSWER:
        options->answer = text;
        return 0;
    case KEY_SAMPLES:
        options->samples_per_s = parse_real("--samples-per-s", text, 1e-6, state);
        return 0;
    case KEY_STEP:
        options->step_s = parse_real("--step-ms", text, 1e-6, state) * 1e-3;
        return 0;
    case KEY_SECONDS:
        options->seconds = parse_real("--seconds", text, 0.01, state);
        return 0;
    case KEY_WORKERS:
        options->workers = parse_whole("--workers", text, state);
        return 0;
    case KEY_SERVERS:
        options->servers = parse_whole("--servers", text, state);
        return 0;
    case KEY_CORES:
        options->cores = parse_whole("--cores", text, state);
        return 0;
    case KEY_SET:
        take_set(options, text, state);
        return 0;
    case KEY_JSON:
        options->has_json = true;
        return 0;
    case ARGP_KEY_ARG:
        take_argument(options, text, state);
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
    .args_doc = "JOB\n--answer HOST:PORT",
    .doc =
        "What a job would do on a cluster, before there is one: memory of each role, bytes of a "
        "step, time of a step, and what that is against one machine.\v"
        "Lanes of the job are computed here for a second, on its data, to know how fast a worker "
        "is.  Servers are taken to be on machines of their own.  Evaluations and checkpoints are "
        "left out.  efficiency: the speed-up over one machine that does all, for each worker.  "
        "What costs most: the part without which a step would be shortest, and by how much.  "
        "Local steps change what is learnt, codecs a little: see deploy/SETTINGS.md.\n\n"
        "Exit code: 0 planned; 1 failed, the reason on stderr; 2 wrong command line.",
};

static int take_cluster(const struct plan_options *options, const struct settings *settings,
                        struct plan_cluster *out, struct err_msg *why)
{
    struct meter_reading link;
    *out = (struct plan_cluster){
        .workers = options->workers > 0 ? options->workers : settings->cluster.workers,
        .servers = options->servers > 0 ? options->servers : settings->cluster.servers,
        .bytes_per_s = options->bytes_per_s > 0.0 ? options->bytes_per_s : BYTES_PER_S,
        .round_trip_s = options->round_trip_s >= 0.0 ? options->round_trip_s : ROUND_TRIP_S,
        .cores = options->cores};
    if (options->measure == NULL)
        return 0;
    int err = meter_read(options->measure, &link, why);
    if (err != 0)
        return err;
    double payload = link.up_bytes_s < link.down_bytes_s ? link.up_bytes_s : link.down_bytes_s;
    out->bytes_per_s = payload / PLAN_PAYLOAD_SHARE;
    out->round_trip_s = link.round_trip_s;
    return 0;
}

static int take_speed(const struct plan_options *options, struct study *study,
                      struct plan_speed *out, struct err_msg *why)
{
    const struct settings *settings = study->settings;
    uint32_t lanes = settings->job.lanes, threads = settings->worker.threads;
    int err = speed_costs(study, out, why);
    if (err == 0)
        err = speed_profile(study, why);
    if (err != 0)
        return err;
    if (options->samples_per_s > 0.0)
        out->lane_s = (double)settings->job.batch / lanes / options->samples_per_s;
    else if (options->step_s > 0.0)
        out->lane_s = options->step_s / ((lanes + threads - 1) / threads);
    else
        err = speed_lane(study, options->seconds, &out->lane_s, why);
    return err;
}

static int print(const struct plan_options *options, const struct plan_report *report)
{
    if (!options->has_json) {
        plan_report_print(stdout, report);
        return 0;
    }
    struct document *document = plan_report_document(report);
    int code = document_show(document, stdout);
    document_destroy(document);
    return code;
}

static const char *link_source(const struct plan_options *options)
{
    if (options->measure != NULL)
        return "measured";
    return options->bytes_per_s > 0.0 ? "stated" : "assumed";
}

static int predict(const struct plan_options *options, const struct study *study,
                   const struct plan_inputs *inputs)
{
    struct advice *advice = calloc(1, sizeof(*advice));
    struct plan_row *rows = calloc(table_size(inputs), sizeof(*rows));
    int err = advice == NULL || rows == NULL ? ERR_NOMEM : advice_give(inputs, advice);
    if (err == 0)
        err = table_fill(inputs, advice->one_machine, rows);
    if (err == 0) {
        bool is_stated = options->samples_per_s > 0.0 || options->step_s > 0.0;
        struct plan_report report = {
            .name = study->settings->job.name,
            .speed_source = is_stated ? "stated" : "measured here",
            .link_source = link_source(options),
            .inputs = inputs,
            .advice = advice,
            .rows = rows,
            .row_count = table_size(inputs)};
        err = print(options, &report);
    }
    free(rows);
    free(advice);
    return err;
}

static int finish(int err, const struct err_msg *why)
{
    if (err == 0)
        return EXIT_FINE;
    fprintf(stderr, "talweg plan: %s\n", why->text[0] != 0 ? why->text : err_text(err));
    return EXIT_FAILED;
}

int cmd_plan(int argc, char **argv)
{
    struct plan_options options = {.round_trip_s = -1.0, .seconds = SECONDS};
    struct study study = {0};
    struct plan_inputs inputs = {0};
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    if (options.answer != NULL)
        return finish(meter_answer(options.answer, &why), &why);
    int err = study_open(options.job_path, options.sets, options.set_count, &study, &why);
    if (err == 0) {
        study_base(&study, &inputs.base);
        inputs.job = plan_job_of(study.settings, study.layout);
        err = take_cluster(&options, study.settings, &inputs.cluster, &why);
    }
    if (err == 0)
        err = take_speed(&options, &study, &inputs.speed, &why);
    if (err == 0)
        err = predict(&options, &study, &inputs);
    study_close(&study);
    return finish(err, &why);
}
