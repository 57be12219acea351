// Arithmetic over whole chunks, with one implementation for each instruction set, chosen at run time.
//
// Every function gives the same bits on every instruction set. None allocates, none fails: sizes are
// the caller's promise. `format` is the raw value of TensorModel's FloatFormat: 1 F16, 2 BF16, 3 F32; `bits` is
// 2, 3, 4, 5, 6 or 8. Byte pointers may have any alignment.

#ifndef INGOT_CKERNELS_H
#define INGOT_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Instruction sets

enum {
    INGOT_LEVEL_BASELINE = 0,  // SSE2 on x86-64, NEON on arm64
    INGOT_LEVEL_AVX2 = 1,      // AVX2 and F16C
    INGOT_LEVEL_AVX512 = 2,    // AVX-512 F, BW, VL and DQ
    INGOT_LEVEL_AVX512_VBMI2 = 3,
};

/// Whether this processor can run the kernels of `level`: 1 or 0.
int32_t ingot_level_is_available(int32_t level);
/// The level in use: the highest available one, unless the environment's INGOT_KERNELS names another by its name below, or
/// `ingot_level_force` chose one.
int32_t ingot_level_active(void);
/// Uses `level` from now on, in every thread. Returns 0, or -1 where it is not available (nothing changes).
int32_t ingot_level_force(int32_t level);
/// "sse2", "avx2", "avx512", "avx512vbmi2", "neon", or "unknown". The string is static.
const char *ingot_level_name(int32_t level);

/// The size of a chunk. Its elements are row-major unless a function says otherwise.
struct ingot_chunk_shape {
    size_t rows, columns;
};

// Conversion between storage formats and binary32

/// Widens n elements; exact, NaN payloads kept, signalling NaNs of F16 made quiet.
void ingot_expand(int32_t format, const void *source, float *result, size_t n);
/// Rounds n elements to nearest, ties to even. Returns how many finite values became infinite.
size_t ingot_narrow(int32_t format, const float *source, void *result, size_t n);

struct ingot_non_finite {
    size_t nan_count;
    size_t infinity_count;
    size_t first_index;  // of either kind; n where there is none
};
struct ingot_non_finite ingot_scan_non_finite(int32_t format, const void *source, size_t n);

// Error statistics

struct ingot_error_sums {
    double signal;     // sum of w^2
    double noise;      // sum of (w - w')^2
    double max_error;  // max |w - w'|
};
/// Sums in binary64: element i goes to lane i % 16, then lanes k and k+8, k and k+4, k and k+2, 0 and 1 are added.
struct ingot_error_sums ingot_error_sums(const float *original, const float *restored, size_t n);

// Statistics

struct ingot_moments {
    double first, second, third, fourth;  // sums of (w - shift)^k over finite weights
    double smallest, largest;             // of the finite weights
    uint64_t zeros, subnormals, infinities;
};
/// Adds up what there is to know of rows x columns elements, row-major.
///
/// counts: 65,536, of each pattern of 16 bits: the element itself, or of binary32 its upper half; at most 2^32 - 1 each.
/// row_energies, column_energies: sums of squares, or null. moments: of binary32 only; for the others they follow from counts.
void ingot_weight_statistics(
    int32_t format, const void *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments);

enum {
    // |w - w'| in binary32 is counted by its bits without the lowest 17: 6 bits of the mantissa.
    INGOT_ERROR_BIN_SHIFT = 17,
    INGOT_ERROR_BINS = 1 << 14,
};
struct ingot_comparison {
    struct ingot_error_sums sums;       // those of ingot_error_sums, to the bit
    double product, restored_energy;    // sums of w * w' and of w'^2
    uint64_t changed;                   // w != w'
    uint64_t sign_flips;                // w and w' of opposite signs
    uint64_t zeroed;                    // w' is zero, w is not
};
/// Compares n weights with what was restored of them; adds to error_counts, of INGOT_ERROR_BINS.
struct ingot_comparison ingot_compare_weights(
    const float *original, const float *restored, size_t n, uint32_t *error_counts);

// Uniform scheme (Specs/uniform.md)

/// The longest group the encoders accept.
enum { INGOT_MAX_GROUP_SIZE = 256 };

/// Chooses scales, biases and codes for rows x columns weights, row-major.
///
/// codes: rows*columns; scales and biases: rows*ceil(columns/group_size), values exactly representable in
/// `scale_format`. biases is written for affine groups only and may be null for symmetric ones.
void ingot_uniform_encode(
    const float *weights, size_t rows, size_t columns, size_t group_size, int32_t bits, int32_t symmetric,
    int32_t scale_format, uint8_t *codes, float *scales, float *biases);

