#include "deploy/bench/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Puts value under key unless an earlier one failed. */
static void put(int *err, struct document *object, const char *key, struct document *value)
{
    if (*err != 0)
        document_destroy(value);
    else
        *err = document_put(object, key, value);
}

static double over(uint64_t bytes, uint64_t model_bytes)
{
    return (double)bytes / (double)model_bytes;
}

static struct document *sides(int *err, const struct bench_result *result,
                              struct document *(*value_of)(const struct bench_side *,
                                                           const struct bench_result *))
{
    struct document *object = document_object();
    put(err, object, "worker", value_of(&result->worker, result));
    put(err, object, "server", value_of(&result->server, result));
    return object;
}

static struct document *ratio_of(const struct bench_side *side, const struct bench_result *result)
{
    return document_real(over(side->peak_bytes, result->model_bytes));
}

static struct document *peak_of(const struct bench_side *side, const struct bench_result *result)
{
    (void)result;
    return document_whole((int64_t)side->peak_bytes);
}

static struct document *base_of(const struct bench_side *side, const struct bench_result *result)
{
    (void)result;
    return document_whole((int64_t)side->base_bytes);
}

static struct document *cpu_of(const struct bench_side *side, const struct bench_result *result)
{
    (void)result;
    return document_real(side->cpu_s_per_gb);
}

static struct document *limits_document(int *err, const struct limits *limits)
{
    struct document *object = document_object();
    char key[64];
    for (enum limit_kind kind = 0; kind < LIMIT_COUNT; kind++) {
        snprintf(key, sizeof(key), "%s_gbs", limit_key(kind));
        put(err, object, key, document_real(limit_gbs(limits, kind)));
    }
    for (enum limit_kind kind = 0; kind < LIMIT_COUNT; kind++) {
        snprintf(key, sizeof(key), "%s_cpu_s_per_gb", limit_key(kind));
        put(err, object, key, document_real(limit_cpu_s_per_gb(limits, kind)));
    }
    put(err, object, "zmq_rtt_us", document_real(limit_rtt_us(limits)));
    return object;
}

static const char *optimizer_name(const struct bench_case *what)
{
    return what->optimizer == OPTIMIZER_ADAM ? "adam" : "none";
}

static void put_case(int *err, struct document *object, const struct bench_case *what,
                     const struct bench_result *result)
{
    put(err, object, "transport", document_text(bench_transport_name(what->transport)));
    put(err, object, "servers", document_whole(what->servers));
    put(err, object, "shards", document_whole(what->shards));
    put(err, object, "workers", document_whole(what->workers));
    put(err, object, "lanes", document_whole(result->lanes));
    put(err, object, "model", document_text(bench_model_name(what->model)));
    put(err, object, "model_bytes", document_whole((int64_t)result->model_bytes));
    put(err, object, "block_bytes", document_whole(what->block_bytes));
    put(err, object, "blocks", document_whole(result->block_count));
    put(err, object, "optimizer", document_text(optimizer_name(what)));
}

struct document *bench_report_document(const struct bench_case *what,
                                       const struct bench_result *result,
                                       const struct limits *limits)
{
    struct document *object = document_object();
    int err = object == NULL ? ERR_NOMEM : 0;
    put_case(&err, object, what, result);
    put(&err, object, "seconds", document_real(result->wall_s));
    put(&err, object, "steps", document_whole((int64_t)result->step_count));
    put(&err, object, "goodput_gbs", document_real(result->goodput_gbs));
    put(&err, object, "step_p50_us", document_real(result->step_p50_us));
    put(&err, object, "step_p99_us", document_real(result->step_p99_us));
    struct document *cpu = sides(&err, result, cpu_of);
    put(&err, cpu, "coordinator", document_real(result->coordinator.cpu_s_per_gb));
    put(&err, object, "cpu_s_per_gb", cpu);
    put(&err, object, "rss_over_model", sides(&err, result, ratio_of));
    put(&err, object, "peak_rss_bytes", sides(&err, result, peak_of));
    put(&err, object, "base_rss_bytes", sides(&err, result, base_of));
    if (limits != NULL)
        put(&err, object, "limit", limits_document(&err, limits));
    if (err == 0)
        return object;
    document_destroy(object);
    return NULL;
}

