// Prints one checksum a kernel, over inputs that reach every branch; the same on every instruction set.
// Used by kernels-aarch64.sh; includes nothing that a cross compiler might lack but the C library.

#include "CKernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLUMNS = 331, COUNT = ROWS * COLUMNS };

static uint64_t state = 88172645463325252u;

static uint32_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static uint64_t hash;

static void add(const void *bytes, size_t count) {
    const uint8_t *start = bytes;
    for (size_t i = 0; i < count; i += 1) { hash = (hash ^ start[i]) * 1099511628211u; }
}

static void report(const char *name) {
    printf("%s %016llx\n", name, (unsigned long long)hash);
    hash = 14695981039346656037u;
}

static uint8_t raw[COUNT * 4], bytes[COUNT * 4], again[COUNT * 4], codes[COUNT];
static float weights[COUNT], finite[COUNT], restored[COUNT], scales[COUNT], biases[COUNT];

// Weights of mixed size in each row, with constant, subnormal and huge groups among them.
static void make_weights(void) {
    for (int i = 0; i < COUNT; i += 1) {
        float sum = 0;
        for (int k = 0; k < 8; k += 1) { sum += (float)(next() >> 8) * 0x1p-24f - 0.5f; }
        switch (i / COLUMNS % 7) {
        case 3: weights[i] = 0.25f; break;
        case 4: weights[i] = sum * 0x1p-140f; break;
        case 5: weights[i] = sum * 0x1p125f; break;
        default: weights[i] = sum * (i % 90 == 0 ? 20.0f : 0.02f); break;
        }
    }
}

enum { HEIGHT = 45, MAX_WIDTH = 200, STRIPS = 4, TILE = HEIGHT * MAX_WIDTH };

static float tile[TILE], rebuilt[TILE], energies[HEIGHT];
static int16_t symbols[STRIPS * HEIGHT * INGOT_TRELLIS_STRIP];
static uint64_t odd_masks[STRIPS * HEIGHT], histogram[INGOT_TRELLIS_HISTOGRAM];
static _Alignas(8) uint8_t scratch[HEIGHT * INGOT_TRELLIS_STRIP * (2 + INGOT_TRELLIS_MAX_STATES / 8)];
static uint8_t streams[2 * INGOT_TRELLIS_MAX_CLASSES * (TILE + INGOT_TRELLIS_SLACK)];
static uint8_t escapes[TILE + INGOT_TRELLIS_SLACK], low[TILE + INGOT_TRELLIS_SLACK], classes[HEIGHT];

// Routes what was quantized, with and without classes of rows, and decodes it again. Returns 1 where that is not what was routed.
static int check_streams(size_t columns, int32_t states, struct ingot_trellis_alphabet alphabet, float step) {
    struct ingot_chunk_shape shape = {HEIGHT, columns};
    ingot_trellis_restore(symbols, odd_masks, shape, step, rebuilt);
    add(rebuilt, HEIGHT * columns * sizeof(float));
    if (columns % 16 == 0) {
        struct ingot_error_sums sums = ingot_trellis_errors(tile, symbols, odd_masks, shape, step);
        struct ingot_error_sums again = ingot_error_sums(tile, rebuilt, HEIGHT * columns);
        if (memcmp(&sums, &again, sizeof sums) != 0) { return 1; }
        add(&sums, sizeof sums);
    }
    for (int32_t count = 1; count <= INGOT_TRELLIS_MAX_CLASSES; count += 3) {
        size_t starts[2 * INGOT_TRELLIS_MAX_CLASSES], counts[2 * INGOT_TRELLIS_MAX_CLASSES];
        for (int32_t k = 0; k < 2 * count; k += 1) { starts[k] = (size_t)k * (TILE + INGOT_TRELLIS_SLACK); }
        for (int32_t row = 0; row < HEIGHT; row += 1) { classes[row] = (uint8_t)(row * 7 % count); }
        const uint8_t *of_rows = count == 1 ? NULL : classes;
        struct ingot_symbol_buffers buffers = {count, of_rows, streams, starts, counts, escapes, low};
        size_t escape_count = ingot_trellis_route(symbols, odd_masks, shape, alphabet, buffers);
        for (int32_t k = 0; k < 2 * count; k += 1) {
            add(&counts[k], sizeof counts[k]);
            add(streams + starts[k], counts[k]);
        }
        add(escapes, escape_count);
        if (alphabet.low_bits > 0) { add(low, HEIGHT * columns); }
        struct ingot_symbol_streams routed = {
            count, of_rows, streams, starts, counts, escapes, escape_count, alphabet.low_bits > 0 ? low : NULL};
        int32_t status = ingot_trellis_decode(states, shape, alphabet, routed, step, tile);
        if (status != INGOT_TRELLIS_OK || memcmp(tile, rebuilt, HEIGHT * columns * sizeof(float)) != 0) { return 1; }
    }
    return 0;
}

