#include "deploy/plan/rate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any link has, less than what makes numbers useless. */
static const double BYTES_PER_S_MIN = 100.0, BYTES_PER_S_MAX = 1e12;

static const struct unit {
    const char *text;
    double bytes;
} units[] = {
    {"bit", 0.125}, {"kbit", 125.0}, {"Mbit", 125e3}, {"Gbit", 125e6},
    {"B", 1.0},     {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
};

int rate_parse(const char *text, double *bytes_per_s_out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text)
        return ERR_INPUT;
    end += strspn(end, " ");
    size_t length = strlen(end);
    if (length > 2 && strcmp(end + length - 2, "/s") == 0)
        length -= 2;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strlen(units[i].text) != length || strncmp(units[i].text, end, length) != 0)
            continue;
        value *= units[i].bytes;
        if (!(value >= BYTES_PER_S_MIN && value <= BYTES_PER_S_MAX))
            return ERR_INPUT;
        *bytes_per_s_out = value;
        return 0;
    }
    return ERR_INPUT;
}

void rate_print(double bytes_per_s, char out[RATE_TEXT_BYTES])
{
    double bits = 8.0 * bytes_per_s;
    if (bits >= 0.9995e9)
        snprintf(out, RATE_TEXT_BYTES, "%.3g Gbit/s", bits * 1e-9);
    else if (bits >= 0.9995e6)
        snprintf(out, RATE_TEXT_BYTES, "%.3g Mbit/s", bits * 1e-6);
    else
        snprintf(out, RATE_TEXT_BYTES, "%.3g kbit/s", bits * 1e-3);
}
