#include "ps/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"

enum { DRAW_LIMIT_MS = 20000, COMPLAINT_BYTES = 400 };

struct point {
    double epoch, value;
};

struct points {
    struct point items[CURVE_POINTS_MAX];
    size_t count;
    uint64_t offered; /* points added so far */
    uint64_t stride;  /* every stride-th of them is kept */
};

struct curve {
    struct points lines[CURVE_LINE_COUNT];
};

int curve_create(struct curve **curve_out)
{
    struct curve *curve = calloc(1, sizeof(*curve));
    if (curve == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < CURVE_LINE_COUNT; i++)
        curve->lines[i].stride = 1;
    *curve_out = curve;
    return 0;
}

void curve_destroy(struct curve *curve)
{
    free(curve);
}

static void thin_out(struct points *points)
{
    for (size_t i = 0; 2 * i < points->count; i++)
        points->items[i] = points->items[2 * i];
    points->count = (points->count + 1) / 2;
    points->stride *= 2;
}

void curve_add(struct curve *curve, enum curve_line line, double epoch, double value)
{
    struct points *points = &curve->lines[line];
    if (!isfinite(epoch) || !isfinite(value) || points->offered++ % points->stride != 0)
        return;
    if (points->count == CURVE_POINTS_MAX) {
        thin_out(points);
        if ((points->offered - 1) % points->stride != 0)
            return;
    }
    points->items[points->count++] = (struct point){epoch, value};
}

size_t curve_point_count(const struct curve *curve, enum curve_line line)
{
    return curve->lines[line].count;
}

static const char *const block_names[CURVE_LINE_COUNT] = {"train", "test", "accuracy"};

/* gnuplot's data blocks $train, $test, $accuracy. */
static void print_points(FILE *script, const struct curve *curve)
{
    for (size_t line = 0; line < CURVE_LINE_COUNT; line++) {
        const struct points *points = &curve->lines[line];
        if (points->count == 0)
            continue;
        double factor = line == CURVE_TEST_ACCURACY ? 100.0 : 1.0;
        fprintf(script, "$%s << EOD\n", block_names[line]);
        for (size_t i = 0; i < points->count; i++)
            fprintf(script, "%.9g %.9g\n", points->items[i].epoch, points->items[i].value * factor);
        fprintf(script, "EOD\n");
    }
}

/* Text inside gnuplot's single quotes; what it or SVG could take for markup becomes a space. */
static void print_quoted(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text != 0; text++) {
        bool is_plain = (unsigned char)*text >= ' ' && strchr("'\"\\`<>&", *text) == NULL;
        fputc(is_plain ? *text : ' ', script);
    }
    fputc('\'', script);
}

static const char style_text[] =
    "set terminal svg size 900,560 font 'Helvetica,Arial,sans-serif,14' background '#ffffff'"
    " linewidth 1\n"
    "set encoding utf8\n"
    "set border 3 linecolor '#888888'\n"
    "set tics nomirror out scale 0.6 textcolor '#444444'\n"
    "set grid ytics linetype 1 linecolor '#e4e4e4' linewidth 1\n"
    "set key top right horizontal samplen 1.6 textcolor '#222222'\n"
    "set style line 1 linecolor '#9ab4d6' linewidth 1.6\n"
    "set style line 2 linecolor '#0b4f9e' linewidth 2.4 pointtype 7 pointsize 0.45\n"
    "set style line 3 linecolor '#c8641b' linewidth 2.4 pointtype 7 pointsize 0.45\n"
    "set lmargin at screen 0.085\n"
    "set rmargin at screen 0.97\n";

/* Both panels have one epoch axis. */
static void print_range(FILE *script, const struct curve *curve)
{
    double last = 0.0;
    for (size_t line = 0; line < CURVE_LINE_COUNT; line++) {
        const struct points *points = &curve->lines[line];
        if (points->count > 0)
            last = fmax(last, points->items[points->count - 1].epoch);
    }
    if (last > 0.0)
        fprintf(script, "set xrange [0:%.9g]\n", last);
}

static void print_loss(FILE *script, const struct curve *curve)
{
    const char *separator = "plot ";
    fprintf(script, "set ylabel 'loss' textcolor '#444444' offset 1,0\n"
                    "set yrange [*<0:*]\nset format y '%%g'\n");
    if (curve->lines[CURVE_TRAIN_LOSS].count > 0) {
        fprintf(script, "%s$train using 1:2 with lines linestyle 1 title 'train loss'", separator);
        separator = ", ";
    }
    if (curve->lines[CURVE_TEST_LOSS].count > 0)
        fprintf(script, "%s$test using 1:2 with linespoints linestyle 2 title 'test loss'",
                separator);
    fputc('\n', script);
}

/* The smallest round step that cuts the accuracies' range into at most five. */
static double accuracy_step(const struct points *points)
{
    static const double steps[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20};
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < points->count; i++) {
        low = fmin(low, 100.0 * points->items[i].value);
        high = fmax(high, 100.0 * points->items[i].value);
    }
    size_t idx = 0;
    while (idx + 1 < ARRAY_LEN(steps) && steps[idx] * 5.0 < high - low)
        idx++;
    return steps[idx];
}

