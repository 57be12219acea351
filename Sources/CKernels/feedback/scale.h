// Steps of weights with scale bytes (Specs/trellis.md, "Scale bytes").

#ifndef INGOT_FEEDBACK_SCALE_H
#define INGOT_FEEDBACK_SCALE_H

#include "../common/lanes.h"

// Multiplies each element of a row-major chunk by its step: the row's step times the column's scale, rounded, then times the element,
// rounded.
static void apply_steps(
    float *levels, struct ingot_chunk_shape shape, const float *row_steps, const float *column_scales) {
    for (size_t row = 0; row < shape.rows; row += 1) {
        float *at = levels + row * shape.columns;
        float row_step = row_steps[row];
        size_t column = 0;
        for (; column + LANES <= shape.columns; column += LANES) {
            f32x16 step = LOAD(f32x16, column_scales + column) * row_step;
            STORE(at + column, LOAD(f32x16, at + column) * step);
        }
        for (; column < shape.columns; column += 1) {
            float step = column_scales[column] * row_step;
            at[column] = at[column] * step;
        }
    }
}

#endif
