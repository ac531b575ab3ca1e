#include <stdio.h>
#include <string.h>
#include "common/err.h"
#include "deploy/bench/cmd_exchange.h"
#include "deploy/bench/cmd_step.h"
#include "deploy/bench/worker.h"
#include "deploy/commands.h"

static void print_help(FILE *out)
{
    fputs("Usage: talweg bench WHAT [OPTION...]\n"
          "Measure this machine and Talweg on it.\n\n"
          "  exchange   gradients out, weights in: bytes a second, latency, processor time, "
          "memory\n"
          "  step       a training step of a job's network in one process: time, GFLOP/s, "
          "memory\n\n"
          "`talweg bench WHAT --help` tells more of one.\n",
          out);
}

int cmd_bench(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : NULL;
    if (what == NULL) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(what, "--help") == 0 || strcmp(what, "-?") == 0) {
        print_help(stdout);
        return EXIT_FINE;
    }
    if (strcmp(what, "exchange") == 0) {
        static char name[] = "talweg bench exchange";
        argv[1] = name;
        return cmd_bench_exchange(argc - 1, argv + 1);
    }
    if (strcmp(what, "step") == 0) {
        static char name[] = "talweg bench step";
        argv[1] = name;
        return cmd_bench_step(argc - 1, argv + 1);
    }
    if (strcmp(what, "worker") == 0) /* started by exchange */
        return bench_worker(argc - 1, argv + 1);
    fprintf(stderr, "talweg bench: found '%s', expected exchange or step; `talweg bench --help`\n",
            what);
    return EXIT_USAGE;
}
