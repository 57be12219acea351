// Error sums in binary64, added in the same order on every instruction set.

#ifndef INGOT_STATISTICS_ERRORS_H
#define INGOT_STATISTICS_ERRORS_H

#include "CKernels.h"
#include "../common/lanes.h"

struct lane_sums {
    f64x16 signal, noise, largest;
};

// Adds n weights, a multiple of 16, to the lanes.
INLINE void add_lanes(const float *original, const float *restored, size_t n, struct lane_sums *sums) {
    f64x16 signal = sums->signal, noise = sums->noise, largest = sums->largest;
    for (size_t i = 0; i < n; i += LANES) {
        f64x16 w = CONVERT(f64x16, LOAD(f32x16, original + i));
        f64x16 difference = w - CONVERT(f64x16, LOAD(f32x16, restored + i));
        f64x16 size = __builtin_elementwise_abs(difference);
        signal += w * w;
        noise += difference * difference;
        largest = size > largest ? size : largest;
    }
    *sums = (struct lane_sums){signal, noise, largest};
}

// Adds n < 16 weights to the first lanes.
INLINE void add_tail(const float *original, const float *restored, size_t n, struct lane_sums *sums) {
    if (n == 0) { return; }
    // Unused lanes add +0, which changes no sum, because no sum is -0.
    float w[LANES] = {0}, r[LANES] = {0};
    memcpy(w, original, n * sizeof(float));
    memcpy(r, restored, n * sizeof(float));
    add_lanes(w, r, LANES, sums);
}

// Adds the lanes: k and k+8, k and k+4, k and k+2, 0 and 1.
INLINE struct ingot_error_sums added_lanes(struct lane_sums sums) {
    double s[LANES], e[LANES], m[LANES];
    memcpy(s, &sums.signal, sizeof s);
    memcpy(e, &sums.noise, sizeof e);
    memcpy(m, &sums.largest, sizeof m);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k += 1) {
            s[k] += s[k + half];
            e[k] += e[k + half];
            m[k] = m[k + half] > m[k] ? m[k + half] : m[k];
        }
    }
    return (struct ingot_error_sums){s[0], e[0], m[0]};
}

static struct ingot_error_sums error_sums(const float *original, const float *restored, size_t n) {
    struct lane_sums sums = {0};
    size_t whole = n / LANES * LANES;
    add_lanes(original, restored, whole, &sums);
    add_tail(original + whole, restored + whole, n - whole, &sums);
    return added_lanes(sums);
}

#endif
