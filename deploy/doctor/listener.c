#include "deploy/doctor/listener.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The address of an interface's name, as ZeroMQ takes it. */
static bool find_interface(const char *name, struct sockaddr_storage *out)
{
    struct ifaddrs *all = NULL;
    bool is_found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *one = all; one && !is_found; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || strcmp(one->ifa_name, name))
            continue;
        memcpy(out, one->ifa_addr, sizeof(struct sockaddr_in));
        is_found = true;
    }
    freeifaddrs(all);
    return is_found;
}

/* Host and port of a tcp endpoint, as a place to listen. */
static bool read_place(const char *endpoint, struct sockaddr_storage *out)
{
    char host[PROBE_HOST_BYTES];
    const char *begin = endpoint + strlen("tcp://"), *colon = strrchr(endpoint, ':');
    uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    bool has_brackets = begin[0] == '[' && colon[-1] == ']';
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - begin - (has_brackets ? 2 : 0)),
             begin + has_brackets);
    memset(out, 0, sizeof(*out));
    if (strcmp(host, "*") == 0) {
        v6->sin6_family = AF_INET6;
        v6->sin6_addr = in6addr_any;
    } else if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
    } else if (!find_interface(host, out)) {
        return false;
    }
    if (out->ss_family == AF_INET)
        v4->sin_port = port;
    else
        v6->sin6_port = port;
    return true;
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET
                     ? ((const struct sockaddr_in *)(const void *)address)->sin_port
                     : ((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
}

static int try_listen(const struct sockaddr_storage *place, int *fd_out, int *error_out)
{
    int on = 1, off = 0;
    int fd = socket(place->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = place->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && place->ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (fd >= 0 && bind(fd, (const struct sockaddr *)place, size) == 0 && listen(fd, 8) == 0) {
        *fd_out = fd;
        return 0;
    }
    *error_out = errno;
    if (fd >= 0)
        close(fd);
    return ERR_NET;
}

int listener_open(const char *endpoint, int *fd_out, unsigned *port_out, int *error_out)
{
    struct sockaddr_storage place;
    socklen_t size = sizeof(place);
    *error_out = 0;
    if (!read_place(endpoint, &place))
        return ERR_NOT_FOUND;
    bool is_any = strncmp(endpoint, "tcp://*:", strlen("tcp://*:")) == 0;
    int err = try_listen(&place, fd_out, error_out);
    if (err != 0 && is_any && *error_out == EAFNOSUPPORT) { /* a system without IPv6 */
        struct sockaddr_in v4 = {.sin_family = AF_INET,
                                 .sin_port = ((struct sockaddr_in6 *)(void *)&place)->sin6_port};
        memset(&place, 0, sizeof(place));
        memcpy(&place, &v4, sizeof(v4));
        err = try_listen(&place, fd_out, error_out);
    }
    if (err == 0 && getsockname(*fd_out, (struct sockaddr *)&place, &size) == 0)
        *port_out = port_of(&place);
    return err;
}

bool listener_hears(int fd, unsigned local_port, unsigned timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    while (poll(&item, 1, (int)timeout_ms) > 0) {
        int accepted = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
        if (accepted < 0)
            return false;
        close(accepted);
        if (port_of(&peer) == local_port)
            return true;
    }
    return false;
}

/* The inode of the socket that listens on the port, from a table of /proc/net; 0: none does. */
static unsigned long find_inode(const char *path, unsigned port)
{
    char line[512];
    unsigned long inode = 0;
    FILE *file = fopen(path, "re");
    while (file && inode == 0 && fgets(line, sizeof(line), file)) {
        unsigned found_port, state;
        unsigned long found;
        /* sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode */
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
                   &found_port, &state, &found) == 3 &&
            found_port == port && state == 0x0a)
            inode = found;
    }
    if (file)
        fclose(file);
    return inode;
}

static bool has_socket(const char *pid, const char *link)
{
    char folder[64], path[PATH_MAX], target[64];
    bool is_found = false;
    snprintf(folder, sizeof(folder), "/proc/%.20s/fd", pid);
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && !is_found && (entry = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%.40s", folder, entry->d_name);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        is_found = length > 0 && (size_t)length == strlen(link) &&
                   strncmp(target, link, (size_t)length) == 0;
    }
    if (dir)
        closedir(dir);
    return is_found;
}

static void read_name(pid_t pid, char *name_out, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(name_out, (int)size, file))
        snprintf(name_out, size, "?");
    name_out[strcspn(name_out, "\n")] = '\0';
    if (file)
        fclose(file);
}

pid_t listener_owner(unsigned port, char *name_out, size_t size)
{
    char link[64];
    pid_t owner = 0;
    unsigned long inode = find_inode("/proc/net/tcp", port);
    if (inode == 0)
        inode = find_inode("/proc/net/tcp6", port);
    DIR *dir = inode == 0 ? NULL : opendir("/proc");
    snprintf(link, sizeof(link), "socket:[%lu]", inode);
    for (const struct dirent *entry; dir && owner == 0 && (entry = readdir(dir));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && has_socket(entry->d_name, link))
            owner = (pid_t)strtol(entry->d_name, NULL, 10);
    if (dir)
        closedir(dir);
    if (owner)
        read_name(owner, name_out, size);
    return owner;
}

void listener_own_addresses(char *text, size_t size)
{
    struct ifaddrs *all = NULL;
    size_t used = 0;
    text[0] = '\0';
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        char number[INET_ADDRSTRLEN];
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET ||
            (one->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)one->ifa_addr;
        inet_ntop(AF_INET, &v4->sin_addr, number, sizeof(number));
        if (used + strlen(number) + 3 > size)
            break;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", number);
    }
    freeifaddrs(all);
}
