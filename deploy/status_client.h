#ifndef DEPLOY_STATUS_CLIENT_H
#define DEPLOY_STATUS_CLIENT_H

/* status_client - asks a coordinator how its run is doing, or to let one of its members go.
 *
 * The status is the JSON that `talweg status --json` prints.  A question that is not answered is
 * asked again; answers to questions asked earlier count as well.
 *
 * Owner:    `talweg train`, `talweg status`, `talweg drain`.  Thread: one.
 * Memory:   a transport, a channel, the last answer.
 * Surprise: a coordinator that is not there yet is no error, only silence.
 */
#include <stdint.h>
#include "common/document.h"
#include "deploy/progress.h"
#include "proto/message.h"

struct status_client;

/* keys: a folder with `allowed` and client.key; NULL or "": none.  ERR_INPUT, ERR_NET, ERR_NOMEM,
 * and as keyring_open; with a sentence. */
MUST_USE int status_client_open(const char *endpoint, const char *keys,
                                struct status_client **client_out, struct err_msg *why);
void status_client_close(struct status_client *client);

/* Why nobody has answered for long: ERR_REFUSED with a sentence when the other end has other keys;
 * else 0, and why stays. */
MUST_USE int status_client_refusal(const struct status_client *client, struct err_msg *why);

/* Sends the question. */
MUST_USE int status_client_ask(struct status_client *client);

/* Waits for an answer up to timeout_ms, less when extra_fd (-1: none) becomes readable.  The caller
 * destroys the answer.  ERR_AGAIN: none yet; ERR_REFUSED: we are not let in; ERR_PROTO: not an
 * answer of ours; both with a sentence. */
MUST_USE int status_client_wait(struct status_client *client, int extra_fd, int timeout_ms,
                                struct document **answer_out, struct err_msg *why);

/* Asks to move everything off the server or worker of that rank, and waits for the answer up to
 * timeout_ms.  outcome_out->code is 0 when that is under way; its text is a sentence.  ERR_AGAIN:
 * no answer yet; else as status_client_wait. */
MUST_USE int status_client_drain(struct status_client *client, bool is_server, uint32_t rank,
                                 int timeout_ms, struct outcome *outcome_out, struct err_msg *why);

/* Members of an answer that may be missing: the fallback then. */
double status_real(const struct document *object, const char *key, double fallback);
uint64_t status_whole(const struct document *object, const char *key);
const char *status_text(const struct document *object, const char *key, const char *fallback);

/* How far the run of a status is, without epoch_count. */
struct progress_state status_progress(const struct document *status);

#endif
