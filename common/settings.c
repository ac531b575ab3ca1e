#include "common/settings.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/digest.h"
#include "common/document.h"
#include "common/jobfile.h"
#include "common/nearest.h"
#include "common/setting_show.h"
#include "common/setting_value.h"

enum { ROWS_MAX = 128, PATH_BYTES = 128, PLACE_BYTES = 512 };

/* Where the value of each row came from; valid when zeroed. */
struct origin {
    bool is_given, is_set;
    int line;
};

struct loader {
    struct settings *settings;
    const char *job_path;
    struct origin origins[ROWS_MAX]; /* by row of the table */
    struct err_msg *why;
};

static bool is_section(const char *name)
{
    size_t count = 0, bytes = strlen(name);
    const struct setting *rows = settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(rows[i].path, name, bytes) == 0 && rows[i].path[bytes] == '.')
            return true;
    }
    return false;
}

/* The path that an unknown one was meant to be: the same name in another section, or a near one. */
static const char *guess(const char *path)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    const char *key = strrchr(path, '.') == NULL ? path : strrchr(path, '.') + 1;
    struct nearest nearest = {.word = path};
    for (size_t i = 0; i < count; i++)
        nearest_offer(&nearest, rows[i].path);
    if (nearest.best != NULL && nearest.best_distance <= 2 && nearest_word(&nearest) != NULL)
        return nearest.best;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(strchr(rows[i].path, '.') + 1, key) == 0)
            return rows[i].path;
    }
    return nearest_word(&nearest);
}

static int refuse_unknown(const struct value_place *place, const struct job_value *value,
                          struct err_msg *why)
{
    const char *meant = guess(place->path);
    if (meant != NULL)
        return setting_refuse(place, value, why, "unknown setting; did you mean \"%s\"?", meant);
    return setting_refuse(place, value, why, "unknown setting; `talweg settings` lists all");
}

static int refuse_section(const struct value_place *place, const struct job_value *value,
                          struct err_msg *why)
{
    static const char *const sections[] = {
        "job", "data", "model", "optimizer", "exchange", "worker", "cluster", "checkpoint", "log"};
    struct nearest nearest = {.word = place->path};
    for (size_t i = 0; i < ARRAY_LEN(sections); i++)
        nearest_offer(&nearest, sections[i]);
    const char *meant = nearest_word(&nearest);
    if (meant == NULL)
        meant = guess(place->path);
    if (meant != NULL)
        return setting_refuse(place, value, why, "unknown section; did you mean \"%s\"?", meant);
    return setting_refuse(place, value, why, "unknown section; `talweg settings` lists all");
}

/* A relative path of the job file is relative to the file's folder. */
static int join_folder(const char *job_path, char **field)
{
    const char *slash = strrchr(job_path, '/');
    if ((*field)[0] == '\0' || (*field)[0] == '/' || slash == NULL)
        return 0;
    char *joined = NULL;
    if (asprintf(&joined, "%.*s/%s", (int)(slash - job_path), job_path, *field) < 0)
        return ERR_NOMEM;
    free(*field);
    *field = joined;
    return 0;
}

/* Keeps one value of the job file or of a --set under its path. */
static int take(struct loader *loader, const struct job_value *value,
                const struct value_place *place)
{
    const struct setting *row = settings_table_find(place->path);
    if (row == NULL)
        return refuse_unknown(place, value, loader->why);
    size_t count = 0;
    bool is_set = jobfile_is_set(place->file);
    loader->origins[row - settings_table(&count)] =
        (struct origin){.is_given = true, .is_set = is_set, .line = value->line};
    if (row->type == SETTING_OPERATORS)
        return model_spec_read(place->file, value, &loader->settings->model, loader->why);
    int err = setting_assign(row, loader->settings, value, place, loader->why);
    if (err == 0 && row->type == SETTING_PATH && !is_set) {
        err = join_folder(loader->job_path, (char **)((char *)loader->settings + row->offset));
        if (err != 0)
            err_set(loader->why, err, "%s: out of memory", place->path);
    }
    return err;
}

