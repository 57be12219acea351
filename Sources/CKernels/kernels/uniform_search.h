// How hard the uniform search looks, by width. Specs/uniform.md tells how these numbers were found.

struct search {
    int32_t start_count;
    int32_t trial_count;
    // A start's step is this times the step that would span the group.
    float ratios[12];
};

#ifndef SEARCH_OVERRIDE
INLINE struct search affine_search(int32_t bits) {
    switch (bits) {
    case 2: return (struct search){8, 4, {1.00f, 0.93f, 0.86f, 0.79f, 0.72f, 0.65f, 0.58f, 0.51f}};
    case 3: return (struct search){8, 4, {1.00f, 0.95f, 0.90f, 0.85f, 0.80f, 0.75f, 0.70f, 0.65f}};
    case 4: return (struct search){8, 4, {1.00f, 0.97f, 0.94f, 0.91f, 0.88f, 0.85f, 0.82f, 0.79f}};
    default: return (struct search){3, 3, {1.00f, 0.98f, 0.96f}};
    }
}

INLINE struct search symmetric_search(int32_t bits) {
    switch (bits) {
    case 2: return (struct search){8, 4, {1.00f, 0.93f, 0.86f, 0.79f, 0.72f, 0.65f, 0.58f, 0.51f}};
    case 3: return (struct search){8, 4, {1.00f, 0.95f, 0.90f, 0.85f, 0.80f, 0.75f, 0.70f, 0.65f}};
    case 4: return (struct search){8, 4, {1.00f, 0.97f, 0.94f, 0.91f, 0.88f, 0.85f, 0.82f, 0.79f}};
    default: return (struct search){3, 3, {1.00f, 0.98f, 0.96f}};
    }
}
#endif