static int trellis(void) {
    static const size_t widths[] = {1, 63, 64, 65, 112, 130, MAX_WIDTH};
    static const int32_t limits[] = {1, 2, 3, 7, 15, 31, 127};
    for (int width = 0; width < 7; width += 1) {
        size_t columns = widths[width];
        struct ingot_chunk_shape shape = {HEIGHT, columns};
        for (int32_t states = 8; states <= INGOT_TRELLIS_MAX_STATES; states *= 2) {
            for (int32_t low_bits = 0; low_bits <= 6; low_bits += 3) {
                for (int trial = 0; trial < 3; trial += 1) {
                    struct ingot_trellis_rule rule = {
                        states, trial == 0 ? 64.0f : trial == 1 ? 700.0f : 0x1p-120f, trial == 0 ? 0.1875f : 0,
                        trial == 0 ? 0.9375f : 1, (float)(2 * (127 << low_bits) - 1)};
                    // Rows of all sizes: `weights` has subnormal and huge ones.
                    memcpy(tile, weights + 1000 * trial, HEIGHT * columns * sizeof(float));
                    ingot_row_energies(tile, shape, energies);
                    add(energies, sizeof energies);
                    int32_t too_far = ingot_trellis_quantize(tile, shape, rule, symbols, odd_masks, scratch);
                    add(&too_far, sizeof too_far);
                    ingot_trellis_histogram(symbols, odd_masks, shape, histogram);
                    add(histogram, sizeof histogram);
                    for (int alphabet = low_bits > 0 ? 6 : 0; alphabet < 7; alphabet += 1) {
                        struct ingot_trellis_alphabet form = {limits[alphabet], low_bits};
                        if (check_streams(columns, states, form, 1 / rule.inverse_step)) { return 1; }
                    }
                }
            }
        }
    }
    return 0;
}

// Rounds weights without a search. Returns 1 where the error sums are not those of what is restored.
static int rounding(void) {
    static const int32_t widths[] = {2, 3, 4, 5, 6, 8};
    for (int32_t format = 1; format <= 3; format += 1) {
        size_t size = format == 3 ? 4 : 2;
        ingot_narrow(format, weights, bytes, COUNT);
        ingot_expand(format, bytes, finite, COUNT);
        for (int i = 0; i < COUNT; i += 1) {
            if (finite[i] - finite[i] == 0) { continue; }
            memset(bytes + (size_t)i * size, 0, size);
            finite[i] = 0;
        }
        for (int k = 0; k < 6 * 3 * 2; k += 1) {
            int32_t bits = widths[k / 6], symmetric = k % 2;
            size_t group = (size_t)32 << k / 2 % 3, groups = ROWS * ((COLUMNS + group - 1) / group);
            struct ingot_error_sums sums = ingot_uniform_round(
                format, bytes, ROWS, COLUMNS, group, bits, symmetric, codes, scales, biases);
            add(codes, sizeof codes);
            add(scales, groups * sizeof(float));
            if (!symmetric) { add(biases, groups * sizeof(float)); }
            add(&sums, sizeof sums);
            ingot_uniform_decode(codes, scales, symmetric ? NULL : biases, ROWS, COLUMNS, group, bits, restored);
            struct ingot_error_sums again = ingot_error_sums(finite, restored, COUNT);
            if (memcmp(&sums, &again, sizeof sums) != 0) { return 1; }
        }
    }
    return 0;
}

