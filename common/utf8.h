#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

/* utf8 - where a character of UTF-8 ends, and which one it is.
 *
 * Owner:    none: functions only.  Thread: any.  Memory: none.
 * Source:   RFC 3629, section 4.
 * Surprise: none.
 */
#include <stddef.h>
#include <stdint.h>

enum { UTF8_BYTES_MAX = 4, UTF8_CODE_POINTS = 0x110000 };

/* Bytes of the character at text; 0 when there is none, or not all of it within size_bytes. */
size_t utf8_character_bytes(const char *text, size_t size_bytes);

/* The code point of the character at text, which is of that many bytes. */
uint32_t utf8_code_point(const char *text, size_t size_bytes);

/* Writes a character and a NUL; returns its bytes. */
size_t utf8_write(uint32_t code_point, char out[UTF8_BYTES_MAX + 1]);

#endif
