#include "common/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    int code = clock_gettime(clock, &now);
    assert(code == 0); /* it fails only for a clock that does not exist */
    (void)code;
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t read_us(clockid_t clock)
{
    return read_ns(clock) / 1000;
}

uint64_t clock_now_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

uint64_t clock_cpu_us(void)
{
    return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

void clock_utc_text(char text_out[CLOCK_TEXT_BYTES])
{
    uint64_t now_us = read_us(CLOCK_REALTIME);
    time_t seconds = (time_t)(now_us / 1000000);
    struct tm utc;
    char date[24];
    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        snprintf(date, sizeof(date), "1970-01-01T00:00:00");
    snprintf(text_out, CLOCK_TEXT_BYTES, "%s.%03uZ", date, (unsigned)(now_us / 1000 % 1000));
}
