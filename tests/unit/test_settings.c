#include "common/settings.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/document.h"
#include "common/jobfile.h"
#include "common/nearest.h"
#include "tests/unit/unit.h"

/* A whole job on four lines; line 5 is the first that a test adds. */
#define REST \
    "data = { train_inputs = \"in.npy\"; train_labels = \"/labels.npy\"; };\n" \
    "model = { operators = ( { op = \"dense\"; units = 3; } ); };\n" \
    "\n"
#define JOB "job = { epochs = 1; };\n" REST

static char folder[32]; /* made by the first test */

/* Puts text into FOLDER/job.cfg; the path is static. */
static const char *job_of(const char *text, size_t bytes)
{
    static char path[64];
    if (folder[0] == '\0') {
        memcpy(folder, "/tmp/test_settings.XXXXXX", sizeof("/tmp/test_settings.XXXXXX"));
        if (mkdtemp(folder) == NULL)
            abort();
    }
    snprintf(path, sizeof(path), "%s/job.cfg", folder);
    FILE *stream = fopen(path, "w");
    if (stream == NULL || fwrite(text, 1, bytes, stream) != bytes || fclose(stream) != 0)
        abort();
    return path;
}

static struct settings *load(const char *text, const char *set)
{
    struct settings *settings = NULL;
    struct err_msg why = {{0}};
    int err = settings_load(job_of(text, strlen(text)), &set, set == NULL ? 0 : 1, &settings, &why);
    if (err != 0)
        printf("\n    %s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
    return settings;
}

/* True when loading fails with a sentence of these two parts, after the folder's name. */
static bool refuses_bytes(const char *text, size_t bytes, const char *set, const char *sentence)
{
    struct settings *settings = NULL;
    struct err_msg why = {{0}};
    int err = settings_load(job_of(text, bytes), &set, set == NULL ? 0 : 1, &settings, &why);
    const char *said = why.text;
    if (strncmp(said, folder, strlen(folder)) == 0)
        said += strlen(folder) + 1;
    bool is_refused = err == ERR_INPUT && strncmp(said, sentence, strlen(sentence)) == 0;
    if (!is_refused)
        printf("\n    said     %s\n    expected %s\n", said, sentence);
    settings_destroy(settings);
    return is_refused;
}

static bool refuses(const char *text, const char *sentence)
{
    return refuses_bytes(text, strlen(text), NULL, sentence);
}

static bool refuses_set(const char *set, const char *sentence)
{
    return refuses_bytes(JOB, strlen(JOB), set, sentence);
}

static void test_settings_have_defaults(void)
{
    struct settings *s = load(JOB, NULL);
    CU_ASSERT_EQUAL(s->job.seed, 1);
    CU_ASSERT_EQUAL(s->job.lanes, 8);
    CU_ASSERT_EQUAL(s->job.batch, 64);
    CU_ASSERT_EQUAL(s->data.format, FORMAT_AUTO);
    CU_ASSERT_TRUE(s->data.header);
    CU_ASSERT_STRING_EQUAL(s->data.delimiter, ",");
    CU_ASSERT_STRING_EQUAL(s->data.test_inputs, "");
    CU_ASSERT_EQUAL(s->data.memory_bytes, 256U << 20);
    CU_ASSERT_EQUAL(s->optimizer.rate, 0.01);
    CU_ASSERT_EQUAL(s->optimizer.epsilon, 1e-8);
    CU_ASSERT_EQUAL(s->exchange.block_bytes, 1U << 20);
    CU_ASSERT_EQUAL(s->checkpoint.file_bytes, 2147483648U);
    CU_ASSERT_EQUAL(s->cluster.silence_s, 20);
    CU_ASSERT_EQUAL(s->log.level, LOG_INFO);
    CU_ASSERT_STRING_EQUAL(s->worker.kernels, "auto");
    settings_destroy(s);
}

static void test_settings_read_each_type(void)
{
    struct settings *s =
        load("job = { name = \"a\"; seed = 9007199254740993; steps = 7L; lanes = 0x10; };\n"
             "data: { train_inputs = \"in\"; mean = [0.5, 0.25]; std = (1, 2); header = FALSE;\n"
             "  categorical = (\"sex\", 3); label_column = 14; memory_bytes = 5000000000; };\n"
             "model = { loss = \"mean_squared_error\"; operators = ({ op = \"relu\"; }); };\n"
             "optimizer = { kind = \"adamw\"; rate = 1; };\n"
             "log = { level = \"warn\"; };",
             NULL);
    CU_ASSERT_EQUAL(s->job.seed, 9007199254740993U);
    CU_ASSERT_EQUAL(s->job.steps, 7);
    CU_ASSERT_EQUAL(s->job.lanes, 16);
    CU_ASSERT_EQUAL(s->data.mean.count, 2);
    CU_ASSERT_EQUAL(s->data.mean.items[1], 0.25);
    CU_ASSERT_EQUAL(s->data.std.items[1], 2);
    CU_ASSERT_FALSE(s->data.header);
    CU_ASSERT_EQUAL(s->data.categorical.count, 2);
    CU_ASSERT_STRING_EQUAL(s->data.categorical.items[0], "sex");
    CU_ASSERT_STRING_EQUAL(s->data.categorical.items[1], "3");
    CU_ASSERT_STRING_EQUAL(s->data.label_column, "14");
    CU_ASSERT_EQUAL(s->data.memory_bytes, 5000000000U);
    CU_ASSERT_EQUAL(s->model.loss, LOSS_MEAN_SQUARED_ERROR);
    CU_ASSERT_EQUAL(s->optimizer.kind, OPTIMIZER_ADAMW);
    CU_ASSERT_EQUAL(s->optimizer.rate, 1.0);
    CU_ASSERT_EQUAL(s->log.level, LOG_WARN);
    settings_destroy(s);
}

static void test_settings_join_paths_to_the_job_folder(void)
{
    char path[96];
    struct settings *s = load(JOB, "data.test_inputs=here.npy");
    snprintf(path, sizeof(path), "%s/in.npy", folder);
    CU_ASSERT_STRING_EQUAL(s->data.train_inputs, path);
    CU_ASSERT_STRING_EQUAL(s->data.train_labels, "/labels.npy");
    CU_ASSERT_STRING_EQUAL(s->data.test_inputs, "here.npy");
    CU_ASSERT_STRING_EQUAL(s->data.spool_dir, "");
    settings_destroy(s);
}

static void test_settings_set_overrides_the_file(void)
{
    struct settings *s = load(JOB "optimizer = { rate = 0.5; };", "optimizer.rate=1e-3");
    CU_ASSERT_EQUAL(s->optimizer.rate, 0.001);
    settings_destroy(s);
    s = load(JOB, "optimizer.kind=adam");
    CU_ASSERT_EQUAL(s->optimizer.kind, OPTIMIZER_ADAM);
    settings_destroy(s);
    s = load(JOB, "optimizer.kind=\"adam\"");
    CU_ASSERT_EQUAL(s->optimizer.kind, OPTIMIZER_ADAM);
    settings_destroy(s);
    s = load(JOB, "data.delimiter=;");
    CU_ASSERT_STRING_EQUAL(s->data.delimiter, ";");
    settings_destroy(s);
    s = load(JOB, "data.categorical=(1, \"sex\")");
    CU_ASSERT_EQUAL(s->data.categorical.count, 2);
    settings_destroy(s);
    s = load(JOB, "model.operators=( { op = \"relu\"; }, { op = \"tanh\"; } )");
    CU_ASSERT_EQUAL(s->model.op_count, 2);
    settings_destroy(s);
}

static void test_settings_set_takes_any_text_for_a_text(void)
{
    const char *texts[] = {"true",        "7",  "a = b", "/x/y.gz",
                           "1; seed = 2", "#x", "",      "@include \"x\""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char set[64];
        snprintf(set, sizeof(set), "job.name=%s", texts[i]);
        struct settings *s = load(JOB, set);
        CU_ASSERT_STRING_EQUAL(s->job.name, texts[i]);
        CU_ASSERT_EQUAL(s->job.seed, 1);
        settings_destroy(s);
    }
}

static void test_settings_refuse_unknown_names_and_guess(void)
{
    CU_ASSERT(
        refuses(JOB "optimizer = {\n rat = 1.0; };",
                "job.cfg:6: optimizer.rat: unknown setting; did you mean \"optimizer.rate\"?"));
    CU_ASSERT(
        refuses(JOB "cluster = { threads = 2; };",
                "job.cfg:5: cluster.threads: unknown setting; did you mean \"worker.threads\"?"));
    CU_ASSERT(refuses(JOB "log = { colour_of_the_sky = 2; };",
                      "job.cfg:5: log.colour_of_the_sky: unknown setting; `talweg settings`"));
    CU_ASSERT(refuses(JOB "optimiser = { rate = 2; };",
                      "job.cfg:5: optimiser: unknown section; did you mean \"optimizer\"?"));
    CU_ASSERT(refuses(JOB "epochs = 2;",
                      "job.cfg:5: epochs: unknown section; did you mean \"job.epochs\"?"));
    CU_ASSERT(refuses_set("job.batsh=3",
                          "from --set: job.batsh: unknown setting; did you mean \"job.batch\"?"));
    CU_ASSERT(refuses_set("job=3", "from --set: job: unknown setting"));
    CU_ASSERT(refuses_set("batch", "from --set: found \"batch\", expected PATH=VALUE"));
    CU_ASSERT(refuses_set("=3", "from --set: found \"=3\", expected PATH=VALUE"));
}

static void test_settings_refuse_another_type(void)
{
    CU_ASSERT(refuses(JOB "optimizer = { rate = \"fast\"; };",
                      "job.cfg:5: optimizer.rate: found the text \"fast\", expected a real number "
                      "from 0 to 1000"));
    CU_ASSERT(refuses(JOB "checkpoint = { every = 2.0; };",
                      "job.cfg:5: checkpoint.every: found the real number 2, expected a whole "
                      "number from 0 to 2^53 (steps)"));
    CU_ASSERT(refuses(JOB "cluster = { insecure = 1; };",
                      "job.cfg:5: cluster.insecure: found the whole number 1, expected true or "
                      "false"));
    CU_ASSERT(refuses(JOB "worker = { kernels = 1; };",
                      "job.cfg:5: worker.kernels: found the whole number 1, expected a text"));
    CU_ASSERT(refuses(JOB "optimizer = { kind = \"adm\"; };",
                      "job.cfg:5: optimizer.kind: found the text \"adm\", expected one of \"sgd\", "
                      "\"momentum\", \"nesterov\", \"adam\", \"adamw\"; did you mean \"adam\"?"));
    CU_ASSERT(
        refuses(JOB "log = 3;", "job.cfg:5: log: found the whole number 3, expected a group"));
    CU_ASSERT(refuses("data = { mean = 0.5; };",
                      "job.cfg:1: data.mean: found the real number 0.5, expected a list of real "
                      "numbers, as (0.5, 0.25)"));
    CU_ASSERT(refuses("data = { categorical = (1, 0.5); };",
                      "job.cfg:1: data.categorical: found a list, expected a list of columns"));
    CU_ASSERT(refuses("model = { operators = 3; };",
                      "job.cfg:1: model.operators: found the whole number 3, expected a list of "
                      "groups"));
    CU_ASSERT(
        refuses_set("job.batch=many",
                    "from --set: job.batch: found the text \"many\", expected a whole number"));
    CU_ASSERT(refuses_set("job.batch=", "from --set: job.batch: found the text \"\", expected"));
}

static void test_settings_refuse_what_is_out_of_range(void)
{
    CU_ASSERT(refuses(JOB "worker = { threads = 257; };",
                      "job.cfg:5: worker.threads: found the whole number 257, expected a whole "
                      "number from 1 to 256 (threads)"));
    CU_ASSERT(
        refuses("job = { seed = -1; };",
                "job.cfg:1: job.seed: found the whole number -1, expected a whole number from "
                "0 to 2^63-1"));
    CU_ASSERT(refuses("job = { batch = 4294967297; };",
                      "job.cfg:1: job.batch: found the whole number 4294967297, expected"));
    CU_ASSERT(
        refuses("\njob = { seed = 99999999999999999999; };",
                "job.cfg:2: found the whole number 99999999999999999999, which does not fit"));
    CU_ASSERT(refuses("job = { seed = 0xFFFFFFFFFFFFFFFF; };",
                      "job.cfg:1: found the whole number 0xFFFFFFFFFFFFFFFF, which does not fit"));
    CU_ASSERT(
        refuses("job = { seed = 99999999999999999999LL; };",
                "job.cfg:1: found the whole number 99999999999999999999LL, which does not fit"));
    CU_ASSERT(refuses(JOB "optimizer = { beta1 = 1.0; };",
                      "job.cfg:5: optimizer.beta1: found the real number 1, expected a real number "
                      "from 0 and below 1"));
    CU_ASSERT(refuses(JOB "optimizer = { rate = 1e999; };",
                      "job.cfg:5: optimizer.rate: found the real number inf, expected"));
    CU_ASSERT(
        refuses("data = { std = (1.0, 0.0); };",
                "job.cfg:1: data.std: found a list, expected a list of real numbers above 0"));
}

static void test_settings_refuse_a_bad_batch(void)
{
    CU_ASSERT(refuses("job = { epochs = 1;\n batch = 4; };" REST,
                      "job.cfg:2: job.batch: found 4, expected at least one sample a lane: 8"));
    CU_ASSERT(refuses("job = { epochs = 1;\n lanes = 12; };" REST,
                      "job.cfg:2: job.lanes: found 12, expected a power of two from 1 to 1024"));
    CU_ASSERT(
        refuses_set("job.lanes=12", "from --set: job.lanes: found 12, expected a power of two"));
    CU_ASSERT(refuses_set("job.batch=7", "from --set: job.batch: found 7, expected at least"));
}

static void test_settings_want_either_epochs_or_steps(void)
{
    CU_ASSERT(refuses("job = { epochs = 1;\n steps = 5; };" REST,
                      "job.cfg:2: job.steps: found 5 beside job.epochs = 1, expected one"));
    CU_ASSERT(
        refuses_set("job.epochs=0", "from --set: job.epochs: not set, and job.steps neither"));
    struct settings *s = load(JOB, "job.steps=5");
    CU_ASSERT_EQUAL(s->job.steps, 5);
    CU_ASSERT_EQUAL(s->job.epochs, 0);
    settings_destroy(s);
}

static void test_settings_refuse_what_is_missing(void)
{
    CU_ASSERT(refuses("job = { epochs = 1; }; data = { train_inputs = \"x\"; };",
                      "job.cfg: model.operators: not set; expected the network's operators"));
    CU_ASSERT(refuses("job = { epochs = 1; }; model = { operators = ( { op = \"relu\"; } ); };",
                      "job.cfg: data.train_inputs: not set; expected the path"));
    CU_ASSERT(refuses("", "job.cfg: job.epochs: not set, and job.steps neither"));
}

static void test_settings_refuse_what_does_not_go_together(void)
{
    CU_ASSERT(refuses(JOB "optimizer = { schedule = \"step\"; };",
                      "job.cfg: optimizer.decay_every: not set; schedule \"step\" needs"));
    CU_ASSERT(refuses(JOB "optimizer = { rate = 0.1;\n min_rate = 0.2; };",
                      "job.cfg:6: optimizer.min_rate: found 0.2, expected at most"));
    CU_ASSERT(
        refuses_set("exchange.block_bytes=4097",
                    "from --set: exchange.block_bytes: found 4097, expected a multiple of 4"));
    CU_ASSERT(refuses(JOB "exchange = { codec = \"int8\";\n block_bytes = 4100; };",
                      "job.cfg:6: exchange.block_bytes: found 4100; codec int8 needs whole"));
    CU_ASSERT(refuses(JOB "exchange = { codec = \"topk\"; consistency = \"local\"; };",
                      "job.cfg:5: exchange.codec: found \"topk\", which goes with exchange"));
    CU_ASSERT(refuses(JOB "exchange = { codec = \"topk\"; };\noptimizer = { kind = \"adam\"; };",
                      "job.cfg:5: exchange.codec: found \"topk\", which goes with optimizer"));
    CU_ASSERT(refuses_set("exchange.topk_fraction=0",
                          "from --set: exchange.topk_fraction: found the whole number 0"));
    CU_ASSERT(refuses_set("exchange.local_steps=0",
                          "from --set: exchange.local_steps: found the whole number 0"));
    CU_ASSERT(refuses_set("exchange.outer_momentum=1",
                          "from --set: exchange.outer_momentum: found the whole number 1"));
    CU_ASSERT(refuses_set("exchange.credit_bytes=4096",
                          "from --set: exchange.credit_bytes: found 4096, expected at least one"));
    CU_ASSERT(refuses_set("cluster.silence_s=0.5", "from --set: cluster.silence_s: found 0.5 s"));
    CU_ASSERT(refuses_set("data.mean=(1,2)",
                          "from --set: data.mean: found 2 numbers in data.mean and 0 in data.std"));
    CU_ASSERT(refuses_set("job.patience=3",
                          "from --set: job.patience: found 3, but no sample is held out"));
    CU_ASSERT(refuses("job = { epochs = 1; patience = 3; };\n" REST
                      "exchange = { consistency = \"ssp\"; };",
                      "job.cfg:1: job.patience: found 3, which goes with exchange.consistency"));
    CU_ASSERT(refuses("job = { epochs = 1; };\n"
                      "data = { train_inputs = \"x.csv\"; };\n"
                      "model = { operators = ( { op = \"dense\"; units = 3; } );\n"
                      "loss = \"mean_squared_error\"; label_smoothing = 0.1; };",
                      "job.cfg:4: model.label_smoothing: found 0.1, which goes with model.loss"));
    CU_ASSERT(refuses("job = { epochs = 1; };\n"
                      "data = { train_inputs = \"x.csv\"; };\n"
                      "model = { operators = ( { op = \"dense\"; units = 3; } );\n"
                      "loss = \"binary_cross_entropy\"; class_weights = (1.0, 2.0); };",
                      "job.cfg:4: model.class_weights: found 2 numbers, which go with"));
    CU_ASSERT(
        refuses_set("data.delimiter=ab", "from --set: data.delimiter: found \"ab\", expected"));
    CU_ASSERT(refuses_set("data.test_labels=x", "from --set: data.test_labels: found labels"));
}

static void test_settings_name_the_line_of_bad_syntax(void)
{
    CU_ASSERT(refuses(JOB "log = {\n every = ; };", "job.cfg:6: syntax error"));
    CU_ASSERT(refuses(JOB "log = {\n level = \"info; };\n",
                      "job.cfg:6: the text that begins here has no end"));
    CU_ASSERT(
        refuses(JOB "log = { every = (1\n \"x\"); };",
                "job.cfg:6: found a text in quotes where a setting's name, or a value's end,"));
    CU_ASSERT(refuses(JOB "\n\"x\" = 1;", "job.cfg:6: found a text in quotes"));
    CU_ASSERT(refuses(JOB "log = { every = 1, \"x\"; };", "job.cfg:5: found a text in quotes"));
    CU_ASSERT(refuses(JOB "\n/* a", "job.cfg:6: the comment that begins here has no end"));
    CU_ASSERT(
        refuses(JOB "log = { every = 1;\n every = 2; };", "job.cfg:6: duplicate setting name"));
    CU_ASSERT(refuses(JOB "@include \"/etc/passwd\"",
                      "job.cfg:5: found @, and a job file cannot include another"));
    CU_ASSERT(refuses(JOB "/* \n */ @include \"/etc/passwd\"", "job.cfg:6: found @"));
    CU_ASSERT(refuses_bytes("job = {}\0", 9, NULL, "job.cfg: found a zero byte"));
}

static void test_settings_refuse_deep_nesting_and_long_files(void)
{
    size_t bytes = 2 << 20;
    char *text = malloc(bytes + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, '(', bytes);
    text[0] = 'a';
    text[1] = '=';
    text[bytes] = '\0';
    CU_ASSERT(refuses_bytes(text, bytes, NULL, "job.cfg: longer than 1048576 bytes"));
    CU_ASSERT(refuses_bytes(text, 100000, NULL, "job.cfg:1: brackets are nested deeper than 32"));
    free(text);
}

static void test_settings_name_a_file_that_is_not_there(void)
{
    struct settings *settings = NULL;
    struct err_msg why = {{0}};
    CU_ASSERT_EQUAL(settings_load("/nowhere/job.cfg", NULL, 0, &settings, &why), ERR_IO);
    CU_ASSERT_STRING_EQUAL(why.text, "/nowhere/job.cfg: cannot open the job file: "
                                     "No such file or directory");
    CU_ASSERT_EQUAL(settings_load("/tmp", NULL, 0, &settings, &why), ERR_IO);
    CU_ASSERT_PTR_NULL(settings);
}

/* Cut and spoiled files: no crash, and the sanitizers look on. */
static void test_settings_survive_spoiled_files(void)
{
    static const char text[] =
        JOB "/* c */ data_ = ( 1, 2L, 0x1F, -3, 1.5e-3, \"s\\x41\\\"\", [ ], { a = true; } );\n"
            "optimizer: { rate = 1e-3; } # end";
    uint32_t state = 1;
    for (size_t round = 0; round < 3000; round++) {
        char spoiled[sizeof(text)];
        memcpy(spoiled, text, sizeof(text));
        for (int i = 0; i < 3; i++) {
            state = state * 1664525U + 1013904223U;
            spoiled[(state >> 8) % (sizeof(text) - 1)] =
                "={}()[];,\"\\/*#-+.019xLe@\n a"[state % 27];
        }
        size_t bytes = round < sizeof(text) ? round : sizeof(text) - 1;
        struct settings *settings = NULL;
        struct err_msg why;
        struct jobfile *file = NULL;
        spoiled[bytes] = '\0';
        if (jobfile_parse("x", spoiled, bytes, &file, &why) == 0)
            jobfile_destroy(file);
        if (jobfile_parse_set(spoiled, &file) == 0)
            jobfile_destroy(file);
        if (round % 16 == 0 && settings_load(job_of(spoiled, bytes), NULL, 0, &settings, &why) == 0)
            settings_destroy(settings);
    }
}

static void fingerprint_of(const char *text, const char *set, char hex_out[65])
{
    struct settings *s = load(text, set);
    CU_ASSERT_EQUAL(settings_fingerprint(s, hex_out), 0);
    settings_destroy(s);
}

static void test_settings_fingerprint_tells_what_decides_the_weights(void)
{
    const char *same[] = {
        "worker.threads=2",   "cluster.workers=4",         "job.name=b",
        "checkpoint.every=3", "exchange.block_bytes=4096", "data.train_inputs=/b/in.npy"};
    const char *others[] = {"job.seed=2",
                            "job.lanes=4",
                            "job.epochs=2",
                            "optimizer.rate=0.010000000000000002",
                            "data.mean=()",
                            "data.train_inputs=/b/other.npy",
                            "data.test_fraction=0.1",
                            "model.loss=mean_squared_error",
                            "model.operators=({op=\"dense\"; units=3; bias=false;})",
                            "model.operators=({op=\"dense\"; units=3; name=\"x\";})"};
    char plain[65], hex[65];
    fingerprint_of(JOB, NULL, plain);
    CU_ASSERT_EQUAL(strlen(plain), 64);
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        fingerprint_of(JOB, same[i], hex);
        CU_ASSERT_STRING_EQUAL(hex, plain);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        fingerprint_of(JOB, others[i], hex);
        CU_ASSERT_EQUAL(strcmp(hex, plain) == 0, strcmp(others[i], "data.mean=()") == 0);
    }
}

