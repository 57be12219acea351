// Decodes rANS-coded trellis chunks to weights (Specs/rans.md). For all input bytes, reads and writes stay in their buffers: a
// state stays in its range, so a slot is below 4096; contexts come from checked indices; words are counted for each row.

#ifndef INGOT_RANS_DECODE_H
#define INGOT_RANS_DECODE_H

#include "../trellis/code.h"
#include "lanes.h"
#include "plan.h"

struct rans_reader {
    const uint8_t *words, *words_end;
    const uint8_t *escapes, *escapes_end;
    uint8_t *tail;  // a copy of the last words, with zeros behind them
    int32_t in_tail, failed;
};

enum { RANS_TAIL = 4 * 2 * RANS_LANES };

// Makes one word per lane readable. The last words are read from a copy with zeros behind it.
INLINE void rans_reserve(struct rans_reader *reader) {
    ptrdiff_t left = reader->words_end - reader->words;
    if (__builtin_expect(left < 2 * RANS_LANES, 0)) {
        if (left < 0) {
            reader->failed = 1;
            left = 0;
        }
        if (!reader->in_tail || reader->failed) {
            uint8_t copy[RANS_TAIL] = {0};
            if (left > 0) { memcpy(copy, reader->words, (size_t)left); }
            memcpy(reader->tail, copy, RANS_TAIL);
            reader->words = reader->tail;
            reader->words_end = reader->tail + left;
            reader->in_tail = 1;
        }
    }
}

INLINE i32xR rans_read_escapes(i32xR symbols, uint32_t mask, struct rans_reader *reader) {
    int32_t lanes[RANS_WIDTH];
    STORE(lanes, symbols);
    for (; mask != 0; mask &= mask - 1) {
        if (reader->escapes == reader->escapes_end) {
            reader->failed = 1;
            break;
        }
        lanes[__builtin_ctz(mask)] = (int8_t)*reader->escapes;
        reader->escapes += 1;
    }
    return LOAD(i32xR, lanes);
}

// Decodes one symbol for each active lane of a vector. `bases` are the offsets of the contexts' tables.
INLINE i32xR rans_read(
    const uint32_t *tables, u32xR bases, u32xR *state, i32xR active, struct rans_reader *reader) {
    u32xR x = *state;
    u32xR entry = rans_gather(tables, bases + (x & (uint32_t)(RANS_TOTAL - 1)));
    i32xR symbols = (i32xR)entry >> 25;
    u32xR moved = (entry >> RANS_BITS & 0x1fffu) * (x >> RANS_BITS) + (entry & (uint32_t)(RANS_TOTAL - 1));
    *state = rans_refill(active ? moved : x, active, &reader->words);
    uint32_t escaped = rans_mask((i32xR)(symbols == RANS_ESCAPE) & active);
    if (__builtin_expect(escaped != 0, 0)) { symbols = rans_read_escapes(symbols, escaped, reader); }
    return symbols;
}

struct rans_band {
    size_t rows, width;
    const uint32_t *tables;
    const uint32_t *bases;      // 32 offsets of tables for each row index
    const int8_t *row_indices;
    const uint8_t *low;         // low bits of the symbols; null if there are none
    size_t low_stride;
    int32_t low_bits;
    uint32_t from_state, from_symbol;
    float step;
    float *weights;
    size_t stride;
};

INLINE void rans_decode_band(struct rans_band band, int whole, u32xR *states, struct rans_reader *shared) {
    struct rans_reader reader = *shared;
    u32xR x[RANS_VECTORS], trellis[RANS_VECTORS];
    i32xR active[RANS_VECTORS];
    for (int v = 0; v < RANS_VECTORS; v += 1) {
        x[v] = states[v];
        trellis[v] = 0;
        active[v] = whole ? (i32xR)-1 : rans_active(v, band.width);
    }
    for (size_t row = 0; row < band.rows; row += 1) {
        const uint32_t *bases = band.bases + (band.row_indices[row] + RANS_LARGEST_INDEX) * RANS_LANES;
        float padded[RANS_LANES], *weights = whole ? band.weights + row * band.stride : padded;
        rans_reserve(&reader);
#pragma clang loop unroll(full)
        for (int v = 0; v < RANS_VECTORS; v += 1) {
            u32xR odd = trellis[v] & 1u;
            u32xR base = LOAD(u32xR, bases + v * RANS_WIDTH) + (odd << RANS_BITS);
            i32xR k = rans_read(band.tables, base, &x[v], active[v], &reader);
            if (band.low) {
                u8xR low = LOAD(u8xR, band.low + row * band.low_stride + v * RANS_WIDTH);
                k = (i32xR)((u32xR)k << (uint32_t)band.low_bits) | CONVERT(i32xR, low);
            }
            u32xR symbol_odd = (u32xR)k & 1u;
            i32xR level = k + k + (i32xR)odd;
            trellis[v] = trellis[v] >> 1 ^ (-odd & band.from_state) ^ (-symbol_odd & band.from_symbol);
            STORE(weights + v * RANS_WIDTH, CONVERT(f32xR, level) * band.step);
        }
        if (!whole) { memcpy(band.weights + row * band.stride, padded, band.width * sizeof(float)); }
    }
    for (int v = 0; v < RANS_VECTORS; v += 1) { states[v] = x[v]; }
    *shared = reader;
}

