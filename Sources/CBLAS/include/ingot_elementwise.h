// Elementwise functions of a decoder over binary32 numbers, as loops that compilers vectorize.

#ifndef INGOT_ELEMENTWISE_H
#define INGOT_ELEMENTWISE_H

#include <stddef.h>

/// Softmax over the first `count` numbers of a row of `length` numbers, each times `scale`; the others become 0.
void ingot_softmax(float *row, size_t count, size_t length, float scale);

/// gate[i] = silu(gate[i] + gate_bias[i]) * (up[i] + up_bias[i]) for `count` numbers. Each bias may be NULL.
void ingot_gate(float *gate, const float *up, const float *gate_bias, const float *up_bias, size_t count);

/// target[i] = x[i] / sqrt(mean of x^2 + epsilon) * scale[i] for `count` numbers: RMSNorm. The sum of squares is in binary64.
void ingot_norm(float *target, const float *x, const float *scale, double epsilon, size_t count);

/// target[i] += factor * (x[i] + bias[i]) for `count` numbers. `bias` may be NULL.
void ingot_add(float *target, const float *x, const float *bias, float factor, size_t count);

/// Turns pairs of numbers of a head of 2 * `half` numbers: number 2 i with 2 i + 1 if `neighbours`, otherwise i with i + `half`.
void ingot_turn(float *head, const float *cosines, const float *sines, size_t half, int neighbours);

/// Gradients through `ingot_softmax`: gradient[i] = scale * weights[i] * (gradient[i] - sum of gradient * weights) over the first `count`
/// numbers of a row of `length`; the others become 0. `weights` are what softmax gave. The sum is in binary64.
void ingot_softmax_backward(float *gradient, const float *weights, size_t count, size_t length, float scale);

/// Gradients through silu(gate) * up, from those at its result: replaces `gate` and `up` by the gradients there.
void ingot_gate_backward(float *gate, float *up, const float *gradient, size_t count);

/// Adds gradients through `ingot_norm` to `target`, from those at its result. Sums are in binary64.
void ingot_norm_backward(
    float *target, const float *gradient, const float *x, const float *scale, double epsilon, size_t count);

/// The largest of `count` numbers; -infinity if there are none.
float ingot_maximum(const float *x, size_t count);

/// row[i] = e^(row[i] - maximum) for `count` numbers. Returns their sum, which is in binary64.
double ingot_powers(float *row, float maximum, size_t count);

/// sums[i] += weight * x[i]^2 for `count` numbers.
void ingot_add_squares(double *sums, const float *x, double weight, size_t count);

#endif
