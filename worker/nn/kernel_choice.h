#ifndef WORKER_NN_KERNEL_CHOICE_H
#define WORKER_NN_KERNEL_CHOICE_H

/* kernel_choice - which of OpenBLAS's kernels this process multiplies with.
 *
 * OpenBLAS chooses when it is loaded, by the processor or by OPENBLAS_CORETYPE; each of its cores
 * has bits of its own.  An OpenBLAS older than the processor may not know it and fall back to
 * kernels without AVX2, a fifth as fast; Talweg itself needs AVX2, so "Haswell" runs wherever it
 * does, and "SkylakeX" where there is AVX-512 as well.
 *
 * Owner:    none.  Thread: the main one, before it starts any other.
 * Surprise: kernels_choose begins the process again (execv, same arguments, same process id) when
 *           the kernels are to be others than those that were loaded.
 */
#include <stdbool.h>
#include "common/err.h"

/* What to ask OpenBLAS for; NULL when what it chose will do.  wanted: worker.kernels, "auto" or a
 * core's name; chosen: blas_core_name(); asked: OPENBLAS_CORETYPE, or NULL. */
const char *kernels_to_ask(const char *wanted, const char *chosen, const char *asked,
                           bool has_avx512);

/* Returns when the kernels are as wanted.  ERR_INPUT: OpenBLAS was asked and does not have them
 * here; ERR_IO: the process cannot begin again. */
MUST_USE int kernels_choose(const char *wanted, struct err_msg *why);

#endif
