// Statistics of stored weights, and comparison with restored weights.

#ifndef INGOT_STATISTICS_WEIGHTS_H
#define INGOT_STATISTICS_WEIGHTS_H

#include "CKernels.h"
#include "../common/floats.h"
#include "errors.h"

enum { STATISTICS_BLOCK = 1024 };

// Adds 1 to the count of each 16-bit element.
INLINE void count_narrow(const uint8_t *source, size_t n, uint32_t *counts) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t four;
        memcpy(&four, source + i * 2, 8);
        counts[four & 0xffff] += 1;
        counts[four >> 16 & 0xffff] += 1;
        counts[four >> 32 & 0xffff] += 1;
        counts[four >> 48] += 1;
    }
    for (; i < n; i += 1) {
        uint16_t bits;
        memcpy(&bits, source + i * 2, 2);
        counts[bits] += 1;
    }
}

// Adds 1 to the count of the upper 16 bits of each 32-bit element.
INLINE void count_wide(const float *source, size_t n, uint32_t *counts) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t two[2];
        memcpy(two, source + i, 16);
        counts[two[0] >> 16 & 0xffff] += 1;
        counts[two[0] >> 48] += 1;
        counts[two[1] >> 16 & 0xffff] += 1;
        counts[two[1] >> 48] += 1;
    }
    for (; i < n; i += 1) {
        uint32_t bits;
        memcpy(&bits, source + i, 4);
        counts[bits >> 16] += 1;
    }
}

struct moment_lanes {
    f64x16 first, second, third, fourth;
    f32x16 smallest, largest;
    u32x16 zeros, subnormals, infinities;
};

// Adds 16 weights. Ignores lanes from `n` on and weights that are not finite.
INLINE void add_moments(f32x16 w, i32x16 lanes, int32_t n, double shift, struct moment_lanes *sums) {
    u32x16 size = (u32x16)w & 0x7fffffffu;
    i32x16 inside = lanes < n;
    i32x16 counts = (size < 0x7f800000u) & inside;
    f32x16 centre = (float)shift;
    f64x16 d = CONVERT(f64x16, counts ? w : centre) - shift;
    f64x16 square = d * d;
    sums->first += d;
    sums->second += square;
    sums->third += square * d;
    sums->fourth += square * square;
    f32x16 low = counts ? w : (f32x16)__builtin_inff(), high = counts ? w : (f32x16)-__builtin_inff();
    sums->smallest = low < sums->smallest ? low : sums->smallest;
    sums->largest = high > sums->largest ? high : sums->largest;
    sums->zeros -= (u32x16)(counts & (size == 0u));
    sums->infinities -= (u32x16)(inside & (size == 0x7f800000u));
    sums->subnormals -= (u32x16)(counts & (size != 0u) & (size < 0x00800000u));
}

INLINE void take_moments(struct moment_lanes lanes, struct ingot_moments *moments) {
    moments->first += added_doubles(lanes.first);
    moments->second += added_doubles(lanes.second);
    moments->third += added_doubles(lanes.third);
    moments->fourth += added_doubles(lanes.fourth);
    for (int lane = 0; lane < LANES; lane += 1) {
        moments->smallest = lanes.smallest[lane] < moments->smallest ? lanes.smallest[lane] : moments->smallest;
        moments->largest = lanes.largest[lane] > moments->largest ? lanes.largest[lane] : moments->largest;
        moments->zeros += lanes.zeros[lane];
        moments->infinities += lanes.infinities[lane];
        moments->subnormals += lanes.subnormals[lane];
    }
}

INLINE void statistics_all(
    int32_t format, size_t width, const uint8_t *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments) {
    float wide[STATISTICS_BLOCK];
    i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (size_t row = 0; row < rows; row += 1) {
        f32x16 energy = 0.0f;
        struct moment_lanes sums = {.smallest = __builtin_inff(), .largest = -__builtin_inff()};
        for (size_t start = 0; start < columns; start += STATISTICS_BLOCK) {
            size_t n = columns - start < STATISTICS_BLOCK ? columns - start : STATISTICS_BLOCK;
            const uint8_t *from = source + (row * columns + start) * width;
            expand_all(format, width, from, wide, n);
            // The loop below reads whole vectors: fill the last one with zeros.
            memset(wide + n, 0, (LANES - n % LANES) % LANES * sizeof(float));
            if (width == 2) { count_narrow(from, n, counts); } else { count_wide(wide, n, counts); }
            size_t i = 0;
            for (; i < n; i += LANES) {
                f32x16 w = LOAD(f32x16, wide + i);
                f32x16 square = w * w;
                energy += square;
                if (width == 4) { add_moments(w, lanes, n - i < LANES ? (int32_t)(n - i) : LANES, shift, &sums); }
                if (column_energies == NULL) { continue; }
                if (i + LANES <= n) {
                    STORE(column_energies + start + i, LOAD(f32x16, column_energies + start + i) + square);
                } else {
                    for (size_t k = i; k < n; k += 1) { column_energies[start + k] += wide[k] * wide[k]; }
                }
            }
        }
        if (width == 4) { take_moments(sums, moments); }
        if (row_energies == NULL) { continue; }
        float added[LANES];
        STORE(added, energy);
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int k = 0; k < half; k += 1) { added[k] += added[k + half]; }
        }
        row_energies[row] += added[0];
    }
}

