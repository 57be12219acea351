"""Perplexity, KL divergence and agreement by `ingot evaluate`, against transformers in fp32."""

import json
import math
import os
import subprocess

import gguf
import numpy as np
import pytest
import torch
import transformers

INGOT = os.environ["INGOT"]
CONTEXT = 64

SMALL = dict(vocab_size=700, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6,
             max_position_embeddings=256, initializer_range=0.2)

FAMILIES = {
    "llama-tied": (transformers.LlamaConfig, dict(num_key_value_heads=6, tie_word_embeddings=True)),
    "llama-untied-grouped": (transformers.LlamaConfig, dict(num_key_value_heads=2, tie_word_embeddings=False)),
    "llama-head-size": (transformers.LlamaConfig, dict(num_key_value_heads=3, head_dim=32)),
    "llama-biases": (transformers.LlamaConfig, dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True)),
    "llama-linear-rope": (transformers.LlamaConfig, dict(
        num_key_value_heads=2, rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=100000.0))),
    "llama3-rope": (transformers.LlamaConfig, dict(
        num_key_value_heads=2, rope_parameters=dict(
            rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32))),
    "mistral": (transformers.MistralConfig, dict(num_key_value_heads=2, sliding_window=None)),
    "qwen2": (transformers.Qwen2Config, dict(num_key_value_heads=2, use_sliding_window=False)),
    "mixtral": (transformers.MixtralConfig, dict(
        num_key_value_heads=2, num_local_experts=5, num_experts_per_tok=2, sliding_window=None)),
}


def make(path, family, seed):
    """A random model, saved in fp32. Biases and norms get values of their own, so that a missing one shows."""
    kind, options = FAMILIES[family]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        kind(**SMALL, **options), dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(path)
    return model.eval()


