// The kernels of one instruction set and their table. Each .c file of an instruction set includes it once.

#include "../blocks/small.h"
#include "../blocks/super.h"
#include "../codes/values.h"
#include "../common/floats.h"
#include "../common/packing.h"
#include "../common/planes.h"
#include "../feedback/block_search.h"
#include "../feedback/factor.h"
#include "../feedback/panel.h"
#include "../feedback/scale.h"
#include "../rans/decode.h"
#include "../rans/encode.h"
#include "../statistics/errors.h"
#include "../statistics/weights.h"
#include "../trellis/errors.h"
#include "../trellis/quantize.h"
#include "../trellis/symbols.h"
#include "../uniform/decode.h"
#include "../uniform/encode.h"
#include "../uniform/peers.h"
#include "../uniform/round.h"

const struct ingot_table LEVEL_TABLE = {
    .expand = expand,
    .narrow = narrow,
    .scan_non_finite = scan_non_finite,
    .uniform_encode = uniform_encode,
    .uniform_round = uniform_round,
    .peer_round = peer_round,
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
    .trellis_errors = trellis_errors,
    .pack_thirds = pack_thirds,
    .unpack_thirds = unpack_thirds,
    .row_energies = row_energies,
    .apply_steps = apply_steps,
    .feedback_product = feedback_product,
    .feedback_form = feedback_form,
    .feedback_panel = feedback_panel,
    .feedback_dot = feedback_dot,
    .feedback_factor = feedback_factor,
    .feedback_blocks = feedback_blocks,
    .codes_unpack = codes_unpack,
    .codes_values = codes_values,
    .codes_scale = codes_scale,
    .codes_transpose = codes_transpose,
    .blocks_small = blocks_small,
    .blocks_super = blocks_super,
    .rans_encode = rans_encode,
    .rans_decode = rans_decode,
};
