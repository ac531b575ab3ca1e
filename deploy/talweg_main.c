#include "deploy/commands.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>
#include "common/err.h"

/* argp finds it by its name, so it must be seen from outside of the executable. */
__attribute__((visibility("default"))) const char *argp_program_version = "talweg " TALWEG_VERSION;

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static const struct command commands[] = {
    {"train", cmd_train, "train a job on this machine, every role a process of its own"},
    {"status", cmd_status, "how a run is doing: phase, loss, speed, workers and servers"},
    {"drain", cmd_drain, "let a server or worker of a run go"},
    {"keygen", cmd_keygen, "make the keys with which the processes of a run know each other"},
    {"eval", cmd_eval, "loss and accuracy of a checkpoint on the held-out part"},
    {"predict", cmd_predict, "what a checkpoint says of each sample, as CSV"},
    {"generate", cmd_generate, "text that a checkpoint writes, after a beginning"},
    {"shard", cmd_shard, "cut a data set into parts with a manifest"},
    {"plan", cmd_plan, "what a job would do on a cluster: memory, bytes, time of a step"},
    {"bench", cmd_bench, "how fast this machine computes steps and exchanges gradients"},
    {"doctor", cmd_doctor, "whether this machine can take its part in a job, and why not"},
    {"settings", cmd_settings, "every setting of a job file: type, range, default, meaning"},
};

static void print_help(FILE *out)
{
    fputs("Usage: talweg COMMAND [ARGUMENT...]\n"
          "Train neural networks on a cluster of ordinary machines.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs("\n"
          "  --help     this text; `talweg COMMAND --help` tells more of one command\n"
          "  --version  the version\n\n"
          "On a cluster the roles run by hand or by a launcher: talweg-coordinator, talweg-ps,\n"
          "talweg-worker, each with the same job file.\n",
          out);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    argp_err_exit_status = EXIT_USAGE;
    if (!name) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "-?") == 0 ||
        strcmp(name, "help") == 0) {
        print_help(stdout);
        return EXIT_FINE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts(argp_program_version);
        return EXIT_FINE;
    }
    const struct command *command = find_command(name);
    if (!command) {
        fprintf(stderr, "talweg: there is no command '%s'; `talweg --help` lists them\n", name);
        return EXIT_USAGE;
    }
    char full_name[32];
    snprintf(full_name, sizeof(full_name), "talweg %s", command->name);
    argv[1] = full_name;
    int exit_code = command->run(argc - 1, argv + 1);
    if (exit_code == EXIT_FINE && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "%s: what it printed could not be written\n", full_name);
        return EXIT_FAILED;
    }
    return exit_code;
}
