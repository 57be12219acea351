// Vector operations of the rANS coder (Specs/rans.md): states in vectors, gathers, and moving words between lanes and the
// stream.

#ifndef INGOT_RANS_LANES_H
#define INGOT_RANS_LANES_H

#include "../common/bytes64.h"
#include "../common/lanes.h"
#include "format.h"

// Eight lanes per vector on every level: gathers of sixteen lanes take longer, and the decoder waits for them.
enum { RANS_WIDTH = 8, RANS_VECTORS = RANS_LANES / RANS_WIDTH };

typedef uint32_t u32xR __attribute__((ext_vector_type(RANS_WIDTH)));
typedef int32_t i32xR __attribute__((ext_vector_type(RANS_WIDTH)));
typedef int16_t i16xR __attribute__((ext_vector_type(RANS_WIDTH)));
typedef uint8_t u8xR __attribute__((ext_vector_type(RANS_WIDTH)));
typedef float f32xR __attribute__((ext_vector_type(RANS_WIDTH)));
typedef _Bool boolxR __attribute__((ext_vector_type(RANS_WIDTH)));
// Bit i is set if lane i of the comparison `condition` is true.
INLINE uint32_t rans_mask(i32xR condition) {
#if LEVEL_HAS_AVX512
    return _mm256_movepi32_mask((__m256i)condition);
#elif LEVEL_HAS_AVX2
    return (uint32_t)_mm256_movemask_ps((__m256)condition);
#else
    boolxR bits = __builtin_convertvector(condition != 0, boolxR);
    return __builtin_bit_cast(uint8_t, bits);
#endif
}

INLINE u32xR rans_lane_numbers(void) {
    u32xR numbers;
    for (uint32_t i = 0; i < RANS_WIDTH; i += 1) { numbers[i] = i; }
    return numbers;
}

// True for the lanes of vector v that are among the first `width` lanes of all vectors.
INLINE i32xR rans_active(int v, size_t width) {
    u32xR lane = rans_lane_numbers() + (uint32_t)(v * RANS_WIDTH);
    return (i32xR)(lane < (uint32_t)width);
}

INLINE u32xR rans_gather(const uint32_t *table, u32xR index) {
#if LEVEL_HAS_AVX2
    return (u32xR)_mm256_i32gather_epi32((const int *)table, (__m256i)index, 4);
#else
    u32xR result;
    for (int i = 0; i < RANS_WIDTH; i += 1) { result[i] = table[index[i]]; }
    return result;
#endif
}

#if LEVEL_HAS_AVX2
#define FROM_END(m, place) NTH(m, BELOW(m, 8) - 8 + (place))
// Row m: the numbers of the lanes whose bit is set in m, in order, at the end of the row.
static const uint8_t rans_members[256][8] = {ROWS256(FROM_END)};
#if !LEVEL_HAS_AVX512
// Row m: for each lane, the number of lower lanes whose bit is set in m.
static const uint8_t rans_below[256][8] = {ROWS256(BELOW)};
#endif
#endif

// Each active lane whose state is below RANS_LOW takes one word, in the order of the lanes. Reads a whole vector of words.
INLINE u32xR rans_refill(u32xR state, i32xR active, const uint8_t **words) {
    i32xR low = (i32xR)((i32xR)state < RANS_LOW) & active;
#if LEVEL_HAS_AVX512
    __mmask8 mask = _mm256_movepi32_mask((__m256i)low);
    __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*words));
    __m256i spread = _mm256_maskz_expand_epi32(mask, next);
    *words += 2 * __builtin_popcount(mask);
    return (u32xR)_mm256_mask_or_epi32((__m256i)state, mask, _mm256_slli_epi32((__m256i)state, 16), spread);
#elif LEVEL_HAS_AVX2
    uint32_t mask = rans_mask(low);
    __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*words));
    __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)rans_below[mask]));
    u32xR filled = state << 16 | (u32xR)_mm256_permutevar8x32_epi32(next, places);
    *words += 2 * __builtin_popcount(mask);
    return low ? filled : state;
#else
    u32xR result = state;
    const uint8_t *from = *words;
    for (int i = 0; i < RANS_WIDTH; i += 1) {
        uint16_t word;
        memcpy(&word, from, 2);
        uint32_t old = state[i];
        // Arithmetic keeps the compiler from making branches, which a processor could not predict.
        uint32_t taken = (uint32_t)low[i];
        result[i] = old << (taken & 16) | (word & taken);
        from += taken & 2;
    }
    *words = from;
    return result;
#endif
}

// Writes the low half of the state of each lane in `full` in front of `words`, so that they are read in the order of the lanes.
// May write a whole vector of words in front of them.
INLINE void rans_spill(u32xR state, i32xR full, uint8_t **words) {
#if LEVEL_HAS_AVX2
    uint32_t mask = rans_mask(full);
    __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)rans_members[mask]));
    __m256i chosen = _mm256_permutevar8x32_epi32((__m256i)(state & 0xffffu), places);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(chosen, chosen), 8);
    _mm_storeu_si128((__m128i *)(void *)(*words - 16), _mm256_castsi256_si128(packed));
    *words -= 2 * __builtin_popcount(mask);
#else
    uint8_t *to = *words;
    for (int i = RANS_WIDTH; i-- > 0;) {
        uint16_t word = (uint16_t)state[i];
        memcpy(to - 2, &word, 2);
        to -= full[i] & 2;
    }
    *words = to;
#endif
}

#endif
