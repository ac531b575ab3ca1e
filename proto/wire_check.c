#include "proto/wire_check.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include "common/lane.h"

static const struct wire_kind kinds[] = {
    {MSG_HELLO, "hello", BODY_HELLO, PAYLOAD_NONE},
    {MSG_WELCOME, "welcome", BODY_WELCOME, PAYLOAD_NONE},
    {MSG_REFUSED, "refused", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_VIEW, "view", BODY_VIEW, PAYLOAD_NONE},
    {MSG_BEAT, "beat", BODY_BEAT, PAYLOAD_NONE},
    {MSG_LANE_DONE, "lane_done", BODY_LANE, PAYLOAD_NONE},
    {MSG_EVAL_DONE, "eval_done", BODY_LANE, PAYLOAD_NONE},
    {MSG_WEIGHTS_DIGEST, "weights_digest", BODY_DIGEST, PAYLOAD_NONE},
    {MSG_CHECKPOINT_ASK, "checkpoint_ask", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_CHECKPOINT_LATE, "checkpoint_late", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_CHECKPOINT_DONE, "checkpoint_done", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_FINISH, "finish", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_BYE, "bye", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_STATUS_ASK, "status_ask", BODY_NONE, PAYLOAD_NONE},
    {MSG_STATUS, "status", BODY_NONE, PAYLOAD_TEXT},
    {MSG_PUSH, "push", BODY_KEY, PAYLOAD_FLOATS},
    {MSG_PULL, "pull", BODY_KEY, PAYLOAD_NONE},
    {MSG_WEIGHTS, "weights", BODY_KEY, PAYLOAD_FLOATS},
    {MSG_BLOCK_FETCH, "block_fetch", BODY_KEY, PAYLOAD_NONE},
    {MSG_BLOCK_STATE, "block_state", BODY_KEY, PAYLOAD_FLOATS},
    {MSG_BLOCK_KEPT, "block_kept", BODY_KEY, PAYLOAD_NONE},
    {MSG_WHO, "who", BODY_NONE, PAYLOAD_NONE},
    {MSG_VOID, "void", BODY_KEY, PAYLOAD_NONE},
    {MSG_LACK, "lack", BODY_KEY, PAYLOAD_NONE},
    {MSG_UPDATE, "update", BODY_KEY, PAYLOAD_FLOATS},
    {MSG_UPDATE_VOID, "update_void", BODY_KEY, PAYLOAD_NONE},
    {MSG_UPDATED, "updated", BODY_KEY, PAYLOAD_NONE},
    {MSG_REPLICA, "replica", BODY_KEY, PAYLOAD_FLOATS},
    {MSG_FILLED, "filled", BODY_KEY, PAYLOAD_NONE},
    {MSG_ALARM, "alarm", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_DRAIN, "drain", BODY_DRAIN, PAYLOAD_NONE},
    {MSG_DRAINING, "draining", BODY_OUTCOME, PAYLOAD_NONE},
    {MSG_PULL_OLD, "pull_old", BODY_KEY, PAYLOAD_NONE},
    {MSG_ECHO, "echo", BODY_NONE, PAYLOAD_ECHO},
    {MSG_PASS, "pass", BODY_KEY, PAYLOAD_NONE},
    {MSG_SAME, "same", BODY_KEY, PAYLOAD_NONE},
};

const struct wire_kind *wire_kind_of(enum message_kind kind)
{
    /* Rows are in the order of the enum, which starts at MSG_NONE. */
    size_t row = (size_t)kind - 1;
    return row < ARRAY_LEN(kinds) ? &kinds[row] : NULL;
}

const char *message_kind_text(enum message_kind kind)
{
    switch (kind) {
    case MSG_TRAIN_LANE:
        return "train_lane";
    case MSG_EVAL_LANE:
        return "eval_lane";
    case MSG_LEAF:
        return "leaf";
    case MSG_LEAF_VOID:
        return "leaf_void";
    case MSG_DROP_LANES:
        return "drop_lanes";
    case MSG_LANE_DROPPED:
        return "lane_dropped";
    case MSG_BLOCK_HERE:
        return "block_here";
    case MSG_GONE:
        return "gone";
    default:
        return wire_kind_of(kind) != NULL ? wire_kind_of(kind)->text : "unknown";
    }
}

