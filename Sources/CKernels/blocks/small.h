// Encodes blocks of 32 weights, and the super-blocks of IQ4_XS.
//
// Layouts, orders of arithmetic and special cases are those of ggml-quants.c of llama.cpp, compiled for x86-64 without FMA.

#ifndef INGOT_BLOCKS_SMALL_H
#define INGOT_BLOCKS_SMALL_H

#include "CKernels.h"
#include "shifted.h"
#include "batch.h"
#include "nonlinear.h"
#include "powers.h"
#include "scaled.h"

// Sixteen blocks and what is known about them.
struct small_batch {
    f32x16 weights[SMALL_WEIGHTS], importance[SMALL_WEIGHTS];  // importance is unset if there is none
    f32x16 variance;                           // of the row, for types whose reference uses it
    size_t count;                              // blocks that are stored
};

INLINE size_t small_bytes(int32_t type) {
    switch (type) {
    case SMALL_Q4_1: return 20;
    case SMALL_Q5_0: return 22;
    case SMALL_Q5_1: return 24;
    case SMALL_Q8_0: return 34;
    case SMALL_MXFP4: return 17;
    default: return 18;
    }
}

INLINE int small_is_shifted(int32_t type) { return type == SMALL_Q4_1 || type == SMALL_Q5_1; }

// Whether ggml weights the errors by importance * sqrt(mean square of the row + weight^2).
INLINE int small_uses_variance(int32_t type) {
    return type == SMALL_Q4_0 || type == SMALL_Q5_0 || small_is_shifted(type);
}

INLINE void small_reference(
    int32_t type, int weighted, const struct small_batch *batch, struct batch_codes *block) {
    if (type == SMALL_MXFP4) {
        powers_plain(batch->weights, block);
        return;
    }
    if (type != SMALL_IQ4_NL && (!weighted || type == SMALL_Q8_0)) {
        if (small_is_shifted(type)) { shifted_plain(type, batch->weights, block); }
        else { scaled_plain(type, batch->weights, block); }
        return;
    }
    f32x16 variance = batch->variance, importance[SMALL_WEIGHTS];
    if (type == SMALL_IQ4_NL) {
        variance = 0.0f;
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) { variance += batch->weights[i] * batch->weights[i]; }
        variance *= 2.0f / SMALL_WEIGHTS;
    }
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 square = batch->weights[i] * batch->weights[i];
        importance[i] = weighted ? batch->importance[i] * batch_root(variance + square) : square;
    }
    if (small_is_shifted(type)) { shifted_weighted(type, batch->weights, importance, block); }
    else { scaled_weighted(type, batch->weights, importance, block); }
}

INLINE void small_search(int32_t type, int weighted, const struct small_batch *batch, struct batch_codes *block) {
    struct batch_search search;
    batch_normalise(batch->weights, weighted ? batch->importance : NULL, 1, &search);
    if (type == SMALL_MXFP4) { powers_search(batch->weights, &search, block); }
    else if (small_is_shifted(type)) { shifted_search(type, &search, block); }
    else { scaled_search(type, &search, block); }
}

// Writes a batch: scale, offset, fifth bits, codes.
INLINE void small_store(int32_t type, const struct batch_codes *block, size_t count, uint8_t *blocks) {
    uint8_t bytes[2][LANES][16];
    uint16_t scales[LANES], offsets[LANES];
    uint32_t fifth[LANES];
    STORE(scales, block->scale);
    if (small_is_shifted(type)) { STORE(offsets, block->offset); }
    if (type == SMALL_Q5_0 || type == SMALL_Q5_1) {
        u32x16 bits = 0u;
        for (int i = 0; i < SMALL_WEIGHTS; i += 1) { bits |= ((u32x16)block->codes[i] >> 4 & 1u) << i; }
        STORE(fifth, bits);
    }
    if (type == SMALL_Q8_0) {
        for (int half = 0; half < 2; half += 1) {
            u32x16 words[4];
            for (int k = 0; k < 4; k += 1) {
                const i32x16 *codes = block->codes + 16 * half + 4 * k;
                words[k] = ((u32x16)codes[0] & 255u) | ((u32x16)codes[1] & 255u) << 8
                    | ((u32x16)codes[2] & 255u) << 16 | (u32x16)codes[3] << 24;
            }
            batch_bytes(words, bytes[half]);
        }
    } else {
        batch_nibbles(block->codes, bytes[0]);
    }
    for (size_t lane = 0; lane < count; lane += 1) {
        uint8_t *to = blocks + lane * small_bytes(type);
        if (type == SMALL_MXFP4) {
            *to = (uint8_t)scales[lane];
            to += 1;
        } else {
            memcpy(to, &scales[lane], 2);
            to += 2;
        }
        if (small_is_shifted(type)) {
            memcpy(to, &offsets[lane], 2);
            to += 2;
        }
        if (type == SMALL_Q5_0 || type == SMALL_Q5_1) {
            memcpy(to, &fifth[lane], 4);
            to += 4;
        }
        memcpy(to, bytes[0][lane], 16);
        if (type == SMALL_Q8_0) { memcpy(to + 16, bytes[1][lane], 16); }
    }
}

