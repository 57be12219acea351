"""Checkpoints that compressed-tensors writes and decodes itself: packed and plain integers, FP8, NVFP4, MXFP4, MXFP8.

`ModelCompressor` compresses a module tree, writes the settings into config.json, and decompresses it again. The library initializes
scales; their values are min-max as llm-compressor's.
"""

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import (
    QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus, apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam, maybe_pad_tensor_for_block_quant
from safetensors.torch import load_file, save_file

from checkpoints import ATTENTION, DOWN, SHAPES, config, differences, plain, random_bytes, weights, write

TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
CUT = {ATTENTION: (96, 160), DOWN: (200, 300)}


def tree(modules):
    """A module tree that has these linear layers at their dotted names."""
    root = torch.nn.Module()
    for name, linear in modules.items():
        parent = root
        *path, last = name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, linear)
    return root


def ranges(weight, arguments):
    """Smallest and largest weight of each group, channel, block or of the tensor, in the shape of its scales."""
    if arguments.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if arguments.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if arguments.strategy == "block":
        height, width = arguments.block_structure
        weight = maybe_pad_tensor_for_block_quant(weight, tuple(arguments.block_structure))
        parts = weight.reshape(weight.shape[0] // height, height, weight.shape[1] // width, width)
        return parts.amin((1, 3)), parts.amax((1, 3))
    parts = weight.unflatten(1, (-1, arguments.group_size))
    return parts.amin(2), parts.amax(2)


def set_scales(linear):
    arguments = linear.quantization_scheme.weights
    low, high = ranges(linear.weight.data, arguments)
    whole = None
    if hasattr(linear, "weight_global_scale"):
        whole = generate_gparam(linear.weight.data.min(), linear.weight.data.max())
        linear.weight_global_scale.data = whole
    scale, zero = calculate_qparams(low, high, arguments, whole)
    linear.weight_scale.data = scale.to(linear.weight_scale.dtype)
    if hasattr(linear, "weight_zero_point"):
        linear.weight_zero_point.data = zero.to(linear.weight_zero_point.dtype)


def compress(model, schemes, format=None):
    """Quantizes the linear layers of a model that schemes name, but never its head, in place."""
    apply_quantization_config(model, QuantizationConfig(
        config_groups={f"group_{number}": scheme for number, scheme in enumerate(schemes)}, ignore=["lm_head"],
        quantization_status=QuantizationStatus.INITIALIZED))
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            set_scales(module)
    compressor = ModelCompressor.from_pretrained_model(model, format)
    compressor.compress_model(model)
    return compressor


def compressed(path, arguments, activations=None, format=None, dtype=torch.bfloat16, shapes=SHAPES, codes=False, whole=None,
               shards=None, schemes=None):
    """`codes`: fill the packed codes with random ones, as quantizing gives few of them. `whole`: all bytes of the scales too, and this
    scale of the tensor. `format`: instead of the one that the peer chooses."""
    linears = {}
    for number, (name, (rows, columns)) in enumerate(shapes.items()):
        linears[name] = torch.nn.Linear(columns, rows, bias=name == ATTENTION, dtype=dtype)
        linears[name].weight.data = weights((rows, columns), number, dtype)
        if name == ATTENTION:
            linears[name].bias.data = plain(dtype)[f"{name}.bias"]
    model = tree(linears)
    schemes = schemes or [
        QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments), input_activations=activations)]
    compressor = compress(model, schemes, format)
    for number, linear in enumerate(linears.values()):
        if codes:
            linear.weight_packed.data.copy_(random_bytes(linear.weight_packed.shape, number))
        for part in ("input_scale", "input_global_scale"):
            if hasattr(linear, part):
                getattr(linear, part).data.fill_(2.0)
        if hasattr(linear, "input_zero_point"):
            linear.input_zero_point.data.fill_(0)
        if whole:
            linear.weight_scale.data.view(torch.uint8).copy_(random_bytes(linear.weight_scale.shape, number + 10, 1, 127))
            linear.weight_global_scale.data.fill_(whole)
    stored = {**plain(dtype), **{name: value.clone() for name, value in model.state_dict().items()}}
    write(path, stored, config(dtype=TYPES[dtype]), shards=shards)
    compressor.update_config(str(path))
    compressor.decompress_model(model)
    return {**plain(dtype), **{f"{name}.weight": linear.weight.data for name, linear in linears.items()}}


