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
// The compiler fuses no product with a sum of its own accord: not all levels could. `fused` says where they do.
#pragma clang fp contract(off)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Ingot's kernels assume a little-endian processor"
#endif

#endif