// The mean squares of `count` rows, summed from the first column to the last.
static void small_variances(const float *weights, size_t count, size_t columns, float *variances) {
    const float *rows[LANES];
    for (size_t row = 0; row < LANES; row += 1) { rows[row] = weights + (row < count ? row : 0) * columns; }
    f32x16 sum = 0.0f;
    for (size_t column = 0; column < columns; column += SMALL_WEIGHTS) {
        f32x16 values[SMALL_WEIGHTS];
        batch_load(rows, column, values);
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) { sum += values[i] * values[i]; }
    }
    sum /= (float)columns;
    memcpy(variances, &sum, sizeof sum);
}

// Encodes `rows` (1 to 16) rows.
INLINE void small_rows(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    struct small_batch batch;
    struct batch_codes block;
    int weighted = importance != NULL;
    float variances[LANES] = {0};
    if (weighted && small_uses_variance(type)) { small_variances(weights, rows, columns, variances); }
    size_t total = rows * (columns / SMALL_WEIGHTS), row = 0, column = 0;
    for (size_t first = 0; first < total; first += LANES) {
        const float *sources[LANES], *importances[LANES];
        batch.count = total - first < LANES ? total - first : LANES;
        for (size_t lane = 0; lane < LANES; lane += 1) {
            // Lanes beyond the last block repeat the first one of the batch.
            sources[lane] = weights + (first + (lane < batch.count ? lane : 0)) * SMALL_WEIGHTS;
            if (!weighted) { continue; }
            importances[lane] = importance + column;
            batch.variance[lane] = variances[row];
            column += SMALL_WEIGHTS;
            if (column == columns) {
                column = 0;
                row = row + 1 < rows ? row + 1 : 0;
            }
        }
        batch_load(sources, 0, batch.weights);
        if (weighted) { batch_load(importances, 0, batch.importance); }
        if (type == SMALL_MXFP4 && rounding == INGOT_BLOCKS_MLX) {
            powers_mlx(batch.weights, &block);
        } else {
            small_reference(type, weighted, &batch, &block);
            if (rounding == INGOT_BLOCKS_SEARCHED) { small_search(type, weighted, &batch, &block); }
        }
        small_store(type, &block, batch.count, blocks + first * small_bytes(type));
    }
}

// One function for each type, so that the compiler knows the type.
#define SMALL_FUNCTION(name, type)                                                                                  \
    static void name(                                                                                               \
        int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,               \
        uint8_t *blocks) {                                                                                          \
        for (size_t row = 0; row < rows; row += LANES) {                                                            \
            size_t count = rows - row < LANES ? rows - row : LANES, start = row * columns;                          \
            small_rows(                                                                                             \
                type, rounding, weights + start, count, columns, importance,                                        \
                blocks + start / SMALL_WEIGHTS * small_bytes(type));                                                \
        }                                                                                                           \
    }

SMALL_FUNCTION(small_q4_0, SMALL_Q4_0)
SMALL_FUNCTION(small_q4_1, SMALL_Q4_1)
SMALL_FUNCTION(small_q5_0, SMALL_Q5_0)
SMALL_FUNCTION(small_q5_1, SMALL_Q5_1)
SMALL_FUNCTION(small_q8_0, SMALL_Q8_0)
SMALL_FUNCTION(small_iq4_nl, SMALL_IQ4_NL)
SMALL_FUNCTION(small_mxfp4, SMALL_MXFP4)

// See ingot_blocks_encode.
static int32_t blocks_small(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    if (rounding == INGOT_BLOCKS_MLX && type != SMALL_MXFP4) { return INGOT_BLOCKS_UNKNOWN; }
    switch (type) {
    case SMALL_Q4_0: small_q4_0(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_Q4_1: small_q4_1(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_Q5_0: small_q5_0(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_Q5_1: small_q5_1(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_Q8_0: small_q8_0(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_IQ4_NL: small_iq4_nl(rounding, weights, rows, columns, importance, blocks); break;
    case SMALL_IQ4_XS:
        nonlinear_encode(
            rounding == INGOT_BLOCKS_SEARCHED, weights, rows * columns / IQ4_XS_WEIGHTS, columns, importance, blocks);
        break;
    case SMALL_MXFP4: small_mxfp4(rounding, weights, rows, columns, importance, blocks); break;
    default: return INGOT_BLOCKS_UNKNOWN;
    }
    return INGOT_BLOCKS_OK;
}

#endif