def mixed(*parts):
    """Each part of the model, by an expression for its names, in its own way: one config group each."""
    schemes = [QuantizationScheme(targets=[f"re:.*{name}.*"], weights=QuantizationArgs(**arguments), input_activations=inputs)
               for name, arguments, inputs in parts]
    return lambda path: compressed(path, None, schemes=schemes)


def padded(values, bits):
    """Codes in words that hold 32 / bits of them, as the library wrote before June 2026 under the same name: by
    definition, checked against release 0.13.0."""
    count = 32 // bits
    values = torch.nn.functional.pad(values.long() + 2**(bits - 1), (0, -values.shape[1] % count)).reshape(len(values), -1, count)
    words = (values << (bits * torch.arange(count))).sum(2)
    return torch.where(words < 2**31, words, words - 2**32).int()


def before_june_2026(bits, symmetric):
    def make(path):
        expected = compressed(path, integers(bits, symmetric))
        tensors = load_file(path / "model.safetensors")
        for name in [name for name in tensors if name.endswith("weight_packed")]:
            module, shape = name.removesuffix("_packed"), tensors[f"{name.removesuffix('_packed')}_shape"].tolist()
            tensors[name] = padded(unpack_from_int32(tensors[name], bits, shape), bits)
            if not symmetric:
                groups = tensors[f"{module}_scale"].shape[1]
                zeros = unpack_from_int32(tensors[f"{module}_zero_point"], bits, (shape[0], groups), packed_dim=0)
                tensors[f"{module}_zero_point"] = padded(zeros.T, bits).T.contiguous()
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
        return expected
    return make


