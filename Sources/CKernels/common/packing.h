// Packs codes of one byte each into fewer bits and unpacks them, eight codes at a time in a 64-bit word.

#ifndef INGOT_COMMON_PACKING_H
#define INGOT_COMMON_PACKING_H

#include "CKernels.h"
#include "lanes.h"

// A word of lanes of `lane_bits` bits. Each lane has `ones` one bits above `shift` zero bits.
INLINE uint64_t lane_mask(int lane_bits, int ones, int shift) {
    uint64_t one_lane = (ones >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << ones) - 1) << shift;
    uint64_t result = 0;
    for (int at = 0; at < 64; at += lane_bits) { result |= one_lane << at; }
    return result;
}

// In each lane of `lane_bits` bits, moves the lowest `ones` bits of the upper half next to those of the lower half.
INLINE uint64_t pulled(uint64_t word, int lane_bits, int ones) {
    int gap = lane_bits / 2 - ones;
    return (word & lane_mask(lane_bits, ones, 0)) | (word >> gap & lane_mask(lane_bits, ones, ones));
}

INLINE uint64_t pushed(uint64_t word, int lane_bits, int ones) {
    int gap = lane_bits / 2 - ones;
    return (word & lane_mask(lane_bits, ones, 0)) | (word & lane_mask(lane_bits, ones, ones)) << gap;
}

// Eight codes, one per byte, to one run of 8 * bits bits.
INLINE uint64_t gathered(uint64_t codes, int bits) {
    return pulled(pulled(pulled(codes, 16, bits), 32, 2 * bits), 64, 4 * bits);
}

INLINE uint64_t spread(uint64_t run, int bits) {
    return pushed(pushed(pushed(run, 64, 4 * bits), 32, 2 * bits), 16, bits);
}

INLINE int32_t pack_dense(int bits, const uint8_t *codes, uint8_t *packed, size_t n) {
    uint64_t seen = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, codes + i, 8);
        seen |= word;
        word = gathered(word, bits);
        memcpy(packed, &word, (size_t)bits);
        packed += bits;
    }
    if (i < n) {
        uint64_t word = 0;
        memcpy(&word, codes + i, n - i);
        seen |= word;
        word = gathered(word, bits);
        memcpy(packed, &word, ((n - i) * (size_t)bits + 7) / 8);
    }
    return (seen & ~lane_mask(8, bits, 0)) != 0;
}

INLINE int32_t unpack_dense(int bits, const uint8_t *packed, uint8_t *codes, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, packed, (size_t)bits);
        word = spread(word, bits);
        memcpy(codes + i, &word, 8);
        packed += bits;
    }
    if (i < n) {
        size_t used = (n - i) * (size_t)bits;
        uint64_t word = 0;
        memcpy(&word, packed, (used + 7) / 8);
        if (word >> used != 0) { return INGOT_UNPACK_TAIL_NOT_ZERO; }
        word = spread(word, bits);
        memcpy(codes + i, &word, n - i);
    }
    return INGOT_UNPACK_OK;
}

// Packs two codes of four bits per byte; `n` is even.
INLINE int32_t pack_nibbles(const uint8_t *codes, uint8_t *packed, size_t n) {
    u16x16 seen = (uint16_t)0;
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        u16x16 pairs = LOAD(u16x16, codes + i);
        seen |= pairs;
        STORE(packed + i / 2, CONVERT(u8x16, pairs | pairs >> (uint16_t)4));
    }
    int32_t above = (__builtin_reduce_or(seen) & 0xf0f0) != 0;
    for (; i < n; i += 2) {
        above |= (codes[i] | codes[i + 1]) > 15;
        packed[i / 2] = (uint8_t)(codes[i] | codes[i + 1] << 4);
    }
    return above;
}

INLINE void unpack_nibbles(const uint8_t *packed, uint8_t *codes, size_t n) {
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        u16x16 pairs = CONVERT(u16x16, LOAD(u8x16, packed + i / 2));
        STORE(codes + i, (pairs | pairs << (uint16_t)4) & (uint16_t)0x0f0f);
    }
    for (; i < n; i += 2) {
        codes[i] = packed[i / 2] & 15;
        codes[i + 1] = packed[i / 2] >> 4;
    }
}

// Packs two codes of three bits into the low six bits of a byte.
INLINE int32_t pack_pairs(const uint8_t *codes, uint8_t *packed, size_t n) {
    uint8_t seen = 0;
    size_t pairs = n / 2;
    for (size_t i = 0; i < pairs; i += 1) {
        seen |= codes[2 * i] | codes[2 * i + 1];
        packed[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 3);
    }
    if (n % 2 != 0) {
        seen |= codes[n - 1];
        packed[pairs] = codes[n - 1];
    }
    return seen > 7;
}

INLINE int32_t unpack_pairs(const uint8_t *packed, uint8_t *codes, size_t n) {
    uint8_t seen = 0;
    size_t pairs = n / 2;
    for (size_t i = 0; i < pairs; i += 1) {
        seen |= packed[i];
        codes[2 * i] = packed[i] & 7;
        codes[2 * i + 1] = packed[i] >> 3 & 7;
    }
    if (n % 2 != 0) {
        uint8_t last = packed[pairs];
        seen |= last;
        codes[n - 1] = last & 7;
        if (seen <= 63 && last > 7) { return INGOT_UNPACK_TAIL_NOT_ZERO; }
    }
    return seen > 63 ? INGOT_UNPACK_CODE_TOO_LARGE : INGOT_UNPACK_OK;
}

INLINE int32_t copy_codes(int bits, const uint8_t *source, uint8_t *result, size_t n) {
    uint8_t seen = 0;
    for (size_t i = 0; i < n; i += 1) {
        seen |= source[i];
        result[i] = source[i];
    }
    return seen >> bits != 0;
}

static int32_t pack(int32_t layout, int32_t bits, const uint8_t *codes, uint8_t *packed, size_t n) {
    int aligned = layout == INGOT_LAYOUT_ALIGNED;
    switch (bits) {
    case 2: return pack_dense(2, codes, packed, n);
    case 3: return aligned ? pack_pairs(codes, packed, n) : pack_dense(3, codes, packed, n);
    case 4:
        return pack_nibbles(codes, packed, n & ~(size_t)1)
            | pack_dense(4, codes + (n & ~(size_t)1), packed + n / 2, n & 1);
    case 5: return aligned ? copy_codes(5, codes, packed, n) : pack_dense(5, codes, packed, n);
    case 6: return aligned ? copy_codes(6, codes, packed, n) : pack_dense(6, codes, packed, n);
    default: return copy_codes(8, codes, packed, n);
    }
}

// copy_codes returns 1 for a code that is too large, which equals INGOT_UNPACK_CODE_TOO_LARGE.
static int32_t unpack(int32_t layout, int32_t bits, const uint8_t *packed, uint8_t *codes, size_t n) {
    int aligned = layout == INGOT_LAYOUT_ALIGNED;
    switch (bits) {
    case 2: return unpack_dense(2, packed, codes, n);
    case 3: return aligned ? unpack_pairs(packed, codes, n) : unpack_dense(3, packed, codes, n);
    case 4:
        unpack_nibbles(packed, codes, n & ~(size_t)1);
        return unpack_dense(4, packed + n / 2, codes + (n & ~(size_t)1), n & 1);
    case 5: return aligned ? copy_codes(5, packed, codes, n) : unpack_dense(5, packed, codes, n);
    case 6: return aligned ? copy_codes(6, packed, codes, n) : unpack_dense(6, packed, codes, n);
    default: return copy_codes(8, packed, codes, n);
    }
}

#endif