/* Whether the job with this --set may go on from a checkpoint of the job with that one; NULL: none.
 */
static bool resumes(const char *text, const char *set, const char *written_set)
{
    char hex[2][SETTINGS_RESUME_BYTES];
    for (int i = 0; i < 2; i++) {
        struct settings *s = load(text, i == 0 ? set : written_set);
        CU_ASSERT_EQUAL(settings_resume_fingerprint(s, hex[i]), 0);
        settings_destroy(s);
    }
    return strcmp(hex[0], hex[1]) == 0;
}

static void test_settings_resume_fingerprint_leaves_out_the_length_of_the_run(void)
{
    const char *same[] = {
        "job.epochs=7", "job.eval_every=3",  "checkpoint.every=3", "checkpoint.keep=1",
        "log.every=9",  "cluster.workers=4", "job.name=b",         "exchange.block_bytes=4096"};
    const char *others[] = {"job.seed=2",
                            "job.lanes=4",
                            "job.batch=128",
                            "optimizer.rate=0.010000000000000002",
                            "optimizer.kind=adam",
                            "data.train_inputs=/b/other.npy",
                            "data.test_fraction=0.1",
                            "model.loss=mean_squared_error",
                            "model.operators=({op=\"dense\"; units=4;})"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        CU_ASSERT(resumes(JOB, same[i], NULL));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CU_ASSERT(!resumes(JOB, others[i], NULL));
}

/* Under it the rate of every step depends on the length, so that another length is another run. */
static void test_settings_resume_fingerprint_holds_the_length_when_the_schedule_is_cosine(void)
{
    static const char job[] =
        "job = { epochs = 1; };\noptimizer = { schedule = \"cosine\"; };\n" REST;
    CU_ASSERT(resumes(job, "checkpoint.every=3", NULL));
    CU_ASSERT(!resumes(job, "job.epochs=2", NULL));
    CU_ASSERT(!resumes(job, "optimizer.schedule=constant", NULL));
}

static void test_settings_document_holds_all_values(void)
{
    struct settings *s = load(JOB, "data.categorical=(\"a\", 1)");
    struct document *document = settings_document(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    int64_t lanes = 0;
    const char *kind = "";
    CU_ASSERT_EQUAL(document_get_whole(document_get(document, "job"), "lanes", &lanes, NULL), 0);
    CU_ASSERT_EQUAL(lanes, 8);
    CU_ASSERT_EQUAL(document_get_text(document_get(document, "optimizer"), "kind", &kind, NULL), 0);
    CU_ASSERT_STRING_EQUAL(kind, "sgd");
    CU_ASSERT_EQUAL(document_count(document), 10);
    CU_ASSERT_EQUAL(document_count(document_get(document_get(document, "data"), "categorical")), 2);
    const struct document *ops = document_get(document_get(document, "model"), "operators");
    CU_ASSERT_EQUAL(document_count(ops), 1);
    CU_ASSERT_EQUAL(document_get_text(document_at(ops, 0), "name", &kind, NULL), 0);
    CU_ASSERT_STRING_EQUAL(kind, "dense1");
    document_destroy(document);
    settings_destroy(s);
}

static void test_settings_table_is_consistent(void)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_PTR_EQUAL(settings_table_find(rows[i].path), &rows[i]);
        CU_ASSERT_PTR_NOT_NULL(rows[i].help);
        CU_ASSERT(rows[i].type != SETTING_U32 || rows[i].max < 0x1p32);
        CU_ASSERT(rows[i].type != SETTING_CHOICE ||
                  setting_choice_find(&rows[i], rows[i].initial) >= 0);
    }
    CU_ASSERT_PTR_NULL(settings_table_find("job"));
    CU_ASSERT_PTR_NULL(settings_table_find(""));
}

