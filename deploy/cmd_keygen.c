#include "deploy/commands.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include "deploy/keygen.h"

struct keygen_options {
    const char *out;
    unsigned long workers; /* a key for each; 0: one for all */
};

static const struct argp_option option_list[] = {
    {"out", 'o', "DIR", 0, "the folder; made if it is not there", 0},
    {"workers", 'w', "N", 0,
     "a key for each of N workers, worker-0.key and so on, so that each can be shut out by itself; "
     "else one for all of them, worker.key",
     0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct keygen_options *options = state->input;
    char *end;
    switch (key) {
    case 'o':
        options->out = arg;
        return 0;
    case 'w':
        options->workers = strtoul(arg, &end, 10);
        if (*end || end == arg || options->workers < 1 || options->workers > 1024)
            argp_error(state, "'%s' is no number of workers: a whole number, 1 to 1024", arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one word too many; the folder is given with --out", arg);
        return 0;
    case ARGP_KEY_END:
        if (!options->out)
            argp_error(state, "into which folder? --out DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .doc = "Make the keys with which the processes of a run know each other.\v"
           "DIR gets `allowed`, the list of all whose keys may speak, and secret keys that only "
           "their owner can read: coordinator.key, server.key for all servers, client.key for "
           "`talweg status` and `talweg drain`, and those of the workers.  Every machine needs "
           "`allowed` and the secret keys of what runs there, in one folder, and is told of it "
           "with --keys, TALWEG_KEYS or cluster.keys in the job file.\n\n"
           "In a folder that has keys, only those that are missing are made.  A line taken out of "
           "`allowed`, on the coordinator's and the servers' machines, shuts its owner out within "
           "seconds.\n\n"
           "Exit code: 0 all are there; 1 they could not be made; 2 wrong command line.",
};

int cmd_keygen(int argc, char **argv)
{
    struct keygen_options options = {0};
    struct err_msg why = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    size_t count, new_count;
    if (keygen_fill(options.out, options.workers, &count, &new_count, &why) < 0) {
        fprintf(stderr, "talweg keygen: %s\n", why.text);
        return EXIT_FAILED;
    }
    printf("%s: %zu keys, %zu of them new\n", options.out, count, new_count);
    return EXIT_FINE;
}