// Counts weights of every format, and compares finite ones with neighbours of theirs.
static void statistics(void) {
    static uint32_t counts[65536], errors[INGOT_ERROR_BINS];
    static float row_energies[ROWS], column_energies[COLUMNS];
    for (int32_t format = 1; format <= 3; format += 1) {
        for (size_t columns = 1; columns <= COLUMNS; columns += columns < 40 ? 1 : 97) {
            struct ingot_moments moments = {.smallest = 0x1p1000, .largest = -0x1p1000};
            memset(row_energies, 0, sizeof row_energies);
            memset(column_energies, 0, sizeof column_energies);
            ingot_narrow(format, weights, bytes, COUNT);
            // Any patterns among them, NaN and infinity too, whose energies have many patterns.
            memcpy(bytes, raw, columns % 3 == 0 ? 4096 : 0);
            ingot_weight_statistics(
                format, bytes, ROWS, columns, 0.25, counts, row_energies, column_energies, &moments);
            add(counts, sizeof counts);
            add(&moments, sizeof moments);
            if (columns % 3 == 0) { continue; }
            add(row_energies, sizeof row_energies);
            add(column_energies, columns * sizeof(float));
        }
    }
    for (size_t count = 0; count < 70; count += 1) {
        size_t n = count * count * 2;
        for (size_t i = 0; i < n; i += 1) {
            restored[i] = i % 5 == 0 ? weights[i] : i % 7 == 0 ? 0 : i % 11 == 0 ? -weights[i] : weights[i] * 0.875f;
        }
        struct ingot_comparison found = ingot_compare_weights(weights, restored, n, errors);
        add(&found, sizeof found);
        add(errors, sizeof errors);
    }
}

enum { BAND = 80, WIDE = 150, STRIDE = 96 };  // rows, columns, and numbers from column to column

static float band[WIDE * STRIDE], band_targets[WIDE * STRIDE], band_errors[WIDE * STRIDE], couplings[WIDE * WIDE];
static double moments_matrix[WIDE * 152];
static float band_steps[2 * STRIDE], band_scales[2 * WIDE];
static struct ingot_feedback_patch patches[BAND * INGOT_TRELLIS_STRIP];
static _Alignas(64) uint8_t band_scratch[STRIDE * (4 * 2 + 2 + 4 + 1 + INGOT_TRELLIS_MAX_STATES)];

static float uniform(void) { return (float)(next() >> 8) * 0x1p-23f - 1; }

// Quantizes a band of all panels in turn, each with the errors of those before it.
static void check_band(size_t rows, int32_t states, int32_t format, float shrinkage) {
    size_t padded = (rows + 15) / 16 * 16;
    memset(band, 0, sizeof band);
    for (size_t column = 0; column < WIDE; column += 1) {
        for (size_t row = 0; row < rows; row += 1) {
            // A few weights are too large for a level, or for the type.
            float weight = uniform() * (column % 50 == 7 && row % 9 == 0 ? 0x1p15f : 1);
            band[column * STRIDE + row] = weight;
        }
    }
    memcpy(band_targets, band, sizeof band);
    memset(band_errors, 0, sizeof band_errors);
    for (size_t row = 0; row < STRIDE; row += 1) {
        band_steps[row] = row < rows ? 0.25f + (float)(row % 5) * 0.0625f : 0;
        band_steps[STRIDE + row] = row < rows ? 1 / band_steps[row] : 0;
    }
    for (size_t column = 0; column < WIDE; column += 1) {
        band_scales[column] = column % 50 == 9 ? 0x1p14f : 0.5f + (float)(column % 7) * 0.25f;
        band_scales[WIDE + column] = 1 / band_scales[column];
        for (size_t j = 0; j < WIDE; j += 1) { couplings[column * WIDE + j] = j > column ? uniform() * 0.1f : 0; }
    }
    for (size_t first = 0; first < WIDE;) {
        size_t place = first % INGOT_TRELLIS_STRIP, left = WIDE - first;
        // The first panel begins in the middle of a strip.
        size_t count = first == 0 ? 41 : left < INGOT_TRELLIS_STRIP - place ? left : INGOT_TRELLIS_STRIP - place;
        ingot_feedback_product(
            band_targets + first * STRIDE, band_errors, padded, STRIDE, couplings + first, WIDE, first, count);
        memset(odd_masks, 0, sizeof odd_masks);
        memset(symbols, 0, sizeof symbols);
        const struct ingot_feedback_panel panel = {
            rows, padded, STRIDE, count, place, states, format, 253, band + first * STRIDE,
            band_targets + first * STRIDE, band_errors + first * STRIDE, couplings + first * WIDE + first, WIDE,
            band_steps, band_steps + STRIDE, band_scales + first, band_scales + WIDE + first, shrinkage, symbols,
            odd_masks};
        size_t found = ingot_feedback_panel(&panel, band_scratch, patches);
        add(&found, sizeof found);
        add(patches, found * sizeof *patches);
        add(symbols, rows * INGOT_TRELLIS_STRIP * sizeof *symbols);
        add(odd_masks, rows * sizeof *odd_masks);
        first += count;
    }
    add(band_targets, sizeof band_targets);
    add(band_errors, sizeof band_errors);
    double dot = ingot_feedback_dot(band, band_errors, padded, STRIDE, WIDE);
    add(&dot, sizeof dot);
}

