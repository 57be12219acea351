// The kernels for processors with AVX-512 F, BW, VL, DQ and VBMI2, which expands and compresses bytes under a mask.

#if defined(__x86_64__)
#include "../common/platform.h"
#include "table.h"
#define LEVEL_TABLE ingot_table_avx512_vbmi2
#define LEVEL_HAS_HALF 1
#define LEVEL_HAS_FUSED 1
#define LEVEL_HAS_AVX2 1
#define LEVEL_HAS_AVX512 1
#define LEVEL_HAS_EXPAND 1
#define LEVEL_HAS_NEON 0
#define LEVEL_PATHS 32
#pragma clang attribute push( \
    __attribute__((target("avx2,f16c,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#else
typedef int ingot_level_avx512_vbmi2_is_empty;
#endif
