// The public functions that forward to one kernel of the instruction set in use.

#include "../levels/dispatch.h"

void ingot_expand(int32_t format, const void *source, float *result, size_t n) {
    ingot_active_table()->expand(format, source, result, n);
}

size_t ingot_narrow(int32_t format, const float *source, void *result, size_t n) {
    return ingot_active_table()->narrow(format, source, result, n);
}

struct ingot_non_finite ingot_scan_non_finite(int32_t format, const void *source, size_t n) {
    return ingot_active_table()->scan_non_finite(format, source, n);
}

void ingot_uniform_encode(
    const float *weights, size_t rows, size_t columns, size_t group_size, int32_t bits, int32_t kind,
    int32_t scale_format, void *scratch, uint8_t *codes, float *scales, float *biases) {
    ingot_active_table()->uniform_encode(
        weights, rows, columns, group_size, bits, kind, scale_format, scratch, codes, scales, biases);
}

struct ingot_error_sums ingot_uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    return ingot_active_table()->uniform_round(
        format, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
}

void ingot_peer_round(
    int32_t peer, const float *weights, size_t rows, size_t columns, size_t group, int32_t bits, int32_t format,
    uint8_t *codes, float *scales, float *biases) {
    ingot_active_table()->peer_round(peer, weights, rows, columns, group, bits, format, codes, scales, biases);
}

void ingot_uniform_decode(
    const uint8_t *codes, const float *scales, const float *biases, size_t rows, size_t columns,
    size_t group_size, int32_t bits, float *weights) {
    ingot_active_table()->uniform_decode(codes, scales, biases, rows, columns, group_size, bits, weights);
}

struct ingot_error_sums ingot_error_sums(const float *original, const float *restored, size_t n) {
    return ingot_active_table()->error_sums(original, restored, n);
}

int32_t ingot_pack(int32_t layout, int32_t bits, const uint8_t *codes, uint8_t *packed, size_t n) {
    return ingot_active_table()->pack(layout, bits, codes, packed, n);
}

int32_t ingot_unpack(int32_t layout, int32_t bits, const uint8_t *packed, uint8_t *codes, size_t n) {
    return ingot_active_table()->unpack(layout, bits, packed, codes, n);
}

void ingot_planes_split(int32_t width, int32_t rotated, const void *source, uint8_t *planes, size_t n) {
    ingot_active_table()->planes_split(width, rotated, source, planes, n);
}

void ingot_planes_join(int32_t width, int32_t rotated, const uint8_t *planes, void *result, size_t n) {
    ingot_active_table()->planes_join(width, rotated, planes, result, n);
}

void ingot_pack_thirds(const uint8_t *symbols, uint8_t *packed, size_t n) {
    ingot_active_table()->pack_thirds(symbols, packed, n);
}

int32_t ingot_unpack_thirds(const uint8_t *packed, uint8_t *symbols, size_t n) {
    return ingot_active_table()->unpack_thirds(packed, symbols, n);
}

void ingot_weight_statistics(
    int32_t format, const void *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments) {
    ingot_active_table()->weight_statistics(
        format, source, rows, columns, shift, counts, row_energies, column_energies, moments);
}

struct ingot_comparison ingot_compare_weights(
    const float *original, const float *restored, size_t n, uint32_t *error_counts) {
    return ingot_active_table()->compare_weights(original, restored, n, error_counts);
}

void ingot_row_energies(const float *weights, struct ingot_chunk_shape shape, float *energies) {
    ingot_active_table()->row_energies(weights, shape, energies);
}

size_t ingot_rans_encode(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, struct ingot_rans_rule rule,
    uint8_t *bytes, void *scratch) {
    return ingot_active_table()->rans_encode(symbols, odd_masks, shape, rule, bytes, scratch);
}

int32_t ingot_rans_decode(
    const uint8_t *bytes, size_t count, struct ingot_chunk_shape shape, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, size_t stride, void *scratch) {
    return ingot_active_table()->rans_decode(bytes, count, shape, rule, low, step, weights, stride, scratch);
}
