#include "deploy/trained.h"

#include <stdlib.h>
#include <string.h>
#include "worker/nn/kernel_choice.h"

static const struct argp_option option_list[] = {
    {"checkpoint", 'c', "DIR", 0, "a checkpoint, or the last one in DIR", 0},
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
        if (!spec->checkpoint)
            argp_error(state, "which checkpoint?  --checkpoint DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "JOB --checkpoint DIR",
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

static int plan(struct trained *trained, struct err_msg *why)
{
    struct graph_input input = {
        .dims = trained->info->dims,
        .label_count = trained->info->label_count,
        .class_count = trained->info->class_count,
    };
    memcpy(input.shape, trained->info->shape, sizeof(input.shape));
    int code = graph_create(&trained->settings->model, &input, &trained->graph, why);
    if (code < 0)
        return code;
    code = layout_create(graph_tensors(trained->graph), graph_tensor_count(trained->graph),
                         trained->settings->exchange.block_bytes, &trained->layout, why);
    if (code < 0)
        return code;
    code = graph_run_create(trained->graph, TRAINED_BATCH, &trained->run);
    if (code < 0)
        return err_set(why, code, "a batch of %d samples: %s", TRAINED_BATCH, err_text(code));
    trained->weights = calloc(trained->layout->weight_count, sizeof(float));
    trained->indices = calloc(TRAINED_BATCH, sizeof(uint64_t));
    trained->inputs = calloc(TRAINED_BATCH, trained->info->input_count * sizeof(float));
    trained->labels = calloc(TRAINED_BATCH, trained->info->label_count * sizeof(float));
    if (!trained->weights || !trained->indices || !trained->inputs || !trained->labels)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    return 0;
}

static int load_weights(const struct trained_spec *spec, struct trained *trained,
                        struct err_msg *why)
{
    struct checkpoint_reader *reader = NULL;
    int code = checkpoint_latest(spec->checkpoint, trained->checkpoint_path, why);
    if (code == 0)
        code = checkpoint_open(trained->checkpoint_path, &reader, why);
    if (code == 0)
        code = checkpoint_check(reader, trained->layout, NULL, why);
    if (code == 0) {
        trained->checkpoint = *checkpoint_info(reader);
        code = checkpoint_read_weights(reader, trained->layout, trained->weights, why);
    }
    checkpoint_close(reader);
    return code;
}

int trained_open(const struct trained_spec *spec, struct trained *trained, struct err_msg *why)
{
    *trained = (struct trained){0};
    int code = load_job(spec, trained, why);
    if (code == 0)
        code = plan(trained, why);
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
    *count_out = left < TRAINED_BATCH ? (size_t)left : TRAINED_BATCH;
    for (size_t i = 0; i < *count_out; i++)
        trained->indices[i] = first + i;
    return dataset_read(trained->dataset, trained->indices, *count_out, trained->inputs,
                        trained->labels, why);
}
