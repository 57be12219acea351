// Arithmetic over whole chunks, with one implementation per instruction set, chosen at run time.
//
// Every function gives the same bits on every instruction set. No function allocates memory or reports an error for sizes: the
// caller must pass sizes that fit. `format` is the raw value of TensorModel's FloatFormat: 1 F16, 2 BF16, 3 F32. `bits` is
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
/// The level in use: the one set by `ingot_level_force`, otherwise the one that the environment variable INGOT_KERNELS names
/// (a name of `ingot_level_name`), otherwise the highest available one.
int32_t ingot_level_active(void);
/// Uses `level` from now on, in every thread. Returns 0, or -1 if it is not available; then nothing changes.
int32_t ingot_level_force(int32_t level);
/// "sse2", "avx2", "avx512", "avx512vbmi2", "neon", or "unknown". The string is static.
const char *ingot_level_name(int32_t level);

/// The size of a chunk. Its elements are row-major unless a function says otherwise.
struct ingot_chunk_shape {
    size_t rows, columns;
};

// Conversion between storage formats and binary32

/// Widens n elements to binary32. Exact: NaN payloads are kept, signalling NaNs of F16 become quiet.
void ingot_expand(int32_t format, const void *source, float *result, size_t n);
/// Rounds n values to `format`, to nearest, ties to even. Returns the number of finite values that became infinite.
size_t ingot_narrow(int32_t format, const float *source, void *result, size_t n);

/// Numbers of NaN and infinite elements.
struct ingot_non_finite {
    size_t nan_count;
    size_t infinity_count;
    size_t first_index;  // index of the first NaN or infinity; n if there is none
};
/// Counts the NaN and infinite elements among n elements of `format`.
struct ingot_non_finite ingot_scan_non_finite(int32_t format, const void *source, size_t n);

// Error statistics

/// Error sums between weights w and restored weights w'.
struct ingot_error_sums {
    double signal;     // sum of w^2
    double noise;      // sum of (w - w')^2
    double max_error;  // max |w - w'|
};
/// Sums over n pairs, in binary64: element i is added to lane i % 16. Then lanes k and k+8 are added, k and k+4, k and k+2, 0 and 1.
struct ingot_error_sums ingot_error_sums(const float *original, const float *restored, size_t n);

// Statistics

/// Sums over binary32 weights. Callers set them before the first call; kernels add to them.
struct ingot_moments {
    double first, second, third, fourth;  // sums of (w - shift)^k over finite weights
    double smallest, largest;             // of the finite weights
    uint64_t zeros, subnormals, infinities;
};
/// Adds the statistics of rows x columns row-major elements to the results.
///
/// counts: 65,536 counts, by 16 bits of the element: all bits of F16 and BF16, the upper half of F32. A count must stay below 2^32.
/// row_energies, column_energies: sums of squares per row and per column, or null. moments: for F32 only; those of the other
/// formats follow from counts.
void ingot_weight_statistics(
    int32_t format, const void *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments);

enum {
    // The bin of an error is the bits of |w - w'| in binary32 without the lowest 17, which leaves 6 bits of mantissa.
    INGOT_ERROR_BIN_SHIFT = 17,
    INGOT_ERROR_BINS = 1 << 14,
};
/// Sums from comparing weights w with restored weights w'.
struct ingot_comparison {
    struct ingot_error_sums sums;       // the same bits as ingot_error_sums
    double product, restored_energy;    // sum of w * w', sum of w'^2
    uint64_t changed;                   // number of weights with w != w'
    uint64_t sign_flips;                // number with w and w' of opposite signs
    uint64_t zeroed;                    // number with w' zero and w nonzero
};
/// Compares n weights with the restored ones. Adds the errors to error_counts, which has INGOT_ERROR_BINS counts.
struct ingot_comparison ingot_compare_weights(
    const float *original, const float *restored, size_t n, uint32_t *error_counts);

// Uniform scheme (Specs/uniform.md)

/// The longest group that needs no scratch.
enum { INGOT_MAX_GROUP_SIZE = 256 };
enum {
    INGOT_UNIFORM_AFFINE = 0,     // scale * code + bias, scale 0 or more
    INGOT_UNIFORM_SYMMETRIC = 1,  // scale * (code - 2^(bits - 1)), scale 0 or more
    INGOT_UNIFORM_SIGNED = 2,     // the same, with scales of both signs; no error is larger than with the scale of compressed-tensors
};