static void bytes_text(uint64_t bytes, char out[32])
{
    if (bytes >= 1 << 20)
        snprintf(out, 32, "%.4g MiB", (double)bytes / (1 << 20));
    else if (bytes >= 1 << 10)
        snprintf(out, 32, "%.4g KiB", (double)bytes / (1 << 10));
    else
        snprintf(out, 32, "%" PRIu64 " bytes", bytes);
}

static void print_case(FILE *out, const struct bench_case *what,
                       const struct bench_result *result)
{
    char model[32], block[32];
    bytes_text(result->model_bytes, model);
    bytes_text(what->block_bytes, block);
    fprintf(out, "%s, %u server%s of %u shard%s, %u worker%s, optimizer %s\n",
            bench_transport_name(what->transport), what->servers, what->servers == 1 ? "" : "s",
            what->shards, what->shards == 1 ? "" : "s", what->workers,
            what->workers == 1 ? "" : "s", optimizer_name(what));
    fprintf(out, "model %s of %s in %u blocks of at most %s; %" PRIu64 " steps in %.1f s\n\n",
            bench_model_name(what->model), model, result->block_count, block, result->step_count,
            result->wall_s);
}

static void print_result(FILE *out, const struct bench_result *result)
{
    char worker[32], server[32], worker_base[32], server_base[32];
    bytes_text(result->worker.peak_bytes, worker);
    bytes_text(result->server.peak_bytes, server);
    bytes_text(result->worker.base_bytes, worker_base);
    bytes_text(result->server.base_bytes, server_base);
    fprintf(out, "goodput          %8.2f GB/s, pushed plus pulled\n", result->goodput_gbs);
    fprintf(out, "step             %8.0f us p50, %.0f us p99\n", result->step_p50_us,
            result->step_p99_us);
    fprintf(out,
            "processor time   %8.3f s/GB: workers %.3f, servers %.3f, coordinator %.3f\n",
            result->worker.cpu_s_per_gb + result->server.cpu_s_per_gb +
                result->coordinator.cpu_s_per_gb,
            result->worker.cpu_s_per_gb, result->server.cpu_s_per_gb,
            result->coordinator.cpu_s_per_gb);
    fprintf(out, "memory, worker   %8.2f x the model: %s, of which %s without it\n",
            over(result->worker.peak_bytes, result->model_bytes), worker, worker_base);
    fprintf(out, "memory, servers  %8.2f x the model: %s, of which %s without it\n",
            over(result->server.peak_bytes, result->model_bytes), server, server_base);
}

static void print_limits(FILE *out, const struct bench_case *what,
                         const struct bench_result *result, const struct limits *limits)
{
    enum limit_wire wire = bench_wire(what->transport);
    double cpu = result->worker.cpu_s_per_gb + result->server.cpu_s_per_gb;
    fprintf(out, "\n%-50s %9s %9s %12s %9s\n", "this machine at best, in the same run", "GB/s",
            "s/GB", "goodput / it", "time / it");
    for (enum limit_kind kind = 0; kind < LIMIT_COUNT; kind++) {
        double gbs = limit_gbs(limits, kind), used = limit_cpu_s_per_gb(limits, kind);
        fprintf(out, "%-50s %9.2f %9.3f %12.2f %9.2f\n", limit_label(kind, wire), gbs, used,
                result->goodput_gbs / gbs, cpu / used);
    }
    double rtt_us = limit_rtt_us(limits);
    fprintf(out, "%-50s %6.0f us %32.2f\n", "ZeroMQ, 8 bytes there and back, p50; step p50 / it",
            rtt_us, result->step_p50_us / rtt_us);
}

void bench_report_print(FILE *out, const struct bench_case *what,
                        const struct bench_result *result, const struct limits *limits)
{
    print_case(out, what, result);
    print_result(out, result);
    if (limits != NULL)
        print_limits(out, what, result, limits);
}
