#ifndef DEPLOY_STATUS_PRINT_H
#define DEPLOY_STATUS_PRINT_H

/* status_print - a run's status, as a person reads it: a few lines, then a table of workers and one
 * of servers.
 *
 * Owner:    `talweg status`.  Thread: one.
 * Memory:   the tables, until they are printed.
 * Surprise: what a status lacks or has of another kind is left out, never an error.
 */
#include <stdbool.h>
#include <stdio.h>
#include "common/document.h"

/* ERR_NOMEM. */
MUST_USE int status_print(const struct document *status, FILE *out);

/* The run is in that phase: "training", "finished", ... */
bool status_is_phase(const struct document *status, const char *phase);

/* It ended, well or not. */
bool status_is_over(const struct document *status);

#endif
