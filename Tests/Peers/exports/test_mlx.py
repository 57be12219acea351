"""MLX exports: the same files as mlx-lm's converter writes, and the models that mlx-lm loads from them."""

import json
import re
import shutil

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx_lm.utils import load_model, quantize_model, save_config, save_model
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import models

mx.set_default_device(mx.cpu)

# Every number of bits with every group once, on a model of each element type; then every family.
WIDTHS = [(bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
FAMILIES = [name for name in models.CASES if name not in ("llama", "tied", "qwen2")]


def read(folder):
    """Every tensor as bytes, with its element type and shape."""
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                found[name] = str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return found


def converted(folder, out, bits, group, mode="affine"):
    """The directory that mlx-lm's converter writes."""
    model, config = load_model(folder, lazy=True)
    model, config = quantize_model(model, config, group, bits, mode=mode)
    out.mkdir(parents=True)
    save_model(out, model, donate_model=True)
    save_config(config, out / "config.json")
    return out


def stacked(tensors):
    """The matrices of experts in one tensor, as mlx-lm stacks them when it loads a model of one matrix for each expert."""
    parts = {}
    for name in tensors:
        if match := re.fullmatch(r"(.*block_sparse_moe)\.experts\.(\d+)\.(w[123])\.(\w+)", name):
            module = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}[match[3]]
            parts.setdefault(f"{match[1]}.switch_mlp.{module}.{match[4]}", {})[int(match[2])] = name
    out = {name: value for name, value in tensors.items() if ".experts." not in name}
    for name, experts in parts.items():
        values = [tensors[experts[number]] for number in range(len(experts))]
        out[name] = values[0][0], (len(values), *values[0][1]), b"".join(value[2] for value in values)
    return out


def compare(found, wanted, mode="affine"):
    ours, theirs = stacked(read(found)), read(wanted)
    assert set(ours) == set(theirs)
    for name, (kind, shape, data) in theirs.items():
        assert ours[name][:2] == (kind, shape), name
        assert ours[name][2] == data, f"{name}: other bytes"
    stated, expected = (json.loads((folder / "config.json").read_text()) for folder in (found, wanted))
    for key in ("quantization", "quantization_config"):
        settings = {name: stated[key][name] for name in ("group_size", "bits")}
        assert settings == {name: expected[key][name] for name in ("group_size", "bits")}
        assert stated[key].get("mode", "affine") == mode
    for key in ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size"):
        assert stated[key] == expected[key], key


@pytest.mark.parametrize("name", ["llama", "tied", "qwen2"])
@pytest.mark.parametrize("bits, group", WIDTHS)
def test_bytes(source, ingot, tmp_path, name, bits, group):
    ingot("export", source(name), tmp_path / "ours", "--to", "mlx", "--bits", bits, "--group-size", group, "--rounding", "reference")
    compare(tmp_path / "ours", converted(source(name), tmp_path / "theirs", bits, group))


@pytest.mark.parametrize("name", FAMILIES)
def test_bytes_of_every_family(source, ingot, tmp_path, name):
    """Of the model with 288 columns, groups of 32 quantize all, groups of 64 only what has 320."""
    for group in (32, 64):
        out = tmp_path / f"ours-{group}"
        options = ["--allow-fallback"] if name == "narrow" and group == 64 else []
        # The converter quantizes routers of experts too. The command keeps them unless it is told otherwise.
        options += ["--bits-for", "*.block_sparse_moe.gate.weight=4"] if name == "mixtral" else []
        ingot("export", source(name), out, "--to", "mlx", "--bits", 4, "--group-size", group, "--rounding", "reference", *options)
        compare(out, converted(source(name), tmp_path / f"theirs-{group}", 4, group))


def decoded(folder):
    """Every weight of an MLX directory as float32, under its name without the parts of the quantization."""
    stated = json.loads((folder / "config.json").read_text())["quantization"]
    parts = {}
    for path in sorted(folder.glob("model*.safetensors")):
        parts |= mx.load(str(path))
    out = {}
    for name, value in parts.items():
        stem = name.removesuffix(".weight")
        if name.endswith(".weight") and f"{stem}.scales" in parts:
            settings = stated.get(stem, stated)
            if settings["mode"] == "mxfp4":
                value = mx.dequantize(value, parts[f"{stem}.scales"], group_size=32, bits=4, mode="mxfp4")
            else:
                scales, biases = (parts[f"{stem}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
                value = mx.dequantize(value, scales, biases, settings["group_size"], settings["bits"])
        if not name.endswith((".scales", ".biases")):
            out[name] = torch.from_numpy(np.array(value.astype(mx.float32)))
    return out


@pytest.mark.parametrize("name", ["tied", "biases", "llama3", "mistral", "qwen2", "narrow"])
@pytest.mark.parametrize("options", [("--bits", 4, "--group-size", 32), ("--bits", 4, "--group-size", 32, "--rounding", "reference"),
                                     ("--bits", 6, "--group-size", 32, "--rounding", "reference"), ("--mode", "mxfp4")], ids=str)
def test_loads(source, ingot, tmp_path, name, options):
    """mlx-lm computes with the codes what transformers computes with the decoded weights, in float32."""
    ingot("export", source(name), tmp_path / "out", "--to", "mlx", *options)
    model, _ = load_model(tmp_path / "out")
    model.set_dtype(mx.float32)
    ids = torch.randint(3, 600, (2, 64), generator=torch.Generator().manual_seed(1))
    found = torch.from_numpy(np.array(model(mx.array(ids.numpy())).astype(mx.float32)))
    reference = AutoModelForCausalLM.from_pretrained(source(name), dtype=torch.float32).eval()
    weights = decoded(tmp_path / "out")
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    with torch.no_grad():
        wanted = reference(ids).logits
    assert (found - wanted).abs().max() <= 2e-3 * wanted.abs().max()
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_searched_is_no_worse(source, ingot, tmp_path, bits):
    """Our own rounding has no larger error than MLX's, and the same layout."""
    with safe_open(source("llama") / "model.safetensors", "pt") as file:
        plain = {name: file.get_tensor(name).float() for name in file.keys()}
    errors = {}
    for rounding in ("reference", "searched"):
        out = tmp_path / rounding
        ingot("export", source("llama"), out, "--to", "mlx", "--bits", bits, "--group-size", 64, "--rounding", rounding)
        errors[rounding] = sum((values - plain[name]).square().sum().item() for name, values in decoded(out).items())
    assert {name: one[:2] for name, one in read(tmp_path / "reference").items()} == {
        name: one[:2] for name, one in read(tmp_path / "searched").items()}
    assert errors["searched"] < errors["reference"]


@pytest.mark.parametrize("name", list(models.CASES))
def test_mxfp4_bytes(source, ingot, tmp_path, name):
    options = ["--bits-for", "*.block_sparse_moe.gate.weight=4"] if name == "mixtral" else []
    ingot("export", source(name), tmp_path / "found", "--to", "mlx", "--mode", "mxfp4", "--rounding", "reference", *options)
    compare(tmp_path / "found", converted(source(name), tmp_path / "wanted", 4, 32, "mxfp4"), "mxfp4")


@pytest.mark.parametrize("name", ["llama", "llama3", "biases"])
def test_searched_mxfp4_is_no_worse(source, ingot, tmp_path, name):
    plain = {}
    for path in source(name).glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            plain |= {name: file.get_tensor(name).double() for name in file.keys()}
    errors = {}
    for rounding in ("reference", "searched"):
        out = tmp_path / rounding
        ingot("export", source(name), out, "--to", "mlx", "--mode", "mxfp4", "--rounding", rounding)
        errors[rounding] = {name: (values.double() - plain[name]).square().sum() for name, values in decoded(out).items()}
    for name, worst in errors["reference"].items():
        assert errors["searched"][name] < worst or worst == 0, name


@pytest.mark.parametrize("name", ["llama", "tied", "mixtral", "qwen2"])
def test_mxfp4_is_repacked(source, ingot, tmp_path, name):
    """To GGUF and back, codes and scales stay: every weight has the same value."""
    folder, file, back = tmp_path / "mlx", tmp_path / "model.gguf", tmp_path / "back"
    ingot("export", source(name), folder, "--to", "mlx", "--mode", "mxfp4")
    ingot("export", folder, file, "--to", "gguf", "--type", "MXFP4")
    assert "PASS" in ingot("verify", file, "--against", folder, "--max-relative-mse", 0)
    ingot("export", file, back, "--to", "mlx", "--mode", "mxfp4")
    assert "PASS" in ingot("verify", back, "--against", file, "--max-relative-mse", 0)
    assert "PASS" in ingot("verify", back, "--against", folder, "--max-relative-mse", 0)
    # As gpt-oss stores it: blocks of 16 bytes and scales.
    parts = {}
    with safe_open(folder / "model.safetensors", "pt") as held:
        for part in held.keys():
            tensor = held.get_tensor(part)
            if part.endswith(".scales"):
                parts[part.replace(".scales", ".weight_scales")] = tensor
            elif tensor.dtype == torch.uint32:
                parts[f"{part}_blocks"] = tensor.contiguous().view(torch.uint8).unflatten(-1, (-1, 16))
            else:
                parts[part] = tensor
    blocks = tmp_path / "blocks"
    shutil.copytree(folder, blocks, ignore=shutil.ignore_patterns("model*", "ingot-export.json", "config.json"))
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in config.items() if not key.startswith("quantization")}
    (blocks / "config.json").write_text(json.dumps(config))
    save_file(parts, blocks / "model.safetensors")
    ingot("export", blocks, tmp_path / "blocks.gguf", "--to", "gguf", "--type", "MXFP4")
    assert (tmp_path / "blocks.gguf").read_bytes()[-4096:] == file.read_bytes()[-4096:]
    assert "PASS" in ingot("verify", tmp_path / "blocks.gguf", "--against", folder, "--max-relative-mse", 0)
    first, second = read(folder), read(back)
    for name, (kind, shape, data) in first.items():
        if name.endswith(".scales") or kind == "torch.uint32":
            assert second[name] == (kind, shape, data), name
