// Error sums in binary64, in an order that does not depend on the instruction set.

INLINE void add_errors(f32x16 original, f32x16 restored, f64x16 *signal, f64x16 *noise, f64x16 *largest) {
    f64x16 w = CONVERT(f64x16, original);
    f64x16 difference = w - CONVERT(f64x16, restored);
    f64x16 size = difference < 0.0 ? -difference : difference;
    *signal += w * w;
    *noise += difference * difference;
    *largest = size > *largest ? size : *largest;
}

// The lanes' sums as one.
INLINE struct ingot_error_sums added_lanes(f64x16 signal, f64x16 noise, f64x16 largest) {
    double s[LANES], e[LANES], m[LANES];
    memcpy(s, &signal, sizeof s);
    memcpy(e, &noise, sizeof e);
    memcpy(m, &largest, sizeof m);
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
    f64x16 signal = 0.0, noise = 0.0, largest = 0.0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        add_errors(LOAD(f32x16, original + i), LOAD(f32x16, restored + i), &signal, &noise, &largest);
    }
    if (i < n) {
        // The lanes behind the end add +0 to sums that are never -0.
        float w[LANES] = {0}, r[LANES] = {0};
        memcpy(w, original + i, (n - i) * sizeof(float));
        memcpy(r, restored + i, (n - i) * sizeof(float));
        add_errors(LOAD(f32x16, w), LOAD(f32x16, r), &signal, &noise, &largest);
    }
    return added_lanes(signal, noise, largest);
}

// The sum of squares of each row, in binary32.
static void row_energies(const float *weights, size_t rows, size_t columns, float *energies) {
    for (size_t row = 0; row < rows; row += 1) {
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