// Factors a matrix, and divides by it. Returns 1 if it has no factor.
static int check_factor(size_t count) {
    size_t stride = (count + 7) / 8 * 8;
    for (size_t j = 0; j < count; j += 1) {
        for (size_t i = 0; i < stride; i += 1) {
            moments_matrix[j * stride + i] = i == j ? (double)count : i < j ? (double)uniform() : 0;
        }
    }
    if (ingot_feedback_factor(moments_matrix, count, stride) != 0) { return 1; }
    static float lower[WIDE * WIDE], upper[WIDE * WIDE], inverse[WIDE];
    for (size_t k = 0; k < count; k += 1) {
        add(moments_matrix + k * stride, (k + 1) * sizeof(double));
        inverse[k] = (float)(1 / moments_matrix[k * stride + k]);
        for (size_t j = 0; j < count; j += 1) {
            lower[k * count + j] = j < k ? -(float)moments_matrix[k * stride + j] : 0;
            upper[k * count + j] = k < j ? -(float)moments_matrix[j * stride + k] : 0;
        }
    }
    ingot_feedback_transpose(weights, ROWS, count, COLUMNS, band, STRIDE);
    add(band, sizeof band);
    for (size_t i = 0; i < WIDE * STRIDE; i += 1) { band[i] = uniform(); }
    ingot_feedback_solve(band, BAND, STRIDE, lower, upper, inverse, count);
    add(band, sizeof band);
    return 0;
}

// Error feedback inside a block of a runtime's format, and for ggml's types its bytes.
static void check_blocks(int32_t type, int32_t bits, int32_t format, size_t columns, float size) {
    static _Alignas(64) uint8_t room[INGOT_FEEDBACK_BLOCKS_SCRATCH];
    static uint8_t found[WIDE * 32], mins[16 * 32], packed[32 * 256];
    static int8_t sub_scales[16 * 32];
    static float steps[32], offsets[32], pivots[WIDE];
    for (size_t i = 0; i < WIDE * STRIDE; i += 1) {
        band[i] = i % STRIDE == 3 ? 0 : i % STRIDE == 4 ? size : uniform() * size;
        band_targets[i] = band[i] + uniform() * size * 0.25f;
    }
    for (size_t column = 0; column < WIDE; column += 1) {
        pivots[column] = column % 13 == 5 ? 0 : 1.5f + uniform();
        for (size_t j = 0; j < WIDE; j += 1) { couplings[column * WIDE + j] = j > column ? uniform() * 0.1f : 0; }
    }
    const struct ingot_feedback_blocks blocks = {
        type, bits, format, columns, 32, STRIDE, band, band_targets, band_errors, couplings, WIDE, pivots, NULL, found,
        sub_scales, mins, steps, offsets};
    if (ingot_feedback_blocks(&blocks, room) != INGOT_BLOCKS_OK) { return; }
    add(band_targets, sizeof band_targets);
    add(band_errors, sizeof band_errors);
    add(found, columns * 32);
    add(steps, sizeof steps);
    add(offsets, sizeof offsets);
    if (ingot_feedback_pack(&blocks, packed, 256) == INGOT_BLOCKS_OK) { add(packed, sizeof packed); }
}

