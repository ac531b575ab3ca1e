#include "common/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/checkpoint_manifest.h"
#include "common/tensor_set.h"

struct checkpoint_reader {
    char *dir;
    struct manifest manifest;
    struct tensor_set *weights;
    struct tensor_set *states; /* tensor s * tensor_count + t: state s of tensor t */
};

/* Opens those of the manifest's files whose names begin with stem. */
static int open_set(const struct checkpoint_reader *reader, const char *stem,
                    struct tensor_set **set_out, struct err_msg *why)
{
    const struct manifest *manifest = &reader->manifest;
    const char **names = calloc(manifest->file_count + 1, sizeof(*names));
    if (names == NULL)
        return err_set(why, ERR_NOMEM, "%s: no memory", reader->dir);
    size_t count = 0, stem_bytes = strlen(stem);
    for (size_t i = 0; i < manifest->file_count; i++)
        if (strncmp(manifest->files[i].name, stem, stem_bytes) == 0)
            names[count++] = manifest->files[i].name;
    int err = tensor_set_open(reader->dir, names, count, set_out, why);
    free(names);
    return err;
}

int checkpoint_open(const char *dir, struct checkpoint_reader **reader_out, struct err_msg *why)
{
    struct checkpoint_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL || (reader->dir = strdup(dir)) == NULL) {
        checkpoint_close(reader);
        return err_set(why, ERR_NOMEM, "%s: no memory", dir);
    }
    int err = manifest_read(dir, &reader->manifest, why);
    if (err == 0)
        err = manifest_check_files(dir, &reader->manifest, why);
    if (err == 0)
        err = open_set(reader, "model-", &reader->weights, why);
    if (err == 0)
        err = open_set(reader, "optimizer-", &reader->states, why);
    if (err != 0)
        goto fail;
    *reader_out = reader;
    return 0;
fail:
    checkpoint_close(reader);
    return err;
}

void checkpoint_close(struct checkpoint_reader *reader)
{
    if (reader == NULL)
        return;
    tensor_set_close(reader->weights);
    tensor_set_close(reader->states);
    manifest_free(&reader->manifest);
    free(reader->dir);
    free(reader);
}

const struct checkpoint_info *checkpoint_info(const struct checkpoint_reader *reader)
{
    return &reader->manifest.info;
}

enum { SHAPE_TEXT_BYTES = 192, NAME_TEXT_BYTES = SAFETENSORS_NAME_BYTES };

/* "[3, 3, 16]" */
static void shape_text(const uint64_t *shape, uint32_t dims, char out[SHAPE_TEXT_BYTES])
{
    size_t at = 0;
    out[at++] = '[';
    for (uint32_t d = 0; d < dims; d++)
        at += (size_t)snprintf(out + at, SHAPE_TEXT_BYTES - at, "%s%" PRIu64, d == 0 ? "" : ", ",
                               shape[d]);
    snprintf(out + at, SHAPE_TEXT_BYTES - at, "]");
}

static int check_tensor(const struct checkpoint_reader *reader,
                        const struct safetensors_entry *found, const struct tensor_spec *wanted,
                        const char *name, struct err_msg *why)
{
    uint64_t shape[TENSOR_DIMS_MAX];
    for (uint32_t d = 0; d < wanted->dims; d++)
        shape[d] = wanted->shape[d];
    if (strcmp(found->name, name) == 0 && found->dims == wanted->dims &&
        memcmp(found->shape, shape, wanted->dims * sizeof(*shape)) == 0)
        return 0;
    char found_text[SHAPE_TEXT_BYTES], wanted_text[SHAPE_TEXT_BYTES];
    shape_text(found->shape, found->dims, found_text);
    shape_text(shape, wanted->dims, wanted_text);
    return err_set(why, ERR_INPUT,
                   "%s: does not fit the job's model: it has \"%s\" of shape %s where the job has "
                   "\"%s\" of shape %s",
                   reader->dir, found->name, found_text, name, wanted_text);
}

/* The set's tensors first .. first + tensor_count are the layout's, each called state.name. */
static int check_part(const struct checkpoint_reader *reader, const struct layout *layout,
                      const char *state, size_t part, struct err_msg *why)
{
    const struct tensor_set *set = part == 0 ? reader->weights : reader->states;
    size_t first = part == 0 ? 0 : (part - 1) * layout->tensor_count;
    for (size_t i = 0; i < layout->tensor_count && first + i < tensor_set_count(set); i++) {
        char name[NAME_TEXT_BYTES];
        snprintf(name, sizeof(name), "%s%s%s", state, part == 0 ? "" : ".",
                 layout->tensors[i].name);
        int err =
            check_tensor(reader, tensor_set_entry(set, first + i), &layout->tensors[i], name, why);
        if (err != 0)
            return err;
    }
    return 0;
}

