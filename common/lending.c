#include "common/lending.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static int code_of(int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR)
        return ERR_AGAIN;
    return error == ENOMEM || error == ENOBUFS ? ERR_NOMEM : ERR_LOST;
}

int handover_send(int socket, const struct handover *handover, int fd)
{
    struct handover copy = *handover;
    struct iovec part = {&copy, sizeof(copy)};
    union control control = {0};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    ssize_t sent = sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)sizeof(copy) ? 0 : code_of(errno);
}

/* The one descriptor that came; -1: none.  Others, which nobody of ours sends, are closed. */
static int take_fd(struct msghdr *msg)
{
    int fd = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head != NULL; head = CMSG_NXTHDR(msg, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int came;
            memcpy(&came, CMSG_DATA(head) + i * sizeof(came), sizeof(came));
            if (fd >= 0)
                close(came);
            else
                fd = came;
        }
    }
    return fd;
}

int handover_receive(int socket, struct handover *handover_out, int *fd_out)
{
    struct handover handover;
    struct iovec part = {&handover, sizeof(handover)};
    union control control = {0};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return got == 0 ? ERR_LOST : code_of(errno);
    int fd = take_fd(&msg);
    if (got != (ssize_t)sizeof(handover) || handover.magic != HANDOVER_MAGIC || fd < 0 ||
        (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        if (fd >= 0)
            close(fd);
        return ERR_PROTO;
    }
    *handover_out = handover;
    *fd_out = fd;
    return 0;
}

bool handover_is_own(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           peer.uid == geteuid();
}
