// What the kernels need of the compiler. A level includes it before it pushes its target attribute.

#ifndef INGOT_COMMON_PLATFORM_H
#define INGOT_COMMON_PLATFORM_H

#include <float.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

// Vectors wider than a level's registers never cross a call that is not inlined.
#pragma clang diagnostic ignored "-Wpsabi"
// A fused multiply-add rounds once where every other level rounds twice.
#pragma clang fp contract(off)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Ingot's kernels assume a little-endian processor"
#endif

#endif
