// Classes of a chunk's rows and columns, which have contexts of their own (Specs/rans.md, section 7).

#ifndef INGOT_RANS_CLASSES_H
#define INGOT_RANS_CLASSES_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"

struct rans_classes {
    int32_t count;  // classes
    int32_t bias;   // class = clamp(row index + column index + bias, 0, count - 1)
    int32_t row_steps, column_steps;  // whether indices are coded as differences from the one before
    int32_t typical, unit;  // 256 * log2 of the mean magnitude where the indices' sum is 0, and its rise by index
};
/// A magnitude hardly ever reached in the class: about five standard deviations.
int32_t rans_far_magnitude(struct rans_classes classes, int32_t class);

/// Chooses indices from logarithms of sums of magnitudes, in steps of unit/256 octave, and as many classes as pay: another one
/// costs class_bits.
struct rans_classes rans_choose_classes(
    const uint32_t *row_logarithms, size_t rows, const uint32_t *column_logarithms, size_t columns, int32_t max_classes,
    int32_t unit, double class_bits, int8_t *row_indices, int8_t *column_indices);

/// Each value in place of its difference from the one before, or the other way round; returns nonzero where a sum is not an
/// index (it becomes 0).
void rans_make_steps(const int8_t *indices, size_t n, int8_t *steps);
int32_t rans_sum_steps(int8_t *values, size_t n, int32_t are_steps);
void rans_extent(const int8_t *indices, size_t n, int8_t *least, int8_t *largest);

static inline int32_t rans_class(struct rans_classes classes, int32_t row_index, int32_t column_index) {
    int32_t sum = row_index + column_index + classes.bias;
    return sum < 0 ? 0 : sum >= classes.count ? classes.count - 1 : sum;
}

#endif
