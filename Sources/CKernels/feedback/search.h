// Trellis search of one column. The states of the trellis are the lanes of a vector, because the next column needs this one's errors
// (Specs/trellis.md, "Error feedback"). Positions, costs, ties and results are those of trellis/quantize.h.

#ifndef INGOT_FEEDBACK_SEARCH_H
#define INGOT_FEEDBACK_SEARCH_H

#include "../common/lanes.h"
#include "../trellis/code.h"

typedef int16_t i16x8 __attribute__((ext_vector_type(8)));
typedef int16_t i16x32s __attribute__((ext_vector_type(32)));
typedef int32_t i32x4 __attribute__((ext_vector_type(4)));
typedef int32_t i32x8 __attribute__((ext_vector_type(8)));
typedef int16_t i16x4 __attribute__((ext_vector_type(4)));

// The states before each state, on the path with an even symbol and on the path with an odd one.
#define EVEN_8 0, 2, 4, 6, 3, 1, 7, 5
#define ODD_8 4, 6, 0, 2, 7, 5, 3, 1
#define EVEN_16 0, 2, 4, 6, 8, 10, 12, 14, 3, 1, 7, 5, 11, 9, 15, 13
#define ODD_16 4, 6, 0, 2, 12, 14, 8, 10, 7, 5, 3, 1, 15, 13, 11, 9
#define EVEN_32                                                                                                    \
    0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 5, 7, 1, 3, 13, 15, 9, 11, 21, 23, 17, 19, 29, 31, 25, \
        27
#define ODD_32                                                                                                     \
    8, 10, 12, 14, 0, 2, 4, 6, 24, 26, 28, 30, 16, 18, 20, 22, 13, 15, 9, 11, 5, 7, 1, 3, 29, 31, 25, 27, 21, 23, 17, \
        19

// A survivor is the state before, plus this flag if the symbol is odd.
enum { SURVIVOR_ODD = 64, SEARCH_ROWS_PER_RESCALE = 16 };

// Pairs of costs for even and odd states, repeated over a vector.
#define PAIRS_8(pair) ((i16x8)(i32x4)(pair))
#define PAIRS_16(pair) ((i16x16)(i32x8)(pair))
#define PAIRS_32(pair) ((i16x32s)(i32x16)(pair))

