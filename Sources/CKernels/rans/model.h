// A model gives the frequencies of both contexts of a class by five numbers. Fitting, storing and loading models.

#ifndef INGOT_RANS_MODEL_H
#define INGOT_RANS_MODEL_H

#include "frequencies.h"

// The probability of a symbol of magnitude m is proportional to 2^-(b*m + c*m^2), with b in units of 2^-(scale+5) and c in
// units of 2^-(2*scale+8). Symbols at a distance of at most `reach` have a frequency of at least 1. The others are escapes;
// `escape` is the code of the escape's frequency.
struct rans_model {
    int32_t scale, b, c, escape, reach;
};

// Moments of the symbols of a class: numbers of even and of odd magnitudes, sums of magnitudes and of their squares.
struct rans_moments {
    double even, odd, first, second;
};

/// Fits a model of nearly maximal likelihood. Its reach ends where a symbol's share is less than half a slot; its escape code is 0.
struct rans_model rans_fit(struct rans_moments moments);
/// Chooses reach and escape code from counts of the tail. `count` is the number of symbols of the class. tail[d] is the number at
/// distance d, for d beyond the model's reach; tail[64] is the number of symbols that are always escapes.
void rans_fit_tail(struct rans_model *model, const uint32_t *tail, double count);

/// The frequencies of the even (odd = 0) or odd context of a model. Returns 0, or -1 if no slot is left for the centre.
int32_t rans_model_frequencies(struct rans_model model, int32_t odd, struct rans_frequencies *result);

/// Stores a model in RANS_MODEL_BYTES bytes, and loads it. Every pattern of bytes is a model.
void rans_store_model(struct rans_model model, uint8_t *bytes);
struct rans_model rans_load_model(const uint8_t *bytes);

// Distance of a symbol from the centre of its context: |symbol| if even; symbol or -1 - symbol (if negative) if odd.
static inline int32_t rans_distance(int32_t symbol, int32_t odd) {
    int32_t mirrored = odd ? -1 - symbol : -symbol;
    return symbol < 0 ? mirrored : symbol;
}

#endif
