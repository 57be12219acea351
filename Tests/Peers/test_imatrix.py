"""Importance matrices: Ingot's as the Python package gguf reads them, and the package's as Ingot reads them."""

import json
import os
import struct
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors import safe_open

INGOT = os.environ.get("INGOT", str(Path(__file__).parents[2] / ".build/release/ingot"))
FIXTURES = Path(__file__).parents[1] / "PythonDecoder/fixtures"


def inspect(path):
    done = subprocess.run([INGOT, "inspect", path, "--format", "json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_ours():
    reader = gguf.GGUFReader(FIXTURES / "imatrix.gguf")
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_size"].contents() == 16
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    rows = {row["input"]: row for row in inspect(FIXTURES / "imatrix.gguf")["inputs"]}
    mean = tensors["blk.0.ffn_down.weight.in_sum2"] / tensors["blk.0.ffn_down.weight.counts"]
    assert rows["layers.0.down_in"]["diagonal_ratio"] == pytest.approx(mean.max() / mean.min(), rel=1e-5)
    assert tensors["blk.1.ffn_up_exps.weight.in_sum2"].shape == (2, 6)
    assert tensors["blk.1.ffn_up_exps.weight.counts"].ravel().tolist() == [61, 0]


def read_older(path):
    """Names, calls and values of an importance matrix of the older form, the number of chunks, and the name of the text."""
    data, place, entries = Path(path).read_bytes(), 0, {}

    def word():
        nonlocal place
        place += 4
        return struct.unpack_from("<i", data, place - 4)[0]

    def take(count):
        nonlocal place
        place += count
        return data[place - count:place]

    for _ in range(word()):
        name = take(word()).decode()
        calls, count = word(), word()
        entries[name] = calls, np.frombuffer(take(4 * count), "<f4")
    chunks, text = word(), take(word()).decode()
    assert place == len(data)
    return entries, chunks, text


def test_calibrated(tmp_path):
    """Both forms that `calibrate --imatrix` writes: mean squares of the file of moments, under llama.cpp's names."""
    sample = Path(__file__).parents[2] / "SampleWeights"
    for name in ("i.gguf", "i.dat"):
        subprocess.run([INGOT, "calibrate", sample, "--text", f"{sample}/heldout-code.txt:3", "--context", "128",
                        "--tokens", "1000", "--blocks", "diagonal", "-o", tmp_path / "m.safetensors", "--force",
                        "--imatrix", tmp_path / name, "--quiet"], check=True, capture_output=True)
    with safe_open(tmp_path / "m.safetensors", "np") as file:
        means = {key.removesuffix(".moments"): file.get_tensor(key) for key in file.keys() if key.endswith(".moments")}
    kinds = {"attn_q": "attention_in", "attn_k": "attention_in", "attn_v": "attention_in", "attn_output": "output_in",
             "ffn_gate": "feed_forward_in", "ffn_up": "feed_forward_in", "ffn_down": "down_in"}
    keys = {f"blk.{layer}.{name}.weight": f"layers.{layer}.{kind}" for layer in range(4) for name, kind in kinds.items()}
    keys["output.weight"] = "head_in"
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    assert reader.fields["imatrix.datasets"].contents() == ["heldout-code.txt"]
    assert reader.fields["imatrix.chunk_size"].contents() == 128 and reader.fields["imatrix.chunk_count"].contents() == 7
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    entries, chunks, text = read_older(tmp_path / "i.dat")
    assert set(entries) == set(keys) and chunks == 7 and text == "heldout-code.txt"
    assert set(tensors) == {f"{name}.{part}" for name in keys for part in ("in_sum2", "counts")}
    for name, key in keys.items():
        assert tensors[f"{name}.counts"].ravel().tolist() == [896]
        np.testing.assert_allclose(tensors[f"{name}.in_sum2"], means[key] * 896, rtol=1e-6)
        calls, values = entries[name]
        assert calls == 7
        np.testing.assert_allclose(values, means[key] * 7, rtol=1e-6)


def test_theirs(tmp_path):
    """As llama.cpp writes them: sums and counts in F32, experts in the second of ggml's dimensions."""
    path = tmp_path / "imatrix.gguf"
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt"])
    writer.add_uint32("imatrix.chunk_count", 2)
    writer.add_uint32("imatrix.chunk_size", 512)
    sums = np.random.default_rng(1).uniform(1, 9, (3, 32)).astype(np.float32)
    counts = np.array([[100], [400], [7]], np.float32)
    for name, one, count in [("attn_q", sums[0], counts[0]), ("ffn_down_exps", sums, counts)]:
        writer.add_tensor(f"blk.4.{name}.weight.in_sum2", one)
        writer.add_tensor(f"blk.4.{name}.weight.counts", count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    report = inspect(path)
    assert report["form"] == "imatrix gguf" and report["sequences"] == 2 and report["context"] == 512
    names = ["layers.4.attention_in"] + [f"layers.4.experts.{e}.down_in" for e in range(3)]
    assert [row["input"] for row in report["inputs"]] == names
    assert [row["tokens"] for row in report["inputs"]] == [100, 100, 400, 7]
    for row, one in zip(report["inputs"], [sums[0], *sums]):
        assert row["columns"] == 32 and row["diagonal_ratio"] == pytest.approx(one.max() / one.min(), rel=1e-5)
