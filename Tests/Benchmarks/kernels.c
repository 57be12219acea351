// The trellis kernels alone, on one core, each instruction set in turn: weights to compressed streams and back, as M weights/s
// and against a memcpy of the same fp16 bytes; decoding also with scale bytes. Prints Markdown. Times are processor time. With
// zstd the layout is that of a chunk with one class of rows.

#include "CKernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

enum { ROWS = 512, COLUMNS = 512, CHUNK = ROWS * COLUMNS, CHUNKS = 16, STRIP = INGOT_TRELLIS_STRIP, FORMAT_F16 = 1 };
static const struct ingot_chunk_shape shape = {ROWS, COLUMNS};

static uint8_t source[CHUNKS * CHUNK * 2], copy[CHUNKS * CHUNK * 2];
static float weights[CHUNK], restored[CHUNK];
static int16_t symbols[CHUNK];
static uint64_t odd_masks[CHUNK / STRIP];
static float row_steps[ROWS], column_scales[COLUMNS];
static uint8_t scratch[ROWS * STRIP * 6];
static uint8_t streams[2 * (CHUNK + INGOT_TRELLIS_SLACK)], escapes[CHUNK + INGOT_TRELLIS_SLACK], packed[CHUNK];
static const size_t starts[2] = {0, CHUNK + INGOT_TRELLIS_SLACK};
static const struct ingot_trellis_alphabet nibbles = {7, 0};
static uint8_t frames[CHUNKS][3][4 * CHUNK];
static size_t frame_bytes[CHUNKS][3], counts[CHUNKS][3];
static enum { ZSTD, RANS } codec;
static void *rans_scratch;
static struct ingot_rans_rule rans_rule(int32_t states) { return (struct ingot_rans_rule){states, 0, 16, 51}; }
static ZSTD_CCtx *compressor;
static ZSTD_DCtx *decompressor;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// Standard normal by Box and Muller, from a fixed seed.
static void make_weights(void) {
    uint64_t state = 88172645463325252u;
    for (int chunk = 0; chunk < CHUNKS; chunk += 1) {
        for (int i = 0; i < CHUNK; i += 1) {
            double uniform[2];
            for (int k = 0; k < 2; k += 1) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                uniform[k] = ((double)(state >> 11) + 0.5) * 0x1p-53;
            }
            weights[i] = (float)(sqrt(-2 * log(uniform[0])) * cos(6.283185307179586 * uniform[1]));
        }
        ingot_narrow(FORMAT_F16, weights, source + (size_t)chunk * CHUNK * 2, CHUNK);
    }
}

// Seconds spent in the stages of encoding: widening, search, symbols to streams, compression.
static double stages[4];

static void compress(int chunk, int stream, const uint8_t *bytes, size_t count) {
    frame_bytes[chunk][stream] = ZSTD_compress2(compressor, frames[chunk][stream], CHUNK, bytes, count);
}

static void encode(int chunk, struct ingot_trellis_rule rule) {
    double times[5] = {now()};
    ingot_expand(FORMAT_F16, source + (size_t)chunk * CHUNK * 2, weights, CHUNK);
    times[1] = now();
    stages[0] += times[1] - times[0];
    ingot_trellis_quantize(weights, shape, rule, symbols, odd_masks, scratch);
    times[2] = now();
    stages[1] += times[2] - times[1];
    if (codec == RANS) {
        frame_bytes[chunk][0] = ingot_rans_encode(
            symbols, odd_masks, shape, rans_rule(rule.states), frames[chunk][0], rans_scratch);
        frame_bytes[chunk][1] = frame_bytes[chunk][2] = 0;
        stages[3] += now() - times[2];
        return;
    }
    struct ingot_symbol_buffers buffers = {1, NULL, streams, starts, counts[chunk], escapes, NULL};
    counts[chunk][2] = ingot_trellis_route(symbols, odd_masks, shape, nibbles, buffers);
    times[3] = now();
    stages[2] += times[3] - times[2];
    for (int parity = 0; parity < 2; parity += 1) {
        size_t count = counts[chunk][parity];
        ingot_pack(INGOT_LAYOUT_ALIGNED, 4, streams + starts[parity], packed, count);
        compress(chunk, parity, packed, (count + 1) / 2);
    }
    compress(chunk, 2, escapes, counts[chunk][2]);
    stages[3] += now() - times[3];
}

static void unpack(int chunk, int stream, uint8_t *bytes, size_t count) {
    ZSTD_decompressDCtx(decompressor, bytes, count, frames[chunk][stream], frame_bytes[chunk][stream]);
}

