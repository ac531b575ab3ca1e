#ifndef TESTS_SIM_SEEDS_H
#define TESTS_SIM_SEEDS_H

/* seeds - which runs a test of the sim makes, and how one is judged.
 *
 * TALWEG_SIM_SEEDS=N sets how many seeds each test runs, TALWEG_SIM_FIRST the first one (1),
 * TALWEG_SIM_TEST the only test to run.  A run that fails prints the command that replays it.
 * TALWEG_SIM_STOP=1 ends the process with the first that does.
 *
 * Owner:    values.  Thread: one.
 * Surprise: counts the runs of the process in a variable of its own.
 */
#include "tests/sim/cluster.h"

struct seeds {
    const char *test;
    uint64_t first, end;
};

/* By default the first `count` seeds; none when another test is the only one to run. */
struct seeds seeds_of(const char *test, uint64_t count);

/* A cluster on a network of that seed's delays. */
struct sim_spec seed_spec(uint64_t seed, uint32_t servers, uint32_t workers);

/* The undisturbed job on one server and one worker; false, with a line, when it does not end.
 * digest_out: [HEX_BYTES]. */
bool seed_reference(const struct sim_spec *like, struct sim_history *history_out,
                    char *digest_out);

/* Runs it; false, with the line that replays it, unless nothing was violated and the job finished
 * within within_ms of its last fault, with that digest unless it is "". */
bool seed_holds(const struct seeds *seeds, const struct sim_spec *spec, const char *digest,
                uint64_t within_ms);

/* The line. */
void seed_print(const struct seeds *seeds, const struct sim_spec *spec,
                const struct sim_result *result);

#endif
