#ifndef DEPLOY_BENCH_WORKER_H
#define DEPLOY_BENCH_WORKER_H

/* worker - a worker's process with its real exchange and loop, and the stand-in for its compute.
 *
 * Command line: MODEL BYTES FOLDER, then that of talweg-worker.  Its times go to
 * FOLDER/worker-RANK.times.
 *
 * Owner:    `talweg bench exchange` starts it.  Thread: the main thread.
 * Surprise: none.
 */

/* argv[0] is its name.  Returns the exit code. */
int bench_worker(int argc, char **argv);

#endif
