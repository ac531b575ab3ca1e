/* Writes the inputs that fuzzers of the wire and the journal begin with: one message of each kind
 * as it is packed now, parcels, loans, and what a coordinator writes down of a run.  To be run
 * again when WIRE_VERSION changes; run.sh grows the rest from them.
 *
 * Use: fuzz_seeds CORPUS */
#include <errno.h>
#include <sys/stat.h>
#include "common/journal.h"
#include "tests/fuzz/fuzz_coordinator.h"
#include "tests/fuzz/fuzz_talk.h"

enum { TRIES_MAX = 100000, TRY_BYTES = 64, PEER = 0x01 };

static const char *corpus;
static struct layout *layout;

static FILE *seed(const char *fuzzer, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", corpus, fuzzer);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        perror(path);
    snprintf(path, sizeof(path), "%s/%s/%s", corpus, fuzzer, name);
    FILE *file = fopen(path, "we");
    must(file != NULL);
    return file;
}

static void put_u16(FILE *file, size_t value)
{
    fputc((int)(value & 255), file);
    fputc((int)(value >> 8 & 255), file);
}

static void fill_hello(struct feed *feed, struct hello *out)
{
    *out = (struct hello){.rank = feed_u8(feed) & 3,
                          .shard_count = 1,
                          .pid = 5,
                          .host = "here",
                          .endpoint = "tcp://here:1",
                          .door = "/door",
                          .version = TALWEG_VERSION,
                          .kernels = "Haswell",
                          .fingerprint = FUZZ_PRINT,
                          .thread_count = 1,
                          .train_count = 8,
                          .test_count = 2,
                          .layout = layout};
}

static void fill_view(struct feed *feed, struct view *out)
{
    static const struct shard_member shards[2] = {
        {.incarnation = 30, .endpoint = "tcp://a:1", .door = "/a"},
        {.rank = 1, .incarnation = 51, .endpoint = "tcp://b:1"}};
    static const struct worker_member workers[2] = {{0, 31, "/w"}, {1, 32, ""}};
    static const uint32_t zeros[FUZZ_LANES], ones[FUZZ_LANES] = {1, 1, 1, NOBODY},
                          nobody[FUZZ_LANES] = {NOBODY, NOBODY, NOBODY, NOBODY};
    *out = (struct view){.number = 1 + (feed_u8(feed) & 3u),
                         .era = 1,
                         .step_count = 3,
                         .train_count = 8,
                         .test_count = 2,
                         .store_incarnation = FUZZ_STORE,
                         .store_endpoint = "inproc://d",
                         .shard_count = 2,
                         .worker_count = 2,
                         .block_count = layout->block_count,
                         .lane_count = FUZZ_LANES,
                         .shards = shards,
                         .workers = workers,
                         .block_shard = zeros,
                         .block_backup = ones,
                         .block_learner = nobody,
                         .lane_worker = zeros,
                         .layout = layout};
}

static void put_message(const struct talk *talk, const struct message *msg, const char *name)
{
    const void *bytes;
    size_t size, payload_bytes = msg->payload == NULL ? 0 : msg->payload->size_bytes;
    const struct buffer *second = msg->parcel.frame_count > 1 ? msg->parcel.frames[1] : NULL;
    arena_reset(talk->arena);
    must(message_pack(msg, talk->arena, &bytes, &size) == 0);
    FILE *file = seed("message", name);
    fputc((int)payload_bytes | (second != NULL ? 0x80 : 0), file);
    fwrite(bytes, 1, size, file);
    fclose(file);
    file = seed("courier", name);
    fputc(1, file);
    put_u16(file, size);
    put_u16(file, payload_bytes | (second != NULL ? 0x8000 : 0));
    fwrite(bytes, 1, size, file);
    if (payload_bytes > 0)
        fwrite(msg->payload->data, 1, payload_bytes, file);
    if (second != NULL) {
        put_u16(file, second->size_bytes);
        fwrite(second->data, 1, second->size_bytes, file);
    }
    fclose(file);
}

/* One of each kind, found by throwing dice. */
static void put_kinds(const struct talk *talk)
{
    uint8_t bytes[TRY_BYTES];
    for (int kind = 1; kind <= MSG_PULL_OLD; kind++) {
        for (int i = 0; i < TRIES_MAX; i++) {
            struct feed feed = {bytes, bytes + sizeof(bytes)};
            struct message msg;
            for (size_t n = 0; n < sizeof(bytes); n++)
                bytes[n] = (uint8_t)(rand() >> 8);
            bytes[0] = (uint8_t)(kind - 1);
            if (!talk_next(&feed, talk, UINT64_C(0x0101010101010101) * PEER, &msg))
                continue;
            if (msg.payload == NULL || msg.payload->size_bytes < 128) {
                put_message(talk, &msg, message_kind_text(msg.kind));
                i = TRIES_MAX;
            }
            buffer_unref(msg.payload);
        }
    }
}

