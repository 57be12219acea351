"""Checkpoints of bitsandbytes: the state of its linear layers, quantized and decoded on the CPU.

Its AVX-512 kernel reads a wrong absmax where the width is no multiple of the block (96 x 160 in blocks of 64: a relative error of 0.26
instead of 0.09), so values are those of its torch kernel, which must equal the fast one elsewhere.
"""

import bitsandbytes
import torch
from bitsandbytes import functional
from bitsandbytes.backends.default import ops
from transformers import BitsAndBytesConfig

from checkpoints import ATTENTION, DOWN, EXPERT, SHAPES, config, plain, same, weights, write

TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
ODD = {ATTENTION: (96, 161), DOWN: (33, 35), EXPERT: (3, 7)}
torch_kernel = getattr(ops._dequantize_4bit_compute, "_torchdynamo_orig_callable", ops._dequantize_4bit_compute)


def decoded(packed, state):
    absmax = state.absmax
    if state.nested:
        absmax = functional.dequantize_blockwise(absmax, state.state2) + state.offset
    code = functional.get_4bit_type(state.quant_type, device="cpu")
    value = torch_kernel(packed.view(torch.uint8).reshape(-1), absmax, code, state.blocksize, state.shape, state.dtype)
    if state.shape[-1] % state.blocksize == 0:
        assert same(value, functional.dequantize_4bit(packed, state))
    return value


def four(path, kind="nf4", double=False, dtype=torch.bfloat16, block=64, storage=torch.uint8, shapes=SHAPES, shards=None):
    stored, expected = plain(dtype), plain(dtype)
    for number, (module, (rows, columns)) in enumerate(shapes.items()):
        linear = bitsandbytes.nn.Linear4bit(columns, rows, bias=module == ATTENTION, quant_type=kind, quant_storage=storage)
        linear.weight = bitsandbytes.nn.Params4bit(
            weights((rows, columns), number, dtype), requires_grad=False, quant_type=kind, compress_statistics=double,
            blocksize=block, quant_storage=storage)
        if module == ATTENTION:
            linear.bias.data = stored[f"{module}.bias"]
        linear = linear.to("cpu")
        stored |= {f"{module}.{part}": value.detach() for part, value in linear.state_dict().items()}
        expected[f"{module}.weight"] = decoded(linear.weight.data, linear.weight.quant_state)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double,
                                  bnb_4bit_compute_dtype=dtype, bnb_4bit_quant_storage=storage)
    write(path, stored, config(settings.to_dict(), dtype=TYPES[dtype]), shards=shards)
    return expected


def eight(path, dtype=torch.float16):
    stored, expected = plain(dtype), plain(dtype)
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        linear = bitsandbytes.nn.Linear8bitLt(columns, rows, bias=module == ATTENTION, has_fp16_weights=False)
        linear.weight = bitsandbytes.nn.Int8Params(weights((rows, columns), number, dtype), requires_grad=False)
        if module == ATTENTION:
            linear.bias.data = stored[f"{module}.bias"]
        linear = linear.to("cpu")
        stored |= {f"{module}.{part}": value.detach() for part, value in linear.state_dict().items()}
        expected[f"{module}.weight"] = functional.int8_vectorwise_dequant(linear.weight.data, linear.weight.SCB)
    write(path, stored, config(BitsAndBytesConfig(load_in_8bit=True).to_dict(), dtype=TYPES[dtype]))
    return expected


def apart(name):
    return 0 if "absmax" in name or "quant_map" in name else 1


FIXTURES = {
    f"bitsandbytes-{kind}{'-double' if double else ''}-{TYPES[dtype]}": (
        lambda path, kind=kind, double=double, dtype=dtype: four(path, kind, double, dtype))
    for kind in ("nf4", "fp4") for double in (False, True) for dtype in TYPES
} | {
    "bitsandbytes-nf4-blocks-of-128": lambda path: four(path, block=128, double=True),
    "bitsandbytes-fp4-blocks-of-32": lambda path: four(path, "fp4", block=32),
    "bitsandbytes-nf4-odd": lambda path: four(path, shapes=ODD, double=True, dtype=torch.float32),
    "bitsandbytes-nf4-in-bf16-storage": lambda path: four(path, storage=torch.bfloat16),
    "bitsandbytes-nf4-in-two-files": lambda path: four(path, double=True, shards=apart),
    "bitsandbytes-int8": eight,
}
