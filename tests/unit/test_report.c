#include "ps/report.h"

#include <errno.h>
#include <math.h>
#include "common/document.h"
#include "ps/curve.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

#define TESTS(X) \
    X(test_report_writes_a_line_a_row_with_all_keys) \
    X(test_report_begins_anew_without_the_rows_of_an_earlier_run) \
    X(test_report_keeps_the_rows_before_the_step_it_resumes_at) \
    X(test_report_keeps_every_row_of_a_run_that_goes_on) \
    X(test_report_leaves_no_half_row_on_a_full_disk) \
    X(test_report_summary_has_the_keys_that_tools_read) \
    X(test_report_draws_the_curve) \
    X(test_report_says_that_there_is_no_gnuplot) \
    X(test_report_has_no_plot_when_gnuplot_fails) \
    X(test_report_says_why_it_cannot_write) \
    X(test_curve_stays_small_over_a_long_run) \
    X(test_curve_draws_a_regression_and_a_single_point) \
    X(test_curve_leaves_out_what_is_not_finite)

static struct metric_row train_row(uint64_t step)
{
    return (struct metric_row){.step = step,
                               .epoch = (double)step / 100.0,
                               .has_train = true,
                               .train_loss = 2.0 / (double)(step + 1),
                               .rate = 0.01,
                               .samples_per_s = 1234.5,
                               .wall_s = 0.1 * (double)step};
}

static struct metric_row test_row(uint64_t step)
{
    struct metric_row row = train_row(step);
    row.has_test = true;
    row.test_loss = 0.5;
    row.test_accuracy = 0.75;
    return row;
}

static struct report *open_at(const char *dir, uint64_t start_step)
{
    struct report *report = NULL;
    struct err_msg why = {""};
    int err = report_open(dir, start_step, &report, &why);
    if (err != 0)
        printf("\n%s\n", why.text);
    CU_ASSERT_FATAL(err == 0);
    return report;
}

static void put(struct report *report, struct metric_row row)
{
    CU_ASSERT(report_row(report, &row, NULL) == 0);
}

/* Line idx of metrics.jsonl as JSON; NULL past the end. */
static struct document *line_at(const char *dir, size_t idx)
{
    size_t size;
    struct document *document = NULL;
    char *bytes = scratch_read(scratch_path(dir, "metrics.jsonl"), &size), *at = bytes;
    for (; idx > 0 && at != NULL; idx--) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    if (at != NULL && *at != 0) {
        char *end = strchr(at, '\n');
        CU_ASSERT_FATAL(end != NULL);
        CU_ASSERT(document_parse(at, (size_t)(end - at), &document, NULL) == 0);
    }
    free(bytes);
    return document;
}

static int64_t step_at(const char *dir, size_t idx)
{
    int64_t step = -1;
    struct document *document = line_at(dir, idx);
    if (document != NULL)
        CU_ASSERT(document_get_whole(document, "step", &step, NULL) == 0);
    document_destroy(document);
    return step;
}

static void test_report_writes_a_line_a_row_with_all_keys(void)
{
    static const char *const keys[] = {"step",          "epoch", "train_loss",    "test_loss",
                                       "test_accuracy", "rate",  "samples_per_s", "wall_s"};
    char dir[PATH_MAX];
    double value;
    scratch_make(dir);
    struct report *report = open_at(dir, 0);
    put(report, train_row(10));
    put(report, test_row(20));
    report_close(report);
    for (size_t i = 0; i < 2; i++) {
        struct document *line = line_at(dir, i);
        CU_ASSERT_FATAL(line != NULL);
        CU_ASSERT(document_count(line) == ARRAY_LEN(keys));
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            CU_ASSERT(document_get(line, keys[k]) != NULL);
        CU_ASSERT(document_is_null(document_get(line, "test_loss")) == (i == 0));
        CU_ASSERT(document_get_real(line, "train_loss", &value, NULL) == 0);
        CU_ASSERT(value == 2.0 / (i == 0 ? 11.0 : 21.0));
        document_destroy(line);
    }
    CU_ASSERT(line_at(dir, 2) == NULL);
    scratch_remove(dir);
}

