#include "deploy/bench/step_report.h"

#include <inttypes.h>

/* What one operator took of a step, and how fast it was. */
struct op_figures {
    double forward_ms, backward_ms;
    double forward_gflops, backward_gflops; /* of all threads together; 0: it has no products */
};

static double rate(uint64_t flops, double ms)
{
    return ms > 0.0 ? (double)flops / (ms * 1e6) : 0.0;
}

static double ms_of(const struct step_measured *m, double ns)
{
    return ns / (double)m->step_count * 1e-6;
}

static struct op_figures figures_of(const struct step_measured *m, size_t op_idx)
{
    uint64_t forward, backward;
    struct op_figures figures = {.forward_ms = ms_of(m, m->profile->forward_ns[op_idx]),
                                 .backward_ms = ms_of(m, m->profile->backward_ns[op_idx])};
    graph_op_flops(m->graph, op_idx, &forward, &backward);
    figures.forward_gflops = rate(forward * m->batch, figures.forward_ms);
    figures.backward_gflops = rate(backward * m->batch, figures.backward_ms);
    return figures;
}

static struct op_figures sums_of(const struct step_measured *m)
{
    struct op_figures sum = {0};
    for (size_t i = 0; i < graph_op_count(m->graph); i++) {
        struct op_figures one = figures_of(m, i);
        sum.forward_ms += one.forward_ms;
        sum.backward_ms += one.backward_ms;
    }
    return sum;
}

static double gflops_of(const struct step_measured *m)
{
    return rate(graph_flops(m->graph) * m->batch, m->median_s * 1e3);
}

/* Puts value under key unless an earlier one failed. */
static void put(int *err, struct document *object, const char *key, struct document *value)
{
    if (*err != 0)
        document_destroy(value);
    else
        *err = document_put(object, key, value);
}

static void put_real(int *err, struct document *object, const char *key, double value)
{
    put(err, object, key, document_real(value));
}

static void put_whole(int *err, struct document *object, const char *key, uint64_t value)
{
    put(err, object, key, document_whole((int64_t)value));
}

static struct document *operators_document(int *err, const struct step_measured *m)
{
    struct document *rows = document_array();
    for (size_t i = 0; i < graph_op_count(m->graph); i++) {
        struct op_figures figures = figures_of(m, i);
        struct document *row = document_object();
        put(err, row, "name", document_text(m->model->ops[i].name));
        put(err, row, "op", document_text(op_kind_name(m->model->ops[i].kind)));
        put_real(err, row, "forward_ms", figures.forward_ms);
        put_real(err, row, "backward_ms", figures.backward_ms);
        put_real(err, row, "forward_gflops", figures.forward_gflops);
        put_real(err, row, "backward_gflops", figures.backward_gflops);
        if (*err != 0)
            document_destroy(row);
        else
            *err = document_append(rows, row);
    }
    return rows;
}

static void put_times(int *err, struct document *object, const struct step_measured *m)
{
    struct op_figures sums = sums_of(m);
    put_real(err, object, "ms", m->median_s * 1e3);
    put_real(err, object, "min_ms", m->min_s * 1e3);
    put_real(err, object, "p90_ms", m->p90_s * 1e3);
    put_real(err, object, "cpu_ms", m->cpu_s * 1e3);
    put_real(err, object, "samples_per_s", m->batch / m->median_s);
    put_real(err, object, "forward_ms", sums.forward_ms);
    put_real(err, object, "loss_ms", ms_of(m, m->profile->loss_ns));
    put_real(err, object, "backward_ms", sums.backward_ms);
    put_real(err, object, "optimizer_ms", m->update_s * 1e3);
    put_whole(err, object, "flops", graph_flops(m->graph) * m->batch);
    put_real(err, object, "gflops", gflops_of(m));
    put_real(err, object, "peak_gflops", m->peak_gflops);
    put_real(err, object, "of_peak", gflops_of(m) / m->peak_gflops);
}

