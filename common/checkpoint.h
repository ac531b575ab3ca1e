#ifndef COMMON_CHECKPOINT_H
#define COMMON_CHECKPOINT_H

/* checkpoint - one version of all weights and their optimizer state, in a folder that is whole or
 * is not there.
 *
 * OUT/checkpoint-<step>/ holds model-0000i-of-0000N.safetensors and its index as model hubs lay
 * them out, optimizer-0000i-of-0000N.safetensors (tensors "<state>.<tensor>"), and checkpoint.json,
 * the manifest: step, run, settings, sha256 of every file.  It is built in
 * OUT/checkpoint-<step>.tmp-<tag>/, the manifest last, all of it synced, then renamed.
 *
 * Shapes:   a block's parts: [1 + state_count][elements of the block] f32, weights first.
 * Owner:    the store that writes, whoever resumes or evaluates.  Thread: one a handle.
 * Memory:   names and a flag a block; weights only pass through.
 * Source:   safetensors' sharded layout; Pillai et al., "All File Systems Are Not Created Equal",
 *           OSDI 2014 (what to sync, and in which order).
 * Surprise: checkpoint_open reads every byte once, to check it.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/early_stop.h"
#include "common/err.h"
#include "common/layout.h"
#include "common/settings.h"

enum { CHECKPOINT_STATES_MAX = 4, CHECKPOINT_TEXT_BYTES = 65 };

/* What a checkpoint is of. */
struct checkpoint_info {
    uint64_t step;                           /* version of every block */
    char run_id[CHECKPOINT_TEXT_BYTES];      /* of the run that wrote it */
    char fingerprint[SETTINGS_RESUME_BYTES]; /* settings_resume_fingerprint */
    char optimizer[CHECKPOINT_TEXT_BYTES];   /* kind */
    size_t state_count;
    char states[CHECKPOINT_STATES_MAX][CHECKPOINT_TEXT_BYTES]; /* "exp_avg", ... */
    char digest[CHECKPOINT_TEXT_BYTES]; /* of the weights in layout order; made by commit */
    struct early_stop early_stop; /* as it was when this step was made, before its evaluation */
};

/* How one is written; texts are copied. */
struct checkpoint_spec {
    const char *out_dir; /* exists */
    const char *tag;     /* letters and digits; own to this life of the writing process */
    struct checkpoint_info info;
    const struct layout *layout; /* borrowed until the writer is gone */
    uint64_t file_bytes;         /* files are cut before a tensor that would exceed this */
};

struct checkpoint_writer;
struct checkpoint_reader;

/* Makes the folder under its temporary name and the files in full size.  ERR_IO with the path and
 * the system's reason; ERR_INPUT when file_bytes would make too many files; ERR_NOMEM.  Nothing
 * stays behind on failure. */
MUST_USE int checkpoint_begin(const struct checkpoint_spec *spec,
                              struct checkpoint_writer **writer_out, struct err_msg *why);

/* Writes one block, in any order; one that is there already is left as it is.  ERR_IO. */
MUST_USE int checkpoint_put(struct checkpoint_writer *writer, size_t block_idx, const float *parts,
                            struct err_msg *why);

/* Blocks not yet put, and the first of them. */
size_t checkpoint_missing(const struct checkpoint_writer *writer, size_t *first_out);

/* Makes it a checkpoint and writes its path; replaces one of the same step.  Consumes the writer
 * when it succeeds; else the writer is as it was: commit it again, or abandon it.  ERR_AGAIN when a
 * block is missing; ERR_IO. */
MUST_USE int checkpoint_commit(struct checkpoint_writer *writer, char path_out[PATH_MAX],
                               struct err_msg *why);

/* Removes all of it; NULL is fine. */
void checkpoint_abandon(struct checkpoint_writer *writer);

/* Opens a checkpoint's folder and checks manifest and files.  ERR_NOT_FOUND: no manifest;
 * ERR_INPUT: which file is missing, cut or changed. */
MUST_USE int checkpoint_open(const char *dir, struct checkpoint_reader **reader_out,
                             struct err_msg *why);
void checkpoint_close(struct checkpoint_reader *reader);

/* Valid while the reader is open. */
const struct checkpoint_info *checkpoint_info(const struct checkpoint_reader *reader);

/* A job of this settings_resume_fingerprint may go on from it.  ERR_INPUT with the path of the
 * first setting that differs. */
MUST_USE int checkpoint_check_settings(const struct checkpoint_reader *reader,
                                       const char *fingerprint, struct err_msg *why);

/* Fits this job: the same tensors in the same order (any block size), and, unless NULL, the
 * settings as above.  ERR_INPUT with the first difference, both shapes named. */
MUST_USE int checkpoint_check(const struct checkpoint_reader *reader, const struct layout *layout,
                              const char *fingerprint, struct err_msg *why);

/* out: the first part_count (1..1 + state_count) parts of a block.  The layout has passed
 * checkpoint_check.  ERR_IO. */
MUST_USE int checkpoint_read(const struct checkpoint_reader *reader, const struct layout *layout,
                             size_t block_idx, size_t part_count, float *out, struct err_msg *why);

/* out: [weight_count], as checkpoint_read. */
MUST_USE int checkpoint_read_weights(const struct checkpoint_reader *reader,
                                     const struct layout *layout, float *out, struct err_msg *why);

/* The same of a state of the optimizer, by its name, as "average".  ERR_INPUT when it has none. */
MUST_USE int checkpoint_read_state(const struct checkpoint_reader *reader,
                                   const struct layout *layout, const char *name, float *out,
                                   struct err_msg *why);
/* What dir/checkpoint.json says, which alone is read.  ERR_NOT_FOUND, ERR_INPUT, ERR_NOMEM. */
MUST_USE int checkpoint_read_info(const char *dir, struct checkpoint_info *info_out,
                                  struct err_msg *why);

/* path_out: dir itself when it is a checkpoint, else the one within dir that was written last: one
 * of an earlier run may have a higher step.  Only the manifest is looked at.  ERR_NOT_FOUND with a
 * sentence. */
MUST_USE int checkpoint_latest(const char *dir, char path_out[PATH_MAX], struct err_msg *why);

/* The checkpoint-<step> folder within dir that was written last but idx others, whole or not; dir
 * itself, as the only one, when it is a checkpoint.  ERR_NOT_FOUND past the last. */
MUST_USE int checkpoint_candidate(const char *dir, size_t idx, char path_out[PATH_MAX],
                                  struct err_msg *why);

/* What goes when a checkpoint is there. */
struct prune_rule {
    uint64_t step;      /* of it: later ones are of another life of the job and are left alone */
    size_t keep;        /* of those up to it the latest so many stay; 0: all */
    uint64_t spared[2]; /* steps of which one stays as well; 0: none */
};

MUST_USE int checkpoint_prune(const char *out_dir, const struct prune_rule *rule,
                              struct err_msg *why);

/* Removes what killed writers left: temporary folders of any tag but this one. */
MUST_USE int checkpoint_sweep(const char *out_dir, const char *tag, struct err_msg *why);

#endif
