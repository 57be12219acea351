// Scales from each group's extremes, and plain rounding to codes: one pass over the source, no search.
//
// Specs/uniform.md, "Plain rounding", states the rules in the same order. Sixteen groups at a time: their extremes by
// vectors along the group, their scales one a lane, their codes by vectors along the group again.

struct rounding {
    int affine;
    int32_t format;
    size_t width;               // bytes of an element
    float code_low, code_high;  // 0 ... 2^bits-1, or -2^(bits-1) ... 2^(bits-1)-1
    float largest, least;       // what the storage format can hold above zero
    float scale_limit;          // above it a product with a code might overflow
};

// The scales and biases of sixteen groups, and what turns a weight into a code: (weight * up - offset) * inverse.
struct steps {
    f32x16 scale, bias, up, offset, inverse;
};

struct lane_sums {
    f64x16 signal, noise, largest;
};

// Weights whose lane of the error sums is not that of their vector: their sums wait until sixteen are there.
struct pending {
    size_t count;
    float weights[2 * LANES], restored[2 * LANES];
};

INLINE f32x16 widened(int32_t format, const uint8_t *source) {
    switch (format) {
    case FORMAT_F16: return float_from_half(LOAD(u16x16, source));
    case FORMAT_BF16: return float_from_bfloat(LOAD(u16x16, source));
    default: return LOAD(f32x16, source);
    }
}

// The n < 16 elements at `source`, then zeros.
INLINE f32x16 widened_part(struct rounding rules, const uint8_t *source, size_t n) {
    uint8_t padded[LANES * 4] = {0};
    memcpy(padded, source, n * rules.width);
    return widened(rules.format, padded);
}

INLINE f32x16 extreme(int greatest, f32x16 a, f32x16 b) { return greatest ? greater(a, b) : lesser(a, b); }

#define FOLD(a, b, ...)                                                                                  \
    extreme(greatest, __builtin_shufflevector(a, b, __VA_ARGS__),                                        \
            __builtin_shufflevector(a, b, FOLD_OTHERS))

