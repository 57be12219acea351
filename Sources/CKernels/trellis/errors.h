// The error sums of a chunk of levels, without the restored weights in memory.

#ifndef INGOT_TRELLIS_ERRORS_H
#define INGOT_TRELLIS_ERRORS_H

#include "../statistics/errors.h"
#include "symbols.h"

// Error sums of weights and restored weights, with the same bits as error_sums. Rows are added in order; the lanes continue from row to
// row. shape.columns is a multiple of 16.
static struct ingot_error_sums trellis_errors(
    const float *weights, const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    float step) {
    struct lane_sums sums = {0};
    for (size_t row = 0; row < shape.rows; row += 1) {
        const float *original = weights + row * shape.columns;
        for (size_t column = 0; column < shape.columns; column += STRIP) {
            size_t place = column / STRIP * shape.rows + row;
            boolx64 bits = __builtin_bit_cast(boolx64, odd_masks[place]);
            i16x64 odd = __builtin_convertvector(bits, i16x64) & (int16_t)1;
            float restored[STRIP];
            store_row((LOAD(i16x64, symbols + place * STRIP) << (int16_t)1) + odd, step, restored, STRIP);
            size_t left = shape.columns - column;
            add_lanes(original + column, restored, left < STRIP ? left : STRIP, &sums);
        }
    }
    return added_lanes(sums);
}

#endif
