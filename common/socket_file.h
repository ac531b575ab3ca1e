#ifndef COMMON_SOCKET_FILE_H
#define COMMON_SOCKET_FILE_H

/* socket_file - the files of unix sockets that a channel listens on, which ZeroMQ leaves behind.
 *
 * Owner:    the channel.  Thread: the channel's.
 * Memory:   one path each.
 * Surprise: none.
 */
#include "common/err.h"

struct socket_file {
    struct socket_file *next;
    char path[];
};

/* Puts a copy of path in the list, whose head is NULL while it is empty.  ERR_NOMEM. */
MUST_USE int socket_files_add(struct socket_file **list, const char *path);

/* Removes the files and empties the list.  While something still listens there nobody else takes
 * the path. */
void socket_files_remove(struct socket_file **list);

#endif
