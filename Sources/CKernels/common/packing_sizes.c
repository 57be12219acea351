// Byte counts of packed codes.

#include "CKernels.h"

size_t ingot_packed_byte_count(int32_t layout, int32_t bits, size_t n) {
    if (layout == INGOT_LAYOUT_ALIGNED) {
        size_t codes_per_byte = bits == 2 ? 4 : bits <= 4 ? 2 : 1;
        return n / codes_per_byte + (n % codes_per_byte != 0);
    }
    // Split n into 8a + r, because n * bits could overflow.
    return n / 8 * (size_t)bits + (n % 8 * (size_t)bits + 7) / 8;
}
