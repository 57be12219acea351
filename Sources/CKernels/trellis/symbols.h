// Writes the symbols of a strip to streams, and restores weights from streams (Specs/trellis.md, "Symbols").

#ifndef INGOT_TRELLIS_SYMBOLS_H
#define INGOT_TRELLIS_SYMBOLS_H

#include "../common/bytes64.h"
#include "code.h"
#include "streams.h"

INLINE uint64_t valid_columns(size_t width) { return width == 64 ? ~(uint64_t)0 : ((uint64_t)1 << width) - 1; }

static void trellis_route(
    const int16_t *symbols, const uint64_t *odd_masks, const uint8_t *row_classes, size_t rows, size_t width,
    struct ingot_trellis_alphabet alphabet, struct ingot_trellis_sinks *sinks) {
    const int32_t limit = alphabet.limit, low_bits = alphabet.low_bits;
    uint64_t valid = valid_columns(width);
    uint8_t *escapes = sinks->escapes, *low = sinks->low;
    int whole = limit == 127;
    for (size_t row = 0; row < rows; row += 1) {
        i16x64 symbol = LOAD(i16x64, symbols + row * STRIP);
        if (low_bits > 0) {
            STORE(low, CONVERT(u8x64, symbol & (int16_t)((1 << low_bits) - 1)));
            low += width;
            symbol = symbol >> (int16_t)low_bits;
        }
        i8x64 narrow = CONVERT(i8x64, symbol);
        u8x64 code = (u8x64)(narrow + (int8_t)limit);
        if (!whole) {
            u8x64 outside = code > (uint8_t)(2 * limit) ? (u8x64)(uint8_t)255 : (u8x64)(uint8_t)0;
            code = outside != (uint8_t)0 ? (u8x64)(uint8_t)(2 * limit + 1) : code;
            uint64_t escaped = mask64(outside) & valid;
            if (escaped != 0) {
                int8_t all[STRIP];
                STORE(all, narrow);
                for (; escaped != 0; escaped &= escaped - 1) {
                    *escapes = (uint8_t)all[__builtin_ctzll(escaped)];
                    escapes += 1;
                }
            }
        }
        uint64_t odd = odd_masks[row] & valid;
        uint8_t **pair = sinks->streams + 2 * (row_classes ? row_classes[row] : 0);
        split64(code, odd_masks[row] & valid, pair[0], pair[1]);
        size_t ones = (size_t)__builtin_popcountll(odd);
        pair[0] += width - ones;
        pair[1] += ones;
    }
    sinks->escapes = escapes;
    sinks->low = low;
}

INLINE void store_row(i16x64 level, float step, float *weights, size_t width) {
    float all[STRIP];
    float *target = width == STRIP ? weights : all;
    int16_t levels[STRIP];
    STORE(levels, level);
    for (size_t column = 0; column < STRIP; column += LANES) {
        i32x16 wide = CONVERT(i32x16, LOAD(i16x16, levels + column));
        STORE(target + column, CONVERT(f32x16, wide) * step);
    }
    if (width < STRIP) { memcpy(weights, all, width * sizeof(float)); }
}

// Restores the weights of a strip from its symbols, as the decoder does.
static void trellis_restore(
    const int16_t *symbols, const uint64_t *odd_masks, size_t rows, size_t width, float step, float *weights,
    size_t stride) {
    for (size_t row = 0; row < rows; row += 1) {
        boolx64 bits = __builtin_bit_cast(boolx64, odd_masks[row]);
        i16x64 odd = __builtin_convertvector(bits, i16x64) & (int16_t)1;
        store_row((LOAD(i16x64, symbols + row * STRIP) << (int16_t)1) + odd, step, weights + row * stride, width);
    }
}

