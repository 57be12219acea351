// Codes of other quantizers' checkpoints: unpacked from bits, turned into binary32, and scaled.

#ifndef INGOT_CODES_VALUES_H
#define INGOT_CODES_VALUES_H

#include "CKernels.h"
#include "../common/packing.h"

INLINE void codes_unpack_dense(int bits, const uint8_t *packed, uint8_t *codes, size_t n) {
    for (size_t i = 0; i < n; i += 8, packed += bits) {
        uint64_t run = 0;
        memcpy(&run, packed, (size_t)bits);
        uint64_t word = spread(run, bits);
        memcpy(codes + i, &word, 8);
    }
}

// Pairs of codes of four bits. The compiler turns this loop into shifts of whole vectors.
INLINE void codes_unpack_nibbles(int high_first, const uint8_t *packed, uint8_t *codes, size_t n) {
    for (size_t i = 0; i < n / 2; i += 1) {
        uint8_t low = packed[i] & 15, high = packed[i] >> 4;
        codes[2 * i] = high_first ? high : low;
        codes[2 * i + 1] = high_first ? low : high;
    }
}

static void codes_unpack(int32_t bits, int32_t high_first, const uint8_t *packed, uint8_t *codes, size_t n) {
    switch (bits) {
    case 1: codes_unpack_dense(1, packed, codes, n); break;
    case 2: codes_unpack_dense(2, packed, codes, n); break;
    case 3: codes_unpack_dense(3, packed, codes, n); break;
    case 4:
        if (high_first) { codes_unpack_nibbles(1, packed, codes, n); } else { codes_unpack_nibbles(0, packed, codes, n); }
        break;
    case 5: codes_unpack_dense(5, packed, codes, n); break;
    case 6: codes_unpack_dense(6, packed, codes, n); break;
    case 7: codes_unpack_dense(7, packed, codes, n); break;
    default: memcpy(codes, packed, n); break;
    }
}

// A float of one sign bit, an exponent and `fraction` bits of fraction, without infinity and NaN. Subnormal values are computed from the
// fraction, because multiplying subnormal numbers of binary32 is slow on some processors.
INLINE f32x16 small_float(u32x16 size, u32x16 sign, int fraction, int bias) {
    u32x16 normal = (size << (23 - fraction)) + ((uint32_t)(127 - bias) << 23);
    float unit = (float)(1.0 / (double)((uint64_t)1 << (bias - 1 + fraction)));
    u32x16 subnormal = (u32x16)(CONVERT(f32x16, size) * unit);
    u32x16 bits = size < (1u << fraction) ? subnormal : normal;
    return (f32x16)(bits | sign);
}

INLINE f32x16 code_block(int32_t kind, u8x16 codes) {
    u32x16 wide = CONVERT(u32x16, codes);
    switch (kind) {
    case INGOT_CODES_SIGNED: return CONVERT(f32x16, (i32x16)(wide << 24) >> 24);
    case INGOT_CODES_E2M1: return small_float(wide & 7u, (wide & 8u) << 28, 1, 1);
    case INGOT_CODES_E4M3: {
        u32x16 size = wide & 0x7fu, sign = (wide & 0x80u) << 24;
        f32x16 value = small_float(size, sign, 3, 7);
        return size == 0x7fu ? (f32x16)(0x7fc00000u | sign) : value;
    }
    case INGOT_CODES_E5M2: {
        u32x16 size = wide & 0x7fu, sign = (wide & 0x80u) << 24;
        f32x16 value = small_float(size, sign, 2, 15);
        u32x16 special = size == 0x7cu ? (u32x16)0x7f800000u : (u32x16)0x7fc00000u;
        return size >= 0x7cu ? (f32x16)(special | sign) : value;
    }
    case INGOT_CODES_E8M0: {
        u32x16 bits = wide << 23;
        bits = wide == 0u ? (u32x16)0x00400000u : bits;
        return (f32x16)(wide == 255u ? (u32x16)0x7fc00000u : bits);
    }
    default: return CONVERT(f32x16, wide);
    }
}

INLINE void code_values_all(int32_t kind, const uint8_t *codes, float *values, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) { STORE(values + i, code_block(kind, LOAD(u8x16, codes + i))); }
    if (i < n) {
        uint8_t padded[LANES] = {0};
        float wide[LANES];
        memcpy(padded, codes + i, n - i);
        STORE(wide, code_block(kind, LOAD(u8x16, padded)));
        memcpy(values + i, wide, (n - i) * sizeof(float));
    }
}

