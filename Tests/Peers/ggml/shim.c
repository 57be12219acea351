// The entry points that the tests call, and the four functions that ggml-quants.c needs from the rest of ggml.
#include "ggml-quants.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// Every type that the exporter writes in blocks: name in ggml's enumeration, name in ggml's functions, weights in a block.
#define EACH_TYPE(X) \
    X(Q4_0, q4_0, QK4_0) X(Q4_1, q4_1, QK4_1) X(Q5_0, q5_0, QK5_0) X(Q5_1, q5_1, QK5_1) X(Q8_0, q8_0, QK8_0) \
    X(Q2_K, q2_K, QK_K) X(Q3_K, q3_K, QK_K) X(Q4_K, q4_K, QK_K) X(Q5_K, q5_K, QK_K) X(Q6_K, q6_K, QK_K) \
    X(IQ4_NL, iq4_nl, QK4_NL) X(IQ4_XS, iq4_xs, QK_K) X(MXFP4, mxfp4, QK_MXFP4)

void ggml_abort(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    abort();
}

size_t ggml_type_size(enum ggml_type type) {
    switch (type) {
#define SIZE(NAME, name, block) case GGML_TYPE_##NAME: return sizeof(block_##name);
        EACH_TYPE(SIZE)
        default: ggml_abort(__FILE__, __LINE__, "no size of type %d\n", type);
    }
}

size_t ggml_row_size(enum ggml_type type, int64_t columns) {
    switch (type) {
#define ROW(NAME, name, block) case GGML_TYPE_##NAME: return (size_t)(columns / block) * sizeof(block_##name);
        EACH_TYPE(ROW)
        default: ggml_abort(__FILE__, __LINE__, "no size of type %d\n", type);
    }
}

const char *ggml_type_name(enum ggml_type type) {
    switch (type) {
#define TEXT(NAME, name, block) case GGML_TYPE_##NAME: return #name;
        EACH_TYPE(TEXT)
        default: return "other";
    }
}

// Quantizes `rows` rows of `columns` weights. `importance` has one value per column, or is null. Returns the bytes written; 0: not a type
// of ours, or the columns fill no blocks.
size_t peer_quantize(int type, const float *weights, void *blocks, int64_t rows, int64_t columns, const float *importance) {
    switch (type) {
#define QUANTIZE(NAME, name, block) \
        case GGML_TYPE_##NAME: return columns % block ? 0 : quantize_##name(weights, blocks, rows, columns, importance);
        EACH_TYPE(QUANTIZE)
        default: return 0;
    }
}

// Decodes `count` weights, a multiple of the block. Returns the bytes read.
size_t peer_dequantize(int type, const void *blocks, float *weights, int64_t count) {
    switch (type) {
#define DEQUANTIZE(NAME, name, block) \
        case GGML_TYPE_##NAME: dequantize_row_##name(blocks, weights, count); return ggml_row_size(type, count);
        EACH_TYPE(DEQUANTIZE)
        default: return 0;
    }
}

size_t peer_row_size(int type, int64_t columns) { return ggml_row_size(type, columns); }
