#ifndef TESTS_FUZZ_FUZZ_COORDINATOR_H
#define TESTS_FUZZ_FUZZ_COORDINATOR_H

/* fuzz_coordinator - a small job's coordinator, for the fuzzers of peers and of the journal.
 *
 * Owner:    the fuzzer.  Surprise: none.
 */
#include "ps/coordinator.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_PRINT "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

enum { FUZZ_LANES = 4, FUZZ_BLOCK_BYTES = 16, FUZZ_STORE = 40 };

static const struct run_id fuzz_run = {1, 2};

static inline void fuzz_coordinator_settings(unsigned byte, struct settings *out)
{
    *out = (struct settings){0};
    out->job.lanes = FUZZ_LANES;
    out->job.batch = 8;
    out->job.steps = 1 + (byte & 3);
    out->job.eval_every = byte >> 2 & 1;
    out->job.on_nonfinite = (byte & 8) != 0 ? NONFINITE_SKIP : NONFINITE_STOP;
    out->exchange.block_bytes = FUZZ_BLOCK_BYTES;
    out->exchange.consistency = (byte & 16) != 0 ? CONSISTENCY_SSP : CONSISTENCY_BSP;
    out->cluster.servers = out->cluster.workers = 2;
    out->cluster.shards = 1;
    out->cluster.replicas = byte >> 5 & 1;
    out->cluster.wait_s = 5;
    out->cluster.silence_s = 3;
    out->cluster.silence_floor_s = 1;
    out->cluster.answer_s = 4;
    out->cluster.give_up_s = 6;
    out->checkpoint.every = byte >> 6;
    out->log.every = 1;
}

static inline struct coordinator *fuzz_make_coordinator(const struct settings *settings)
{
    struct coordinator *coordinator;
    struct coordinator_spec spec = {.settings = settings,
                                    .run = fuzz_run,
                                    .incarnation = 77,
                                    .store_incarnation = FUZZ_STORE,
                                    .store_endpoint = "inproc://d",
                                    .fingerprint = FUZZ_PRINT};
    must(coordinator_create(&spec, &coordinator) == 0);
    return coordinator;
}

/* What `talweg status` would be told. */
static inline void fuzz_coordinator_look(struct coordinator *coordinator, uint64_t now_ms)
{
    struct progress progress;
    struct metric_row row;
    coordinator_progress(coordinator, now_ms, &progress);
    must(memchr(progress.error, 0, sizeof(progress.error)) != NULL);
    must(memchr(progress.trouble, 0, sizeof(progress.trouble)) != NULL);
    while (coordinator_next_row(coordinator, &row))
        continue;
}

#endif
