// The table of kernels. Each instruction set fills one in; the functions in entries/ call through it.

#ifndef INGOT_TABLE_H
#define INGOT_TABLE_H

#include "CKernels.h"
#include "../trellis/streams.h"

struct ingot_table {
    void (*expand)(int32_t, const void *, float *, size_t);
    void (*weight_statistics)(
        int32_t, const void *, size_t, size_t, double, uint32_t *, float *, float *, struct ingot_moments *);
    struct ingot_comparison (*compare_weights)(const float *, const float *, size_t, uint32_t *);
    size_t (*narrow)(int32_t, const float *, void *, size_t);
    struct ingot_non_finite (*scan_non_finite)(int32_t, const void *, size_t);
    void (*uniform_encode)(
        const float *, size_t, size_t, size_t, int32_t, int32_t, int32_t, void *, uint8_t *, float *, float *);
    struct ingot_error_sums (*uniform_round)(
        int32_t, const void *, size_t, size_t, size_t, int32_t, int32_t, uint8_t *, float *, float *);
    void (*peer_round)(
        int32_t, const float *, size_t, size_t, size_t, int32_t, int32_t, uint8_t *, float *, float *);
    void (*uniform_decode)(
        const uint8_t *, const float *, const float *, size_t, size_t, size_t, int32_t, float *);
    struct ingot_error_sums (*error_sums)(const float *, const float *, size_t);
    int32_t (*pack)(int32_t, int32_t, const uint8_t *, uint8_t *, size_t);
    int32_t (*unpack)(int32_t, int32_t, const uint8_t *, uint8_t *, size_t);
    void (*planes_split)(int32_t, int32_t, const void *, uint8_t *, size_t);
    void (*planes_join)(int32_t, int32_t, const uint8_t *, void *, size_t);
    int32_t (*trellis_quantize)(
        const float *, size_t, size_t, size_t, struct ingot_trellis_rule, int16_t *, uint64_t *, uint8_t *);
    void (*trellis_route)(
        const int16_t *, const uint64_t *, const uint8_t *, size_t, size_t, struct ingot_trellis_alphabet,
        struct ingot_trellis_sinks *);
    int32_t (*trellis_decode)(
        int32_t, const uint8_t *, size_t, size_t, struct ingot_trellis_alphabet, float, struct ingot_trellis_sources *,
        float *, size_t);
    void (*trellis_restore)(const int16_t *, const uint64_t *, size_t, size_t, float, float *, size_t);
    struct ingot_error_sums (*trellis_errors)(
        const float *, const int16_t *, const uint64_t *, struct ingot_chunk_shape, float);
    void (*pack_thirds)(const uint8_t *, uint8_t *, size_t);
    int32_t (*unpack_thirds)(const uint8_t *, uint8_t *, size_t);
    void (*row_energies)(const float *, struct ingot_chunk_shape, float *);
    void (*apply_steps)(float *, struct ingot_chunk_shape, const float *, const float *);
    void (*feedback_product)(float *, const float *, size_t, size_t, const float *, size_t, size_t, size_t);
    void (*feedback_form)(float *, const float *, size_t, size_t, const float *, size_t, size_t, size_t);
    double (*feedback_dot)(const float *, const float *, size_t, size_t, size_t);
    int32_t (*feedback_factor)(double *, size_t, size_t);
    size_t (*feedback_panel)(const struct ingot_feedback_panel *, uint8_t *, struct ingot_feedback_patch *);
    int32_t (*feedback_blocks)(const struct ingot_feedback_blocks *, void *);
    void (*codes_unpack)(int32_t, int32_t, const uint8_t *, uint8_t *, size_t);
    void (*codes_values)(int32_t, const float *, const uint8_t *, float *, size_t);
    void (*codes_scale)(float *, size_t, size_t, size_t, const float *, const float *, const float *, int32_t);
    void (*codes_transpose)(int32_t, const void *, void *, size_t, size_t);
    int32_t (*blocks_small)(int32_t, int32_t, const float *, size_t, size_t, const float *, uint8_t *);
    int32_t (*blocks_super)(int32_t, int32_t, const float *, size_t, size_t, const float *, uint8_t *);
    size_t (*rans_encode)(
        const int16_t *, const uint64_t *, struct ingot_chunk_shape, struct ingot_rans_rule, uint8_t *, uint8_t *);
    int32_t (*rans_decode)(
        const uint8_t *, size_t, struct ingot_chunk_shape, struct ingot_rans_rule, const uint8_t *, float, float *,
        size_t, uint8_t *);
};

#if defined(__x86_64__)
extern const struct ingot_table ingot_table_sse2;
extern const struct ingot_table ingot_table_avx2;
extern const struct ingot_table ingot_table_avx512;
extern const struct ingot_table ingot_table_avx512_vbmi2;
#elif defined(__aarch64__)
extern const struct ingot_table ingot_table_neon;
#else
#error "Ingot's kernels are written for x86-64 and arm64"
#endif

#endif
