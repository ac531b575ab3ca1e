#ifndef DEPLOY_BENCH_REPORT_H
#define DEPLOY_BENCH_REPORT_H

/* report - a case's figures as JSON, or as a table for people.
 *
 * Owner:    `talweg bench exchange`.  Thread: one.  Memory: one document.
 * Surprise: none.
 */
#include <stdio.h>
#include "common/document.h"
#include "deploy/bench/exchange.h"
#include "deploy/bench/limits.h"

/* limits: NULL when they were not measured; then there is no "limit".  NULL: out of memory. */
MUST_USE struct document *bench_report_document(const struct bench_case *what,
                                                const struct bench_result *result,
                                                const struct limits *limits);

/* The same with ratios, at most 100 columns wide. */
void bench_report_print(FILE *out, const struct bench_case *what,
                        const struct bench_result *result, const struct limits *limits);

#endif
