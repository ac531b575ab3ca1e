#include "ps/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/document.h"
#include "common/log.h"
#include "common/path.h"
#include "ps/curve.h"

struct report {
    int fd; /* metrics.jsonl */
    uint64_t last_step; /* of the rows that stayed */
    char metrics_path[PATH_MAX], summary_path[PATH_MAX], plot_path[PATH_MAX];
    struct curve *curve;
};

static int io_error(const char *path, const char *what, struct err_msg *why)
{
    return err_set(why, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

static void add_points(struct report *report, const struct metric_row *row)
{
    if (row->has_train)
        curve_add(report->curve, CURVE_TRAIN_LOSS, row->epoch, row->train_loss);
    if (!row->has_test)
        return;
    curve_add(report->curve, CURVE_TEST_LOSS, row->epoch, row->test_loss);
    curve_add(report->curve, CURVE_TEST_ACCURACY, row->epoch, row->test_accuracy);
}

/* A row of an earlier life; false when it is not one, as a line cut by a crash. */
static bool parse_row(const char *line, size_t size, struct metric_row *row)
{
    struct document *document;
    int64_t step;
    if (document_parse(line, size, &document, NULL) != 0)
        return false;
    bool is_row = document_get_whole(document, "step", &step, NULL) == 0 && step >= 0 &&
                  document_get_real(document, "epoch", &row->epoch, NULL) == 0 &&
                  document_get_real(document, "train_loss", &row->train_loss, NULL) == 0 &&
                  document_get_real(document, "test_loss", &row->test_loss, NULL) == 0 &&
                  document_get_real(document, "test_accuracy", &row->test_accuracy, NULL) == 0;
    document_destroy(document);
    row->step = is_row ? (uint64_t)step : 0;
    row->has_train = row->has_test = true; /* null reads as NaN, which the curve leaves out */
    return is_row;
}

static int write_all(int fd, const char *path, const char *bytes, size_t size, struct err_msg *why)
{
    while (size > 0) {
        ssize_t done = write(fd, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return io_error(path, "write", why);
        bytes += done;
        size -= (size_t)done;
    }
    return 0;
}

/* Copies the rows up to start_step to fd and into the curve.  No file is no rows. */
static int copy_rows(struct report *report, uint64_t start_step, int fd, struct err_msg *why)
{
    FILE *old = fopen(report->metrics_path, "re");
    if (old == NULL)
        return errno == ENOENT ? 0 : io_error(report->metrics_path, "read", why);
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int err = 0;
    while (err == 0 && (length = getline(&line, &capacity, old)) > 0) {
        struct metric_row row;
        bool is_whole = line[length - 1] == '\n';
        if (!is_whole || !parse_row(line, (size_t)length, &row) || row.step > start_step)
            continue;
        report->last_step = row.step > report->last_step ? row.step : report->last_step;
        add_points(report, &row);
        err = write_all(fd, report->metrics_path, line, (size_t)length, why);
    }
    free(line);
    fclose(old);
    return err;
}

/* Puts a new metrics.jsonl in place of the old one, with the rows that stay. */
static int open_metrics(struct report *report, uint64_t start_step, struct err_msg *why)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", report->metrics_path) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%s: the path is too long", report->metrics_path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return io_error(temporary, "make the file", why);
    int err = start_step > 0 ? copy_rows(report, start_step, fd, why) : 0;
    if (err == 0 && rename(temporary, report->metrics_path) != 0)
        err = io_error(report->metrics_path, "make the file", why);
    if (err != 0) {
        unlink(temporary);
        close(fd);
        return err;
    }
    report->fd = fd;
    return 0;
}

int report_open(const char *out_dir, uint64_t start_step, struct report **report_out,
                struct err_msg *why)
{
    struct report *report = calloc(1, sizeof(*report));
    if (report == NULL)
        return err_set(why, ERR_NOMEM, "no memory for the report");
    report->fd = -1;
    int err = curve_create(&report->curve);
    if (err != 0)
        err_set(why, err, "no memory for the report");
    if (err == 0)
        err = path_join(report->metrics_path, out_dir, "metrics.jsonl", why);
    if (err == 0)
        err = path_join(report->summary_path, out_dir, "summary.json", why);
    if (err == 0)
        err = path_join(report->plot_path, out_dir, "loss.svg", why);
    if (err == 0)
        err = open_metrics(report, start_step, why);
    if (err != 0) {
        report_close(report);
        return err;
    }
    *report_out = report;
    return 0;
}

uint64_t report_last_step(const struct report *report)
{
    return report->last_step;
}

void report_close(struct report *report)
{
    if (report == NULL)
        return;
    if (report->fd >= 0)
        close(report->fd);
    curve_destroy(report->curve);
    free(report);
}

static struct document *row_document(const struct metric_row *row)
{
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    double train_loss = row->has_train ? row->train_loss : NAN;
    double test_loss = row->has_test ? row->test_loss : NAN;
    double test_accuracy = row->has_test ? row->test_accuracy : NAN;
    double rate = row->has_train ? row->rate : NAN;
    double samples_per_s = row->has_train ? row->samples_per_s : NAN;
    if (document_put(object, "step", document_whole((int64_t)row->step)) < 0 ||
        document_put(object, "epoch", document_real(row->epoch)) < 0 ||
        document_put(object, "train_loss", document_real(train_loss)) < 0 ||
        document_put(object, "test_loss", document_real(test_loss)) < 0 ||
        document_put(object, "test_accuracy", document_real(test_accuracy)) < 0 ||
        document_put(object, "rate", document_real(rate)) < 0 ||
        document_put(object, "samples_per_s", document_real(samples_per_s)) < 0 ||
        document_put(object, "wall_s", document_real(row->wall_s)) < 0) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

int report_row(struct report *report, const struct metric_row *row, struct err_msg *why)
{
    add_points(report, row);
    struct document *object = row_document(row);
    char *text = object == NULL ? NULL : document_print(object, false);
    document_destroy(object);
    if (text == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory for a row", report->metrics_path);
    /* The newline takes the place of the NUL, so that a row is one write. */
    size_t length = strlen(text);
    text[length] = '\n';
    off_t end = lseek(report->fd, 0, SEEK_END);
    int err = write_all(report->fd, report->metrics_path, text, length + 1, why);
    if (err != 0 && (end < 0 || ftruncate(report->fd, end) != 0))
        log_event(LOG_WARN, "half_a_row", "step=%" PRIu64, row->step);
    free(text);
    return err;
}

static struct document *text_or_null(const char *text)
{
    return text == NULL ? document_null() : document_text(text);
}

static struct document *count_document(uint64_t count)
{
    return document_whole((int64_t)count);
}

static struct document *peak_document(const struct summary *summary)
{
    struct document *object = document_object();
    if (object == NULL)
        return NULL;
    if (document_put(object, "coordinator", count_document(summary->peak_rss_bytes.coordinator)) ||
        document_put(object, "server", count_document(summary->peak_rss_bytes.server)) ||
        document_put(object, "worker", count_document(summary->peak_rss_bytes.worker))) {
        document_destroy(object);
        return NULL;
    }
    return object;
}

static struct document *hidden_document(const struct summary *summary)
{
    struct document *array = document_array();
    int err = array == NULL ? ERR_NOMEM : 0;
    for (size_t i = 0; i < summary->worker_hidden_count && err == 0; i++)
        err = document_append(array, document_real(summary->worker_hidden[i]));
    if (err == 0)
        return array;
    document_destroy(array);
    return NULL;
}

/* One member of summary.json; value is consumed. */
struct member {
    const char *key;
    struct document *value;
};

static struct document *summary_document(const struct summary *s, const char *plot)
{
    const struct member members[] = {
        {"run_id", document_text(s->run_id)},
        {"job", text_or_null(s->job)},
        {"phase", text_or_null(s->phase)},
        {"error", text_or_null(s->error)},
        {"note", text_or_null(s->note)},
        {"ending", text_or_null(s->ending)},
        {"steps", count_document(s->steps)},
        {"round_steps", count_document(s->round_steps)},
        {"epochs", document_real(s->epochs)},
        {"train_loss", document_real(s->train_loss)},
        {"test_loss", document_real(s->test_loss)},
        {"test_accuracy", document_real(s->test_accuracy)},
        {"samples_per_s", document_real(s->samples_per_s)},
        {"wall_s", document_real(s->wall_s)},
        {"cpu_s", document_real(s->cpu_s)},
        {"pushed_bytes", count_document(s->pushed_bytes)},
        {"pulled_bytes", count_document(s->pulled_bytes)},
        {"exchange_hidden", document_real(s->exchange_hidden)},
        {"worker_exchange_hidden", hidden_document(s)},
        {"waited_for_data", document_real(s->waited_for_data)},
        {"waited_for_exchange", document_real(s->waited_for_exchange)},
        {"peak_rss_bytes", peak_document(s)},
        {"servers", count_document(s->servers)},
        {"workers", count_document(s->workers)},
        {"lanes", count_document(s->lanes)},
        {"blas_core", text_or_null(s->blas_core)},
        {"digest", text_or_null(s->digest)},
        {"checkpoint", text_or_null(s->checkpoint)},
        {"best_step", s->has_best ? count_document(s->best_step) : document_null()},
        {"best_loss", document_real(s->has_best ? s->best_loss : NAN)},
        {"best_checkpoint", text_or_null(s->best_checkpoint)},
        {"plot", text_or_null(plot)},
    };
    struct document *object = document_object();
    int err = object == NULL ? ERR_NOMEM : 0;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (err != 0)
            document_destroy(members[i].value);
        else
            err = document_put(object, members[i].key, members[i].value);
    }
    if (err == 0)
        return object;
    document_destroy(object);
    return NULL;
}

static int save(const struct report *report, const struct summary *summary, const char *plot,
                struct err_msg *why)
{
    struct document *document = summary_document(summary, plot);
    if (document == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", report->summary_path);
    int err = document_save(document, report->summary_path, why);
    document_destroy(document);
    return err;
}

int report_save(struct report *report, const struct summary *summary, struct err_msg *why)
{
    return save(report, summary, NULL, why);
}

int report_finish(struct report *report, const struct summary *summary, struct err_msg *why)
{
    struct err_msg plot_why;
    const char *plot = report->plot_path;
    const char *title = summary->job == NULL ? "training" : summary->job;
    if (curve_draw(report->curve, title, plot, &plot_why) != 0) {
        char quoted[sizeof(plot_why.text)];
        log_event(LOG_WARN, "no_plot", "why=%s", log_quote(quoted, sizeof(quoted), plot_why.text));
        unlink(plot); /* of an earlier run */
        plot = NULL;
    }
    return save(report, summary, plot, why);
}
