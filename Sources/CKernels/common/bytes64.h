// Vectors of 64 bytes, one for each column of a strip. Operations that vector types cannot express have a portable form and,
// where it is faster, one for an instruction set.

#ifndef INGOT_COMMON_BYTES64_H
#define INGOT_COMMON_BYTES64_H

#include "lanes.h"

typedef uint8_t u8x64 __attribute__((ext_vector_type(64)));
typedef int8_t i8x64 __attribute__((ext_vector_type(64)));
typedef int16_t i16x64 __attribute__((ext_vector_type(64)));
typedef uint16_t u16x64 __attribute__((ext_vector_type(64)));
typedef _Bool boolx64 __attribute__((ext_vector_type(64)));

// Bit k is set where byte k is not zero.
INLINE uint64_t mask64(u8x64 bytes) {
    boolx64 bits = __builtin_convertvector(bytes != (uint8_t)0, boolx64);
    return __builtin_bit_cast(uint64_t, bits);
}

// 1 << exponent in each byte, for exponents below 8.
INLINE u8x64 power64(u8x64 exponent) {
#if LEVEL_HAS_AVX512
    __m512i powers = _mm512_set1_epi64((long long)0x8040201008040201u);
    return (u8x64)_mm512_shuffle_epi8(powers, (__m512i)exponent);
#elif LEVEL_HAS_AVX2
    __m256i powers = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i half[2];
    memcpy(half, &exponent, sizeof half);
    half[0] = _mm256_shuffle_epi8(powers, half[0]);
    half[1] = _mm256_shuffle_epi8(powers, half[1]);
    return LOAD(u8x64, half);
#else
    u8x64 power = (exponent & (uint8_t)1) != (uint8_t)0 ? (u8x64)(uint8_t)2 : (u8x64)(uint8_t)1;
    power = (exponent & (uint8_t)2) != (uint8_t)0 ? power << (uint8_t)2 : power;
    return (exponent & (uint8_t)4) != (uint8_t)0 ? power << (uint8_t)4 : power;
#endif
}

// Byte orders for each mask of eight bits. `merge`: byte i is the next of the low eight of sixteen bytes if bit i is 0, the next
// of the high eight if it is 1. `split`: the bytes whose bit is 0 come first, then those whose bit is 1, both in order.
struct shuffles {
    uint8_t merge[256][8], split[256][8];
};
#define BELOW(m, i) __builtin_popcount((m) & ((1 << (i)) - 1))
#define MERGE(m, i) ((m) >> (i) & 1 ? 8 + BELOW(m, i) : (i) - BELOW(m, i))
// NTH(m, j): index of the j-th set bit, j from 0. UP_TO(m, i, j): bits 0 to i have at most j set bits.
#define UP_TO(m, i, j) (BELOW(m, (i) + 1) <= (j))
#define NTH(m, j)                                                                                                \
    (UP_TO(m, 0, j) + UP_TO(m, 1, j) + UP_TO(m, 2, j) + UP_TO(m, 3, j) + UP_TO(m, 4, j) + UP_TO(m, 5, j)         \
     + UP_TO(m, 6, j) + UP_TO(m, 7, j))
#define ZEROS(m) (8 - BELOW(m, 8))
#define SPLIT(m, j) ((j) < ZEROS(m) ? NTH(~(m) & 255, j) : NTH(m, (j) - ZEROS(m)))
#define ROW(f, m) {f(m, 0), f(m, 1), f(m, 2), f(m, 3), f(m, 4), f(m, 5), f(m, 6), f(m, 7)}
#define ROWS4(f, m) ROW(f, m), ROW(f, (m) + 1), ROW(f, (m) + 2), ROW(f, (m) + 3)
#define ROWS16(f, m) ROWS4(f, m), ROWS4(f, (m) + 4), ROWS4(f, (m) + 8), ROWS4(f, (m) + 12)
#define ROWS64(f, m) ROWS16(f, m), ROWS16(f, (m) + 16), ROWS16(f, (m) + 32), ROWS16(f, (m) + 48)
#define ROWS256(f) ROWS64(f, 0), ROWS64(f, 64), ROWS64(f, 128), ROWS64(f, 192)
static const struct shuffles shuffles = {{ROWS256(MERGE)}, {ROWS256(SPLIT)}};

// Selects eight of sixteen bytes: byte i of the result has the index row[i].
INLINE uint64_t shuffled(uint64_t low, uint64_t high, const uint8_t *row) {
#if LEVEL_HAS_AVX2
    __m128i both = _mm_set_epi64x((long long)high, (long long)low);
    __m128i order = _mm_loadl_epi64((const __m128i *)(const void *)row);
    return (uint64_t)_mm_cvtsi128_si64(_mm_shuffle_epi8(both, order));
#elif LEVEL_HAS_NEON
    uint8x16_t both = vcombine_u8(vcreate_u8(low), vcreate_u8(high));
    return vget_lane_u64(vreinterpret_u64_u8(vqtbl1_u8(both, vld1_u8(row))), 0);
#else
    uint64_t result = 0;
    for (int i = 0; i < 8; i += 1) {
        uint64_t from = row[i] < 8 ? low >> (8 * row[i]) : high >> (8 * (row[i] - 8));
        result |= (from & 255) << (8 * i);
    }
    return result;
#endif
}

// One byte for each of 64 columns: the next byte of `odd` if the column's bit is set, otherwise the next byte of `even`.
// Reads 64 bytes of both.
INLINE u8x64 merge64(const uint8_t *even, const uint8_t *odd, uint64_t mask) {
#if LEVEL_HAS_EXPAND
    __m512i from_even = _mm512_maskz_expand_epi8(~mask, _mm512_loadu_si512(even));
    return (u8x64)_mm512_mask_expand_epi8(from_even, mask, _mm512_loadu_si512(odd));
#else
    uint64_t words[8];
    for (int i = 0; i < 8; i += 1) {
        unsigned eight = mask >> (8 * i) & 255;
        uint64_t low, high;
        memcpy(&low, even, 8);
        memcpy(&high, odd, 8);
        words[i] = shuffled(low, high, shuffles.merge[eight]);
        int ones = __builtin_popcount(eight);
        odd += ones;
        even += 8 - ones;
    }
    return LOAD(u8x64, words);
#endif
}

// The inverse of merge64: bytes of columns without the bit go to `even`, those with it to `odd`. May write 64 bytes to both; only
// the first (as many as there are such columns) are meaningful.
INLINE void split64(u8x64 bytes, uint64_t mask, uint8_t *even, uint8_t *odd) {
#if LEVEL_HAS_EXPAND
    _mm512_storeu_si512(even, _mm512_maskz_compress_epi8(~mask, (__m512i)bytes));
    _mm512_storeu_si512(odd, _mm512_maskz_compress_epi8(mask, (__m512i)bytes));
#else
    uint64_t words[8];
    memcpy(words, &bytes, sizeof words);
    for (int i = 0; i < 8; i += 1) {
        unsigned eight = mask >> (8 * i) & 255;
        uint64_t sorted = shuffled(words[i], 0, shuffles.split[eight]);
        int ones = __builtin_popcount(eight);
        memcpy(even, &sorted, 8);
        even += 8 - ones;
        // A shift by 64 would be undefined.
        uint64_t rest = ones == 0 ? 0 : sorted >> (8 * (8 - ones));
        memcpy(odd, &rest, 8);
        odd += ones;
    }
#endif
}

#endif
