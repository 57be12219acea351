// Super-blocks of IQ4_XS: 256 weights in eight blocks, which share the codebook of IQ4_NL and a scale of binary16. Each block has a
// multiplier from -32 to 31 of that scale. Sixteen super-blocks at a time, one per lane.

#ifndef INGOT_BLOCKS_NONLINEAR_H
#define INGOT_BLOCKS_NONLINEAR_H

#include "batch.h"
#include "scaled.h"

enum { IQ4_XS_PARTS = 8, IQ4_XS_WEIGHTS = IQ4_XS_PARTS * SMALL_WEIGHTS, IQ4_XS_BYTES = 136 };

struct nonlinear_batch {
    f32x16 weights[IQ4_XS_WEIGHTS];
    f32x16 importance[IQ4_XS_WEIGHTS];  // unset if the batch has none
    int has_importance;
    u16x16 scale;
    f32x16 multipliers[IQ4_XS_PARTS];
    f32x16 inverses[IQ4_XS_PARTS];  // a weight times this is the position in the codebook
};

INLINE f32x16 nonlinear_multiplier(f32x16 position) { return rounded(lesser(greater(position, -32.0f), 31.0f)); }

// ggml's choice (quantize_row_iq4_nl_impl).
static void nonlinear_reference(struct nonlinear_batch *batch) {
    f32x16 variance = 0.0f, scales[IQ4_XS_PARTS], largest = 0.0f, extreme = 0.0f;
    for (size_t i = 0; i < IQ4_XS_WEIGHTS; i += 1) { variance += batch->weights[i] * batch->weights[i]; }
    variance *= 2.0f / IQ4_XS_WEIGHTS;
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        const f32x16 *weights = batch->weights + b * SMALL_WEIGHTS;
        f32x16 importance[SMALL_WEIGHTS], unused;
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            f32x16 square = weights[i] * weights[i];
            importance[i] = batch->has_importance ? batch->importance[b * SMALL_WEIGHTS + i] * batch_root(variance + square) : square;
        }
        scales[b] = scaled_scale(SMALL_IQ4_NL, weights, importance, &unused);
        i32x16 larger = magnitude(scales[b]) > largest;
        largest = larger ? magnitude(scales[b]) : largest;
        extreme = larger ? scales[b] : extreme;
    }
    f32x16 scale = extreme * (-1.0f / 32), inverse = batch_inverse(scale);
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        f32x16 position = inverse * scales[b];
        // ggml's rounding turns NaN into 0.
        batch->multipliers[b] = nonlinear_multiplier(position == position ? position : (f32x16)0.0f);
        batch->inverses[b] = batch_inverse(scale * batch->multipliers[b]);
    }
    batch->scale = batch_half(scale);
}

// The error of the super-block with the reference's codes and scales, in units of the scaled weights.
static f32x16 nonlinear_error(const struct nonlinear_batch *batch, const struct batch_search *parts) {
    f32x16 error = 0.0f, unit = float_from_half(batch->scale) * parts->up[0] * parts->up[1];
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            f32x16 level = codebook_level(batch->weights[b * SMALL_WEIGHTS + i] * batch->inverses[b]);
            f32x16 difference = parts[b].values[i] - level * (unit * batch->multipliers[b]);
            error += parts[b].importance[i] * (difference * difference);
        }
    }
    return error;
}

// The search of a super-block: the multipliers and the scale in use, and the best ones found.
struct nonlinear_choice {
    f32x16 scale, error;
    f32x16 multipliers[IQ4_XS_PARTS];
};

enum { NONLINEAR_TRIALS = 2 };

// A first scale: the one for which rounded multipliers of the blocks' own scales cost least. `squares` says how fast the error of
// a block grows with the distance from its own scale.
INLINE f32x16 nonlinear_start(const f32x16 *down, const f32x16 *up, const f32x16 *scales, const f32x16 *squares) {
    f32x16 largest, best = __builtin_inff(), chosen = 0.0f;
    f32x16 extreme = batch_extreme(scales, IQ4_XS_PARTS, &largest);
    for (int k = 0; k < 48; k += 1) {
        // The extreme gets a multiplier from -32 to -20.5, or from 31 to 19.5.
        float multiplier = k < 24 ? -32 + 0.5f * (float)k : 31 - 0.5f * (float)(k - 24);
        f32x16 stored = batch_stored(down, extreme * (1.0f / multiplier));
        f32x16 unit = stored * up[0] * up[1], inverse = batch_inverse(unit), error = 0.0f;
        for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
            f32x16 difference = nonlinear_multiplier(scales[b] * inverse) * unit - scales[b];
            error += squares[b] * (difference * difference);
        }
        chosen = error < best ? stored : chosen;
        best = lesser(error, best);
    }
    return chosen;
}

