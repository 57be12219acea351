"""What `ingot export` writes, loaded and run by transformers: the runtime most people try first."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
SOURCE = ROOT / "SampleWeights"
TYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def ingot(*arguments):
    subprocess.run([INGOT, *map(str, arguments)], check=True, cwd=ROOT, stdout=subprocess.PIPE)


def load(path, dtype=torch.float32):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def windows():
    """Two windows of 512 tokens of each held-out text."""
    tokenizer = AutoTokenizer.from_pretrained(SOURCE)
    ids = []
    for name in ("heldout-code.txt", "heldout-prose.txt"):
        text = (SOURCE / name).read_text(encoding="utf-8")[:8000]
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += [tokens[:512], tokens[512:1024]]
    return torch.tensor(ids)


def loss(model, windows):
    """Mean negative log-likelihood in nats a token."""
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()


@pytest.fixture(scope="module")
def original(windows):
    return loss(load(SOURCE), windows)


@pytest.mark.parametrize("dtype", TYPES)
def test_export_loads_with_its_element_type(tmp_path, dtype, windows):
    ingot("convert", SOURCE, tmp_path / "sealed")
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--to", "safetensors", "--dtype", dtype)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in config
    for shard in (tmp_path / "out").glob("*.safetensors"):
        with safe_open(shard, "pt") as file:
            assert all(file.get_tensor(name).dtype == TYPES[dtype] for name in file.keys())
    model = load(tmp_path / "out", "auto")
    assert model.dtype == TYPES[dtype]
    with torch.no_grad():
        assert torch.isfinite(model(windows[:1, :64]).logits).all()


def test_lossless_gives_the_same_logits(tmp_path, windows):
    ingot("convert", SOURCE, tmp_path / "sealed", "--scheme", "lossless")
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--to", "safetensors")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "out")(windows).logits, load(SOURCE)(windows).logits)


# Bounds on the loss added, in nats a token, over 2044 held-out tokens: a few times what was seen.
@pytest.mark.parametrize(("bits", "bound"), [(8, 0.002), (6, 0.003), (5, 0.01), (4, 0.02), (3, 0.1), (2, 0.6)])
def test_loss_on_held_out_text(tmp_path, bits, bound, windows, original):
    ingot("convert", SOURCE, tmp_path / "sealed", "--bits", bits)
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--to", "safetensors", "--dtype", "f32")
    added = loss(load(tmp_path / "out"), windows) - original
    print(f"{bits} bits: {original:.4f} + {added:.4f} nats a token")
    assert math.isfinite(added) and added < bound