/// Searches scales, biases and codes for rows x columns row-major weights.
///
/// codes: rows * columns. scales and biases: rows * ceil(columns / group_size), all exactly representable in `scale_format`.
/// biases is written for affine groups only and may be null for others. scratch: null, or 64 * group_size bytes, aligned to 64, for groups of
/// more than INGOT_MAX_GROUP_SIZE weights, of kind INGOT_UNIFORM_SIGNED.
void ingot_uniform_encode(
    const float *weights, size_t rows, size_t columns, size_t group_size, int32_t bits, int32_t kind,
    int32_t scale_format, void *scratch, uint8_t *codes, float *scales, float *biases);

/// Takes scales and biases from the extremes of each group, and rounds to codes. Returns the error sums of the restored weights.
///
/// source: rows x columns finite elements of `format`, which also stores scales and biases. The other buffers are as above.
struct ingot_error_sums ingot_uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases);

/// Restores weights: scale * code + bias, each operation rounded, or scale * (code - 2^(bits-1)) if biases is null.
void ingot_uniform_decode(
    const uint8_t *codes, const float *scales, const float *biases, size_t rows, size_t columns,
    size_t group_size, int32_t bits, float *weights);

enum {
    INGOT_PEER_MLX = 0,                // mlx.core.quantize, mode affine
    INGOT_PEER_COMPRESSED_TENSORS = 1,  // compressed-tensors, symmetric
};
/// Scales and codes as another quantizer finds them, to the bit.
///
/// weights: rows * columns finite numbers of `format`, widened; columns is a multiple of `group`. codes: one a weight, from 0 on. scales: one a
/// group, exactly representable in `format`. biases: the same, for MLX only; null for compressed-tensors.
void ingot_peer_round(
    int32_t peer, const float *weights, size_t rows, size_t columns, size_t group, int32_t bits, int32_t format,
    uint8_t *codes, float *scales, float *biases);

// Code packing. `dense`: one little-endian bit stream, code i in bits i*bits to (i+1)*bits - 1. `aligned`: whole codes per byte: 4
// codes of 2 bits, 2 codes of 3 or 4 bits, or 1 code of more bits. Unused bits are zero.

enum { INGOT_LAYOUT_DENSE = 0, INGOT_LAYOUT_ALIGNED = 1 };
enum {
    INGOT_UNPACK_OK = 0,
    INGOT_UNPACK_CODE_TOO_LARGE = 1,  // a bit above the code's width is set
    INGOT_UNPACK_TAIL_NOT_ZERO = 2,   // a padding bit behind the last code is set
};
/// Bytes that n packed codes take.
size_t ingot_packed_byte_count(int32_t layout, int32_t bits, size_t n);
/// Packs n codes into ingot_packed_byte_count bytes. Returns 0, or 1 if a code has more than `bits` bits.
int32_t ingot_pack(int32_t layout, int32_t bits, const uint8_t *codes, uint8_t *packed, size_t n);
/// Unpacks n codes from ingot_packed_byte_count bytes. Returns INGOT_UNPACK_OK or a fault; after a fault `codes` is undefined.
int32_t ingot_unpack(int32_t layout, int32_t bits, const uint8_t *packed, uint8_t *codes, size_t n);

// Byte planes of n elements of `width` (2 or 4) bytes: plane p is bytes p*n to (p+1)*n - 1, plane 0 has the least significant
// bytes. With `rotated`, each element is first rotated left by one bit, so that the sign becomes bit 0.

/// Splits n elements into planes. `planes` has n * width bytes.
void ingot_planes_split(int32_t width, int32_t rotated, const void *source, uint8_t *planes, size_t n);
/// Joins planes to n elements, as the inverse of ingot_planes_split.
void ingot_planes_join(int32_t width, int32_t rotated, const uint8_t *planes, void *result, size_t n);

// Trellis scheme (Specs/trellis.md). A chunk is cut into strips of 64 columns. Each column is a trellis down the rows. Symbols
// and masks are in strip order: strip by strip, in a strip row by row, 64 columns per row. Columns beyond the chunk's width are
// padding.

