#include "common/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"

static struct {
    int fd; /* -1: not open */
    enum log_level level;
    int rank;
    char role[32];
} sink = {.fd = -1};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_open(int fd, enum log_level level, const char *role, int rank)
{
    sink.fd = fd;
    sink.level = level;
    sink.rank = rank;
    snprintf(sink.role, sizeof(sink.role), "%s", role);
}

/* Bytes that vsnprintf put into a room of room_bytes, given what it returned. */
static size_t written(int length, size_t room_bytes)
{
    if (length < 0)
        return 0;
    return (size_t)length < room_bytes ? (size_t)length : room_bytes - 1;
}

static size_t write_head(char line_out[LOG_LINE_BYTES], enum log_level level, const char *event)
{
    char time_text[CLOCK_TEXT_BYTES], rank_text[24] = "";
    clock_utc_text(time_text);
    if (sink.rank >= 0)
        snprintf(rank_text, sizeof(rank_text), " rank=%d", sink.rank);
    return written(snprintf(line_out, LOG_LINE_BYTES, "ts=%s level=%s role=%s%s ev=%s", time_text,
                            level_names[level], sink.role, rank_text, event),
                   LOG_LINE_BYTES);
}

/* A line stays one line, and cannot steer a terminal, whatever a peer put into it. */
static void blank_control(char *text, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (sink.fd < 0 || level < sink.level)
        return;
    char line[LOG_LINE_BYTES];
    size_t length = write_head(line, level, event);
    if (format != NULL && length + 2 < sizeof(line)) {
        line[length++] = ' ';
        va_list args;
        va_start(args, format);
        length += written(vsnprintf(line + length, sizeof(line) - length, format, args),
                          sizeof(line) - length);
        va_end(args);
    }
    blank_control(line, length);
    line[length++] = '\n'; /* in the place of the NUL */
    if (write(sink.fd, line, length) < 0)
        return; /* there is nowhere to say so */
}

static bool is_plain(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text <= ' ' || strchr("\"=\\\x7f", *text) != NULL)
            return false;
    return true;
}

/* The letter that stands for c after a backslash, or 0 when c stands for itself. */
static char escape_letter(char c)
{
    switch (c) {
    case '\n':
        return 'n';
    case '\t':
        return 't';
    case '"':
    case '\\':
        return c;
    default:
        return 0;
    }
}

const char *log_quote(char *quoted_out, size_t size_bytes, const char *text)
{
    size_t length = strlen(text);
    if (is_plain(text) && length < size_bytes)
        return memcpy(quoted_out, text, length + 1);
    char *next = quoted_out, *last = quoted_out + size_bytes - 2; /* room for the quote and NUL */
    *next++ = '"';
    for (; *text != '\0'; text++) {
        char letter = escape_letter(*text);
        if (next + (letter != 0 ? 2 : 1) > last)
            break;
        if (letter != 0)
            *next++ = '\\';
        *next++ = letter != 0 ? letter : *text;
    }
    *next++ = '"';
    *next = '\0';
    return quoted_out;
}
