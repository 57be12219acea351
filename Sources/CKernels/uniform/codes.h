// Arithmetic that the decoder and both encoders of the uniform scheme share (Specs/uniform.md).

#ifndef INGOT_UNIFORM_CODES_H
#define INGOT_UNIFORM_CODES_H

#include "../common/lanes.h"

// The weight of a code. Decoders write it, encoders measure errors with it.
INLINE f32x16 restored(f32x16 code, f32x16 scale, f32x16 bias, int affine) {
    f32x16 product = scale * code;
    return affine ? product + bias : product;
}

// The largest scale that the format can store and whose product with every code is finite in binary32.
static float scale_limit(float largest, float greatest_code) {
    float product_limit = FLT_MAX / greatest_code * 0.984375f;
    return largest < product_limit ? largest : product_limit;
}

#endif
