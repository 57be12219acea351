// One instruction set's kernels: included once by each file of levels/.

#include "lanes.h"
#include "floats.h"
#include "errors.h"
#include "statistics.h"
#include "uniform_decode.h"
#include "uniform_encode.h"
#include "uniform_round.h"
#include "packing.h"
#include "planes.h"
#include "bytes64.h"
#include "trellis_quantize.h"
#include "trellis_symbols.h"
#include "rans_lanes.h"
#include "rans_encode.h"
#include "rans_decode.h"

const struct ingot_table LEVEL_TABLE = {
    .expand = expand,
    .narrow = narrow,
    .scan_non_finite = scan_non_finite,
    .uniform_encode = uniform_encode,
    .uniform_round = uniform_round,
    .uniform_decode = uniform_decode,
    .error_sums = error_sums,
    .weight_statistics = weight_statistics,
    .compare_weights = compare_weights,
    .pack = pack,
    .unpack = unpack,
    .planes_split = planes_split,
    .planes_join = planes_join,
    .trellis_quantize = trellis_quantize,
    .trellis_route = trellis_route,
    .trellis_decode = trellis_decode,
    .trellis_restore = trellis_restore,
    .pack_thirds = pack_thirds,
    .unpack_thirds = unpack_thirds,
    .row_energies = row_energies,
    .rans_encode = rans_encode,
    .rans_decode = rans_decode,
};