static void test_settings_load_the_shipped_jobs(void)
{
    DIR *jobs = opendir(JOBS_DIR);
    CU_ASSERT_PTR_NOT_NULL_FATAL(jobs);
    int count = 0;
    for (struct dirent *entry = readdir(jobs); entry != NULL; entry = readdir(jobs)) {
        char path[1024];
        struct settings *settings = NULL;
        struct err_msg why = {{0}};
        snprintf(path, sizeof(path), "%s/%s", JOBS_DIR, entry->d_name);
        if (strstr(entry->d_name, ".cfg") == NULL)
            continue;
        count++;
        if (settings_load(path, NULL, 0, &settings, &why) != 0)
            printf("\n    %s\n", why.text);
        CU_ASSERT_PTR_NOT_NULL(settings);
        settings_destroy(settings);
    }
    closedir(jobs);
    CU_ASSERT(count >= 5);
}

static void test_nearest_counts_edits(void)
{
    struct nearest nearest = {.word = "rtae"};
    nearest_offer(&nearest, "threads");
    nearest_offer(&nearest, "rate");
    CU_ASSERT_STRING_EQUAL(nearest_word(&nearest), "rate");
    CU_ASSERT_EQUAL(nearest.best_distance, 1);
    nearest = (struct nearest){.word = "abcdef"};
    nearest_offer(&nearest, "xyz");
    CU_ASSERT_EQUAL(nearest.best_distance, 6);
    CU_ASSERT_PTR_NULL(nearest_word(&nearest));
}