// Lane k of the result is the least, or greatest, lane of rows[k]. Destroys `rows`.
INLINE f32x16 lane_extremes(int greatest, f32x16 *rows) {
#define FOLD_OTHERS 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
    for (int k = 0; k < 8; k += 1) {
        rows[k] = FOLD(rows[k], rows[k + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    }
#undef FOLD_OTHERS
#define FOLD_OTHERS 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
    for (int k = 0; k < 4; k += 1) {
        rows[k] = FOLD(rows[k], rows[k + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    }
#undef FOLD_OTHERS
#define FOLD_OTHERS 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
    for (int k = 0; k < 2; k += 1) {
        rows[k] = FOLD(rows[k], rows[k + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    }
#undef FOLD_OTHERS
#define FOLD_OTHERS 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
    return FOLD(rows[0], rows[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
#undef FOLD_OTHERS
}
#undef FOLD

// Extremes of the n weights of a group, in any lane.
INLINE void group_extremes(struct rounding rules, const uint8_t *source, size_t n, f32x16 *low, f32x16 *high) {
    size_t i = 0;
    if (n < LANES) {
        f32x16 first = widened_part(rules, source, 1)[0];
        *low = first;
        *high = first;
    } else {
        *low = widened(rules.format, source);
        *high = *low;
        i = LANES;
    }
    for (; i + LANES <= n; i += LANES) {
        f32x16 weights = widened(rules.format, source + i * rules.width);
        *low = lesser(weights, *low);
        *high = greater(weights, *high);
    }
    for (; i < n; i += 1) {
        f32x16 weight = widened_part(rules, source + i * rules.width, 1)[0];
        *low = lesser(weight, *low);
        *high = greater(weight, *high);
    }
}

INLINE f32x16 rounded_scale(struct rounding rules, f32x16 step, f32x16 limit) {
    f32x16 scale = stored(rules.format, lesser(step, limit));
    return greater(scale, rules.least);
}

INLINE struct steps steps_of(struct rounding rules, f32x16 low, f32x16 high) {
    struct steps steps;
    // Which of two zeros was met first depends on the order of lanes.
    low += 0.0f;
    high += 0.0f;
    i32x16 constant = low == high;
    f32x16 size = greater(magnitude(low), magnitude(high));
    f32x16 down = 1.0f;
    steps.up = 1.0f;
    // Binary32 holds everything that follows of F16 as it is: powers of two would change no bit of a result.
    if (rules.format != FORMAT_F16) {
        i32x16 exponent = (i32x16)((u32x16)size >> 23);
        i32x16 shift = 127 - (exponent > 1 ? exponent : (i32x16)1);
        shift = shift > -126 ? shift : (i32x16)-126;
        steps.up = power_of_two(shift);
        down = power_of_two(-shift);
    }
    if (rules.affine) {
        i32x16 from_low = magnitude(low) > magnitude(high);
        f32x16 edge = from_low ? low : high;
        f32x16 reach = magnitude(edge) * steps.up;
        f32x16 step = (high * steps.up - low * steps.up) / rules.code_high;
        step = constant ? (f32x16)1.0f : step;
        f32x16 zero_code = reach / step;
        f32x16 aligned = reach / rounded(zero_code);
        step = zero_code < rules.code_high + 0.5f ? aligned : step;
        f32x16 limit = (rules.largest / rules.code_high + magnitude(edge) / rules.code_high) * 0.984375f;
        f32x16 scale = rounded_scale(rules, step * down, lesser(limit, rules.scale_limit));
        scale = from_low ? scale : -scale;
        steps.scale = constant ? (f32x16)0.0f : scale;
        steps.bias = edge;
    } else {
        f32x16 step = size * steps.up / (rules.code_high + 0.5f) * down;
        f32x16 scale = rounded_scale(rules, step, rules.scale_limit);
        steps.scale = constant ? size : scale;
        steps.bias = 0.0f;
    }
    f32x16 unit = steps.scale * steps.up;
    steps.offset = steps.bias * steps.up;
    steps.inverse = unit != 0.0f ? 1.0f / unit : (f32x16)0.0f;
    return steps;
}

// Sixteen weights to codes, and to what is restored from them.
INLINE f32x16 round_block(
    struct rounding rules, f32x16 weights, float scale, float bias, float up, float offset, float inverse, u8x16 *codes) {
    f32x16 position = rules.format == FORMAT_F16 ? weights : weights * up;
    position = (rules.affine ? position - offset : position) * inverse;
    // The lowest bits of this sum are those of the code.
    f32x16 sum = lesser(greater(position, rules.code_low), rules.code_high) + 12582912.0f;
    *codes = CONVERT(u8x16, (u32x16)sum - (uint32_t)(int32_t)rules.code_low);
    return restored(sum - 12582912.0f, scale, bias, rules.affine);
}

INLINE void add_pending(struct pending *pending, f32x16 weights, f32x16 restored, size_t n, struct lane_sums *sums) {
    STORE(pending->weights + pending->count, weights);
    STORE(pending->restored + pending->count, restored);
    pending->count += n;
    if (pending->count < LANES) { return; }
    add_errors(
        LOAD(f32x16, pending->weights), LOAD(f32x16, pending->restored), &sums->signal, &sums->noise, &sums->largest);
    pending->count -= LANES;
    STORE(pending->weights, LOAD(f32x16, pending->weights + LANES));
    STORE(pending->restored, LOAD(f32x16, pending->restored + LANES));
}

// `in_lanes`: whether every vector of weights begins at a multiple of sixteen weights of the chunk, and is whole.
INLINE void round_group(
    struct rounding rules, int in_lanes, const uint8_t *source, size_t n, const struct steps *steps, size_t lane,
    uint8_t *codes, struct lane_sums *sums, struct pending *pending) {
    float scale = steps->scale[lane], bias = steps->bias[lane];
    float up = steps->up[lane], offset = steps->offset[lane], inverse = steps->inverse[lane];
    u8x16 block;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        f32x16 weights = widened(rules.format, source + i * rules.width);
        f32x16 restored = round_block(rules, weights, scale, bias, up, offset, inverse, &block);
        STORE(codes + i, block);
        if (in_lanes) {
            add_errors(weights, restored, &sums->signal, &sums->noise, &sums->largest);
        } else {
            add_pending(pending, weights, restored, LANES, sums);
        }
    }
    if (!in_lanes && i < n) {
        f32x16 weights = widened_part(rules, source + i * rules.width, n - i);
        f32x16 restored = round_block(rules, weights, scale, bias, up, offset, inverse, &block);
        memcpy(codes + i, &block, n - i);
        add_pending(pending, weights, restored, n - i, sums);
    }
}

INLINE struct ingot_error_sums round_all(
    struct rounding rules, int in_lanes, const uint8_t *source, size_t rows, size_t columns, size_t group_size,
    uint8_t *codes, float *scales, float *biases) {
    struct lane_sums sums = {0};
    struct pending pending = {0};
    size_t per_row = columns / group_size + (columns % group_size != 0);
    size_t left = rows * per_row;
    size_t group_in_row = 0;
    while (left > 0) {
        size_t count = left < LANES ? left : LANES;
        size_t offsets[LANES + 1];
        f32x16 lows[LANES], highs[LANES];
        offsets[0] = 0;
        for (size_t k = 0; k < count; k += 1) {
            int last = group_in_row + 1 == per_row;
            size_t n = last ? columns - group_in_row * group_size : group_size;
            group_extremes(rules, source + offsets[k] * rules.width, n, &lows[k], &highs[k]);
            offsets[k + 1] = offsets[k] + n;
            group_in_row = last ? 0 : group_in_row + 1;
        }
        for (size_t k = count; k < LANES; k += 1) {
            lows[k] = lows[0];
            highs[k] = highs[0];
        }
        struct steps steps = steps_of(rules, lane_extremes(0, lows), lane_extremes(1, highs));
        for (size_t k = 0; k < count; k += 1) {
            round_group(
                rules, in_lanes, source + offsets[k] * rules.width, offsets[k + 1] - offsets[k], &steps, k,
                codes + offsets[k], &sums, &pending);
        }
        memcpy(scales, &steps.scale, count * sizeof(float));
        scales += count;
        if (rules.affine) {
            memcpy(biases, &steps.bias, count * sizeof(float));
            biases += count;
        }
        source += offsets[count] * rules.width;
        codes += offsets[count];
        left -= count;
    }
    if (pending.count > 0) {
        // The lanes behind the end add +0 to sums that are never -0.
        memset(pending.weights + pending.count, 0, (LANES - pending.count) * sizeof(float));
        memset(pending.restored + pending.count, 0, (LANES - pending.count) * sizeof(float));
        add_errors(
            LOAD(f32x16, pending.weights), LOAD(f32x16, pending.restored), &sums.signal, &sums.noise, &sums.largest);
    }
    return added_lanes(sums.signal, sums.noise, sums.largest);
}

INLINE struct ingot_error_sums round_chunk(
    struct rounding rules, const uint8_t *source, size_t rows, size_t columns, size_t group_size, uint8_t *codes,
    float *scales, float *biases) {
    return columns % LANES == 0 ? round_all(rules, 1, source, rows, columns, group_size, codes, scales, biases)
                                : round_all(rules, 0, source, rows, columns, group_size, codes, scales, biases);
}

INLINE struct ingot_error_sums round_format(
    int32_t format, size_t width, const uint8_t *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    float half = (float)(1 << (bits - 1));
    struct rounding rules;
    rules.format = format;
    rules.width = width;
    rules.largest = largest_finite(format);
    rules.least = format == FORMAT_F16 ? 0x1p-24f : format == FORMAT_BF16 ? 0x1p-133f : 0x1p-149f;
    if (symmetric) {
        rules.affine = 0;
        rules.code_low = -half;
        rules.code_high = half - 1.0f;
        rules.scale_limit = scale_limit(rules.largest / half * 0.984375f, half);
        return round_chunk(rules, source, rows, columns, group_size, codes, scales, biases);
    }
    rules.affine = 1;
    rules.code_low = 0.0f;
    rules.code_high = 2.0f * half - 1.0f;
    rules.scale_limit = scale_limit(rules.largest, rules.code_high);
    return round_chunk(rules, source, rows, columns, group_size, codes, scales, biases);
}

static struct ingot_error_sums uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    switch (format) {
    case FORMAT_F16:
        return round_format(
            FORMAT_F16, 2, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    case FORMAT_BF16:
        return round_format(
            FORMAT_BF16, 2, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    default:
        return round_format(
            FORMAT_F32, 4, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    }
}
