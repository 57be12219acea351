"""The figures of `ingot diff` between a tensor per expert and tensors of all experts, by numpy."""

import json
import math
import struct

import numpy as np
import pytest
import safetensors.numpy
from test_decoder import ingot

EXPERTS, FEED, HIDDEN = 4, 64, 96


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path, tensors):
    """A GGUF file of Q8_0 tensors: name -> array [experts, rows, columns]. Returns the values that they stand for."""
    head, data, values = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0), b"", {}
    for name, array in tensors.items():
        blocks = array.astype(np.float32).reshape(-1, 32)
        scales = (np.abs(blocks).max(1) / 127).astype(np.float16)
        codes = np.rint(blocks / scales.astype(np.float32)[:, None]).clip(-127, 127).astype(np.int8)
        values[name] = (codes * scales.astype(np.float32)[:, None]).reshape(array.shape)
        head += text(name) + struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}Q", *reversed(array.shape))
        head += struct.pack("<IQ", 8, len(data))
        data += np.concatenate([scales[:, None].view(np.int8), codes], 1).tobytes()
        data += bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return values


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(5)
    shapes = {"gate": (FEED, HIDDEN), "up": (FEED, HIDDEN), "down": (HIDDEN, FEED)}
    return {k: (random.normal(size=(EXPERTS, *s)) * 0.02).astype(np.float16) for k, s in shapes.items()}


def single(weights):
    return {
        f"model.layers.0.mlp.experts.{expert}.{kind}_proj.weight": weights[kind][expert].copy()
        for expert in range(EXPERTS)
        for kind in weights
    }


def check(tensor, old, new):
    """Compares the pooled figures, and each part's. `old` and `new` are name -> values."""
    wide, back = [], []
    is_fused = tensor["regrouped"] == "fused"
    several, whole = (old, new) if is_fused else (new, old)
    one = whole[tensor["new" if is_fused else "old"]["name"]]
    one = one.astype(np.float64).reshape(-1, one.shape[-1])
    expected_row = 0
    for part in tensor["parts"]:
        own = several[part["name"]].astype(np.float64)
        if own.ndim == 3:
            own = own[part["expert"]]
        assert part["row"] == expected_row and part["rows"] == own.shape[0]
        expected_row += part["rows"]
        rows = one[part["row"] : part["row"] + part["rows"]]
        first, second = (own, rows) if is_fused else (rows, own)
        wide.append(first.ravel())
        back.append(second.ravel())
        noise = ((first - second) ** 2).sum() / (first**2).sum()
        assert part["relative_mse"] == noise == 0 or math.isclose(part["relative_mse"], noise, rel_tol=1e-9)
    assert expected_row == one.shape[0]
    wide, back = np.concatenate(wide), np.concatenate(back)
    noise = ((wide - back) ** 2).sum() / (wide**2).sum()
    assert math.isclose(tensor["errors"]["relative_mse"], noise, rel_tol=1e-9)
    assert tensor["errors"]["max_error"] == np.abs(wide - back).max()
    assert tensor["changed"] == int((wide != back).sum())


def test_gguf(tmp_path, weights):
    """Q8_0 tensors of llama.cpp's names against a tensor per expert, in both directions."""
    old = single(weights)
    (tmp_path / "old").mkdir()
    safetensors.numpy.save_file(old, tmp_path / "old/model.safetensors")
    new = write_gguf(tmp_path / "new.gguf", {f"blk.0.ffn_{kind}_exps.weight": weights[kind] for kind in weights})
    for sides in (("old", "new.gguf", old, new), ("new.gguf", "old", new, old)):
        report = json.loads(ingot("diff", tmp_path / sides[0], tmp_path / sides[1], "--format", "json", code=1).stdout)
        word = "fused" if sides[0] == "old" else "split"
        assert report["counts"][word] == len(report["tensors"]) == 3 and not report["added"] and not report["removed"]
        for tensor in report["tensors"]:
            assert tensor["status"] == "changed" and tensor["renamed_by"] == "similar_weights"
            assert tensor["sampled_relative_mse"] < 1e-3
            check(tensor, sides[2], sides[3])


def test_gguf_against_stacked(tmp_path, weights):
    """Gate and up tensors of all experts against one in which each expert's are stacked."""
    values = write_gguf(tmp_path / "old.gguf", {f"blk.0.ffn_{kind}_exps.weight": weights[kind] for kind in weights})
    stacked = {
        "model.layers.0.mlp.experts.gate_up_proj": np.concatenate([weights["gate"], weights["up"]], 1),
        "model.layers.0.mlp.experts.down_proj": weights["down"],
    }
    (tmp_path / "new").mkdir()
    safetensors.numpy.save_file(stacked, tmp_path / "new/model.safetensors")
    report = json.loads(ingot("diff", tmp_path / "old.gguf", tmp_path / "new", "--format", "json", code=1).stdout)
    assert report["counts"]["fused"] == report["counts"]["renamed"] == 1 and not report["added"] + report["removed"]
    (tensor,) = [t for t in report["tensors"] if t["regrouped"]]
    check(tensor, values, stacked)


@pytest.mark.parametrize("interleaved", [False, True])
def test_transposed(tmp_path, weights, interleaved):
    """Transposed tensors, and those with gate and up in alternate columns, are no rows of experts: added and removed."""
    gate, up = (weights[k].transpose(0, 2, 1) for k in ("gate", "up"))
    both = np.stack([gate, up], -1).reshape(EXPERTS, HIDDEN, 2 * FEED) if interleaved else np.concatenate([gate, up], 2)
    for folder, tensors in (("old", single(weights)), ("new", {"model.layers.0.mlp.experts.gate_up_proj": both.copy()})):
        (tmp_path / folder).mkdir()
        safetensors.numpy.save_file(tensors, tmp_path / folder / "model.safetensors")
    report = json.loads(ingot("diff", tmp_path / "old", tmp_path / "new", "--format", "json", code=1).stdout)
    assert not report["tensors"] and len(report["added"]) == 1 and len(report["removed"]) == 3 * EXPERTS
