#ifndef WORKER_NN_REAL_H
#define WORKER_NN_REAL_H

/* real - the number that a network computes with.
 *
 * It is float.  Tests compile worker/nn again with TALWEG_REAL_DOUBLE, so that finite differences
 * check the very same source with errors far below what they look for.
 *
 * Owner:    worker/nn.  Thread: none.
 * Surprise: none.
 */
#ifdef TALWEG_REAL_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#endif
