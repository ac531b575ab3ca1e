#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

/* address - who a message is from or for: a party and the incarnation of one start of it.
 *
 * On the wire it is a ZeroMQ routing id, the party's letter and 16 lower-case hex digits, so that a
 * process left over from an earlier run never passes for one of this run.
 *
 * Owner:    a value.  Surprise: none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum party {
    PARTY_NONE = 0,
    PARTY_COORDINATOR = 'c',
    PARTY_SHARD = 's',
    PARTY_WORKER = 'w',
    PARTY_STORE = 'd',   /* writes and reads checkpoints; lives in the coordinator's process */
    PARTY_CLIENT = 'q',  /* asks for the status */
    PARTY_COMPUTE = 'm', /* a worker's own threads: never on a wire */
    PARTY_REPORT = 'r',  /* the writer of metrics and summary: never on a wire */
    PARTY_JOURNAL = 'j'  /* the coordinator's memory on disk: never on a wire */
};

struct address {
    enum party party;
    uint64_t id; /* incarnation; 0 where the party is alone */
};

enum { ADDRESS_TEXT_BYTES = 17 };

static inline bool address_equal(struct address a, struct address b)
{
    return a.party == b.party && a.id == b.id;
}

/* Its party speaks on wires. */
bool address_is_wire(struct address address);

/* The routing id: 17 characters and a NUL. */
void address_format(struct address address, char text_out[ADDRESS_TEXT_BYTES + 1]);

/* Reads a routing id; false, and *out stays, for anything but one of ours. */
bool address_parse(const char *text, size_t text_bytes, struct address *out);

#endif