// costs: four per row, of the residues 0 to 3. survivors: rows * N. Returns the last state.
#define DEFINE_SEARCH(N, TYPE)                                                                                     \
    INLINE int search_##N(size_t rows, const int16_t *costs, uint8_t *survivors) {                                 \
        typedef uint8_t bytes_t __attribute__((ext_vector_type(N)));                                               \
        const TYPE even_state = {EVEN_##N}, odd_state = {ODD_##N};                                                 \
        TYPE metrics = (int16_t)32767;                                                                             \
        metrics[0] = (int16_t)-32768;                                                                              \
        for (size_t start = 0; start < rows; start += SEARCH_ROWS_PER_RESCALE) {                                   \
            size_t left = rows - start, count = left < SEARCH_ROWS_PER_RESCALE ? left : SEARCH_ROWS_PER_RESCALE;   \
            for (size_t row = start; row < start + count; row += 1) {                                              \
                int32_t pairs[2];                                                                                  \
                memcpy(pairs, costs + 4 * row, sizeof pairs);                                                      \
                TYPE even_from = __builtin_elementwise_add_sat(metrics, PAIRS_##N(pairs[0]));                      \
                TYPE odd_from = __builtin_elementwise_add_sat(metrics, PAIRS_##N(pairs[1]));                       \
                TYPE even_way = __builtin_shufflevector(even_from, even_from, EVEN_##N);                           \
                TYPE odd_way = __builtin_shufflevector(odd_from, odd_from, ODD_##N);                               \
                metrics = __builtin_elementwise_min(even_way, odd_way);                                            \
                TYPE before = odd_way < even_way ? (TYPE)(odd_state | (int16_t)SURVIVOR_ODD) : even_state;         \
                STORE(survivors + N * row, CONVERT(bytes_t, before));                                              \
            }                                                                                                      \
            int16_t least = __builtin_reduce_min(metrics);                                                         \
            metrics -= (int16_t)(least - INT16_MIN);                                                               \
        }                                                                                                          \
        int16_t all[N];                                                                                            \
        STORE(all, metrics);                                                                                       \
        int best = 0;                                                                                              \
        for (int state = 1; state < N; state += 1) { best = all[state] < all[best] ? state : best; }               \
        return best;                                                                                               \
    }                                                                                                              \
    /* Replaces the first rows of `residues` by 2 * parity of the symbol + parity of the state. */                 \
    INLINE void trace_##N(size_t rows, const uint8_t *survivors, int state, uint8_t *residues) {                   \
        for (size_t row = rows; row-- > 0;) {                                                                      \
            unsigned survivor = survivors[N * row + (size_t)state];                                                \
            state = (int)(survivor & (SURVIVOR_ODD - 1));                                                          \
            residues[row] = (uint8_t)(survivor / SURVIVOR_ODD * 2 + (survivor & 1));                               \
        }                                                                                                          \
    }

DEFINE_SEARCH(8, i16x8)
DEFINE_SEARCH(16, i16x16)
DEFINE_SEARCH(32, i16x32s)

// How a column's targets become positions: t = target * inverse_step, times shrink, then clamped as in trellis/quantize.h.
struct column_rule {
    float inverse_scale, shrink, farthest;
};

// m / (m + shrinkage), with m the mean of t^2 over the column, in binary32: rows in lanes r % 16, then lanes k and k+8, k+4, k+2, k+1. 1 without
// shrinkage. `padded` is a multiple of 16; targets behind `rows` are 0.
INLINE float column_shrink(
    const float *targets, size_t rows, size_t padded, const float *inverse_row_steps, float inverse_scale,
    float shrinkage) {
    if (!(shrinkage > 0)) { return 1; }
    f32x16 sums = 0.0f;
    for (size_t row = 0; row < padded; row += LANES) {
        f32x16 inverse = LOAD(f32x16, inverse_row_steps + row) * inverse_scale;
        f32x16 level = LOAD(f32x16, targets + row) * inverse;
        sums = sums + level * level;
    }
    float lanes[LANES];
    STORE(lanes, sums);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k += 1) { lanes[k] += lanes[k + half]; }
    }
    float mean = lanes[0] / (float)rows;
    float sum = mean + shrinkage;
    return sum <= FLT_MAX ? mean / sum : 1;
}

// Squared distance from a position to the nearest level with a residue modulo 4, in units of 2^-10 level^2: 0 to 4096.
INLINE i16x16 column_cost(u16x16 position, int residue) {
    i16x16 distance = (i16x16)(position - (uint16_t)(residue << 14));
    i32x16 wide = CONVERT(i32x16, distance);
    return CONVERT(i16x16, wide * wide >> 16) >> (int16_t)2;
}

// Floors of positions in levels, and costs. Returns whether a target was clamped. `rows` is a multiple of 16.
INLINE int column_positions(
    const float *targets, size_t rows, const float *inverse_row_steps, struct column_rule rule, int16_t *floors,
    int16_t *costs) {
    i32x16 clamped = 0;
    for (size_t row = 0; row < rows; row += LANES) {
        f32x16 inverse = LOAD(f32x16, inverse_row_steps + row) * rule.inverse_scale;
        f32x16 level = LOAD(f32x16, targets + row) * inverse;
        f32x16 size = magnitude(level) * rule.shrink;
        clamped |= size > rule.farthest;
        size = lesser(size, (f32x16)rule.farthest);
        f32x16 scaled = (f32x16)((u32x16)(size * 16384.0f) | ((u32x16)level & 0x80000000u));
        i32x16 position = CONVERT(i32x16, scaled);
        STORE(floors + row, CONVERT(i16x16, position >> 14));
        u16x16 low = CONVERT(u16x16, (u32x16)position);
        u32x16 first = CONVERT(u32x16, (u16x16)column_cost(low, 0)) | CONVERT(u32x16, (u16x16)column_cost(low, 1)) << 16;
        u32x16 second = CONVERT(u32x16, (u16x16)column_cost(low, 2)) | CONVERT(u32x16, (u16x16)column_cost(low, 3)) << 16;
        u32x16 lower = __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        u32x16 upper =
            __builtin_shufflevector(first, second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        STORE(costs + 4 * row, lower);
        STORE(costs + 4 * row + 32, upper);
    }
    return __builtin_reduce_or(clamped) != 0;
}

// The residues of the best path.
INLINE void column_search(int states, size_t rows, const int16_t *costs, uint8_t *survivors, uint8_t *residues) {
    switch (states) {
    case 16: trace_16(rows, survivors, search_16(rows, costs, survivors), residues); break;
    case 32: trace_32(rows, survivors, search_32(rows, costs, survivors), residues); break;
    default: trace_8(rows, survivors, search_8(rows, costs, survivors), residues); break;
    }
}

#endif
