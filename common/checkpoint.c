#include "common/checkpoint.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "common/checkpoint_folder.h"
#include "common/checkpoint_manifest.h"
#include "common/document.h"
#include "common/log.h"
#include "common/path.h"

struct checkpoint_writer {
    struct checkpoint_info info;
    const struct layout *layout;
    char *out_dir;
    char folder[PATH_MAX]; /* the temporary one; "" when there is none */
    struct tensor_set *weights;
    struct tensor_set *states; /* tensor s * tensor_count + t: state s of tensor t */
    bool *is_put;              /* [block_count] */
    size_t put_count;
    /* A sync failed; the next would succeed whether or not the disk has what was written then. */
    bool is_unsound;
};

static bool is_tag(const char *tag)
{
    size_t length = 0;
    while (islower((unsigned char)tag[length]) || isdigit((unsigned char)tag[length]))
        length++;
    return length > 0 && length < 64 && tag[length] == 0;
}

/* The tensors of one part: weights (state NULL), or a state. */
static void fill_entries(const struct layout *layout, const char *state,
                         struct safetensors_entry *out)
{
    for (size_t i = 0; i < layout->tensor_count; i++) {
        const struct tensor_spec *tensor = &layout->tensors[i];
        snprintf(out[i].name, sizeof(out[i].name), "%s%s%s", state == NULL ? "" : state,
                 state == NULL ? "" : ".", tensor->name);
        out[i].dims = tensor->dims;
        for (uint32_t d = 0; d < tensor->dims; d++)
            out[i].shape[d] = tensor->shape[d];
    }
}

static int make_files(struct checkpoint_writer *writer, uint64_t file_bytes, struct err_msg *why)
{
    size_t tensor_count = writer->layout->tensor_count, state_count = writer->info.state_count;
    size_t most = tensor_count * (state_count > 0 ? state_count : 1);
    struct safetensors_entry *entries = calloc(most, sizeof(*entries));
    if (entries == NULL)
        return err_set(why, ERR_NOMEM, "no memory for a checkpoint of %zu tensors", tensor_count);
    fill_entries(writer->layout, NULL, entries);
    int err = tensor_set_create(writer->folder, "model", entries, tensor_count, file_bytes,
                                &writer->weights, why);
    for (size_t s = 0; s < state_count; s++)
        fill_entries(writer->layout, writer->info.states[s], entries + s * tensor_count);
    if (err == 0)
        err = tensor_set_create(writer->folder, "optimizer", entries, state_count * tensor_count,
                                file_bytes, &writer->states, why);
    free(entries);
    return err;
}

int checkpoint_begin(const struct checkpoint_spec *spec, struct checkpoint_writer **writer_out,
                     struct err_msg *why)
{
    assert(is_tag(spec->tag) && spec->info.state_count <= CHECKPOINT_STATES_MAX);
    int err = ERR_NOMEM;
    struct checkpoint_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL)
        return err_set(why, err, "no memory for a checkpoint");
    writer->info = spec->info;
    writer->layout = spec->layout;
    writer->out_dir = strdup(spec->out_dir);
    writer->is_put = calloc(spec->layout->block_count, sizeof(*writer->is_put));
    if (writer->out_dir == NULL || writer->is_put == NULL) {
        err = err_set(why, err, "no memory for a checkpoint");
        goto fail;
    }
    err = folder_make(spec->out_dir, spec->info.step, spec->tag, writer->folder, why);
    if (err != 0) {
        writer->folder[0] = 0;
        goto fail;
    }
    err = make_files(writer, spec->file_bytes, why);
    if (err != 0)
        goto fail;
    *writer_out = writer;
    return 0;
fail:
    checkpoint_abandon(writer);
    return err;
}

int checkpoint_put(struct checkpoint_writer *writer, size_t block_idx, const float *parts,
                   struct err_msg *why)
{
    const struct layout *layout = writer->layout;
    assert(block_idx < layout->block_count);
    if (writer->is_put[block_idx])
        return 0;
    const struct block_spec *block = &layout->blocks[block_idx];
    size_t count = (size_t)(block->range.end - block->range.begin);
    uint64_t first = block->range.begin - layout->tensor_begin[block->tensor_idx];
    int err = tensor_set_write(writer->weights, block->tensor_idx, first, parts, count, why);
    for (size_t s = 0; s < writer->info.state_count && err == 0; s++)
        err = tensor_set_write(writer->states, s * layout->tensor_count + block->tensor_idx, first,
                               parts + (s + 1) * count, count, why);
    if (err != 0)
        return err;
    writer->is_put[block_idx] = true;
    writer->put_count++;
    return 0;
}

size_t checkpoint_missing(const struct checkpoint_writer *writer, size_t *first_out)
{
    size_t first = 0;
    while (first < writer->layout->block_count && writer->is_put[first])
        first++;
    if (first_out != NULL)
        *first_out = first;
    return writer->layout->block_count - writer->put_count;
}

static struct document *weight_map(const struct tensor_set *set)
{
    struct document *map = document_object();
    for (size_t i = 0; i < tensor_set_count(set) && map != NULL; i++) {
        const char *file = tensor_set_file_name(set, tensor_set_file_of(set, i));
        if (document_put(map, tensor_set_entry(set, i)->name, document_text(file)) < 0) {
            document_destroy(map);
            return NULL;
        }
    }
    return map;
}

