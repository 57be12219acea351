"""AQLM by its own torch code, and HQQ by its own quantizer."""

import torch
from aqlm.utils import _dequantize_weight, pack_int_data, unpack_int_data
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
from transformers import AqlmConfig

from checkpoints import ATTENTION, SHAPES, config, plain, weights, write

TYPES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32"}


def aqlm(path, books=1, bits=12, group=(1, 8), dtype=torch.float16):
    """Codes are the index in two's complement of 8 or 16 bits. The sum of vectors is rounded, and its product with the scale again."""
    stored, expected = plain(dtype), plain(dtype)
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        random = torch.Generator().manual_seed(1000 * bits + number)
        indices = torch.randint(0, 2**bits, (rows // group[0], columns // group[1], books), generator=random)
        codes = pack_int_data(indices.clone(), bits)
        codebooks = torch.randn((books, 2**bits, *group), generator=random).to(dtype)
        scales = (torch.rand((rows // group[0], 1, 1, 1), generator=random) / 8 + 0.01).to(dtype)
        stored |= {f"{module}.codes": codes, f"{module}.codebooks": codebooks, f"{module}.scales": scales}
        expected[f"{module}.weight"] = _dequantize_weight(unpack_int_data(codes, bits), codebooks, scales).contiguous()
    settings = AqlmConfig(in_group_size=group[1], out_group_size=group[0], num_codebooks=books, nbits_per_codebook=bits,
                          linear_weights_not_to_quantize=["lm_head.weight"])
    write(path, stored, config(settings.to_dict(), dtype=TYPES[dtype]))
    return expected


def hqq(path, bits=4, axis=1, group=64, dtype=torch.float16):
    """Difference and product are each rounded to the type."""
    stored, expected = plain(dtype), plain(dtype)
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        linear = torch.nn.Linear(columns, rows, bias=module == ATTENTION)
        linear.weight.data = weights((rows, columns), number)
        if module == ATTENTION:
            linear.bias.data = stored[f"{module}.bias"].float()
        settings = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
        quantized = HQQLinear(linear, settings, compute_dtype=dtype, device="cpu")
        stored |= {f"{module}.{part}": value.detach() for part, value in quantized.state_dict().items()}
        expected[f"{module}.weight"] = quantized.dequantize().detach()
    stated = {"quant_method": "hqq", "skip_modules": ["lm_head"], "quant_config": {
        "weight_quant_params": {"nbits": bits, "channel_wise": True, "group_size": group, "optimize": True, "round_zero": False,
                                "axis": axis, "view_as_float": False},
        "scale_quant_params": None, "zero_quant_params": None, "offload_meta": False}}
    write(path, stored, config(stated, dtype=TYPES[dtype]))
    return expected


FIXTURES = {
    "aqlm-1x12": aqlm,
    "aqlm-1x16": lambda path: aqlm(path, bits=16),
    "aqlm-2x8": lambda path: aqlm(path, books=2, bits=8),
    "aqlm-8x4-out-group-2": lambda path: aqlm(path, books=8, bits=4, group=(2, 4)),
    "aqlm-3x6-f32": lambda path: aqlm(path, books=3, bits=6, dtype=torch.float32),
}

# HQQ is decoded like this, or refused.
UNDECIDED = {
    f"hqq-{bits}-axis-{axis}-{TYPES[dtype]}": (lambda path, bits=bits, axis=axis, dtype=dtype: hqq(path, bits, axis, dtype=dtype))
    for place, bits in enumerate((8, 4, 3, 2, 1)) for axis in (0, 1) for dtype in [list(TYPES)[(place + axis) % 3]]
}
