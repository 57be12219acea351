// Splits elements of two or four bytes into byte planes, and joins them.

#ifndef INGOT_COMMON_PLANES_H
#define INGOT_COMMON_PLANES_H

#include "lanes.h"

INLINE void split_pairs(int rotated, const uint8_t *source, uint8_t *planes, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        u16x16 v = LOAD(u16x16, source + i * 2);
        if (rotated) { v = v << (uint16_t)1 | v >> (uint16_t)15; }
        STORE(planes + i, CONVERT(u8x16, v));
        STORE(planes + n + i, CONVERT(u8x16, v >> (uint16_t)8));
    }
    for (; i < n; i += 1) {
        uint16_t v;
        memcpy(&v, source + i * 2, 2);
        if (rotated) { v = (uint16_t)(v << 1 | v >> 15); }
        planes[i] = (uint8_t)v;
        planes[n + i] = (uint8_t)(v >> 8);
    }
}

INLINE void join_pairs(int rotated, const uint8_t *planes, uint8_t *result, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        u16x16 low = CONVERT(u16x16, LOAD(u8x16, planes + i));
        u16x16 high = CONVERT(u16x16, LOAD(u8x16, planes + n + i));
        u16x16 v = low | high << (uint16_t)8;
        if (rotated) { v = v >> (uint16_t)1 | v << (uint16_t)15; }
        STORE(result + i * 2, v);
    }
    for (; i < n; i += 1) {
        uint16_t v = (uint16_t)(planes[i] | planes[n + i] << 8);
        if (rotated) { v = (uint16_t)(v >> 1 | v << 15); }
        memcpy(result + i * 2, &v, 2);
    }
}

INLINE void split_quads(int rotated, const uint8_t *source, uint8_t *planes, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        u32x16 v = LOAD(u32x16, source + i * 4);
        if (rotated) { v = v << 1 | v >> 31; }
        STORE(planes + i, CONVERT(u8x16, v));
        STORE(planes + n + i, CONVERT(u8x16, v >> 8));
        STORE(planes + 2 * n + i, CONVERT(u8x16, v >> 16));
        STORE(planes + 3 * n + i, CONVERT(u8x16, v >> 24));
    }
    for (; i < n; i += 1) {
        uint32_t v;
        memcpy(&v, source + i * 4, 4);
        if (rotated) { v = v << 1 | v >> 31; }
        for (size_t p = 0; p < 4; p += 1) { planes[p * n + i] = (uint8_t)(v >> (8 * p)); }
    }
}

INLINE void join_quads(int rotated, const uint8_t *planes, uint8_t *result, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        u32x16 v = CONVERT(u32x16, LOAD(u8x16, planes + i));
        v |= CONVERT(u32x16, LOAD(u8x16, planes + n + i)) << 8;
        v |= CONVERT(u32x16, LOAD(u8x16, planes + 2 * n + i)) << 16;
        v |= CONVERT(u32x16, LOAD(u8x16, planes + 3 * n + i)) << 24;
        if (rotated) { v = v >> 1 | v << 31; }
        STORE(result + i * 4, v);
    }
    for (; i < n; i += 1) {
        uint32_t v = 0;
        for (size_t p = 0; p < 4; p += 1) { v |= (uint32_t)planes[p * n + i] << (8 * p); }
        if (rotated) { v = v >> 1 | v << 31; }
        memcpy(result + i * 4, &v, 4);
    }
}

static void planes_split(int32_t width, int32_t rotated, const void *source, uint8_t *planes, size_t n) {
    if (width == 2) {
        if (rotated) { split_pairs(1, source, planes, n); } else { split_pairs(0, source, planes, n); }
    } else {
        if (rotated) { split_quads(1, source, planes, n); } else { split_quads(0, source, planes, n); }
    }
}

static void planes_join(int32_t width, int32_t rotated, const uint8_t *planes, void *result, size_t n) {
    if (width == 2) {
        if (rotated) { join_pairs(1, planes, result, n); } else { join_pairs(0, planes, result, n); }
    } else {
        if (rotated) { join_quads(1, planes, result, n); } else { join_quads(0, planes, result, n); }
    }
}

#endif
