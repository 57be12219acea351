// The codebook of IQ4_NL and IQ4_XS: sixteen integers (kvalues_iq4nl in ggml-common.h).

#ifndef INGOT_BLOCKS_CODEBOOK_H
#define INGOT_BLOCKS_CODEBOOK_H

#include "../common/lanes.h"

static const float codebook_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Halfway between neighbours. A position on a threshold belongs to the upper value, as in ggml's best_index_int8.
static const float codebook_thresholds[15] = {
    -115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101};

// The index of the value nearest to `position`; 15 for NaN.
INLINE i32x16 codebook_index(f32x16 position) {
    i32x16 index = 15;
    for (int k = 0; k < 15; k += 1) { index += position < codebook_thresholds[k]; }
    return index;
}

INLINE f32x16 codebook_value(i32x16 index) {
    f32x16 value = codebook_values[0];
    for (int k = 1; k < 16; k += 1) { value = index >= k ? (f32x16)codebook_values[k] : value; }
    return value;
}

#if LEVEL_HAS_AVX512

// Positions from -124 to 124 are in 32 cells, whose centres are multiples of 8. A cell has one threshold at most, and none is on a
// cell's bound. Cell c, modulo 32, has the value cell_low[c] below cell_thresholds[c], and cell_high[c] from there on.
static const float cell_thresholds[32] = {
    0, 7, 19, 0, 31.5f, 0, 45.5f, 0, 61, 0, 79, 0, 0, 101, 0, 0,
    0, 0, -115.5f, 0, -93.5f, 0, 0, -74, 0, -57, 0, -42, -28.5f, 0, -16, -4.5f};
static const float cell_low[32] = {
    1, 1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89, 113, 113,
    -127, -127, -127, -104, -104, -83, -83, -83, -65, -65, -49, -49, -35, -22, -22, -10};
static const float cell_high[32] = {
    1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89, 113, 113, 113,
    -127, -127, -104, -104, -83, -83, -83, -65, -65, -49, -49, -35, -22, -22, -10, 1};

INLINE f32x16 codebook_cell(const float *table, i32x16 cell) {
    return (f32x16)_mm512_permutex2var_ps(
        (__m512)LOAD(f32x16, table), (__m512i)cell, (__m512)LOAD(f32x16, table + LANES));
}

// The value nearest to `position`; the last one for NaN.
INLINE f32x16 codebook_level(f32x16 position) {
    f32x16 inside = greater(lesser(position, 123.0f), -124.0f);
    // 1.5 * 2^23 moves the rounded number of the cell to the last bits, of which the permutation reads five.
    i32x16 cell = (i32x16)(inside * 0.125f + 12582912.0f);
    return inside < codebook_cell(cell_thresholds, cell) ? codebook_cell(cell_low, cell) : codebook_cell(cell_high, cell);
}

#elif LEVEL_HAS_AVX2

typedef float f32x8 __attribute__((ext_vector_type(8)));
typedef int32_t i32x8 __attribute__((ext_vector_type(8)));

// Thresholds 1, 5, 9 and 13 at even places, thresholds of even number, and the values of even and of odd number.
static const float codebook_quarters[8] = {-93.5f, 0, -28.5f, 0, 19, 0, 79, 0};
static const float codebook_pairs[8] = {-115.5f, -74, -42, -16, 7, 31.5f, 61, 101};
static const float codebook_even[8] = {-127, -83, -49, -22, 1, 25, 53, 89};
static const float codebook_odd[8] = {-104, -65, -35, -10, 13, 38, 69, 113};

INLINE f32x8 codebook_place(const float *table, i32x8 place) {
    return (f32x8)_mm256_permutevar8x32_ps((__m256)LOAD(f32x8, table), (__m256i)place);
}

// A binary search. `place` is the number of a pair of values.
INLINE f32x8 codebook_half(f32x8 position) {
    i32x8 below = position < codebook_thresholds[7];
    i32x8 place = ~below & 4;
    place += ~(position < (below ? (f32x8)codebook_thresholds[3] : (f32x8)codebook_thresholds[11])) & 2;
    place += ~(position < codebook_place(codebook_quarters, place)) & 1;
    return position < codebook_place(codebook_pairs, place) ? codebook_place(codebook_even, place)
                                                            : codebook_place(codebook_odd, place);
}

// The value nearest to `position`; the last one for NaN.
INLINE f32x16 codebook_level(f32x16 position) {
    f32x8 low = codebook_half(__builtin_shufflevector(position, position, 0, 1, 2, 3, 4, 5, 6, 7));
    f32x8 high = codebook_half(__builtin_shufflevector(position, position, 8, 9, 10, 11, 12, 13, 14, 15));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

#else

// The value nearest to `position`; the last one for NaN.
INLINE f32x16 codebook_level(f32x16 position) {
    f32x16 level = codebook_values[15];
    // The differences of neighbours are integers, so their sum is exact.
    for (int k = 14; k >= 0; k -= 1) {
        float difference = codebook_values[k + 1] - codebook_values[k];
        level -= position < codebook_thresholds[k] ? (f32x16)difference : (f32x16)0.0f;
    }
    return level;
}

#endif

#endif
