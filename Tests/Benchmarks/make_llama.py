"""Writes a checkpoint of a Llama's shapes in fp16: sparse, that is all zeros that take no disk, or dense, with weights
whose variance differs from row to row and column to column, as trained weights' does, and some outliers.

    make_llama.py OUT.safetensors MODEL [--dense]
    make_llama.py --models
"""

import json
import sys

import numpy as np

# Hidden size, layers, ffn size, attention heads, heads of keys and values, vocabulary.
MODELS = {
    "DeepSeek-Coder-1.3B": (2048, 24, 5504, 16, 16, 32256),
    "DeepSeek-Coder-6.7B": (4096, 32, 11008, 32, 32, 32256),
    "DeepSeek-Coder-33B": (7168, 62, 19200, 56, 8, 32256),
    "CodeLlama-7B": (4096, 32, 11008, 32, 32, 32016),
    "CodeLlama-13B": (5120, 40, 13824, 40, 40, 32016),
    "CodeLlama-34B": (8192, 48, 22016, 64, 8, 32000),
    "TinyLlama-1.1B": (2048, 22, 5632, 32, 4, 32000),
}


def tensors(model):
    hidden, layers, ffn, heads, kv_heads, vocabulary = MODELS[model]
    kv = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        for name, rows in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
            yield f"{prefix}self_attn.{name}_proj.weight", (rows, hidden)
        for name, shape in (("gate", (ffn, hidden)), ("up", (ffn, hidden)), ("down", (hidden, ffn))):
            yield f"{prefix}mlp.{name}_proj.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def weights(shape, random):
    """Normal, times a factor for each row and each column, with one outlier in 100,000 that is ten times as large."""
    if len(shape) == 1:
        return np.ones(shape, np.float16)
    rows, columns = shape
    matrix = random.standard_normal(shape, np.float32)
    matrix *= np.exp(random.normal(0, 0.25, (rows, 1))).astype(np.float32)
    matrix *= 0.02 * np.exp(random.normal(0, 0.15, (1, columns))).astype(np.float32)
    matrix.ravel()[random.integers(0, matrix.size, matrix.size // 100_000)] *= 10
    return matrix.astype(np.float16)


def main():
    if sys.argv[1] == "--models":
        return print("\n".join(model for model in MODELS if model != "TinyLlama-1.1B"))
    path, model, dense = sys.argv[1], sys.argv[2], "--dense" in sys.argv[3:]
    header, offset = {}, 0
    for name, shape in tensors(model):
        count = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(20261121)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if dense:
            for _, shape in tensors(model):
                weights(shape, random).tofile(file)
        file.truncate(8 + len(text) + offset)


main()
