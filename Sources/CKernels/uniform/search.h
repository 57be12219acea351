// Parameters of the uniform search for each number of bits. Specs/uniform.md, section 5, says how they were found.

#ifndef INGOT_UNIFORM_SEARCH_H
#define INGOT_UNIFORM_SEARCH_H

#include "../common/lanes.h"

struct search {
    int32_t ratio_count, shift_count, trial_count;
    // The step of a start is a ratio times the step that spans the whole group.
    float ratios[16];
};

// Shifts of the starts of an affine group, as parts of a step. A symmetric group uses only the first.
static const float search_shifts[5] = {0.0f, -0.2f, 0.2f, -0.4f, 0.4f};

INLINE struct search affine_search(int32_t bits) {
    switch (bits) {
    case 2: return (struct search){6, 5, 4, {1.00f, 0.91f, 0.82f, 0.73f, 0.64f, 0.55f}};
    case 3: return (struct search){6, 5, 3, {1.00f, 0.94f, 0.88f, 0.82f, 0.76f, 0.70f}};
    case 4: return (struct search){5, 5, 3, {1.02f, 0.98f, 0.94f, 0.90f, 0.86f}};
    case 5: return (struct search){4, 5, 3, {1.02f, 0.99f, 0.96f, 0.93f}};
    case 6: return (struct search){4, 5, 3, {1.02f, 1.00f, 0.98f, 0.96f}};
    default: return (struct search){3, 5, 3, {1.005f, 0.995f, 0.985f}};
    }
}

INLINE struct search symmetric_search(int32_t bits) {
    switch (bits) {
    case 2:
        return (struct search){
            10, 1, 4, {1.00f, 0.94f, 0.88f, 0.82f, 0.76f, 0.70f, 0.64f, 0.58f, 0.52f, 0.46f}};
    case 3:
        return (struct search){
            10, 1, 3, {1.08f, 1.03f, 0.98f, 0.93f, 0.88f, 0.83f, 0.78f, 0.73f, 0.68f, 0.63f}};
    case 4:
        return (struct search){
            10, 1, 3, {1.10f, 1.06f, 1.02f, 0.98f, 0.94f, 0.90f, 0.86f, 0.82f, 0.78f, 0.74f}};
    case 5:
        return (struct search){
            10, 1, 3, {1.10f, 1.07f, 1.04f, 1.01f, 0.98f, 0.95f, 0.92f, 0.89f, 0.86f, 0.83f}};
    case 6: return (struct search){8, 1, 3, {1.050f, 1.035f, 1.020f, 1.005f, 0.990f, 0.975f, 0.960f, 0.945f}};
    default: return (struct search){8, 1, 3, {1.020f, 1.012f, 1.004f, 0.996f, 0.988f, 0.980f, 0.972f, 0.964f}};
    }
}

// Symmetric groups of more than INGOT_MAX_GROUP_SIZE weights: their extremes lie far outside of most weights.
INLINE struct search long_search(int32_t bits) {
    if (bits <= 4) {
        return (struct search){
            16, 1, 4,
            {1.05f, 1.00f, 0.95f, 0.90f, 0.85f, 0.80f, 0.75f, 0.70f, 0.65f, 0.60f, 0.55f, 0.50f, 0.45f, 0.40f, 0.35f,
             0.30f}};
    }
    return (struct search){
        12, 1, 3, {1.02f, 0.98f, 0.94f, 0.90f, 0.86f, 0.82f, 0.78f, 0.74f, 0.70f, 0.65f, 0.60f, 0.55f}};
}

#endif
