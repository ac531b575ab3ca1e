#include "common/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/log.h"

enum { LOOK_MS = 250, LOG_MS = 1000, FRAME_BYTES = 256, FRAMES_MAX = 7, RAW_KEY_BYTES = 32 };

/* The frames of a question, RFC 27; a credential is a public key as it is. */
enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIAL };

struct guard {
    struct keyring *ring;
    void *socket; /* where ZeroMQ asks: of the guard's thread once that runs */
    int stop_fd, signal_fd;
    pthread_t thread;
    atomic_uint_least64_t refused_count;
    pthread_mutex_t lock;          /* of what follows */
    uint64_t log_ms, logged_count; /* when who was refused was logged, and how many there were */
};

struct question {
    char frames[FRAMES_MAX][FRAME_BYTES];
    size_t bytes[FRAMES_MAX];
    size_t count; /* more than FRAMES_MAX: no question */
};

static int receive_question(void *socket, struct question *question)
{
    int has_more = 1;
    *question = (struct question){0};
    while (has_more) {
        char spare[FRAME_BYTES];
        bool has_room = question->count < FRAMES_MAX;
        char *frame = has_room ? question->frames[question->count] : spare;
        int bytes = zmq_recv(socket, frame, FRAME_BYTES - 1, ZMQ_DONTWAIT);
        size_t size = sizeof(has_more);
        if (bytes < 0 || zmq_getsockopt(socket, ZMQ_RCVMORE, &has_more, &size) != 0)
            return ERR_AGAIN;
        if (has_room) /* what was cut is no question of ZeroMQ's */
            question->bytes[question->count] =
                (size_t)(bytes < FRAME_BYTES ? bytes : FRAME_BYTES - 1);
        question->count++;
    }
    return 0;
}

/* The number of the key that asks, or -1; its text for the log. */
static int judge(const struct guard *guard, const struct question *question,
                 char key_out[KEY_TEXT_BYTES])
{
    snprintf(key_out, KEY_TEXT_BYTES, "none");
    if (question->count != FRAMES_MAX || strcmp(question->frames[MECHANISM], "CURVE") != 0 ||
        question->bytes[CREDENTIAL] != RAW_KEY_BYTES ||
        zmq_z85_encode(key_out, (const uint8_t *)question->frames[CREDENTIAL], RAW_KEY_BYTES) ==
            NULL)
        return -1;
    return keyring_find(guard->ring, key_out);
}

/* Who is not let in again and again must not fill the disk. */
static void note_refused(struct guard *guard, const char *address, const char *key)
{
    static const char mapped[] = "::ffff:"; /* an IPv4 address on a socket for both families */
    if (strncmp(address, mapped, sizeof(mapped) - 1) == 0)
        address += sizeof(mapped) - 1;
    if (*address == '\0') /* a unix socket, or gone before it could be asked */
        address = "unknown";
    uint64_t count = atomic_fetch_add(&guard->refused_count, 1) + 1, now_ms = clock_now_ms();
    char from[FRAME_BYTES];
    pthread_mutex_lock(&guard->lock);
    if (guard->log_ms == 0 || now_ms >= guard->log_ms + LOG_MS) {
        guard->log_ms = now_ms;
        log_event(LOG_WARN, "key_refused", "from=%s key=%s count=%llu",
                  log_quote(from, sizeof(from), address), key,
                  (unsigned long long)(count - guard->logged_count));
        guard->logged_count = count;
    }
    pthread_mutex_unlock(&guard->lock);
}

void guard_note_stranger(struct guard *guard, const char *address)
{
    note_refused(guard, address, "none");
}

static void reply(void *socket, const struct question *question, int number)
{
    char user[16] = "";
    if (number >= 0)
        snprintf(user, sizeof(user), "%d", number);
    const char *code = number >= 0 ? "200" : "400", *text = number >= 0 ? "OK" : "key refused";
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, question->frames[REQUEST_ID], question->bytes[REQUEST_ID], ZMQ_SNDMORE);
    zmq_send(socket, code, 3, ZMQ_SNDMORE);
    zmq_send(socket, text, strlen(text), ZMQ_SNDMORE);
    zmq_send(socket, user, strlen(user), ZMQ_SNDMORE);
    zmq_send(socket, "", 0, 0);
}

