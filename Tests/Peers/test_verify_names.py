"""`ingot verify` of GGUF files, MLX and compressed-tensors directories against the Hugging Face checkpoint that they were made of."""

import json
import shutil

import gguf
import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from test_gguf_export import CASES, TEXTS, build, ingot, tensors


def verify(first, second):
    return json.loads(ingot("verify", first, "--against", second, "--format", "json", "--quiet"))


def plain_gguf(path, model, architecture, arrays):
    """A GGUF file with the metadata that names and rows need. An array of bytes holds Q8_0 blocks."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(model.config.num_hidden_layers)
    writer.add_head_count(model.config.num_attention_heads)
    writer.add_head_count_kv(model.config.num_key_value_heads)
    if hasattr(model.config, "num_local_experts"):
        writer.add_expert_count(model.config.num_local_experts)
    for name, array in arrays.items():
        blocks = gguf.GGMLQuantizationType.Q8_0 if array.dtype == np.uint8 else None
        writer.add_tensor(name, np.ascontiguousarray(array), raw_dtype=blocks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rows(name, array, model):
    """Row of the GGUF tensor -> row of the Hugging Face tensor, by gguf-py's shapes and the converter's rule."""
    config = model.config
    order = np.arange(array.shape[0])
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[2])
    if heads is None or config.model_type == "qwen2":
        return order
    return order.reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


@pytest.mark.parametrize("case", CASES)
def test_value_exact_in_both_directions(tmp_path, case):
    model, tokenizer = build(case, tmp_path / "tiny.gguf")
    model.save_pretrained(tmp_path / "hf")
    tokenizer.save(str(tmp_path / "hf" / "tokenizer.json"))
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", "--scheme", "lossless")
    ingot("convert", tmp_path / "hf", tmp_path / "sealed-hf", "--scheme", "lossless")
    ingot("export", tmp_path / "sealed", tmp_path / "out")
    for first, second in (("tiny.gguf", "hf"), ("hf", "tiny.gguf"), ("sealed", "hf"), ("sealed-hf", "tiny.gguf"),
                          ("sealed", "sealed-hf"), ("sealed", "out"), ("out", "sealed"), ("out", "tiny.gguf")):
        found = verify(tmp_path / first, tmp_path / second)
        assert found["value_exact"] is True and not found["failures"], found["first_difference"]
        own = "gguf" if first in ("tiny.gguf", "sealed") else "huggingface"
        assert found["names"]["checkpoint"] == own and found["names"]["source"] != own
        apart = {tensor["name"] for tensor in found["not_compared"]}
        assert apart == ({"rope_freqs.weight"} if case == "llama3" else set())
        # A sealed checkpoint and an export have hashes to check; the others have none.
        hashed = first.startswith("sealed") or first == "out"
        assert found["intact"] is (True if hashed else None)
    text = ingot("verify", tmp_path / "tiny.gguf", "--against", tmp_path / "hf")
    assert "names: llama.cpp's here, Hugging Face's in the source" in text
    # The two are one model for evaluate too; the GGUF file has the tokenizer that the directory has.
    options = ("--text", TEXTS[0], "--context", 64, "--tokens", 512, "--format", "json")
    scores = json.loads(ingot("evaluate", tmp_path / "tiny.gguf", "--against", tmp_path / "hf", *options))
    assert abs(scores["all"]["kl"]["value"]) < 1e-7 and abs(scores["all"]["perplexity_ratio"]["value"] - 1) < 1e-5


@pytest.mark.parametrize("case", ["llama", "wide", "mixtral", "qwen2"])
def test_quantized_and_planted(tmp_path, case):
    """A Q8_0 file has the errors that gguf-py computes; one weight that differs in an F16 file is found."""
    model, _ = build(case, tmp_path / "unused.gguf")
    model.save_pretrained(tmp_path / "hf")
    architecture = CASES[case][0]
    stored = tensors(model, architecture)
    target = tmp_path / "q8.gguf"
    arrays, expected = {}, {}
    for name, array in stored.items():
        array = arrays[name] = np.ascontiguousarray(array)
        if array.ndim < 2 or "ffn_gate_inp" in name:
            continue
        arrays[name] = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
        decoded = gguf.quants.dequantize(arrays[name], gguf.GGMLQuantizationType.Q8_0).reshape(array.shape).astype(np.float64)
        expected[name] = ((decoded - array) ** 2).sum() / (array.astype(np.float64) ** 2).sum()
    plain_gguf(target, model, architecture, arrays)
    found = verify(target, tmp_path / "hf")
    assert not found["failures"] and found["value_exact"] is False
    errors = {tensor["name"]: tensor["measured"]["relative_mse"] for tensor in found["tensors"]}
    assert set(errors) == set(stored)
    for name, error in expected.items():
        assert errors[name] == pytest.approx(error, rel=1e-9), name
    # One weight of a projection, in the file.
    name = "blk.1.attn_k.weight"
    changed = dict(stored)
    changed[name] = stored[name].copy()
    changed[name][17, 5] += 1
    path = tmp_path / "changed.gguf"
    plain_gguf(path, model, architecture, changed)
    first = verify(path, tmp_path / "hf")["first_difference"]
    assert (first["tensor"], first["row"], first["column"]) == (name, 17, 5)
    assert first["value"] == pytest.approx(float(changed[name][17, 5])) and first["reference"] == float(stored[name][17, 5])
    first = verify(tmp_path / "hf", path)["first_difference"]
    row = int(rows(name, stored[name], model)[17])
    assert (first["tensor"], first["row"], first["column"]) == ("model.layers.1.self_attn.k_proj.weight", row, 5)


@pytest.mark.parametrize("bits", [4, 8])
def test_mlx_against_its_source(tmp_path, bits):
    """A directory as mlx-lm writes it: its errors are those of mx.dequantize, and evaluate reads both."""
    model, tokenizer = build("grouped", tmp_path / "unused.gguf")
    model.save_pretrained(tmp_path / "hf")
    tokenizer.save(str(tmp_path / "hf" / "tokenizer.json"))
    source = load_file(tmp_path / "hf" / "model.safetensors")
    out = tmp_path / "mlx"
    out.mkdir()
    arrays, expected = {}, {}
    with mx.stream(mx.cpu):
        for name, tensor in source.items():
            array = mx.array(tensor.numpy())
            if tensor.ndim < 2 or tensor.shape[1] % 32:
                arrays[name] = array
                continue
            weight, scales, biases = mx.quantize(array, 32, bits)
            stem = name.removesuffix(".weight")
            arrays |= {name: weight, stem + ".scales": scales, stem + ".biases": biases}
            decoded = np.array(mx.dequantize(weight, scales, biases, 32, bits), dtype=np.float64)
            own = tensor.numpy().astype(np.float64)
            expected[name] = ((decoded - own) ** 2).sum() / (own ** 2).sum()
        mx.save_safetensors(str(out / "model.safetensors"), arrays, metadata={"format": "mlx"})
    settings = json.loads((tmp_path / "hf" / "config.json").read_text())
    settings["quantization"] = settings["quantization_config"] = {"group_size": 32, "bits": bits, "mode": "affine"}
    (out / "config.json").write_text(json.dumps(settings))
    check(out, tmp_path / "hf", expected, source)


def test_compressed_tensors_against_its_source(tmp_path):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationConfig, QuantizationStatus, apply_quantization_config, preset_name_to_scheme)
    from compressed_tensors.quantization.utils import calculate_qparams

    model, tokenizer = build("grouped", tmp_path / "unused.gguf")
    model.save_pretrained(tmp_path / "hf")
    tokenizer.save(str(tmp_path / "hf" / "tokenizer.json"))
    source = load_file(tmp_path / "hf" / "model.safetensors")
    scheme = preset_name_to_scheme("W4A16", ["Linear"])
    scheme.weights.group_size = 32
    quantized = QuantizationConfig(
        config_groups={"group_0": scheme}, ignore=["lm_head"], quantization_status=QuantizationStatus.COMPRESSED,
        format="pack-quantized")
    apply_quantization_config(model, quantized)
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            parts = module.weight.data.unflatten(1, (-1, 32))
            scale, zero = calculate_qparams(parts.amin(2), parts.amax(2), module.quantization_scheme.weights)
            module.weight_scale.data = scale.to(module.weight_scale.dtype)
            if hasattr(module, "weight_zero_point"):
                module.weight_zero_point.data = zero.to(module.weight_zero_point.dtype)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    out = tmp_path / "packed"
    out.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"},
              str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "config.json").write_text((tmp_path / "hf" / "config.json").read_text())
    compressor.update_config(str(out))
    assert any(name.endswith("weight_packed") for name in load_file(out / "model.safetensors"))
    compressor.decompress_model(model)
    decoded = model.state_dict()
    expected = {}
    for name, tensor in source.items():
        own, other = tensor.double(), decoded[name].double()
        if not torch.equal(own, other):
            expected[name] = (((other - own) ** 2).sum() / (own ** 2).sum()).item()
    assert len(expected) == 14
    check(out, tmp_path / "hf", expected, source)


def check(out, hf, expected, source):
    """The errors of `out` against `hf` are those expected, and the model that it is can be evaluated against the source."""
    found = verify(out, hf)
    assert not found["failures"] and found["names"] is None
    assert {tensor["name"] for tensor in found["tensors"]} == set(source)
    for tensor in found["tensors"]:
        error = float(expected.get(tensor["name"], 0))
        assert tensor["measured"]["relative_mse"] == pytest.approx(error, rel=1e-5), tensor["name"]
        assert tensor["value_exact"] == (error == 0)
    shutil.copy(hf / "tokenizer.json", out)
    options = ("--text", TEXTS[0], "--context", 64, "--tokens", 512, "--format", "json")
    scores = json.loads(ingot("evaluate", out, "--against", hf, *options))
    assert 0 < scores["all"]["kl"]["value"] < 0.1 and abs(scores["all"]["perplexity_ratio"]["value"] - 1) < 0.1
