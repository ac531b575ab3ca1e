#include "tests/sim/seeds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t run_count;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

struct seeds seeds_of(const char *test, uint64_t count)
{
    const char *only = getenv("TALWEG_SIM_TEST");
    struct seeds seeds = {.test = test, .first = number_of("TALWEG_SIM_FIRST", 1)};
    seeds.end = seeds.first + number_of("TALWEG_SIM_SEEDS", count);
    if (only != NULL && strcmp(only, test) != 0)
        seeds.end = seeds.first;
    return seeds;
}

struct sim_spec seed_spec(uint64_t seed, uint32_t servers, uint32_t workers)
{
    struct sim_spec spec = {.seed = seed,
                            .settings = sim_settings(servers, workers),
                            .delay_ms = 1 + (uint32_t)(seed * 7 % 30),
                            .is_fifo = seed % 2 == 0,
                            .absent_worker = -1,
                            .silent_worker = -1};
    spec.settings.exchange.overlap = seed % 4 != 1;
    return spec;
}

bool seed_reference(const struct sim_spec *like, struct sim_history *history_out,
                    char *digest_out)
{
    struct sim_spec spec = seed_spec(2, 1, 1);
    struct sim_result result;
    spec.settings = like->settings;
    spec.settings.cluster.servers = spec.settings.cluster.workers = 1;
    spec.settings.cluster.shards = 1;
    spec.settings.cluster.replicas = 0;
    spec.nan_percent = like->nan_percent;
    spec.record = history_out;
    sim_run(&spec, &result);
    memcpy(digest_out, result.progress.digest, HEX_BYTES);
    bool has_ended = result.progress.phase == PHASE_FINISHED && result.violation[0] == 0 &&
                     strlen(digest_out) == 64;
    if (!has_ended)
        printf("\n    undisturbed: %s %s%s\n", phase_text(result.progress.phase),
               result.progress.error, result.violation);
    return has_ended;
}

void seed_print(const struct seeds *seeds, const struct sim_spec *spec,
                const struct sim_result *result)
{
    const struct settings *settings = &spec->settings;
    printf("\n    run %" PRIu64 ": TALWEG_SIM_TEST=%s TALWEG_SIM_FIRST=%" PRIu64
           " TALWEG_SIM_SEEDS=1: %u servers x %u shards, %u workers, %u faults: %s%s%s %s; "
           "ended at %" PRIu64 " ms, last fault %" PRIu64 " ms, view %u era %u, refused %" PRIu64
           ", in flight %" PRIu64 ", parked %" PRIu64 "\n", run_count, seeds->test,
           spec->seed, settings->cluster.servers, settings->cluster.shards,
           settings->cluster.workers, result->fault_count,
           result->violation, result->violation[0] == 0 ? "" : "; ",
           phase_text(result->progress.phase), result->progress.error, result->end_ms,
           result->calm_ms, result->progress.view, result->progress.era, result->refused_count,
           result->in_flight_max, result->parked_max);
    fflush(stdout);
    if (getenv("TALWEG_SIM_STOP") != NULL)
        _Exit(1);
}

/* Credit bounds what is on its way, but lanes dealt in mid-step are pushed at once, beside it, of
 * every block that has been admitted.  The ceiling bounds of how many blocks anything is parked,
 * beside the one whose turn it is. */
static bool is_bounded(const struct sim_spec *spec, const struct sim_result *result)
{
    const struct settings *settings = &spec->settings;
    uint64_t leaves = (uint64_t)settings->job.lanes * settings->exchange.block_bytes;
    uint64_t admitted = settings->exchange.credit_bytes / settings->exchange.block_bytes + 1;
    uint64_t begun = settings->exchange.parked_bytes / settings->exchange.block_bytes + 1;
    return result->in_flight_max <= admitted * leaves &&
           result->parked_max <= begun * leaves;
}

/* Who is asked to stop ends the job, with a checkpoint, when nobody else is there just then. */
static bool has_ended_well(const struct sim_result *result, const char *digest)
{
    if (result->progress.phase == PHASE_STOPPED)
        return result->has_drained;
    return result->progress.phase == PHASE_FINISHED &&
           (digest[0] == 0 || strcmp(result->progress.digest, digest) == 0);
}

bool seed_holds(const struct seeds *seeds, const struct sim_spec *spec, const char *digest,
                uint64_t within_ms)
{
    struct sim_result result;
    sim_run(spec, &result);
    run_count++;
    bool is_well = result.violation[0] == 0 && has_ended_well(&result, digest) &&
                   result.end_ms <= result.calm_ms + within_ms &&
                   is_bounded(spec, &result) &&
                   !(spec->faults.is_gentle && result.progress.era > 1) &&
                   (spec->faults.count > 0 || spec->drop_percent > 0 || result.refused_count == 0);
    if (!is_well)
        seed_print(seeds, spec, &result);
    return is_well;
}
