// Frequencies of the symbols of one context, and the tables of the encoder and the decoder for them.

#ifndef INGOT_RANS_FREQUENCIES_H
#define INGOT_RANS_FREQUENCIES_H

#include <stdint.h>

#include "format.h"

// Frequencies of one context, by symbol + 64; [0] is that of the escape. Only symbols from `first` to `last` can have one.
struct rans_frequencies {
    uint16_t of[RANS_ALPHABET];
    int32_t first, last;
};

/// Completes a context from `half`, the frequencies by distance: from 0 on if odd, from 1 on if even. Symbol 0 gets the remaining
/// slots. Returns 0, or -1 if none remain.
int32_t rans_make_frequencies(
    const int32_t *half, int32_t reach, int32_t odd, int32_t escape, struct rans_frequencies *result);

/// The frequency of an escape code from 0 to 15.
int32_t rans_escape_frequency(int32_t code);
/// The smallest code whose frequency is at least this, or 15.
int32_t rans_escape_code(double frequency);
/// The code of exactly this frequency. A frequency without a code is a programmer error.
int32_t rans_code_of_escape(int32_t frequency);

/// Fills 4096 entries: symbol << 25 | frequency << 12 | offset of the slot in the symbol.
void rans_decoder_table(const struct rans_frequencies *frequencies, uint32_t *table);
/// Fills 128 entries, by symbol + 64: escape << 31 | frequency << 12 | start.
void rans_encoder_table(const struct rans_frequencies *frequencies, uint32_t *table);

// The reach in a context. In an odd one it is at most 62, because -1 - h must be at least -63.
static inline int32_t rans_reach_in(int32_t reach, int32_t odd) {
    return odd && reach == RANS_LARGEST ? reach - 1 : reach;
}

#endif
