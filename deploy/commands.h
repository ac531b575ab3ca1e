#ifndef DEPLOY_COMMANDS_H
#define DEPLOY_COMMANDS_H

/* commands - the subcommands of `talweg`, a file each.
 *
 * Each takes the command line from its own name on (argv[0] is "talweg train"), may change the
 * order of argv, writes its result to stdout and everything else to stderr, and returns the exit
 * code of the process.
 *
 * Owner:    talweg_main.c calls one of them, once.  Thread: the main thread.
 * Surprise: none.
 */

enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,      /* tried, and it did not work out: the sentence is on stderr */
    EXIT_USAGE = 2,       /* the command line makes no sense */
    EXIT_UNREACHABLE = 2, /* status, drain: nobody answers */
    EXIT_WARNINGS = 3,    /* doctor: warnings, but no error */
    EXIT_SIGNAL = 128     /* plus the signal's number: stopped as asked */
};

int cmd_train(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_keygen(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_predict(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_shard(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_settings(int argc, char **argv);

#endif
