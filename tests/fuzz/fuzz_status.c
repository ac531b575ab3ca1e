/* What `talweg status` is answered or finds in a folder, and prints; and where a run's folder
 * says that its coordinator is.
 *
 * Input: 0 and an answer, or 1, the size of run.json (2 bytes), run.json and summary.json. */
#include "tests/fuzz/fuzz.h"

#include "common/document.h"
#include "common/run_file.h"
#include "deploy/progress.h"
#include "deploy/run_place.h"
#include "deploy/status_print.h"

/* As `talweg train` shows it. */
static void draw(const struct document *status)
{
    char line[PROGRESS_LINE_BYTES];
    struct progress_state state = status_progress(status);
    for (unsigned cells = 0; cells < 64; cells += 21)
        progress_format(&state, cells, cells != 21, line, sizeof(line));
}

static void print(const struct document *status)
{
    char *shown = NULL;
    size_t size;
    FILE *memory = open_memstream(&shown, &size);
    must(memory != NULL && status_print(status, memory) == 0);
    must(fclose(memory) == 0);
    must_say(shown);
    free(shown);
    draw(status);
    for (int is_pretty = 0; is_pretty < 2; is_pretty++) {
        struct document *again = NULL;
        struct err_msg why;
        char *text = document_print(status, is_pretty != 0);
        must(text != NULL);
        must(document_parse(text, strlen(text), &again, &why) == 0);
        document_destroy(again);
        free(text);
    }
}

/* As a server or worker that was told the folder. */
static void follow(void)
{
    char endpoint[ENDPOINT_TEXT_BYTES] = "";
    struct err_msg why = {0};
    if (run_file_look(fuzz_folder(), endpoint, &why) == RUN_THERE)
        must(endpoint[0] != 0 && memchr(endpoint, 0, sizeof(endpoint)) != NULL);
    else if (why.text[0] != 0)
        must_say(why.text);
}

static void look_into_folder(struct feed *feed)
{
    struct run_place *place = NULL;
    struct document *status = NULL;
    struct err_msg why = {0};
    struct feed run = feed_part(feed, feed_u16(feed));
    fuzz_write("run.json", run.at, feed_left(&run));
    fuzz_write("summary.json", feed->at, feed_left(feed)); /* later: else somebody is asked */
    follow();
    must(run_place_open(fuzz_folder(), NULL, &place, &why) == 0);
    if (run_place_status(place, &status, &why) == 0)
        print(status);
    else
        must_say(why.text);
    document_destroy(status);
    run_place_close(place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    struct document *status = NULL;
    struct err_msg why = {0};
    if ((feed_u8(&feed) & 1) != 0)
        look_into_folder(&feed);
    else if (document_parse((const char *)feed.at, feed_left(&feed), &status, &why) == 0)
        print(status);
    else
        must_say(why.text);
    document_destroy(status);
    return 0;
}