// Decodes a chunk; with `scaled` as a chunk with scale bytes.
static int decode(int chunk, int32_t states, float step, int scaled) {
    const float common = scaled ? 1 : step;
    if (codec == RANS) {
        int failed = ingot_rans_decode(
            frames[chunk][0], frame_bytes[chunk][0], shape, rans_rule(states), NULL, common, restored, COLUMNS,
            rans_scratch);
        if (scaled) { ingot_apply_steps(restored, shape, row_steps, column_scales); }
        ingot_narrow(FORMAT_F16, restored, copy + (size_t)chunk * CHUNK * 2, CHUNK);
        return failed;
    }
    for (int parity = 0; parity < 2; parity += 1) {
        size_t count = counts[chunk][parity];
        unpack(chunk, parity, packed, (count + 1) / 2);
        ingot_unpack(INGOT_LAYOUT_ALIGNED, 4, packed, streams + starts[parity], count);
    }
    unpack(chunk, 2, escapes, counts[chunk][2]);
    struct ingot_symbol_streams routed = {
        1, NULL, streams, starts, counts[chunk], escapes, counts[chunk][2], NULL};
    int failed = ingot_trellis_decode(states, shape, nibbles, routed, common, restored);
    if (scaled) { ingot_apply_steps(restored, shape, row_steps, column_scales); }
    ingot_narrow(FORMAT_F16, restored, copy + (size_t)chunk * CHUNK * 2, CHUNK);
    return failed;
}

static double best(double a, double b) { return a < b ? a : b; }

int main(void) {
    make_weights();
    for (int i = 0; i < COLUMNS; i += 1) { column_scales[i] = (float)exp2((i * 5 % 9 - 4) / 8.0); }
    rans_scratch = aligned_alloc(64, (ingot_rans_scratch(shape) + 63) & ~(size_t)63);
    compressor = ZSTD_createCCtx();
    decompressor = ZSTD_createDCtx();
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_minMatch, 7);
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_hashLog, 6);
    const double total = (double)CHUNKS * CHUNK / 1e6;
    double memory = 1e9;
    for (int run = 0; run < 9; run += 1) {
        double begin = now();
        memcpy(copy, source, sizeof source);
        memory = best(memory, now() - begin);
    }
    printf("memcpy of the fp16 bytes: %.0f M weights/s\n\n", total / memory);
    printf("| kernels | codec | states | bits per weight | relative MSE | encode | x memcpy | decode | x memcpy | decode with scales | of decode | of encoding: "
           "widen, search, streams, codec |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    static const struct { float step, shrink; } points[] = {{0.1312f, 0.996f}, {0.2624f, 0.983f}, {0.503f, 0.928f}};
    for (int level = 3; level >= 0; level -= 1) {
        if (ingot_level_force(level) != 0) { continue; }
        // Three rates with each codec, then one with more states.
        for (int way = 0; way < 8; way += 1) {
            codec = way >= 3 && way < 6 ? RANS : ZSTD;
            const int32_t states = way < 6 ? 8 : way == 6 ? 16 : 32;
            const int point = way < 6 ? way % 3 : 0;
            float step = points[point].step;
            struct ingot_trellis_rule rule = {states, 1 / step, 0, points[point].shrink, 2 * 127 - 1};
            for (int row = 0; row < ROWS; row += 1) { row_steps[row] = step; }
            double encoding = 1e9, decoding = 1e9, scaled = 1e9, shares[4] = {0};
            for (int run = 0; run < 7; run += 1) {
                memset(stages, 0, sizeof stages);
                double begin = now();
                for (int chunk = 0; chunk < CHUNKS; chunk += 1) { encode(chunk, rule); }
                double time = now() - begin;
                if (time < encoding) {
                    encoding = time;
                    for (int k = 0; k < 4; k += 1) { shares[k] = stages[k] / time; }
                }
            }
            size_t bytes = 0;
            double signal = 0, noise = 0;
            for (int run = 0; run < 14; run += 1) {
                double begin = now(), *least = run % 2 ? &scaled : &decoding;
                int failed = 0;
                for (int chunk = 0; chunk < CHUNKS; chunk += 1) { failed |= decode(chunk, states, step, run % 2); }
                *least = best(*least, now() - begin);
                if (failed) { return 1; }
            }
            for (int chunk = 0; chunk < CHUNKS; chunk += 1) {
                for (int k = 0; k < 3; k += 1) { bytes += frame_bytes[chunk][k]; }
                ingot_expand(FORMAT_F16, source + (size_t)chunk * CHUNK * 2, weights, CHUNK);
                decode(chunk, states, step, 0);
                struct ingot_error_sums sums = ingot_error_sums(weights, restored, CHUNK);
                signal += sums.signal;
                noise += sums.noise;
            }
            printf("| %s | %s | %d | %.3f | %.5f | %.0f | %.3f | %.0f | %.3f | %.0f | %.1f %% | %.0f %%, %.0f %%, %.0f %%, %.0f %% |\n",
                ingot_level_name(level), codec == RANS ? "rans" : "zstd", states, (double)bytes * 8 / ((double)CHUNKS * CHUNK), noise / signal,
                total / encoding, memory / encoding, total / decoding, memory / decoding, total / scaled,
                100 * decoding / scaled, 100 * shares[0],
                100 * shares[1], 100 * shares[2], 100 * shares[3]);
        }
    }
    return 0;
}
