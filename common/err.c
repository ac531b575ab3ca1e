#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* C0 but for the line end, DEL, and C1 as UTF-8 has it: what terminals take for orders. */
static size_t control_bytes(const char *text)
{
    unsigned char byte = (unsigned char)text[0], next = (unsigned char)text[1];
    if (byte == 0xc2 && next >= 0x80 && next <= 0x9f)
        return 2;
    return (byte < 0x20 && byte != '\n') || byte == 0x7f;
}

void err_blank(char *text)
{
    while (*text != '\0') {
        size_t bytes = control_bytes(text);
        memset(text, '?', bytes);
        text += bytes == 0 ? 1 : bytes;
    }
}

/* Formatted aside first: the arguments may point into why->text. */
static void format_text(char text_out[sizeof(struct err_msg)], const char *format, va_list args)
{
    if (vsnprintf(text_out, sizeof(struct err_msg), format, args) < 0)
        text_out[0] = '\0';
    err_blank(text_out);
}

int err_set(struct err_msg *why, int code, const char *format, ...)
{
    if (why == NULL)
        return code;
    va_list args;
    va_start(args, format);
    char text[sizeof(struct err_msg)];
    format_text(text, format, args);
    va_end(args);
    memcpy(why->text, text, strlen(text) + 1);
    return code;
}

int err_prefix(struct err_msg *why, int code, const char *format, ...)
{
    if (why == NULL)
        return code;
    va_list args;
    va_start(args, format);
    char prefix[sizeof(struct err_msg)];
    format_text(prefix, format, args);
    va_end(args);
    size_t prefix_bytes = strlen(prefix);
    size_t kept_bytes = strnlen(why->text, sizeof(why->text) - 1 - prefix_bytes);
    memmove(why->text + prefix_bytes, why->text, kept_bytes);
    memcpy(why->text, prefix, prefix_bytes);
    why->text[prefix_bytes + kept_bytes] = '\0';
    return code;
}

const char *err_text(int code)
{
    switch (code) {
    case 0:
        return "ok";
#define ERR_CASE(name, number, text) \
    case name: \
        return text;
        ERR_TABLE(ERR_CASE)
#undef ERR_CASE
    default:
        return "unknown error";
    }
}