static void print_script(FILE *script, const struct curve *curve, const char *title)
{
    bool has_accuracy = curve->lines[CURVE_TEST_ACCURACY].count > 0;
    print_points(script, curve);
    fputs(style_text, script);
    print_range(script, curve);
    fputs("set multiplot\nset title ", script);
    print_quoted(script, title);
    fputs(" noenhanced textcolor '#222222' offset 0,-0.3\n", script);
    fputs("set tmargin at screen 0.92\n", script);
    if (!has_accuracy) {
        fputs("set bmargin at screen 0.135\nset xlabel 'epoch' textcolor '#444444'\n", script);
        print_loss(script, curve);
    } else {
        fputs("set bmargin at screen 0.45\nset format x ''\n", script);
        print_loss(script, curve);
        fprintf(script, "set ytics %g\n", accuracy_step(&curve->lines[CURVE_TEST_ACCURACY]));
        fputs("unset title\nset tmargin at screen 0.395\nset bmargin at screen 0.135\n"
              "set format x '%g'\nset xlabel 'epoch' textcolor '#444444'\nset key bottom right\n"
              "set ylabel 'accuracy, %' textcolor '#444444' offset 1,0\nset yrange [*:*<100]\n"
              "plot $accuracy using 1:2 with linespoints linestyle 3 title 'test accuracy'\n",
              script);
    }
    fputs("unset multiplot\n", script);
}

/* The script as a file without a name, at its start; -1 when there is no memory. */
static int script_file(const struct curve *curve, const char *title)
{
    int fd = memfd_create("talweg-plot", MFD_CLOEXEC);
    int copy = fd < 0 ? -1 : dup(fd);
    FILE *script = copy < 0 ? NULL : fdopen(copy, "w");
    if (script == NULL) {
        if (copy >= 0)
            close(copy);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    print_script(script, curve, title);
    bool is_whole = fclose(script) == 0 && lseek(fd, 0, SEEK_SET) == 0;
    if (is_whole)
        return fd;
    close(fd);
    return -1;
}

/* Descriptors that become gnuplot's 0, 1 and 2. */
struct ends {
    int script, picture, complaint;
};

static int spawn_gnuplot(struct ends ends, pid_t *pid_out)
{
    extern char **environ;
    char name[] = "gnuplot", option[] = "--default-settings";
    char *const arguments[] = {name, option, NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    int err = posix_spawn_file_actions_adddup2(&actions, ends.script, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, ends.picture, 1);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, ends.complaint, 2);
    if (err == 0)
        err = posix_spawnp(pid_out, name, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

/* Reads until gnuplot, who alone holds the other end, is gone.  False at the deadline. */
static bool read_to_end(int fd, char text_out[COMPLAINT_BYTES])
{
    size_t at = 0;
    uint64_t begin_ms = clock_now_ms();
    for (;;) {
        char chunk[256];
        uint64_t spent_ms = clock_now_ms() - begin_ms;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (spent_ms >= DRAW_LIMIT_MS)
            return false;
        if (poll(&ready, 1, (int)(DRAW_LIMIT_MS - spent_ms)) <= 0)
            continue;
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size_t room = COMPLAINT_BYTES - 1 - at;
        size_t taken = (size_t)got < room ? (size_t)got : room;
        memcpy(text_out + at, chunk, taken);
        at += taken;
    }
    text_out[at] = 0;
    return true;
}

static int wait_for(pid_t pid, int complaint_fd, struct err_msg *why)
{
    char text[COMPLAINT_BYTES] = "";
    bool is_in_time = read_to_end(complaint_fd, text);
    if (!is_in_time)
        kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!is_in_time)
        return err_set(why, ERR_TIMEOUT, "gnuplot was not done after %d s", DRAW_LIMIT_MS / 1000);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(why, ERR_IO, "gnuplot failed: %s", text);
    return 0;
}

/* Draws into an open file. */
static int draw(int script_fd, int picture_fd, struct err_msg *why)
{
    int pipe_fds[2];
    pid_t pid;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return err_set(why, ERR_IO, "gnuplot: no pipe: %s", strerror(errno));
    int err = spawn_gnuplot((struct ends){script_fd, picture_fd, pipe_fds[1]}, &pid);
    close(pipe_fds[1]);
    if (err == ENOENT)
        err = err_set(why, ERR_NOT_FOUND, "gnuplot is not installed (Debian: gnuplot-nox)");
    else if (err != 0)
        err = err_set(why, ERR_IO, "gnuplot cannot be started: %s", strerror(err));
    else
        err = wait_for(pid, pipe_fds[0], why);
    close(pipe_fds[0]);
    return err;
}

int curve_draw(const struct curve *curve, const char *title, const char *path, struct err_msg *why)
{
    if (curve->lines[CURVE_TRAIN_LOSS].count + curve->lines[CURVE_TEST_LOSS].count == 0)
        return err_set(why, ERR_NOT_FOUND, "there are no points to draw");
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "%s: the path is too long", path);
    int script_fd = script_file(curve, title);
    if (script_fd < 0)
        return err_set(why, ERR_NOMEM, "%s: no memory for its script", path);
    int err = 0;
    int picture_fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (picture_fd < 0) {
        err = err_set(why, ERR_IO, "%s: cannot write: %s", temporary, strerror(errno));
        goto fail;
    }
    err = draw(script_fd, picture_fd, why);
    close(picture_fd);
    if (err == 0 && rename(temporary, path) != 0)
        err = err_set(why, ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    if (err != 0)
        unlink(temporary);
fail:
    close(script_fd);
    return err;
}
