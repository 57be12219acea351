"""`ingot inspect --group-by expert`, against numpy: experts in tensors of their own, and as slices of one tensor."""

import csv
import io
import json

import numpy as np
import pytest
from test_decoder import ingot
from test_statistics import near, write


def groups(path, *options):
    report = json.loads(ingot("inspect", path, "--format", "json", "--group-by", "expert", *options).stdout)
    return {group["name"]: group for group in report["groups"]}, report


def check(group, arrays):
    values = np.concatenate([array.ravel() for array in arrays]).astype(np.float64)
    mean, std = values.mean(), values.std()
    central = values - mean
    assert group["elements"] == values.size and group["tensors"] == len(arrays)
    assert (group["min"], group["max"]) == (values.min(), values.max())
    assert group["absmax"] == np.abs(values).max() and group["zeros"] == (values == 0).sum()
    assert abs(group["mean"] - mean) <= 1e-10 * std and near(group["std"], std, 1e-9)
    if std == 0:
        # Quantized to zeros.
        assert group["kurtosis"] == group["skewness"] == 0
        return
    assert near(group["kurtosis"], (central**4).mean() / std**4, 1e-7)
    assert abs(group["skewness"] - (central**3).mean() / std**3) <= 1e-7 * group["kurtosis"]


def floats(rng, *shape):
    # Each expert has a scale of its own; every 50th weight is zero.
    values = rng.standard_normal(shape) * 0.02 * (1 + np.arange(shape[0])).reshape(-1, *[1] * (len(shape) - 1))
    values[rng.integers(0, 50, shape) == 0] = 0
    return values.astype(np.float32)


