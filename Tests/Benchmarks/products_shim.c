// Stands in for libopenblas.so.0 in products.py: passes products on to the library named by INGOT_REAL_OPENBLAS, and counts their operations and
// the processor time that they take. Writes both to the file INGOT_PRODUCTS_LOG when the program ends.
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void gemm_function(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void syrk_function(int, int, int, int, int, float, const float *, int, float, float *, int);

static gemm_function *gemm;
static syrk_function *syrk;
static _Atomic unsigned long long operations, nanoseconds;

__attribute__((constructor)) static void load(void) {
    void *library = dlopen(getenv("INGOT_REAL_OPENBLAS"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "products_shim: %s\n", dlerror());
        exit(1);
    }
    gemm = (gemm_function *)dlsym(library, "cblas_sgemm");
    syrk = (syrk_function *)dlsym(library, "cblas_ssyrk");
}

static unsigned long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

void cblas_sgemm(int layout, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc) {
    unsigned long long begin = now();
    gemm(layout, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    atomic_fetch_add(&nanoseconds, now() - begin);
    atomic_fetch_add(&operations, 2ull * m * n * k);
}

void cblas_ssyrk(int layout, int triangle, int t, int n, int k, float alpha, const float *a, int lda, float beta, float *c, int ldc) {
    syrk(layout, triangle, t, n, k, alpha, a, lda, beta, c, ldc);
}

__attribute__((destructor)) static void store(void) {
    FILE *log = fopen(getenv("INGOT_PRODUCTS_LOG"), "w");
    if (log == NULL) return;
    fprintf(log, "%llu %llu\n", operations, nanoseconds);
    fclose(log);
}
