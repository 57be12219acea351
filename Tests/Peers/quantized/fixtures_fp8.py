"""FP8 with scales of blocks, channels and tensors; MXFP4 of gpt-oss; NVFP4 of ModelOpt.

Peers: `Fp8Quantize`, `Fp8Dequantize` and `convert_moe_packed_tensors` of transformers, and `FP8BlockDequantizer` of
compressed-tensors for grids whose last block is cut (the one of transformers takes rows / scale rows as the block). ModelOpt's
NVFP4 and FP8 are by definition, checked against nvidia-modelopt 0.47.0 where that is installed.
"""

import importlib.util
import json
from types import SimpleNamespace

import torch
from compressed_tensors.entrypoints.convert.converters.fp8block_dequantizer import FP8BlockDequantizer
from transformers import FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers.utils.quantization_config import Mxfp4Config

from checkpoints import ATTENTION, DOWN, EXPERT, SHAPES, config, plain, random_bytes, same, weights, without_settings, write

SQUARES = {ATTENTION: (128, 256), DOWN: (256, 384), EXPERT: (128, 128)}
CUT = {ATTENTION: (96, 160), DOWN: (200, 300), EXPERT: (129, 384)}
E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def spread(scales, shape, block):
    """Each block's scale at all its elements."""
    return scales.float().repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:shape[0], :shape[1]]


def deepseek(code, scales, block, dtype):
    """The rule of DeepSeek's own kernel: a product in F32, then the type."""
    return (code.float() * spread(scales, code.shape, block)).to(dtype)


