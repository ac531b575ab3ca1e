/* A job file, and what --set says, down to the model's tensors.
 *
 * Input: the file, then texts for --set, each behind a zero byte. */
#include "tests/fuzz/fuzz.h"

#include "common/document.h"
#include "common/settings.h"
#include "worker/nn/graph.h"

enum { SETS_MAX = 8, SET_BYTES = 512, WEIGHTS_MAX = 1 << 22 };

static void plan(const struct settings *settings, const struct graph_input *input)
{
    struct graph *graph = NULL;
    struct layout *layout = NULL;
    struct err_msg why = {0};
    int err = graph_create(&settings->model, input, &graph, &why);
    if (err != 0) {
        must_say(why.text);
        return;
    }
    must(graph_weight_count(graph) == 0 || graph_tensor_count(graph) > 0);
    if (graph_weight_count(graph) <= WEIGHTS_MAX &&
        layout_create(graph_tensors(graph), graph_tensor_count(graph),
                      settings->exchange.block_bytes, &layout, &why) == 0)
        must(layout->weight_count == graph_weight_count(graph));
    layout_destroy(layout);
    graph_destroy(graph);
}

/* What every process does with its settings. */
static void use(const struct settings *settings)
{
    static const struct graph_input image = {3, {9, 7, 3}, 1, 10, 0}, vector = {1, {5}, 1, 0, 0},
                                    tokens = {1, {6}, 6, 11, 11};
    char hex[65], resume[SETTINGS_RESUME_BYTES];
    struct document *document = settings_document(settings);
    must(settings_fingerprint(settings, hex) == 0 && strlen(hex) == 64);
    must(settings_resume_fingerprint(settings, resume) == 0);
    must(memchr(resume, 0, sizeof(resume)) != NULL);
    must(document != NULL);
    free(document_print(document, true));
    document_destroy(document);
    plan(settings, &image);
    plan(settings, &vector);
    plan(settings, &tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char texts[SETS_MAX][SET_BYTES];
    const char *sets[SETS_MAX];
    const uint8_t *end = data + size, *zero = size == 0 ? NULL : memchr(data, 0, size);
    struct feed file = {data, zero == NULL ? end : zero};
    struct settings *settings = NULL;
    struct err_msg why = {0};
    size_t count = 0;
    while (zero != NULL && count < SETS_MAX) {
        const uint8_t *begin = zero + 1;
        zero = memchr(begin, 0, (size_t)(end - begin));
        size_t bytes = (size_t)((zero == NULL ? end : zero) - begin);
        bytes = bytes < SET_BYTES ? bytes : SET_BYTES - 1;
        memcpy(texts[count], begin, bytes);
        texts[count][bytes] = 0;
        sets[count] = texts[count];
        count++;
    }
    int err =
        settings_load(fuzz_file(0, file.at, feed_left(&file)), sets, count, &settings, &why);
    if (err == 0)
        use(settings);
    else
        must_say(why.text);
    settings_destroy(settings);
    return 0;
}