def evaluate(*arguments):
    done = subprocess.run([INGOT, "evaluate", *map(str, arguments), "--format", "json", "--quiet"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["all"]


def distributions(model, ids):
    """Log-probabilities behind the second half of each sequence in binary64, and the tokens that follow."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
            sequence = torch.tensor(ids[start:start + CONTEXT].astype(np.int64))[None]
            logits = model(sequence).logits[0].double()
            parts.append((torch.log_softmax(logits[CONTEXT // 2:-1], -1), sequence[0, CONTEXT // 2 + 1:]))
    return torch.cat([p for p, _ in parts]), torch.cat([t for _, t in parts])


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    found = np.random.default_rng(5).integers(0, SMALL["vocab_size"], 6 * CONTEXT, dtype=np.int32)
    np.save(path, found)
    return path, found


@pytest.mark.parametrize("family", FAMILIES)
def test_families(tmp_path, ids, family):
    path, tokens = ids
    model, reference = make(tmp_path / "model", family, 1), make(tmp_path / "reference", family, 1)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    reference.save_pretrained(tmp_path / "reference")
    found = evaluate(tmp_path / "model", "--against", tmp_path / "reference", "--ids", path, "--context", CONTEXT)
    own, targets = distributions(model, tokens)
    other, _ = distributions(reference, tokens)
    loss = -own.gather(1, targets[:, None]).mean().item()
    assert math.log(found["perplexity"]["value"]) == pytest.approx(loss, rel=1e-5)
    kl = (other.exp() * (other - own)).sum(1)
    assert found["kl"]["value"] == pytest.approx(kl.mean().item(), rel=1e-3, abs=1e-6)
    assert found["top1"]["value"] == pytest.approx((own.argmax(1) == other.argmax(1)).double().mean().item(), abs=0.02)
    expected = np.quantile(kl.numpy(), [0.99, 0.999], method="inverted_cdf")
    assert found["kl_p99"] == pytest.approx(expected[0], rel=1e-2, abs=1e-6)
    assert found["kl_p999"] == pytest.approx(expected[1], rel=1e-2, abs=1e-6)


def test_exports_and_conversions(tmp_path, ids):
    """A converted checkpoint, its export, and transformers on the export say the same."""
    path, tokens = ids
    model = make(tmp_path / "model", "llama-untied-grouped", 3)
    for command in (["convert", tmp_path / "model", tmp_path / "sealed", "--bits", "4", "--bits-for", "*=4"],
                    ["export", tmp_path / "sealed", tmp_path / "plain", "--dtype", "f32"]):
        subprocess.run([INGOT, *map(str, command)], check=True, capture_output=True)
    sealed = evaluate(tmp_path / "sealed", "--against", tmp_path / "model", "--ids", path, "--context", CONTEXT)
    plain = evaluate(tmp_path / "plain", "--against", tmp_path / "model", "--ids", path, "--context", CONTEXT)
    for key in ("perplexity", "kl", "top1"):
        assert sealed[key]["value"] == pytest.approx(plain[key]["value"], rel=1e-6)
    exported = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", dtype=torch.float32, attn_implementation="eager").eval()
    own, targets = distributions(exported, tokens)
    other, _ = distributions(model, tokens)
    assert math.log(sealed["perplexity"]["value"]) == pytest.approx(
        -own.gather(1, targets[:, None]).mean().item(), rel=1e-5)
    assert sealed["kl"]["value"] == pytest.approx((other.exp() * (other - own)).sum(1).mean().item(), rel=1e-3)


@pytest.mark.parametrize("memory", ["16MiB", "24MiB", "2GiB"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_budgets_do_not_change_results(tmp_path, ids, memory, jobs):
    """Groups of sequences, a scratch file and jobs change sums of products only by rounding."""
    path, _ = ids
    make(tmp_path / "model", "mixtral", 4)
    whole = evaluate(tmp_path / "model", "--ids", path, "--context", CONTEXT, "--jobs", 2)
    part = evaluate(tmp_path / "model", "--ids", path, "--context", CONTEXT, "--jobs", jobs, "--max-memory", memory)
    assert part["perplexity"]["value"] == pytest.approx(whole["perplexity"]["value"], rel=1e-6)
    assert part["sequences"] == whole["sequences"] == 6


def moments(path):
    """Diagonals of both halves and merged moments by input, from a file of moments of the usual blocks."""
    from safetensors.numpy import load_file

    found = {}
    for name, value in load_file(path).items():
        key, kind = name.rsplit(".", 1)
        found.setdefault(key, {})[kind] = value
    return found


def check_imatrix(path, family, found, inputs):
    """The importance matrix, as the package gguf reads it, has the squares that hooks see, under llama.cpp's names."""
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_size"].contents() == CONTEXT
    assert reader.fields["imatrix.chunk_count"].contents() == 6
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    names = {"attn_q": "attention_in", "attn_k": "attention_in", "attn_v": "attention_in", "attn_output": "output_in"}
    dense = {"ffn_gate": "feed_forward_in", "ffn_up": "feed_forward_in", "ffn_down": "down_in"}
    experts = {"ffn_gate_exps": "feed_forward_in", "ffn_up_exps": "feed_forward_in", "ffn_down_exps": "down_in"}
    names |= {"ffn_gate_inp": "feed_forward_in"} if family == "mixtral" else dense
    count = SMALL["num_hidden_layers"]
    expected = {f"blk.{number}.{name}": f"layers.{number}.{kind}" for number in range(count) for name, kind in names.items()}
    expected["output"] = "head_in"
    for name, key in expected.items():
        x = torch.cat(inputs[key]).numpy()
        np.testing.assert_allclose(tensors[f"{name}.weight.in_sum2"], (x**2).sum(0), rtol=2e-4, atol=1e-4)
        assert tensors[f"{name}.weight.counts"].ravel().tolist() == [len(x)]
    number_of_experts = 5 if family == "mixtral" else 0
    for number in range(count if number_of_experts else 0):
        for name, kind in experts.items():
            sums = tensors[f"blk.{number}.{name}.weight.in_sum2"]
            counts = tensors[f"blk.{number}.{name}.weight.counts"].ravel()
            assert len(sums) == len(counts) == number_of_experts
            for expert in range(number_of_experts):
                own = found[f"layers.{number}.experts.{expert}.{kind}"]
                assert counts[expert] == own["tokens"].sum()
                halves = (own["diagonals"].T * own["tokens"]).sum(1)
                np.testing.assert_allclose(sums[expert], halves, rtol=1e-4)
    known = set(expected) | ({f"blk.{n}.{name}" for n in range(count) for name in experts} if number_of_experts else set())
    assert set(tensors) == {f"{name}.weight.{part}" for name in known for part in ("in_sum2", "counts")}


@pytest.mark.parametrize("family", ["llama-untied-grouped", "qwen2", "mixtral"])
def test_moments(tmp_path, ids, family):
    """Moments of `ingot calibrate` are those that hooks in transformers see."""
    path, tokens = ids
    model = make(tmp_path / "model", family, 6)
    output, imatrix = tmp_path / "moments.safetensors", tmp_path / "imatrix.gguf"
    done = subprocess.run([INGOT, "calibrate", tmp_path / "model", "--ids", f"{path}:2", "--context", str(CONTEXT),
                           "-o", output, "--imatrix", imatrix, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = moments(output)
    inputs = {}

    def keep(key):
        return lambda module, arguments: inputs.setdefault(key, []).append(arguments[0].detach().double()[0])

    for number, layer in enumerate(model.model.layers):
        start = f"layers.{number}."
        layer.self_attn.q_proj.register_forward_pre_hook(keep(start + "attention_in"))
        layer.self_attn.o_proj.register_forward_pre_hook(keep(start + "output_in"))
        if hasattr(layer.mlp, "down_proj"):
            layer.mlp.gate_proj.register_forward_pre_hook(keep(start + "feed_forward_in"))
            layer.mlp.down_proj.register_forward_pre_hook(keep(start + "down_in"))
        else:
            layer.mlp.register_forward_pre_hook(keep(start + "feed_forward_in"))
    model.lm_head.register_forward_pre_hook(keep("head_in"))
    distributions(model, tokens)
    assert set(inputs) <= set(found)
    for key, sequences in inputs.items():
        count = len(sequences)
        for half in (0, 1):
            x = torch.cat(sequences[half::2]).numpy()
            assert found[key]["tokens"][half] == len(x)
            assert found[key]["weights"][half] == 2 * len(x)
            np.testing.assert_allclose(found[key]["diagonals"][half], (x**2).mean(0), rtol=2e-4, atol=1e-6)
        x = torch.cat(sequences).numpy()
        expected = x.T @ x / len(x)
        upper = np.triu_indices(x.shape[1])
        np.testing.assert_allclose(found[key]["moments"], expected[upper], rtol=1e-3, atol=1e-4)
        assert count == 6
    check_imatrix(imatrix, family, found, inputs)
    if family == "mixtral":
        routed = [found[f"layers.0.experts.{expert}.down_in"]["tokens"].sum() for expert in range(5)]
        assert sum(routed) == 2 * 6 * CONTEXT


def test_calibration_resumes(tmp_path, ids):
    """A run that is killed goes on behind its finished layers, to the same bytes."""
    path, _ = ids
    make(tmp_path / "model", "llama-tied", 7)
    command = [INGOT, "calibrate", tmp_path / "model", "--ids", path, "--context", str(CONTEXT), "--jobs", "1", "--quiet"]
    subprocess.run([*command, "-o", tmp_path / "whole.safetensors"], check=True, capture_output=True)
    limited = subprocess.run(["bash", "-c", 'ulimit -f 300; "$@"', "_", *map(str, command), "-o",
                              str(tmp_path / "part.safetensors")], capture_output=True, text=True)
    assert limited.returncode != 0 and not (tmp_path / "part.safetensors").exists()
    resumed = subprocess.run([*command, "-o", tmp_path / "part.safetensors"], capture_output=True, text=True)
    assert resumed.returncode == 0 and "by an earlier run" in resumed.stdout, resumed.stdout + resumed.stderr
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "part.safetensors").read_bytes()