def ordered(path, uninitialized=False):
    """With the order of groups that releases before August 2026 wrote: column i has the scale g_idx[i], by definition. -1 is no order."""
    expected = compressed(path, integers(4, False))
    tensors = load_file(path / "model.safetensors")
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        order = torch.arange(columns) // 32
        if not uninitialized:
            order = order[torch.randperm(columns, generator=torch.Generator().manual_seed(number))]
        scales, own = tensors[f"{module}.weight_scale"], f"{module}.weight"
        zeros = unpack_from_int32(tensors[f"{own}_zero_point"], 4, (rows, columns // 32), packed_dim=0)
        codes = unpack_from_int32(tensors[f"{own}_packed"], 4, (rows, columns))
        value = (codes - zeros[:, order]).to(scales.dtype) * scales[:, order]
        assert not uninitialized or differences(value, expected[own]) == 0
        expected[own] = value
        tensors[f"{own}_g_idx"] = torch.full((columns,), -1, dtype=torch.int32) if uninitialized else order.int()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return expected


def integers(bits, symmetric, strategy="group", size=32):
    return dict(num_bits=bits, type="int", symmetric=symmetric, strategy=strategy, group_size=size if strategy == "group" else None)


def packed(bits, symmetric, strategy="group", size=32, dtype=torch.bfloat16, **more):
    return lambda path: compressed(path, integers(bits, symmetric, strategy, size), dtype=dtype, **more)


INT8_INPUTS = QuantizationArgs(num_bits=8, type="int", strategy="token", dynamic=True)
FP8_INPUTS = QuantizationArgs(num_bits=8, type="float", strategy="token", dynamic=True)


def plain_integers(symmetric, strategy="channel", dtype=torch.bfloat16):
    return lambda path: compressed(path, integers(8, symmetric, strategy), INT8_INPUTS, dtype=dtype)


def floats(strategy, dtype=torch.bfloat16, shapes=SHAPES, **more):
    return lambda path: compressed(
        path, dict(num_bits=8, type="float", symmetric=True, strategy=strategy, **more), FP8_INPUTS, dtype=dtype, shapes=shapes)


def preset(name):
    """Weights and activations of a scheme that the library names. What belongs to activations is no part of the weights."""
    scheme = preset_name_to_scheme(name, ["Linear"])
    return scheme.weights.model_dump(exclude_none=True), scheme.input_activations


NVFP4 = dict(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16,
             scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)
MXFP4 = dict(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8,
             zp_dtype=torch.uint8)
MXFP8 = {**MXFP4, "num_bits": 8}


def apart(name):
    return 0 if name.endswith(("weight_scale", "weight_zero_point")) or "norm" in name else 1


# A product with the reciprocal of this scale, rounded, differs from the quotient in an eighth of all pairs of code and scale.
UNEVEN = float.fromhex("0x1.8100acp+7")

STRATEGIES = [("group", True), ("group", False), ("channel", True), ("channel", False), ("tensor", True), ("tensor", False)]
FIXTURES = {
    f"compressed-int{bits}-{strategy}-{'symmetric' if symmetric else 'asymmetric'}": packed(
        bits, symmetric, strategy, dtype=list(TYPES)[(bits + place) % 3])
    for bits in (2, 3, 4, 5, 6, 7, 8) for place, (strategy, symmetric) in enumerate(STRATEGIES)
    if bits in (3, 4, 8) or strategy == "group"
} | {
    "compressed-int4-group-80": packed(4, False, size=80, shapes={ATTENTION: (96, 160), DOWN: (256, 400)}),
    "compressed-int3-odd-width": packed(3, False, "channel", shapes={ATTENTION: (96, 157), DOWN: (255, 383)}),
    "compressed-int4-odd-width": packed(4, False, "channel", shapes={ATTENTION: (96, 157), DOWN: (255, 383)}),
    "compressed-int4-in-two-files": packed(4, False, shards=apart),
    "compressed-plain-int8-channel": plain_integers(True),
    "compressed-plain-int8-channel-asymmetric": plain_integers(False),
    "compressed-plain-int8-group": plain_integers(True, "group", torch.float16),
    "compressed-plain-int8-tensor": plain_integers(False, "tensor", torch.float32),
    "compressed-naive-int8": packed(8, True, "channel", format="naive-quantized"),
    "compressed-fp8-tensor": floats("tensor"),
    "compressed-fp8-static-inputs": lambda path: compressed(path, *preset("FP8")),
    "compressed-nvfp4-inputs": lambda path: compressed(path, *preset("NVFP4")),
    "compressed-plain-int8-static-inputs": lambda path: compressed(
        path, integers(8, True, "channel"), QuantizationArgs(num_bits=8, type="int", strategy="tensor", symmetric=False)),
    "compressed-fp8-tensor-f16": floats("tensor", torch.float16),
    "compressed-fp8-channel": floats("channel"),
    "compressed-fp8-channel-f32": floats("channel", torch.float32),
    "compressed-fp8-group": floats("group", group_size=32),
    "compressed-fp8-blocks-cut": floats("block", block_structure=[128, 128], shapes=CUT),
    **{f"compressed-int{bits}-before-june-2026-{'symmetric' if symmetric else 'asymmetric'}": before_june_2026(bits, symmetric)
       for bits in (3, 5, 6, 7) for symmetric in (True, False)},
    "compressed-mixed-widths": mixed(
        ("self_attn", integers(8, True, "channel"), None), ("mlp.down", integers(4, False), None),
        ("experts", integers(3, True, size=96), None)),
    "compressed-mixed-formats": mixed(
        ("self_attn", dict(num_bits=8, type="float", symmetric=True, strategy="channel"), FP8_INPUTS),
        ("mlp.down", integers(8, True, "channel"), INT8_INPUTS), ("experts", NVFP4, None)),
    "compressed-nvfp4": lambda path: compressed(path, NVFP4),
    "compressed-nvfp4-all-codes": lambda path: compressed(path, NVFP4, codes=True, dtype=torch.float32),
    "compressed-nvfp4-all-scales": lambda path: compressed(path, NVFP4, codes=True, whole=UNEVEN),
}

# Orders of groups, and formats of the peer that the issue does not name: decoded like this, or refused.
UNDECIDED = {
    "compressed-int4-act-order": ordered,
    "compressed-int4-act-order-uninitialized": lambda path: ordered(path, uninitialized=True),
    "compressed-mxfp4": lambda path: compressed(path, MXFP4, codes=True),
    "compressed-mxfp8": lambda path: compressed(path, MXFP8),
}
