#include "ingot_blas.h"

#include <stdlib.h>

// Values of the CBLAS interface (the reference `cblas.h`).
enum { row_major = 101, no_transpose = 111, transpose = 112, upper = 121 };

typedef void gemm_function(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void syrk_function(int, int, int, int, int, float, const float *, int, float, float *, int);

static gemm_function *gemm;
static syrk_function *syrk;

#ifdef __APPLE__

#include <Accelerate/Accelerate.h>

static void load(void) {
    gemm = (gemm_function *)cblas_sgemm;
    syrk = (syrk_function *)cblas_ssyrk;
}

#else

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

// OpenBLAS 0.3.21 takes processors that are newer than itself for the oldest one, with a tenth of the speed. So name the kernels by what the
// processor can do, unless the user named some.
static void choose_kernels(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        setenv("OPENBLAS_CORETYPE", "Haswell", 0);
    }
#endif
}

// The library that the tarball brings along: ../lib/ingot/libopenblas.so.0 from the folder of the command.
static void *open_own(void) {
    char path[PATH_MAX];
    static const char below[] = "/lib/ingot/libopenblas.so.0";
    ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length <= 0 || (size_t)length >= sizeof path) return NULL;
    path[length] = 0;
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) return NULL;
        *slash = 0;
    }
    if (strlen(path) + sizeof below > sizeof path) return NULL;
    strcat(path, below);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void load(void) {
    // One thread a call: the pipeline's workers are the threads. The library reads both variables when it is loaded.
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    choose_kernels();
    void *library = open_own();
    if (library == NULL) library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return;
    gemm = (gemm_function *)dlsym(library, "cblas_sgemm");
    syrk = (syrk_function *)dlsym(library, "cblas_ssyrk");
}

#endif

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

bool ingot_blas_load(void) {
    pthread_once(&once, load);
    return gemm != NULL && syrk != NULL;
}

void ingot_blas_product(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    gemm(row_major, no_transpose, transpose, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

void ingot_blas_product_plain(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    gemm(row_major, no_transpose, no_transpose, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

void ingot_blas_product_transposed(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    gemm(row_major, transpose, no_transpose, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

void ingot_blas_moments(int n, int rows, const float *x, int ldx, float *c, int ldc) {
    syrk(row_major, upper, transpose, n, rows, 1, x, ldx, 1, c, ldc);
}
