#ifndef WORKER_NN_BLAS_H
#define WORKER_NN_BLAS_H

/* blas - matrix products: the door to OpenBLAS.
 *
 * One BLAS thread, always: it gives the same bits whatever alignment and concurrency, two do not.
 * Dimensions are checked here, since cblas answers a wrong one by printing and leaving C as it was.
 *
 * Shapes:   A: [rows][inner], B: [inner][cols], C: [rows][cols], row major, with a stride each.
 * Owner:    the operators.  Thread: any number at once.
 * Memory:   OpenBLAS keeps a packing buffer a thread.
 * Surprise: blas_start sets the thread count of the whole process.
 */
#include <stdbool.h>
#include <stddef.h>
#include "worker/nn/real.h"

/* Once before the first product, while no other thread computes; again is harmless. */
void blas_start(void);

/* OpenBLAS tries for ever when it gets no packing buffer, so this is asked first: whether the
 * address space has room for one more in each of thread_count threads. */
bool blas_has_room(size_t thread_count);

/* The kernels OpenBLAS chose for this processor, "Haswell".  Static. */
const char *blas_core_name(void);

/* "OpenBLAS 0.3.21".  text: [size_bytes], cut to fit. */
void blas_library(char *text, size_t size_bytes);

/* How a matrix lies in memory. */
enum blas_form {
    BLAS_PLAIN,     /* as its shape says */
    BLAS_TRANSPOSED /* the memory holds the transpose: A as [inner][rows], B as [cols][inner] */
};

struct blas_matrix {
    const real *data;
    size_t stride; /* elements from one row of the memory to the next */
    enum blas_form form;
};

static inline real blas_element(struct blas_matrix matrix, size_t row, size_t col)
{
    return matrix.form == BLAS_PLAIN ? matrix.data[row * matrix.stride + col]
                                     : matrix.data[col * matrix.stride + row];
}

struct blas_shape {
    size_t rows, cols, inner;
};

/* C = A B + keep C, where keep is 0 (C may be uninitialised) or 1. */
void blas_multiply(struct blas_shape shape, struct blas_matrix A, struct blas_matrix B, bool keep,
                   real *C, size_t C_stride);

#endif