static int take_section(struct loader *loader, const struct jobfile *file,
                        const struct job_value *section)
{
    struct value_place place = {.file = file, .path = section->key};
    if (!is_section(section->key))
        return refuse_section(&place, section, loader->why);
    if (section->kind != JOB_GROUP) {
        char found[PLACE_BYTES];
        job_value_describe(section, found, sizeof(found));
        return setting_refuse(&place, section, loader->why,
                              "found %s, expected a group, as %s = { ... };", found, section->key);
    }
    for (size_t i = 0; i < section->count; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s.%s", section->key, section->items[i].key);
        place.path = path;
        int err = take(loader, &section->items[i], &place);
        if (err != 0)
            return err;
    }
    return 0;
}

static int take_file(struct loader *loader)
{
    struct jobfile *file = NULL;
    int err = jobfile_load(loader->job_path, &file, loader->why);
    if (err != 0)
        return err;
    const struct job_value *root = jobfile_root(file);
    for (size_t i = 0; err == 0 && i < root->count; i++)
        err = take_section(loader, file, &root->items[i]);
    jobfile_destroy(file);
    return err;
}

static int take_set(struct loader *loader, const char *set)
{
    const char *equals = strchr(set, '=');
    char path[PATH_BYTES];
    if (equals == NULL || equals == set || (size_t)(equals - set) >= sizeof(path))
        return err_set(loader->why, ERR_INPUT,
                       "from --set: found \"%.100s\", expected PATH=VALUE, as optimizer.rate=0.01",
                       set);
    snprintf(path, sizeof(path), "%.*s", (int)(equals - set), set);
    struct jobfile *file = NULL;
    int err = jobfile_parse_set(equals + 1, &file);
    if (err != 0)
        return err_set(loader->why, err, "from --set: %s: out of memory", path);
    err = take(loader, jobfile_root(file), &(struct value_place){.file = file, .path = path});
    jobfile_destroy(file);
    return err;
}

static int take_initials(struct settings *settings)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == SETTING_OPERATORS)
            continue;
        int err = setting_assign_initial(&rows[i], settings);
        if (err != 0)
            return err;
    }
    return 0;
}

static const struct origin *origin_of(const struct loader *loader, const char *path)
{
    size_t count = 0;
    return &loader->origins[settings_table_find(path) - settings_table(&count)];
}

/* Says "job.cfg:12: PATH: " of a setting that does not go with another. */
__attribute__((format(printf, 3, 4))) static int refuse(const struct loader *loader,
                                                        const char *path, const char *format, ...)
{
    const struct origin *origin = origin_of(loader, path);
    char text[PLACE_BYTES], line[32] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (origin->line > 0 && !origin->is_set)
        snprintf(line, sizeof(line), ":%d", origin->line);
    return err_set(loader->why, ERR_INPUT, "%.500s%s: %s: %s",
                   origin->is_set ? "from --set" : loader->job_path, line, path, text);
}

/* A length of the run from --set takes the place of the job file's, in whichever unit that is. */
static void settle_length(const struct loader *loader)
{
    struct settings *s = loader->settings;
    bool has_set_epochs = origin_of(loader, "job.epochs")->is_set && s->job.epochs > 0;
    bool has_set_steps = origin_of(loader, "job.steps")->is_set && s->job.steps > 0;
    if (has_set_epochs && !has_set_steps)
        s->job.steps = 0;
    if (has_set_steps && !has_set_epochs)
        s->job.epochs = 0;
}

static int check_job(const struct loader *loader)
{
    const struct settings *s = loader->settings;
    settle_length(loader);
    if ((s->job.lanes & (s->job.lanes - 1)) != 0)
        return refuse(loader, "job.lanes", "found %u, expected a power of two from 1 to 1024",
                      s->job.lanes);
    if (s->job.batch < s->job.lanes)
        return refuse(loader, "job.batch", "found %u, expected at least one sample a lane: %u",
                      s->job.batch, s->job.lanes);
    if (s->job.epochs > 0 && s->job.steps > 0)
        return refuse(loader, "job.steps",
                      "found %llu beside job.epochs = %llu, expected one of them: the other is 0",
                      (unsigned long long)s->job.steps, (unsigned long long)s->job.epochs);
    if (s->job.epochs == 0 && s->job.steps == 0)
        return refuse(loader, "job.epochs",
                      "not set, and job.steps neither; expected one of them above 0");
    if (s->job.patience > 0 && settings_has_clocks(s))
        return refuse(loader, "job.patience",
                      "found %u, which goes with exchange.consistency bsp and local only: with "
                      "clocks there is no version that all lanes have made",
                      s->job.patience);
    if (s->job.patience > 0 && s->data.test_inputs[0] == '\0' && s->data.test_fraction <= 0)
        return refuse(loader, "job.patience",
                      "found %u, but no sample is held out; expected data.test_inputs, or "
                      "data.test_fraction above 0",
                      s->job.patience);
    if (s->model.op_count == 0)
        return refuse(loader, "model.operators",
                      "not set; expected the network's operators, as "
                      "( { op = \"dense\"; units = 10; } )");
    return 0;
}

