#include "worker/nn/blas.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cblas.h>

/* OpenBLAS 0.3: at most this much a packing buffer on the processors it knows. */
static const size_t buffer_bytes = (size_t)64 << 20;

void blas_start(void)
{
    openblas_set_num_threads(1);
}

bool blas_has_room(size_t thread_count)
{
    void *room = mmap(NULL, thread_count * buffer_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return false;
    munmap(room, thread_count * buffer_bytes);
    return true;
}

const char *blas_core_name(void)
{
    return openblas_get_corename();
}

void blas_library(char *text, size_t size_bytes)
{
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACK ..." */
    const char *space = strchr(config, ' ');
    size_t length = space == NULL ? strlen(config)
                                  : (size_t)(space - config) + 1 + strcspn(space + 1, " ");
    snprintf(text, size_bytes, "%.*s", (int)length, config);
}

/* cblas wants int, and a stride of at least a row of what lies in memory. */
static int checked_int(size_t value)
{
    assert(value <= INT_MAX);
    return (int)value;
}

static int checked_stride(struct blas_matrix matrix, size_t rows, size_t cols)
{
    assert(matrix.stride >= (matrix.form == BLAS_PLAIN ? cols : rows));
    return checked_int(matrix.stride);
}

static CBLAS_TRANSPOSE form_code(enum blas_form form)
{
    return form == BLAS_PLAIN ? CblasNoTrans : CblasTrans;
}

void blas_multiply(struct blas_shape shape, struct blas_matrix A, struct blas_matrix B, bool keep,
                   real *C, size_t C_stride)
{
    if (shape.rows == 0 || shape.cols == 0)
        return;
    assert(shape.inner > 0 && C_stride >= shape.cols);
    int rows = checked_int(shape.rows), cols = checked_int(shape.cols);
    int inner = checked_int(shape.inner);
    int lda = checked_stride(A, shape.rows, shape.inner);
    int ldb = checked_stride(B, shape.inner, shape.cols);
    real beta = keep ? 1 : 0;
#ifdef TALWEG_REAL_DOUBLE
    cblas_dgemm(CblasRowMajor, form_code(A.form), form_code(B.form), rows, cols, inner, 1, A.data,
                lda, B.data, ldb, beta, C, checked_int(C_stride));
#else
    cblas_sgemm(CblasRowMajor, form_code(A.form), form_code(B.form), rows, cols, inner, 1, A.data,
                lda, B.data, ldb, beta, C, checked_int(C_stride));
#endif
}
