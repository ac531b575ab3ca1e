#ifndef COMMON_ELEMENTARY_H
#define COMMON_ELEMENTARY_H

/* elementary - logarithm, exponential, sine and cosine whose bits no C library decides.
 *
 * Those of the C library differ in the last bit between processors and versions; these only add,
 * multiply and divide, so what is drawn with them is the same everywhere.
 *
 * Owner:    none.  Thread: no state.  Memory: none.
 * Source:   Taylor's series after the usual reductions of the argument.
 * Surprise: inline, so that loops around them can be vectorised.
 */
#include <stdint.h>
#include <string.h>

/* ln x of a normal number x > 0, error below 1e-14 relative.  With x = m 2^k and m in [sqrt(1/2),
 * sqrt(2)), ln x = k ln 2 + 2 artanh(s), s = (m - 1) / (m + 1); artanh by its series to s^17. */
static inline double elementary_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    /* Adding the distance from sqrt(1/2) to 1 carries into the exponent when m is past sqrt(1/2).
     */
    uint64_t shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    int32_t exponent = (int32_t)(shifted >> 52) - 1023;
    uint64_t mantissa_bits = (shifted & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    double m;
    memcpy(&m, &mantissa_bits, sizeof(m));
    double s = (m - 1) / (m + 1), z = s * s;
    double series = 1.0 / 17;
    series = series * z + 1.0 / 15;
    series = series * z + 1.0 / 13;
    series = series * z + 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    series = series * z + 1.0;
    return (double)exponent * 0x1.62e42fefa39efp-1 + 2 * s * series;
}

/* cosine and sine of x in [-pi/4, pi/4] by their series, error below 1e-15. */
static inline void elementary_turn(double x, double *cosine_out, double *sine_out)
{
    double z = x * x;
    double sine = -1.0 / 1307674368000;
    sine = sine * z + 1.0 / 6227020800;
    sine = sine * z - 1.0 / 39916800;
    sine = sine * z + 1.0 / 362880;
    sine = sine * z - 1.0 / 5040;
    sine = sine * z + 1.0 / 120;
    sine = sine * z - 1.0 / 6;
    *sine_out = sine * z * x + x;
    double cosine = 1.0 / 20922789888000;
    cosine = cosine * z - 1.0 / 87178291200;
    cosine = cosine * z + 1.0 / 479001600;
    cosine = cosine * z - 1.0 / 3628800;
    cosine = cosine * z + 1.0 / 40320;
    cosine = cosine * z - 1.0 / 720;
    cosine = cosine * z + 1.0 / 24;
    cosine = cosine * z - 1.0 / 2;
    *cosine_out = cosine * z + 1;
}

/* e^x of x in [-700, 700], error below 1e-13 relative.  With x = k ln 2 + r and |r| <= ln 2 / 2,
 * e^x = 2^k e^r; e^r by its series to r^13. */
static inline double elementary_exp(double x)
{
    double turns = x * 0x1.71547652b82fep+0;
    int32_t k = (int32_t)(turns < 0 ? turns - 0.5 : turns + 0.5);
    double r = x - (double)k * 0x1.62e42fefa39efp-1, sum = 1;
    for (int32_t i = 13; i > 0; i--)
        sum = sum * r / (double)i + 1;
    uint64_t power_bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &power_bits, sizeof(power));
    return sum * power;
}

#endif
