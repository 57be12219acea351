// What error feedback inside blocks has to know of a type (Specs/exports.md, "Error feedback inside blocks").

#ifndef INGOT_FEEDBACK_BLOCK_RULES_H
#define INGOT_FEEDBACK_BLOCK_RULES_H

#include "CKernels.h"
#include "../blocks/codebook.h"
#include "../common/lanes.h"

// Columns of a super-block, and the most sub-blocks that one has.
enum { FEEDBACK_SUPER = INGOT_FEEDBACK_MAX_COLUMNS, FEEDBACK_PARTS = 16 };

// A weight is restored as scale * level - offset. In a super-block, scale is step * sub-scale and offset is the step of the mins * min, of
// each sub-block. A group has one scale and one offset, which is minus its bias.
struct feedback_rule {
    size_t part;          // columns of a sub-block; 0: a group, which is one
    int affine;           // whether there are offsets
    int codebook;         // whether levels are those of IQ4_NL
    int negative;         // whether the search tries negative scales
    float lowest, highest;  // the levels
    float least, greatest;  // the sub-scales; mins are 0 ... greatest
    int32_t format;       // that steps, scales and biases are stored in
    int32_t batches;      // batches of trials for a group
    float unit;           // of the open-loop trials, in levels
};

// A super-block with mins.
INLINE struct feedback_rule feedback_mins(size_t part, float highest, float greatest) {
    return (struct feedback_rule){
        .part = part, .affine = 1, .highest = highest, .greatest = greatest, .format = FORMAT_F16, .unit = 1};
}

// A super-block without mins.
INLINE struct feedback_rule feedback_signed(size_t part, float lowest, float highest, float greatest) {
    return (struct feedback_rule){
        .part = part, .negative = 1, .lowest = lowest, .highest = highest, .least = -greatest - 1,
        .greatest = greatest, .format = FORMAT_F16, .unit = 1};
}

INLINE struct feedback_rule feedback_group(int affine, float lowest, float highest, int32_t format, int negative) {
    float span = highest - lowest;
    int32_t batches = span <= 7 ? 5 : span <= 31 ? 3 : span <= 63 ? 2 : 1;
    return (struct feedback_rule){
        .affine = affine, .negative = negative, .lowest = lowest, .highest = highest, .least = 1, .greatest = 1,
        .format = format, .batches = batches, .unit = 1};
}

// The rule of a type. Returns false if there is none.
static int feedback_rule_of(const struct ingot_feedback_blocks *blocks, struct feedback_rule *rule) {
    float half = (float)(1 << ((blocks->bits - 1) & 7));
    switch (blocks->type) {
    case 2: *rule = feedback_group(0, -8, 7, FORMAT_F16, 1); return 1;       // Q4_0
    case 3: *rule = feedback_group(1, 0, 15, FORMAT_F16, 0); return 1;       // Q4_1
    case 6: *rule = feedback_group(0, -16, 15, FORMAT_F16, 1); return 1;     // Q5_0
    case 7: *rule = feedback_group(1, 0, 31, FORMAT_F16, 0); return 1;       // Q5_1
    case 8: *rule = feedback_group(0, -127, 127, FORMAT_F16, 0); return 1;   // Q8_0
    case 10: *rule = feedback_mins(16, 3, 15); return 1;                     // Q2_K
    case 11: *rule = feedback_signed(16, -4, 3, 31); return 1;               // Q3_K
    case 12: *rule = feedback_mins(32, 15, 63); return 1;                    // Q4_K
    case 13: *rule = feedback_mins(32, 31, 63); return 1;                    // Q5_K
    case 14: *rule = feedback_signed(16, -32, 31, 127); return 1;            // Q6_K
    case 20:                                                                 // IQ4_NL
        *rule = feedback_group(0, -127, 113, FORMAT_F16, 1);
        rule->batches = 3;
        break;
    case 23: *rule = feedback_signed(32, -127, 113, 31); break;              // IQ4_XS
    case INGOT_FEEDBACK_AFFINE: *rule = feedback_group(1, 0, half * 2 - 1, blocks->format, 0); return 1;
    case INGOT_FEEDBACK_SYMMETRIC:
    case INGOT_FEEDBACK_GIVEN: *rule = feedback_group(0, -half, half - 1, blocks->format, 1); return 1;
    default: return 0;
    }
    rule->codebook = 1;
    rule->unit = 10;
    return 1;
}

// The nearest level to a position. Halves go to the even level, in the codebook to the upper one.
INLINE f32x16 feedback_level(int codebook, float lowest, float highest, f32x16 position) {
    if (codebook) { return codebook_level(position); }
    return rounded(lesser(greater(position, (f32x16)lowest), (f32x16)highest));
}

// The code of a level, as the type stores it: an index of the codebook, a level from 0 on, or for Q8_0 the level in two's complement.
INLINE u8x16 feedback_code(const struct feedback_rule *rule, int32_t type, f32x16 level) {
    if (rule->codebook) {
        i32x16 index = 0;
        for (int k = 0; k < 15; k += 1) { index -= level > codebook_values[k]; }
        return CONVERT(u8x16, index);
    }
    float first = type == 8 ? 0 : rule->lowest;
    return CONVERT(u8x16, CONVERT(i32x16, level - first));
}

INLINE f32x16 feedback_inverse(f32x16 value) { return value == 0.0f ? (f32x16)0.0f : 1.0f / value; }

// Bounded, rounded to the format of steps, and never -0. A scale in binary32 leaves room for the product with a level and the sum.
INLINE f32x16 feedback_stored(int32_t format, f32x16 value) {
    float limit = format == FORMAT_F16 ? 65504.0f : 0x1p118f;
    return stored(format, lesser(greater(value, (f32x16)-limit), (f32x16)limit)) + 0.0f;
}

#endif
