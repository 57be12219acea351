// Classes of weights, chosen from the magnitudes of their rows and columns. Each has its own contexts (Specs/rans.md, section 7).

#ifndef INGOT_RANS_CLASSES_H
#define INGOT_RANS_CLASSES_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"

struct rans_classes {
    int32_t count;  // number of classes
    int32_t bias;   // class = clamp(row index + column index + bias, 0, count - 1)
    int32_t row_steps, column_steps;  // 1 if indices are coded as differences from the one before
    int32_t typical, unit;  // 256 * log2 of the mean magnitude at index sum 0, and its increase per index
};
/// A magnitude that symbols of the class rarely reach: about five standard deviations.
int32_t rans_far_magnitude(struct rans_classes classes, int32_t class);

/// Chooses indices and the number of classes. The logarithms are 256 * log2 of sums of magnitudes, as rans_logarithms makes them.
/// An index is a step of unit/256 octave. A class must save more bits than class_bits, its cost.
struct rans_classes rans_choose_classes(
    const uint32_t *row_logarithms, size_t rows, const uint32_t *column_logarithms, size_t columns, int32_t max_classes,
    int32_t unit, double class_bits, int8_t *row_indices, int8_t *column_indices);

/// rans_make_steps writes the difference of each index from the one before; the first is a difference from 0. rans_sum_steps
/// works in place: it adds the differences up if are_steps is 1, replaces indices outside -8...8 by 0, and returns 1 if there
/// was one. rans_extent finds the smallest and largest of n indices; n is at least 1.
void rans_make_steps(const int8_t *indices, size_t n, int8_t *steps);
int32_t rans_sum_steps(int8_t *values, size_t n, int32_t are_steps);
void rans_extent(const int8_t *indices, size_t n, int8_t *least, int8_t *largest);

static inline int32_t rans_class(struct rans_classes classes, int32_t row_index, int32_t column_index) {
    int32_t sum = row_index + column_index + classes.bias;
    return sum < 0 ? 0 : sum >= classes.count ? classes.count - 1 : sum;
}

#endif
