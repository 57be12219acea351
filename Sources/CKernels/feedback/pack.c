// Packs codes, sub-scales and steps into ggml's blocks. Layouts: ggml-common.h of llama.cpp, as told in Specs/gguf-blocks.md.
//
// All fields are little-endian. One block holds one row's super-block or group.

#include "CKernels.h"

#include <string.h>

enum { SUPER = INGOT_FEEDBACK_MAX_COLUMNS, SMALL = 32, PARTS = 16, TILE = 16 };

// What one row has.
struct row_results {
    uint8_t codes[SUPER];
    uint8_t scales[PARTS], mins[PARTS];  // scales: in two's complement
    uint8_t step[2], offset[2];          // F16
};

// Nibbles of 32 codes: code j in the lower half of byte j, code j + 16 in the upper half.
static void pack_nibbles(const uint8_t *codes, uint8_t *packed) {
    for (int j = 0; j < SMALL / 2; j += 1) {
        packed[j] = (uint8_t)((codes[j] & 15) | (codes[j + SMALL / 2] & 15) << 4);
    }
}

// The fifth bits of 32 codes: bit j is code j's.
static void pack_fifth_bits(const uint8_t *codes, uint8_t *packed) {
    memset(packed, 0, SMALL / 8);
    for (int j = 0; j < SMALL; j += 1) { packed[j / 8] |= (uint8_t)((codes[j] >> 4 & 1) << j % 8); }
}

// Two low bits of 256 codes: byte l of half h has those of 128 h + l, + 32, + 64, + 96, from the lowest bits on.
static void pack_pairs(const uint8_t *codes, int shift, uint8_t *packed) {
    for (int j = 0; j < SUPER / 4; j += 1) {
        const uint8_t *from = codes + j / 32 * 128 + j % 32;
        packed[j] = 0;
        for (int k = 0; k < 4; k += 1) { packed[j] |= (uint8_t)((from[32 * k] >> shift & 3) << 2 * k); }
    }
}

// One bit of 256 codes: bit k of byte l is that of code 32 k + l.
static void pack_bits(const uint8_t *codes, int shift, uint8_t *packed) {
    for (int l = 0; l < 32; l += 1) {
        packed[l] = 0;
        for (int k = 0; k < 8; k += 1) { packed[l] |= (uint8_t)((codes[32 * k + l] >> shift & 1) << k); }
    }
}

// Nibbles of 256 codes: byte l of quarter h has code 64 h + l in the lower half, code 64 h + 32 + l in the upper half.
static void pack_long_nibbles(const uint8_t *codes, uint8_t *packed) {
    for (int j = 0; j < SUPER / 2; j += 1) {
        const uint8_t *from = codes + j / 32 * 64 + j % 32;
        packed[j] = (uint8_t)((from[0] & 15) | (from[32] & 15) << 4);
    }
}

// Eight sub-scales and mins of 6 bits in 12 bytes.
static void pack_scales_and_mins(const uint8_t *scales, const uint8_t *mins, uint8_t *packed) {
    for (int p = 0; p < 4; p += 1) {
        packed[p] = (uint8_t)(scales[p] | scales[p + 4] >> 4 << 6);
        packed[p + 4] = (uint8_t)(mins[p] | mins[p + 4] >> 4 << 6);
        packed[p + 8] = (uint8_t)((scales[p + 4] & 15) | (mins[p + 4] & 15) << 4);
    }
}

static void pack_q2_k(const struct row_results *row, uint8_t *block) {
    for (int p = 0; p < 16; p += 1) { block[p] = (uint8_t)(row->scales[p] | row->mins[p] << 4); }
    pack_pairs(row->codes, 0, block + 16);
    memcpy(block + 80, row->step, 2);
    memcpy(block + 82, row->offset, 2);
}

static void pack_q3_k(const struct row_results *row, uint8_t *block) {
    pack_bits(row->codes, 2, block);
    pack_pairs(row->codes, 0, block + 32);
    uint8_t *scales = block + 96;
    memset(scales, 0, 12);
    for (int p = 0; p < 16; p += 1) {
        uint8_t scale = (uint8_t)(row->scales[p] + 32);
        scales[p % 8] |= (uint8_t)((scale & 15) << p / 8 * 4);
        scales[8 + p % 4] |= (uint8_t)(scale >> 4 << p / 4 * 2);
    }
    memcpy(block + 108, row->step, 2);
}