#: Rows of an expert that no chunk and no piece has as a divisor; wide and narrow ones; many experts of a few rows.
SHAPES = [(4, 37, 96), (3, 700, 512), (5, 3, 7), (300, 2, 64), (2, 1, 600_000), (2, 300_000, 2), (6, 1100, 1024)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", [None, "trellis", "uniform", "lossless"])
def test_slices(shape, scheme, tmp_path):
    rng = np.random.default_rng(len(SHAPES))
    fused = floats(rng, *shape)
    name = "model.layers.7.mlp.experts.gate_up_proj"
    write(tmp_path / "model.safetensors", {
        name: ("F32", list(shape), fused.tobytes()),
        "model.layers.7.mlp.shared_experts.up_proj.weight": ("F32", [2, 4], np.ones(8, np.float32).tobytes()),
    })
    path = tmp_path / "model.safetensors"
    if scheme:
        (tmp_path / "source").mkdir()
        path.rename(tmp_path / "source/model.safetensors")
        (tmp_path / "source/config.json").write_text("{}")
        ingot("convert", tmp_path / "source", tmp_path / "sealed", "--scheme", scheme, "--quiet")
        ingot("export", tmp_path / "sealed", tmp_path / "out", "--dtype", "f32", "--quiet")
        path = tmp_path / "sealed"
        with open(next((tmp_path / "out").glob("*.safetensors")), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(length))[name]
            file.seek(8 + length + entry["data_offsets"][0])
            fused = np.frombuffer(file.read(fused.nbytes), np.float32).reshape(shape)
    found, report = groups(path)
    assert list(found) == ["outside of experts", *(f"layer 7, expert {expert}" for expert in range(shape[0]))]
    for expert in range(shape[0]):
        check(found[f"layer 7, expert {expert}"], [fused[expert]])
    tensors = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert sum(group["bytes"] for group in found.values()) == sum(tensor["bytes"] for tensor in tensors.values())
    assert found["outside of experts"]["elements"] == 8
    # Neither the number of jobs nor the grouping changes a figure.
    assert groups(path, "--jobs", "1")[1] == report == groups(path, "--jobs", "6", "--max-memory", "64MiB")[1]
    plain = json.loads(ingot("inspect", path, "--format", "json").stdout)
    assert plain["tensors"] == report["tensors"]
    whole = tensors[name]["statistics"]
    assert whole["count"] == fused.size and near(whole["std"], fused.astype(np.float64).std(), 1e-9)
    if scheme and scheme != "lossless" and tensors[name]["scheme"] != "kept":
        assert whole["code_entropy_bits"] > 0


def test_many_flat_experts_are_not_told_apart_in_chunks(tmp_path):
    """A chunk would be decoded for each of its experts: too slow, so that the tensor counts outside."""
    (tmp_path / "source").mkdir()
    fused = floats(np.random.default_rng(1), 2000, 1, 2048)
    write(tmp_path / "source/model.safetensors", {"layers.0.experts.up_proj": ("F32", list(fused.shape), fused.tobytes())})
    (tmp_path / "source/config.json").write_text("{}")
    assert len(groups(tmp_path / "source")[0]) == 2000
    ingot("convert", tmp_path / "source", tmp_path / "sealed", "--scheme", "trellis", "--quiet")
    found = groups(tmp_path / "sealed")[0]
    assert list(found) == ["outside of experts"] and found["outside of experts"]["elements"] == fused.size


def test_names(tmp_path):
    rng = np.random.default_rng(2)
    tensors, expected = {}, {}

    def add(name, array, *groups):
        tensors[name] = ("F32", list(array.shape), array.tobytes())
        for group, part in groups:
            expected.setdefault(group, []).append(part)

    for layer in range(2):
        for expert in (0, 1, 10):
            for part in ("w1", "w2"):
                array = floats(rng, 6, 8)
                add(f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight", array, (f"layer {layer}, expert {expert}", array))
    array = floats(rng, 4, 6)
    add("blk.3.ffn_gate.2.weight", array, ("layer 3, expert 2", array))
    array = floats(rng, 2, 4, 6)
    add("blk.3.ffn_down_exps.weight", array, ("layer 3, expert 0", array[0]), ("layer 3, expert 1", array[1]))
    for name, shape in (
        ("blk.3.ffn_gate_inp.weight", (2, 6)), ("blk.3.ffn_gate_shexp.weight", (4, 6)), ("model.layers.0.mlp.shared_experts.down_proj.weight", (4, 6)),
        ("model.layers.0.mlp.shared_expert.0.weight", (4, 6)), ("model.layers.0.mlp.experts.gate_up_proj_bias", (2, 6)),
        ("model.layers.0.conv.weight", (2, 3, 4)), ("model.layers.0.mlp.experts.odd", (2, 3, 4, 1)),
    ):
        array = floats(rng, *shape)
        add(name, array, ("outside of experts", array))
    # Whole numbers count in no figure of weights.
    tensors["model.layers.1.mlp.experts.index"] = ("I32", [2, 2, 2], bytes(32))
    write(tmp_path / "a.safetensors", tensors)
    found, _ = groups(tmp_path / "a.safetensors")
    assert list(found)[0] == "outside of experts"
    assert list(found)[1:4] == ["layer 0, expert 0", "layer 0, expert 1", "layer 0, expert 10"]
    assert set(found) == set(expected)
    for name, arrays in expected.items():
        group = dict(found[name])
        if name in ("layer 1, expert 0", "layer 1, expert 1"):
            group["tensors"] -= 1
            group["elements"] -= 4
        check(group, arrays)
    rows = list(csv.DictReader(io.StringIO(ingot("inspect", tmp_path / "a.safetensors", "--format", "csv", "--group-by", "expert").stdout)))
    assert [row["name"] for row in rows] == list(found)
    headers = groups(tmp_path / "a.safetensors", "--headers-only")[0]
    assert {name: group["elements"] for name, group in headers.items()} == {name: group["elements"] for name, group in found.items()}
    assert all(group["mean"] is None for group in headers.values())
    text = ingot("inspect", tmp_path / "a.safetensors", "--group-by", "expert", "--sort", "std", "--top", "3").stdout
    assert text.startswith("expert ") and f"\n3 of {len(found)} groups\n" in text


def test_errors_of_experts(tmp_path):
    """Tensors of one expert have certificates: their relative MSE is that of the expert."""
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(3)
    arrays = {f"layers.0.experts.{expert}.{part}.weight": floats(rng, 64, 128) for expert in range(2) for part in ("w1", "w2")}
    write(tmp_path / "source/model.safetensors", {name: ("F32", [64, 128], array.tobytes()) for name, array in arrays.items()})
    (tmp_path / "source/config.json").write_text("{}")
    ingot("convert", tmp_path / "source", tmp_path / "sealed", "--scheme", "uniform", "--quiet")
    found, report = groups(tmp_path / "sealed")
    for expert in range(2):
        parts = [t for t in report["tensors"] if f".experts.{expert}." in t["name"]]
        energies = [(arrays[t["name"]].astype(np.float64) ** 2).sum() for t in parts]
        noise = sum(t["relative_mse"] * energy for t, energy in zip(parts, energies))
        assert near(found[f"layer 0, expert {expert}"]["relative_mse"], noise / sum(energies), 1e-6)
