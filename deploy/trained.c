#include "deploy/trained.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/digest.h"
#include "common/document.h"
#include "common/path.h"
#include "common/pretrained.h"
#include "worker/nn/kernel_choice.h"

static const struct argp_option option_list[] = {
    {"checkpoint", 'c', "DIR", 0, "a checkpoint, or the last one in DIR", 0},
    {"average", 'a', NULL, 0, "the moving average of its weights (optimizer.average)", 0},
    {"best", 'b', NULL, 0, "of a run with job.patience in DIR, the best one", 0},
    {"set", 'S', "PATH=VALUE", 0, "a setting in place of the job file's; may be repeated", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct trained_spec *spec = state->input;
    switch (key) {
    case 'c':
        spec->checkpoint = arg;
        return 0;
    case 'a':
        spec->is_average = true;
        return 0;
    case 'b':
        spec->is_best = true;
        return 0;
    case 'S':
        if (spec->set_count == TRAINED_SETS_MAX)
            argp_error(state, "more than %d times --set", TRAINED_SETS_MAX);
        spec->sets[spec->set_count++] = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (spec->job_path)
            argp_error(state, "one job file, not '%s' as well", arg);
        spec->job_path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!spec->job_path)
            argp_error(state, "which job file?");
        if (spec->is_best && !spec->checkpoint)
            argp_error(state, "the best of which run?  --checkpoint DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "JOB [--checkpoint DIR]",
};

const struct argp_child trained_options[] = {{&parser, 0, NULL, 0}, {0}};

static int load_job(const struct trained_spec *spec, struct trained *trained, struct err_msg *why)
{
    int code = settings_load(spec->job_path, spec->sets, spec->set_count, &trained->settings, why);
    if (code == 0)
        code = kernels_choose(trained->settings->worker.kernels, why);
    if (code == 0 && spec->input)
        code = dataset_open_inputs(trained->settings, spec->input, &trained->dataset, why);
    else if (code == 0)
        code = dataset_open(trained->settings, spec->part, &trained->dataset, why);
    if (code == ERR_NOT_FOUND)
        return err_set(why, code,
                       "%s: the job has no test part: set data.test_inputs or "
                       "data.test_fraction, or choose other samples (see --help)",
                       spec->job_path);
    if (code == 0)
        trained->info = dataset_info(trained->dataset);
    return code;
}

/* As many samples at a time as the memory for activations allows, but one at least. */
static int make_run(const struct trained_spec *spec, struct trained *trained, struct err_msg *why)
{
    int code = graph_run_create(trained->graph, 1, &trained->run);
    if (code < 0)
        return err_set(why, code, "activations of a sample: %s", err_text(code));
    size_t fitting = TRAINED_RUN_BYTES / (graph_run_bytes(trained->run) + 1);
    size_t wanted = spec->batch_max ? spec->batch_max : TRAINED_BATCH;
    trained->batch_max = fitting < 1 ? 1 : fitting < wanted ? fitting : wanted;
    if (trained->batch_max == 1)
        return 0;
    graph_run_destroy(trained->run);
    trained->run = NULL;
    code = graph_run_create(trained->graph, trained->batch_max, &trained->run);
    return code < 0 ? err_set(why, code, "a batch of %zu samples: %s", trained->batch_max,
                              err_text(code))
                    : 0;
}

static int plan(const struct trained_spec *spec, struct trained *trained, struct err_msg *why)
{
    struct graph_input input = {
        .dims = trained->info->dims,
        .label_count = trained->info->label_count,
        .class_count = trained->info->class_count,
        .token_count = trained->info->token_count,
    };
    memcpy(input.shape, trained->info->shape, sizeof(input.shape));
    int code = graph_create(&trained->settings->model, &input, &trained->graph, why);
    if (code < 0)
        return code;
    code = layout_create(graph_tensors(trained->graph), graph_tensor_count(trained->graph),
                         trained->settings->exchange.block_bytes, &trained->layout, why);
    if (code < 0)
        return code;
    code = make_run(spec, trained, why);
    if (code < 0)
        return code;
    trained->weights = calloc(trained->layout->weight_count, sizeof(float));
    size_t batch_max = trained->batch_max;
    trained->indices = calloc(batch_max, sizeof(uint64_t));
    trained->inputs = calloc(batch_max, trained->info->input_count * sizeof(float));
    trained->labels = calloc(batch_max, trained->info->label_count * sizeof(float));
    if (!trained->weights || !trained->indices || !trained->inputs || !trained->labels)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    return 0;
}

/* The best checkpoint of the run in a folder, which may have been moved since. */
static int find_best(const char *dir, char path_out[PATH_MAX], struct err_msg *why)
{
    char summary_path[PATH_MAX];
    struct document *summary = NULL;
    const char *best = NULL;
    int code = path_join(summary_path, dir, "summary.json", why);
    if (code == 0)
        code = document_load(summary_path, &summary, why);
    if (code == 0 && document_get_text(summary, "best_checkpoint", &best, NULL) != 0)
        code = err_set(why, ERR_NOT_FOUND,
                       "%s: names no best checkpoint: the run had no job.patience, or was not "
                       "evaluated",
                       summary_path);
    if (code == 0) {
        const char *name = strrchr(best, '/');
        snprintf(path_out, PATH_MAX, "%s", best);
        if (access(path_out, F_OK) != 0)
            code = path_join(path_out, dir, name == NULL ? best : name + 1, why);
    }
    document_destroy(summary);
    return code;
}

/* What the job begins with. */
static int load_initial(const struct trained_spec *spec, struct trained *trained,
                        struct err_msg *why)
{
    const struct settings *settings = trained->settings;
    struct pretrained *pretrained = NULL;
    if (!model_has_init(&settings->model) || spec->is_average)
        return err_set(why, ERR_INPUT, "%s: which checkpoint?  --checkpoint DIR%s", spec->job_path,
                       spec->is_average ? "" : ", or model.init_from in the job");
    snprintf(trained->checkpoint_path, sizeof(trained->checkpoint_path), "%s",
             settings->model.init_from);
    int code = pretrained_open(&settings->model, &pretrained, why);
    if (code == 0)
        code = pretrained_match(pretrained, trained->layout, why);
    if (code == 0)
        code = pretrained_read(pretrained, settings->job.seed, trained->weights, why);
    pretrained_close(pretrained);
    return code;
}

static int load_checkpoint(const struct trained_spec *spec, struct trained *trained,
                           struct err_msg *why)
{
    struct checkpoint_reader *reader = NULL;
    int code = spec->is_best ? find_best(spec->checkpoint, trained->checkpoint_path, why)
                             : checkpoint_latest(spec->checkpoint, trained->checkpoint_path, why);
    if (code == 0)
        code = checkpoint_open(trained->checkpoint_path, &reader, why);
    if (code == 0)
        code = checkpoint_check(reader, trained->layout, NULL, why);
    if (code == 0) {
        trained->checkpoint = *checkpoint_info(reader);
        float *out = trained->weights;
        code = spec->is_average
                   ? checkpoint_read_state(reader, trained->layout, "average", out, why)
                   : checkpoint_read_weights(reader, trained->layout, out, why);
    }
    checkpoint_close(reader);
    return code;
}

static int load_weights(const struct trained_spec *spec, struct trained *trained,
                        struct err_msg *why)
{
    int code = spec->checkpoint ? load_checkpoint(spec, trained, why)
                                : load_initial(spec, trained, why);
    struct digest *digest = code == 0 ? digest_create() : NULL;
    if (code == 0 && !digest)
        code = err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (code == 0) {
        digest_add(digest, trained->weights, trained->layout->weight_count * sizeof(float));
        digest_hex(digest, trained->checkpoint.digest);
    }
    digest_destroy(digest);
    return code;
}

int trained_open(const struct trained_spec *spec, struct trained *trained, struct err_msg *why)
{
    *trained = (struct trained){0};
    int code = load_job(spec, trained, why);
    if (code == 0)
        code = plan(spec, trained, why);
    if (code == 0)
        code = load_weights(spec, trained, why);
    return code;
}

void trained_close(struct trained *trained)
{
    graph_run_destroy(trained->run);
    graph_destroy(trained->graph);
    layout_destroy(trained->layout);
    dataset_close(trained->dataset);
    settings_destroy(trained->settings);
    free(trained->weights);
    free(trained->indices);
    free(trained->inputs);
    free(trained->labels);
}

int trained_read(struct trained *trained, uint64_t first, size_t *count_out, struct err_msg *why)
{
    uint64_t left = first < trained->info->count ? trained->info->count - first : 0;
    *count_out = left < trained->batch_max ? (size_t)left : trained->batch_max;
    for (size_t i = 0; i < *count_out; i++)
        trained->indices[i] = first + i;
    return dataset_read(trained->dataset, trained->indices, *count_out, trained->inputs,
                        trained->labels, why);
}

int trained_evaluate(struct trained *trained, struct loss_result *total, struct err_msg *why)
{
    size_t count;
    *total = (struct loss_result){0};
    for (uint64_t first = 0; first < trained->info->count; first += count) {
        struct loss_result result;
        int code = trained_read(trained, first, &count, why);
        if (code < 0)
            return code;
        struct graph_batch batch = {
            .inputs = trained->inputs, .labels = trained->labels, .count = count};
        graph_eval(trained->run, &batch, trained->weights, &result);
        total->loss_sum += result.loss_sum;
        total->correct += result.correct;
        total->answers += result.answers;
        total->count += result.count;
    }
    return 0;
}
