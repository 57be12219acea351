"""Gradients by `ingot calibrate`, against torch's autograd on labels that are drawn here by the same rule (Specs/moments.md)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent.parent / "PythonDecoder"))
import moments
from test_evaluate import CONTEXT, SMALL, make

INGOT = os.environ["INGOT"]
ROOT = Path(__file__).parent.parent.parent
MASK = 2**64 - 1


def split_mix(state):
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def draw(text, sequence, position):
    return (split_mix(split_mix(split_mix(text) ^ sequence) ^ position) >> 11) * 2.0**-53


def chosen(counts, wanted):
    """The sequences of each text that gradients are taken on."""
    total = sum(counts)
    if wanted >= total:
        return [range(count) for count in counts]
    exact = [count * wanted / total for count in counts]
    shares = [int(share) for share in exact]
    for text in sorted(range(len(counts)), key=lambda text: (shares[text] - exact[text], text))[: wanted - sum(shares)]:
        shares[text] += 1
    return [[(2 * i + 1) * count // (2 * share) for i in range(share)] for count, share in zip(counts, shares)]


def matrices(model):
    """Names of matrices, by the addresses of their weights. The halves of a fused matrix have two names."""
    found = {}
    for number, layer in enumerate(model.model.layers):
        start = f"layers.{number}."
        attention = layer.self_attn
        for kind, module in [("attn_q", attention.q_proj), ("attn_k", attention.k_proj), ("attn_v", attention.v_proj),
                             ("attn_output", attention.o_proj)]:
            found[module.weight.data_ptr()] = [start + kind]
        if hasattr(layer.mlp, "experts"):
            for expert in range(layer.mlp.experts.num_experts):
                own = f"{start}experts.{expert}."
                found[layer.mlp.experts.gate_up_proj[expert].data_ptr()] = [own + "ffn_gate", own + "ffn_up"]
                found[layer.mlp.experts.down_proj[expert].data_ptr()] = [own + "ffn_down"]
            # The choice of experts counts as fixed.
            layer.mlp.gate.register_forward_hook(lambda module, arguments, out: tuple(part.detach() for part in out))
        else:
            for kind, module in [("ffn_gate", layer.mlp.gate_proj), ("ffn_up", layer.mlp.up_proj), ("ffn_down", layer.mlp.down_proj)]:
                found[module.weight.data_ptr()] = [start + kind]
    # With tied embeddings the head is the embedding, which no other linear layer reads.
    found[model.lm_head.weight.data_ptr()] = ["head"]
    return found


def owner_input(name):
    """The input of a matrix."""
    if name == "head":
        return "head_in"
    start, kind = name.rsplit(".", 1)
    if kind == "attn_output":
        return start + ".output_in"
    return f"{start}.{'attention_in' if kind.startswith('attn') else 'down_in' if kind == 'ffn_down' else 'feed_forward_in'}"


def expected(model, texts, context, tokens, inputs):
    """Mean squares and sensitivities by names of matrices, for `(ids, weight)` of each text."""
    names = matrices(model)
    linear = torch.nn.functional.linear
    outputs = []

    def recorded(x, weight, bias=None):
        out = linear(x, weight, bias)
        if weight.data_ptr() in names and out.requires_grad:
            out.retain_grad()
            outputs.append((names[weight.data_ptr()], x.detach(), out))
        return out

    sums, leveraged, weights = {}, {}, {}
    counts = [len(ids) // context for ids, _ in texts]
    torch.nn.functional.linear = recorded
    try:
        for text, picked in enumerate(chosen(counts, max(1, tokens // context))):
            ids, weight = texts[text]
            for number in picked:
                outputs.clear()
                sequence = torch.tensor(ids[number * context:(number + 1) * context].astype(np.int64))[None]
                logs = torch.log_softmax(model(sequence, use_cache=False).logits[0].double(), -1)
                below = logs.detach().exp().cumsum(-1).numpy()
                labels = [min(int(np.searchsorted(row, draw(text, number, position) * row[-1], side="right")), row.size - 1)
                          for position, row in enumerate(below)]
                logs[range(context), labels].sum().backward()
                for owners, x, out in outputs:
                    gradient = out.grad.double().numpy()
                    rows = gradient.reshape(-1, gradient.shape[-1])
                    for owner, part in zip(owners, np.split(rows, len(owners), axis=1)):
                        sums[owner] = sums.get(owner, 0) + weight * (part**2).sum(0)
                        leverages = moments.leverages(inputs[owner_input(owner)], x.numpy().reshape(len(part), -1))
                        leveraged[owner] = leveraged.get(owner, 0) + weight * (part**2).mean(1) @ leverages
                        weights[owner] = weights.get(owner, 0) + weight * len(part)
    finally:
        torch.nn.functional.linear = linear
    return {name: sums[name] / weights[name] for name in sums}, {name: leveraged[name] / weights[name] for name in sums}


def check(model, texts, output, context, tokens, vocabulary):
    metadata, inputs, found = moments.read(output)
    sensitivities = moments.sensitivities(output)
    assert metadata["gradients"] == "fisher" and metadata["gradient_rows"] == "halves"
    counts = [len(ids) // context for ids, _ in texts]
    assert int(metadata["gradient_tokens"]) == min(sum(counts), max(1, tokens // context)) * context
    used = sum(weight * np.bincount(ids[:count * context], minlength=vocabulary) for (ids, weight), count in zip(texts, counts))
    np.testing.assert_allclose(found.pop("embedding"), used, rtol=1e-12)
    other, others = expected(model, texts, context, tokens, inputs)
    for name, values in found.items():
        if name not in other:
            assert "experts" in name and not values.any() and sensitivities[name] == 0
            continue
        error = np.abs(values - other[name]).max() / np.abs(other[name]).max()
        assert error < 1e-3 and abs(values.sum() / other[name].sum() - 1) < 1e-3, (name, error)
        small = other[name] > 1e-3 * other[name].max()
        np.testing.assert_allclose(values[small], other[name][small], rtol=1e-3, err_msg=name)
        assert sensitivities[name] == pytest.approx(others[name], rel=1e-3), name
    assert set(other) <= set(found)


@pytest.mark.parametrize("family, blocks", [("llama-tied", "usual"), ("llama-biases", "diagonal"), ("llama3-rope", "blocks:24"),
                                            ("qwen2", "usual"), ("mixtral", "usual")])
def test_random_models(tmp_path, family, blocks):
    model = make(tmp_path / "model", family, 11)
    if family == "mixtral":
        model.set_experts_implementation("eager")
    generator = np.random.default_rng(2)
    texts, options = [], []
    for number, (sequences, weight) in enumerate([(5, 2.0), (4, 1.0)]):
        ids = generator.integers(0, SMALL["vocab_size"], sequences * CONTEXT + 7, dtype=np.int32)
        np.save(tmp_path / f"{number}.npy", ids)
        texts.append((ids, weight))
        options += ["--ids", f"{tmp_path / str(number)}.npy:{weight}"]
    tokens = 6 * CONTEXT + 3
    subprocess.run([INGOT, "calibrate", tmp_path / "model", *options, "--context", str(CONTEXT), "-o", tmp_path / "m",
                    "--gradient-tokens", str(tokens), "--blocks", blocks, "--quiet"], check=True)
    check(model, texts, tmp_path / "m", CONTEXT, tokens, SMALL["vocab_size"])


def distance(model, ids, context, numbers):
    """How far the numbers that labels are drawn by are from the next step of the distribution: rounding decides behind 1e-7 or so."""
    least = 1.0
    with torch.no_grad():
        for number in numbers:
            sequence = torch.tensor(ids[number * context:(number + 1) * context].astype(np.int64))[None]
            below = torch.softmax(model(sequence, use_cache=False).logits[0].double(), -1).cumsum(-1).numpy()
            least = min(least, *(np.abs(row - draw(0, number, position)).min() for position, row in enumerate(below)))
    return least


def test_sample_weights(tmp_path):
    source, context = ROOT / "SampleWeights", 128
    subprocess.run([INGOT, "tokenize", source, "--text", source / "heldout-code.txt", "-o", tmp_path / "ids.npy"], check=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager").eval()
    all_ids = np.load(tmp_path / "ids.npy")
    ids = next(ids for ids in (all_ids[start:start + 8 * context] for start in range(0, 20_000, 500))
               if distance(model, ids, context, chosen([8], 4)[0]) > 5e-7)
    np.save(tmp_path / "few.npy", ids)
    subprocess.run([INGOT, "calibrate", source, "--ids", tmp_path / "few.npy", "--context", str(context), "-o", tmp_path / "m",
                    "--gradient-tokens", str(4 * context), "--quiet"], check=True)
    check(model, [(ids, 1.0)], tmp_path / "m", context, 4 * context, 2048)


@pytest.mark.parametrize("case", ["llama", "qwen2"])
def test_gguf(tmp_path, case):
    """The rows of queries and keys of a GGUF file are those of Hugging Face, perhaps in another order; everything else is the same."""
    import test_gguf_export as peers

    name = next(key for key, value in peers.CASES.items() if value[0] == case)
    model, _ = peers.build(name, tmp_path / "m.gguf")
    model.save_pretrained(tmp_path / "model")
    ids = np.random.default_rng(1).integers(0, peers.VOCABULARY, 4 * CONTEXT, dtype=np.int32)
    np.save(tmp_path / "ids.npy", ids)
    found = []
    for source, name in [("model", "a"), ("m.gguf", "b")]:
        subprocess.run([INGOT, "calibrate", tmp_path / source, "--ids", tmp_path / "ids.npy", "--context", str(CONTEXT),
                        "-o", tmp_path / name, "--quiet"], check=True)
        found.append(moments.everything(tmp_path / name))
    assert [one[0]["gradient_rows"] for one in found] == ["halves", "neighbours" if case == "llama" else "halves"]
    size = getattr(model.config, "head_dim", None) or model.config.hidden_size // model.config.num_attention_heads
    for name, values in found[0][2].items():
        if name.endswith(("attn_q", "attn_k")) and case == "llama":
            values = values.reshape(-1, 2, size // 2).swapaxes(1, 2).ravel()
        np.testing.assert_allclose(found[1][2][name], values, rtol=1e-3, atol=1e-4 * values.max(), err_msg=name)
    for name, value in found[0][3].items():
        assert found[1][3][name] == pytest.approx(value, rel=1e-3), name


def test_divergence(tmp_path):
    """Half the sum of g e H e over the rows e of a small error is the divergence that it makes, in nats per token. If the rows have moments of
    c times the inverse of the damped moments of the input, it is half of c, of the sensitivity and of the number of weights."""
    model = make(tmp_path / "model", "qwen2", 3)
    ids = np.random.default_rng(4).integers(0, SMALL["vocab_size"], 64 * CONTEXT, dtype=np.int32)
    np.save(tmp_path / "ids.npy", ids)
    subprocess.run([INGOT, "calibrate", tmp_path / "model", "--ids", tmp_path / "ids.npy", "--context", str(CONTEXT), "-o",
                    tmp_path / "m", "--quiet"], check=True)
    _, inputs, gradients = moments.read(tmp_path / "m")
    sensitivities = moments.sensitivities(tmp_path / "m")
    sequences = torch.tensor(ids.reshape(-1, CONTEXT).astype(np.int64))

    def logs():
        with torch.no_grad():
            return torch.log_softmax(model(sequences, use_cache=False).logits.double(), -1)

    before = logs()
    for kind, owner, weight in [("attn_v", "attention_in", model.model.layers[1].self_attn.v_proj.weight),
                                ("attn_output", "output_in", model.model.layers[0].self_attn.o_proj.weight),
                                ("ffn_up", "feed_forward_in", model.model.layers[2].mlp.up_proj.weight),
                                ("ffn_down", "down_in", model.model.layers[0].mlp.down_proj.weight)]:
        layer = next(number for number, one in enumerate(model.model.layers)
                     if any(parameter is weight for parameter in one.parameters()))
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))

        def divergence(error):
            with torch.no_grad():
                kept = weight.clone()
                weight.add_(error)
                after = logs()
                weight.copy_(kept)
            return (before.exp() * (before - after)).sum(-1).mean().item()

        error = noise * 1e-3
        kl = divergence(error)
        e, h = error.double().numpy(), inputs[f"layers.{layer}.{owner}"].blocks[0].astype(np.float64)
        predicted = 0.5 * (gradients[f"layers.{layer}.{kind}"] * np.einsum("ij,jk,ik->i", e, h, e)).sum()
        # The gradient and the input of a token are not independent, as the product assumes; and labels are drawn once.
        assert predicted == pytest.approx(kl, rel=0.35), kind
        (_, inverse), = moments.inverses(inputs[f"layers.{layer}.{owner}"])
        error = noise.double().numpy() @ np.linalg.cholesky(inverse).T * 1e-3
        predicted = 0.5e-6 * sensitivities[f"layers.{layer}.{kind}"] * error.size
        assert predicted == pytest.approx(divergence(torch.tensor(error, dtype=torch.float32)), rel=0.2), kind
