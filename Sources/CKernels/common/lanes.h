// Vectors of sixteen lanes, which all kernels use, and conversions between element types.

#ifndef INGOT_COMMON_LANES_H
#define INGOT_COMMON_LANES_H

#include "platform.h"

#define INLINE static inline __attribute__((always_inline))

typedef float f32x16 __attribute__((ext_vector_type(16)));
typedef double f64x16 __attribute__((ext_vector_type(16)));
typedef int64_t i64x16 __attribute__((ext_vector_type(16)));
typedef int32_t i32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t u32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t u32x32 __attribute__((ext_vector_type(32)));
typedef int16_t i16x16 __attribute__((ext_vector_type(16)));
typedef uint16_t u16x16 __attribute__((ext_vector_type(16)));
typedef uint8_t u8x16 __attribute__((ext_vector_type(16)));
#if LEVEL_HAS_HALF
typedef _Float16 f16x16 __attribute__((ext_vector_type(16)));
#endif

enum { LANES = 16 };
enum { FORMAT_F16 = 1, FORMAT_BF16 = 2, FORMAT_F32 = 3 };

#define LOAD(type, pointer)                              \
    ({                                                   \
        type loaded_;                                    \
        memcpy(&loaded_, (pointer), sizeof loaded_);     \
        loaded_;                                         \
    })
#define STORE(pointer, value)                            \
    ({                                                   \
        __typeof__(value) stored_ = (value);             \
        memcpy((pointer), &stored_, sizeof stored_);     \
    })
#define CONVERT(type, value) __builtin_convertvector((value), type)

// Both return `b` if `a` is NaN.
INLINE f32x16 lesser(f32x16 a, f32x16 b) { return a < b ? a : b; }
INLINE f32x16 greater(f32x16 a, f32x16 b) { return a > b ? a : b; }

INLINE f32x16 magnitude(f32x16 a) { return (f32x16)((u32x16)a & 0x7fffffffu); }

#if !LEVEL_HAS_FUSED
// product + addend, rounded once to binary32, where `sum` is rounded to binary64. The sum is made odd if it is not exact (Boldo and Melquiond,
// "Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd", 2008).
static __attribute__((noinline)) f32x16 fused_odd(f64x16 product, f64x16 addend, f64x16 sum) {
    f64x16 share = sum - product, lost = (product - (sum - share)) + (addend - share);
    i64x16 bits = (i64x16)sum, is_up = (lost > 0.0) == (sum > 0.0);
    i64x16 moves = ((lost > 0.0) | (lost < 0.0)) & ((bits & 1) == 0);
    return CONVERT(f32x16, (f64x16)(bits + (moves & (is_up ? (i64x16)1 : (i64x16)-1))));
}
#endif

// a * b + c, rounded once.
INLINE f32x16 fused(f32x16 a, f32x16 b, f32x16 c) {
#if LEVEL_HAS_FUSED
    return __builtin_elementwise_fma(a, b, c);
#else
    // The product is exact in binary64. Rounding the sum again gives what rounding once does, unless the sum ends halfway between two numbers of
    // binary32. Its last bits tell; where it is below the normal numbers of binary32, they do not.
    f64x16 product = CONVERT(f64x16, a) * CONVERT(f64x16, b), addend = CONVERT(f64x16, c), sum = product + addend;
    u32x32 words = (u32x32)sum;
    u32x16 low = __builtin_shufflevector(words, words, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    u32x16 high = __builtin_shufflevector(words, words, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    i32x16 small = (i32x16)(high & 0x7fffffffu) < 0x38100000;
    i32x16 doubtful = ((low & 0x1fffffffu) == 0x10000000u) | (small & ((high << 1 | low) != 0u));
    if (__builtin_reduce_or(doubtful) == 0) { return CONVERT(f32x16, sum); }
    return fused_odd(product, addend, sum);
#endif
}

// 1.5 * 2^23: adding and subtracting it rounds |a| < 2^22 to the nearest integer, ties to even.
INLINE f32x16 rounded(f32x16 a) { return (a + 12582912.0f) - 12582912.0f; }

INLINE f32x16 float_from_half(u16x16 half) {
#if LEVEL_HAS_HALF
    return CONVERT(f32x16, (f16x16)half);
#else
    u32x16 wide = CONVERT(u32x16, half);
    u32x16 bits = (wide & 0x7fffu) << 13;
    u32x16 exponent = bits & 0x0f800000u;
    u32x16 normal = bits + 0x38000000u;
    // A subnormal is read as if it had the implicit leading one, which is then subtracted.
    u32x16 subnormal = (u32x16)((f32x16)(bits + 0x38800000u) - 0x1p-14f);
    u32x16 special = bits + 0x70000000u;
    special |= (bits & 0x007fffffu) != 0u ? (u32x16)0x00400000u : (u32x16)0u;
    u32x16 result = exponent == 0u ? subnormal : normal;
    result = exponent == 0x0f800000u ? special : result;
    return (f32x16)(result | (wide & 0x8000u) << 16);
#endif
}

INLINE u16x16 half_from_float(f32x16 value) {
#if LEVEL_HAS_HALF
    return (u16x16)CONVERT(f16x16, value);
#else
    u32x16 bits = (u32x16)value;
    u32x16 sign = (bits & 0x80000000u) >> 16;
    u32x16 size = bits & 0x7fffffffu;
    u32x16 normal = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    // Adding 0.5 aligns the last bit of the subnormal with the last bit of the sum, so that the addition rounds it.
    u32x16 subnormal = (u32x16)((f32x16)size + 0.5f) - 0x3f000000u;
    u32x16 nan = (size >> 13 & 0x3ffu) | 0x7e00u;
    u32x16 result = size < 0x38800000u ? subnormal : normal;
    result = size >= 0x47800000u ? (u32x16)0x7c00u : result;
    result = size > 0x7f800000u ? nan : result;
    return CONVERT(u16x16, result | sign);
#endif
}

INLINE u16x16 bfloat_from_float(f32x16 value) {
    u32x16 bits = (u32x16)value;
    u32x16 finite = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    u32x16 nan = bits >> 16 | 0x40u;
    return CONVERT(u16x16, (bits & 0x7fffffffu) > 0x7f800000u ? nan : finite);
}

INLINE f32x16 float_from_bfloat(u16x16 bfloat) { return (f32x16)(CONVERT(u32x16, bfloat) << 16); }

// `value` rounded to `format` and widened again.
INLINE f32x16 stored(int32_t format, f32x16 value) {
    switch (format) {
    case FORMAT_F16: return float_from_half(half_from_float(value));
    case FORMAT_BF16: return float_from_bfloat(bfloat_from_float(value));
    default: return value;
    }
}

INLINE float largest_finite(int32_t format) {
    switch (format) {
    case FORMAT_F16: return 65504.0f;
    case FORMAT_BF16: return 0x1.fep127f;
    default: return FLT_MAX;
    }
}

// 2^exponent, for exponents from -126 to 127.
INLINE f32x16 power_of_two(i32x16 exponent) { return (f32x16)((exponent + 127) << 23); }

// The sum of the lanes. Order: lanes k and k + 8, then k and k + 4, then k and k + 2, then 0 and 1.
INLINE double added_doubles(f64x16 sum) {
    double lanes[LANES];
    STORE(lanes, sum);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k += 1) { lanes[k] += lanes[k + half]; }
    }
    return lanes[0];
}

#endif
