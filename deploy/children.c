#include "deploy/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct children {
    size_t count, count_max;
    struct child list[];
};

int children_create(size_t count_max, struct children **children_out)
{
    struct children *children = calloc(1, sizeof(*children) + count_max * sizeof(struct child));
    if (!children)
        return ERR_NOMEM;
    children->count_max = count_max;
    *children_out = children;
    return 0;
}

void children_destroy(struct children *children)
{
    if (!children)
        return;
    children_signal_all(children, SIGKILL);
    for (size_t i = 0; i < children->count; i++) {
        struct child *child = &children->list[i];
        if (child->is_running)
            waitpid(child->pid, &child->wait_status, 0);
        struct stat said;
        if (stat(child->said_path, &said) == 0 && said.st_size == 0)
            unlink(child->said_path);
    }
    free(children);
}

/* In the new process: async-signal-safe calls only.  Never returns. */
static void become(char *const argv[], int said_fd, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The parent may have died before the line above: then nobody would send the signal. */
    if (getppid() != parent)
        _exit(127);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, STDIN_FILENO);
    dup2(said_fd, STDOUT_FILENO);
    dup2(said_fd, STDERR_FILENO);
    execv(argv[0], argv);
    static const char text[] = "cannot be executed\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(127);
}

/* One start of a child whose name and said_path are set. */
static int begin(struct child *child, char *const argv[], int open_flags, struct err_msg *why)
{
    if (access(argv[0], X_OK) != 0)
        return err_set(why, ERR_IO, "%s: cannot be executed: %s", argv[0], strerror(errno));
    int said_fd = open(child->said_path, O_WRONLY | O_APPEND | O_CLOEXEC | open_flags, 0666);
    if (said_fd < 0)
        return err_set(why, ERR_IO, "%s: cannot be written: %s", child->said_path,
                       strerror(errno));

    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(argv, said_fd, parent);
    int fork_errno = errno;
    close(said_fd);
    if (pid < 0)
        return err_set(why, ERR_IO, "%s: cannot be started: %s", child->name,
                       strerror(fork_errno));
    child->pid = pid;
    child->start_count++;
    child->is_running = true;
    return 0;
}

int children_spawn(struct children *children, const char *name, char *const argv[],
                   const char *said_path, struct err_msg *why)
{
    if (children->count == children->count_max)
        return err_set(why, ERR_FULL, "more than %zu processes to start", children->count_max);
    struct child *child = &children->list[children->count];
    snprintf(child->name, sizeof(child->name), "%s", name);
    snprintf(child->said_path, sizeof(child->said_path), "%s", said_path);
    int code = begin(child, argv, O_CREAT | O_TRUNC, why);
    if (code == 0)
        children->count++;
    return code;
}

int children_respawn(struct children *children, size_t idx, char *const argv[],
                     struct err_msg *why)
{
    return begin(&children->list[idx], argv, O_CREAT, why);
}

const struct child *children_reap(struct children *children)
{
    for (size_t i = 0; i < children->count; i++) {
        struct child *child = &children->list[i];
        if (!child->is_running || waitpid(child->pid, &child->wait_status, WNOHANG) != child->pid)
            continue;
        child->is_running = false;
        return child;
    }
    return NULL;
}

size_t children_count(const struct children *children)
{
    return children->count;
}

const struct child *children_at(const struct children *children, size_t idx)
{
    return &children->list[idx];
}

size_t children_running(const struct children *children)
{
    size_t running_count = 0;
    for (size_t i = 0; i < children->count; i++)
        running_count += children->list[i].is_running;
    return running_count;
}

void children_signal(const struct children *children, size_t idx, int signal_number)
{
    if (children->list[idx].is_running)
        kill(children->list[idx].pid, signal_number);
}

void children_signal_all(const struct children *children, int signal_number)
{
    for (size_t i = 0; i < children->count; i++)
        children_signal(children, i, signal_number);
}

bool child_is_fine(const struct child *child)
{
    return !child->is_running && WIFEXITED(child->wait_status) &&
           WEXITSTATUS(child->wait_status) == 0;
}

/* The last line of a file that is not empty; "" when there is none. */
static void read_last_line(const char *path, char *out, size_t out_bytes)
{
    char tail[4096];
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t begin = size > (off_t)sizeof(tail) ? size - (off_t)sizeof(tail) : 0;
    ssize_t got = pread(fd, tail, sizeof(tail), begin);
    close(fd);
    size_t end = got > 0 ? (size_t)got : 0;
    while (end > 0 && (tail[end - 1] == '\n' || tail[end - 1] == ' '))
        end--;
    size_t first = end;
    while (first > 0 && tail[first - 1] != '\n')
        first--;
    snprintf(out, out_bytes, "%.*s", (int)(end - first), tail + first);
}

void child_why(const struct child *child, char *out, size_t out_bytes)
{
    char said[1024];
    read_last_line(child->said_path, said, sizeof(said));
    const char *between = said[0] ? ": " : "";
    if (WIFSIGNALED(child->wait_status)) {
        int number = WTERMSIG(child->wait_status);
        snprintf(out, out_bytes, "was killed by signal %d (%s)%s%s", number, strsignal(number),
                 between, said);
    } else {
        snprintf(out, out_bytes, "ended with code %d%s%s", WEXITSTATUS(child->wait_status), between,
                 said);
    }
}
