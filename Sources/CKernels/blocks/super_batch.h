// Sixteen super-blocks side by side: lane k of every vector belongs to super-block k.

#ifndef INGOT_BLOCKS_SUPER_BATCH_H
#define INGOT_BLOCKS_SUPER_BATCH_H

#include "../common/lanes.h"

enum { KQUANT_WEIGHTS = 256, KQUANT_PARTS = 16, KQUANT_BYTES = 224 };

struct super_batch {
    f32x16 weights[KQUANT_WEIGHTS];
    f32x16 importance[KQUANT_WEIGHTS];  // of each weight; set only if `has_importance`
    int has_importance;
};

// What sixteen blocks store.
struct super_codes {
    u8x16 codes[KQUANT_WEIGHTS];               // 0 or more
    i32x16 scales[KQUANT_PARTS];           // of each sub-block; negative ones only in Q3_K and Q6_K
    i32x16 minimums[KQUANT_PARTS];         // of each sub-block; Q2_K, Q4_K and Q5_K
    u16x16 scale_unit, minimum_unit;          // d and dmin, as F16
};

// Pairs of the first or the last eight elements of two vectors. Four rounds of them transpose a matrix of 16 x 16, because each
// round rotates the eight bits of (row, column) by one place.
#define FIRST_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define LAST_PAIRS(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define SQUARE_TRANSPOSED(type, rows)                                      \
    for (int round_ = 0; round_ < 4; round_ += 1) {                \
        type before_[LANES];                                       \
        memcpy(before_, (rows), sizeof before_);                   \
        for (int k_ = 0; k_ < LANES / 2; k_ += 1) {                \
            (rows)[2 * k_] = FIRST_PAIRS(before_[k_], before_[k_ + LANES / 2]);    \
            (rows)[2 * k_ + 1] = LAST_PAIRS(before_[k_], before_[k_ + LANES / 2]); \
        }                                                          \
    }

// Reads 256 numbers from each of sixteen addresses.
INLINE void side_by_side(const float *const *sources, f32x16 *lanes) {
    for (size_t first = 0; first < KQUANT_WEIGHTS; first += LANES) {
        f32x16 rows[LANES];
        for (int k = 0; k < LANES; k += 1) { rows[k] = LOAD(f32x16, sources[k] + first); }
        SQUARE_TRANSPOSED(f32x16, rows)
        memcpy(lanes + first, rows, sizeof rows);
    }
}

// Writes the first `count` blocks, one after the other. bytes: byte i of sixteen blocks in bytes[i]; KQUANT_BYTES of them.
INLINE void write_blocks(const u8x16 *bytes, size_t size, size_t count, uint8_t *blocks) {
    for (size_t first = 0; first < size; first += LANES) {
        u8x16 rows[LANES];
        memcpy(rows, bytes + first, sizeof rows);
        SQUARE_TRANSPOSED(u8x16, rows)
        size_t length = size - first < LANES ? size - first : LANES;
        for (size_t k = 0; k < count; k += 1) { memcpy(blocks + k * size + first, &rows[k], length); }
    }
}

#endif
