"""Importance matrices: Ingot's as the Python package gguf reads them, and the package's as Ingot reads them."""

import json
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

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
