#include "deploy/commands.h"

#include <argp.h>
#include <stdio.h>
#include "common/settings.h"

static error_t parse_flag(int key, char *text, struct argp_state *state)
{
    enum settings_form *form = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "found %s, expected no argument", text);
    if (key != 'm')
        return ARGP_ERR_UNKNOWN;
    *form = SETTINGS_MARKDOWN;
    return 0;
}

static void print_markdown_head(void)
{
    puts("# Settings of a job file\n\n"
         "This page is printed by `talweg settings --markdown` from the table in "
         "[common/settings_table.c](../common/settings_table.c).\n"
         "A job file is a [libconfig](https://hyperrealm.github.io/libconfig/) file with a group "
         "for each section: `job = { lanes = 8; batch = 64; };`.\n"
         "On the command line the same is `--set job.lanes=8`. Relative paths of a job file start "
         "at its own folder.");
}

int cmd_settings(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {.name = "markdown", .key = 'm', .doc = "as the page deploy/SETTINGS.md"}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_flag,
        .doc =
            "Prints every setting of a job file: default, type, range and meaning, and what each "
            "operator of a model takes."};
    enum settings_form form = SETTINGS_TEXT;
    if (argp_parse(&argp, argc, argv, 0, NULL, &form) != 0)
        return EXIT_USAGE;
    if (form == SETTINGS_MARKDOWN)
        print_markdown_head();
    settings_print(stdout, form);
    return EXIT_FINE;
}