struct document *step_report_document(const struct step_measured *m)
{
    struct document *object = document_object();
    int err = object == NULL ? ERR_NOMEM : 0;
    put(&err, object, "job", document_text(m->name));
    put(&err, object, "kernels", document_text(m->kernels));
    put_whole(&err, object, "threads", m->threads);
    put_whole(&err, object, "lanes", m->lanes);
    put_whole(&err, object, "batch", m->batch);
    put_whole(&err, object, "weights", graph_weight_count(m->graph));
    put_whole(&err, object, "steps", m->step_count);
    put_times(&err, object, m);
    put_whole(&err, object, "peak_rss_bytes", m->peak_rss_bytes);
    put_whole(&err, object, "planned_bytes", m->planned_bytes);
    put_real(&err, object, "ready_s", m->ready_s);
    put_real(&err, object, "first_step_s", m->first_step_s);
    put_whole(&err, object, "ready_at_ms", m->ready_at_ms);
    put_whole(&err, object, "first_step_at_ms", m->first_step_at_ms);
    put_real(&err, object, "first_loss", m->first_loss);
    put_real(&err, object, "last_loss", m->last_loss);
    put(&err, object, "operators", operators_document(&err, m));
    if (err == 0)
        return object;
    document_destroy(object);
    return NULL;
}

static void print_rate(FILE *out, double gflops)
{
    if (gflops > 0.0)
        fprintf(out, " %8.1f", gflops);
    else
        fprintf(out, " %8s", "");
}

static void print_operators(FILE *out, const struct step_measured *m)
{
    fprintf(out, "\n%-30s %-16s %9s %9s %6s %8s %8s\n", "operator", "", "forward", "backward",
            "share", "GFLOP/s", "GFLOP/s");
    for (size_t i = 0; i < graph_op_count(m->graph); i++) {
        struct op_figures figures = figures_of(m, i);
        double ms = figures.forward_ms + figures.backward_ms;
        fprintf(out, "%-30.30s %-16.16s %9.3f %9.3f %5.1f%%", m->model->ops[i].name,
                op_kind_name(m->model->ops[i].kind), figures.forward_ms, figures.backward_ms,
                ms / (m->median_s * 1e3) * 100.0);
        print_rate(out, figures.forward_gflops);
        print_rate(out, figures.backward_gflops);
        fputc('\n', out);
    }
}

void step_report_print(FILE *out, const struct step_measured *m, bool by_operator)
{
    struct op_figures sums = sums_of(m);
    fprintf(out, "%s: %zu weights, batch of %u in %u lane%s on %u thread%s (%s); %zu steps\n",
            m->name, graph_weight_count(m->graph), m->batch, m->lanes, m->lanes == 1 ? "" : "s",
            m->threads, m->threads == 1 ? "" : "s", m->kernels, m->step_count);
    fprintf(out,
            "step         %10.3f ms median, %.3f least, %.3f p90, %.3f of processors; "
            "%.0f samples/s\n",
            m->median_s * 1e3, m->min_s * 1e3, m->p90_s * 1e3, m->cpu_s * 1e3,
            m->batch / m->median_s);
    fprintf(out,
            "of that      %10.3f ms forward, %.3f loss, %.3f backward, %.3f optimizer (means)\n",
            sums.forward_ms, ms_of(m, m->profile->loss_ns), sums.backward_ms, m->update_s * 1e3);
    fprintf(out, "roofline     %10.1f GFLOP/s of %.1f at most: %.0f %%\n", gflops_of(m),
            m->peak_gflops, gflops_of(m) / m->peak_gflops * 100.0);
    fprintf(out, "memory       %10.1f MiB at most, %.1f of it planned\n",
            (double)m->peak_rss_bytes / (1 << 20), (double)m->planned_bytes / (1 << 20));
    fprintf(out, "start        %10.3f s to the first step, %.3f to its end\n", m->ready_s,
            m->first_step_s);
    fprintf(out, "loss         %10.4f before the first step, %.4f before the last\n", m->first_loss,
            m->last_loss);
    if (by_operator)
        print_operators(out, m);
}
