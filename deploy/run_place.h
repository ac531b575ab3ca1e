#ifndef DEPLOY_RUN_PLACE_H
#define DEPLOY_RUN_PLACE_H

/* run_place - where a run can be asked how it is doing: its coordinator, or the files it left.
 *
 * A folder's run.json names the coordinator; a summary.json that is newer says how the run ended.
 *
 * Owner:    `talweg status`, `talweg drain`.  Thread: one.
 * Memory:   the two files, a connection.
 * Surprise: a finished run has no servers and workers any more: these lists are empty.
 */
#include "common/document.h"
#include "deploy/status_client.h"

struct run_place;

/* text: an address or a folder; NULL: this folder, or out/ in it.  keys: as for status_client_open;
 * NULL: TALWEG_KEYS, or what the folder's run.json says.  Both borrowed until close.  ERR_INPUT
 * with a sentence when text is neither. */
MUST_USE int run_place_open(const char *text, const char *keys, struct run_place **place_out,
                            struct err_msg *why);
void run_place_close(struct run_place *place);

/* The status as of now, which the caller destroys.  A sentence with every error; ERR_NOT_FOUND: no
 * run there; ERR_LOST: its coordinator is gone; ERR_TIMEOUT: nobody answers. */
MUST_USE int run_place_status(struct run_place *place, struct document **status_out,
                              struct err_msg *why);

/* Asks the coordinator to let a member go, as status_client_drain.  Errors as run_place_status;
 * ERR_NOT_FOUND when the run is over, too. */
MUST_USE int run_place_drain(struct run_place *place, bool is_server, uint32_t rank,
                             struct outcome *outcome_out, struct err_msg *why);

#endif
