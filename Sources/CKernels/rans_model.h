// The part of the rANS coder that is the same code on every instruction set: models, tables and the choice of classes
// (Specs/rans.md). Scalar; it costs some 50 microseconds a chunk.

#ifndef INGOT_RANS_MODEL_H
#define INGOT_RANS_MODEL_H

#include "CKernels.h"

enum {
    RANS_BITS = 12,                  // frequencies of a context sum to 2^12
    RANS_TOTAL = 1 << RANS_BITS,
    RANS_LANES = 32,                 // interleaved states, one for each column of a band
    RANS_LOW = 1 << 15,              // states are in [2^15, 2^31)
    RANS_MAX_CLASSES = 16,
    RANS_MAX_CONTEXTS = 2 * RANS_MAX_CLASSES + 2,
    RANS_LARGEST = 63,               // symbols beyond it are escapes
    RANS_ESCAPE = -64,               // what an escape is called in the tables
    RANS_ALPHABET = 128,
    RANS_MAX_MAGNITUDE = 127,        // |2h + 1| of h = 63
    RANS_LARGEST_INDEX = 8,          // row and column indices are in -8...8
    RANS_INDICES = 2 * RANS_LARGEST_INDEX + 1,
    RANS_HEADER = 5,
    RANS_MODEL_BYTES = 4,
    RANS_LIST_BYTES = 2 + 2 * (RANS_LARGEST + 1),  // at most
};

// A symbol's probability falls as 2^-(b*m + c*m^2) with its magnitude m: b in units of 2^-(scale+5), c in units
// of 2^-(2*scale+8). Symbols as far out as `reach` have a frequency of their own, one at the least; the others are escapes,
// with a frequency that `escape` names.
struct rans_model {
    int32_t scale, b, c, escape, reach;
};

// Frequencies of one context, by symbol + 64; [0] is the escape's. `first` and `last` are the symbols that have one.
struct rans_frequencies {
    uint16_t of[RANS_ALPHABET];
    int32_t first, last;
};

// What a class's symbols are like: numbers with even and odd magnitudes, sums of magnitudes and of their squares.
struct rans_moments {
    double even, odd, first, second;
};

/// Fills 4096 entries: symbol << 25 | frequency << 12 | offset of the slot in the symbol.
void rans_decoder_table(const struct rans_frequencies *frequencies, uint32_t *table);
/// Fills 128 entries, by symbol + 64: escape << 31 | frequency << 12 | start.
void rans_encoder_table(const struct rans_frequencies *frequencies, uint32_t *table);

/// The model of greatest likelihood, nearly. Its reach is where a symbol's share falls below half a slot, its escape code 0.
struct rans_model rans_fit(struct rans_moments moments);
/// Chooses reach and escape code. tail[d]: how many of `count` symbols are at distance d from the centre, from one beyond the
/// model's reach on; tail[64]: those that must be escapes.
void rans_fit_tail(struct rans_model *model, const uint32_t *tail, double count);

struct rans_classes {
    int32_t count;  // classes
    int32_t bias;   // class = clamp(row index + column index + bias, 0, count - 1)
    int32_t row_steps, column_steps;  // whether indices are coded as differences from the one before
    int32_t typical, unit;  // 256 * log2 of the mean magnitude where the indices' sum is 0, and its rise by index
};
/// A magnitude hardly ever reached in the class: about five standard deviations.
int32_t rans_far_magnitude(struct rans_classes classes, int32_t class);

/// Puts 256 * log2 in the place of each sum.
void rans_logarithms(uint32_t *sums, size_t n);
/// Chooses indices from logarithms of sums of magnitudes, in steps of unit/256 octave, and as many classes as pay: another one
/// costs class_bits.
struct rans_classes rans_choose_classes(
    const uint32_t *row_logarithms, size_t rows, const uint32_t *column_logarithms, size_t columns, int32_t max_classes,
    int32_t unit, double class_bits, int8_t *row_indices, int8_t *column_indices);

// A chunk's contexts: 2 * class + parity of the state; behind them, with more than one class, those of row indices and of
// column indices.
struct rans_plan {
    struct rans_classes classes;
    int32_t listed;  // whether classes have lists of frequencies instead of models
    int32_t low_bits;
    int32_t contexts;
    struct rans_frequencies frequencies[RANS_MAX_CONTEXTS];
    const uint8_t *states, *escapes, *words;  // words go on to the end of the chunk
};
/// Reads the tables of a coded chunk and finds its parts. INGOT_RANS_OK, or what is wrong.
int32_t rans_plan(const uint8_t *bytes, size_t count, int32_t low_bits, struct rans_plan *plan);
/// Writes what rans_plan reads, up to the states; `models` of the indices follow those of the classes. Returns where it ended.
uint8_t *rans_plan_store(
    struct rans_plan *plan, const struct rans_model *models, size_t escapes, uint8_t *bytes);
/// Sets the plan's contexts to what the models say.
void rans_plan_models(struct rans_plan *plan, const struct rans_model *models);

// Counts of one context, by symbol + 64; [0] those of symbols beyond +-63.
typedef uint32_t rans_counts[RANS_ALPHABET];
/// Bits that symbols so counted take in the plan's contexts, without those an ideal coder would take.
double rans_excess_bits(const struct rans_plan *plan, const rans_counts *counts);
/// Sets the contexts of the plan's classes to lists that follow the counts.
void rans_plan_lists(struct rans_plan *plan, const rans_counts *counts);
/// About how many bits lists would take for one more class.
double rans_list_bits(const struct rans_plan *plan);

/// Each value in place of its difference from the one before, or the other way round; returns nonzero where a sum is not an
/// index (it becomes 0).
void rans_make_steps(const int8_t *indices, size_t n, int8_t *steps);
int32_t rans_sum_steps(int8_t *values, size_t n, int32_t are_steps);
void rans_extent(const int8_t *indices, size_t n, int8_t *least, int8_t *largest);
uint32_t rans_from_state(int32_t states);
uint32_t rans_from_symbol(int32_t states);

// How far from the middle of a context a symbol is.
static inline int32_t rans_distance(int32_t symbol, int32_t odd) {
    int32_t mirrored = odd ? -1 - symbol : -symbol;
    return symbol < 0 ? mirrored : symbol;
}

static inline int32_t rans_class(struct rans_classes classes, int32_t row_index, int32_t column_index) {
    int32_t sum = row_index + column_index + classes.bias;
    return sum < 0 ? 0 : sum >= classes.count ? classes.count - 1 : sum;
}

#endif
