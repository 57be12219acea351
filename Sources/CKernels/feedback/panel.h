// Quantizes a panel: up to 64 neighbouring columns of a band, one after the other, each with the errors of those before it
// (Specs/trellis.md, "Error feedback").

#ifndef INGOT_FEEDBACK_PANEL_H
#define INGOT_FEEDBACK_PANEL_H

#include "product.h"
#include "search.h"

// Inside a panel, errors of whole groups of this many columns are carried on by the product.
enum { PANEL_GROUP = 8 };

// A weight that the trellis cannot hold is stored as it is: rounded to the tensor's type, within its range.
INLINE float patched(int32_t format, float target) {
    float largest = largest_finite(format);
    float bounded = target > largest ? largest : target < -largest ? -largest : target;
    f32x16 all = bounded;
    return stored(format, all)[0];
}

// Levels, symbols, parities and errors of one column after its search. Returns the number of patches.
static size_t panel_finish(
    const struct ingot_feedback_panel *panel, size_t column, float shrink, int clamped, const int16_t *floors,
    const uint8_t *residues, float *restored_column, struct ingot_feedback_patch *patches) {
    const float *weights = panel->weights + column * panel->stride;
    float *targets = panel->targets + column * panel->stride;
    float *errors = panel->errors + column * panel->stride;
    size_t place = panel->first_column + column, found = 0;
    float scale = panel->column_scales[column], largest = largest_finite(panel->format);
    i32x16 beyond = 0;
    for (size_t row = 0; row < panel->padded_rows; row += LANES) {
        // 32 bits a lane: clang 21 keeps the 256-bit constant -1 in registers that vpcmpeqd cannot name.
        i32x16 residue = CONVERT(i32x16, LOAD(u8x16, residues + row));
        i32x16 below = CONVERT(i32x16, LOAD(i16x16, floors + row));
        i32x16 level = below - 1 + ((residue - below + 1) & 3);
        f32x16 step = LOAD(f32x16, panel->row_steps + row) * scale;
        f32x16 restored = CONVERT(f32x16, level) * step;
        beyond |= ~(magnitude(restored) <= largest);
        STORE(errors + row, LOAD(f32x16, weights + row) - restored);
        STORE(restored_column + row, restored);
        int16_t symbols[LANES];
        STORE(symbols, CONVERT(i16x16, level >> 1));
        size_t left = panel->rows - row, count = left < LANES ? left : LANES;
        for (size_t lane = 0; lane < count; lane += 1) {
            panel->symbols[(row + lane) * INGOT_TRELLIS_STRIP + place] = symbols[lane];
            panel->odd_masks[row + lane] |= (uint64_t)(residues[row + lane] & 1) << place;
        }
    }
    if (clamped || __builtin_reduce_or(beyond)) {
        float inverse_scale = panel->inverse_scales[column];
        for (size_t row = 0; row < panel->rows; row += 1) {
            float inverse = panel->inverse_row_steps[row] * inverse_scale, level = targets[row] * inverse;
            float size = (level < 0 ? -level : level) * shrink;
            int residue = residues[row], below = floors[row];
            int reached = below - 1 + ((residue - below + 1) & 3);
            float step = panel->row_steps[row] * scale, restored = (float)reached * step;
            int held = (restored < 0 ? -restored : restored) <= largest;
            if (!(size > panel->farthest) && held) { continue; }
            float value = patched(panel->format, targets[row]);
            errors[row] = weights[row] - value;
            restored_column[row] = value;
            patches[found] = (struct ingot_feedback_patch){(uint32_t)row, (uint32_t)place, value};
            found += 1;
        }
    }
    for (size_t row = panel->rows; row < panel->padded_rows; row += 1) {
        errors[row] = 0;
        restored_column[row] = 0;
    }
    memcpy(targets, restored_column, panel->padded_rows * sizeof(float));
    return found;
}

static size_t feedback_panel(
    const struct ingot_feedback_panel *panel, uint8_t *scratch, struct ingot_feedback_patch *patches) {
    size_t rows = panel->padded_rows, stride = panel->stride, found = 0;
    int16_t *costs = (int16_t *)(void *)scratch;
    int16_t *floors = costs + 4 * rows;
    float *restored = (float *)(void *)(floors + rows);
    uint8_t *residues = (uint8_t *)(restored + rows), *survivors = residues + rows;
    memset(residues, 0, rows);
    for (size_t group = 0; group < panel->columns; group += PANEL_GROUP) {
        size_t left = panel->columns - group, count = left < PANEL_GROUP ? left : PANEL_GROUP;
        feedback_product(
            panel->targets + group * stride, panel->errors, rows, stride, panel->coupling + group,
            panel->coupling_stride, group, count);
        for (size_t column = group; column < group + count; column += 1) {
            float *targets = panel->targets + column * stride;
            feedback_product(
                targets, panel->errors + group * stride, rows, stride,
                panel->coupling + group * panel->coupling_stride + column, panel->coupling_stride, column - group, 1);
            float shrink = column_shrink(
                targets, panel->rows, rows, panel->inverse_row_steps, panel->inverse_scales[column], panel->shrinkage);
            struct column_rule rule = {panel->inverse_scales[column], shrink, panel->farthest};
            int clamped = column_positions(targets, rows, panel->inverse_row_steps, rule, floors, costs);
            column_search(panel->states, panel->rows, costs, survivors, residues);
            found += panel_finish(panel, column, shrink, clamped, floors, residues, restored, patches + found);
        }
    }
    return found;
}

#endif
