#include "deploy/bench/scratch.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int scratch_make(char path_out[PATH_MAX], struct err_msg *why)
{
    const char *folder = getenv("TMPDIR");
    if (folder == NULL || folder[0] != '/')
        folder = "/tmp";
    snprintf(path_out, PATH_MAX, "%s/talweg-bench-XXXXXX", folder);
    if (mkdtemp(path_out) == NULL)
        return err_set(why, ERR_IO, "%s: cannot be made: %s", path_out, strerror(errno));
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    remove(path);
    return 0;
}

void scratch_remove(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
