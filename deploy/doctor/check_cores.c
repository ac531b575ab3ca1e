#include "deploy/doctor/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/simd.h"
#include "deploy/doctor/cgroup.h"
#include "worker/nn/gemm.h"
#include "worker/nn/gemm_parts.h"

enum { MATRIX = 384, PRODUCTS = 6 };

/* Shares of the cores that are worth a word. */
static const double busy_share = 0.4, stolen_share = 0.02;

/* Times as fast that are. */
static const double worthwhile = 1.1;

/* Threads that will compute on this machine. */
static unsigned threads_here(const struct patient *patient)
{
    const struct settings *settings = patient->settings;
    unsigned workers = settings->cluster.workers * settings->worker.threads;
    unsigned shards = settings->cluster.shards;
    switch (patient->role) {
    case ROLE_ALL:
        return workers + settings->cluster.servers * shards;
    case ROLE_SERVER:
        return shards;
    case ROLE_WORKER:
        return settings->worker.threads;
    default:
        return 1;
    }
}

static void check_threads(const struct patient *patient, struct findings *findings)
{
    const struct load *load = &patient->load;
    unsigned threads = threads_here(patient);
    bool is_fine = threads <= load->core_count;
    enum finding_level bad = patient->role == ROLE_ALL ? FINDING_NOTE : FINDING_WARNING;
    findings_say(findings, FAMILY_CORES, is_fine ? FINDING_OK : bad,
                 "%u thread%s for %u cores%s", threads, threads == 1 ? "" : "s", load->core_count,
                 load->core_count < load->machine_count ? ", which are not all that there are"
                                                        : "");
    if (!is_fine)
        findings_why(findings, "They take turns: more threads than cores gain nothing.");
    if (!is_fine && load->core_count < load->machine_count)
        findings_do(findings, "This process may use %u of %u cores (taskset, a cpuset, Slurm): ask "
                              "for more, or set worker.threads lower.",
                    load->core_count, load->machine_count);
    else if (!is_fine)
        findings_do(findings, "Fewer workers here, or a lower worker.threads.");
    if (load->physical_count > 0 && load->physical_count < load->core_count &&
        threads > load->physical_count) {
        findings_say(findings, FAMILY_CORES, FINDING_NOTE,
                     "%u cores are %u physical ones with two threads each", load->core_count,
                     load->physical_count);
        findings_why(findings, "Two threads of one core multiply matrices hardly faster than one.");
    }
}

static void check_quota(const struct patient *patient, struct findings *findings)
{
    struct cgroup group = cgroup_own();
    if (group.cores <= 0)
        return;
    bool is_fine = group.cores >= threads_here(patient);
    findings_say(findings, FAMILY_CORES, is_fine ? FINDING_OK : FINDING_WARNING,
                 "the control group lets this process have %.2g cores' time", group.cores);
    if (is_fine)
        return;
    findings_why(findings, "%u threads need more: they are stopped in each period (%llu of %llu so "
                           "far).", threads_here(patient),
                 (unsigned long long)group.throttled_count,
                 (unsigned long long)group.period_count);
    findings_do(findings, "Raise the limit (docker --cpus, resources.limits.cpu) or set "
                          "worker.threads lower.");
}

static void check_load(const struct patient *patient, struct findings *findings)
{
    const struct load *load = &patient->load;
    struct members_here here = patient_members(patient);
    if (load->busy < 0) {
        findings_say(findings, FAMILY_CORES, FINDING_UNCHECKED,
                     "who else computes here: /proc/stat cannot be read");
        return;
    }
    if (load->stolen > stolen_share) {
        findings_say(findings, FAMILY_CORES, FINDING_WARNING,
                     "the hypervisor took %.0f %% of this machine's cores just now",
                     100 * load->stolen);
        findings_why(findings, "Other virtual machines share them: steps become uneven.");
        findings_do(findings, "A machine with cores of its own, or fewer threads.");
    }
    bool is_shared = load->busy > busy_share && here.count == 0;
    findings_say(findings, FAMILY_CORES, is_shared ? FINDING_WARNING : FINDING_OK,
                 "%.0f %% of the cores are busy%s, load average %.1f", 100 * load->busy,
                 here.count ? " with this run and others" : "", load->average);
    if (is_shared) {
        findings_why(findings, "Others compute here: a step waits for its slowest worker.");
        findings_do(findings, "See who: top.  Fewer worker.threads leave them their cores.");
    }
}

