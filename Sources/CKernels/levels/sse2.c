// The kernels for baseline x86-64.

#if defined(__x86_64__)
#include "../common/platform.h"
#include "table.h"
#define LEVEL_TABLE ingot_table_sse2
#define LEVEL_HAS_HALF 0
#define LEVEL_HAS_FUSED 0
#define LEVEL_HAS_AVX2 0
#define LEVEL_HAS_AVX512 0
#define LEVEL_HAS_EXPAND 0
#define LEVEL_HAS_NEON 0
#define LEVEL_PATHS 8
#include "kernels.h"
#else
typedef int ingot_level_sse2_is_empty;
#endif
