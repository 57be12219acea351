// The functions of error feedback (Specs/trellis.md, "Error feedback").

#include "../levels/dispatch.h"

void ingot_apply_steps(
    float *levels, struct ingot_chunk_shape shape, const float *row_steps, const float *column_scales) {
    ingot_active_table()->apply_steps(levels, shape, row_steps, column_scales);
}

void ingot_feedback_product(
    float *targets, const float *errors, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns) {
    ingot_active_table()->feedback_product(
        targets, errors, rows, stride, factors, factor_stride, depth, columns);
}

void ingot_feedback_form(
    float *targets, const float *numbers, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns) {
    ingot_active_table()->feedback_form(targets, numbers, rows, stride, factors, factor_stride, depth, columns);
}

size_t ingot_feedback_scratch(size_t padded_rows, int32_t states) {
    return padded_rows * (4 * sizeof(int16_t) + sizeof(int16_t) + sizeof(float) + 1 + (size_t)states);
}

size_t ingot_feedback_panel(
    const struct ingot_feedback_panel *panel, uint8_t *scratch, struct ingot_feedback_patch *patches) {
    return ingot_active_table()->feedback_panel(panel, scratch, patches);
}

int32_t ingot_feedback_blocks(const struct ingot_feedback_blocks *blocks, void *scratch) {
    return ingot_active_table()->feedback_blocks(blocks, scratch);
}

double ingot_feedback_dot(const float *a, const float *b, size_t rows, size_t stride, size_t columns) {
    return ingot_active_table()->feedback_dot(a, b, rows, stride, columns);
}

int32_t ingot_feedback_factor(double *matrix, size_t count, size_t stride) {
    return ingot_active_table()->feedback_factor(matrix, count, stride);
}

// Squares of this many rows and columns stay in the first-level cache.
enum { TRANSPOSE_SQUARE = 32 };

void ingot_feedback_transpose(
    const float *from, size_t rows, size_t columns, size_t from_stride, float *to, size_t stride) {
    for (size_t top = 0; top < rows; top += TRANSPOSE_SQUARE) {
        size_t bottom = rows - top < TRANSPOSE_SQUARE ? rows : top + TRANSPOSE_SQUARE;
        for (size_t left = 0; left < columns; left += TRANSPOSE_SQUARE) {
            size_t right = columns - left < TRANSPOSE_SQUARE ? columns : left + TRANSPOSE_SQUARE;
            for (size_t column = left; column < right; column += 1) {
                for (size_t row = top; row < bottom; row += 1) {
                    to[column * stride + row] = from[row * from_stride + column];
                }
            }
        }
    }
}

enum { SOLVE_PANEL = 64 };

static void scale_column(float *column, size_t rows, float factor) {
    for (size_t row = 0; row < rows; row += 1) { column[row] *= factor; }
}

void ingot_feedback_solve(
    float *values, size_t rows, size_t stride, const float *lower, const float *upper, const float *inverse,
    size_t count) {
    const struct ingot_table *table = ingot_active_table();
    for (size_t end = count; end > 0;) {
        size_t first = (end - 1) / SOLVE_PANEL * SOLVE_PANEL;
        table->feedback_product(
            values + first * stride, values + end * stride, rows, stride, lower + end * count + first, count,
            count - end, end - first);
        for (size_t j = end; j-- > first;) {
            table->feedback_product(
                values + j * stride, values + (j + 1) * stride, rows, stride, lower + (j + 1) * count + j, count,
                end - 1 - j, 1);
            scale_column(values + j * stride, rows, inverse[j]);
        }
        end = first;
    }
    for (size_t first = 0; first < count; first += SOLVE_PANEL) {
        size_t end = count - first < SOLVE_PANEL ? count : first + SOLVE_PANEL;
        table->feedback_product(
            values + first * stride, values, rows, stride, upper + first, count, first, end - first);
        for (size_t j = first; j < end; j += 1) {
            table->feedback_product(
                values + j * stride, values + first * stride, rows, stride, upper + first * count + j, count,
                j - first, 1);
            scale_column(values + j * stride, rows, inverse[j]);
        }
    }
}
