#ifndef WORKER_NN_KERNEL_CHOICE_H
#define WORKER_NN_KERNEL_CHOICE_H

/* kernel_choice - which of OpenBLAS's kernels this process multiplies with, where products are not
 * Talweg's own (gemm.h): on processors that are not x86-64.
 *
 * OpenBLAS chooses when it is loaded, by the processor or by OPENBLAS_CORETYPE; each of its cores
 * has bits of its own.
 *
 * Owner:    none.  Thread: the main one, before it starts any other.
 * Surprise: kernels_choose begins the process again (execv, same arguments, same process id) when
 *           the kernels are to be others than those that were loaded.
 */
#include "common/err.h"

/* What to ask OpenBLAS for; NULL when what it chose will do.  wanted: worker.kernels, "auto" or a
 * core's name; chosen: blas_core_name(). */
const char *kernels_to_ask(const char *wanted, const char *chosen);

/* Returns when the kernels are as wanted, or products are Talweg's own.  ERR_INPUT: OpenBLAS was
 * asked and does not have them here; ERR_IO: the process cannot begin again. */
MUST_USE int kernels_choose(const char *wanted, struct err_msg *why);

#endif