// Error feedback. Returns 1 where a matrix has no factor.
static int feedback(void) {
    static const size_t rows[] = {1, 16, 45}, counts[] = {1, 7, 64, 65, WIDE};
    int number = 0;
    for (int k = 0; k < 3; k += 1) {
        for (int32_t states = 8; states <= INGOT_TRELLIS_MAX_STATES; states *= 2) {
            for (int32_t format = 1; format <= 3; format += 1) {
                check_band(rows[k], states, format, number % 2 == 0 ? 0.26f : 0);
                number += 1;
            }
        }
    }
    for (int k = 0; k < 5; k += 1) {
        if (check_factor(counts[k]) != 0) { return 1; }
    }
    static const float sizes[] = {0.02f, 0x1p-20f, 0x1p20f};
    for (int k = 0; k < 3; k += 1) {
        for (int32_t type = 2; type <= 23; type += 1) {
            check_blocks(type, 0, 1, type < 10 || type == 20 ? 32 : 140, sizes[k]);
        }
        for (int32_t format = 1; format <= 3; format += 1) {
            for (int32_t bits = 2; bits <= 8; bits += 1) {
                check_blocks(INGOT_FEEDBACK_AFFINE, bits, format, 64, sizes[k]);
                check_blocks(INGOT_FEEDBACK_SYMMETRIC, bits, format, 128, sizes[k]);
            }
        }
    }
    for (size_t columns = 1; columns <= WIDE; columns += 1) {
        memcpy(restored, weights, sizeof restored);
        ingot_apply_steps(restored, (struct ingot_chunk_shape){45, columns}, band_steps, band_scales);
        add(restored, sizeof restored);
    }
    return 0;
}

// Codes of other quantizers: unpacked, as values of every kind, and scaled.
static void other_codes(void) {
    size_t n = COUNT & ~(size_t)7;
    for (int32_t bits = 1; bits <= 8; bits += 1) {
        ingot_codes_unpack(bits, 0, raw, codes, n);
        add(codes, n);
    }
    ingot_codes_unpack(4, 1, raw, codes, n);
    add(codes, n);
    for (int32_t kind = INGOT_CODES_UNSIGNED; kind <= INGOT_CODES_TABLE; kind += 1) {
        ingot_codes_values(kind, weights, raw, restored, n);
        add(restored, n * sizeof(float));
    }
    for (size_t group = 1; group <= 256; group = group * 3 + 1) {
        for (int offset = 0; offset < 3; offset += 1) {
            if (group == 1 && offset == 2) { continue; }
            memcpy(restored, weights, n * sizeof(float));
            ingot_codes_scale(
                restored, n, group / 2, group, weights, offset == 1 ? weights : NULL, offset == 2 ? weights : NULL, 2);
            add(restored, n * sizeof(float));
        }
    }
    for (int32_t width = 1; width <= 4; width *= 2) {
        ingot_codes_transpose(width, raw, bytes, ROWS, COLUMNS);
        add(bytes, ROWS * COLUMNS * (size_t)width);
    }
}

// Blocks of ggml's types with 32 weights, and of IQ4_XS. Returns 1 where a type is not encoded.
static int blocks(void) {
    static const int32_t types[] = {2, 3, 6, 7, 8, 20, 23, 39};
    static const size_t shapes[][2] = {{37, 256}, {11, 1024}, {330, 32}, {110, 96}, {5, 2304}};
    static float importance[2304];
    for (int i = 0; i < 2304; i += 1) {
        importance[i] = i % 13 == 0 ? 0 : (float)(next() >> 8) * (i % 50 == 0 ? 0x1p-10f : 0x1p-24f);
    }
    for (int type = 0; type < 8; type += 1) {
        for (int shape = 0; shape < 5; shape += 1) {
            size_t rows = shapes[shape][0], columns = shapes[shape][1];
            if (types[type] == 23 && columns % 256 != 0) { continue; }
            for (int32_t k = 0; k < 4; k += 1) {
                memset(bytes, 0, sizeof bytes);
                int32_t status = ingot_blocks_encode(
                    types[type], k / 2 == 0 ? INGOT_BLOCKS_REFERENCE : INGOT_BLOCKS_SEARCHED, weights, rows, columns,
                    k % 2 == 0 ? NULL : importance, bytes);
                if (status != INGOT_BLOCKS_OK) { return 1; }
                add(bytes, sizeof bytes);
            }
        }
    }
    return 0;
}

// K-quants of both roundings, with and without importance. Returns 1 where a type is unknown.
static int super_blocks(void) {
    static const size_t shapes[][2] = {{47, 256}, {11, 1024}, {5, 2304}};
    static float importance[2304];
    for (int i = 0; i < 2304; i += 1) {
        // Weights of no importance, and whole sub-blocks of none.
        importance[i] = i % 11 == 0 || i % 256 < 40 ? 0 : (float)(next() >> 8) * (i % 70 == 0 ? 0x1p-12f : 0x1p-24f);
    }
    for (int32_t type = 10; type <= 14; type += 1) {
        for (int shape = 0; shape < 3; shape += 1) {
            for (int32_t k = 0; k < 4; k += 1) {
                memset(bytes, 0, sizeof bytes);
                int32_t status = ingot_blocks_encode(
                    type, k / 2 == 0 ? INGOT_BLOCKS_REFERENCE : INGOT_BLOCKS_SEARCHED, weights, shapes[shape][0],
                    shapes[shape][1], k % 2 == 0 ? NULL : importance, bytes);
                if (status != INGOT_BLOCKS_OK) { return 1; }
                add(bytes, sizeof bytes);
            }
        }
    }
    return 0;
}