/* Of one thread, in 1e9 multiplications and additions a second: the best of a few products. */
static double measure_speed(enum products products)
{
    struct blas_shape shape = {MATRIX, MATRIX, MATRIX};
    size_t count = (size_t)MATRIX * MATRIX;
    float *A = calloc(3 * count + gemm_scratch_count(shape, products), sizeof(*A));
    if (!A)
        return 0;
    struct gemm product = {.shape = shape,
                           .A = {A, MATRIX, BLAS_PLAIN},
                           .B = {A + count, MATRIX, BLAS_PLAIN},
                           .C = A + 2 * count,
                           .C_stride = MATRIX,
                           .products = products,
                           .scratch = A + 3 * count};
    double best_us = 0;
    blas_start();
    for (int i = 0; i < PRODUCTS; i++) {
        uint64_t begin_us = clock_now_us();
        gemm(&product);
        double took_us = (double)(clock_now_us() - begin_us + 1);
        if (i > 0 && (best_us == 0 || took_us < best_us)) /* the first takes its buffers */
            best_us = took_us;
    }
    free(A);
    return best_us == 0 ? 0 : 2.0 * MATRIX * (double)count / best_us / 1000;
}

static const char *best_level(void)
{
    for (int level = SIMD_LEVEL_COUNT - 1; level > SIMD_BASE; level--)
        if (simd_kernels_of((enum simd_level)level))
            return simd_level_text((enum simd_level)level);
    return simd_level_text(SIMD_BASE);
}

/* Products of model.products = "bf16x3" beside those in f32, whose speed is known. */
static void check_parts(enum products wanted, double speed, struct findings *findings)
{
    bool has_tiles = gemm_has_tiles(), is_wanted = wanted == PRODUCTS_BF16X3;
    if (!has_tiles && !is_wanted)
        return;
    double parts_speed = measure_speed(PRODUCTS_BF16X3);
    findings_say(findings, FAMILY_CORES, has_tiles ? FINDING_OK : FINDING_WARNING,
                 "products in bf16x3 %s, %.0f GFLOP/s a thread",
                 has_tiles ? "by AMX" : "without AMX", parts_speed);
    if (!has_tiles) {
        findings_why(findings, "This processor has no AMX, or the system keeps it: the bits are "
                               "the same, the time is not.");
        findings_do(findings, "model.products = \"f32\" is faster here.");
    } else if (!is_wanted && parts_speed > worthwhile * speed) {
        findings_do(findings, "model.products = \"bf16x3\" is faster here, no less exact, and a "
                              "run of other bits.");
    }
}

static void check_products(const struct patient *patient, struct findings *findings)
{
    char library[64] = "Talweg";
    const char *asked = getenv("OPENBLAS_NUM_THREADS"), *wanted = patient->settings->worker.kernels;
    if (!patient_is(patient, ROLE_WORKER))
        return;
    if (!gemm_is_own())
        blas_library(library, sizeof(library));
    if (!gemm_has_room(patient->settings->worker.threads)) {
        findings_say(findings, FAMILY_CORES, FINDING_ERROR,
                     "no address space for the matrix products of %u threads",
                     patient->settings->worker.threads);
        findings_why(findings, "OpenBLAS takes 64 MiB of it a thread.");
        findings_do(findings, "Raise ulimit -v, or set worker.threads lower.");
        return;
    }
    double speed = measure_speed(PRODUCTS_F32);
    findings_say(findings, FAMILY_CORES, FINDING_OK,
                 "matrix products by %s's %s kernels, %.0f GFLOP/s a thread; vectors %s", library,
                 gemm_is_own() ? "own" : gemm_kernels(), speed, best_level());
    if (gemm_is_own())
        check_parts(patient->settings->model.products, speed, findings);
    if (gemm_is_own() && strcmp(wanted, "auto") != 0) {
        findings_say(findings, FAMILY_CORES, FINDING_NOTE,
                     "worker.kernels is \"%s\", which changes nothing on this processor", wanted);
        findings_why(findings, "It chooses among OpenBLAS's kernels, and Talweg's own have the "
                               "same bits on each x86-64 processor.");
    }
    if (asked && strcmp(asked, "1") != 0 && asked[0]) {
        findings_say(findings, FAMILY_CORES, FINDING_NOTE,
                     "OPENBLAS_NUM_THREADS is %s, which changes nothing", asked);
        findings_why(findings, "A product is computed by one thread, so that its bits are always "
                               "the same.");
        findings_do(findings, "worker.threads sets how many lanes are computed at a time.");
    }
}

void check_cores(struct patient *patient, struct findings *findings)
{
    check_threads(patient, findings);
    check_quota(patient, findings);
    check_load(patient, findings);
    check_products(patient, findings);
}
