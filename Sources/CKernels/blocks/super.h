// Encodes super-blocks of 256 weights: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.

#ifndef INGOT_BLOCKS_SUPER_H
#define INGOT_BLOCKS_SUPER_H

#include "CKernels.h"
#include "super_searched.h"

// All super-blocks of the weights, sixteen at a time.
static __attribute__((noinline)) void super_encode(
    struct super_rule rule, int32_t rounding, const float *weights, size_t blocks_per_row, size_t total,
    const float *importance, uint8_t *blocks) {
    struct super_batch batch;
    struct super_codes block;
    u8x16 bytes[KQUANT_BYTES];
    memset(&block, 0, sizeof block);
    memset(bytes, 0, sizeof bytes);
    batch.has_importance = importance != NULL;
    for (size_t first = 0; first < total; first += LANES) {
        size_t count = total - first < LANES ? total - first : LANES;
        const float *sources[LANES], *importances[LANES];
        for (size_t k = 0; k < LANES; k += 1) {
            // Lanes without a super-block repeat the last one.
            size_t number = first + (k < count ? k : count - 1);
            sources[k] = weights + KQUANT_WEIGHTS * number;
            importances[k] = importance + (importance ? KQUANT_WEIGHTS * (number % blocks_per_row) : 0);
        }
        side_by_side(sources, batch.weights);
        if (importance) { side_by_side(importances, batch.importance); }
        super_reference(rule, &batch, &block);
        if (rounding == INGOT_BLOCKS_SEARCHED) { super_searched(rule, &batch, &block); }
        super_bytes(rule, &block, bytes);
        write_blocks(bytes, rule.bytes, count, blocks + first * rule.bytes);
    }
}

// See ingot_blocks_encode.
static int32_t blocks_super(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    if (type < TYPE_Q2_K || type > TYPE_Q6_K) { return INGOT_BLOCKS_UNKNOWN; }
    size_t per_row = columns / KQUANT_WEIGHTS;
    super_encode(super_rule(type), rounding, weights, per_row, rows * per_row, importance, blocks);
    return INGOT_BLOCKS_OK;
}

#endif
