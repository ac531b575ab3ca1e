#ifndef DEPLOY_PLAN_REPORT_H
#define DEPLOY_PLAN_REPORT_H

/* report - a plan for people, and as JSON.
 *
 * Owner:    `talweg plan`.  Thread: the main thread.
 * Memory:   the document's.
 * Surprise: none.
 */
#include <stdio.h>
#include "common/document.h"
#include "deploy/plan/advice.h"
#include "deploy/plan/table.h"

struct plan_report {
    const char *name;          /* of the job */
    const char *speed_source;  /* "measured here", "stated" */
    const char *link_source;   /* "measured", "stated", "assumed" */
    const struct plan_inputs *inputs;
    const struct advice *advice;
    const struct plan_row *rows;
    size_t row_count;
};

void plan_report_print(FILE *out, const struct plan_report *report);

/* NULL: out of memory. */
MUST_USE struct document *plan_report_document(const struct plan_report *report);

#endif
