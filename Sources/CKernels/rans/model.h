// A model: five numbers that give the frequencies of a class's contexts. Fitting, storing and loading models.

#ifndef INGOT_RANS_MODEL_H
#define INGOT_RANS_MODEL_H

#include "frequencies.h"

// A symbol's probability falls as 2^-(b*m + c*m^2) with its magnitude m: b in units of 2^-(scale+5), c in units
// of 2^-(2*scale+8). Symbols as far out as `reach` have a frequency of their own, one at the least; the others are escapes,
// with a frequency that `escape` names.
struct rans_model {
    int32_t scale, b, c, escape, reach;
};

// What a class's symbols are like: numbers with even and odd magnitudes, sums of magnitudes and of their squares.
struct rans_moments {
    double even, odd, first, second;
};

/// The model of greatest likelihood, nearly. Its reach is where a symbol's share falls below half a slot, its escape code 0.
struct rans_model rans_fit(struct rans_moments moments);
/// Chooses reach and escape code. tail[d]: how many of `count` symbols are at distance d from the centre, from one beyond the
/// model's reach on; tail[64]: those that must be escapes.
void rans_fit_tail(struct rans_model *model, const uint32_t *tail, double count);

/// The frequencies of a model's context of even (odd = 0) or odd magnitudes. Returns -1 if no slot is left for the centre.
int32_t rans_model_frequencies(struct rans_model model, int32_t odd, struct rans_frequencies *result);

/// A model as RANS_MODEL_BYTES bytes, and back; every pattern of bytes is a model.
void rans_store_model(struct rans_model model, uint8_t *bytes);
struct rans_model rans_load_model(const uint8_t *bytes);

// How far from the middle of a context a symbol is.
static inline int32_t rans_distance(int32_t symbol, int32_t odd) {
    int32_t mirrored = odd ? -1 - symbol : -symbol;
    return symbol < 0 ? mirrored : symbol;
}

#endif