enum {
    INGOT_TRELLIS_STRIP = 64,
    INGOT_TRELLIS_MAX_STATES = 32,
    INGOT_TRELLIS_MAX_CLASSES = 4,
    // Bytes behind the last symbol of a stream that a writer may write and a reader may read.
    INGOT_TRELLIS_SLACK = 64,
    // Entries of a histogram of level magnitudes. The last entry counts all larger levels too.
    INGOT_TRELLIS_HISTOGRAM = 64,
};

/// How weights become levels. The search looks for levels near sign(w) * max(|w| * inverse_step - dead_zone, 0) * shrink, clamped
/// to +-farthest.
struct ingot_trellis_rule {
    int32_t states;  // 8, 16 or 32
    float inverse_step;
    float dead_zone;
    float shrink;
    float farthest;  // in levels, above 0, at most 16381
};

/// Number of strips of a chunk with `columns` columns.
size_t ingot_trellis_strips(size_t columns);

/// Finds the best path through the trellis for each column of a chunk. Weights are finite and row-major.
///
/// symbols: strips * rows * 64. odd_masks: strips * rows; bit c is the parity of column c's state. scratch: rows * 64 *
/// (2 + states/8) bytes, aligned to 2. Returns 1 if a weight was clamped to `farthest`, otherwise 0.
int32_t ingot_trellis_quantize(
    const float *weights, struct ingot_chunk_shape shape, struct ingot_trellis_rule rule, int16_t *symbols,
    uint64_t *odd_masks, uint8_t *scratch);

/// Restores weights from symbols, as the decoder does: level * step, rounded once, row-major.
void ingot_trellis_restore(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, float step, float *weights);

/// Error sums of weights and the weights that ingot_trellis_restore gives, with the same bits as ingot_error_sums. shape.columns is a
/// multiple of 16.
struct ingot_error_sums ingot_trellis_errors(
    const float *weights, const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    float step);

/// Adds |level| of every symbol to a histogram.
void ingot_trellis_histogram(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, uint64_t *counts);

/// How a symbol k becomes bytes. Its code is h + limit, with h = k >> low_bits, if that is 0 to 2 * limit. Otherwise its code is
/// the escape 2 * limit + 1, and h goes to the stream of escapes. The low bits of k go to a stream of one byte each.
struct ingot_trellis_alphabet {
    int32_t limit;     // 1 to 127; with 127 there are no escapes
    int32_t low_bits;  // 0 to 6; above 0 only with limit 127
};

/// The streams of a chunk's symbols, one byte per symbol. A symbol in a row of class c, with parity q of its state, is in stream
/// 2 * c + q.
struct ingot_symbol_streams {
    int32_t classes;             // 1 to INGOT_TRELLIS_MAX_CLASSES
    const uint8_t *row_classes;  // the class of each row; null if there is one class
    const uint8_t *codes;        // all streams
    const size_t *starts;        // start of each of the 2 * classes streams in `codes`
    const size_t *counts;        // number of symbols in each stream
    const uint8_t *escapes;
    size_t escape_count;
    const uint8_t *low;          // the low bits, rows * columns bytes; null if there are none
};

/// Buffers for such streams. Up to INGOT_TRELLIS_SLACK bytes behind each stream, the escapes and the low bits may be written.
struct ingot_symbol_buffers {
    int32_t classes;
    const uint8_t *row_classes;
    uint8_t *codes;
    const size_t *starts;
    size_t *counts;  // receives the number of symbols in each stream
    uint8_t *escapes, *low;
};

/// Writes the symbols of a chunk to streams. k >> low_bits must be -127 to 127 for each. Returns the number of escapes.
size_t ingot_trellis_route(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape,
    struct ingot_trellis_alphabet alphabet, struct ingot_symbol_buffers buffers);

enum { INGOT_TRELLIS_OK = 0, INGOT_TRELLIS_MISCOUNT = 1 };
/// Restores a chunk, row-major: level * step, rounded once. Up to INGOT_TRELLIS_SLACK bytes behind each stream, the escapes and
/// the low bits may be read.
///
/// Returns INGOT_TRELLIS_MISCOUNT if a stream has more or fewer symbols than the chunk needs; then `weights` is undefined.
int32_t ingot_trellis_decode(
    int32_t states, struct ingot_chunk_shape shape, struct ingot_trellis_alphabet alphabet,
    struct ingot_symbol_streams streams, float step, float *weights);

