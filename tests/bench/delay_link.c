/* delay_link MS SPACE_A DEVICE_A SPACE_B DEVICE_B - a wire between two network namespaces on which
 * every packet is MS milliseconds on its way, in each direction.
 *
 * It makes a TUN device in each namespace; whoever calls it gives them addresses and a rate (tc).
 * What is written to one comes out of the other, in order, once its time has come.  For kernels
 * without netem, and in place of it on others, so that figures compare.  Prints "ready", then goes
 * on until a signal ends it, and says how many packets it carried, and dropped for want of room.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Room for 20 ms at some gigabits a second. */
enum { PACKET_BYTES = 2048, PACKETS = 8192 };

struct packet {
    uint64_t due_ns;
    size_t bytes;
    unsigned char data[PACKET_BYTES];
};

/* One direction. */
struct way {
    int from, to;
    struct packet *ring; /* [PACKETS] */
    size_t first, count;
    uint64_t carried, dropped;
};

static volatile sig_atomic_t is_ending;

static void end(int signal_number)
{
    (void)signal_number;
    is_ending = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A TUN device in a namespace that `ip netns` knows; -1 with a line on stderr. */
static int open_device(const char *space, const char *device)
{
    char path[PATH_MAX];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(path, sizeof(path), "/run/netns/%s", space);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
    int space_fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_there = space_fd >= 0 && setns(space_fd, CLONE_NEWNET) == 0;
    int fd = is_there ? open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        fprintf(stderr, "delay_link: no device %s in %s: %s\n", device, space, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    if (space_fd >= 0)
        close(space_fd);
    return fd;
}

static void take_all(struct way *way, uint64_t delay_ns)
{
    unsigned char spare[PACKET_BYTES];
    for (;;) {
        struct packet *packet = &way->ring[(way->first + way->count) % PACKETS];
        bool has_room = way->count < PACKETS;
        ssize_t bytes = read(way->from, has_room ? packet->data : spare, PACKET_BYTES);
        if (bytes <= 0)
            return;
        if (!has_room) {
            way->dropped++;
            continue;
        }
        packet->bytes = (size_t)bytes;
        packet->due_ns = now_ns() + delay_ns;
        way->count++;
    }
}

static void pass_on(struct way *way)
{
    uint64_t now = now_ns();
    while (way->count > 0 && way->ring[way->first].due_ns <= now) {
        const struct packet *packet = &way->ring[way->first];
        if (write(way->to, packet->data, packet->bytes) == (ssize_t)packet->bytes)
            way->carried++;
        else
            way->dropped++; /* the device is not up yet */
        way->first = (way->first + 1) % PACKETS;
        way->count--;
    }
}

/* Until a packet comes or the first that waits is due. */
static void wait_for_packets(const struct way ways[2])
{
    struct pollfd fds[2] = {{.fd = ways[0].from, .events = POLLIN},
                            {.fd = ways[1].from, .events = POLLIN}};
    uint64_t now = now_ns(), until = now + 1000000000u;
    for (int i = 0; i < 2; i++)
        if (ways[i].count > 0 && ways[i].ring[ways[i].first].due_ns < until)
            until = ways[i].ring[ways[i].first].due_ns;
    uint64_t left = until > now ? until - now : 0;
    struct timespec wait = {.tv_sec = (time_t)(left / 1000000000u),
                            .tv_nsec = (long)(left % 1000000000u)};
    ppoll(fds, 2, &wait, NULL);
}

static void carry(struct way ways[2], uint64_t delay_ns)
{
    while (!is_ending) {
        wait_for_packets(ways);
        for (int i = 0; i < 2; i++) {
            take_all(&ways[i], delay_ns);
            pass_on(&ways[i]);
        }
    }
}

int main(int argc, char **argv)
{
    char *rest = NULL;
    double ms = argc == 6 ? strtod(argv[1], &rest) : -1.0;
    if (argc != 6 || *rest != '\0' || ms < 0.0 || ms > 10000.0) {
        fprintf(stderr, "delay_link MS SPACE_A DEVICE_A SPACE_B DEVICE_B\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int a = open_device(argv[2], argv[3]);
    int b = a < 0 ? -1 : open_device(argv[4], argv[5]);
    struct way ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
    for (int i = 0; i < 2; i++)
        ways[i].ring = calloc(PACKETS, sizeof(struct packet));
    if (b < 0 || ways[0].ring == NULL || ways[1].ring == NULL)
        return 1;
    printf("ready\n");
    fflush(stdout);
    carry(ways, (uint64_t)(ms * 1e6));
    for (int i = 0; i < 2; i++) {
        printf("%s: %llu packets, %llu dropped\n", i == 0 ? "from A" : "from B",
               (unsigned long long)ways[i].carried, (unsigned long long)ways[i].dropped);
        free(ways[i].ring);
    }
    return 0;
}