static void put_parcels(const struct talk *talk)
{
    static const uint32_t blocks[2] = {3, 5}, sizes[2] = {8, 16}, lent[2] = {64, 64};
    static const struct loan loans[2] = {{0, 0, 64, 1}, {0, 64, 64, 2}};
    struct message msg = {.kind = MSG_PUSH,
                          .run = talk->run,
                          .sender = UINT64_C(0x0101010101010101) * PEER,
                          .view = 1,
                          .era = 1,
                          .key = {.step = 1, .block = 3, .lane_end = 1}};
    msg.parcel = (struct parcel){.count = 2, .blocks = blocks, .bytes = sizes};
    msg.payload = fuzz_buffer((const unsigned char[24]){0}, 24);
    put_message(talk, &msg, "parcel");
    buffer_unref(msg.payload);
    struct buffer *const frames[2] = {fuzz_buffer((const unsigned char[8]){0}, 8),
                                      fuzz_buffer((const unsigned char[16]){0}, 16)};
    msg.payload = frames[0];
    msg.parcel.frames = frames;
    msg.parcel.frame_count = 2;
    put_message(talk, &msg, "parcel_in_frames");
    buffer_unref(frames[0]);
    buffer_unref(frames[1]);
    msg.payload = NULL;
    msg.parcel = (struct parcel){
        .count = 2, .blocks = blocks, .bytes = lent, .loan_count = 2, .loans = loans};
    put_message(talk, &msg, "parcel_lent");
    msg.parcel = (struct parcel){.loan_count = 1, .loans = loans};
    put_message(talk, &msg, "lent");
    msg.kind = MSG_PULL;
    msg.parcel = (struct parcel){.count = 2, .blocks = blocks};
    put_message(talk, &msg, "parcel_pull");
}

/* A run's records: it begins, has a view, a checkpoint, and ends. */
static void put_journal(const struct talk *talk)
{
    struct message records[5] = {
        {.kind = MSG_WELCOME}, {.kind = MSG_HELLO}, {.kind = MSG_VIEW},
        {.kind = MSG_CHECKPOINT_DONE}, {.kind = MSG_FINISH}};
    struct feed none = {0};
    snprintf(records[1].hello.version, VERSION_BYTES, "%s", TALWEG_VERSION);
    snprintf(records[1].hello.fingerprint, HEX_BYTES, "%s", FUZZ_PRINT);
    fill_view(&none, &records[2].view_body);
    records[3].outcome.step = 2;
    snprintf(records[3].outcome.text, sizeof(records[3].outcome.text), "/out/checkpoint-2");
    for (size_t count = 3; count <= ARRAY_LEN(records); count++) {
        char name[32];
        struct journal *journal;
        struct err_msg why;
        snprintf(name, sizeof(name), "run-%zu", count);
        FILE *file = seed("journal", name);
        fputc(1, file);
        must(mkdir(fuzz_path(name), 0700) == 0);
        must(journal_open(fuzz_path(name), NULL, NULL, &journal, &why) == 0);
        for (size_t i = 0; i < count; i++) {
            const void *bytes;
            size_t size;
            records[i].run = fuzz_run;
            arena_reset(talk->arena);
            must(message_pack(&records[i], talk->arena, &bytes, &size) == 0);
            put_u16(file, size);
            fwrite(bytes, 1, size, file);
            must(journal_append(journal, (struct journal_record){bytes, size}, &why) == 0);
        }
        fclose(file);
        journal_close(journal);
    }
}

static void put_journal_file(const char *name)
{
    char from[64];
    int byte;
    snprintf(from, sizeof(from), "%s/records", name);
    FILE *in = fopen(fuzz_path(from), "re"), *out = seed("journal", "file");
    must(in != NULL);
    fputc(0, out);
    while ((byte = fgetc(in)) != EOF)
        fputc(byte, out);
    fclose(in);
    fclose(out);
}

int main(int argc, char **argv)
{
    static const struct tensor_spec tensor = {.name = "w", .dims = 1, .shape = {12}};
    struct talk talk = {.run = fuzz_run,
                        .view = 1,
                        .era = 1,
                        .fill_hello = fill_hello,
                        .fill_view = fill_view,
                        .sizes = {16, 16, 32, 64}};
    if (argc != 2)
        return 2;
    corpus = argv[1];
    must(layout_create(&tensor, 1, FUZZ_BLOCK_BYTES, &layout, NULL) == 0);
    must(arena_create(4096, 1 << 24, &talk.arena) == 0);
    put_kinds(&talk);
    put_parcels(&talk);
    put_journal(&talk);
    put_journal_file("run-4");
    arena_destroy(talk.arena);
    layout_destroy(layout);
    return 0;
}