static void weight_statistics(
    int32_t format, const void *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments) {
    switch (format) {
    case FORMAT_F16:
        statistics_all(
            FORMAT_F16, 2, source, rows, columns, shift, counts, row_energies, column_energies, moments);
        break;
    case FORMAT_BF16:
        statistics_all(
            FORMAT_BF16, 2, source, rows, columns, shift, counts, row_energies, column_energies, moments);
        break;
    default:
        statistics_all(
            FORMAT_F32, 4, source, rows, columns, shift, counts, row_energies, column_energies, moments);
        break;
    }
}

// The sum of squares of each row, in binary32.
static void row_energies(const float *weights, struct ingot_chunk_shape shape, float *energies) {
    size_t columns = shape.columns;
    for (size_t row = 0; row < shape.rows; row += 1) {
        const float *from = weights + row * columns;
        f32x16 sum = 0.0f;
        size_t i = 0;
        for (; i + LANES <= columns; i += LANES) {
            f32x16 w = LOAD(f32x16, from + i);
            sum += w * w;
        }
        if (i < columns) {
            float padded[LANES] = {0};
            memcpy(padded, from + i, (columns - i) * sizeof(float));
            f32x16 w = LOAD(f32x16, padded);
            sum += w * w;
        }
        float lanes[LANES];
        STORE(lanes, sum);
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int k = 0; k < half; k += 1) { lanes[k] += lanes[k + half]; }
        }
        energies[row] = lanes[0];
    }
}

// Compares weights with restored weights, in the order of error_sums; adds to error_counts.
static struct ingot_comparison compare_weights(
    const float *original, const float *restored, size_t n, uint32_t *error_counts) {
    struct lane_sums sums = {0};
    f64x16 products = 0.0, energies = 0.0;
    u32x16 changed = 0u, flipped = 0u, zeroed = 0u;
    float sizes[STATISTICS_BLOCK], w_tail[LANES] = {0}, r_tail[LANES] = {0};
    struct ingot_comparison result = {0};
    for (size_t start = 0; start < n; start += STATISTICS_BLOCK) {
        size_t count = n - start < STATISTICS_BLOCK ? n - start : STATISTICS_BLOCK;
        for (size_t i = 0; i < count; i += LANES) {
            const float *from = original + start + i, *to = restored + start + i;
            if (count - i < LANES) {
                memcpy(w_tail, from, (count - i) * sizeof(float));
                memcpy(r_tail, to, (count - i) * sizeof(float));
                from = w_tail;
                to = r_tail;
            }
            add_lanes(from, to, LANES, &sums);
            f32x16 w = LOAD(f32x16, from), r = LOAD(f32x16, to);
            f64x16 wide = CONVERT(f64x16, r);
            energies += wide * wide;
            products += CONVERT(f64x16, w) * wide;
            changed -= (u32x16)(w != r);
            flipped -= (u32x16)(((w < 0.0f) & (r > 0.0f)) | ((w > 0.0f) & (r < 0.0f)));
            zeroed -= (u32x16)((w != 0.0f) & (r == 0.0f));
            STORE(sizes + i, magnitude(w - r));
        }
        for (size_t i = 0; i < count; i += 1) {
            uint32_t bits;
            memcpy(&bits, sizes + i, 4);
            error_counts[bits >> INGOT_ERROR_BIN_SHIFT] += 1;
        }
        // A lane's counter cannot overflow within a block.
        for (int lane = 0; lane < LANES; lane += 1) {
            result.changed += changed[lane];
            result.sign_flips += flipped[lane];
            result.zeroed += zeroed[lane];
        }
        changed = flipped = zeroed = 0u;
    }
    result.sums = added_lanes(sums);
    result.product = added_doubles(products);
    result.restored_energy = added_doubles(energies);
    return result;
}

#endif
