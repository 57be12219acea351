#include "ingot_elementwise.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

// The loader of glibc chooses the variant for this processor. The results may differ in the last bit. Sanitizers are not ready when it does.
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define VARIANTS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VARIANTS
#endif

// e^x by 2^n e^r, with n the whole number nearest to x / ln 2 and |r| at most ln 2 / 2. The polynomial is Taylor's to r^7: its error is below
// half a unit in the last place of binary32. Numbers below -87 give e^-87, which is 1.6e-38; numbers above 88 give e^88.
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
    const float magic = 12582912.0f;
    float shifted = x * 1.44269504f + magic;
    float n = shifted - magic;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    // ln 2 in two parts; the first has few digits, so that its product with n is exact.
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t scale = (int32_t)((uint32_t)(bits + 127) << 23);
    float power;
    memcpy(&power, &scale, sizeof power);
    return p * power;
}

VARIANTS
void ingot_softmax(float *row, size_t count, size_t length, float scale) {
    enum { lanes = 16 };
    float maximum = -INFINITY;
    for (size_t i = 0; i < count; i++) maximum = row[i] > maximum ? row[i] : maximum;
    float sums[lanes] = {0};
    size_t whole = count - count % lanes;
    for (size_t i = 0; i < whole; i += lanes) {
        for (size_t lane = 0; lane < lanes; lane++) {
            float weight = exponential((row[i + lane] - maximum) * scale);
            row[i + lane] = weight;
            sums[lane] += weight;
        }
    }
    float sum = 0;
    for (size_t lane = 0; lane < lanes; lane++) sum += sums[lane];
    for (size_t i = whole; i < count; i++) {
        row[i] = exponential((row[i] - maximum) * scale);
        sum += row[i];
    }
    float factor = 1 / sum;
    for (size_t i = 0; i < count; i++) row[i] *= factor;
    memset(row + count, 0, (length - count) * sizeof *row);
}

VARIANTS
void ingot_gate(float *gate, const float *up, const float *gate_bias, const float *up_bias, size_t count) {
    if (gate_bias) {
        for (size_t i = 0; i < count; i++) gate[i] += gate_bias[i];
    }
    if (up_bias) {
        for (size_t i = 0; i < count; i++) gate[i] = gate[i] / (1 + exponential(-gate[i])) * (up[i] + up_bias[i]);
    } else {
        for (size_t i = 0; i < count; i++) gate[i] = gate[i] / (1 + exponential(-gate[i])) * up[i];
    }
}

VARIANTS
void ingot_norm(float *restrict target, const float *x, const float *scale, double epsilon, size_t count) {
    enum { lanes = 8 };
    double sums[lanes] = {0}, sum = 0;
    size_t whole = count - count % lanes;
    for (size_t i = 0; i < whole; i += lanes) {
        for (size_t lane = 0; lane < lanes; lane++) sums[lane] += (double)x[i + lane] * x[i + lane];
    }
    for (size_t lane = 0; lane < lanes; lane++) sum += sums[lane];
    for (size_t i = whole; i < count; i++) sum += (double)x[i] * x[i];
    float factor = 1 / sqrtf((float)(sum / (double)count) + (float)epsilon);
    for (size_t i = 0; i < count; i++) target[i] = x[i] * factor * scale[i];
}

VARIANTS
void ingot_add(float *restrict target, const float *x, const float *bias, float factor, size_t count) {
    if (bias) {
        for (size_t i = 0; i < count; i++) target[i] += factor * (x[i] + bias[i]);
    } else {
        for (size_t i = 0; i < count; i++) target[i] += factor * x[i];
    }
}

VARIANTS
void ingot_turn(float *head, const float *cosines, const float *sines, size_t half, int neighbours) {
    if (neighbours) {
        for (size_t i = 0; i < half; i++) {
            float x = head[2 * i], y = head[2 * i + 1];
            head[2 * i] = x * cosines[i] - y * sines[i];
            head[2 * i + 1] = y * cosines[i] + x * sines[i];
        }
        return;
    }
    float *restrict low = head, *restrict high = head + half;
    for (size_t i = 0; i < half; i++) {
        float x = low[i], y = high[i];
        low[i] = x * cosines[i] - y * sines[i];
        high[i] = y * cosines[i] + x * sines[i];
    }
}

VARIANTS
void ingot_softmax_backward(float *gradient, const float *weights, size_t count, size_t length, float scale) {
    enum { lanes = 8 };
    double sums[lanes] = {0}, sum = 0;
    size_t whole = count - count % lanes;
    for (size_t i = 0; i < whole; i += lanes) {
        for (size_t lane = 0; lane < lanes; lane++) sums[lane] += (double)gradient[i + lane] * weights[i + lane];
    }
    for (size_t lane = 0; lane < lanes; lane++) sum += sums[lane];
    for (size_t i = whole; i < count; i++) sum += (double)gradient[i] * weights[i];
    float mean = (float)sum;
    for (size_t i = 0; i < count; i++) gradient[i] = scale * weights[i] * (gradient[i] - mean);
    memset(gradient + count, 0, (length - count) * sizeof *gradient);
}

VARIANTS
void ingot_gate_backward(float *restrict gate, float *restrict up, const float *restrict gradient, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = gate[i], sigmoid = 1 / (1 + exponential(-g));
        float inner = gradient[i] * sigmoid;
        gate[i] = inner * up[i] * (1 + g * (1 - sigmoid));
        up[i] = inner * g;
    }
}

VARIANTS
void ingot_norm_backward(
    float *restrict target, const float *restrict gradient, const float *restrict x, const float *restrict scale, double epsilon,
    size_t count) {
    enum { lanes = 8 };
    double squares[lanes] = {0}, products[lanes] = {0}, square = 0, product = 0;
    size_t whole = count - count % lanes;
    for (size_t i = 0; i < whole; i += lanes) {
        for (size_t lane = 0; lane < lanes; lane++) {
            double own = x[i + lane];
            squares[lane] += own * own;
            products[lane] += own * ((double)gradient[i + lane] * scale[i + lane]);
        }
    }
    for (size_t lane = 0; lane < lanes; lane++) square += squares[lane], product += products[lane];
    for (size_t i = whole; i < count; i++) {
        square += (double)x[i] * x[i];
        product += (double)x[i] * ((double)gradient[i] * scale[i]);
    }
    double mean = square / (double)count + epsilon;
    float factor = (float)(1 / sqrt(mean)), share = (float)(product / (double)count / mean);
    for (size_t i = 0; i < count; i++) target[i] += factor * (gradient[i] * scale[i] - x[i] * share);
}

VARIANTS
float ingot_maximum(const float *x, size_t count) {
    float maximum = -INFINITY;
    for (size_t i = 0; i < count; i++) maximum = x[i] > maximum ? x[i] : maximum;
    return maximum;
}

VARIANTS
double ingot_powers(float *row, float maximum, size_t count) {
    enum { lanes = 8 };
    double sums[lanes] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++) row[i] = exponential(row[i] - maximum);
    size_t whole = count - count % lanes;
    for (size_t i = 0; i < whole; i += lanes) {
        for (size_t lane = 0; lane < lanes; lane++) sums[lane] += row[i + lane];
    }
    for (size_t lane = 0; lane < lanes; lane++) sum += sums[lane];
    for (size_t i = whole; i < count; i++) sum += row[i];
    return sum;
}

VARIANTS
void ingot_add_squares(double *restrict sums, const float *restrict x, double weight, size_t count) {
    for (size_t i = 0; i < count; i++) sums[i] += weight * ((double)x[i] * x[i]);
}