/// Packs n symbols below 6 into ceil(n / 3) bytes, three per byte.
void ingot_pack_thirds(const uint8_t *symbols, uint8_t *packed, size_t n);
/// Unpacks n bytes to 3 n symbols. Returns 0, or 1 if a byte is above 215.
int32_t ingot_unpack_thirds(const uint8_t *packed, uint8_t *symbols, size_t n);

/// The sum of squares of each row, in binary32: element i is added to lane i % 16, then lanes k and k+8, k+4, k+2, k+1 are added.
void ingot_row_energies(const float *weights, struct ingot_chunk_shape shape, float *energies);

// Steps by row and column, and error feedback (Specs/trellis.md, "Scale bytes" and "Error feedback")

/// Multiplies each element of a row-major chunk by round(row_steps[row] * column_scales[column]), rounded.
void ingot_apply_steps(
    float *levels, struct ingot_chunk_shape shape, const float *row_steps, const float *column_scales);

/// targets[c][r] += sum over i of errors[i][r] * factors[i][c], in rising i, each product and its sum rounded once, together.
///
/// targets: `columns` columns, errors: `depth` columns, both `stride` numbers apart. rows and stride: multiples of 16. factors: `depth`
/// rows of `columns` numbers, `factor_stride` numbers apart.
void ingot_feedback_product(
    float *targets, const float *errors, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns);

/// The same with each product and each sum rounded, as the certificate of calibrated tensors is defined (Specs/trellis.md, "Certificate").
void ingot_feedback_form(
    float *targets, const float *numbers, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns);

/// Sum over c and r of a[c][r] * b[c][r] in binary64: rows in lanes r % 16, column by column, then lanes k and k+8, k+4, k+2, k+1.
/// Columns are `stride` numbers apart; rows and stride are multiples of 16.
double ingot_feedback_dot(const float *a, const float *b, size_t rows, size_t stride, size_t columns);

/// Copies a row-major rectangle to columns that are `stride` numbers apart.
void ingot_feedback_transpose(
    const float *from, size_t rows, size_t columns, size_t from_stride, float *to, size_t stride);

/// The upper triangular R with R R^T = A, in binary64, in an order that is always the same (Specs/trellis.md, "The factor").
///
/// matrix: row j has A[i][j] for i = 0 ... j, then R[i][j]; rows are `stride` numbers apart, a multiple of 8, and may be written up to
/// their end. Returns 0, or 1 if a pivot is not positive or not finite; then the matrix is undefined.
int32_t ingot_feedback_factor(double *matrix, size_t count, size_t stride);

/// Replaces X, column-major with columns `stride` numbers apart, by X (R R^T)^-1. rows and stride are multiples of 16.
///
/// lower, upper: count rows of count numbers: -R[j][k] at [k * count + j] for j < k, and -R[k][j] at [k * count + j] for k < j. inverse: 1 / R[j][j].
void ingot_feedback_solve(
    float *values, size_t rows, size_t stride, const float *lower, const float *upper, const float *inverse,
    size_t count);

/// A panel: 1 to 64 neighbouring columns of one strip of a band. Columns are `stride` numbers apart; each has padded_rows numbers,
/// of which those behind `rows` are zeros.
struct ingot_feedback_panel {
    size_t rows, padded_rows, stride;  // 1 or more; the other two are multiples of 16
    size_t columns, first_column;      // the first one's place in its strip
    int32_t states, format;
    float farthest;                    // as in ingot_trellis_rule
    const float *weights;
    float *targets;                    // weights plus what earlier panels carried over; receives the restored weights
    float *errors;                     // receives weight minus restored weight
    const float *coupling;             // how much column j of the panel takes of the error of column i, at [stride * i + j], i < j
    size_t coupling_stride;
    const float *row_steps, *inverse_row_steps;  // padded_rows numbers
    const float *column_scales, *inverse_scales;  // one number a column
    float shrinkage;                   // 0 or more: see column_shrink in feedback/search.h
    int16_t *symbols;                  // the strip's, as of ingot_trellis_quantize
    uint64_t *odd_masks;               // the strip's; the bits of the panel's columns are 0 before
};

/// A weight of a panel that is stored exactly: its row, its column in the strip, and its value, which the element type holds.
struct ingot_feedback_patch {
    uint32_t row, column;
    float value;
};

