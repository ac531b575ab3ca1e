#ifndef DEPLOY_BENCH_CMD_STEP_H
#define DEPLOY_BENCH_CMD_STEP_H

/* cmd_step - `talweg bench step`: its options, what it runs in which order.
 *
 * Owner:    cmd_bench.c.  Thread: the main thread.
 * Surprise: none.
 */

/* As the functions of commands.h. */
int cmd_bench_step(int argc, char **argv);

#endif
