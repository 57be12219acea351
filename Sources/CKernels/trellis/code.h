// State transitions of the trellis for 8, 16 and 32 states (Specs/trellis.md, section 2).

#ifndef INGOT_TRELLIS_CODE_H
#define INGOT_TRELLIS_CODE_H

#include "CKernels.h"
#include "../common/lanes.h"

enum { STRIP = INGOT_TRELLIS_STRIP };

// State s with symbol k goes to s' = s >> 1 ^ (s & 1 ? from_state : 0) ^ (k & 1 ? from_symbol : 0).
struct trellis_code {
    int state_bits, from_state, from_symbol;
};

INLINE struct trellis_code trellis_code(int32_t states) {
    switch (states) {
    case 16: return (struct trellis_code){4, 9, 2};
    case 32: return (struct trellis_code){5, 18, 4};
    default: return (struct trellis_code){3, 5, 2};
    }
}

#endif