static int check_data(const struct loader *loader)
{
    const struct settings *s = loader->settings;
    if (s->data.train_inputs[0] == '\0')
        return refuse(loader, "data.train_inputs", "not set; expected the path of a data file");
    if (s->data.test_inputs[0] != '\0' && s->data.test_fraction > 0)
        return refuse(loader, "data.test_fraction",
                      "found %g beside data.test_inputs; expected one of them: with a test file, "
                      "nothing is held out",
                      s->data.test_fraction);
    if (s->data.test_inputs[0] == '\0' && s->data.test_labels[0] != '\0')
        return refuse(loader, "data.test_labels", "found labels without data.test_inputs");
    if (strlen(s->data.delimiter) != 1)
        return refuse(loader, "data.delimiter", "found \"%.20s\", expected one character",
                      s->data.delimiter);
    if (strchr("\"\r\n", s->data.delimiter[0]) != NULL)
        return refuse(loader, "data.delimiter", "a quote or the end of a line cannot divide cells");
    if (s->data.mean.count != s->data.std.count)
        return refuse(loader, s->data.std.count == 0 ? "data.mean" : "data.std",
                      "found %zu numbers in data.mean and %zu in data.std, expected as many",
                      s->data.mean.count, s->data.std.count);
    if (s->data.mean.count > 0 && s->data.normalise != NORMALISE_NONE)
        return refuse(
            loader, "data.normalise",
            "\"standard\" measures mean and deviation; data.mean and data.std say others");
    return 0;
}

static int check_loss(const struct loader *loader)
{
    const struct model_spec *model = &loader->settings->model;
    if (model->loss == LOSS_SOFTMAX_CROSS_ENTROPY)
        return 0;
    if (model->label_smoothing > 0)
        return refuse(loader, "model.label_smoothing",
                      "found %g, which goes with model.loss \"softmax_cross_entropy\" only",
                      model->label_smoothing);
    if (model->class_weights.count > 0)
        return refuse(loader, "model.class_weights",
                      "found %zu numbers, which go with model.loss \"softmax_cross_entropy\" only",
                      model->class_weights.count);
    return 0;
}

/* Each pair has one "=" and, on both sides or neither, one "*". */
static int check_renames(const struct loader *loader)
{
    const struct text_list *list = &loader->settings->model.init_rename;
    for (size_t i = 0; i < list->count; i++) {
        const char *pair = list->items[i], *equals = strchr(pair, '=');
        const char *star = strchr(pair, '*'), *last = strrchr(pair, '*');
        bool is_plain = star == NULL;
        bool is_starred = star != NULL && star < equals && last > equals &&
                          strchr(star + 1, '*') == last;
        if (equals == NULL || equals == pair || equals[1] == 0 || strchr(equals + 1, '=') != NULL ||
            (!is_plain && !is_starred))
            return refuse(loader, "model.init_rename",
                          "found \"%.100s\", expected \"ours=theirs\" with one * on each side or "
                          "none, as \"conv*=features.conv*\"",
                          pair);
    }
    return 0;
}

static bool is_adaptive(enum optimizer_kind kind)
{
    return kind == OPTIMIZER_ADAM || kind == OPTIMIZER_ADAMW;
}