static const char index_name[] = "model.safetensors.index.json";

/* The index as model hubs have it. */
static int write_index(const struct checkpoint_writer *writer, struct err_msg *why)
{
    char path[PATH_MAX];
    int64_t total_bytes = (int64_t)(writer->layout->weight_count * sizeof(float));
    int err = path_join(path, writer->folder, index_name, why);
    if (err != 0)
        return err;
    struct document *index = document_object(), *metadata = document_object();
    if (index == NULL || metadata == NULL ||
        document_put(metadata, "total_size", document_whole(total_bytes)) < 0) {
        document_destroy(metadata);
        goto fail;
    }
    if (document_put(index, "metadata", metadata) < 0 ||
        document_put(index, "weight_map", weight_map(writer->weights)) < 0)
        goto fail;
    err = document_save(index, path, why);
    document_destroy(index);
    return err;
fail:
    document_destroy(index);
    return err_set(why, ERR_NOMEM, "%s: no memory", path);
}

/* Appends a row for each file of the set; data is fed their tensors' bytes unless NULL. */
static int list_files(const struct tensor_set *set, struct digest *data, struct manifest *manifest,
                      struct err_msg *why)
{
    for (size_t i = 0; i < tensor_set_file_count(set); i++) {
        struct manifest_file *file = &manifest->files[manifest->file_count];
        snprintf(file->name, sizeof(file->name), "%s", tensor_set_file_name(set, i));
        int err = tensor_set_digest(set, i, data, file->sha256, &file->size_bytes, why);
        if (err != 0)
            return err;
        manifest->file_count++;
    }
    return 0;
}

static int list_index(const struct checkpoint_writer *writer, struct manifest *manifest,
                      struct err_msg *why)
{
    char path[PATH_MAX];
    struct manifest_file *file = &manifest->files[manifest->file_count];
    snprintf(file->name, sizeof(file->name), "%s", index_name);
    int err = path_join(path, writer->folder, index_name, why);
    if (err == 0)
        err = manifest_measure(path, file, why);
    if (err == 0)
        manifest->file_count++;
    return err;
}

static int fill_manifest(const struct checkpoint_writer *writer, struct manifest *manifest,
                         struct err_msg *why)
{
    struct digest *data = digest_create();
    manifest->info = writer->info;
    manifest->files = calloc(MANIFEST_FILES_MAX, sizeof(*manifest->files));
    int err = layout_digest(writer->layout, manifest->layout);
    if (data == NULL || manifest->files == NULL || err != 0) {
        err = err_set(why, ERR_NOMEM, "%s: no memory for its manifest", writer->folder);
        goto fail;
    }
    err = list_files(writer->weights, data, manifest, why);
    if (err == 0)
        digest_hex(data, manifest->info.digest);
    if (err == 0)
        err = list_files(writer->states, NULL, manifest, why);
    if (err == 0)
        err = list_index(writer, manifest, why);
fail:
    digest_destroy(data);
    return err;
}

/* Everything into the temporary folder and onto the disk, the manifest last. */
static int complete(struct checkpoint_writer *writer, struct err_msg *why)
{
    struct manifest manifest = {0};
    if (writer->is_unsound)
        return err_set(why, ERR_IO, "%s: the disk has lost what was written there", writer->folder);
    int err = tensor_set_sync(writer->weights, why);
    if (err == 0)
        err = tensor_set_sync(writer->states, why);
    writer->is_unsound = err != 0;
    if (err == 0)
        err = write_index(writer, why);
    if (err == 0)
        err = fill_manifest(writer, &manifest, why);
    if (err == 0)
        err = manifest_write(writer->folder, &manifest, why);
    manifest_free(&manifest);
    return err;
}

int checkpoint_commit(struct checkpoint_writer *writer, char path_out[PATH_MAX],
                      struct err_msg *why)
{
    size_t first, missing = checkpoint_missing(writer, &first);
    int err;
    if (missing > 0)
        err = err_set(why, ERR_AGAIN, "%s: %zu of %zu blocks are missing, first block %zu",
                      writer->folder, missing, writer->layout->block_count, first);
    else
        err = complete(writer, why);
    if (err == 0)
        err = folder_publish(writer->out_dir, writer->folder, writer->info.step, path_out, why);
    if (err == 0)
        checkpoint_abandon(writer);
    return err;
}

void checkpoint_abandon(struct checkpoint_writer *writer)
{
    if (writer == NULL)
        return;
    struct err_msg why;
    tensor_set_close(writer->weights);
    tensor_set_close(writer->states);
    /* Once published, what has the temporary name is the checkpoint that was replaced, or nothing.
     */
    if (writer->folder[0] != 0 && folder_remove(writer->folder, &why) != 0) {
        char quoted[sizeof(why.text)];
        log_event(LOG_WARN, "checkpoint_leftover", "why=%s",
                  log_quote(quoted, sizeof(quoted), why.text));
    }
    free(writer->out_dir);
    free(writer->is_put);
    free(writer);
}
