// Trellis-coded quantization of one strip: up to 64 columns of a chunk, each with a trellis down the rows (Specs/trellis.md,
// "The encoder"). All decisions are made in integers, so they are the same on every instruction set.

#ifndef INGOT_TRELLIS_QUANTIZE_H
#define INGOT_TRELLIS_QUANTIZE_H

#include "../common/bytes64.h"
#include "code.h"

typedef int16_t i16xP __attribute__((ext_vector_type(LEVEL_PATHS)));
typedef int32_t i32xP __attribute__((ext_vector_type(LEVEL_PATHS)));
typedef uint8_t u8xP __attribute__((ext_vector_type(LEVEL_PATHS)));
typedef uint16_t u16xP __attribute__((ext_vector_type(LEVEL_PATHS)));

// A position is a weight in units of 2^-14 level. `positions` receives its low 16 bits: the position modulo 4 levels, which is all
// that the search needs. `floors` receives its floor in levels; the same buffer receives the symbols later.
INLINE int position_block(
    f32x16 weight, struct ingot_trellis_rule rule, uint16_t *positions, int16_t *floors) {
    f32x16 level = weight * rule.inverse_step;
    f32x16 size = magnitude(level) - rule.dead_zone;
    size = greater(size, (f32x16)0.0f) * rule.shrink;
    f32x16 largest = rule.farthest;
    i32x16 clamped = size > largest;
    size = lesser(size, largest);
    f32x16 scaled = (f32x16)((u32x16)(size * 16384.0f) | ((u32x16)level & 0x80000000u));
    i32x16 position = CONVERT(i32x16, scaled);
    STORE(positions, CONVERT(u16x16, (u32x16)position));
    STORE(floors, CONVERT(i16x16, position >> 14));
    return __builtin_reduce_or(clamped) != 0;
}

INLINE int strip_positions(
    const float *weights, size_t stride, size_t rows, size_t width, struct ingot_trellis_rule rule,
    uint16_t *positions, int16_t *floors) {
    int clamped = 0;
    for (size_t row = 0; row < rows; row += 1) {
        const float *from = weights + row * stride;
        float padded[STRIP];
        if (width < STRIP) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, from, width * sizeof(float));
            from = padded;
        }
        for (size_t column = 0; column < STRIP; column += LANES) {
            clamped |= position_block(
                LOAD(f32x16, from + column), rule, positions + row * STRIP + column,
                floors + row * STRIP + column);
        }
    }
    return clamped;
}

// Squared distance from a position to the nearest level with a residue modulo 4, in units of 2^-10 level^2: 0 to 4096.
INLINE i16xP residue_cost(u16xP position, int residue) {
    i16xP distance = (i16xP)(position - (uint16_t)(residue << 14));
    i32xP wide = CONVERT(i32xP, distance);
    return CONVERT(i16xP, wide * wide >> 16) >> (int16_t)2;
}

// One step of the search, for LEVEL_PATHS columns: updates the metrics of the states by one row. Bit s of a column's decisions is
// the parity of the symbol on the best path into state s.
INLINE void viterbi_step(int states, u16xP position, i16xP *metrics, void *decisions) {
    struct trellis_code code = trellis_code(states);
    i16xP costs[4], next[INGOT_TRELLIS_MAX_STATES];
    for (int residue = 0; residue < 4; residue += 1) { costs[residue] = residue_cost(position, residue); }
    u16xP low = (uint16_t)0, high = (uint16_t)0;
#pragma clang loop unroll(full)
    for (int state = 0; state < states; state += 1) {
        int odd = state >> (code.state_bits - 1);
        int straight = state ^ (odd ? code.from_state : 0);
        int crossed = straight ^ code.from_symbol;
        // Saturation keeps unreachable states at the largest metric.
        i16xP even_way = __builtin_elementwise_add_sat(metrics[2 * straight + odd], costs[odd]);
        i16xP odd_way = __builtin_elementwise_add_sat(metrics[2 * crossed + odd], costs[odd + 2]);
        u16xP taken = (u16xP)(odd_way < even_way);
        next[state] = __builtin_elementwise_min(even_way, odd_way);
        if (state < 16) { low |= taken & (uint16_t)(1 << state); } else { high |= taken & (uint16_t)(1 << (state - 16)); }
    }
#pragma clang loop unroll(full)
    for (int state = 0; state < states; state += 1) { metrics[state] = next[state]; }
    if (states == 8) {
        STORE((uint8_t *)decisions, CONVERT(u8xP, low));
    } else if (states == 16) {
        STORE((uint16_t *)decisions, low);
    } else {
        STORE((uint16_t *)decisions, low);
        STORE((uint16_t *)decisions + STRIP, high);
    }
}

// Every 16 rows the least metric is moved back to the bottom of the 16-bit range. Metrics grow by at most 1024 per row and differ
// by at most 5 * 4096.
enum { ROWS_PER_RESCALE = 16 };

