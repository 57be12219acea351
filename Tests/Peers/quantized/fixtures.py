"""Small checkpoints of every quantized format, made by its own package, with the values that the package's own decoder gives.

`FIXTURES[name](directory)` writes model.safetensors (or shards) and config.json, and returns {logical name: values}: `P.weight` for the
weight of module P, and the plain tensors as stored. `UNDECIDED` holds those that may also be refused by name.

What each peer computes. f32(x) is exact; -> T rounds to nearest, ties to even. No peer uses a fused multiply-add. Every row but GPTQ's
was checked on all codes and on scales of a wide range, with 0 differences in bits.

| format | order of operations | type of the values |
|---|---|---|
| FP8, scales of blocks, rows or the tensor | f32(code) * f32(scale) -> F32, then -> type | config.json's dtype, as from_pretrained |
| ... of compressed-tensors, groups too | f32(code) * f32(scale) -> F32, then -> type | the scales' |
| compressed-tensors integers | (code - zero point) exact, * scale -> type | the scales' |
| compressed-tensors NVFP4 | s = f32(scale) / f32(global scale) -> F32; f32(E2M1) * s -> F32 -> BF16; code 8 is -0 | BF16 |
| ModelOpt NVFP4 | s = f32(scale) * scale_2 -> F32; f32(E2M1) * s -> F32 -> type; code 8 is +0 | config.json's dtype |
| gpt-oss MXFP4, compressed-tensors MXFP4 and MXFP8 | code * 2^(scale - 127), exact, -> BF16; -0 stays | BF16 |
| GPTQ, AWQ | (code - zero) exact, * scale -> type | the scales' |
| MLX affine | (code * scale) -> type, (+ bias) -> type: two roundings | the scales' |
| MLX mxfp4, mxfp8, nvfp4 | code * scale, exact, -> BF16 | BF16 |
| bitsandbytes NF4, FP4 | f32(table[code]) * absmax -> F32 -> type; FP4's code 8 is +0 | quant_state's dtype |
| ... with double quantization | absmax = (map[code] * nested absmax -> F32) + offset -> F32 | |
| bitsandbytes int8 | (f32(code) * SCB -> F32) * f32(1 / 127) -> F32; a division by 127 gives other bits | F32 |
| AQLM | vectors of all codebooks added in F32 -> type, (* scale) -> type | the codebooks' |
| HQQ | (code - zero) -> type, (* scale) -> type: two roundings | compute_dtype |
"""

import fixtures_bitsandbytes
import fixtures_compressed
import fixtures_fp8
import fixtures_integers
import fixtures_mlx
import fixtures_vectors
from checkpoints import without_settings

PARTS = (fixtures_fp8, fixtures_compressed, fixtures_integers, fixtures_mlx, fixtures_bitsandbytes, fixtures_vectors)
FIXTURES = {name: make for part in PARTS for name, make in part.FIXTURES.items()}
UNDECIDED = {name: make for part in PARTS for name, make in getattr(part, "UNDECIDED", {}).items()}

# These are told by their tensors alone: blocks are of 128 x 128, integers have weight_shape, bitsandbytes' state is in the file.
ALONE = ("fp8-blocks-cut", "mxfp4-gpt-oss", "nvfp4-modelopt", "compressed-int4-group-symmetric", "compressed-plain-int8-channel",
         "compressed-fp8-channel", "compressed-nvfp4", "bitsandbytes-nf4-double-bfloat16", "bitsandbytes-int8", "aqlm-1x12")
# These are not, for their bits, order or kind of zero points are stated only; a reader may know better.
UNTOLD = ("compressed-int3-group-asymmetric", "gptq-4-asymmetric", "awq-32", "fp8-blocks-64x32")
FIXTURES |= {f"{name}-without-settings": lambda path, make=FIXTURES[name]: without_settings(path, make) for name in ALONE}
UNDECIDED |= {f"{name}-without-settings": lambda path, make=FIXTURES[name]: without_settings(path, make) for name in UNTOLD}