static void test_report_begins_anew_without_the_rows_of_an_earlier_run(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    struct report *report = open_at(dir, 0);
    put(report, train_row(10));
    report_close(report);
    report = open_at(dir, 0);
    put(report, train_row(5));
    report_close(report);
    CU_ASSERT(step_at(dir, 0) == 5 && step_at(dir, 1) == -1);
    scratch_remove(dir);
}

static void test_report_keeps_the_rows_before_the_step_it_resumes_at(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    struct report *report = open_at(dir, 0);
    for (uint64_t step = 10; step <= 50; step += 10)
        put(report, train_row(step));
    report_close(report);
    FILE *file = fopen(scratch_path(dir, "metrics.jsonl"), "ae");
    CU_ASSERT_FATAL(file != NULL && fputs("{\"step\": 6", file) >= 0 && fclose(file) == 0);
    report = open_at(dir, 30);
    put(report, train_row(40));
    report_close(report);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT(step_at(dir, i) == (int64_t)(i + 1) * 10);
    CU_ASSERT(line_at(dir, 4) == NULL);
    report = open_at(scratch_path(dir, "."), 30);
    report_close(report);
    CU_ASSERT(step_at(dir, 2) == 30 && line_at(dir, 3) == NULL);
    scratch_remove(dir);
}

static void test_report_keeps_every_row_of_a_run_that_goes_on(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    struct report *report = open_at(dir, UINT64_MAX);
    CU_ASSERT(report_last_step(report) == 0);
    put(report, train_row(30));
    put(report, train_row(40));
    put(report, test_row(35));
    report_close(report);
    report = open_at(dir, UINT64_MAX);
    CU_ASSERT(report_last_step(report) == 40);
    put(report, train_row(50));
    report_close(report);
    CU_ASSERT(step_at(dir, 2) == 35 && step_at(dir, 3) == 50);
    /* A kill cut the last row, if only by the end of its line. */
    size_t size;
    char *bytes = scratch_read(scratch_path(dir, "metrics.jsonl"), &size);
    scratch_write(scratch_path(dir, "metrics.jsonl"), bytes, size - 1);
    free(bytes);
    report = open_at(dir, UINT64_MAX);
    CU_ASSERT(report_last_step(report) == 40);
    put(report, train_row(60));
    report_close(report);
    CU_ASSERT(step_at(dir, 2) == 35 && step_at(dir, 3) == 60 && line_at(dir, 4) == NULL);
    scratch_remove(dir);
}

static void test_report_leaves_no_half_row_on_a_full_disk(void)
{
    char dir[PATH_MAX];
    struct err_msg why = {""};
    struct metric_row row = train_row(20);
    scratch_make(dir);
    struct report *report = open_at(dir, 0);
    put(report, train_row(10));
    size_t size;
    free(scratch_read(scratch_path(dir, "metrics.jsonl"), &size));
    scratch_limit_files(size + 10);
    CU_ASSERT(report_row(report, &row, &why) == ERR_IO);
    scratch_limit_files(0);
    CU_ASSERT(strstr(why.text, "metrics.jsonl: cannot write") != NULL);
    put(report, train_row(30));
    report_close(report);
    CU_ASSERT(step_at(dir, 0) == 10 && step_at(dir, 1) == 30);
    scratch_remove(dir);
}

static struct summary some_summary(void)
{
    static const double hidden[2] = {0.5, NAN};
    return (struct summary){.run_id = "0123456789abcdef0123456789abcdef",
                            .job = "a_job",
                            .phase = "finished",
                            .steps = 200,
                            .epochs = 2.5,
                            .train_loss = 0.25,
                            .test_loss = NAN,
                            .test_accuracy = NAN,
                            .pushed_bytes = (uint64_t)1 << 40,
                            .exchange_hidden = 0.75,
                            .waited_for_data = 0.125,
                            .waited_for_exchange = NAN,
                            .worker_hidden = hidden,
                            .worker_hidden_count = 2,
                            .peak_rss_bytes = {1, 2, 3},
                            .digest = "abc"};
}

