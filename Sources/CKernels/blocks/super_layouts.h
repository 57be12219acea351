// The bytes of K-quant blocks (Specs/gguf-blocks.md; layout of ggml).

#ifndef INGOT_BLOCKS_SUPER_LAYOUTS_H
#define INGOT_BLOCKS_SUPER_LAYOUTS_H

#include "super_batch.h"

enum { TYPE_Q2_K = 10, TYPE_Q3_K = 11, TYPE_Q4_K = 12, TYPE_Q5_K = 13, TYPE_Q6_K = 14 };

// A type of blocks. A weight is scale_unit * scale * code - minimum_unit * minimum, where a type without minimums lacks the last
// term.
struct super_rule {
    int32_t type;
    int affine;                        // whether sub-blocks have minimums
    size_t length, parts;              // weights of a sub-block, sub-blocks of a super-block
    float code_low, code_high;         // codes are stored minus code_low
    float scale_low, scale_high;       // scales of sub-blocks; minimums are 0 to scale_high
    size_t bytes;                      // of a block
};

INLINE struct super_rule super_rule(int32_t type) {
    switch (type) {
    case TYPE_Q2_K: return (struct super_rule){type, 1, 16, 16, 0, 3, 0, 15, 84};
    case TYPE_Q3_K: return (struct super_rule){type, 0, 16, 16, -4, 3, -32, 31, 110};
    case TYPE_Q4_K: return (struct super_rule){type, 1, 32, 8, 0, 15, 0, 63, 144};
    case TYPE_Q5_K: return (struct super_rule){type, 1, 32, 8, 0, 31, 0, 63, 176};
    default: return (struct super_rule){type, 0, 16, 16, -32, 31, -128, 127, 210};
    }
}

INLINE u8x16 low_byte(i32x16 value) { return CONVERT(u8x16, value & 255); }

INLINE void half_bytes(u16x16 half, u8x16 *bytes) {
    bytes[0] = CONVERT(u8x16, half & (uint16_t)255);
    bytes[1] = CONVERT(u8x16, half >> 8);
}

// Four codes of two bits in a byte: codes 32 apart, of each 128.
INLINE void two_bit_bytes(const u8x16 *codes, u8x16 *bytes) {
    for (int part = 0; part < 2; part += 1) {
        for (int k = 0; k < 32; k += 1) {
            const u8x16 *c = codes + 128 * part + k;
            bytes[32 * part + k] = (c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6;
        }
    }
}

// Two codes of four bits in a byte: codes 32 apart, of each 64.
INLINE void four_bit_bytes(const u8x16 *codes, u8x16 *bytes) {
    for (int part = 0; part < 4; part += 1) {
        for (int k = 0; k < 32; k += 1) {
            const u8x16 *c = codes + 64 * part + k;
            bytes[32 * part + k] = (c[0] & 15) | (c[32] & 15) << 4;
        }
    }
}

// One bit of each code; bit k of byte i is of code 32 * k + i.
INLINE void one_bit_bytes(const u8x16 *codes, int bit, u8x16 *bytes) {
    for (int i = 0; i < 32; i += 1) {
        u8x16 sum = 0;
        for (int k = 0; k < 8; k += 1) { sum |= (codes[32 * k + i] >> bit & 1) << k; }
        bytes[i] = sum;
    }
}

// Twelve bytes for eight scales and eight minimums of six bits.
INLINE void six_bit_pairs(const struct super_codes *block, u8x16 *bytes) {
    for (int k = 0; k < 4; k += 1) {
        u8x16 scale = low_byte(block->scales[k]), minimum = low_byte(block->minimums[k]);
        u8x16 late_scale = low_byte(block->scales[k + 4]), late_minimum = low_byte(block->minimums[k + 4]);
        bytes[k] = scale | (late_scale >> 4) << 6;
        bytes[k + 4] = minimum | (late_minimum >> 4) << 6;
        bytes[k + 8] = (late_scale & 15) | (late_minimum & 15) << 4;
    }
}

// Twelve bytes for sixteen scales of six bits, stored plus 32.
INLINE void six_bit_scales(const struct super_codes *block, u8x16 *bytes) {
    u8x16 scales[16];
    for (int k = 0; k < 16; k += 1) { scales[k] = low_byte(block->scales[k] + 32); }
    for (int k = 0; k < 8; k += 1) { bytes[k] = (scales[k] & 15) | (scales[k + 8] & 15) << 4; }
    for (int k = 0; k < 4; k += 1) {
        bytes[k + 8] = scales[k] >> 4 | (scales[k + 4] >> 4) << 2 | (scales[k + 8] >> 4) << 4 | (scales[k + 12] >> 4) << 6;
    }
}

// The low four bits, then the high two bits of codes of six bits, of each 128.
INLINE void six_bit_bytes(const u8x16 *codes, u8x16 *low, u8x16 *high) {
    for (int part = 0; part < 2; part += 1) {
        for (int k = 0; k < 32; k += 1) {
            const u8x16 *c = codes + 128 * part + k;
            low[64 * part + k] = (c[0] & 15) | (c[64] & 15) << 4;
            low[64 * part + 32 + k] = (c[32] & 15) | (c[96] & 15) << 4;
            high[32 * part + k] = c[0] >> 4 | (c[32] >> 4) << 2 | (c[64] >> 4) << 4 | (c[96] >> 4) << 6;
        }
    }
}

INLINE void super_bytes(struct super_rule rule, const struct super_codes *block, u8x16 *bytes) {
    switch (rule.type) {
    case TYPE_Q2_K:
        for (int k = 0; k < 16; k += 1) { bytes[k] = low_byte(block->scales[k] | block->minimums[k] << 4); }
        two_bit_bytes(block->codes, bytes + 16);
        half_bytes(block->scale_unit, bytes + 80);
        half_bytes(block->minimum_unit, bytes + 82);
        break;
    case TYPE_Q3_K:
        one_bit_bytes(block->codes, 2, bytes);
        two_bit_bytes(block->codes, bytes + 32);
        six_bit_scales(block, bytes + 96);
        half_bytes(block->scale_unit, bytes + 108);
        break;
    case TYPE_Q4_K:
        half_bytes(block->scale_unit, bytes);
        half_bytes(block->minimum_unit, bytes + 2);
        six_bit_pairs(block, bytes + 4);
        four_bit_bytes(block->codes, bytes + 16);
        break;
    case TYPE_Q5_K:
        half_bytes(block->scale_unit, bytes);
        half_bytes(block->minimum_unit, bytes + 2);
        six_bit_pairs(block, bytes + 4);
        one_bit_bytes(block->codes, 4, bytes + 16);
        four_bit_bytes(block->codes, bytes + 48);
        break;
    default:
        six_bit_bytes(block->codes, bytes, bytes + 128);
        for (int k = 0; k < 16; k += 1) { bytes[192 + k] = low_byte(block->scales[k]); }
        half_bytes(block->scale_unit, bytes + 208);
        break;
    }
}

#endif