def quantize_cut(weight, block, dtype):
    """FP8 codes and a scale a block, blocks at the edges cut."""
    rows, columns = (-(-size // step) for size, step in zip(weight.shape, block))
    scales = torch.ones(rows, columns)
    for row in range(rows):
        for column in range(columns):
            part = weight[row * block[0]:(row + 1) * block[0], column * block[1]:(column + 1) * block[1]]
            if part.abs().max() > 0:
                scales[row, column] = part.abs().max() / torch.finfo(dtype).max
    return (weight / spread(scales, weight.shape, block)).to(dtype), scales


def all_codes(code):
    """The first row begins with every finite code of the type."""
    values = torch.arange(256, dtype=torch.uint8).view(code.dtype)
    values = values[values.float().isfinite()][:code.shape[1]]
    code.view(torch.uint8)[0, :len(values)] = values.view(torch.uint8)
    return code


def blocks(path, shapes, block=(128, 128), code=torch.float8_e4m3fn, scales=torch.float32, scale_format="float", shards=None,
           dtype=torch.bfloat16):
    """`dtype`: what config.json states. from_pretrained decodes to it, whatever the type of the scales."""
    settings = FineGrainedFP8Config(weight_block_size=block, scale_fmt=scale_format, modules_to_not_convert=["lm_head"])
    cut = any(size % step for shape in shapes.values() for size, step in zip(shape, block))
    quantize = Fp8Quantize(SimpleNamespace(quantization_config=settings))
    stored, expected = plain(), plain()
    for number, (module, shape) in enumerate(shapes.items()):
        weight = weights(shape, number)
        if cut or code != torch.float8_e4m3fn:
            codes, grid = quantize_cut(weight, block, code)
        else:
            found = quantize.convert({f"{module}.weight": weight})
            codes, grid = found[f"{module}.weight"], found[f"{module}.weight_scale_inv"]
        codes, grid = all_codes(codes), grid.to(scales)
        stored[f"{module}.weight"], stored[f"{module}.weight_scale_inv"] = codes, grid
        value = FP8BlockDequantizer(weight_block_size=block, dtype=dtype)._create_dequantized_weight(codes, grid)
        assert same(value, deepseek(codes, grid, block, dtype))
        assert cut or same(value, Fp8Dequantize(None)._dequantize_one(codes, grid, dtype))
        expected[f"{module}.weight"] = value
    write(path, stored, config(settings.to_dict(), str(dtype).removeprefix("torch.")), shards=shards)
    return expected


def apart(name):
    """Scales lie in another file than their codes, the plain tensors with either."""
    return 0 if name.endswith("scale_inv") or name.endswith("_scales") or "norm" in name else 1


def single(path, scale_name, shape_of, settings, dtype=torch.float32, activation=None):
    """One scale a tensor, or one a row."""
    stored, expected = plain(), plain()
    for number, (module, shape) in enumerate(CUT.items()):
        weight = weights(shape, number)
        peak = weight.abs().amax(1, keepdim=True) if shape_of == "channel" else weight.abs().max()
        scale = (peak / 448).clamp(min=2.0**-20).to(dtype)
        codes = all_codes((weight / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn))
        stored[f"{module}.weight"], stored[f"{module}.{scale_name}"] = codes, scale
        if activation:
            stored[f"{module}.{activation}"] = torch.tensor(0.015625)
        expected[f"{module}.weight"] = Fp8Dequantize(None)._dequantize_one(codes, scale, torch.bfloat16)
    write(path, stored, config(settings))
    return expected


def modelopt(algorithm, weights_, inputs=None):
    """What ModelOpt 0.47.0 writes as quantization_config."""
    group = {"weights": {"dynamic": False, **weights_}, "targets": ["Linear"]}
    if inputs:
        group["input_activations"] = {"dynamic": False, **inputs}
    return {"config_groups": {"group_0": group}, "ignore": ["lm_head"], "quant_algo": algorithm, "quant_method": "modelopt",
            "producer": {"name": "modelopt", "version": "0.47.0"}}


def modelopt_fp8(path):
    eight = {"num_bits": 8, "type": "float"}
    return single(path, "weight_scale", "tensor", modelopt("FP8", eight, eight), activation="input_scale")


def modelopt_nvfp4_in_its_own_file(path):
    """ModelOpt's exports state quantization in hf_quant_config.json, older ones there alone."""
    expected = without_settings(path, modelopt_nvfp4)
    (path / "hf_quant_config.json").write_text(json.dumps({
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["lm_head"]}}))
    return expected


def modelopt_nvfp4(path):
    """The E4M3 scale of 16 weights times the F32 scale of the tensor, rounded to F32, times E2M1. Code 8 is plus zero."""
    four = {"num_bits": 4, "type": "float", "group_size": 16}
    table = E2M1.clone()
    table[8] = 0.0
    stored, expected = plain(), plain()
    for number, (module, shape) in enumerate({ATTENTION: (96, 160), DOWN: (256, 384), EXPERT: (64, 96)}.items()):
        weight = weights(shape, number, torch.bfloat16)
        packed = random_bytes((shape[0], shape[1] // 2), number)
        second = weight.float().abs().max() / (6 * 448)
        scales = (weight.float().unflatten(1, (-1, 16)).abs().amax(2) / (6 * second))
        scales = torch.where(scales == 0, 1.0, scales).clamp(2.0**-9, 448).to(torch.float8_e4m3fn)
        own = scales
        if module == EXPERT:
            # With this second scale (code * scale) * second differs from code * (scale * second).
            second = torch.tensor(float.fromhex("0x1.091112p-15"))
            scales = random_bytes(scales.shape, number + 10, 1, 127).view(torch.float8_e4m3fn)
        value = table[torch.stack([packed & 15, packed >> 4], 2).reshape(shape).long()]
        value = (value * (scales.float() * second).repeat_interleave(16, 1)).bfloat16()
        if importlib.util.find_spec("modelopt"):
            from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

            peer = NVFP4QTensor(weight.shape, weight.dtype, packed)
            assert same(value, peer.dequantize(scale=scales, double_scale=second, block_sizes={-1: 16}))
            assert same(NVFP4QTensor.quantize(weight, 16)[1], own)
        stored |= {f"{module}.weight": packed, f"{module}.weight_scale": scales, f"{module}.weight_scale_2": second,
                   f"{module}.input_scale": torch.tensor(0.0078125)}
        expected[f"{module}.weight"] = value
    write(path, stored, config(modelopt("NVFP4", four, four)))
    return expected


def gpt_oss(path, shards=None, groups=(2, 3)):
    """Experts in three dimensions. The peer returns them transposed; the logical tensor is as the blocks lie. -0 stays."""
    stored, expected = plain(), plain()
    for number, (projection, rows, count) in enumerate((("gate_up_proj", 192, groups[0]), ("down_proj", 64, groups[1]))):
        name = f"model.layers.0.mlp.experts.{projection}"
        packed = random_bytes((4, rows, count, 16), number)
        scales = random_bytes((4, rows, count), number + 10, 100, 140)
        scales[0, 0, 0], scales[1, 0, 0], scales[3, 1, 0] = 0, 1, 252
        stored[f"{name}_blocks"], stored[f"{name}_scales"] = packed, scales
        expected[name] = convert_moe_packed_tensors(packed, scales).transpose(1, 2).contiguous()
        stored[f"{name}_bias"] = expected[f"{name}_bias"] = weights((4, rows), number + 20, torch.bfloat16)
    settings = Mxfp4Config(modules_to_not_convert=["model.layers.*.self_attn", "model.embed_tokens", "lm_head"])
    write(path, stored, config(settings.to_dict(), architectures=["GptOssForCausalLM"], model_type="gpt_oss"), shards=shards)
    return expected


def powers_of_two(path, packed):
    """Rows in groups of 32 whose scales are powers of two: FP8 with bytes as scales, or two E2M1 in an I8, low first, with F8_E8M0."""
    stored, expected = plain(), plain()
    for number, (module, (rows, columns)) in enumerate(SHAPES.items()):
        scales = random_bytes((rows, columns // 32), number + 10, 100, 140)
        if packed:
            codes, scales = random_bytes((rows, columns // 2), number).view(torch.int8), scales.view(torch.float8_e8m0fnu)
        else:
            codes = all_codes((weights((rows, columns), number) * 8).clamp(-448, 448).to(torch.float8_e4m3fn))
        stored |= {f"{module}.weight": codes, f"{module}.weight_scale_inv": scales}
        expected[f"{module}.weight"] = Fp8Dequantize(None)._dequantize_one(codes, scales, torch.bfloat16)
    stated = FineGrainedFP8Config(weight_block_size=(128, 128) if packed else (1, 32), scale_fmt="ue8m0",
                                  expert_dtype="fp4" if packed else "fp8")
    write(path, stored, config(stated.to_dict()))
    return expected


STATIC = FineGrainedFP8Config(activation_scheme="static", weight_block_size=None).to_dict()
FBGEMM = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}

FIXTURES = {
    "fp8-blocks": lambda path: blocks(path, SQUARES),
    "fp8-blocks-in-two-files": lambda path: blocks(path, SQUARES, shards=apart),
    "fp8-blocks-cut": lambda path: blocks(path, CUT),
    "fp8-blocks-cut-in-two-files": lambda path: blocks(path, CUT, shards=apart),
    "fp8-blocks-float32": lambda path: blocks(path, CUT, dtype=torch.float32),
    "fp8-blocks-64x32": lambda path: blocks(path, CUT, (64, 32)),
    "fp8-blocks-e5m2": lambda path: blocks(path, SQUARES, code=torch.float8_e5m2),
    "fp8-blocks-bf16-scales": lambda path: blocks(path, CUT, scales=torch.bfloat16),
    "fp8-blocks-e8m0-scales": lambda path: blocks(path, SQUARES, scales=torch.float8_e8m0fnu, scale_format="ue8m0"),
    "fp8-tensor-static": lambda path: single(path, "weight_scale_inv", "tensor", STATIC, activation="activation_scale"),
    "fp8-tensor-static-bf16": lambda path: single(path, "weight_scale_inv", "tensor", STATIC, torch.bfloat16, "activation_scale"),
    "fp8-tensor-modelopt": modelopt_fp8,
    "fp8-channels-fbgemm": lambda path: single(path, "weight_scale", "channel", FBGEMM),
    "mxfp4-gpt-oss": gpt_oss,
    "mxfp4-gpt-oss-in-two-files": lambda path: gpt_oss(path, shards=apart, groups=(1, 5)),
    "nvfp4-modelopt": modelopt_nvfp4,
    "nvfp4-modelopt-in-its-own-file": modelopt_nvfp4_in_its_own_file,
}

# What transformers loads beyond the issue: decoded like this, or refused.
UNDECIDED = {
    "fp8-rows-of-32-byte-scales": lambda path: powers_of_two(path, packed=False),
    "fp4-in-i8-e8m0-scales": lambda path: powers_of_two(path, packed=True),
}