int main(void) {
    static const int32_t widths[] = {2, 3, 4, 5, 6, 8};
    hash = 14695981039346656037u;
    for (int i = 0; i < COUNT * 4; i += 1) { raw[i] = (uint8_t)next(); }
    for (int32_t format = 1; format <= 3; format += 1) {
        ingot_expand(format, raw, restored, COUNT);
        add(restored, sizeof restored);
        struct ingot_non_finite found = ingot_scan_non_finite(format, raw, COUNT);
        add(&found.nan_count, 4);
        add(&found.infinity_count, 4);
        add(&found.first_index, 4);
        uint32_t overflows = (uint32_t)ingot_narrow(format, (const float *)(const void *)raw, bytes, COUNT);
        add(&overflows, 4);
        add(bytes, COUNT * (format == 3 ? 4 : 2));
    }
    report("conversion");
    make_weights();
    for (int32_t format = 1; format <= 3; format += 1) {
        for (int width = 0; width < 6; width += 1) {
            for (int32_t kind = INGOT_UNIFORM_AFFINE; kind <= INGOT_UNIFORM_SIGNED; kind += 1) {
                for (size_t group = 32; group <= 128; group *= 2) {
                    size_t groups = ROWS * ((COLUMNS + group - 1) / group);
                    ingot_uniform_encode(
                        weights, ROWS, COLUMNS, group, widths[width], kind, format, NULL, codes, scales, biases);
                    add(codes, sizeof codes);
                    add(scales, groups * sizeof(float));
                    if (kind == INGOT_UNIFORM_AFFINE) { add(biases, groups * sizeof(float)); }
                    ingot_uniform_decode(
                        codes, scales, kind == INGOT_UNIFORM_AFFINE ? biases : NULL, ROWS, COLUMNS, group, widths[width], restored);
                    add(restored, sizeof restored);
                    struct ingot_error_sums sums = ingot_error_sums(weights, restored, COUNT);
                    add(&sums, sizeof sums);
                }
            }
        }
    }
    report("uniform");
    if (rounding() != 0) { return 1; }
    report("rounding");
    for (int width = 0; width < 6; width += 1) {
        for (int32_t layout = 0; layout < 2; layout += 1) {
            for (int i = 0; i < COUNT; i += 1) { codes[i] = raw[i] >> (8 - widths[width]); }
            size_t count = ingot_packed_byte_count(layout, widths[width], COUNT);
            if (ingot_pack(layout, widths[width], codes, bytes, COUNT) != 0) { return 1; }
            add(bytes, count);
            if (ingot_unpack(layout, widths[width], bytes, again, COUNT) != 0) { return 1; }
            if (memcmp(codes, again, COUNT) != 0) { return 1; }
        }
    }
    report("packing");
    for (int32_t width = 2; width <= 4; width += 2) {
        for (int32_t rotated = 0; rotated < 2; rotated += 1) {
            ingot_planes_split(width, rotated, raw, bytes, COUNT);
            add(bytes, COUNT * (size_t)width);
            ingot_planes_join(width, rotated, bytes, again, COUNT);
            if (memcmp(raw, again, COUNT * (size_t)width) != 0) { return 1; }
        }
    }
    report("planes");
    if (trellis() != 0) { return 1; }
    report("trellis");
    for (size_t count = 0; count < 100; count += 1) {
        for (size_t i = 0; i < count; i += 1) { codes[i] = raw[i] % 6; }
        size_t packed = (count + 2) / 3;
        ingot_pack_thirds(codes, bytes, count);
        add(bytes, packed);
        if (ingot_unpack_thirds(bytes, again, packed) != 0 || memcmp(codes, again, count) != 0) { return 1; }
    }
    report("thirds");
    statistics();
    report("statistics");
    if (feedback() != 0) { return 1; }
    report("feedback");
    other_codes();
    report("codes");
    if (blocks() != 0) { return 1; }
    report("blocks");
    if (super_blocks() != 0) { return 1; }
    report("super-blocks");
    return 0;
}