static void test_report_summary_has_the_keys_that_tools_read(void)
{
    static const char *const keys[] = {
        "run_id",         "job",           "steps",  "epochs",  "train_loss",   "test_loss",
        "test_accuracy",  "samples_per_s", "wall_s", "cpu_s",   "pushed_bytes", "pulled_bytes",
        "peak_rss_bytes", "blas_core",     "digest", "servers", "workers",      "lanes",
        "checkpoint",     "phase",         "error",  "plot",
        "note",           "round_steps",   "exchange_hidden", "worker_exchange_hidden",
        "waited_for_data", "waited_for_exchange",
        "ending",         "best_step",     "best_loss", "best_checkpoint"};
    char dir[PATH_MAX];
    struct document *document;
    int64_t whole;
    scratch_make(dir);
    struct report *report = open_at(dir, 0);
    struct summary summary = some_summary();
    CU_ASSERT(report_finish(report, &summary, NULL) == 0);
    report_close(report);
    CU_ASSERT_FATAL(document_load(scratch_path(dir, "summary.json"), &document, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        CU_ASSERT(document_get(document, keys[i]) != NULL);
    CU_ASSERT(document_get_whole(document, "pushed_bytes", &whole, NULL) == 0);
    CU_ASSERT(whole == (int64_t)1 << 40);
    double real;
    CU_ASSERT(document_get_real(document, "exchange_hidden", &real, NULL) == 0 && real == 0.75);
    CU_ASSERT(document_get_real(document, "waited_for_data", &real, NULL) == 0 && real == 0.125);
    CU_ASSERT(document_is_null(document_get(document, "waited_for_exchange")));
    const struct document *hidden = document_get(document, "worker_exchange_hidden");
    CU_ASSERT(document_count(hidden) == 2 && document_is_null(document_at(hidden, 1)));
    const struct document *peak = document_get(document, "peak_rss_bytes");
    CU_ASSERT(document_get_whole(peak, "worker", &whole, NULL) == 0 && whole == 3);
    CU_ASSERT(document_is_null(document_get(document, "test_accuracy")));
    CU_ASSERT(document_is_null(document_get(document, "error")));
    CU_ASSERT(document_is_null(document_get(document, "best_step")));
    CU_ASSERT(document_is_null(document_get(document, "best_loss")));
    CU_ASSERT(document_is_null(document_get(document, "plot"))); /* nothing to draw */
    document_destroy(document);
    scratch_remove(dir);
}

/* Whether gnuplot can be started here: it need not be installed for the tests. */
static bool has_gnuplot(void)
{
    return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

/* A finished run; true when summary.json says that there is a plot. */
static bool finish(const char *dir)
{
    struct document *document;
    struct report *report = open_at(dir, 0);
    struct summary summary = some_summary();
    put(report, train_row(10));
    put(report, test_row(20));
    put(report, test_row(30));
    CU_ASSERT(report_finish(report, &summary, NULL) == 0);
    report_close(report);
    CU_ASSERT_FATAL(document_load(scratch_path(dir, "summary.json"), &document, NULL) == 0);
    bool has_plot = !document_is_null(document_get(document, "plot"));
    document_destroy(document);
    CU_ASSERT(!scratch_has(dir, "loss.svg.tmp"));
    return has_plot;
}

static void test_report_draws_the_curve(void)
{
    char dir[PATH_MAX];
    size_t size;
    if (!has_gnuplot())
        return;
    scratch_make(dir);
    CU_ASSERT(finish(dir));
    char *svg = scratch_read(scratch_path(dir, "loss.svg"), &size);
    static const char *const words[] = {"width=\"900\" height=\"560\"",
                                        "train loss",
                                        "test loss",
                                        "test accuracy",
                                        "a_job",
                                        "epoch",
                                        "</svg>"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        CU_ASSERT(strstr(svg, words[i]) != NULL);
    free(svg);
    scratch_remove(dir);
}

/* Runs finish with this PATH alone. */
static bool finish_with_path(const char *dir, const char *path)
{
    char *before = strdup(getenv("PATH"));
    CU_ASSERT_FATAL(before != NULL && setenv("PATH", path, 1) == 0);
    bool has_plot = finish(dir);
    CU_ASSERT(setenv("PATH", before, 1) == 0);
    free(before);
    return has_plot;
}

static void test_report_says_that_there_is_no_gnuplot(void)
{
    char dir[PATH_MAX];
    scratch_make(dir);
    scratch_write(scratch_path(dir, "loss.svg"), "of an earlier run", 17);
    CU_ASSERT(!finish_with_path(dir, dir));
    CU_ASSERT(!scratch_has(dir, "loss.svg"));
    scratch_remove(dir);
}

static void test_report_has_no_plot_when_gnuplot_fails(void)
{
    static const char script[] = "#!/bin/sh\necho it broke >&2\nexit 1\n";
    char dir[PATH_MAX];
    struct curve *curve;
    struct err_msg why = {""};
    scratch_make(dir);
    scratch_write(scratch_path(dir, "gnuplot"), script, sizeof(script) - 1);
    CU_ASSERT(chmod(scratch_path(dir, "gnuplot"), 0700) == 0);
    CU_ASSERT(!finish_with_path(dir, dir));
    CU_ASSERT(!scratch_has(dir, "loss.svg"));
    char *before = strdup(getenv("PATH"));
    CU_ASSERT_FATAL(before != NULL && setenv("PATH", dir, 1) == 0 && curve_create(&curve) == 0);
    curve_add(curve, CURVE_TRAIN_LOSS, 1.0, 2.0);
    CU_ASSERT(curve_draw(curve, "t", scratch_path(dir, "loss.svg"), &why) == ERR_IO);
    CU_ASSERT(strstr(why.text, "it broke") != NULL);
    CU_ASSERT(setenv("PATH", before, 1) == 0);
    free(before);
    curve_destroy(curve);
    scratch_remove(dir);
}

static void test_report_says_why_it_cannot_write(void)
{
    char dir[PATH_MAX];
    struct report *report;
    struct err_msg why = {""};
    scratch_make(dir);
    CU_ASSERT(report_open(scratch_path(dir, "none"), 0, &report, &why) == ERR_IO);
    CU_ASSERT(strstr(why.text, "none/metrics.jsonl") != NULL);
    report = open_at(dir, 0);
    struct metric_row row = train_row(10);
    scratch_limit_files(1);
    CU_ASSERT(report_row(report, &row, &why) == ERR_IO);
    struct summary summary = some_summary();
    CU_ASSERT(report_finish(report, &summary, &why) == ERR_IO);
    scratch_limit_files(0);
    CU_ASSERT(strstr(why.text, "summary.json") != NULL);
    report_close(report);
    scratch_remove(dir);
}

static void test_curve_stays_small_over_a_long_run(void)
{
    struct curve *curve;
    CU_ASSERT_FATAL(curve_create(&curve) == 0);
    for (size_t i = 0; i < 1000000; i++)
        curve_add(curve, CURVE_TRAIN_LOSS, (double)i, 1.0);
    size_t count = curve_point_count(curve, CURVE_TRAIN_LOSS);
    CU_ASSERT(count > CURVE_POINTS_MAX / 2 - 256 && count <= CURVE_POINTS_MAX);
    curve_destroy(curve);
}

static void test_curve_draws_a_regression_and_a_single_point(void)
{
    char dir[PATH_MAX];
    struct curve *curve;
    if (!has_gnuplot())
        return;
    scratch_make(dir);
    for (int has_accuracy = 0; has_accuracy < 2; has_accuracy++) {
        CU_ASSERT_FATAL(curve_create(&curve) == 0);
        curve_add(curve, CURVE_TEST_LOSS, 0.0, 0.0);
        curve_add(curve, CURVE_TEST_ACCURACY, 0.0, has_accuracy ? 1.0 : NAN);
        CU_ASSERT(curve_draw(curve, "t", scratch_path(dir, "loss.svg"), NULL) == 0);
        curve_destroy(curve);
    }
    scratch_remove(dir);
}

static void test_curve_leaves_out_what_is_not_finite(void)
{
    struct curve *curve;
    struct err_msg why = {""};
    CU_ASSERT_FATAL(curve_create(&curve) == 0);
    curve_add(curve, CURVE_TRAIN_LOSS, 1.0, INFINITY);
    curve_add(curve, CURVE_TEST_LOSS, NAN, 1.0);
    CU_ASSERT(curve_point_count(curve, CURVE_TRAIN_LOSS) == 0);
    CU_ASSERT(curve_point_count(curve, CURVE_TEST_LOSS) == 0);
    CU_ASSERT(curve_draw(curve, "t", "/nowhere/loss.svg", &why) == ERR_NOT_FOUND);
    curve_add(curve, CURVE_TRAIN_LOSS, 1.0, 1.0);
    CU_ASSERT(curve_draw(curve, "t", "/nowhere/loss.svg", &why) == ERR_IO);
    curve_destroy(curve);
}

UNIT_MAIN("report", TESTS)