static int check_codec(const struct loader *loader)
{
    const struct settings *s = loader->settings;
    bool is_topk = s->exchange.codec == CODEC_SPARSE;
    if (s->exchange.codec == CODEC_INT8 && s->exchange.block_bytes % (4 * CODEC_GROUP) != 0)
        return refuse(loader, "exchange.block_bytes",
                      "found %u; codec int8 needs whole groups of %d numbers: a multiple of %d",
                      s->exchange.block_bytes, CODEC_GROUP, 4 * CODEC_GROUP);
    if (is_topk && s->exchange.consistency != CONSISTENCY_BSP)
        return refuse(loader, "exchange.codec",
                      "found \"topk\", which goes with exchange.consistency \"bsp\" only");
    if (is_topk && is_adaptive(s->optimizer.kind))
        return refuse(loader, "exchange.codec",
                      "found \"topk\", which goes with optimizer.kind sgd, momentum and nesterov");
    return 0;
}

static int check_training(const struct loader *loader)
{
    const struct settings *s = loader->settings;
    if (s->optimizer.schedule == SCHEDULE_STEP && s->optimizer.decay_every == 0)
        return refuse(loader, "optimizer.decay_every",
                      "not set; schedule \"step\" needs the steps between two falls of the rate");
    if (s->optimizer.min_rate > s->optimizer.rate)
        return refuse(loader, "optimizer.min_rate", "found %g, expected at most optimizer.rate: %g",
                      s->optimizer.min_rate, s->optimizer.rate);
    if (s->exchange.block_bytes % 4 != 0)
        return refuse(loader, "exchange.block_bytes", "found %u, expected a multiple of 4",
                      s->exchange.block_bytes);
    if (s->exchange.credit_bytes < s->exchange.block_bytes)
        return refuse(loader, "exchange.credit_bytes",
                      "found %llu, expected at least one block: exchange.block_bytes = %u",
                      (unsigned long long)s->exchange.credit_bytes, s->exchange.block_bytes);
    if (s->cluster.silence_s * 1000 < 2.0 * s->cluster.beat_ms)
        return refuse(loader, "cluster.silence_s",
                      "found %g s, expected at least twice cluster.beat_ms: %u ms",
                      s->cluster.silence_s, s->cluster.beat_ms);
    return 0;
}

int settings_load(const char *job_path, const char *const *sets, size_t set_count,
                  struct settings **settings_out, struct err_msg *why)
{
    struct settings *settings = calloc(1, sizeof(*settings));
    struct loader loader = {.settings = settings, .job_path = job_path, .why = why};
    if (settings == NULL)
        return err_set(why, ERR_NOMEM, "%s: out of memory", job_path);
    settings->path = strdup(job_path);
    int err = settings->path == NULL ? ERR_NOMEM : take_initials(settings);
    if (err != 0)
        err_set(why, err, "%s: out of memory", job_path);
    if (err == 0)
        err = take_file(&loader);
    for (size_t i = 0; err == 0 && i < set_count; i++)
        err = take_set(&loader, sets[i]);
    if (err == 0)
        err = check_job(&loader);
    if (err == 0)
        err = check_data(&loader);
    if (err == 0)
        err = check_loss(&loader);
    if (err == 0)
        err = check_training(&loader);
    if (err == 0)
        err = check_codec(&loader);
    if (err == 0)
        err = check_renames(&loader);
    if (err != 0) {
        settings_destroy(settings);
        return err;
    }
    *settings_out = settings;
    return 0;
}

void settings_destroy(struct settings *settings)
{
    if (settings == NULL)
        return;
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    for (size_t i = 0; i < count; i++)
        setting_release(&rows[i], settings);
    model_spec_destroy(&settings->model);
    free(settings->path);
    free(settings);
}

bool settings_has_clocks(const struct settings *settings)
{
    return settings->exchange.consistency == CONSISTENCY_SSP ||
           settings->exchange.consistency == CONSISTENCY_ASYNC;
}

