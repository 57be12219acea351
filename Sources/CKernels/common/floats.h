// Widening to binary32, narrowing to a storage format, and counting NaN and infinity.

#ifndef INGOT_COMMON_FLOATS_H
#define INGOT_COMMON_FLOATS_H

#include "CKernels.h"
#include "lanes.h"

INLINE void expand_block(int32_t format, const uint8_t *source, float *result) {
    switch (format) {
    case FORMAT_F16: STORE(result, float_from_half(LOAD(u16x16, source))); break;
    case FORMAT_BF16: STORE(result, float_from_bfloat(LOAD(u16x16, source))); break;
    default: STORE(result, LOAD(f32x16, source)); break;
    }
}

INLINE void expand_all(int32_t format, size_t width, const uint8_t *source, float *result, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) { expand_block(format, source + i * width, result + i); }
    if (i < n) {
        uint8_t padded[LANES * 4] = {0};
        float wide[LANES];
        memcpy(padded, source + i * width, (n - i) * width);
        expand_block(format, padded, wide);
        memcpy(result + i, wide, (n - i) * sizeof(float));
    }
}

static void expand(int32_t format, const void *source, float *result, size_t n) {
    switch (format) {
    case FORMAT_F16: expand_all(FORMAT_F16, 2, source, result, n); break;
    case FORMAT_BF16: expand_all(FORMAT_BF16, 2, source, result, n); break;
    default: memcpy(result, source, n * sizeof(float)); break;
    }
}

// Rounds 16 values to F16 or BF16. Adds 1 to each lane of `overflows` where a finite value became infinite.
INLINE void narrow_block(int32_t format, f32x16 value, uint8_t *result, u32x16 *overflows) {
    u16x16 narrowed = format == FORMAT_F16 ? half_from_float(value) : bfloat_from_float(value);
    u32x16 infinity = format == FORMAT_F16 ? 0x7c00u : 0x7f80u;
    STORE(result, narrowed);
    u32x16 became = (CONVERT(u32x16, narrowed) & 0x7fffu) == infinity ? (u32x16)1u : (u32x16)0u;
    *overflows += ((u32x16)value & 0x7fffffffu) < 0x7f800000u ? became : (u32x16)0u;
}

INLINE size_t narrow_all(int32_t format, const float *source, uint8_t *result, size_t n) {
    size_t total = 0;
    size_t i = 0;
    while (i < n) {
        // A lane's counter cannot overflow within one stretch.
        size_t stretch_end = n - i > (size_t)1 << 24 ? i + ((size_t)1 << 24) : n;
        u32x16 overflows = 0u;
        for (; i + LANES <= stretch_end; i += LANES) {
            narrow_block(format, LOAD(f32x16, source + i), result + i * 2, &overflows);
        }
        if (i < stretch_end) {
            float wide[LANES] = {0};
            uint8_t narrowed[LANES * 2];
            memcpy(wide, source + i, (stretch_end - i) * sizeof(float));
            narrow_block(format, LOAD(f32x16, wide), narrowed, &overflows);
            memcpy(result + i * 2, narrowed, (stretch_end - i) * 2);
            i = stretch_end;
        }
        for (int lane = 0; lane < LANES; lane += 1) { total += overflows[lane]; }
    }
    return total;
}

static size_t narrow(int32_t format, const float *source, void *result, size_t n) {
    switch (format) {
    case FORMAT_F16: return narrow_all(FORMAT_F16, source, result, n);
    case FORMAT_BF16: return narrow_all(FORMAT_BF16, source, result, n);
    default: memcpy(result, source, n * sizeof(float)); return 0;
    }
}

// Bits of element i without the sign: above `infinity` for NaN, equal to it for an infinity.
INLINE uint32_t magnitude_bits(size_t width, const uint8_t *source, size_t i) {
    if (width == 2) {
        uint16_t bits;
        memcpy(&bits, source + i * 2, 2);
        return bits & 0x7fffu;
    }
    uint32_t bits;
    memcpy(&bits, source + i * 4, 4);
    return bits & 0x7fffffffu;
}

INLINE struct ingot_non_finite scan_all(
    size_t width, uint32_t infinity, const uint8_t *source, size_t n) {
    struct ingot_non_finite found = {0, 0, n};
    enum { BLOCK = 16 * LANES };
    for (size_t start = 0; start < n; start += BLOCK) {
        size_t end = n - start < BLOCK ? n : start + BLOCK;
        int suspicious = end - start < BLOCK;
        if (!suspicious && width == 2) {
            u16x16 largest = (uint16_t)0;
            for (size_t i = start; i < end; i += LANES) {
                u16x16 bits = LOAD(u16x16, source + i * 2) & (uint16_t)0x7fff;
                largest = bits > largest ? bits : largest;
            }
            suspicious = __builtin_reduce_max(largest) >= infinity;
        } else if (!suspicious) {
            u32x16 largest = 0u;
            for (size_t i = start; i < end; i += LANES) {
                u32x16 bits = LOAD(u32x16, source + i * 4) & 0x7fffffffu;
                largest = bits > largest ? bits : largest;
            }
            suspicious = __builtin_reduce_max(largest) >= infinity;
        }
        if (!suspicious) { continue; }
        for (size_t i = start; i < end; i += 1) {
            uint32_t bits = magnitude_bits(width, source, i);
            if (bits < infinity) { continue; }
            if (found.first_index == n) { found.first_index = i; }
            if (bits == infinity) { found.infinity_count += 1; } else { found.nan_count += 1; }
        }
    }
    return found;
}

static struct ingot_non_finite scan_non_finite(int32_t format, const void *source, size_t n) {
    switch (format) {
    case FORMAT_F16: return scan_all(2, 0x7c00u, source, n);
    case FORMAT_BF16: return scan_all(2, 0x7f80u, source, n);
    default: return scan_all(4, 0x7f800000u, source, n);
    }
}

#endif