/// Scales and biases from each group's extremes, codes by rounding; and the error sums of what is restored from them.
///
/// source: rows x columns finite elements of `format`, which scales and biases are representable in. Else as above.
struct ingot_error_sums ingot_uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases);

/// weights = scale*code + bias (two roundings), or scale*(code - 2^(bits-1)) where biases is null.
void ingot_uniform_decode(
    const uint8_t *codes, const float *scales, const float *biases, size_t rows, size_t columns,
    size_t group_size, int32_t bits, float *weights);

// Code packing. `dense`: one little-endian bit stream, code i at bits [i*bits, (i+1)*bits). `aligned`: whole codes
// per byte: 4 at 2 bits, 2 at 3 and 4 bits, 1 above. Unused bits are zero.

enum { INGOT_LAYOUT_DENSE = 0, INGOT_LAYOUT_ALIGNED = 1 };
enum {
    INGOT_UNPACK_OK = 0,
    INGOT_UNPACK_CODE_TOO_LARGE = 1,  // a bit above the code's width is set
    INGOT_UNPACK_TAIL_NOT_ZERO = 2,   // a padding bit behind the last code is set
};
size_t ingot_packed_byte_count(int32_t layout, int32_t bits, size_t n);
/// Packs n codes into exactly ingot_packed_byte_count bytes. Returns 0, or 1 if a code was too large.
int32_t ingot_pack(int32_t layout, int32_t bits, const uint8_t *codes, uint8_t *packed, size_t n);
/// Unpacks n codes from exactly ingot_packed_byte_count bytes. On bad input `codes` holds no promise.
int32_t ingot_unpack(int32_t layout, int32_t bits, const uint8_t *packed, uint8_t *codes, size_t n);

// Byte planes: plane p is result[p*n ..< (p+1)*n], plane 0 the least significant byte. With `rotated` every element
// is first rotated left by one bit (the sign becomes bit 0).

void ingot_planes_split(int32_t width, int32_t rotated, const void *source, uint8_t *planes, size_t n);
void ingot_planes_join(int32_t width, int32_t rotated, const uint8_t *planes, void *result, size_t n);

// Trellis scheme (Specs/trellis.md). A chunk is cut into strips of 64 neighbouring columns, each column its own
// trellis down the rows. Symbols and masks are in strip order: strip by strip, row by row, 64 columns each, of which those
// beyond the chunk's width do not count.

enum {
    INGOT_TRELLIS_STRIP = 64,
    INGOT_TRELLIS_MAX_STATES = 32,
    INGOT_TRELLIS_MAX_CLASSES = 4,
    // Bytes that may be touched behind the last symbol of a stream, and read behind the last of any.
    INGOT_TRELLIS_SLACK = 64,
    // Levels from 0 on that a histogram tells apart; the last counts all beyond.
    INGOT_TRELLIS_HISTOGRAM = 64,
};

/// How weights become levels. A weight w is searched for at sign(w) * max(|w| * inverse_step - dead_zone, 0) * shrink, not
/// farther out than `farthest`.
struct ingot_trellis_rule {
    int32_t states;  // 8, 16 or 32
    float inverse_step;
    float dead_zone;
    float shrink;
    float farthest;  // in levels, above 0, at most 16381
};

/// Strips of a chunk of so many columns.
size_t ingot_trellis_strips(size_t columns);

/// Finds the best way through the trellis of each column of a chunk, whose weights are finite and row-major.
///
/// symbols: strips * rows * 64. odd_masks: strips * rows; bit c is the parity of column c's state. scratch: rows * 64 *
/// (2 + states/8) bytes, aligned to 2. Returns 1 if a weight was too far out, else 0.
int32_t ingot_trellis_quantize(
    const float *weights, struct ingot_chunk_shape shape, struct ingot_trellis_rule rule, int16_t *symbols,
    uint64_t *odd_masks, uint8_t *scratch);

/// What the decoder will make of the symbols: level * step, rounded once, row-major.
void ingot_trellis_restore(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, float step, float *weights);

/// The error sums of weights and what ingot_trellis_restore would make of the symbols, to the bit those of ingot_error_sums. The columns
/// of the shape are a multiple of 16.
struct ingot_error_sums ingot_trellis_errors(
    const float *weights, const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    float step);

/// Adds |level| of every symbol to a histogram.
void ingot_trellis_histogram(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, uint64_t *counts);

/// How symbols k become bytes: k >> low_bits + limit where that is 0 to 2 * limit, else the escape 2 * limit + 1, with
/// k >> low_bits itself in the stream of escapes; and the low bits of k, a byte each.
struct ingot_trellis_alphabet {
    int32_t limit;     // 1 to 127; at 127 nothing escapes
    int32_t low_bits;  // 0 to 6; more than 0 only with limit 127
};