/* A number and what it must stay below (or, for the most, at). */
struct bound {
    const char *name;
    uint64_t value, max;
};

static int check_bounds(const struct bound *bounds, size_t count, struct err_msg *why)
{
    for (size_t i = 0; i < count; i++)
        if (bounds[i].value > bounds[i].max)
            return err_set(why, ERR_PROTO, "%s is %llu; at most %llu is possible", bounds[i].name,
                           (unsigned long long)bounds[i].value, (unsigned long long)bounds[i].max);
    return 0;
}

/* One line that ends within its array: it goes into logs and file names. */
static int check_text(const char *name, const char *text, size_t size_bytes, struct err_msg *why)
{
    if (memchr(text, 0, size_bytes) == NULL)
        return err_set(why, ERR_PROTO, "%s is too long", name);
    for (; *text != 0; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return err_set(why, ERR_PROTO, "%s has a control character", name);
    return 0;
}

static int check_hex(const char *name, const char hex[HEX_BYTES], struct err_msg *why)
{
    if (strspn(hex, "0123456789abcdef") != HEX_BYTES - 1 || hex[HEX_BYTES - 1] != 0)
        return err_set(why, ERR_PROTO, "%s is not 64 lower-case hex digits", name);
    return 0;
}

static int check_hello(const struct hello *hello, struct err_msg *why)
{
    const struct bound bounds[] = {
        {"rank + 1", (uint64_t)((int64_t)hello->rank + 1), WORKERS_MAX},
        {"shard_count", hello->shard_count, SHARDS_MAX},
        {"shard_idx", hello->shard_idx, hello->shard_count == 0 ? 0 : hello->shard_count - 1},
        {"thread_count", hello->thread_count, 65536},
        {"train_count", hello->train_count, WIRE_COUNT_MAX},
        {"test_count", hello->test_count, WIRE_COUNT_MAX},
        {"planned_bytes", hello->planned_bytes, WIRE_COUNT_MAX},
    };
    int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
    if (err == 0)
        err = check_text("host", hello->host, sizeof(hello->host), why);
    if (err == 0)
        err = check_text("endpoint", hello->endpoint, sizeof(hello->endpoint), why);
    if (err == 0)
        err = check_text("door", hello->door, sizeof(hello->door), why);
    if (err == 0)
        err = check_text("version", hello->version, sizeof(hello->version), why);
    if (err == 0)
        err = check_text("kernels", hello->kernels, sizeof(hello->kernels), why);
    if (err == 0 && hello->fingerprint[0] != 0)
        err = check_hex("fingerprint", hello->fingerprint, why);
    return err;
}

static int check_members(const struct view *view, struct err_msg *why)
{
    for (size_t i = 0; i < view->shard_count; i++) {
        const struct shard_member *shard = &view->shards[i];
        const struct bound bounds[] = {
            {"rank of a server", shard->rank, SHARDS_MAX - 1},
            {"shard_idx", shard->shard_idx, SHARDS_MAX - 1},
        };
        int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
        if (err == 0)
            err = check_text("endpoint", shard->endpoint, sizeof(shard->endpoint), why);
        if (err == 0)
            err = check_text("door", shard->door, sizeof(shard->door), why);
        if (err != 0)
            return err;
    }
    int err = 0;
    for (size_t i = 0; i < view->worker_count && err == 0; i++) {
        const struct worker_member *worker = &view->workers[i];
        if (worker->rank >= WORKERS_MAX)
            return err_set(why, ERR_PROTO, "rank of a worker is %u", worker->rank);
        err = check_text("door", worker->door, sizeof(worker->door), why);
    }
    return err;
}

/* Those who have a block are different shards; only its primary must be there. */
static int check_block(const struct view *view, size_t block, struct err_msg *why)
{
    static const char *const roles[] = {"primary", "backup", "learner"};
    const uint32_t holders[] = {
        view->block_shard[block],
        view->block_backup == NULL ? NOBODY : view->block_backup[block],
        view->block_learner == NULL ? NOBODY : view->block_learner[block],
    };
    for (size_t role = 0; role < ARRAY_LEN(holders); role++) {
        if (holders[role] == NOBODY && role != 0)
            continue;
        if (holders[role] >= view->shard_count)
            return err_set(why, ERR_PROTO, "%s of block %zu is shard %u; there are %zu",
                           roles[role], block, holders[role], view->shard_count);
        for (size_t other = 0; other < role; other++)
            if (holders[other] == holders[role])
                return err_set(why, ERR_PROTO, "%s of block %zu is shard %u, its %s too",
                               roles[role], block, holders[role], roles[other]);
    }
    return 0;
}

static int check_owners(const struct view *view, struct err_msg *why)
{
    int err = 0;
    for (size_t i = 0; i < view->block_count && err == 0; i++)
        err = check_block(view, i, why);
    for (size_t i = 0; i < view->lane_count && err == 0; i++)
        if (view->lane_worker[i] != NOBODY && view->lane_worker[i] >= view->worker_count)
            err = err_set(why, ERR_PROTO, "worker of lane %zu is %u; there are %zu", i,
                          view->lane_worker[i], view->worker_count);
    return err;
}

/* Workers may all be gone; a view without shards is never made. */
static int check_counts(const struct view *view, struct err_msg *why)
{
    const struct bound bounds[] = {
        {"shard_count - 1", (uint64_t)view->shard_count - 1, SHARDS_MAX - 1},
        {"worker_count", view->worker_count, WORKERS_MAX},
        {"block_count - 1", (uint64_t)view->block_count - 1, WIRE_BLOCKS_MAX - 1},
        {"lane_count - 1", (uint64_t)view->lane_count - 1, LANES_MAX - 1},
        {"step_count", view->step_count, WIRE_COUNT_MAX},
        {"start_step", view->start_step, view->step_count},
        {"hold_step", view->early_stop.hold_step, view->step_count},
        {"best_step", view->early_stop.best_step, view->early_stop.hold_step},
        {"worse_count", view->early_stop.worse_count, WIRE_COUNT_MAX},
        {"train_count", view->train_count, WIRE_COUNT_MAX},
        {"test_count", view->test_count, WIRE_COUNT_MAX},
    };
    int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
    if (err == 0 && view->number == 0)
        err = err_set(why, ERR_PROTO, "a view has no number");
    if (err == 0 && view->era == 0)
        err = err_set(why, ERR_PROTO, "a view has no era");
    if (err == 0 && (view->lane_count & (view->lane_count - 1)) != 0)
        err = err_set(why, ERR_PROTO, "%zu lanes; expected a power of two", view->lane_count);
    if (err == 0 && !isfinite(view->early_stop.best_loss))
        err = err_set(why, ERR_PROTO, "the best loss is no number");
    if (err == 0 && view->layout != NULL && view->layout->block_count != view->block_count)
        err = err_set(why, ERR_PROTO, "%zu blocks are placed; the layout has %zu",
                      view->block_count, view->layout->block_count);
    return err;
}

static int check_view(const struct view *view, struct err_msg *why)
{
    int err = check_counts(view, why);
    if (err == 0)
        err = check_text("store_endpoint", view->store_endpoint, sizeof(view->store_endpoint), why);
    if (err == 0)
        err = check_members(view, why);
    if (err == 0)
        err = check_owners(view, why);
    return err;
}

static bool is_run_of_lanes(uint32_t begin, uint32_t end)
{
    return begin < end && end <= LANES_MAX;
}

static int check_beat(const struct beat *beat, struct err_msg *why)
{
    const struct bound bounds[] = {
        {"sent_ms", beat->sent_ms, WIRE_COUNT_MAX},
        {"step", beat->step, WIRE_COUNT_MAX},
        {"version_sum", beat->version_sum, WIRE_COUNT_MAX},
        {"parked_bytes", beat->parked_bytes, WIRE_COUNT_MAX},
        {"sample_count", beat->sample_count, WIRE_COUNT_MAX},
        {"push_count", beat->push_count, WIRE_COUNT_MAX},
        {"block_count", beat->block_count, WIRE_BLOCKS_MAX},
        {"bytes_in", beat->bytes_in, WIRE_COUNT_MAX},
        {"bytes_out", beat->bytes_out, WIRE_COUNT_MAX},
        {"held_bytes", beat->held_bytes, WIRE_COUNT_MAX},
        {"rss_bytes", beat->rss_bytes, WIRE_COUNT_MAX},
        {"peak_rss_bytes", beat->peak_rss_bytes, WIRE_COUNT_MAX},
        {"cpu_us", beat->cpu_us, WIRE_COUNT_MAX},
        {"shared_count", beat->shared_count, BEAT_SHARED},
        {"exchange_us", beat->exchange_us, WIRE_COUNT_MAX},
        {"exposed_us", beat->exposed_us, beat->exchange_us},
        {"compute_us of a beat", beat->compute_us, WIRE_COUNT_MAX},
        {"data_us", beat->data_us, beat->compute_us},
    };
    int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
    for (size_t i = 0; i < BEAT_STALENESS && err == 0; i++)
        err = check_bounds(&(struct bound){"count of a staleness", beat->staleness_count[i],
                                           WIRE_COUNT_MAX},
                           1, why);
    for (size_t i = 0; i < beat->shared_count && err == 0; i++)
        err = check_bounds(&(struct bound){"shard that memory is shared with",
                                           beat->shared_shards[i], SHARDS_MAX - 1},
                           1, why);
    bool lacks_any = beat->lack_begin != 0 || beat->lack_end != 0;
    if (err == 0 && lacks_any && !is_run_of_lanes(beat->lack_begin, beat->lack_end))
        err = err_set(why, ERR_PROTO, "lacks lanes %u to %u", beat->lack_begin, beat->lack_end);
    return err;
}

static int check_lane(const struct lane_result *lane, struct err_msg *why)
{
    const struct bound bounds[] = {
        {"step", lane->step, WIRE_COUNT_MAX},
        {"lane", lane->lane, LANES_MAX - 1},
        {"sample_count", lane->sample_count, WIRE_COUNT_MAX},
        {"answer_count", lane->answer_count, WIRE_COUNT_MAX},
        {"correct_count", lane->correct_count, lane->answer_count},
        {"compute_us", lane->compute_us, WIRE_COUNT_MAX},
    };
    return check_bounds(bounds, ARRAY_LEN(bounds), why);
}

static int check_outcome(const struct outcome *outcome, struct err_msg *why)
{
    if (outcome->code > 0 || outcome->code < -255)
        return err_set(why, ERR_PROTO, "an outcome has code %d", outcome->code);
    const struct bound bounds[] = {
        {"step", outcome->step, WIRE_COUNT_MAX},
        {"newest", outcome->newest, WIRE_COUNT_MAX},
    };
    int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
    /* What a text says is cleaned by its receiver: an error must not get lost for a tab in it. */
    if (err == 0 && memchr(outcome->text, 0, sizeof(outcome->text)) == NULL)
        err = err_set(why, ERR_PROTO, "the text of an outcome is too long");
    return err;
}

/* What makes a step is of a node of the tree; what lacks is any run of lanes; who speaks of the
 * whole block names no lanes, or a node. */
static bool lanes_fit(const struct block_key *key, enum message_kind kind)
{
    struct lane_node node = {key->lane_begin, key->lane_end};
    switch (kind) {
    case MSG_PUSH:
    case MSG_VOID:
    case MSG_PASS:
    case MSG_UPDATE:
    case MSG_UPDATE_VOID:
        return lane_node_is_valid(node, LANES_MAX);
    case MSG_LACK:
        return is_run_of_lanes(node.begin, node.end);
    default:
        return (node.begin == 0 && node.end == 0) || lane_node_is_valid(node, LANES_MAX);
    }
}

static bool has_codec(enum message_kind kind)
{
    return kind == MSG_PUSH || kind == MSG_PULL || kind == MSG_WEIGHTS || kind == MSG_UPDATE;
}

static int check_key(const struct block_key *key, enum message_kind kind, struct err_msg *why)
{
    const struct bound bounds[] = {
        {"step", key->step, WIRE_COUNT_MAX},
        {"block", key->block, WIRE_BLOCKS_MAX - 1},
        {"codec", (uint64_t)key->codec, CODEC_COUNT - 1},
    };
    int err = check_bounds(bounds, ARRAY_LEN(bounds), why);
    if (err == 0 && key->codec != CODEC_F32 && !has_codec(kind))
        err = err_set(why, ERR_PROTO, "has a codec");
    if (err == 0 && !lanes_fit(key, kind))
        err = err_set(why, ERR_PROTO, "lanes %u to %u are no %s", key->lane_begin, key->lane_end,
                      kind == MSG_LACK ? "run of lanes" : "node of the tree");
    return err;
}

static int check_body(const struct message *msg, enum wire_body body, struct err_msg *why)
{
    switch (body) {
    case BODY_NONE:
        return 0;
    case BODY_HELLO:
        return check_hello(&msg->hello, why);
    case BODY_WELCOME:
        return check_bounds(&(struct bound){"rank", msg->welcome.rank, WORKERS_MAX - 1}, 1, why);
    case BODY_VIEW:
        return check_view(&msg->view_body, why);
    case BODY_BEAT:
        return check_beat(&msg->beat, why);
    case BODY_LANE:
        return check_lane(&msg->lane, why);
    case BODY_DIGEST:
        if (msg->digest.step > WIRE_COUNT_MAX)
            return err_set(why, ERR_PROTO, "step is too large");
        return check_hex("digest", msg->digest.hex, why);
    case BODY_OUTCOME:
        return check_outcome(&msg->outcome, why);
    case BODY_KEY:
        return check_key(&msg->key, msg->kind, why);
    case BODY_DRAIN:
        return check_bounds(&(struct bound){"rank", msg->drain.rank, WORKERS_MAX - 1}, 1, why);
    }
    return err_set(why, ERR_PROTO, "unknown body");
}

static int check_payload(const struct buffer *payload, enum wire_payload expected,
                         struct err_msg *why)
{
    if (expected == PAYLOAD_NONE)
        return payload == NULL ? 0 : err_set(why, ERR_PROTO, "has a payload; expected none");
    if (payload == NULL || payload->size_bytes == 0)
        return err_set(why, ERR_PROTO, "has no payload");
    if (expected == PAYLOAD_TEXT && payload->size_bytes > WIRE_TEXT_BYTES_MAX)
        return err_set(why, ERR_PROTO, "has a text of %zu bytes", payload->size_bytes);
    if (expected == PAYLOAD_ECHO && payload->size_bytes > WIRE_ECHO_BYTES_MAX)
        return err_set(why, ERR_PROTO, "has %zu bytes; at most %d are sent back",
                       payload->size_bytes, WIRE_ECHO_BYTES_MAX);
    if (expected == PAYLOAD_FLOATS && payload->size_bytes % sizeof(float) != 0)
        return err_set(why, ERR_PROTO, "has a payload of %zu bytes; expected a multiple of 4",
                       payload->size_bytes);
    return 0;
}

static int check_loans(const struct parcel *parcel, const struct buffer *payload,
                        struct err_msg *why)
{
    if (payload != NULL)
        return err_set(why, ERR_PROTO, "has a payload both in a frame and in shared memory");
    for (size_t i = 0; i < parcel->loan_count; i++) {
        const struct loan *loan = &parcel->loans[i];
        if (loan->size_bytes == 0 || loan->size_bytes > WIRE_LOAN_BYTES_MAX ||
            loan->size_bytes % sizeof(float) != 0 || loan->number == 0)
            return err_set(why, ERR_PROTO, "has loan %llu of %llu bytes of shared memory",
                           (unsigned long long)loan->number, (unsigned long long)loan->size_bytes);
    }
    return 0;
}

static int check_frames(const struct message *msg, enum wire_payload expected,
                        struct err_msg *why)
{
    const struct parcel *parcel = &msg->parcel;
    int err = check_payload(msg->payload, expected, why);
    for (size_t i = 1; i < parcel->frame_count && err == 0; i++)
        err = check_payload(parcel->frames[i], expected, why);
    return err;
}

static uint64_t piece_bytes(const struct message *msg, size_t idx)
{
    const struct parcel *parcel = &msg->parcel;
    if (parcel->loan_count > 0)
        return parcel->loans[idx].size_bytes;
    return parcel->frame_count > 0 ? parcel->frames[idx]->size_bytes : msg->payload->size_bytes;
}

/* How the pieces are cut: none is empty, and none is left over. */
static int check_cuts(const struct message *msg, size_t piece_count, struct err_msg *why)
{
    const struct parcel *parcel = &msg->parcel;
    size_t next = 0;
    uint64_t left = 0;
    for (size_t i = 0; i < parcel->count; i++) {
        uint32_t bytes = parcel->bytes[i];
        if (bytes == 0 || bytes % sizeof(float) != 0)
            return err_set(why, ERR_PROTO, "has a block of %u bytes", bytes);
        if (left == 0 && next < piece_count)
            left = piece_bytes(msg, next++);
        if (bytes > left)
            return err_set(why, ERR_PROTO, "has a block of %u bytes where %llu are left", bytes,
                           (unsigned long long)left);
        left -= bytes;
    }
    return left == 0 && next == piece_count
               ? 0
               : err_set(why, ERR_PROTO, "has more payload than blocks");
}

static int check_parcel(const struct message *msg, const struct wire_kind *kind,
                        struct err_msg *why)
{
    const struct parcel *parcel = &msg->parcel;
    bool has_payload = kind->payload != PAYLOAD_NONE;
    size_t piece_count = parcel->loan_count > 0 ? parcel->loan_count : parcel->frame_count;
    if (parcel->count > 0 && !wire_kind_is_parcel(msg->kind))
        return err_set(why, ERR_PROTO, "is of %zu blocks", parcel->count);
    if (parcel->count == 1 || parcel->count > PARCEL_BLOCKS_MAX)
        return err_set(why, ERR_PROTO, "is of %zu blocks; expected 2 to %d", parcel->count,
                       PARCEL_BLOCKS_MAX);
    if (parcel->count == 0 && piece_count > 1)
        return err_set(why, ERR_PROTO, "has a payload in %zu pieces", piece_count);
    for (size_t i = 0; i < parcel->count; i++)
        if (parcel->blocks[i] >= WIRE_BLOCKS_MAX)
            return err_set(why, ERR_PROTO, "is of block %u", parcel->blocks[i]);
    if (parcel->count > 0 && parcel->blocks[0] != msg->key.block)
        return err_set(why, ERR_PROTO, "is of block %u and of %u first", msg->key.block,
                       parcel->blocks[0]);
    if ((parcel->bytes != NULL) != (parcel->count > 0 && has_payload))
        return err_set(why, ERR_PROTO, "has %s of its blocks",
                       parcel->bytes == NULL ? "no sizes" : "needless sizes");
    return parcel->bytes == NULL ? 0 : check_cuts(msg, piece_count > 0 ? piece_count : 1, why);
}

bool wire_kind_is_parcel(enum message_kind kind)
{
    switch (kind) {
    case MSG_PUSH:
    case MSG_PASS:
    case MSG_WEIGHTS:
    case MSG_SAME:
    case MSG_PULL:
    case MSG_UPDATE:
    case MSG_UPDATE_VOID:
    case MSG_UPDATED:
        return true;
    default:
        return false;
    }
}

int wire_check(const struct message *msg, struct err_msg *why)
{
    const struct wire_kind *kind = wire_kind_of(msg->kind);
    if (kind == NULL)
        return err_set(why, ERR_PROTO, "a message of kind %d goes on no wire", (int)msg->kind);
    int err = check_body(msg, kind->body, why);
    size_t loan_count = msg->parcel.loan_count;
    if (err == 0 && loan_count > 0 && kind->payload != PAYLOAD_FLOATS)
        err = err_set(why, ERR_PROTO, "has %zu loans in shared memory", loan_count);
    else if (err == 0)
        err = loan_count > 0 ? check_loans(&msg->parcel, msg->payload, why)
                              : check_frames(msg, kind->payload, why);
    if (err == 0)
        err = check_parcel(msg, kind, why);
    return err == 0 ? 0 : err_prefix(why, err, "%s: ", kind->text);
}