static void test_settings_leave_no_file_behind(void)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/job.cfg", folder);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

#define TESTS(X) \
    X(test_settings_have_defaults) \
    X(test_settings_read_each_type) \
    X(test_settings_join_paths_to_the_job_folder) \
    X(test_settings_set_overrides_the_file) \
    X(test_settings_set_takes_any_text_for_a_text) \
    X(test_settings_refuse_unknown_names_and_guess) \
    X(test_settings_refuse_another_type) \
    X(test_settings_refuse_what_is_out_of_range) \
    X(test_settings_refuse_a_bad_batch) \
    X(test_settings_want_either_epochs_or_steps) \
    X(test_settings_refuse_what_is_missing) \
    X(test_settings_refuse_what_does_not_go_together) \
    X(test_settings_name_the_line_of_bad_syntax) \
    X(test_settings_refuse_deep_nesting_and_long_files) \
    X(test_settings_name_a_file_that_is_not_there) \
    X(test_settings_survive_spoiled_files) \
    X(test_settings_fingerprint_tells_what_decides_the_weights) \
    X(test_settings_resume_fingerprint_leaves_out_the_length_of_the_run) \
    X(test_settings_resume_fingerprint_holds_the_length_when_the_schedule_is_cosine) \
    X(test_settings_document_holds_all_values) \
    X(test_settings_table_is_consistent) \
    X(test_settings_load_the_shipped_jobs) \
    X(test_nearest_counts_edits) \
    X(test_settings_leave_no_file_behind)

UNIT_MAIN("settings", TESTS)
