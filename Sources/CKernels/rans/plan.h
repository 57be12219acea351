// The contexts of a coded chunk, and the bytes that describe them: the header and tables of Specs/rans.md, section 2.

#ifndef INGOT_RANS_PLAN_H
#define INGOT_RANS_PLAN_H

#include "CKernels.h"
#include "classes.h"
#include "lists.h"
#include "model.h"

// The contexts of a chunk: 2 * class + parity of the state. With more than one class, the context of row indices and that of
// column indices follow.
struct rans_plan {
    struct rans_classes classes;
    int32_t listed;  // 1 if the contexts of classes have lists, 0 if they have models
    int32_t low_bits;
    int32_t contexts;
    struct rans_frequencies frequencies[RANS_MAX_CONTEXTS];
    const uint8_t *states, *escapes, *words;  // the parts of the chunk; the words extend to its end
};
/// Reads the tables of a coded chunk and finds its parts. Returns INGOT_RANS_OK, _BAD_LENGTH or _BAD_MODEL.
int32_t rans_plan(const uint8_t *bytes, size_t count, int32_t low_bits, struct rans_plan *plan);
/// Writes the header and the tables. In `models`, those of row and column indices follow those of the classes. Returns the end.
uint8_t *rans_plan_store(
    struct rans_plan *plan, const struct rans_model *models, size_t escapes, uint8_t *bytes);
/// Sets the frequencies of the contexts from the models, except those of classes with lists.
void rans_plan_models(struct rans_plan *plan, const struct rans_model *models);

/// Bits that symbols with these counts cost in the plan's contexts, minus their entropy.
double rans_excess_bits(const struct rans_plan *plan, const rans_counts *counts);
/// Sets the contexts of the classes to lists with frequencies from the counts.
void rans_plan_lists(struct rans_plan *plan, const rans_counts *counts);
/// An estimate of the bits that the lists of one class take.
double rans_list_bits(const struct rans_plan *plan);

#endif
