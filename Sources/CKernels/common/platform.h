// Headers and compiler settings of the kernels. Each level includes this file before it pushes its target attribute.

#ifndef INGOT_COMMON_PLATFORM_H
#define INGOT_COMMON_PLATFORM_H

#include <float.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

// Safe to ignore: vectors wider than a level's registers are passed only to inlined functions.
#pragma clang diagnostic ignored "-Wpsabi"
// A fused multiply-add rounds once; on the other levels multiplication and addition round twice.
#pragma clang fp contract(off)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Ingot's kernels assume a little-endian processor"
#endif

#endif