static void pack_q4_k(const struct row_results *row, uint8_t *block) {
    memcpy(block, row->step, 2);
    memcpy(block + 2, row->offset, 2);
    pack_scales_and_mins(row->scales, row->mins, block + 4);
    pack_long_nibbles(row->codes, block + 16);
}

static void pack_q5_k(const struct row_results *row, uint8_t *block) {
    memcpy(block, row->step, 2);
    memcpy(block + 2, row->offset, 2);
    pack_scales_and_mins(row->scales, row->mins, block + 4);
    pack_bits(row->codes, 4, block + 16);
    pack_long_nibbles(row->codes, block + 48);
}

static void pack_q6_k(const struct row_results *row, uint8_t *block) {
    for (int j = 0; j < SUPER / 2; j += 1) {
        const uint8_t *from = row->codes + j / 64 * 128 + j % 64;
        block[j] = (uint8_t)((from[0] & 15) | (from[64] & 15) << 4);
    }
    pack_pairs(row->codes, 4, block + 128);
    memcpy(block + 192, row->scales, 16);
    memcpy(block + 208, row->step, 2);
}

static void pack_iq4_xs(const struct row_results *row, uint8_t *block) {
    memcpy(block, row->step, 2);
    memset(block + 2, 0, 6);
    for (int p = 0; p < 8; p += 1) {
        uint8_t scale = (uint8_t)(row->scales[p] + 32);
        block[2 + p / 4] |= (uint8_t)(scale >> 4 << p % 4 * 2);
        block[4 + p / 2] |= (uint8_t)((scale & 15) << p % 2 * 4);
        pack_nibbles(row->codes + SMALL * p, block + 8 + SMALL / 2 * p);
    }
}

static void pack_small(int32_t type, const struct row_results *row, uint8_t *block) {
    memcpy(block, row->step, 2);
    block += 2;
    if (type == 8) {
        memcpy(block, row->codes, SMALL);
        return;
    }
    if (type == 3 || type == 7) {
        memcpy(block, row->offset, 2);
        block += 2;
    }
    if (type == 6 || type == 7) {
        pack_fifth_bits(row->codes, block);
        block += SMALL / 8;
    }
    pack_nibbles(row->codes, block);
}

int32_t ingot_feedback_pack(const struct ingot_feedback_blocks *results, uint8_t *blocks, size_t block_stride) {
    int32_t type = results->type;
    int has_offset = type == 3 || type == 7 || type == 10 || type == 12 || type == 13;
    int is_super = (type >= 10 && type <= 14) || type == 23;
    int is_small = type == 2 || type == 3 || (type >= 6 && type <= 8) || type == 20;
    if (!is_super && !is_small) { return INGOT_BLOCKS_UNKNOWN; }
    size_t parts = type == 10 || type == 11 || type == 14 ? 16 : 8;
    struct row_results rows[TILE];
    for (size_t first = 0; first < results->rows; first += TILE) {
        memset(rows, 0, sizeof rows);
        for (size_t j = 0; j < results->columns; j += 1) {
            for (size_t r = 0; r < TILE; r += 1) { rows[r].codes[j] = results->codes[j * results->rows + first + r]; }
        }
        for (size_t p = 0; is_super && p < parts; p += 1) {
            for (size_t r = 0; r < TILE; r += 1) {
                rows[r].scales[p] = (uint8_t)results->scales[p * results->rows + first + r];
                if (has_offset) { rows[r].mins[p] = results->mins[p * results->rows + first + r]; }
            }
        }
        for (size_t r = 0; r < TILE; r += 1) {
            uint8_t *block = blocks + (first + r) * block_stride;
            ingot_narrow(1, results->steps + first + r, rows[r].step, 1);
            if (has_offset) { ingot_narrow(1, results->offsets + first + r, rows[r].offset, 1); }
            switch (type) {
            case 10: pack_q2_k(&rows[r], block); break;
            case 11: pack_q3_k(&rows[r], block); break;
            case 12: pack_q4_k(&rows[r], block); break;
            case 13: pack_q5_k(&rows[r], block); break;
            case 14: pack_q6_k(&rows[r], block); break;
            case 23: pack_iq4_xs(&rows[r], block); break;
            default: pack_small(type, &rows[r], block); break;
            }
        }
    }
    return INGOT_BLOCKS_OK;
}