/* The first word of job, "path:digest ", that found has not in its place; NULL: none.  It is empty
 * when found has more words. */
static const char *first_difference(const char *job, const char *found)
{
    size_t at = 0;
    while (job[at] != 0 && job[at] == found[at])
        at++;
    if (job[at] == found[at])
        return NULL;
    while (at > 0 && job[at - 1] != ' ')
        at--;
    return job + at;
}

int checkpoint_check_settings(const struct checkpoint_reader *reader, const char *fingerprint,
                              struct err_msg *why)
{
    const char *word = first_difference(fingerprint, reader->manifest.info.fingerprint);
    if (word == NULL)
        return 0;
    int name_bytes = (int)strcspn(word, ": ");
    return err_set(why, ERR_INPUT,
                   "%s: this job has %s%.*s than the one that wrote it; a job that goes on may "
                   "differ in job.epochs or job.steps, unless optimizer.schedule is \"cosine\", "
                   "and in what does not decide the weights",
                   reader->dir, name_bytes == 0 ? "other settings" : "another ", name_bytes, word);
}

int checkpoint_check(const struct checkpoint_reader *reader, const struct layout *layout,
                     const char *fingerprint, struct err_msg *why)
{
    const struct checkpoint_info *info = &reader->manifest.info;
    int err = check_part(reader, layout, "", 0, why);
    if (err != 0)
        return err;
    size_t found = tensor_set_count(reader->weights);
    size_t found_states = tensor_set_count(reader->states);
    if (found != layout->tensor_count || found_states != info->state_count * layout->tensor_count)
        return err_set(why, ERR_INPUT,
                       "%s: does not fit the job's model: it has %zu tensors and %zu of the "
                       "optimizer's; the job has %zu and %zu",
                       reader->dir, found, found_states, layout->tensor_count,
                       info->state_count * layout->tensor_count);
    for (size_t s = 0; s < info->state_count && err == 0; s++)
        err = check_part(reader, layout, info->states[s], s + 1, why);
    if (err != 0)
        return err;
    return fingerprint == NULL ? 0 : checkpoint_check_settings(reader, fingerprint, why);
}

int checkpoint_read(const struct checkpoint_reader *reader, const struct layout *layout,
                    size_t block_idx, size_t part_count, float *out, struct err_msg *why)
{
    const struct block_spec *block = &layout->blocks[block_idx];
    size_t count = (size_t)(block->range.end - block->range.begin);
    uint64_t first = block->range.begin - layout->tensor_begin[block->tensor_idx];
    int err = 0;
    for (size_t part = 0; part < part_count && err == 0; part++, out += count) {
        const struct tensor_set *set = part == 0 ? reader->weights : reader->states;
        size_t before = part == 0 ? 0 : (part - 1) * layout->tensor_count;
        err = tensor_set_read(set, before + block->tensor_idx, first, out, count, why);
    }
    return err;
}

/* The tensors of a layout, from the set's `first` on. */
static int read_vector(const struct tensor_set *set, size_t first, const struct layout *layout,
                       float *out, struct err_msg *why)
{
    int err = 0;
    for (size_t i = 0; i < layout->tensor_count && err == 0; i++) {
        uint64_t begin = layout->tensor_begin[i];
        size_t count = (size_t)(layout->tensor_begin[i + 1] - begin);
        err = tensor_set_read(set, first + i, 0, out + begin, count, why);
    }
    return err;
}

int checkpoint_read_weights(const struct checkpoint_reader *reader, const struct layout *layout,
                            float *out, struct err_msg *why)
{
    return read_vector(reader->weights, 0, layout, out, why);
}

int checkpoint_read_state(const struct checkpoint_reader *reader, const struct layout *layout,
                          const char *name, float *out, struct err_msg *why)
{
    const struct checkpoint_info *info = &reader->manifest.info;
    for (size_t s = 0; s < info->state_count; s++)
        if (strcmp(info->states[s], name) == 0)
            return read_vector(reader->states, s * layout->tensor_count, layout, out, why);
    return err_set(why, ERR_INPUT, "%s: has no \"%s\" beside its weights", reader->dir, name);
}
