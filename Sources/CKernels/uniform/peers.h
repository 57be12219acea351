// Scales and codes as MLX and compressed-tensors find them, to the bit (Specs/exports.md, "References of group formats").

#ifndef INGOT_UNIFORM_PEERS_H
#define INGOT_UNIFORM_PEERS_H

#include "CKernels.h"
#include "../common/lanes.h"

// The least and the greatest of n finite weights.
struct peer_extremes {
    float low, high;
};

INLINE struct peer_extremes peer_extremes(const float *weights, size_t n) {
    struct peer_extremes found = {weights[0], weights[0]};
    size_t i = 0;
    if (n >= LANES) {
        f32x16 low = LOAD(f32x16, weights), high = low;
        for (i = LANES; i + LANES <= n; i += LANES) {
            f32x16 values = LOAD(f32x16, weights + i);
            low = values < low ? values : low;
            high = values > high ? values : high;
        }
        float lows[LANES], highs[LANES];
        STORE(lows, low);
        STORE(highs, high);
        for (int lane = 0; lane < LANES; lane += 1) {
            found.low = lows[lane] < found.low ? lows[lane] : found.low;
            found.high = highs[lane] > found.high ? highs[lane] : found.high;
        }
    }
    for (; i < n; i += 1) {
        found.low = weights[i] < found.low ? weights[i] : found.low;
        found.high = weights[i] > found.high ? weights[i] : found.high;
    }
    return found;
}

// The nearest whole number, ties to even. Numbers of 2^23 and more are whole.
INLINE float peer_rounded(float a) {
    float size = a < 0 ? -a : a;
    float whole = size < 8388608.0f ? (size + 8388608.0f) - 8388608.0f : size;
    return a < 0 ? -whole : whole;
}

INLINE float peer_stored(int32_t format, float value) {
    f32x16 wide = value;
    return stored(format, wide)[0];
}

// 16 codes: ((w - bias) / scale), rounded to `between`, clamped to low ... high, rounded, minus low.
INLINE u8x16 peer_codes(f32x16 weights, float bias, float scale, int32_t between, float low, float high) {
    f32x16 value = (weights - bias) / scale;
    value = stored(between, value);
    // Clamping to whole numbers before rounding gives the same as after.
    value = value < low ? (f32x16)low : value;
    value = value > high ? (f32x16)high : value;
    return CONVERT(u8x16, CONVERT(i32x16, rounded(value) - low));
}

INLINE void peer_group_codes(
    const float *weights, size_t n, float bias, float scale, int32_t between, float low, float high, uint8_t *codes) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        STORE(codes + i, peer_codes(LOAD(f32x16, weights + i), bias, scale, between, low, high));
    }
    if (i < n) {
        float padded[LANES] = {0};
        uint8_t found[LANES];
        memcpy(padded, weights + i, (n - i) * sizeof(float));
        STORE(found, peer_codes(LOAD(f32x16, padded), bias, scale, between, low, high));
        memcpy(codes + i, found, n - i);
    }
}

// mlx.core.quantize, mode affine, on the CPU: the end of the greatest magnitude is met exactly, and codes follow from scale and bias before
// these are rounded to the weights' type.
INLINE void mlx_group(
    const float *weights, size_t n, int32_t bits, int32_t format, uint8_t *codes, float *scale, float *bias) {
    struct peer_extremes ends = peer_extremes(weights, n);
    float most = (float)((1 << bits) - 1);
    float low = ends.low < 0 ? -ends.low : ends.low, high = ends.high < 0 ? -ends.high : ends.high;
    int is_low = low > high;
    float step = (ends.high - ends.low) / most;
    step = step > 1e-7f ? step : 1e-7f;
    step = is_low ? step : -step;
    float edge = is_low ? ends.low : ends.high;
    float steps = peer_rounded(edge / step);
    int is_zero = steps == 0;
    step = is_zero ? step : edge / steps;
    float offset = is_zero ? 0.0f : edge;
    peer_group_codes(weights, n, offset, step, FORMAT_F32, 0, most, codes);
    *scale = peer_stored(format, step);
    *bias = peer_stored(format, offset);
}

// The least positive number e of a type for which 1 + e differs from 1, as torch.finfo(...).eps.
INLINE float peer_epsilon(int32_t format) {
    switch (format) {
    case FORMAT_F16: return 0x1p-10f;
    case FORMAT_BF16: return 0x1p-7f;
    default: return 0x1p-23f;
    }
}

// compressed-tensors' observer `minmax`, symmetric: every step is computed in the weights' type.
INLINE void compressed_group(
    const float *weights, size_t n, int32_t bits, int32_t format, uint8_t *codes, float *scale) {
    struct peer_extremes ends = peer_extremes(weights, n);
    float half = (float)(1 << (bits - 1));
    float low = ends.low < 0 ? -ends.low : 0.0f, high = ends.high > 0 ? ends.high : 0.0f;
    float largest = low > high ? low : high;
    float step = peer_stored(format, largest / (half - 0.5f));
    step = step == 0 ? peer_epsilon(format) : step;
    peer_group_codes(weights, n, 0, step, format, -half, half - 1, codes);
    *scale = step;
}

// See ingot_peer_round. Groups are whole.
static void peer_round(
    int32_t peer, const float *weights, size_t rows, size_t columns, size_t group, int32_t bits, int32_t format,
    uint8_t *codes, float *scales, float *biases) {
    size_t groups = rows * (columns / group);
    for (size_t i = 0; i < groups; i += 1) {
        const float *from = weights + i * group;
        if (peer == INGOT_PEER_MLX) {
            mlx_group(from, group, bits, format, codes + i * group, scales + i, biases + i);
        } else {
            compressed_group(from, group, bits, format, codes + i * group, scales + i);
        }
    }
}

#endif
