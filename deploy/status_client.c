#include "deploy/status_client.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/arena.h"
#include "common/random.h"
#include "common/transport.h"

enum { ARENA_FIRST_BYTES = 4096, ARENA_LIMIT_BYTES = 1 << 20 };

struct status_client {
    struct transport *transport;
    struct channel *channel;
    struct arena *arena;
    uint64_t id;
};

static int use_keys(struct status_client *client, const char *keys, struct err_msg *why)
{
    struct keyring *ring;
    if (!keys || !*keys)
        return 0;
    int code = keyring_open(keys, KEY_CLIENT, -1, &ring, why);
    if (code == 0)
        transport_use_keys(client->transport, ring);
    return code;
}

int status_client_open(const char *endpoint, const char *keys, struct status_client **client_out,
                       struct err_msg *why)
{
    struct status_client *client = calloc(1, sizeof(*client));
    if (!client)
        return err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int code = random_bytes(&client->id, sizeof(client->id));
    struct ends ends = {{.party = PARTY_CLIENT, .id = client->id}, PARTY_COORDINATOR};
    if (code == 0)
        code = arena_create(ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES, &client->arena);
    if (code == 0)
        code = transport_create(1, &client->transport);
    if (code < 0)
        err_set(why, code, "%s", err_text(code));
    if (code == 0)
        code = use_keys(client, keys, why);
    if (code == 0)
        code = channel_connect(client->transport, endpoint, ends, &client->channel, why);
    if (code < 0)
        goto fail;
    *client_out = client;
    return 0;
fail:
    status_client_close(client);
    return code;
}

void status_client_close(struct status_client *client)
{
    if (!client)
        return;
    channel_destroy(client->channel);
    transport_destroy(client->transport);
    arena_destroy(client->arena);
    free(client);
}

int status_client_refusal(const struct status_client *client, struct err_msg *why)
{
    return channel_refusal(client->channel, true, why);
}

static int ask(struct status_client *client, const struct message *question)
{
    struct address anyone = {.party = PARTY_NONE};
    const void *bytes;
    size_t size_bytes;
    arena_reset(client->arena);
    int code = message_pack(question, client->arena, &bytes, &size_bytes);
    if (code < 0)
        return code;
    return channel_send(client->channel, anyone, bytes, size_bytes, NULL);
}

int status_client_ask(struct status_client *client)
{
    struct message question = {.kind = MSG_STATUS_ASK, .sender = client->id};
    return ask(client, &question);
}

/* The next answer.  On 0 the caller releases the frame, which the message borrows from. */
static int receive(struct status_client *client, int extra_fd, int timeout_ms, struct frame *frame,
                   struct message *answer, struct err_msg *why)
{
    struct ready ready;
    int code = transport_wait(&client->channel, 1, extra_fd, timeout_ms, &ready);
    if (code == 0)
        code = channel_receive(client->channel, frame);
    if (code == ERR_AGAIN && channel_refusal(client->channel, false, why) < 0)
        return ERR_REFUSED;
    if (code < 0)
        return code == ERR_AGAIN ? code : err_set(why, code, "%s", err_text(code));
    arena_reset(client->arena);
    code = message_unpack(frame->header, frame->header_bytes, frame->payload, client->arena,
                          answer, why);
    if (code == 0 && answer->kind == MSG_REFUSED)
        code = err_set(why, ERR_REFUSED, "%s", answer->outcome.text);
    if (code < 0)
        frame_release(frame);
    return code;
}

int status_client_wait(struct status_client *client, int extra_fd, int timeout_ms,
                       struct document **answer_out, struct err_msg *why)
{
    struct frame frame;
    struct message answer;
    int code = receive(client, extra_fd, timeout_ms, &frame, &answer, why);
    if (code < 0)
        return code;
    if (answer.kind == MSG_DRAINING) /* to a question that was asked twice */
        code = ERR_AGAIN;
    else if (answer.kind != MSG_STATUS || !frame.payload)
        code = err_set(why, ERR_PROTO, "answered with a %s instead of a status",
                       message_kind_text(answer.kind));
    else
        code = document_parse(frame.payload->data, frame.payload->size_bytes, answer_out, why);
    frame_release(&frame);
    return code;
}

int status_client_drain(struct status_client *client, bool is_server, uint32_t rank,
                        int timeout_ms, struct outcome *outcome_out, struct err_msg *why)
{
    struct frame frame;
    struct message answer, question = {.kind = MSG_DRAIN,
                                       .sender = client->id,
                                       .drain = {.is_server = is_server, .rank = rank}};
    int code = ask(client, &question);
    if (code < 0)
        return err_set(why, code, "%s", err_text(code));
    code = receive(client, -1, timeout_ms, &frame, &answer, why);
    if (code < 0)
        return code;
    if (answer.kind == MSG_DRAINING)
        *outcome_out = answer.outcome;
    else
        code = ERR_AGAIN;
    frame_release(&frame);
    return code;
}

double status_real(const struct document *object, const char *key, double fallback)
{
    double value;
    return document_get_real(object, key, &value, NULL) == 0 ? value : fallback;
}

uint64_t status_whole(const struct document *object, const char *key)
{
    int64_t value;
    return document_get_whole(object, key, &value, NULL) == 0 && value > 0 ? (uint64_t)value : 0;
}

const char *status_text(const struct document *object, const char *key, const char *fallback)
{
    const char *text;
    return document_get_text(object, key, &text, NULL) == 0 ? text : fallback;
}

struct progress_state status_progress(const struct document *status)
{
    struct progress_state state = {
        .step = status_whole(status, "step"),
        .step_count = status_whole(status, "steps"),
        .round_steps = status_whole(status, "round_steps"),
        .epoch = status_real(status, "epoch", NAN),
        .loss = status_real(status, "loss", NAN),
        .samples_per_s = status_real(status, "samples_per_s", -1),
        .left_s = -1,
    };
    snprintf(state.phase, sizeof(state.phase), "%s", status_text(status, "phase", "?"));
    if (strcmp(state.phase, "training") == 0)
        state.left_s = status_real(status, "left_s", -1);
    return state;
}
