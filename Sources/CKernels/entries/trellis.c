// Whole chunks of the trellis scheme, strip by strip through the kernels of the instruction set in use.

#include "../levels/dispatch.h"

enum { STRIP = INGOT_TRELLIS_STRIP };

size_t ingot_trellis_strips(size_t columns) { return columns / STRIP + (columns % STRIP != 0); }

static size_t strip_width(size_t columns, size_t strip) {
    size_t left = columns - strip * STRIP;
    return left < STRIP ? left : STRIP;
}

int32_t ingot_trellis_quantize(
    const float *weights, size_t rows, size_t columns, struct ingot_trellis_rule rule, int16_t *symbols,
    uint64_t *odd_masks, uint8_t *scratch) {
    const struct ingot_table *table = ingot_active_table();
    int32_t too_far = 0;
    for (size_t strip = 0; strip < ingot_trellis_strips(columns); strip += 1) {
        too_far |= table->trellis_quantize(
            weights + strip * STRIP, columns, rows, strip_width(columns, strip), rule, symbols + strip * rows * STRIP,
            odd_masks + strip * rows, scratch);
    }
    return too_far;
}

void ingot_trellis_restore(
    const int16_t *symbols, const uint64_t *odd_masks, size_t rows, size_t columns, float step, float *weights) {
    const struct ingot_table *table = ingot_active_table();
    for (size_t strip = 0; strip < ingot_trellis_strips(columns); strip += 1) {
        table->trellis_restore(
            symbols + strip * rows * STRIP, odd_masks + strip * rows, rows, strip_width(columns, strip), step,
            weights + strip * STRIP, columns);
    }
}

void ingot_trellis_histogram(
    const int16_t *symbols, const uint64_t *odd_masks, size_t rows, size_t columns, uint64_t *counts) {
    for (size_t strip = 0; strip < ingot_trellis_strips(columns); strip += 1) {
        size_t width = strip_width(columns, strip);
        for (size_t row = strip * rows; row < (strip + 1) * rows; row += 1) {
            for (size_t column = 0; column < width; column += 1) {
                int level = 2 * symbols[row * STRIP + column] + (int)(odd_masks[row] >> column & 1);
                int size = level < 0 ? -level : level;
                counts[size < INGOT_TRELLIS_HISTOGRAM ? size : INGOT_TRELLIS_HISTOGRAM - 1] += 1;
            }
        }
    }
}

void ingot_trellis_route(
    const int16_t *symbols, const uint64_t *odd_masks, const uint8_t *row_classes, size_t rows, size_t columns,
    struct ingot_trellis_alphabet alphabet, uint8_t *streams, const size_t *starts, size_t *counts, uint8_t *escapes,
    size_t *escape_count, uint8_t *low) {
    const struct ingot_table *table = ingot_active_table();
    int32_t classes = 1;
    for (size_t row = 0; row_classes && row < rows; row += 1) {
        if (row_classes[row] >= classes) { classes = row_classes[row] + 1; }
    }
    struct ingot_trellis_sinks sinks = {.escapes = escapes, .low = low};
    for (int32_t k = 0; k < 2 * classes; k += 1) { sinks.streams[k] = streams + starts[k]; }
    for (size_t strip = 0; strip < ingot_trellis_strips(columns); strip += 1) {
        table->trellis_route(
            symbols + strip * rows * STRIP, odd_masks + strip * rows, row_classes, rows, strip_width(columns, strip),
            alphabet, &sinks);
    }
    for (int32_t k = 0; k < 2 * classes; k += 1) { counts[k] = (size_t)(sinks.streams[k] - (streams + starts[k])); }
    *escape_count = (size_t)(sinks.escapes - escapes);
}

int32_t ingot_trellis_decode(
    int32_t states, const uint8_t *row_classes, size_t rows, size_t columns, struct ingot_trellis_alphabet alphabet,
    float step, const uint8_t *streams, const size_t *starts, const size_t *counts, int32_t classes,
    const uint8_t *escapes, size_t escape_count, const uint8_t *low, float *weights) {
    const struct ingot_table *table = ingot_active_table();
    struct ingot_trellis_sources sources = {
        .escapes = escapes, .escapes_end = escapes + escape_count, .low = low};
    for (int32_t k = 0; k < 2 * classes; k += 1) {
        sources.streams[k] = streams + starts[k];
        sources.ends[k] = streams + starts[k] + counts[k];
    }
    for (size_t strip = 0; strip < ingot_trellis_strips(columns); strip += 1) {
        int32_t status = table->trellis_decode(
            states, row_classes, rows, strip_width(columns, strip), alphabet, step, &sources, weights + strip * STRIP,
            columns);
        if (status != INGOT_TRELLIS_OK) { return status; }
    }
    int rest = sources.escapes != sources.escapes_end;
    for (int32_t k = 0; k < 2 * classes; k += 1) { rest |= sources.streams[k] != sources.ends[k]; }
    return rest ? INGOT_TRELLIS_MISCOUNT : INGOT_TRELLIS_OK;
}
