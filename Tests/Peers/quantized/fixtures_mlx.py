"""Checkpoints of MLX: mlx.nn.quantize on a module tree, saved by mx.save_safetensors, decoded by mx.dequantize on the CPU."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch
from mlx.utils import tree_flatten

from checkpoints import ATTENTION, DOWN, config, weights, without_settings, write

TYPES = {"f32": (mx.float32, torch.float32, "float32"), "f16": (mx.float16, torch.float16, "float16"),
         "bf16": (mx.bfloat16, torch.bfloat16, "bfloat16")}
FLOATS = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
NARROW = "model.layers.0.mlp.gate_proj"
EXPERTS = "model.layers.0.mlp.switch_mlp.down_proj"
EMBEDDING = "model.embed_tokens"


def to_torch(array):
    if array.dtype == mx.bfloat16:
        return torch.tensor(np.array(array.view(mx.uint16)).view(np.int16)).view(torch.bfloat16)
    return torch.tensor(np.array(array))


def from_torch(tensor, dtype):
    return mx.array(tensor.float().numpy()).astype(dtype)


class Experts(nn.Module):
    """As mlx-lm's SwitchLinear: a weight in three dimensions that is quantized along the last."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def to_quantized(self, group_size=64, bits=4, mode="affine", **_):
        found = mx.quantize(self.weight, group_size, bits, mode=mode)
        quantized = Experts(found[0])
        quantized.scales = found[1]
        if len(found) > 2:
            quantized.biases = found[2]
        return quantized


def tree(modules):
    root = nn.Module()
    for name, module in modules.items():
        parent = root
        *path, last = name.split(".")
        for part in path:
            if part not in parent:
                parent[part] = nn.Module()
            parent = parent[part]
        parent[last] = module
    return root


def quantized(path, group=64, bits=4, mode="affine", kind="bf16", overrides=None, shards=None):
    """`overrides`: module name -> its own settings, or False where it stays float. 80 columns are no multiple of any group."""
    with mx.stream(mx.cpu):
        dtype, torch_dtype, dtype_name = TYPES[kind]
        overrides = overrides or {}
        shapes = {ATTENTION: (96, 128), DOWN: (256, 384), NARROW: (64, 80), EXPERTS: (4, 64, 128), EMBEDDING: (40, 128)}
        modules = {}
        for number, (name, shape) in enumerate(shapes.items()):
            weight = from_torch(weights(shape, number), dtype)
            if name == EXPERTS:
                modules[name] = Experts(weight)
            else:
                modules[name] = nn.Embedding(*shape) if name == EMBEDDING else nn.Linear(shape[1], shape[0], bias=name == ATTENTION)
                modules[name].weight = weight
        modules[ATTENTION].bias = from_torch(weights((4, 24), 103), dtype).reshape(96)
        model = tree(modules)
        settings = {"group_size": group, "bits": bits, "mode": mode}

        def choose(name, module):
            if overrides.get(name) is False or module.weight.shape[-1] % overrides.get(name, settings)["group_size"]:
                return False
            return overrides.get(name, True)

        nn.quantize(model, group, bits, mode=mode, class_predicate=lambda name, module: hasattr(module, "to_quantized") and
                    choose(name, module))
        model.model.norm = nn.RMSNorm(128)
        stored = dict(tree_flatten(model.parameters()))
        expected, chosen = {}, dict(settings)
        for name, value in stored.items():
            module, _, part = name.rpartition(".")
            if part in ("scales", "biases"):
                continue
            if f"{module}.scales" in stored and part == "weight":
                own = overrides.get(module) or settings
                value = mx.dequantize(value, stored[f"{module}.scales"], stored.get(f"{module}.biases"), **own)
                chosen[module] = own
            elif module in shapes and part == "weight":
                chosen[module] = False
            expected[name] = to_torch(value)
        write(path, stored, config(dtype=dtype_name, quantization=chosen, quantization_config=chosen), shards=shards,
              save=lambda tensors, file, metadata: mx.save_safetensors(file, tensors, metadata), metadata={"format": "mlx"})
    assert expected[f"{DOWN}.weight"].dtype == (torch.bfloat16 if mode != "affine" else torch_dtype)
    return expected


def whole_scales(path):
    """Experts of mlx-lm with an F32 scale each beside the E4M3 ones: E2M1 * (E4M3 * (scale / 2688)), in F32, which the peer returns."""
    with mx.stream(mx.cpu):
        weight = from_torch(weights((4, 64, 128), 5), mx.bfloat16)
        whole = mx.abs(weight).max(axis=(1, 2)).astype(mx.float32)
        parts = [mx.quantize(weight[expert], 16, 4, mode="nvfp4", global_scale=whole[expert]) for expert in range(4)]
        values = [mx.dequantize(*part, group_size=16, bits=4, mode="nvfp4", global_scale=whole[expert])
                  for expert, part in enumerate(parts)]
        stored = {f"{EXPERTS}.weight": mx.stack([part[0] for part in parts]), f"{EXPERTS}.scales": mx.stack([part[1] for part in parts]),
                  f"{EXPERTS}.global_scale": whole}
        chosen = {"group_size": 16, "bits": 4, "mode": "nvfp4",
                  EXPERTS: {"group_size": 16, "bits": 4, "mode": "nvfp4", "global_scale": True}}
        write(path, stored, config(quantization=chosen, quantization_config=chosen),
              save=lambda tensors, file, metadata: mx.save_safetensors(file, tensors, metadata), metadata={"format": "mlx"})
        return {f"{EXPERTS}.weight": to_torch(mx.stack(values))}


def mixed(path):
    return quantized(path, 64, 4, kind="f16", overrides={
        DOWN: {"group_size": 32, "bits": 6, "mode": "affine"}, EMBEDDING: {"group_size": 128, "bits": 8, "mode": "affine"},
        EXPERTS: {"group_size": 32, "bits": 4, "mode": "mxfp4"}, ATTENTION: False})


def apart(name):
    return 0 if name.endswith(("scales", "biases")) else 1


def affine(bits, group, kind):
    return lambda path: quantized(path, group, bits, kind=kind)


def floats(mode):
    return lambda path: quantized(path, *FLOATS[mode], mode=mode)


FIXTURES = {
    f"mlx-affine-{bits}-group-{group}-{kind}": affine(bits, group, kind)
    for place, bits in enumerate((2, 3, 4, 5, 6, 8)) for number, group in enumerate((32, 64, 128))
    for kind in [list(TYPES)[(place + number) % 3]]
} | {f"mlx-{mode}": floats(mode) for mode in FLOATS} | {
    "mlx-mixed": mixed,
    "mlx-in-two-files": lambda path: quantized(path, shards=apart),
}

# Without a config.json 4 bits in groups of 64 look as 8 in groups of 32; whole scales came to mlx-lm with 0.32.2.
UNDECIDED = {
    "mlx-without-settings": lambda path: without_settings(path, quantized),
    "mlx-nvfp4-whole-scales": whole_scales,
}
