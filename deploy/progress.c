#include "deploy/progress.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "common/err.h"

/* Thirty thousand years: no longer time is shown, whatever an answer says. */
static const double time_max_s = 1e12;

enum { BAR_CELLS_MAX = 30, BAR_CELLS_MIN = 8, COLUMNS_UNKNOWN = 80 };

/* Text that grows at its end and is cut at its size. */
struct text {
    char *bytes;
    size_t size, used;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text->bytes + text->used, text->size - text->used, format, args);
    va_end(args);
    size_t room = text->size - text->used - 1;
    if (length > 0)
        text->used += (size_t)length < room ? (size_t)length : room;
}

void progress_count_text(double count, char *out, size_t out_bytes)
{
    if (count < 1000)
        snprintf(out, out_bytes, "%.0f", count);
    else if (count < 999.95e3)
        snprintf(out, out_bytes, "%.1fk", count / 1e3);
    else
        snprintf(out, out_bytes, "%.1fM", count / 1e6);
}

void progress_time_text(double seconds, char *out, size_t out_bytes)
{
    double shown = fmin(fmax(seconds, 0), time_max_s);
    unsigned long long whole = (unsigned long long)(shown + 0.5);
    unsigned long long hours = whole / 3600, minutes = whole / 60 % 60;
    if (hours)
        snprintf(out, out_bytes, "%llu:%02llu:%02llu", hours, minutes, whole % 60);
    else
        snprintf(out, out_bytes, "%llu:%02llu", minutes, whole % 60);
}

void progress_bytes_text(double bytes, char *out, size_t out_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit_idx = 0;
    while (bytes >= 1023.95 && unit_idx + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        unit_idx++;
    }
    snprintf(out, out_bytes, unit_idx ? "%.1f %s" : "%.0f %s", bytes, units[unit_idx]);
}

static void add_bar(struct text *text, double done, unsigned cells, bool is_utf8)
{
    unsigned full = (unsigned)(fmin(done, 1) * cells);
    if (!is_utf8)
        add(text, "[");
    for (unsigned i = 0; i < cells; i++) {
        if (is_utf8)
            add(text, i < full ? "━" : "─");
        else
            add(text, i < full ? "=" : i == full ? ">" : " ");
    }
    add(text, is_utf8 ? "  " : "]  ");
}

void progress_format(const struct progress_state *state, unsigned bar_cells, bool is_utf8,
                     char *out, size_t out_bytes)
{
    struct text text = {.bytes = out, .size = out_bytes};
    char number[32];
    out[0] = '\0';
    if (strcmp(state->phase, "training") != 0) {
        add(&text, "%s  ", state->phase);
    } else if (state->epoch_count > 0) {
        double epoch_count = ceil(state->epoch_count - 1e-6);
        double current = fmin(floor(state->epoch) + 1, epoch_count);
        add(&text, "epoch %.0f/%.0f  ", current, epoch_count);
    }
    double done = state->step_count ? (double)state->step / (double)state->step_count : 0;
    if (bar_cells)
        add_bar(&text, done, bar_cells, is_utf8);
    const char *unit = state->round_steps > 1 ? "round" : "step";
    if (state->step_count)
        add(&text, "%s %llu/%llu", unit, (unsigned long long)state->step,
            (unsigned long long)state->step_count);
    else if (state->step)
        add(&text, "%s %llu", unit, (unsigned long long)state->step);
    if (isfinite(state->loss))
        add(&text, "  loss %.4g", state->loss);
    if (state->samples_per_s > 0) {
        progress_count_text(state->samples_per_s, number, sizeof(number));
        add(&text, "  %s samples/s", number);
    }
    if (state->left_s >= 0) {
        progress_time_text(state->left_s, number, sizeof(number));
        add(&text, "  %s left", number);
    }
}

void progress_init(struct progress_bar *progress, FILE *out)
{
    *progress = (struct progress_bar){.out = out};
    progress->is_terminal = isatty(fileno(out)) == 1;
    setlocale(LC_CTYPE, "");
    progress->is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static unsigned terminal_columns(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return COLUMNS_UNKNOWN;
    return size.ws_col;
}

/* The widest bar that leaves the line within the terminal, so that it never wraps. */
static unsigned bar_cells_for(const struct progress_state *state, unsigned columns)
{
    char line[PROGRESS_LINE_BYTES];
    progress_format(state, 0, false, line, sizeof(line));
    size_t taken = strlen(line) + 5; /* two brackets, two spaces, one column kept free */
    if (columns < taken + BAR_CELLS_MIN)
        return 0;
    size_t room = columns - taken;
    return room < BAR_CELLS_MAX ? (unsigned)room : BAR_CELLS_MAX;
}

void progress_show(struct progress_bar *progress, uint64_t now_ms,
                   const struct progress_state *state)
{
    char line[PROGRESS_LINE_BYTES];
    if (progress->is_terminal) {
        unsigned columns = terminal_columns(progress->out);
        struct progress_state shown = *state;
        unsigned cells = bar_cells_for(&shown, columns);
        if (!cells) { /* rather a bar than the epoch, which the step tells as well */
            shown.epoch_count = 0;
            cells = bar_cells_for(&shown, columns);
        }
        progress_format(&shown, cells, progress->is_utf8, line, sizeof(line));
        int width = cells ? (int)strlen(line) : (int)columns - 1;
        fprintf(progress->out, "\r\033[K%.*s", width, line);
        fflush(progress->out);
        progress->is_drawn = true;
        return;
    }
    bool is_new_phase = strcmp(progress->last_phase, state->phase) != 0;
    if (now_ms < progress->next_ms && !is_new_phase)
        return;
    progress->next_ms = now_ms + PROGRESS_INTERVAL_MS;
    snprintf(progress->last_phase, sizeof(progress->last_phase), "%s", state->phase);
    progress_format(state, 0, false, line, sizeof(line));
    fprintf(progress->out, "%s\n", line);
    fflush(progress->out);
}

void progress_end(struct progress_bar *progress)
{
    if (progress->is_drawn)
        fputc('\n', progress->out);
    fflush(progress->out);
    progress->is_drawn = false;
}
