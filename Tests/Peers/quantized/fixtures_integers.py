"""GPTQ and AWQ, by definition: their packages need a graphics card.

GPTQ's rule is read in GPTQModel and AutoGPTQ: scales[g_idx] * (codes - zeros[g_idx]), an exact integer times an F16, rounded once. AWQ
is also checked by the peers' code that runs here: compressed-tensors' AutoAWQConverter, whose result compressed-tensors decodes.
"""

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from transformers import AwqConfig

from checkpoints import SHAPES, config, plain, same, write

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def stream(codes, bits):
    """Each row of codes as a dense little-endian bit stream in I32 words."""
    spread = (codes[..., None] >> np.arange(bits)) & 1
    packed = np.packbits(spread.astype(np.uint8).reshape(len(codes), -1), axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(np.int32)


def add_to_words(words, bits):
    """What GPTQModel does to the zero points of a v1 file: one to every field of a word at once, carries included."""
    ones = np.uint32(sum(1 << (bits * i) for i in range(32 // bits)))
    return (words.view(np.uint32) + ones).view(np.int32)


def fields(words, bits):
    spread = np.unpackbits(np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")
    spread = spread.reshape(len(words), -1, bits)
    return (spread << np.arange(bits, dtype=np.int64)).sum(2)


def gptq(path, bits=4, group=32, version="gptq", symmetric=False, shuffled=False, index=True, wrapped=False, zero=False):
    maximum = 2**bits - 1
    stored, expected = plain(torch.float16), plain(torch.float16)
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        random = np.random.default_rng([bits, group % 1000, number])
        size = columns if group == -1 else group
        groups = -(-columns // size)
        g_idx = np.arange(columns, dtype=np.int32) // size
        if shuffled:
            g_idx = random.permutation(g_idx)
        codes = random.integers(0, maximum + 1, (columns, rows))
        scales = (random.lognormal(-5, 1, (groups, rows))).astype(np.float16)
        scales[0, :3] = [0.0 if zero else 1.0, 6e-8, 60000 / 2**bits]
        zeros = random.integers(1, maximum + 1, (groups, rows))
        if symmetric:
            zeros[:] = 2**(bits - 1)
        packed = stream(zeros - 1 if version == "gptq" else zeros, bits)
        if wrapped:
            packed = stream(random.integers(0, maximum + 1, (groups, rows)), bits)
            zeros = fields(add_to_words(packed, bits), bits)
        stored[f"{module}.qweight"] = torch.tensor(stream(codes.T, bits).T.copy())
        stored[f"{module}.qzeros"] = torch.tensor(packed)
        stored[f"{module}.scales"] = torch.tensor(scales)
        if index:
            stored[f"{module}.g_idx"] = torch.tensor(g_idx)
        value = torch.tensor(codes - zeros[g_idx]) * torch.tensor(scales)[torch.tensor(g_idx).long()]
        expected[f"{module}.weight"] = value.T.contiguous()
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": shuffled, "sym": symmetric,
                "static_groups": False, "true_sequential": True, "damp_percent": 0.01, "lm_head": False,
                "checkpoint_format": version, "pack_dtype": "int32", "meta": {"quantizer": ["gptqmodel:5.0.0"]}}
    write(path, stored, config(settings, dtype="float16"))
    return expected


def awq_words(codes):
    codes = codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].astype(np.uint32)
    return torch.tensor((codes << (4 * np.arange(8, dtype=np.uint32))).sum(2, dtype=np.uint32).view(np.int32))


def awq(path, group=32, dtype=torch.float16):
    stored, expected = plain(dtype), plain(dtype)
    arguments = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="group", group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        random = np.random.default_rng([group, number])
        codes, zeros = random.integers(0, 16, (columns, rows)), random.integers(0, 16, (columns // group, rows))
        scales = torch.tensor(random.normal(0, 0.02, zeros.shape)).to(dtype)
        scales[0, :2] = torch.tensor([6e-8, 2000.0], dtype=dtype)
        own = {f"{module}.qweight": awq_words(codes), f"{module}.qzeros": awq_words(zeros), f"{module}.scales": scales}
        stored |= own
        value = (torch.tensor(codes - np.repeat(zeros, group, 0)) * scales.repeat_interleave(group, 0)).T.contiguous()
        parts = AutoAWQConverter(bits=4, group_size=group).process(dict(own))
        parts = {name.removeprefix(module + "."): part for name, part in parts.items()}
        assert same(BaseCompressor.get_value_from_registry("pack-quantized").decompress(parts, scheme)["weight"], value)
        expected[f"{module}.weight"] = value
    names = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    write(path, stored, config(AwqConfig(bits=4, group_size=group).to_dict(), dtype=names[dtype]))
    return expected


FIXTURES = {
    "gptq-4-symmetric": lambda path: gptq(path, symmetric=True),
    "gptq-4-asymmetric": lambda path: gptq(path),
    "gptq-4-without-index": lambda path: gptq(path, index=False),
    "gptq-4-act-order": lambda path: gptq(path, shuffled=True),
    "gptq-4-one-group": lambda path: gptq(path, group=-1),
    "gptq-4-last-group-short": lambda path: gptq(path, group=128),
    "gptq-8-act-order": lambda path: gptq(path, bits=8, shuffled=True),
    "gptq-3-asymmetric": lambda path: gptq(path, bits=3),
    "gptq-2-symmetric": lambda path: gptq(path, bits=2, symmetric=True),
    "gptq-v2-4": lambda path: gptq(path, version="gptq_v2", shuffled=True),
    "gptq-v2-3": lambda path: gptq(path, bits=3, version="gptq_v2"),
    "gptq-v2-8": lambda path: gptq(path, bits=8, version="gptq_v2"),
    "awq-32": awq,
    "awq-bf16": lambda path: awq(path, dtype=torch.bfloat16),
}

# Readers disagree about a zero point whose field is all ones in a v1 file: GPTQModel's reading, or a refusal, is right. A scale of zero
# is no quantizer's.
UNDECIDED = {
    "gptq-4-wrapped": lambda path: gptq(path, wrapped=True),
    "gptq-8-wrapped": lambda path: gptq(path, bits=8, wrapped=True),
    "gptq-4-zero-scale": lambda path: gptq(path, zero=True),
}
