#ifndef DEPLOY_BENCH_CMD_EXCHANGE_H
#define DEPLOY_BENCH_CMD_EXCHANGE_H

/* cmd_exchange - `talweg bench exchange`: its options, what it runs in which order.
 *
 * Owner:    cmd_bench.c.  Thread: the main thread.
 * Surprise: none.
 */

/* As the functions of commands.h. */
int cmd_bench_exchange(int argc, char **argv);

#endif