// Decodes row or column indices, 32 at a time. All have one context.
INLINE void rans_decode_indices(
    int8_t *indices, size_t n, const uint32_t *table, u32xR *states, struct rans_reader *reader) {
    for (size_t start = 0; start < n; start += RANS_LANES) {
        size_t width = n - start < RANS_LANES ? n - start : RANS_LANES;
        int32_t values[RANS_LANES];
        rans_reserve(reader);
        for (int v = 0; v < RANS_VECTORS; v += 1) {
            i32xR read = rans_read(table, (u32xR)0u, &states[v], rans_active(v, width), reader);
            STORE(values + v * RANS_WIDTH, read);
        }
        for (size_t i = 0; i < width; i += 1) { indices[start + i] = (int8_t)values[i]; }
    }
}

static int32_t rans_decode(
    const uint8_t *bytes, size_t count, struct ingot_chunk_shape shape, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, size_t stride, uint8_t *scratch) {
    size_t rows = shape.rows, columns = shape.columns;
    struct rans_plan plan;
    int32_t status = rans_plan(bytes, count, rule.low_bits, &plan);
    if (status != INGOT_RANS_OK) { return status; }
    uint32_t *tables = (uint32_t *)(void *)scratch;
    int8_t *row_indices = (int8_t *)(scratch + sizeof(uint32_t) * RANS_TOTAL * RANS_MAX_CONTEXTS);
    int8_t *column_indices = row_indices + rows;
    for (int32_t context = 0; context < plan.contexts; context += 1) {
        rans_decoder_table(&plan.frequencies[context], tables + context * RANS_TOTAL);
    }

    uint8_t tail[RANS_TAIL];
    struct rans_reader reader = {plan.words, bytes + count, plan.escapes, plan.words, tail, 0, 0};
    u32xR states[RANS_VECTORS];
    for (int v = 0; v < RANS_VECTORS; v += 1) {
        states[v] = LOAD(u32xR, plan.states + v * (int)sizeof(u32xR));
        if (rans_mask((i32xR)((i32xR)states[v] < RANS_LOW)) != 0) { return INGOT_RANS_BAD_STATE; }
    }
    int32_t classes = plan.classes.count;
    memset(row_indices, 0, rows + columns);
    int8_t least = 0, largest = 0;
    if (classes > 1) {
        rans_decode_indices(row_indices, rows, tables + 2 * classes * RANS_TOTAL, states, &reader);
        rans_decode_indices(column_indices, columns, tables + (2 * classes + 1) * RANS_TOTAL, states, &reader);
        reader.failed |= rans_sum_steps(row_indices, rows, plan.classes.row_steps);
        reader.failed |= rans_sum_steps(column_indices, columns, plan.classes.column_steps);
        rans_extent(row_indices, rows, &least, &largest);
    }
    struct trellis_code code = trellis_code(rule.states);
    uint32_t bases[RANS_INDICES * RANS_LANES];
    for (size_t first = 0; first < columns && !reader.failed; first += RANS_LANES) {
        size_t width = columns - first < RANS_LANES ? columns - first : RANS_LANES;
        for (int32_t index = least; index <= largest; index += 1) {
            for (size_t i = 0; i < RANS_LANES; i += 1) {
                int32_t column_index = i < width ? column_indices[first + i] : 0;
                uint32_t class = (uint32_t)rans_class(plan.classes, index, column_index);
                bases[(index + RANS_LARGEST_INDEX) * RANS_LANES + (int)i] = 2 * class * RANS_TOTAL;
            }
        }
        const uint8_t *band_low = 0;
        size_t strip = first / STRIP * STRIP, left = columns - strip;
        if (rule.low_bits > 0) { band_low = low + strip * rows + first % STRIP; }
        struct rans_band band = {
            rows, width, tables, bases, row_indices, band_low,
            left < STRIP ? left : STRIP, rule.low_bits, (uint32_t)code.from_state,
            (uint32_t)code.from_symbol, step, weights + first, stride};
        if (width == RANS_LANES) {
            rans_decode_band(band, 1, states, &reader);
        } else {
            rans_decode_band(band, 0, states, &reader);
        }
    }
    if (reader.failed || reader.words != reader.words_end || reader.escapes != reader.escapes_end) {
        return INGOT_RANS_BAD_LENGTH;
    }
    for (int v = 0; v < RANS_VECTORS; v += 1) {
        if (rans_mask((i32xR)(states[v] != (uint32_t)RANS_LOW)) != 0) { return INGOT_RANS_BAD_END; }
    }
    return INGOT_RANS_OK;
}

#endif
