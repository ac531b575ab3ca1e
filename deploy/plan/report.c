#include "deploy/plan/report.h"

#include <inttypes.h>
#include "deploy/plan/rate.h"

static const char *const codec_names[CODEC_COUNT] = {"f32", "bf16", "int8", "topk"};
static const char *const consistency_names[] = {"bsp", "ssp", "async", "local"};

/* Rows of more workers than this are printed for powers of two. */
enum { ROWS_ALL = 16 };

struct bytes_text {
    char text[32];
};

static struct bytes_text bytes_text(uint64_t bytes)
{
    struct bytes_text out;
    double value = (double)bytes;
    if (value >= 0.9995e9)
        snprintf(out.text, sizeof(out.text), "%.3g GB", value * 1e-9);
    else if (value >= 0.9995e6)
        snprintf(out.text, sizeof(out.text), "%.3g MB", value * 1e-6);
    else
        snprintf(out.text, sizeof(out.text), "%.3g kB", value * 1e-3);
    return out;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_job(FILE *out, const struct plan_report *report)
{
    const struct plan_job *job = &report->inputs->job;
    const struct plan_speed *speed = &report->inputs->speed;
    const struct plan_cluster *cluster = &report->inputs->cluster;
    char rate[RATE_TEXT_BYTES];
    double lane_samples = (double)job->batch / job->lanes;
    rate_print(cluster->bytes_per_s, rate);
    fprintf(out,
            "job       %s: %" PRIu64 " weights (%s) in %zu block%s, %u lane%s of %.3g sample%s\n",
            report->name, job->layout->weight_count,
            bytes_text(job->layout->weight_count * sizeof(float)).text, job->layout->block_count,
            plural(job->layout->block_count), job->lanes, plural(job->lanes), lane_samples,
            lane_samples > 1.0 ? "s" : "");
    fprintf(out, "exchange  %s, codec %s", consistency_names[job->consistency],
            codec_names[job->codec]);
    if (job->consistency == CONSISTENCY_LOCAL)
        fprintf(out, ", %u steps a round", job->local_steps);
    fprintf(out, "%s", job->is_encrypted ? ", with keys" : "");
    fprintf(out, "\nspeed     %.3g ms a lane, %.4g samples/s of one thread of %u (%s)\n",
            speed->lane_s * 1e3, lane_samples / speed->lane_s, job->threads,
            report->speed_source);
    fprintf(out, "network   %s each way of every machine, %.3g ms there and back (%s)\n", rate,
            cluster->round_trip_s * 1e3, report->link_source);
    if (cluster->cores > 0)
        fprintf(out, "cores     all processes share %u\n", cluster->cores);
    fprintf(out, "alone     %.3g ms a step, %.4g samples/s: all on one such machine\n\n",
            job->batch / report->advice->one_machine * 1e3, report->advice->one_machine);
}

static bool is_printed(const struct plan_report *report, const struct plan_row *row)
{
    uint32_t most = report->inputs->cluster.workers;
    bool is_power = (row->workers & (row->workers - 1)) == 0;
    return row->workers == most || most <= ROWS_ALL || is_power;
}

static void print_rows(FILE *out, const struct plan_report *report)
{
    fprintf(out, "%7s %7s %11s %10s %9s %10s  %s\n", "workers", "servers", "ms a step",
            "samples/s", "speed-up", "efficiency", "what costs most");
    for (size_t i = 0; i < report->row_count; i++) {
        const struct plan_row *row = &report->rows[i];
        const struct plan_prediction *p = &row->prediction;
        if (!is_printed(report, row))
            continue;
        fprintf(out, "%7u %7u %11.4g %10.4g %9.2f %9.0f%%  %s, %.0f %%\n", row->workers,
                row->servers, p->step_s * 1e3, p->samples_per_s, row->speedup,
                row->efficiency * 100.0, plan_part_words(p->bottleneck),
                p->share[p->bottleneck] * 100.0);
    }
}

static void print_bytes(FILE *out, const struct plan_report *report)
{
    const struct plan_prediction *now = &report->advice->now;
    const struct plan_traffic *traffic = &now->traffic;
    bool is_local = report->inputs->job.consistency == CONSISTENCY_LOCAL;
    fprintf(out, "\nwith %u worker%s and %u server%s, in one %s\n", report->inputs->cluster.workers,
            plural(report->inputs->cluster.workers), report->inputs->cluster.servers,
            plural(report->inputs->cluster.servers), is_local ? "round" : "step");
    fprintf(out, "  a worker sends %s and gets %s\n", bytes_text(traffic->worker_up).text,
            bytes_text(traffic->worker_down).text);
    fprintf(out, "  a server gets %s and sends %s", bytes_text(traffic->server_in).text,
            bytes_text(traffic->server_out).text);
    if (traffic->copied > 0)
        fprintf(out, ", copies for other servers included: %s of all",
                bytes_text(traffic->copied).text);
    fprintf(out, "\nmemory, about\n  worker %s, server %s, coordinator %s\n",
            bytes_text(now->worker_bytes).text, bytes_text(now->server_bytes).text,
            bytes_text(now->coordinator_bytes).text);
}

void plan_report_print(FILE *out, const struct plan_report *report)
{
    const struct advice *advice = report->advice;
    print_job(out, report);
    print_rows(out, report);
    print_bytes(out, report);
    fprintf(out, "\n%-20s %11s %9s\n", "instead", "ms a step", "speed-up");
    for (size_t i = 0; i < advice->option_count; i++)
        fprintf(out, "%-20s %11.4g %9.2f\n", advice->options[i].text,
                advice->options[i].prediction.step_s * 1e3, advice->options[i].speedup);
    fprintf(out, "\n%s\n", advice->text);
}

/* Puts value under key unless an earlier one failed. */
static void put(int *err, struct document *object, const char *key, struct document *value)
{
    if (*err != 0)
        document_destroy(value);
    else
        *err = document_put(object, key, value);
}

static struct document *whole(uint64_t value)
{
    return document_whole((int64_t)value);
}

static struct document *share_document(int *err, const struct plan_prediction *prediction)
{
    struct document *object = document_object();
    for (enum plan_part part = 0; part < PLAN_PART_COUNT; part++)
        put(err, object, plan_part_key(part), document_real(prediction->share[part]));
    return object;
}

static struct document *bytes_document(int *err, const struct plan_traffic *traffic)
{
    struct document *object = document_object();
    put(err, object, "worker_up", whole(traffic->worker_up));
    put(err, object, "worker_down", whole(traffic->worker_down));
    put(err, object, "server_in", whole(traffic->server_in));
    put(err, object, "server_out", whole(traffic->server_out));
    put(err, object, "all_pushed", whole(traffic->pushed));
    put(err, object, "all_pulled", whole(traffic->pulled));
    put(err, object, "all_copied", whole(traffic->copied));
    return object;
}

static struct document *memory_document(int *err, const struct plan_prediction *prediction)
{
    struct document *object = document_object();
    put(err, object, "worker", whole(prediction->worker_bytes));
    put(err, object, "server", whole(prediction->server_bytes));
    put(err, object, "coordinator", whole(prediction->coordinator_bytes));
    return object;
}

static void put_prediction(int *err, struct document *object, const struct plan_prediction *p)
{
    put(err, object, "step_ms", document_real(p->step_s * 1e3));
    put(err, object, "samples_per_s", document_real(p->samples_per_s));
    put(err, object, "bottleneck", document_text(plan_part_key(p->bottleneck)));
    put(err, object, "saved_without", share_document(err, p));
    put(err, object, "bytes_per_round", bytes_document(err, &p->traffic));
    put(err, object, "memory_bytes", memory_document(err, p));
}

static struct document *row_document(int *err, const struct plan_row *row)
{
    struct document *object = document_object();
    put(err, object, "workers", document_whole(row->workers));
    put(err, object, "servers", document_whole(row->servers));
    put(err, object, "speedup", document_real(row->speedup));
    put(err, object, "efficiency", document_real(row->efficiency));
    put(err, object, "idle_workers", document_whole(row->prediction.idle_workers));
    put_prediction(err, object, &row->prediction);
    return object;
}

static struct document *rows_document(int *err, const struct plan_report *report)
{
    struct document *array = document_array();
    for (size_t i = 0; i < report->row_count && *err == 0; i++)
        *err = document_append(array, row_document(err, &report->rows[i]));
    return array;
}

static struct document *options_document(int *err, const struct advice *advice)
{
    struct document *array = document_array();
    for (size_t i = 0; i < advice->option_count && *err == 0; i++) {
        const struct advice_option *option = &advice->options[i];
        struct document *object = document_object();
        put(err, object, "change", document_text(option->text));
        put(err, object, "is_advised", document_truth(option->is_named));
        put(err, object, "speedup", document_real(option->speedup));
        put(err, object, "step_ms", document_real(option->prediction.step_s * 1e3));
        if (*err != 0)
            document_destroy(object);
        else
            *err = document_append(array, object);
    }
    return array;
}

static void put_job(int *err, struct document *object, const struct plan_report *report)
{
    const struct plan_job *job = &report->inputs->job;
    put(err, object, "job", document_text(report->name));
    put(err, object, "weights", whole(job->layout->weight_count));
    put(err, object, "blocks", whole(job->layout->block_count));
    put(err, object, "lanes", document_whole(job->lanes));
    put(err, object, "batch", document_whole(job->batch));
    put(err, object, "threads", document_whole(job->threads));
    put(err, object, "consistency", document_text(consistency_names[job->consistency]));
    put(err, object, "codec", document_text(codec_names[job->codec]));
    put(err, object, "round_steps", document_whole(plan_round_steps(job)));
    put(err, object, "encrypted", document_truth(job->is_encrypted));
}

struct document *plan_report_document(const struct plan_report *report)
{
    const struct plan_inputs *inputs = report->inputs;
    struct document *object = document_object();
    int err = object == NULL ? ERR_NOMEM : 0;
    put_job(&err, object, report);
    put(&err, object, "lane_ms", document_real(inputs->speed.lane_s * 1e3));
    put(&err, object, "speed", document_text(report->speed_source));
    put(&err, object, "bytes_per_s", document_real(inputs->cluster.bytes_per_s));
    put(&err, object, "round_trip_ms", document_real(inputs->cluster.round_trip_s * 1e3));
    put(&err, object, "network", document_text(report->link_source));
    put(&err, object, "shared_cores", document_whole(inputs->cluster.cores));
    put(&err, object, "one_machine_samples_per_s", document_real(report->advice->one_machine));
    put(&err, object, "rows", rows_document(&err, report));
    put(&err, object, "instead", options_document(&err, report->advice));
    put(&err, object, "advice", document_text(report->advice->text));
    if (err == 0)
        return object;
    document_destroy(object);
    return NULL;
}
