"""GGUF exports as the package gguf reads them, and as transformers and llama.cpp load them: the model and the ids of texts are the same.

llama.cpp's Python package has no wheel on PyPI; its tests run where it is installed (`pip install llama-cpp-python==0.3.36` builds it).
"""

import unicodedata

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import expected
import models

# transformers reads no attention biases, no rotary scaling and no stacked experts of Mixtral from GGUF files; a Mistral is a Llama there.
WHOLE = ["llama", "llama-pieces", "tied", "mistral", "qwen2", "deep", "narrow"]
LINES = ["Hello world, 123 don't  stop\n\n日本", "naïve café e\u0301 🙂\t1234567", "<tool> def f(x):\n    return x\n", " a  b   c "]


def reference(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def ids(count=600):
    return torch.randint(3, count, (2, 96), generator=torch.Generator().manual_seed(1))


def logits(model, tokens):
    with torch.no_grad():
        return model(tokens).logits.double()


def load(path):
    """A GGUF file as transformers decodes it. Nothing is missing, nothing is left over."""
    model, info = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


def same_logits(folder, path, tolerance):
    """The largest difference, as a part of the largest logit, is at most `tolerance`."""
    wanted = logits(reference(folder), ids())
    off = float((logits(load(path), ids()) - wanted).abs().max() / wanted.abs().max())
    assert off <= tolerance


@pytest.mark.parametrize("name", models.CASES)
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M"])
def test_package_reads(source, gguf_export, name, kind):
    options = ["--allow-fallback"] if name in ("narrow", "mistral") else []
    reader = gguf.GGUFReader(gguf_export(source(name), "--type", kind, "--rounding", "reference", *options))
    found = expected.tensors(source(name))
    assert {tensor.name for tensor in reader.tensors} == set(found)
    worst = {"F16": 1e-6, "Q8_0": 1e-4, "Q4_K_M": 0.02}[kind]
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(found[tensor.name].shape)
        wanted = found[tensor.name]
        assert np.square(values - wanted).sum() <= worst * np.square(wanted).sum(), tensor.name
    assert reader.fields["general.alignment"].contents() == 32 if "general.alignment" in reader.fields else True


@pytest.mark.parametrize("name", WHOLE)
def test_transformers_exact(source, gguf_export, name):
    same_logits(source(name), gguf_export(source(name), "--type", "F32"), 1e-5)


@pytest.mark.parametrize("name", WHOLE)
def test_transformers_f16(source, gguf_export, name):
    same_logits(source(name), gguf_export(source(name), "--type", "F16"), 1e-3)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q4_K_M", "Q2_K", "IQ4_XS"])
def test_transformers_blocks(source, gguf_export, ingot, tmp_path, name, kind):
    """transformers decodes the blocks itself. The same weights, decoded by the command, give the same logits."""
    options = ["--allow-fallback"] if name in ("narrow", "mistral") else []
    path = gguf_export(source(name), "--type", kind, *options)
    ingot("export", path, tmp_path / "plain", "--dtype", "f32")
    same_logits(tmp_path / "plain", path, 1e-4)


@pytest.mark.parametrize("name", [name for name in models.CASES if name != "linear"])
def test_transformers_tokenizer(source, gguf_export, name):
    path = gguf_export(source(name), "--type", "F16")
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ours = AutoTokenizer.from_pretrained(source(name))
    for text in LINES:
        # transformers' own reader cuts these in another way, also in files of llama.cpp's converter: runs of spaces of pieces, and composed
        # characters of Qwen2, whose normalization it leaves out.
        if models.PRE[name] == "default" and "  " in text or name == "qwen2" and unicodedata.normalize("NFC", text) != text:
            continue
        assert theirs(text)["input_ids"] == ours(text)["input_ids"], text
    assert theirs.eos_token == ours.eos_token


# --- llama.cpp --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    package = pytest.importorskip("llama_cpp")

    def get(path):
        return package.Llama(str(path), n_ctx=128, n_batch=128, logits_all=True, n_threads=1, verbose=False, type_k=0, type_v=0,
                             flash_attn=False)

    return get


def run(model, tokens):
    """The logits of one sequence: float64, [tokens, vocabulary]."""
    model.reset()
    model.eval(tokens.tolist())
    return torch.tensor(np.array(model.scores[:len(tokens)])).double()


def compare_llama(llama, folder, path, tolerance):
    wanted, model = logits(reference(folder), ids()), llama(path)
    for row, tokens in zip(wanted, ids()):
        found = run(model, tokens)
        assert found.shape == row.shape
        assert (found - row).abs().max() <= tolerance * row.abs().max()


@pytest.mark.parametrize("name", models.CASES)
def test_llama_exact(source, gguf_export, llama, name):
    compare_llama(llama, source(name), gguf_export(source(name), "--type", "F32"), 1e-4)


@pytest.mark.parametrize("kind, tolerance", [("BF16", 0.02), ("F16", 0.01), ("Q8_0", 0.04), ("Q4_K_M", 0.3)])
def test_llama_close(source, gguf_export, llama, kind, tolerance):
    compare_llama(llama, source("llama"), gguf_export(source("llama"), "--type", kind), tolerance)


@pytest.mark.parametrize("name", models.CASES)
def test_llama_tokenizer(source, gguf_export, llama, name):
    model, ours = llama(gguf_export(source(name), "--type", "F16")), AutoTokenizer.from_pretrained(source(name))
    text = "".join(path.read_text(encoding="utf-8") for path in models.TEXTS)
    starts = np.random.default_rng(3).integers(0, len(text) - 300, 40)
    # Qwen2 composes characters before it cuts; llama.cpp does not. It looks for added tokens before spaces become pieces, we do after.
    left = {"qwen2": "\u0301", "llama-pieces": "<tool>", "mistral": "<tool>", "mixtral": "<tool>"}.get(name, "\0")
    lines = [line for line in LINES if left not in line]
    for part in [*(text[start:start + 300] for start in starts), *lines]:
        assert model.tokenize(part.encode(), add_bos=True, special=True) == ours(part)["input_ids"], part


def test_llama_loads_shards(source, ingot, llama, tmp_path):
    ingot("export", source("sample"), tmp_path / "out", "--to", "gguf", "--type", "F32", "--max-shard-size", "6MB")
    paths = sorted((tmp_path / "out").glob("*.gguf"))
    assert len(paths) > 2
    compare_llama(llama, source("sample"), paths[0], 1e-4)
