#include "common/address.h"

#include <inttypes.h>
#include <stdio.h>

bool address_is_wire(struct address address)
{
    switch (address.party) {
    case PARTY_COORDINATOR:
    case PARTY_SHARD:
    case PARTY_WORKER:
    case PARTY_STORE:
    case PARTY_CLIENT:
        return true;
    case PARTY_NONE:
    case PARTY_COMPUTE:
    case PARTY_REPORT:
    case PARTY_JOURNAL:
        return false;
    }
    return false;
}

void address_format(struct address address, char text_out[ADDRESS_TEXT_BYTES + 1])
{
    snprintf(text_out, ADDRESS_TEXT_BYTES + 1, "%c%016" PRIx64, (char)address.party, address.id);
}

bool address_parse(const char *text, size_t text_bytes, struct address *out)
{
    if (text_bytes != ADDRESS_TEXT_BYTES)
        return false;
    struct address address = {.party = (enum party)(unsigned char)text[0]};
    for (size_t i = 1; i < ADDRESS_TEXT_BYTES; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            address.id = address.id << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            address.id = address.id << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    if (!address_is_wire(address))
        return false;
    *out = address;
    return true;
}