static void answer_all(struct guard *guard)
{
    struct question question;
    char key[KEY_TEXT_BYTES];
    while (receive_question(guard->socket, &question) == 0) {
        int number = judge(guard, &question, key);
        if (number < 0)
            note_refused(guard, question.frames[ADDRESS], key);
        reply(guard->socket, &question, number);
    }
}

static void refresh(struct guard *guard, bool is_forced)
{
    struct err_msg why = {0};
    bool has_changed = false;
    char quoted[sizeof(why.text)];
    if (keyring_refresh(guard->ring, is_forced, &has_changed, &why) != 0)
        log_event(LOG_ERROR, "keys_not_read", "why=%s",
                  log_quote(quoted, sizeof(quoted), why.text));
    else if (has_changed || is_forced)
        log_event(LOG_INFO, "keys_read", "allowed=%zu", keyring_allowed_count(guard->ring));
}

static void *watch(void *arg)
{
    struct guard *guard = arg;
    uint64_t look_ms = 0;
    for (;;) {
        zmq_pollitem_t items[] = {{.socket = guard->socket, .events = ZMQ_POLLIN},
                                  {.fd = guard->stop_fd, .events = ZMQ_POLLIN},
                                  {.fd = guard->signal_fd, .events = ZMQ_POLLIN}};
        struct signalfd_siginfo info;
        int rc = zmq_poll(items, ARRAY_LEN(items), LOOK_MS);
        if (items[1].revents != 0 || (rc < 0 && errno != EINTR))
            break;
        bool is_hung_up = items[2].revents != 0 && read(guard->signal_fd, &info, sizeof(info)) > 0;
        if (is_hung_up || clock_now_ms() >= look_ms) {
            refresh(guard, is_hung_up);
            look_ms = clock_now_ms() + LOOK_MS;
        }
        answer_all(guard);
    }
    zmq_close(guard->socket);
    return NULL;
}

static int open_signal(void)
{
    sigset_t hang_up;
    sigemptyset(&hang_up);
    sigaddset(&hang_up, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &hang_up, NULL) != 0)
        return -1;
    return signalfd(-1, &hang_up, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void free_guard(struct guard *guard)
{
    if (guard->stop_fd >= 0)
        close(guard->stop_fd);
    if (guard->signal_fd >= 0)
        close(guard->signal_fd);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
}

int guard_create(void *zmq_context, struct keyring *ring, struct guard **guard_out)
{
    const int no_linger = 0;
    struct guard *guard = calloc(1, sizeof(*guard));
    if (guard == NULL)
        return ERR_NOMEM;
    guard->ring = ring;
    pthread_mutex_init(&guard->lock, NULL);
    guard->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    guard->signal_fd = open_signal();
    guard->socket = zmq_socket(zmq_context, ZMQ_REP);
    if (guard->stop_fd < 0 || guard->signal_fd < 0 || guard->socket == NULL ||
        zmq_setsockopt(guard->socket, ZMQ_LINGER, &no_linger, sizeof(no_linger)) != 0 ||
        zmq_bind(guard->socket, "inproc://zeromq.zap.01") != 0 ||
        pthread_create(&guard->thread, NULL, watch, guard) != 0) {
        if (guard->socket != NULL)
            zmq_close(guard->socket);
        free_guard(guard);
        return ERR_NET;
    }
    *guard_out = guard;
    return 0;
}

void guard_destroy(struct guard *guard)
{
    const uint64_t one = 1;
    if (guard == NULL)
        return;
    while (write(guard->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
    pthread_join(guard->thread, NULL);
    free_guard(guard);
}

uint64_t guard_refused_count(const struct guard *guard)
{
    return atomic_load(&guard->refused_count);
}

int guard_make_pair(char public_out[KEY_TEXT_BYTES], char secret_out[KEY_TEXT_BYTES])
{
    return zmq_curve_keypair(public_out, secret_out) == 0 ? 0 : ERR_NET;
}

bool guard_is_pair(const struct key *key)
{
    char public_key[KEY_TEXT_BYTES];
    return zmq_curve_public(public_key, key->secret_key) == 0 &&
           strcmp(public_key, key->public_key) == 0;
}
