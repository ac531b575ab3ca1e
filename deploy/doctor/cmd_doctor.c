#include "deploy/commands.h"

#include <argp.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include "common/clock.h"
#include "common/usage.h"
#include "deploy/doctor/checks.h"
#include "worker/nn/kernel_choice.h"

enum { LOAD_MS = 250, DATA_MS = 4000, COLUMNS = 80 };

struct doctor_options {
    struct patient_spec spec;
    char keys[PATH_MAX + 16]; /* the set of --keys */
    bool has_json;
};

static const struct argp_option option_list[] = {
    {"role", 'R', "ROLE", 0,
     "what this machine is to be: coordinator, server or worker; else as the addresses say, or all "
     "on this machine",
     0},
    {"coordinator", 'c', "ADDR", 0, "where the coordinator is, as a server or worker is told", 0},
    {"bind", 'b', "ADDR", 0, "where to listen, as a coordinator or server is told", 0},
    {"advertise", 'a', "ADDR", 0, "under which address others reach it, likewise", 0},
    {"rank", 'r', "N", 0, "its number among its kind, likewise", 0},
    {"out", 'o', "DIR", 0, "the run's folder of results; default: out", 0},
    {"keys", 'k', "DIR", 0, "folder of keys made by `talweg keygen` (TALWEG_KEYS)", 0},
    {"set", 'S', "PATH=VALUE", 0, "a setting in place of the job file's; may be repeated", 0},
    {"json", 'j', NULL, 0, "print JSON", 0},
    {0},
};

static void parse_role(struct patient_spec *spec, const char *arg, struct argp_state *state)
{
    spec->has_role = true;
    if (strcmp(arg, "coordinator") == 0)
        spec->role = ROLE_COORDINATOR;
    else if (strcmp(arg, "server") == 0 || strcmp(arg, "ps") == 0)
        spec->role = ROLE_SERVER;
    else if (strcmp(arg, "worker") == 0)
        spec->role = ROLE_WORKER;
    else
        argp_error(state, "--role is coordinator, server or worker, not '%s'", arg);
}

