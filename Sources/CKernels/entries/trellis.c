// Functions over whole chunks of the trellis scheme. They call the kernels of the instruction set in use, strip by strip.

#include "../levels/dispatch.h"

enum { STRIP = INGOT_TRELLIS_STRIP };

size_t ingot_trellis_strips(size_t columns) { return columns / STRIP + (columns % STRIP != 0); }

static size_t strip_width(size_t columns, size_t strip) {
    size_t left = columns - strip * STRIP;
    return left < STRIP ? left : STRIP;
}

int32_t ingot_trellis_quantize(
    const float *weights, struct ingot_chunk_shape shape, struct ingot_trellis_rule rule, int16_t *symbols,
    uint64_t *odd_masks, uint8_t *scratch) {
    const struct ingot_table *table = ingot_active_table();
    int32_t too_far = 0;
    for (size_t strip = 0; strip < ingot_trellis_strips(shape.columns); strip += 1) {
        too_far |= table->trellis_quantize(
            weights + strip * STRIP, shape.columns, shape.rows, strip_width(shape.columns, strip), rule,
            symbols + strip * shape.rows * STRIP, odd_masks + strip * shape.rows, scratch);
    }
    return too_far;
}

void ingot_trellis_restore(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, float step, float *weights) {
    const struct ingot_table *table = ingot_active_table();
    for (size_t strip = 0; strip < ingot_trellis_strips(shape.columns); strip += 1) {
        table->trellis_restore(
            symbols + strip * shape.rows * STRIP, odd_masks + strip * shape.rows, shape.rows,
            strip_width(shape.columns, strip), step, weights + strip * STRIP, shape.columns);
    }
}

struct ingot_error_sums ingot_trellis_errors(
    const float *weights, const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    float step) {
    return ingot_active_table()->trellis_errors(weights, symbols, odd_masks, shape, step);
}

void ingot_trellis_histogram(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, uint64_t *counts) {
    for (size_t strip = 0; strip < ingot_trellis_strips(shape.columns); strip += 1) {
        size_t width = strip_width(shape.columns, strip);
        for (size_t row = strip * shape.rows; row < (strip + 1) * shape.rows; row += 1) {
            for (size_t column = 0; column < width; column += 1) {
                int level = 2 * symbols[row * STRIP + column] + (int)(odd_masks[row] >> column & 1);
                int size = level < 0 ? -level : level;
                counts[size < INGOT_TRELLIS_HISTOGRAM ? size : INGOT_TRELLIS_HISTOGRAM - 1] += 1;
            }
        }
    }
}

size_t ingot_trellis_route(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    struct ingot_trellis_alphabet alphabet, struct ingot_symbol_buffers buffers) {
    const struct ingot_table *table = ingot_active_table();
    struct ingot_trellis_sinks sinks = {.escapes = buffers.escapes, .low = buffers.low};
    for (int32_t k = 0; k < 2 * buffers.classes; k += 1) { sinks.streams[k] = buffers.codes + buffers.starts[k]; }
    for (size_t strip = 0; strip < ingot_trellis_strips(shape.columns); strip += 1) {
        table->trellis_route(
            symbols + strip * shape.rows * STRIP, odd_masks + strip * shape.rows, buffers.row_classes, shape.rows,
            strip_width(shape.columns, strip), alphabet, &sinks);
    }
    for (int32_t k = 0; k < 2 * buffers.classes; k += 1) {
        buffers.counts[k] = (size_t)(sinks.streams[k] - (buffers.codes + buffers.starts[k]));
    }
    return (size_t)(sinks.escapes - buffers.escapes);
}

int32_t ingot_trellis_decode(
    int32_t states, struct ingot_chunk_shape shape, struct ingot_trellis_alphabet alphabet,
    struct ingot_symbol_streams streams, float step, float *weights) {
    const struct ingot_table *table = ingot_active_table();
    struct ingot_trellis_sources sources = {
        .escapes = streams.escapes, .escapes_end = streams.escapes + streams.escape_count, .low = streams.low};
    for (int32_t k = 0; k < 2 * streams.classes; k += 1) {
        sources.streams[k] = streams.codes + streams.starts[k];
        sources.ends[k] = sources.streams[k] + streams.counts[k];
    }
    for (size_t strip = 0; strip < ingot_trellis_strips(shape.columns); strip += 1) {
        int32_t status = table->trellis_decode(
            states, streams.row_classes, shape.rows, strip_width(shape.columns, strip), alphabet, step, &sources,
            weights + strip * STRIP, shape.columns);
        if (status != INGOT_TRELLIS_OK) { return status; }
    }
    int rest = sources.escapes != sources.escapes_end;
    for (int32_t k = 0; k < 2 * streams.classes; k += 1) { rest |= sources.streams[k] != sources.ends[k]; }
    return rest ? INGOT_TRELLIS_MISCOUNT : INGOT_TRELLIS_OK;
}