INLINE void viterbi(
    int states, size_t rows, const uint16_t *positions, uint8_t *decisions, uint8_t *final_states) {
    size_t decision_bytes = (size_t)states / 8;
    for (size_t first = 0; first < STRIP; first += LEVEL_PATHS) {
        i16xP metrics[INGOT_TRELLIS_MAX_STATES];
        for (int state = 0; state < states; state += 1) { metrics[state] = (int16_t)32767; }
        metrics[0] = (int16_t)-32768;
        // With 32 states, the low halves of a row's decisions come first, then the high halves.
        size_t unit = decision_bytes > 2 ? 2 : decision_bytes;
        for (size_t start = 0; start < rows; start += ROWS_PER_RESCALE) {
            size_t end = rows - start < ROWS_PER_RESCALE ? rows : start + ROWS_PER_RESCALE;
            for (size_t row = start; row < end; row += 1) {
                viterbi_step(
                    states, LOAD(u16xP, positions + row * STRIP + first), metrics,
                    decisions + row * STRIP * decision_bytes + first * unit);
            }
            if (end == rows) { break; }
            i16xP least = metrics[0];
            for (int state = 1; state < states; state += 1) { least = __builtin_elementwise_min(least, metrics[state]); }
            least += (int16_t)-32768;
            for (int state = 0; state < states; state += 1) { metrics[state] -= least; }
        }
        i16xP least = metrics[0];
        u8xP best = (uint8_t)0;
        for (int state = 1; state < states; state += 1) {
            u8xP lower = CONVERT(u8xP, metrics[state] < least);
            best = lower ? (u8xP)(uint8_t)state : best;
            least = __builtin_elementwise_min(least, metrics[state]);
        }
        STORE(final_states + first, best);
    }
}

// Follows the best paths back to the first row, and replaces floors by symbols.
INLINE void trace_back(
    int states, size_t rows, const uint8_t *decisions, const uint8_t *final_states, int16_t *symbols,
    uint64_t *odd_masks) {
    struct trellis_code code = trellis_code(states);
    u8x64 state = LOAD(u8x64, final_states);
    for (size_t row = rows; row-- > 0;) {
        u8x64 parity;
        if (states == 8) {
            u8x64 decided = LOAD(u8x64, decisions + row * STRIP);
            parity = (decided & power64(state)) != (uint8_t)0 ? (u8x64)(uint8_t)1 : (u8x64)(uint8_t)0;
        } else {
            u16x64 place = CONVERT(u16x64, state);
            const uint16_t *halves = (const uint16_t *)decisions + row * STRIP * ((size_t)states / 16);
            u16x64 decided = LOAD(u16x64, halves);
            if (states == 32) { decided = place > (uint16_t)15 ? LOAD(u16x64, halves + STRIP) : decided; }
            parity = CONVERT(u8x64, decided >> (place & (uint16_t)15) & (uint16_t)1);
        }
        u8x64 odd = state >> (uint8_t)(code.state_bits - 1);
        i16x64 below = LOAD(i16x64, symbols + row * STRIP);
        i16x64 residue = CONVERT(i16x64, odd | parity << (uint8_t)1);
        // Exactly one of the four levels from floor - 1 to floor + 2 has the residue.
        i16x64 level = below - (int16_t)1 + ((residue - below + (int16_t)1) & (int16_t)3);
        STORE(symbols + row * STRIP, level >> (int16_t)1);
        odd_masks[row] = mask64(odd);
        u8x64 upper = state ^ odd * (uint8_t)code.from_state ^ parity * (uint8_t)code.from_symbol;
        state = upper << (uint8_t)1 | odd;
    }
}

INLINE int quantize_strip(
    int states, const float *weights, size_t stride, size_t rows, size_t width, struct ingot_trellis_rule rule,
    int16_t *symbols, uint64_t *odd_masks, uint8_t *scratch) {
    uint16_t *positions = (uint16_t *)(void *)scratch;
    uint8_t *decisions = scratch + rows * STRIP * sizeof(uint16_t);
    uint8_t final_states[STRIP];
    int clamped = strip_positions(weights, stride, rows, width, rule, positions, symbols);
    viterbi(states, rows, positions, decisions, final_states);
    trace_back(states, rows, decisions, final_states, symbols, odd_masks);
    return clamped;
}

static int32_t trellis_quantize(
    const float *weights, size_t stride, size_t rows, size_t width, struct ingot_trellis_rule rule,
    int16_t *symbols, uint64_t *odd_masks, uint8_t *scratch) {
    switch (rule.states) {
    case 16: return quantize_strip(16, weights, stride, rows, width, rule, symbols, odd_masks, scratch);
    case 32: return quantize_strip(32, weights, stride, rows, width, rule, symbols, odd_masks, scratch);
    default: return quantize_strip(8, weights, stride, rows, width, rule, symbols, odd_masks, scratch);
    }
}

#endif
