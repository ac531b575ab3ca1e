#include "common/endpoint.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char tcp_prefix[] = "tcp://";
static const char ipc_prefix[] = "ipc://";
static const char inproc_prefix[] = "inproc://";

/* What follows the prefix, or NULL when endpoint does not begin with it. */
static const char *after(const char *endpoint, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(endpoint, prefix, length) == 0 ? endpoint + length : NULL;
}

const char *endpoint_ipc_path(const char *endpoint)
{
    return after(endpoint, ipc_prefix);
}

static int check_tcp(const char *endpoint, const char *host, struct err_msg *why)
{
    const char *colon = strrchr(host, ':');
    if (colon == NULL || colon == host)
        return err_set(why, ERR_INPUT, "%s: expected tcp://host:port", endpoint);
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] != 0 || atol(colon + 1) > 65535)
        return err_set(why, ERR_INPUT, "%s: \"%s\" is no port; expected 0 to 65535", endpoint,
                       colon + 1);
    return 0;
}

static int check_ipc(const char *endpoint, const char *path, struct err_msg *why)
{
    size_t length = strlen(path), length_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    /* Any user of the machine may connect to an abstract socket: a path has permissions. */
    if (length == 0 || path[0] == '@')
        return err_set(why, ERR_INPUT, "%s: expected ipc:// and the path of a socket", endpoint);
    if (length > length_max)
        return err_set(why, ERR_INPUT,
                       "%s: the path of a unix socket has %zu bytes; at most %zu are possible, "
                       "choose a shorter folder",
                       endpoint, length, length_max);
    return 0;
}

void endpoint_unmap(char *endpoint)
{
    static const char mapped[] = "tcp://[::ffff:";
    char *begin = endpoint + sizeof(mapped) - 1, *end = strrchr(endpoint, ']');
    if (strncmp(endpoint, mapped, sizeof(mapped) - 1) != 0 || end == NULL ||
        memchr(begin, '.', (size_t)(end - begin)) == NULL)
        return;
    size_t host_bytes = (size_t)(end - begin);
    memmove(endpoint + strlen("tcp://"), begin, host_bytes);
    memmove(endpoint + strlen("tcp://") + host_bytes, end + 1, strlen(end + 1) + 1);
}

int endpoint_check(const char *endpoint, struct err_msg *why)
{
    if (strlen(endpoint) >= ENDPOINT_TEXT_BYTES)
        return err_set(why, ERR_INPUT, "an endpoint of %zu bytes; at most %d are possible",
                       strlen(endpoint), ENDPOINT_TEXT_BYTES - 1);
    const char *rest = after(endpoint, tcp_prefix);
    if (rest != NULL)
        return check_tcp(endpoint, rest, why);
    rest = after(endpoint, ipc_prefix);
    if (rest != NULL)
        return check_ipc(endpoint, rest, why);
    rest = after(endpoint, inproc_prefix);
    if (rest != NULL && rest[0] != 0)
        return 0;
    return err_set(why, ERR_INPUT,
                   "\"%s\" is no endpoint; expected tcp://host:port, ipc://path or inproc://name",
                   endpoint);
}

int endpoint_check_peer(const char *endpoint, struct err_msg *why)
{
    int err = endpoint_check(endpoint, why);
    const char *host = after(endpoint, tcp_prefix);
    if (err != 0 || host == NULL)
        return err;
    if (host[0] == '*' || atol(strrchr(host, ':') + 1) == 0)
        return err_set(why, ERR_INPUT,
                       "cannot connect to %s: expected the host and the port where it listens",
                       endpoint);
    return 0;
}

static bool is_heard(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int rc = connect(fd, (const struct sockaddr *)&address, sizeof(address));
    bool is_answered = rc == 0 || errno == EAGAIN;
    close(fd);
    return is_answered;
}

int endpoint_check_free(const char *endpoint, struct err_msg *why)
{
    const char *path = after(endpoint, ipc_prefix);
    struct stat found;
    if (path == NULL || lstat(path, &found) != 0)
        return 0;
    if (!S_ISSOCK(found.st_mode))
        return err_set(why, ERR_INPUT, "cannot bind %s: that path is taken by something that is "
                       "no socket; choose another", endpoint);
    if (is_heard(path))
        return err_set(why, ERR_NET, "cannot bind %s: address in use; another process listens "
                       "there, end it or choose another path", endpoint);
    return 0;
}

/* What a person can do about it; "" when there is nothing to say. */
static const char *advice(const char *endpoint, int error)
{
    bool is_ipc = endpoint_ipc_path(endpoint) != NULL;
    switch (error) {
    case EACCES:
    case EPERM:
        return is_ipc ? "; this user may not make a socket in that folder"
                      : "; ports below 1024 need privileges, choose a higher port, or port 0 for "
                        "any free one";
    case EADDRNOTAVAIL:
    case ENODEV:
        return "; bind to an address of this machine, or to * for all of them";
    case ENOENT:
    case ENOTDIR:
        return is_ipc ? "; make the folder first" : "";
    default:
        return "";
    }
}

static const char *reason(int error, const char *error_text)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return "permission denied";
    case EADDRNOTAVAIL:
    case ENODEV:
        return "this machine has no such address";
    case ENOENT:
    case ENOTDIR:
        return "its folder does not exist";
    case EINVAL:
        return "not an address to listen on";
    default:
        return error_text;
    }
}

int endpoint_bind_failed(const char *endpoint, int error, const char *error_text,
                         struct err_msg *why)
{
    const char *host = after(endpoint, tcp_prefix);
    if (error == EADDRINUSE && host != NULL)
        return err_set(why, ERR_NET,
                       "cannot bind %s: port %s is in use by another process; end it, choose "
                       "another port, or port 0 for any free one",
                       endpoint, strrchr(host, ':') + 1);
    if (error == EADDRINUSE)
        return err_set(why, ERR_NET, "cannot bind %s: address in use", endpoint);
    return err_set(why, error == EINVAL ? ERR_INPUT : ERR_NET, "cannot bind %s: %s%s", endpoint,
                   reason(error, error_text), advice(endpoint, error));
}