/// Bytes of scratch for panels, aligned to 2.
size_t ingot_feedback_scratch(size_t padded_rows, int32_t states);

/// Quantizes the columns of a panel from left to right. Returns the number of patches written, at most rows * columns.
size_t ingot_feedback_panel(
    const struct ingot_feedback_panel *panel, uint8_t *scratch, struct ingot_feedback_patch *patches);

// Error feedback inside the blocks of runtime formats (Specs/exports.md, "Error feedback inside blocks")

enum {
    // Types beside ggml's numbers.
    INGOT_FEEDBACK_AFFINE = 1000,     // scale * code + bias
    INGOT_FEEDBACK_SYMMETRIC = 1001,  // scale * (code - 2^(bits - 1)), scales of both signs
    INGOT_FEEDBACK_GIVEN = 1002,      // the same, with the scales that the caller gives in `steps`
    // Columns of a super-block, and the longest group.
    INGOT_FEEDBACK_MAX_COLUMNS = 256,
    // Bytes of scratch of ingot_feedback_blocks, whose address must be aligned to 64.
    INGOT_FEEDBACK_BLOCKS_SCRATCH = 640 * 1024,
};

/// One super-block or group of each row of a band. Matrices of weights are column-major, columns `stride` numbers apart.
///
/// In super-blocks (Q2_K to Q6_K, IQ4_XS), weights are (step * sub-scale) * level - offset * min; in groups (the other types), they are
/// step * level + offset. Each operation is rounded, in this order, as ggml's decoder rounds.
struct ingot_feedback_blocks {
    int32_t type;    // Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS by ggml's number, or one of the numbers above
    int32_t bits;    // of the numbers above: 2 to 8
    int32_t format;  // of their steps and offsets: 1 F16, 2 BF16, 3 F32
    size_t columns;  // 1 to 256: those of the super-block or group, of a given scale any. Fewer than 256 in a super-block: it ends early
    size_t rows, stride;  // multiples of 16
    const float *weights;
    float *targets;        // weights plus what errors of earlier columns carry over; receives the restored weights
    float *errors;         // receives weight minus restored weight
    const float *coupling; // how much column j takes of the error of column i, at [coupling_stride * i + j], i < j
    size_t coupling_stride;
    const float *pivots;   // of each column: the loss is the sum of ((target - restored weight) * pivot)^2. 0: it does not count
    const float *importance;  // of each column, for the searches without feedback, 0 or more; null: the squares of the pivots
    uint8_t *codes;        // columns * rows, column by column, as the type packs them; for Q8_0 in two's complement
    int8_t *scales;        // of super-blocks: sub-scales, 16 * rows or 8 * rows, sub-block by sub-block
    uint8_t *mins;         // likewise, of Q2_K, Q4_K and Q5_K
    float *steps;          // rows numbers, which `format` (of ggml's types F16) holds
    float *offsets;        // likewise, of the types that have them: the step of the mins (0 or more), or the bias
};

/// Quantizes. Returns INGOT_BLOCKS_OK, or INGOT_BLOCKS_UNKNOWN for another type; then nothing was written. Results are finite for finite
/// weights and targets.
int32_t ingot_feedback_blocks(const struct ingot_feedback_blocks *blocks, void *scratch);

/// Packs what ingot_feedback_blocks wrote for a type of ggml: the block of row r is at blocks + r * block_stride. ggml's decoder gives
/// the restored weights, bit for bit. Columns that a super-block lacks get code 0.
int32_t ingot_feedback_pack(const struct ingot_feedback_blocks *results, uint8_t *blocks, size_t block_stride);

// Codes of other quantizers (Specs/quantized-sources.md)

enum {
    INGOT_CODES_UNSIGNED = 0,  // whole numbers from 0 on
    INGOT_CODES_SIGNED = 1,    // bytes in two's complement
    INGOT_CODES_E2M1 = 2,      // FP4 of the OCP Microscaling specification, in the low four bits
    INGOT_CODES_E4M3 = 3,      // FP8 E4M3 without infinity
    INGOT_CODES_E5M2 = 4,      // FP8 E5M2
    INGOT_CODES_E8M0 = 5,      // powers of two: 2^(code - 127), 255 is NaN
    INGOT_CODES_TABLE = 6,     // indices of a table
};

