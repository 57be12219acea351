"""The perplexity of exports by `ingot evaluate` is that of the runtimes, on the same ids. `make bench-runtimes` has more models and llama.cpp."""

import json
import sys

import numpy as np
import pytest

import models

sys.path.insert(0, str(models.ROOT / "Tests/Benchmarks"))

import runtimes  # noqa: E402

COUNT = 2  # sequences of 512 tokens
# The runtimes' own products round otherwise than decoded weights (see runtimes.py); in a loss of one sequence, nats.
DECODED, PRODUCTS = 2e-5, 2e-2


@pytest.fixture(scope="module")
def evaluated(source, ingot, tmp_path_factory):
    """The mean loss of each sequence of the held-out prose, by `ingot evaluate`, and the sequences."""
    folder = tmp_path_factory.mktemp("ids")

    def losses(name, export):
        ids = folder / f"{name}.npy"
        if not ids.exists():
            ingot("tokenize", source(name), "--text", runtimes.TEXT, "--special", "-o", ids)
            np.save(ids, np.load(ids)[: COUNT * runtimes.CONTEXT])
        report = json.loads(ingot("evaluate", export, "--ids", ids, "--format", "json", "--quiet"))
        return np.array(report["texts"][0]["per_sequence"]["loss"]), np.load(ids).reshape(COUNT, -1)

    return losses


def same(found, wanted, tolerance):
    assert np.isfinite(found).all() and np.abs(found - wanted).max() <= tolerance, (found, wanted)


@pytest.mark.parametrize("name", ["sample", *runtimes.FAMILIES])
def test_mlx(source, ingot, evaluated, tmp_path, name):
    ingot("export", source(name), tmp_path / "out", "--to", "mlx", "--bits", 4, "--group-size", 64)
    wanted, sequences = evaluated(name, tmp_path / "out")
    same(runtimes.by_mlx(tmp_path / "out", sequences, decoded=True), wanted, DECODED)
    same(runtimes.by_mlx(tmp_path / "out", sequences), wanted, PRODUCTS)


@pytest.mark.parametrize("name", ["sample", "llama", "llama3", "mistral", "qwen2"])
def test_compressed_tensors(source, ingot, evaluated, tmp_path, name):
    ingot("export", source(name), tmp_path / "out", "--to", "compressed-tensors", "--bits", 4, "--group-size", 64)
    wanted, sequences = evaluated(name, tmp_path / "out")
    same(runtimes.by_transformers_decoded(tmp_path / "out", sequences), wanted, DECODED)
    same(runtimes.by_transformers(tmp_path / "out", sequences), wanted, PRODUCTS)


@pytest.mark.parametrize("name", ["sample", "llama", "mistral", "qwen2"])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K_M", "Q4_0"])
def test_gguf(source, gguf_export, evaluated, name, kind):
    options = ["--allow-fallback"] if name == "mistral" else []
    path = gguf_export(source(name), "--type", kind, *options)
    wanted, sequences = evaluated(name, path)
    same(runtimes.by_transformers(path, sequences), wanted, DECODED)