void settings_print(FILE *stream, enum settings_form form)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    size_t section_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const char *path = rows[i].path;
        if (i == 0 || strncmp(path, rows[i - 1].path, section_bytes + 1) != 0) {
            section_bytes = strcspn(path, ".");
            if (form == SETTINGS_MARKDOWN)
                fprintf(stream,
                        "\n## %.*s\n\n| setting | value | default | meaning |\n|---|---|---|---|\n",
                        (int)section_bytes, path);
            else
                fprintf(stream, "%s%.*s\n\n", i == 0 ? "" : "\n", (int)section_bytes, path);
        }
        setting_print(stream, form, &rows[i], path);
    }
    fputs(form == SETTINGS_MARKDOWN
              ? "\n## Operators\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
              : "\noperators\n\n",
          stream);
    model_spec_print(stream, form);
}

static struct document *row_document(const struct settings *settings, const struct setting *row)
{
    if (row->type == SETTING_OPERATORS)
        return model_spec_document(&settings->model);
    return setting_document(row, settings);
}

/* The rows of one section from *row_idx on, which moves past them. */
static struct document *section_document(const struct settings *settings, size_t *row_idx)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    const char *first = rows[*row_idx].path;
    size_t bytes = strcspn(first, ".") + 1;
    struct document *section = document_object();
    for (; *row_idx < count && strncmp(rows[*row_idx].path, first, bytes) == 0; ++*row_idx) {
        struct document *value = row_document(settings, &rows[*row_idx]);
        if (section == NULL) {
            document_destroy(value);
        } else if (document_put(section, rows[*row_idx].path + bytes, value) != 0) {
            document_destroy(section);
            section = NULL;
        }
    }
    return section;
}

struct document *settings_document(const struct settings *settings)
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    struct document *all = document_object();
    for (size_t i = 0; all != NULL && i < count;) {
        char name[PATH_BYTES];
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(rows[i].path, "."), rows[i].path);
        if (document_put(all, name, section_document(settings, &i)) != 0) {
            document_destroy(all);
            return NULL;
        }
    }
    return all;
}

static void write_row(const struct settings *settings, const struct setting *row, FILE *stream)
{
    fprintf(stream, "%s=", row->path);
    if (row->type == SETTING_OPERATORS)
        model_spec_write(&settings->model, stream);
    else
        setting_write(row, settings, stream);
    fputc('\n', stream);
}

/* sha256 over those of the rows that decide the weights. */
static int digest_rows(const struct settings *settings, const struct setting *rows, size_t count,
                       char hex_out[65])
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        if (rows[i].is_decisive)
            write_row(settings, &rows[i], stream);
    int err = ferror(stream) != 0 ? ERR_NOMEM : 0;
    if (fclose(stream) != 0)
        err = ERR_NOMEM;
    struct digest *digest = err == 0 ? digest_create() : NULL;
    if (digest == NULL) {
        err = ERR_NOMEM;
    } else {
        digest_add(digest, text, bytes);
        digest_hex(digest, hex_out);
    }
    digest_destroy(digest);
    free(text);
    return err;
}

int settings_fingerprint(const struct settings *settings, char hex_out[65])
{
    size_t count = 0;
    const struct setting *rows = settings_table(&count);
    return digest_rows(settings, rows, count, hex_out);
}

static bool is_length(const struct setting *row)
{
    return strcmp(row->path, "job.epochs") == 0 || strcmp(row->path, "job.steps") == 0;
}

/* Adds the words of the rows that are, or are not, the length of the run. */
static int add_words(const struct settings *settings, bool are_lengths,
                     char text[SETTINGS_RESUME_BYTES])
{
    size_t count = 0, used = strlen(text);
    const struct setting *rows = settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        char hex[65];
        if (!rows[i].is_decisive || is_length(&rows[i]) != are_lengths)
            continue;
        int err = digest_rows(settings, &rows[i], 1, hex);
        if (err != 0)
            return err;
        used += (size_t)snprintf(text + used, SETTINGS_RESUME_BYTES - used, "%s:%.16s ",
                                 rows[i].path, hex);
        assert(used < SETTINGS_RESUME_BYTES); /* the table is ours */
    }
    return 0;
}

int settings_resume_fingerprint(const struct settings *settings,
                                char text_out[SETTINGS_RESUME_BYTES])
{
    text_out[0] = '\0';
    int err = add_words(settings, false, text_out);
    if (err == 0 && settings->optimizer.schedule == SCHEDULE_COSINE)
        err = add_words(settings, true, text_out);
    return err;
}