/// The streams of a chunk's symbols, one byte a symbol: a symbol in row r with parity q is in stream 2 * c + q, c the row's
/// class.
struct ingot_symbol_streams {
    int32_t classes;             // 1 to INGOT_TRELLIS_MAX_CLASSES
    const uint8_t *row_classes;  // one a row, below `classes`; or null where there is one class
    const uint8_t *codes;        // all streams
    const size_t *starts;        // where each of the 2 * classes streams begins in `codes`
    const size_t *counts;        // the symbols of each stream
    const uint8_t *escapes;
    size_t escape_count;
    const uint8_t *low;          // the low bits, rows * columns bytes; or null where there are none
};

/// Room for such streams. INGOT_TRELLIS_SLACK bytes behind each stream, behind escapes and behind low bits may be written.
struct ingot_symbol_buffers {
    int32_t classes;
    const uint8_t *row_classes;
    uint8_t *codes;
    const size_t *starts;
    size_t *counts;  // receives the symbols of each stream
    uint8_t *escapes, *low;
};

/// Writes the symbols of a chunk to streams. Symbols >> low_bits are -127 to 127. Returns the number of escapes.
size_t ingot_trellis_route(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    struct ingot_trellis_alphabet alphabet, struct ingot_symbol_buffers buffers);

enum { INGOT_TRELLIS_OK = 0, INGOT_TRELLIS_MISCOUNT = 1 };
/// Restores a chunk, row-major: level * step, rounded once. INGOT_TRELLIS_SLACK bytes behind each stream, behind escapes and
/// behind low bits may be read.
///
/// Returns INGOT_TRELLIS_MISCOUNT where streams hold more or fewer symbols than they must; `weights` then holds no promise.
int32_t ingot_trellis_decode(
    int32_t states, struct ingot_chunk_shape shape, struct ingot_trellis_alphabet alphabet,
    struct ingot_symbol_streams streams, float step, float *weights);

/// Three symbols below 6 a byte, ceil(n / 3) bytes.
void ingot_pack_thirds(const uint8_t *symbols, uint8_t *packed, size_t n);
/// Unpacks n bytes to 3 n symbols. Returns 0, or 1 where a byte is above 215.
int32_t ingot_unpack_thirds(const uint8_t *packed, uint8_t *symbols, size_t n);

/// The sum of squares of each row, in binary32: lane i % 16 in rising i, then lanes k and k+8, k+4, k+2, k+1.
void ingot_row_energies(const float *weights, struct ingot_chunk_shape shape, float *energies);

// rANS coding of trellis symbols (Specs/rans.md)

enum {
    INGOT_RANS_OK = 0,
    INGOT_RANS_BAD_LENGTH = 1,  // too short, or words or escapes were missing or left over
    INGOT_RANS_BAD_MODEL = 2,   // a table that cannot be
    INGOT_RANS_BAD_STATE = 3,   // a first state out of range
    INGOT_RANS_BAD_END = 4,     // a last state other than the constant
};

struct ingot_rans_rule {
    int32_t states;       // of the trellis: 8, 16 or 32; for decoding
    int32_t low_bits;     // the lowest bits of the symbols, which are kept elsewhere
    int32_t max_classes;  // 1 to 16; for encoding
    int32_t unit;         // width of a class, in 1/256 octave: 51 is good; for encoding
};

/// The most bytes a chunk of rows x columns symbols can take, with room the encoder needs. 1 <= rows * columns <= 2^22.
size_t ingot_rans_bound(struct ingot_chunk_shape shape);
/// Bytes of scratch either direction needs, aligned to 64.
size_t ingot_rans_scratch(struct ingot_chunk_shape shape);
/// Codes a chunk. Symbols lie in strips of 64 columns, row by row, every row padded to 64; bit i of odd_masks[row] of a
/// strip is the lowest bit of column i's state. `bytes` has ingot_rans_bound bytes. Returns the number of bytes used, or
/// 0 where a symbol (without its low bits) is not in -128...127.
size_t ingot_rans_encode(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, struct ingot_rans_rule rule,
    uint8_t *bytes, void *scratch);
/// Decodes a chunk to weights; row i goes to weights + i*stride. `low`: with low_bits > 0, the low bits of the symbols, a
/// byte each in strip order, rows * columns, and INGOT_TRELLIS_SLACK bytes that may be read behind. Returns INGOT_RANS_OK;
/// otherwise the weights hold no promise.
int32_t ingot_rans_decode(
    const uint8_t *bytes, size_t count, struct ingot_chunk_shape shape, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, size_t stride, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
