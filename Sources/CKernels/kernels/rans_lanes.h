// What the rANS coder needs of an instruction set: a vector of states, gathers, and the words that some of its lanes
// take from or give to the stream (Specs/rans.md).

#include "../rans_model.h"

enum { RANS_VECTORS = RANS_LANES / LEVEL_RANS_WIDTH, RANS_STRIP = 64 };

typedef uint32_t u32xR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
typedef int32_t i32xR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
typedef int16_t i16xR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
typedef uint8_t u8xR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
typedef float f32xR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
typedef _Bool boolxR __attribute__((ext_vector_type(LEVEL_RANS_WIDTH)));
// Bit i is set where lane i of a comparison's result is.
INLINE uint32_t rans_mask(i32xR condition) {
#if LEVEL_RANS == 2
    return _mm256_movepi32_mask((__m256i)condition);
#elif LEVEL_RANS == 1
    return (uint32_t)_mm256_movemask_ps((__m256)condition);
#else
    boolxR bits = __builtin_convertvector(condition != 0, boolxR);
    return __builtin_bit_cast(uint8_t, bits);
#endif
}

INLINE u32xR rans_lane_numbers(void) {
    u32xR numbers;
    for (uint32_t i = 0; i < LEVEL_RANS_WIDTH; i += 1) { numbers[i] = i; }
    return numbers;
}

// Lanes of vector v that are among the first `width`.
INLINE i32xR rans_active(int v, size_t width) {
    u32xR lane = rans_lane_numbers() + (uint32_t)(v * LEVEL_RANS_WIDTH);
    return (i32xR)(lane < (uint32_t)width);
}

INLINE u32xR rans_gather(const uint32_t *table, u32xR index) {
#if LEVEL_RANS > 0
    return (u32xR)_mm256_i32gather_epi32((const int *)table, (__m256i)index, 4);
#else
    u32xR result;
    for (int i = 0; i < LEVEL_RANS_WIDTH; i += 1) { result[i] = table[index[i]]; }
    return result;
#endif
}

#if LEVEL_RANS > 0
// Row m: for each lane, how many lanes below it are in the set m.
#define BELOW(m, lane) (uint8_t) __builtin_popcount((m) & ((1 << (lane)) - 1))
#define BELOW_1(m) \
    {BELOW(m, 0), BELOW(m, 1), BELOW(m, 2), BELOW(m, 3), BELOW(m, 4), BELOW(m, 5), BELOW(m, 6), BELOW(m, 7)}
#define BELOW_4(m) BELOW_1(m), BELOW_1(m + 1), BELOW_1(m + 2), BELOW_1(m + 3)
#define BELOW_16(m) BELOW_4(m), BELOW_4(m + 4), BELOW_4(m + 8), BELOW_4(m + 12)
#define BELOW_64(m) BELOW_16(m), BELOW_16(m + 16), BELOW_16(m + 32), BELOW_16(m + 48)
#if LEVEL_RANS == 1
static const uint8_t rans_below[256][8] = {BELOW_64(0), BELOW_64(64), BELOW_64(128), BELOW_64(192)};
#endif

// Row m: the lanes of the set m in order, at the end of the row.
#define IF_NTH(m, n, lane) ((m) >> (lane) & 1 && BELOW(m, lane) == (n) ? (lane) : 0)
#define NTH(m, n)                                                                            \
    (uint8_t)(IF_NTH(m, n, 1) + IF_NTH(m, n, 2) + IF_NTH(m, n, 3) + IF_NTH(m, n, 4) + IF_NTH(m, n, 5) \
              + IF_NTH(m, n, 6) + IF_NTH(m, n, 7))
#define FROM_END(m, place) NTH(m, __builtin_popcount(m) - 8 + (place))
#define MEMBERS_1(m)                                                                         \
    {FROM_END(m, 0), FROM_END(m, 1), FROM_END(m, 2), FROM_END(m, 3),                         \
     FROM_END(m, 4), FROM_END(m, 5), FROM_END(m, 6), FROM_END(m, 7)}
#define MEMBERS_4(m) MEMBERS_1(m), MEMBERS_1(m + 1), MEMBERS_1(m + 2), MEMBERS_1(m + 3)
#define MEMBERS_16(m) MEMBERS_4(m), MEMBERS_4(m + 4), MEMBERS_4(m + 8), MEMBERS_4(m + 12)
#define MEMBERS_64(m) MEMBERS_16(m), MEMBERS_16(m + 16), MEMBERS_16(m + 32), MEMBERS_16(m + 48)
static const uint8_t rans_members[256][8] = {MEMBERS_64(0), MEMBERS_64(64), MEMBERS_64(128), MEMBERS_64(192)};
#endif

// States below RANS_LOW, of the `active` lanes, take a word each in the order of the lanes. Reads a whole vector of words.
INLINE u32xR rans_refill(u32xR state, i32xR active, const uint8_t **words) {
    i32xR low = (i32xR)((i32xR)state < RANS_LOW) & active;
#if LEVEL_RANS == 2
    __mmask8 mask = _mm256_movepi32_mask((__m256i)low);
    __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*words));
    __m256i spread = _mm256_maskz_expand_epi32(mask, next);
    *words += 2 * __builtin_popcount(mask);
    return (u32xR)_mm256_mask_or_epi32((__m256i)state, mask, _mm256_slli_epi32((__m256i)state, 16), spread);
#elif LEVEL_RANS == 1
    uint32_t mask = rans_mask(low);
    __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*words));
    __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)rans_below[mask]));
    u32xR filled = state << 16 | (u32xR)_mm256_permutevar8x32_epi32(next, places);
    *words += 2 * __builtin_popcount(mask);
    return low ? filled : state;
#else
    u32xR result = state;
    const uint8_t *from = *words;
    for (int i = 0; i < LEVEL_RANS_WIDTH; i += 1) {
        uint16_t word;
        memcpy(&word, from, 2);
        uint32_t old = state[i];
        // Arithmetic, lest a compiler makes branches of it that nobody can foresee.
        uint32_t taken = (uint32_t)low[i];
        result[i] = old << (taken & 16) | (word & taken);
        from += taken & 2;
    }
    *words = from;
    return result;
#endif
}

// The low halves of the states that `full` names go in front of `words`, the first lane's first. May write a whole
// vector of words in front.
INLINE void rans_spill(u32xR state, i32xR full, uint8_t **words) {
#if LEVEL_RANS > 0
    uint32_t mask = rans_mask(full);
    __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)rans_members[mask]));
    __m256i chosen = _mm256_permutevar8x32_epi32((__m256i)(state & 0xffffu), places);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(chosen, chosen), 8);
    _mm_storeu_si128((__m128i *)(void *)(*words - 16), _mm256_castsi256_si128(packed));
    *words -= 2 * __builtin_popcount(mask);
#else
    uint8_t *to = *words;
    for (int i = LEVEL_RANS_WIDTH; i-- > 0;) {
        uint16_t word = (uint16_t)state[i];
        memcpy(to - 2, &word, 2);
        to -= full[i] & 2;
    }
    *words = to;
#endif
}
