// Chooses the classes of the rANS coder (Specs/rans.md, section 7).

#include "classes.h"

#include "logarithms.h"

#include <string.h>

// The encoder decides in doubles; a fused multiply-add would change its decisions.
#pragma clang fp contract(off)

// Computes the indices and their histogram. Returns the mean logarithm.
static int32_t choose_indices(
    const uint32_t *logarithms, size_t n, int32_t unit, int8_t *indices, uint32_t *histogram) {
    int64_t total = 0;
    for (size_t i = 0; i < n; i += 1) { total += (int32_t)logarithms[i]; }
    int32_t mean = (int32_t)(total / (int64_t)n);
    memset(histogram, 0, RANS_INDICES * sizeof *histogram);
    for (size_t i = 0; i < n; i += 1) {
        int32_t distance = (int32_t)logarithms[i] - mean;
        int32_t index = distance >= 0 ? (2 * distance + unit) / (2 * unit) : -((2 * -distance + unit) / (2 * unit));
        index = index < -RANS_LARGEST_INDEX ? -RANS_LARGEST_INDEX : index;
        index = index > RANS_LARGEST_INDEX ? RANS_LARGEST_INDEX : index;
        indices[i] = (int8_t)index;
        histogram[index + RANS_LARGEST_INDEX] += 1;
    }
    return mean;
}

static double entropy(const uint32_t *histogram, int size, double n) {
    double bits = 0;
    for (int i = 0; i < size; i += 1) {
        if (histogram[i] > 0) { bits += histogram[i] * rans_logarithm(n / histogram[i]); }
    }
    return bits;
}

void rans_make_steps(const int8_t *indices, size_t n, int8_t *steps) {
    int8_t before = 0;
    for (size_t i = 0; i < n; i += 1) {
        steps[i] = (int8_t)(indices[i] - before);
        before = indices[i];
    }
}

int32_t rans_sum_steps(int8_t *values, size_t n, int32_t are_steps) {
    int32_t bad = 0, before = 0;
    for (size_t i = 0; i < n; i += 1) {
        int32_t index = values[i] + (are_steps ? before : 0);
        if (index < -RANS_LARGEST_INDEX || index > RANS_LARGEST_INDEX) {
            bad = 1;
            index = 0;
        }
        values[i] = (int8_t)index;
        before = index;
    }
    return bad;
}

// The entropy of the indices in bits, as indices or as steps, whichever is less. Sets *steps to 1 for steps. Attention heads
// appear as runs of rows or columns of similar variance, where steps cost less.
static double cost_of_indices(const int8_t *indices, size_t n, const uint32_t *histogram, int32_t *steps) {
    uint32_t of_steps[2 * RANS_INDICES] = {0};
    int32_t before = 0;
    for (size_t i = 0; i < n; i += 1) {
        of_steps[indices[i] - before + RANS_INDICES] += 1;
        before = indices[i];
    }
    double plain = entropy(histogram, RANS_INDICES, (double)n);
    double stepped = entropy(of_steps, 2 * RANS_INDICES, (double)n);
    *steps = stepped < plain;
    return *steps ? stepped : plain;
}

// Bits that classes must save beyond their cost, because the estimate of their saving is too high.
enum { CLASSES_MARGIN = 400 };

struct rans_classes rans_choose_classes(
    const uint32_t *row_logarithms, size_t rows, const uint32_t *column_logarithms, size_t columns, int32_t max_classes,
    int32_t unit, double class_bits, int8_t *row_indices, int8_t *column_indices) {
    uint32_t row_histogram[RANS_INDICES], column_histogram[RANS_INDICES];
    int32_t typical = choose_indices(row_logarithms, rows, unit, row_indices, row_histogram);
    typical -= rans_logarithm256((uint32_t)columns);
    (void)choose_indices(column_logarithms, columns, unit, column_indices, column_histogram);
    enum { SUMS = 2 * RANS_INDICES - 1 };
    double weights[SUMS] = {0};
    for (int i = 0; i < RANS_INDICES; i += 1) {
        for (int j = 0; j < RANS_INDICES; j += 1) {
            weights[i + j] += (double)row_histogram[i] * column_histogram[j];
        }
    }
    int32_t row_steps, column_steps;
    double indices_bits = cost_of_indices(row_indices, rows, row_histogram, &row_steps)
        + cost_of_indices(column_indices, columns, column_histogram, &column_steps) + 2 * 8 * RANS_MODEL_BYTES + CLASSES_MARGIN;
    // A table for a variance that is wrong by x octaves costs about 0.69 x^2 bits per symbol.
    double loss = 0.69 * unit * unit / 65536.0;
    struct rans_classes best = {1, 0, 0, 0, typical, unit};
    double least = 0;
    int32_t lowest = 0, highest = SUMS - 1;
    while (weights[lowest] == 0) { lowest += 1; }
    while (weights[highest] == 0) { highest -= 1; }
    for (int32_t count = 1; count <= max_classes && count <= highest - lowest + 1; count += 1) {
        for (int32_t first = lowest; first + count <= highest + 1; first += 1) {
            double bits = count > 1 ? indices_bits : 0;
            bits += count * class_bits;
            for (int32_t i = lowest; i <= highest; i += 1) {
                int32_t distance = i < first ? first - i : i >= first + count ? i - (first + count - 1) : 0;
                bits += weights[i] * loss * (distance * distance);
            }
            if ((count == 1 && first == lowest) || bits < least) {
                least = bits;
                best.count = count;
                best.bias = 2 * RANS_LARGEST_INDEX - first;
            }
        }
    }
    if (best.count > 1) {
        best.row_steps = row_steps;
        best.column_steps = column_steps;
    }
    return best;
}

int32_t rans_far_magnitude(struct rans_classes classes, int32_t class) {
    int32_t exponent = classes.typical + (class - classes.bias) * classes.unit;
    if (exponent < 0) { exponent = 0; }
    if (exponent > 8 * 256) { exponent = 8 * 256; }
    // rans_power gives only negative powers, so compute 2^(8 - y) and scale it.
    return 4 + (int32_t)((6 * (uint64_t)rans_power((uint32_t)(8 * 256 - exponent))) >> 16);
}

void rans_extent(const int8_t *indices, size_t n, int8_t *least, int8_t *largest) {
    *least = *largest = indices[0];
    for (size_t i = 1; i < n; i += 1) {
        *least = indices[i] < *least ? indices[i] : *least;
        *largest = indices[i] > *largest ? indices[i] : *largest;
    }
}
