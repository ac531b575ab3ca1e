#include "common/utf8.h"

#include <stdbool.h>

size_t utf8_character_bytes(const char *text, size_t size_bytes)
{
    const unsigned char *c = (const unsigned char *)text;
    if (size_bytes == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2 || c[0] > 0xf4)
        return 0;
    size_t wanted_bytes = c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (wanted_bytes > size_bytes)
        return 0;
    for (size_t i = 1; i < wanted_bytes; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    bool is_surrogate = c[0] == 0xed && c[1] > 0x9f;
    bool is_past_end = c[0] == 0xf4 && c[1] > 0x8f;
    return is_overlong || is_surrogate || is_past_end ? 0 : wanted_bytes;
}

uint32_t utf8_code_point(const char *text, size_t size_bytes)
{
    static const unsigned char masks[UTF8_BYTES_MAX + 1] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *c = (const unsigned char *)text;
    uint32_t code_point = c[0] & masks[size_bytes];
    for (size_t i = 1; i < size_bytes; i++)
        code_point = code_point << 6 | (c[i] & 0x3f);
    return code_point;
}

size_t utf8_write(uint32_t code_point, char out[UTF8_BYTES_MAX + 1])
{
    static const unsigned char starts[UTF8_BYTES_MAX + 1] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size_bytes = code_point < 0x80      ? 1
                        : code_point < 0x800   ? 2
                        : code_point < 0x10000 ? 3
                                               : 4;
    out[size_bytes] = 0;
    for (size_t i = size_bytes - 1; i > 0; i--, code_point >>= 6)
        out[i] = (char)(0x80 | (code_point & 0x3f));
    out[0] = (char)(starts[size_bytes] | code_point);
    return size_bytes;
}