static void add_set(struct patient_spec *spec, const char *set, struct argp_state *state)
{
    if (spec->set_count == LAUNCH_SETS_MAX)
        argp_error(state, "more than %d times --set", LAUNCH_SETS_MAX);
    spec->sets[spec->set_count++] = set;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct doctor_options *options = state->input;
    struct patient_spec *spec = &options->spec;
    switch (key) {
    case 'R':
        parse_role(spec, arg, state);
        return 0;
    case 'c':
        spec->coordinator = arg;
        return 0;
    case 'b':
        spec->bind = arg;
        return 0;
    case 'a':
        spec->advertise = arg;
        return 0;
    case 'r':
        spec->rank = arg;
        return 0;
    case 'o':
        spec->out = arg;
        return 0;
    case 'j':
        options->has_json = true;
        return 0;
    case 'k':
        snprintf(options->keys, sizeof(options->keys), "cluster.keys=%s", arg);
        add_set(spec, options->keys, state);
        return 0;
    case 'S':
        add_set(spec, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        if (spec->job)
            argp_error(state, "one job file, not '%s' as well", arg);
        spec->job = arg;
        return 0;
    case ARGP_KEY_END:
        if (!spec->job)
            argp_error(state, "which job file?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "JOB",
    .doc = "Whether this machine can take its part in a job, before a run or during one: names, "
           "addresses, keys, the coordinator and every server from here, cores, memory, disk, "
           "limits, data.\v"
           "Give it what the process itself is given.  Each finding says what is so and, where "
           "that is not well, why it matters and what to do.  It takes at most 10 seconds.\n\n"
           "Exit code: 0 nothing worse than a note; 1 an error; 2 wrong command line; 3 warnings, "
           "but no error.",
};

static int exit_code_of(const struct findings *findings)
{
    enum finding_level worst = findings_worst(findings);
    if (worst == FINDING_ERROR)
        return EXIT_FAILED;
    return worst == FINDING_WARNING ? EXIT_WARNINGS : EXIT_FINE;
}

/* Kernels are chosen as a worker chooses them; the process may begin again for it. */
static void choose_kernels(const struct patient *patient, struct findings *findings)
{
    struct err_msg why = {0};
    if (!patient_is(patient, ROLE_WORKER) ||
        kernels_choose(patient->settings->worker.kernels, &why) == 0)
        return;
    findings_say(findings, FAMILY_CORES, FINDING_ERROR, "%s", why.text);
    findings_why(findings, "A worker would end with this sentence.");
}

static void begin_data(struct patient *patient)
{
    const char *inputs = patient->settings->data.train_inputs;
    if (patient_is(patient, ROLE_WORKER) || (inputs[0] && access(inputs, R_OK) == 0))
        data_look_begin(&patient->data, patient->settings);
}

/* By the data here; where there is none, by the run. */
static void learn_size(struct patient *patient)
{
    const struct data_look *data = &patient->data;
    int64_t weights;
    if (data->state == DATA_GOOD)
        patient->size = (struct model_size){
            .weight_count = data->weight_count,
            .run_bytes = data->run_bytes,
            .data_bytes = (data->train_count + data->test_count) *
                          (data->input_count + data->label_count) * sizeof(float)};
    else if (document_get_whole(patient->status, "weights", &weights, NULL) == 0 && weights > 0)
        patient->size.weight_count = (uint64_t)weights;
}

static void examine(struct patient *patient, struct findings *findings)
{
    choose_kernels(patient, findings);
    patient->load = load_measure(LOAD_MS);
    begin_data(patient);
    check_names(patient, findings);
    data_look_end(&patient->data, patient_time(patient, DATA_MS));
    check_run(patient, findings);
    check_keys(patient, findings);
    learn_size(patient);
    check_addresses(patient, findings);
    check_servers(patient, findings);
    check_cores(patient, findings);
    check_memory(patient, findings);
    check_disk(patient, findings);
    check_limits(patient, findings);
    check_data(patient, findings);
}

static struct document *counts_document(const struct findings *findings)
{
    struct document *counts = document_object();
    for (enum finding_level level = FINDING_OK; level < FINDING_LEVELS; level++) {
        int64_t count = (int64_t)findings_count(findings, level);
        if (document_put(counts, finding_level_text(level), document_whole(count)) != 0) {
            document_destroy(counts);
            return NULL;
        }
    }
    return counts;
}

static int print_json(const struct patient *patient, const struct findings *findings)
{
    char host[256];
    struct document *report = document_object();
    const char *role = patient_role_text(patient->role);
    const char *worst = finding_level_text(findings_worst(findings));
    int64_t took_ms = (int64_t)(clock_now_ms() - patient->begin_ms);
    int code = ERR_NOMEM;
    usage_host(host, sizeof(host));
    if (document_put(report, "job", document_text(patient->spec->job)) == 0 &&
        document_put(report, "host", document_text(host)) == 0 &&
        document_put(report, "role", document_text(role)) == 0 &&
        document_put(report, "version", document_text(TALWEG_VERSION)) == 0 &&
        document_put(report, "worst", document_text(worst)) == 0 &&
        document_put(report, "took_ms", document_whole(took_ms)) == 0 &&
        document_put(report, "counts", counts_document(findings)) == 0 &&
        document_put(report, "findings", findings_document(findings)) == 0)
        code = document_show(report, stdout);
    document_destroy(report);
    return code;
}

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40)
        return COLUMNS;
    return size.ws_col < 100 ? size.ws_col : 100;
}

static void print_text(const struct patient *patient, const struct findings *findings)
{
    static const struct {
        enum finding_level level;
        const char *one, *many;
    } counts[] = {{FINDING_ERROR, "error", "errors"},
                  {FINDING_WARNING, "warning", "warnings"},
                  {FINDING_NOTE, "note", "notes"},
                  {FINDING_UNCHECKED, "not checked", "not checked"},
                  {FINDING_OK, "ok", "ok"}};
    char host[256];
    bool has_colour = isatty(STDOUT_FILENO) == 1 && !getenv("NO_COLOR");
    usage_host(host, sizeof(host));
    printf("Talweg %s on %s, as %s\n", TALWEG_VERSION, host, patient_role_text(patient->role));
    findings_print(findings, stdout, terminal_columns(), has_colour);
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        size_t count = findings_count(findings, counts[i].level);
        if (count == 0)
            continue;
        printf("%s%zu %s", comma, count, count == 1 ? counts[i].one : counts[i].many);
        comma = ", ";
    }
    printf("; %.1f s\n", (double)(clock_now_ms() - patient->begin_ms) / 1000);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor_options options = {0};
    struct patient patient;
    struct findings *findings = findings_create();
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    if (!findings) {
        fprintf(stderr, "talweg doctor: %s\n", err_text(ERR_NOMEM));
        return EXIT_FAILED;
    }
    signal(SIGPIPE, SIG_IGN);
    patient_open(&patient, &options.spec, findings);
    if (patient.settings)
        examine(&patient, findings);
    int exit_code = exit_code_of(findings), err = 0;
    if (options.has_json)
        err = print_json(&patient, findings);
    else
        print_text(&patient, findings);
    if (err != 0 || findings_is_short(findings)) {
        fprintf(stderr, "talweg doctor: %s\n", err_text(ERR_NOMEM));
        exit_code = EXIT_FAILED;
    }
    patient_release(&patient);
    findings_destroy(findings);
    return exit_code;
}