// Replaces the scale and the multipliers of the super-blocks where searched ones have a smaller error.
static void nonlinear_search(struct nonlinear_batch *batch) {
    struct batch_search parts[IQ4_XS_PARTS];
    batch_normalise(
        batch->weights, batch->has_importance ? batch->importance : NULL, IQ4_XS_PARTS, parts);
    const f32x16 *up = parts->up, *down = parts->down;
    f32x16 scales[IQ4_XS_PARTS], squares[IQ4_XS_PARTS];
    struct scaled_sums sums;
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        scales[b] = scaled_start(SMALL_IQ4_NL, &parts[b], scaled_grid(SMALL_IQ4_NL));
        scaled_error(SMALL_IQ4_NL, &parts[b], scales[b], &sums);
        scales[b] = sums.square > 0.0f ? sums.product / sums.square : scales[b];
        squares[b] = sums.square;
    }
    struct nonlinear_choice best = {.scale = 0.0f, .error = __builtin_inff()}, next;
    next.scale = nonlinear_start(down, up, scales, squares);
    for (int trial = 0; trial < NONLINEAR_TRIALS; trial += 1) {
        f32x16 unit = next.scale * up[0] * up[1], inverse = batch_inverse(unit), product = 0.0f, square = 0.0f;
        next.error = 0.0f;
        for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
            f32x16 middle = nonlinear_multiplier(scales[b] * inverse), least = __builtin_inff();
            struct scaled_sums chosen = {0.0f, 0.0f};
            next.multipliers[b] = middle;
            for (int step = -1; step <= 1; step += 1) {
                f32x16 multiplier = nonlinear_multiplier(middle + (float)step);
                f32x16 error = scaled_error(SMALL_IQ4_NL, &parts[b], unit * multiplier, &sums);
                i32x16 better = error < least;
                least = better ? error : least;
                next.multipliers[b] = better ? multiplier : next.multipliers[b];
                chosen.product = better ? sums.product : chosen.product;
                chosen.square = better ? sums.square : chosen.square;
            }
            next.error += least;
            product += next.multipliers[b] * chosen.product;
            square += next.multipliers[b] * next.multipliers[b] * chosen.square;
        }
        i32x16 better = next.error < best.error;
        best.error = better ? next.error : best.error;
        best.scale = better ? next.scale : best.scale;
        for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
            best.multipliers[b] = better ? next.multipliers[b] : best.multipliers[b];
        }
        next.scale = square > 0.0f ? batch_stored(down, product / square) : next.scale;
    }
    i32x16 better = batch_better(best.error, nonlinear_error(batch, parts));
    f32x16 unit = best.scale * up[0] * up[1];
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        batch->multipliers[b] = better ? best.multipliers[b] : batch->multipliers[b];
        // In units of the weights.
        f32x16 inverse = batch_inverse(unit * best.multipliers[b]) * up[0] * up[1];
        batch->inverses[b] = better ? inverse : batch->inverses[b];
    }
    batch->scale = batch_chosen(better, half_from_float(best.scale), batch->scale);
}

// Writes `count` super-blocks: the scale, two high bits of each multiplier + 32, four low bits of each, and the codes.
static void nonlinear_store(const struct nonlinear_batch *batch, size_t count, uint8_t *blocks) {
    uint16_t scales[LANES], high_bits[LANES];
    u32x16 high = 0u, low = 0u;
    for (int b = 0; b < IQ4_XS_PARTS; b += 1) {
        u32x16 multiplier = (u32x16)(CONVERT(i32x16, batch->multipliers[b]) + 32);
        low |= (multiplier & 15u) << (4 * b);
        high |= multiplier >> 4 << (2 * b);
    }
    STORE(scales, batch->scale);
    STORE(high_bits, CONVERT(u16x16, high));
    for (size_t lane = 0; lane < count; lane += 1) {
        uint32_t low_bits = low[lane];
        memcpy(blocks + lane * IQ4_XS_BYTES, &scales[lane], 2);
        memcpy(blocks + lane * IQ4_XS_BYTES + 2, &high_bits[lane], 2);
        memcpy(blocks + lane * IQ4_XS_BYTES + 4, &low_bits, 4);
    }
    for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
        i32x16 codes[SMALL_WEIGHTS];
        uint8_t bytes[LANES][16];
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            codes[i] = codebook_index(batch->weights[b * SMALL_WEIGHTS + i] * batch->inverses[b]);
        }
        batch_nibbles(codes, bytes);
        for (size_t lane = 0; lane < count; lane += 1) {
            memcpy(blocks + lane * IQ4_XS_BYTES + 8 + 16 * b, bytes[lane], 16);
        }
    }
}

static void nonlinear_encode(
    int searched, const float *weights, size_t count, size_t columns, const float *importance, uint8_t *blocks) {
    struct nonlinear_batch batch;
    batch.has_importance = importance != NULL;
    size_t column = 0;
    for (size_t first = 0; first < count; first += LANES) {
        size_t lanes = count - first < LANES ? count - first : LANES;
        const float *sources[LANES], *importances[LANES];
        for (size_t lane = 0; lane < LANES; lane += 1) {
            // Lanes beyond the last super-block repeat the first one of the batch.
            size_t place = lane < lanes ? lane : 0;
            sources[lane] = weights + (first + place) * IQ4_XS_WEIGHTS;
            if (importance) { importances[lane] = importance + (column + place * IQ4_XS_WEIGHTS) % columns; }
        }
        column = (column + LANES * IQ4_XS_WEIGHTS) % columns;
        for (size_t b = 0; b < IQ4_XS_PARTS; b += 1) {
            batch_load(sources, b * SMALL_WEIGHTS, batch.weights + b * SMALL_WEIGHTS);
            if (importance) { batch_load(importances, b * SMALL_WEIGHTS, batch.importance + b * SMALL_WEIGHTS); }
        }
        nonlinear_reference(&batch);
        if (searched) { nonlinear_search(&batch); }
        nonlinear_store(&batch, lanes, blocks + first * IQ4_XS_BYTES);
    }
}

#endif
