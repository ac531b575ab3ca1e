#include "common/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel takes twice as much, for what it keeps beside the bytes. */
enum { NEAR_SEND_BYTES = 256 << 10 };

/* An address of either family in the form of IPv6. */
static bool read_address(const struct sockaddr_storage *storage, struct in6_addr *out)
{
    if (storage->ss_family == AF_INET6) {
        *out = ((const struct sockaddr_in6 *)(const void *)storage)->sin6_addr;
        return true;
    }
    if (storage->ss_family != AF_INET)
        return false;
    *out = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&out->s6_addr[12], &((const struct sockaddr_in *)(const void *)storage)->sin_addr, 4);
    return true;
}

static bool is_loopback(const struct in6_addr *address)
{
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

bool tcp_is_within_host(int fd)
{
    struct sockaddr_storage here, there;
    struct in6_addr own, peer;
    socklen_t here_bytes = sizeof(here), there_bytes = sizeof(there);
    if (getsockname(fd, (struct sockaddr *)&here, &here_bytes) != 0 ||
        getpeername(fd, (struct sockaddr *)&there, &there_bytes) != 0 ||
        !read_address(&here, &own) || !read_address(&there, &peer))
        return false;
    return is_loopback(&peer) || memcmp(&own, &peer, sizeof(own)) == 0;
}

void tcp_peer(int fd, char *text_out, size_t bytes)
{
    struct sockaddr_storage there;
    struct in6_addr peer;
    char text[INET6_ADDRSTRLEN] = "";
    socklen_t there_bytes = sizeof(there);
    if (getpeername(fd, (struct sockaddr *)&there, &there_bytes) == 0 &&
        read_address(&there, &peer)) {
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&peer);
        inet_ntop(is_v4 ? AF_INET : AF_INET6, &peer.s6_addr[is_v4 ? 12 : 0], text, sizeof(text));
    }
    snprintf(text_out, bytes, "%s", text);
}

void tcp_tune(int fd)
{
    static const char name[] = "cubic";
    const int send_bytes = NEAR_SEND_BYTES;
    if (!tcp_is_within_host(fd))
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name) - 1);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
}
