#include "common/socket_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int socket_files_add(struct socket_file **list, const char *path)
{
    struct socket_file *file = malloc(sizeof(*file) + strlen(path) + 1);
    if (file == NULL)
        return ERR_NOMEM;
    memcpy(file->path, path, strlen(path) + 1);
    file->next = *list;
    *list = file;
    return 0;
}

void socket_files_remove(struct socket_file **list)
{
    while (*list != NULL) {
        struct socket_file *file = *list;
        *list = file->next;
        unlink(file->path);
        free(file);
    }
}