/// Unpacks n codes of `bits` bits, 1 to 8, from a little-endian bit stream to one byte each. n is a multiple of 8. With high_first and 4
/// bits, the first code of a byte is in its upper half.
void ingot_codes_unpack(int32_t bits, int32_t high_first, const uint8_t *packed, uint8_t *codes, size_t n);
/// The values of n codes, exact. `table` is read for INGOT_CODES_TABLE only, and has a value for each code that occurs.
void ingot_codes_values(int32_t kind, const float *table, const uint8_t *codes, float *values, size_t n);
/// Replaces each value v by (v - zero) * scale, or by round(v * scale) + bias with biases, where `round` rounds to format `between`.
///
/// Value i belongs to group (first + i) / group; first is less than group, and scales[0] is the first value's. Zeros or biases may be null;
/// one of them is.
void ingot_codes_scale(
    float *values, size_t n, size_t first, size_t group, const float *scales, const float *zeros, const float *biases,
    int32_t between);
/// Adds the number of times that each of 256 bytes occurs among n bytes.
void ingot_codes_count(const uint8_t *bytes, size_t n, uint64_t *counts);
/// Transposes a matrix of rows x columns elements of `width` bytes: 1, 2 or 4.
void ingot_codes_transpose(int32_t width, const void *from, void *to, size_t rows, size_t columns);

// Blocks of ggml's types (Specs/gguf-blocks.md)

enum {
    INGOT_BLOCKS_REFERENCE = 0,  // the bytes of ggml's own quantizer
    INGOT_BLOCKS_SEARCHED = 1,   // scales searched for the least weighted squared error, which is never larger than the reference's
    INGOT_BLOCKS_MLX = 2,        // of MXFP4 alone: scales and codes of mlx.core.quantize, mode mxfp4
};
enum {
    INGOT_BLOCKS_OK = 0,
    INGOT_BLOCKS_UNKNOWN = 1,  // no type that is encoded; nothing was written
};

/// Encodes rows of weights to blocks, row by row.
///
/// type: ggml's number. weights: rows x columns finite numbers, row-major; columns is a multiple of the block's weights. importance: of each
/// column, 0 or more, as in an importance matrix of llama.cpp; null for none. blocks: rows * columns / weights of a block * bytes of a block.
int32_t ingot_blocks_encode(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks);

// rANS coding of trellis symbols (Specs/rans.md)

enum {
    INGOT_RANS_OK = 0,
    INGOT_RANS_BAD_LENGTH = 1,  // too short, or words or escapes are missing or left over
    INGOT_RANS_BAD_MODEL = 2,   // an invalid table
    INGOT_RANS_BAD_STATE = 3,   // an initial state is out of range
    INGOT_RANS_BAD_END = 4,     // a final state differs from 2^15
};

/// Parameters of rANS coding.
struct ingot_rans_rule {
    int32_t states;       // states of the trellis: 8, 16 or 32; used by decoding only
    int32_t low_bits;     // number of low bits of each symbol that are stored elsewhere
    int32_t max_classes;  // 1 to 16; used by encoding only
    int32_t unit;         // width of a class in 1/256 octave, 51 by Specs/rans.md; encoding only
};

/// Bytes of a buffer for encoding a chunk: an upper bound of the coded size plus room for the encoder. 1 <= rows * columns <= 2^22.
size_t ingot_rans_bound(struct ingot_chunk_shape shape);
/// Bytes of scratch, enough for encoding and for decoding. Its address must be aligned to 64.
size_t ingot_rans_scratch(struct ingot_chunk_shape shape);
/// Encodes a chunk. Symbols and odd_masks are in strip order, as ingot_trellis_quantize writes them. `bytes` has
/// ingot_rans_bound bytes. Returns the number of bytes used, or 0 if a symbol without its low bits is not in -128...127.
size_t ingot_rans_encode(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, struct ingot_rans_rule rule,
    uint8_t *bytes, void *scratch);
/// Decodes a chunk to weights; row i starts at weights + i * stride. `low`, used with low_bits > 0: the low bits of the symbols,
/// rows * columns bytes in strip order without padding, plus INGOT_TRELLIS_SLACK bytes that may be read. Returns INGOT_RANS_OK or
/// a fault; after a fault the weights are undefined.
int32_t ingot_rans_decode(
    const uint8_t *bytes, size_t count, struct ingot_chunk_shape shape, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, size_t stride, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
