#ifndef PS_RESUME_H
#define PS_RESUME_H

/* resume - the checkpoint that a run goes on from: the one named, or of a folder of them the one
 * written last that is as it was written.
 *
 * Owner:    a value of the store.  Thread: no state.
 * Surprise: none.
 */
#include "common/checkpoint.h"

enum { RESUME_NOTE_BYTES = 1024 };

struct resume {
    uint64_t step;
    struct early_stop early_stop; /* as it was when that was made */
    char path[PATH_MAX];
    char note[RESUME_NOTE_BYTES]; /* a sentence about newer ones that are broken; "": none are */
};

/* Opens it, which reads every byte once.  ERR_NOT_FOUND, ERR_INPUT, ERR_IO with a sentence, about
 * the one written last. */
MUST_USE int resume_open(const char *dir, struct resume *resume_out,
                         struct checkpoint_reader **reader_out, struct err_msg *why);

#endif
