"""Exports for compressed-tensors: the bytes that the library writes, and the models that transformers loads from them."""

import json

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import (
    QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus, apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import models

# transformers keeps the experts of a Mixtral in one tensor, and the library only sees linear layers.
NAMES = [name for name in models.CASES if name != "mixtral"]
WIDTHS = [(4, 32), (4, 64), (4, 128), (8, 32), (8, 128), (4, "channel"), (8, "channel")]
FITTING = [name for name in NAMES if name != "narrow"]


def read(folder):
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}
    return found


def compressed(folder, bits, group):
    """Tensors and settings of a model that the library compressed: min-max scales, symmetric, computed in the model's own type.

    `group` is the number of weights of a group, or "channel".
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    sized = {"strategy": "channel"} if group == "channel" else {"strategy": "group", "group_size": group}
    arguments = QuantizationArgs(num_bits=bits, type="int", symmetric=True, **sized)
    apply_quantization_config(model, QuantizationConfig(
        config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=arguments)}, ignore=["lm_head"],
        quantization_status=QuantizationStatus.INITIALIZED))
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            parts = module.weight.data.unflatten(1, (-1, module.weight.shape[1] if group == "channel" else group))
            scale, _ = calculate_qparams(parts.amin(2), parts.amax(2), arguments)
            module.weight_scale.data = scale.to(module.weight_scale.dtype)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    return tensors, compressor.quantization_config.model_dump(mode="json")


def equal(first, second):
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(
        first.contiguous().view(torch.uint8), second.contiguous().view(torch.uint8))


def compare(folder, bits, group, found):
    wanted, settings = compressed(folder, bits, group)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert equal(found[name], value), f"{name}: {(found[name] != value).sum()} of {value.numel()} differ"
    return settings


@pytest.mark.parametrize("name", ["llama", "qwen2", "biases"])
@pytest.mark.parametrize("bits, group", WIDTHS)
def test_bytes(source, ingot, tmp_path, name, bits, group):
    ingot("export", source(name), tmp_path / "out", "--to", "compressed-tensors", "--bits", bits, "--group-size", group,
          "--rounding", "reference")
    settings = compare(source(name), bits, group, read(tmp_path / "out"))
    stated = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert stated["quant_method"] == "compressed-tensors" and stated["format"] == "pack-quantized" == settings["format"]
    assert stated["quantization_status"] == "compressed" and "lm_head" in stated["ignore"]
    ours, theirs = (one["config_groups"]["group_0"] for one in (stated, settings))
    assert ours["targets"] == theirs["targets"] == ["Linear"]
    for key in ("num_bits", "type", "symmetric", "strategy", "group_size"):
        assert ours["weights"][key] == theirs["weights"][key], key


@pytest.mark.parametrize("name", FITTING)
def test_bytes_of_every_family(source, ingot, tmp_path, name):
    ingot("export", source(name), tmp_path / "out", "--to", "compressed-tensors", "--bits", 4, "--group-size", 128,
          "--rounding", "reference")
    compare(source(name), 4, 128, read(tmp_path / "out"))


def decoded(tensors, bits):
    """Every weight as float32: code times scale, in float32, as transformers decodes it for a model of that type."""
    out = {}
    for name, value in tensors.items():
        if name.endswith(".weight_packed"):
            stem = name.removesuffix("_packed")
            codes = unpack_from_int32(value, bits, torch.Size(tensors[f"{stem}_shape"].tolist()))
            scale = tensors[f"{stem}_scale"].float()
            out[stem] = (codes.float().unflatten(1, (scale.shape[1], -1)) * scale[..., None]).flatten(1)
        elif not name.endswith(("_scale", "_shape")):
            out[name] = value
    return {name: value.float() for name, value in out.items()}


def scales(tensors):
    return torch.cat([value.flatten().float() for name, value in tensors.items() if name.endswith(".weight_scale")])


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("options", [("--group-size", 64), ("--group-size", 64, "--rounding", "reference"),
                                     ("--group-size", "channel")], ids=str)
def test_loads(source, ingot, tmp_path, name, options):
    """transformers loads the codes and computes what it computes with the decoded weights. Searched scales have both signs."""
    ingot("export", source(name), tmp_path / "out", "--to", "compressed-tensors", "--bits", 4, *options)
    assert bool((scales(read(tmp_path / "out")) < 0).any()) == ("reference" not in options)
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    reference = AutoModelForCausalLM.from_pretrained(source(name), dtype=torch.float32).eval()
    missing, unexpected = reference.load_state_dict(decoded(read(tmp_path / "out"), 4), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    ids = torch.randint(3, 600, (2, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, wanted = model.eval()(ids).logits, reference(ids).logits
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_columns_that_fill_no_group(source, ingot, tmp_path):
    """288 columns are no groups of 128. The library refuses such a layer; so do we."""
    message = ingot("export", source("narrow"), tmp_path / "out", "--to", "compressed-tensors", "--bits", 4, "--group-size", 128,
                    "--rounding", "reference", code=65)
    assert "rows of" in message and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["llama", "llama3", "biases"])
@pytest.mark.parametrize("bits, group", [(4, 64), (4, "channel"), (8, "channel")])
def test_searched_is_no_worse(source, ingot, tmp_path, name, bits, group):
    """Of a whole matrix in groups; of every row where it has one scale."""
    plain = read(source(name))
    errors = {}
    for rounding in ("reference", "searched"):
        out = tmp_path / rounding
        ingot("export", source(name), out, "--to", "compressed-tensors", "--bits", bits, "--group-size", group, "--rounding",
              rounding)
        found = decoded(read(out), bits)
        errors[rounding] = {name: (found[name].double() - value.double()).square().sum(-1) for name, value in plain.items()}
    assert set(errors["reference"]) == set(errors["searched"]) and sum(one.sum() for one in errors["searched"].values()) > 0
    for name, worst in errors["reference"].items():
        own = errors["searched"][name]
        if group == "channel":
            assert (own <= worst * (1 + 1e-6)).all(), name
        assert own.sum() <= worst.sum() and (worst.sum() == 0 or own.sum() < worst.sum()), name


def test_channel_configuration(source, ingot, tmp_path):
    ingot("export", source("llama"), tmp_path / "out", "--to", "compressed-tensors", "--bits", 8, "--group-size", "channel")
    weights = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]["config_groups"]["group_0"]["weights"]
    assert (weights["strategy"], weights["group_size"], weights["num_bits"]) == ("channel", None, 8)
    QuantizationArgs.model_validate(weights)
    found = read(tmp_path / "out")
    assert found["model.layers.0.mlp.down_proj.weight_scale"].shape == (256, 1)
    # Ingot reads what it wrote, and copies the codes.
    ingot("export", tmp_path / "out", tmp_path / "again", "--to", "compressed-tensors", "--bits", 8, "--group-size", "channel")
    again = read(tmp_path / "again")
    assert set(again) == set(found) and all(equal(again[name], value) for name, value in found.items())
    told = ingot("verify", tmp_path / "again", "--against", tmp_path / "out", "--max-relative-mse", 0)
    assert "PASS" in told and "value-exact" in told
    message = ingot("export", source("llama"), tmp_path / "mlx", "--to", "mlx", "--group-size", "channel", code=64)
    assert "a scale for each row" in message
