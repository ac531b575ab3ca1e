#include "worker/nn/kernel_choice.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "worker/nn/blas.h"
#include "worker/nn/gemm.h"

enum { ARGUMENT_BYTES_MAX = 1 << 21 };

static const char variable[] = "OPENBLAS_CORETYPE";

const char *kernels_to_ask(const char *wanted, const char *chosen)
{
    return strcmp(wanted, "auto") == 0 || strcasecmp(wanted, chosen) == 0 ? NULL : wanted;
}

/* Of this process, each behind the other with its NUL; NULL: not to be had. */
static char *read_arguments(size_t *size_out)
{
    FILE *file = fopen("/proc/self/cmdline", "re");
    char *bytes = file == NULL ? NULL : malloc(ARGUMENT_BYTES_MAX);
    if (bytes != NULL)
        *size_out = fread(bytes, 1, ARGUMENT_BYTES_MAX, file);
    if (file != NULL)
        fclose(file);
    return bytes;
}

static int begin_again(struct err_msg *why)
{
    char path[PATH_MAX];
    size_t size = 0, count = 0;
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *bytes = length < 0 ? NULL : read_arguments(&size);
    for (size_t i = 0; bytes != NULL && i < size; i++)
        count += bytes[i] == '\0';
    char **arguments = calloc(count + 1, sizeof(*arguments));
    if (count > 0 && arguments != NULL) {
        path[length] = '\0';
        for (size_t i = 0, at = 0; i < count; i++) {
            arguments[i] = bytes + at;
            at += strlen(bytes + at) + 1;
        }
        execv(path, arguments);
    }
    free(arguments);
    free(bytes);
    return err_set(why, ERR_IO, "cannot begin again with other kernels: %s", strerror(errno));
}

int kernels_choose(const char *wanted, struct err_msg *why)
{
    const char *asked = getenv(variable), *chosen = blas_core_name();
    const char *to_ask = gemm_is_own() ? NULL : kernels_to_ask(wanted, chosen);
    if (to_ask == NULL)
        return 0;
    if (asked != NULL && strcmp(asked, to_ask) == 0)
        return err_set(why, ERR_INPUT,
                       "worker.kernels: found \"%s\", which OpenBLAS does not have for this "
                       "processor (it takes \"%s\"); expected \"auto\" or one that it has, such as "
                       "\"ARMV8\" or \"NEOVERSEN1\"",
                       wanted, chosen);
    if (setenv(variable, to_ask, 1) != 0)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    return begin_again(why);
}
