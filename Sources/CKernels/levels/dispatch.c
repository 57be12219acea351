// Chooses the instruction set at the first call, from the processor and INGOT_KERNELS.

#include "dispatch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int32_t active_level = -1;

static const struct ingot_table *table_of(int32_t level) {
#if defined(__x86_64__)
    switch (level) {
    case INGOT_LEVEL_AVX512_VBMI2: return &ingot_table_avx512_vbmi2;
    case INGOT_LEVEL_AVX512: return &ingot_table_avx512;
    case INGOT_LEVEL_AVX2: return &ingot_table_avx2;
    default: return &ingot_table_sse2;
    }
#else
    (void)level;
    return &ingot_table_neon;
#endif
}

int32_t ingot_level_is_available(int32_t level) {
    if (level == INGOT_LEVEL_BASELINE) { return 1; }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (level == INGOT_LEVEL_AVX2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma");
    }
    if (level == INGOT_LEVEL_AVX512_VBMI2) {
        return ingot_level_is_available(INGOT_LEVEL_AVX512) && __builtin_cpu_supports("avx512vbmi2");
    }
    if (level == INGOT_LEVEL_AVX512) {
        return ingot_level_is_available(INGOT_LEVEL_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }
#endif
    return 0;
}

// The level that INGOT_KERNELS names if this processor has it, otherwise the highest available level.
static int32_t first_level(void) {
    const char *asked = getenv("INGOT_KERNELS");
    for (int32_t level = INGOT_LEVEL_AVX512_VBMI2; asked && level >= INGOT_LEVEL_BASELINE; level -= 1) {
        if (strcmp(asked, ingot_level_name(level)) == 0 && ingot_level_is_available(level)) { return level; }
    }
    int32_t level = INGOT_LEVEL_AVX512_VBMI2;
    while (!ingot_level_is_available(level)) { level -= 1; }
    return level;
}

int32_t ingot_level_active(void) {
    int32_t level = atomic_load_explicit(&active_level, memory_order_relaxed);
    if (level < 0) {
        level = first_level();
        // Two threads may both get here; they store the same number.
        atomic_store_explicit(&active_level, level, memory_order_relaxed);
    }
    return level;
}

int32_t ingot_level_force(int32_t level) {
    if (!ingot_level_is_available(level)) { return -1; }
    atomic_store_explicit(&active_level, level, memory_order_relaxed);
    return 0;
}

const char *ingot_level_name(int32_t level) {
    switch (level) {
#if defined(__x86_64__)
    case INGOT_LEVEL_BASELINE: return "sse2";
#else
    case INGOT_LEVEL_BASELINE: return "neon";
#endif
    case INGOT_LEVEL_AVX2: return "avx2";
    case INGOT_LEVEL_AVX512: return "avx512";
    case INGOT_LEVEL_AVX512_VBMI2: return "avx512vbmi2";
    default: return "unknown";
    }
}

const struct ingot_table *ingot_active_table(void) { return table_of(ingot_level_active()); }