INLINE int32_t decode_strip(
    int32_t states, int escapable, int with_low, const uint8_t *row_classes, size_t rows, size_t width, int32_t limit,
    int32_t low_bits, float step, struct ingot_trellis_sources *sources, float *weights, size_t stride) {
    struct trellis_code code = trellis_code(states);
    uint64_t valid = valid_columns(width);
    u8x64 state = (uint8_t)0;
    const uint8_t *escapes = sources->escapes, *low = sources->low;
    for (size_t row = 0; row < rows; row += 1) {
        u8x64 odd = state & (uint8_t)1;
        uint64_t mask = mask64(odd) & valid;
        size_t ones = (size_t)__builtin_popcountll(mask);
        size_t stream = row_classes ? 2 * (size_t)row_classes[row] : 0;
        const uint8_t *even_at = sources->streams[stream], *odd_at = sources->streams[stream + 1];
        if ((size_t)(sources->ends[stream] - even_at) < width - ones
            || (size_t)(sources->ends[stream + 1] - odd_at) < ones) {
            return INGOT_TRELLIS_MISCOUNT;
        }
        u8x64 symbol = merge64(even_at, odd_at, mask);
        sources->streams[stream] = even_at + (width - ones);
        sources->streams[stream + 1] = odd_at + ones;
        u8x64 high = symbol - (uint8_t)limit;
        if (escapable) {
            u8x64 is_escape = symbol == (uint8_t)(2 * limit + 1) ? (u8x64)(uint8_t)255 : (u8x64)(uint8_t)0;
            uint64_t escaped = mask64(is_escape) & valid;
            if (escaped != 0) {
                size_t count = (size_t)__builtin_popcountll(escaped);
                if ((size_t)(sources->escapes_end - escapes) < count) { return INGOT_TRELLIS_MISCOUNT; }
#if LEVEL_HAS_EXPAND
                high = (u8x64)_mm512_mask_expand_epi8((__m512i)high, escaped, _mm512_loadu_si512(escapes));
                escapes += count;
#else
                uint8_t all[STRIP];
                STORE(all, high);
                for (; escaped != 0; escaped &= escaped - 1) {
                    all[__builtin_ctzll(escaped)] = *escapes;
                    escapes += 1;
                }
                high = LOAD(u8x64, all);
#endif
            }
        }
        i16x64 k = CONVERT(i16x64, (i8x64)high);
        u8x64 parity = high & (uint8_t)1;
        if (with_low) {
            u8x64 parts = LOAD(u8x64, low);
            low += width;
            k = k << (int16_t)low_bits | CONVERT(i16x64, parts);
            parity = parts & (uint8_t)1;
        }
        store_row((k << (int16_t)1) + CONVERT(i16x64, odd), step, weights + row * stride, width);
        state = state >> (uint8_t)1 ^ odd * (uint8_t)code.from_state ^ parity * (uint8_t)code.from_symbol;
    }
    sources->escapes = escapes;
    sources->low = low;
    return INGOT_TRELLIS_OK;
}

INLINE int32_t decode_code(
    int32_t states, const uint8_t *row_classes, size_t rows, size_t width, struct ingot_trellis_alphabet alphabet,
    float step, struct ingot_trellis_sources *sources, float *weights, size_t stride) {
    int32_t limit = alphabet.limit, low_bits = alphabet.low_bits;
    if (low_bits > 0) {
        return decode_strip(states, 0, 1, row_classes, rows, width, 127, low_bits, step, sources, weights, stride);
    }
    if (limit == 127) {
        return decode_strip(states, 0, 0, row_classes, rows, width, 127, 0, step, sources, weights, stride);
    }
    return decode_strip(states, 1, 0, row_classes, rows, width, limit, 0, step, sources, weights, stride);
}

static int32_t trellis_decode(
    int32_t states, const uint8_t *row_classes, size_t rows, size_t width, struct ingot_trellis_alphabet alphabet,
    float step, struct ingot_trellis_sources *sources, float *weights, size_t stride) {
    switch (states) {
    case 16: return decode_code(16, row_classes, rows, width, alphabet, step, sources, weights, stride);
    case 32: return decode_code(32, row_classes, rows, width, alphabet, step, sources, weights, stride);
    default: return decode_code(8, row_classes, rows, width, alphabet, step, sources, weights, stride);
    }
}

// Three symbols below 6 per byte; the first is the least significant digit.

static void pack_thirds(const uint8_t *symbols, uint8_t *packed, size_t n) {
    size_t whole = n / 3;
    for (size_t i = 0; i < whole; i += 1) {
        packed[i] = (uint8_t)(symbols[3 * i] + 6 * symbols[3 * i + 1] + 36 * symbols[3 * i + 2]);
    }
    if (n % 3 == 1) { packed[whole] = symbols[3 * whole]; }
    if (n % 3 == 2) { packed[whole] = (uint8_t)(symbols[3 * whole] + 6 * symbols[3 * whole + 1]); }
}

// Unpacks n bytes to 3 * n symbols. Returns 0, or 1 if a byte is above 215.
static int32_t unpack_thirds(const uint8_t *packed, uint8_t *symbols, size_t n) {
    uint8_t largest = 0;
    for (size_t i = 0; i < n; i += 1) {
        unsigned byte = packed[i];
        // byte / 36 and rest / 6: exact below 216 and below 36.
        unsigned third = byte * 57 >> 11;
        unsigned rest = byte - third * 36;
        unsigned second = rest * 43 >> 8;
        symbols[3 * i] = (uint8_t)(rest - second * 6);
        symbols[3 * i + 1] = (uint8_t)second;
        symbols[3 * i + 2] = (uint8_t)third;
        largest = packed[i] > largest ? packed[i] : largest;
    }
    return largest > 215;
}

#endif
