#include "common/path.h"

#include <stdio.h>

int path_join(char path_out[PATH_MAX], const char *dir, const char *name, struct err_msg *why)
{
    int length = snprintf(path_out, PATH_MAX, "%s/%s", dir, name);
    if (length >= 0 && length < PATH_MAX)
        return 0;
    return err_set(why, ERR_INPUT, "%s/%s: the path is longer than %d bytes", dir, name,
                   PATH_MAX - 1);
}