static void codes_values(int32_t kind, const float *table, const uint8_t *codes, float *values, size_t n) {
    switch (kind) {
    case INGOT_CODES_SIGNED: code_values_all(INGOT_CODES_SIGNED, codes, values, n); break;
    case INGOT_CODES_E2M1: code_values_all(INGOT_CODES_E2M1, codes, values, n); break;
    case INGOT_CODES_E4M3: code_values_all(INGOT_CODES_E4M3, codes, values, n); break;
    case INGOT_CODES_E5M2: code_values_all(INGOT_CODES_E5M2, codes, values, n); break;
    case INGOT_CODES_E8M0: code_values_all(INGOT_CODES_E8M0, codes, values, n); break;
    case INGOT_CODES_TABLE:
        for (size_t i = 0; i < n; i += 1) { values[i] = table[codes[i]]; }
        break;
    default: code_values_all(INGOT_CODES_UNSIGNED, codes, values, n); break;
    }
}

// Scales one group.
INLINE void scale_group(
    float *values, size_t n, int has_zero, int has_bias, int32_t between, float zero, float scale, float bias) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        f32x16 value = LOAD(f32x16, values + i);
        if (has_zero) { value -= zero; }
        value *= scale;
        if (has_bias) { value = stored(between, value) + bias; }
        STORE(values + i, value);
    }
    if (i < n) {
        float padded[LANES] = {0};
        memcpy(padded, values + i, (n - i) * sizeof(float));
        f32x16 value = LOAD(f32x16, padded);
        if (has_zero) { value -= zero; }
        value *= scale;
        if (has_bias) { value = stored(between, value) + bias; }
        STORE(padded, value);
        memcpy(values + i, padded, (n - i) * sizeof(float));
    }
}

INLINE void scale_groups(
    float *values, size_t n, size_t first, size_t group, const float *scales, const float *zeros, const float *biases,
    int32_t between) {
    size_t done = 0, index = 0;
    while (done < n) {
        size_t length = group - first;
        if (length > n - done) { length = n - done; }
        scale_group(
            values + done, length, zeros != 0, biases != 0, between, zeros ? zeros[index] : 0, scales[index],
            biases ? biases[index] : 0);
        done += length;
        index += 1;
        first = 0;
    }
}

static void codes_scale(
    float *values, size_t n, size_t first, size_t group, const float *scales, const float *zeros, const float *biases,
    int32_t between) {
    if (group == 1) {
        for (size_t i = 0; i < n; i += 1) {
            float value = zeros ? values[i] - zeros[i] : values[i];
            values[i] = value * scales[i];
        }
        return;
    }
    if (biases) {
        switch (between) {
        case FORMAT_F16: scale_groups(values, n, first, group, scales, 0, biases, FORMAT_F16); break;
        case FORMAT_BF16: scale_groups(values, n, first, group, scales, 0, biases, FORMAT_BF16); break;
        default: scale_groups(values, n, first, group, scales, 0, biases, FORMAT_F32); break;
        }
    } else if (zeros) {
        scale_groups(values, n, first, group, scales, zeros, 0, FORMAT_F32);
    } else {
        scale_groups(values, n, first, group, scales, 0, 0, FORMAT_F32);
    }
}

// Blocks of 16 x 16 elements, so that reads and writes stay within a few cache lines.
#define TRANSPOSE(type)                                                                                         \
    for (size_t r0 = 0; r0 < rows; r0 += 16) {                                                                  \
        size_t r1 = r0 + 16 < rows ? r0 + 16 : rows;                                                            \
        for (size_t c0 = 0; c0 < columns; c0 += 16) {                                                           \
            size_t c1 = c0 + 16 < columns ? c0 + 16 : columns;                                                  \
            for (size_t c = c0; c < c1; c += 1) {                                                               \
                for (size_t r = r0; r < r1; r += 1) {                                                           \
                    memcpy(                                                                                     \
                        (uint8_t *)to + (c * rows + r) * sizeof(type),                                          \
                        (const uint8_t *)from + (r * columns + c) * sizeof(type), sizeof(type));                \
                }                                                                                               \
            }                                                                                                   \
        }                                                                                                       \
    }

static void codes_transpose(int32_t width, const void *from, void *to, size_t rows, size_t columns) {
    switch (width) {
    case 1: TRANSPOSE(uint8_t) break;
    case 2: TRANSPOSE(uint16_t) break;
    default: TRANSPOSE(uint32_t) break;
    }
}

#undef TRANSPOSE

#endif
