"""The same Llama with a wider hidden state, so that its rows are whole super-blocks of 256 columns.

New columns and rows are zero, also those of new heads of keys and values with their queries, so the new dimensions of the hidden state stay
zero. RMSNorm divides by the root of a mean over all columns: with k = hidden / wider, norm weights times sqrt(k) and epsilon times k give the
same outputs. The width of the feed-forward network stays.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def widen(source: Path, wider: int, out: Path) -> Path:
    """Writes the model of `source` (one file, fp32) to the directory `out`. `wider`: the new hidden size, whole groups of heads."""
    config = json.loads((source / "config.json").read_text())
    hidden, heads, key_heads = (config[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    dimension = hidden // heads
    wider_heads, rest = divmod(wider, dimension)
    wider_key_heads, uneven = divmod(wider_heads * key_heads, heads)
    if rest or uneven:
        raise ValueError(f"{wider} columns are no whole groups of {heads // key_heads} query heads")
    sizes = {hidden: wider, dimension * key_heads: dimension * wider_key_heads}
    fixed = {config["intermediate_size"], config["vocab_size"]}
    if len(sizes) < 2 or fixed & set(sizes):
        raise ValueError(f"{source}: sizes do not tell what a dimension is")

    tensors = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if name.endswith("norm.weight"):
            tensor = tensor * np.float32(np.sqrt(hidden / wider))
        tensors[name] = np.pad(tensor, [(0, sizes.get(size, size) - size) for size in tensor.shape])
    config |= {
        "hidden_size": wider,
        "num_attention_heads": wider_heads,
        "num_key_value_heads": wider_key_heads,
        "rms_norm_eps": config["rms_norm_eps"] * hidden / wider,
    }
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1))
    for path in source.glob("tokenizer*"):
        shutil.copy(path, out)
    return out
