/* The journal that a coordinator goes on with.
 *
 * Input: flags (1 byte): even, the file as it lies on disk; odd, records, each behind its size
 * (2 bytes), which are written as a journal first.  Then the next coordinator recalls them. */
#include "tests/fuzz/fuzz.h"

#include <sys/stat.h>
#include "common/journal.h"
#include "ps/logbook.h"
#include "tests/fuzz/fuzz_coordinator.h"
#include "tests/fuzz/fuzz_talk.h"

enum { RECORDS_MAX = 16, TICKS = 8, TICK_MS = 1500 };

static void write_records(struct feed *feed)
{
    struct journal_record records[RECORDS_MAX];
    struct journal *journal;
    struct err_msg why;
    size_t count = 0;
    while (count < RECORDS_MAX && feed_left(feed) > 0) {
        struct feed part = feed_part(feed, feed_u16(feed));
        if (feed_left(&part) > 0)
            records[count++] = (struct journal_record){part.at, feed_left(&part)};
    }
    unlink(fuzz_path("journal/records"));
    must(journal_open(fuzz_path("journal"), NULL, NULL, &journal, &why) == 0);
    must(journal_rewrite(journal, records, count, &why) == 0);
    journal_close(journal);
}

static int visit(void *context, const struct message *record, struct err_msg *why)
{
    return coordinator_recall(context, record, why);
}

/* It has to say whom it knows, wait for them, and give up, whatever it was told. */
static void go_on(struct coordinator *coordinator)
{
    struct outbox out = {0};
    struct talk talk = {0};
    must(arena_create(4096, 1 << 26, &talk.arena) == 0);
    for (uint64_t i = 1; i <= TICKS; i++) {
        coordinator_step(coordinator, 1000 + i * TICK_MS, (struct address){0}, NULL, &out);
        talk_check(&talk, &out);
        outbox_clear(&out);
        fuzz_coordinator_look(coordinator, 1000 + i * TICK_MS);
    }
    coordinator_snapshot(coordinator, &out);
    talk_check(&talk, &out);
    outbox_free(&out);
    arena_destroy(talk.arena);
}

static void recall(void)
{
    struct logbook *logbook = NULL;
    struct settings settings;
    struct err_msg why = {0};
    if (logbook_open(fuzz_folder(), false, &logbook, &why) != 0) {
        must_say(why.text);
        return;
    }
    must(memchr(logbook_endpoint(logbook), 0, 512) != NULL);
    must(memchr(logbook_checkpoint(logbook), 0, 512) != NULL);
    fuzz_coordinator_settings(32, &settings);
    struct coordinator *coordinator = fuzz_make_coordinator(&settings);
    int err = logbook_recall(logbook, visit, coordinator, &why);
    if (err == 0)
        go_on(coordinator);
    else
        must_say(why.text);
    coordinator_destroy(coordinator);
    logbook_close(logbook);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    uint8_t flags = feed_u8(&feed);
    if (access(fuzz_path("journal"), F_OK) != 0)
        must(mkdir(fuzz_path("journal"), 0700) == 0);
    if ((flags & 1) == 0)
        fuzz_write("journal/records", feed.at, feed_left(&feed));
    else
        write_records(&feed);
    fuzz_write("journal/endpoint", feed.at, feed_left(&feed) < 100 ? feed_left(&feed) : 100);
    recall();
    return 0;
}
