// The kernels for processors with AVX2, F16C and FMA.

#if defined(__x86_64__)
#include "../common/platform.h"
#include "table.h"
#define LEVEL_TABLE ingot_table_avx2
#define LEVEL_HAS_HALF 1
#define LEVEL_HAS_FUSED 1
#define LEVEL_HAS_AVX2 1
#define LEVEL_HAS_AVX512 0
#define LEVEL_HAS_EXPAND 0
#define LEVEL_HAS_NEON 0
#define LEVEL_PATHS 16
#pragma clang attribute push(__attribute__((target("avx2,f16c,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#else
typedef int ingot_level_avx2_is_empty;
#endif
