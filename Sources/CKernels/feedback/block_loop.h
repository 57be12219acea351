// Quantizes the columns of a sub-block, each with the errors of those before it, for some scales and offsets at once. A lane is a row.

#ifndef INGOT_FEEDBACK_BLOCK_LOOP_H
#define INGOT_FEEDBACK_BLOCK_LOOP_H

#include "block_rules.h"

// Scales and offsets that are tried at a time.
enum { FEEDBACK_TRIALS = 5 };

// The columns of a sub-block or group.
struct feedback_part {
    size_t count;
    int codebook;
    float lowest, highest;
    const f32x16 *weights, *targets;
    const float *coupling;  // of column j: factors of errors i < j at [side * j + i]
    size_t side;
    const float *pivots;
    const float *importance;
};

// losses: the sums of squares of (target - restored) * pivot. errors: `trials` of each column. With one trial, levels and residuals
// receive the levels and (target - restored) * pivot.
INLINE void feedback_loop(
    const struct feedback_part *part, int trials, int codebook, const f32x16 *scales, const f32x16 *offsets,
    f32x16 *errors, f32x16 *levels, f32x16 *residuals, f32x16 *losses) {
    f32x16 inverses[FEEDBACK_TRIALS], sums[FEEDBACK_TRIALS];
#pragma clang loop unroll(full)
    for (int t = 0; t < trials; t += 1) {
        inverses[t] = feedback_inverse(scales[t]);
        sums[t] = 0.0f;
    }
    for (size_t j = 0; j < part->count; j += 1) {
        const float *factors = part->coupling + part->side * j;
        f32x16 targets[FEEDBACK_TRIALS];
#pragma clang loop unroll(full)
        for (int t = 0; t < trials; t += 1) { targets[t] = part->targets[j]; }
        for (size_t i = 0; i < j; i += 1) {
            f32x16 factor = factors[i];
#pragma clang loop unroll(full)
            for (int t = 0; t < trials; t += 1) {
                targets[t] = fused(errors[i * (size_t)trials + (size_t)t], factor, targets[t]);
            }
        }
        f32x16 weight = part->weights[j], pivot = part->pivots[j];
#pragma clang loop unroll(full)
        for (int t = 0; t < trials; t += 1) {
            f32x16 position = (targets[t] + offsets[t]) * inverses[t];
            f32x16 level = feedback_level(codebook, part->lowest, part->highest, position);
            f32x16 restored = scales[t] * level - offsets[t];
            f32x16 residual = (targets[t] - restored) * pivot;
            errors[j * (size_t)trials + (size_t)t] = weight - restored;
            sums[t] = sums[t] + residual * residual;
            if (trials == 1) {
                levels[j] = level;
                residuals[j] = residual;
            }
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < trials; t += 1) { losses[t] = sums[t]; }
}

// The losses of FEEDBACK_TRIALS scales and offsets. errors: FEEDBACK_TRIALS of each column.
static __attribute__((noinline)) void feedback_try(
    const struct feedback_part *part, const f32x16 *scales, const f32x16 *offsets, f32x16 *errors, f32x16 *losses) {
    if (part->codebook) {
        feedback_loop(part, FEEDBACK_TRIALS, 1, scales, offsets, errors, 0, 0, losses);
    } else {
        feedback_loop(part, FEEDBACK_TRIALS, 0, scales, offsets, errors, 0, 0, losses);
    }
}

// Levels, residuals and errors of one scale and offset, and its loss.
static __attribute__((noinline)) void feedback_take(
    const struct feedback_part *part, const f32x16 *scale, const f32x16 *offset, f32x16 *errors, f32x16 *levels,
    f32x16 *residuals, f32x16 *loss) {
    if (part->codebook) {
        feedback_loop(part, 1, 1, scale, offset, errors, levels, residuals, loss);
    } else {
        feedback_loop(part, 1, 0, scale, offset, errors, levels, residuals, loss);
    }
}

#endif
