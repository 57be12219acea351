// The kernels for arm64.

#if defined(__aarch64__)
#include "../common/platform.h"
#include "table.h"
#define LEVEL_TABLE ingot_table_neon
#define LEVEL_HAS_HALF 1
#define LEVEL_HAS_FUSED 1
#define LEVEL_HAS_AVX2 0
#define LEVEL_HAS_AVX512 0
#define LEVEL_HAS_EXPAND 0
#define LEVEL_HAS_NEON 1
#define LEVEL_PATHS 8
#include "kernels.h"
#else
typedef int ingot_level_neon_is_empty;
#endif
