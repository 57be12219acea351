// Pointers into the streams of symbols. Kernels write or read one strip at a time and advance the pointers.

#ifndef INGOT_TRELLIS_STREAMS_H
#define INGOT_TRELLIS_STREAMS_H

#include "CKernels.h"

/// Where the symbols of the next strip are written. Up to 63 bytes behind the last symbol may be overwritten.
struct ingot_trellis_sinks {
    uint8_t *streams[2 * INGOT_TRELLIS_MAX_CLASSES];
    uint8_t *escapes, *low;
};

/// Where the symbols of the next strip are read. 64 bytes behind each end must be readable.
struct ingot_trellis_sources {
    const uint8_t *streams[2 * INGOT_TRELLIS_MAX_CLASSES], *ends[2 * INGOT_TRELLIS_MAX_CLASSES];
    const uint8_t *escapes, *escapes_end, *low;
};

#endif
