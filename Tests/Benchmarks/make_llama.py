"""Writes a checkpoint of a Llama's shapes in fp16: sparse, that is all zeros that take no disk, or dense, with weights
whose variance differs from row to row and column to column, as trained weights' does, and some outliers.

    make_llama.py OUT.safetensors MODEL [--dense | --dense-bytes N]
    make_llama.py OUT_DIRECTORY MODEL [--dense | --dense-bytes N | --reflink K] [--shard-size 10GB] [--tokenizer]
    make_llama.py --models          the models of the study that Ingot goes back to

--layers K takes K layers of the model instead of all.

A directory is what Hugging Face has: shards, an index, config.json. --dense-bytes fills the first N bytes of the weights
and leaves the rest sparse. --reflink fills the first K layers and lets the others share their blocks, where the
file system can (xfs, btrfs): all bytes are dense to whoever reads them, and few are on the disk.

So that gigabytes come fast, normal deviates are drawn once, 16 million of them; each block of a matrix is a stretch of
them from a random place, under fresh factors for each row and column. No two blocks are equal, nor would a
compressor find them to be related.
"""

import argparse
import fcntl
import json
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np

# Hidden size, layers, ffn size, attention heads, heads of keys and values, vocabulary.
STUDY = {
    "DeepSeek-Coder-1.3B": (2048, 24, 5504, 16, 16, 32256),
    "DeepSeek-Coder-6.7B": (4096, 32, 11008, 32, 32, 32256),
    "DeepSeek-Coder-33B": (7168, 62, 19200, 56, 8, 32256),
    "CodeLlama-7B": (4096, 32, 11008, 32, 32, 32016),
    "CodeLlama-13B": (5120, 40, 13824, 40, 40, 32016),
    "CodeLlama-34B": (8192, 48, 22016, 64, 8, 32000),
}
# Sizes between them. Those called a shape are no published model's, only plausible.
MODELS = STUDY | {
    "Llama-shape-0.1B": (768, 12, 2048, 12, 4, 16000),
    "TinyLlama-1.1B": (2048, 22, 5632, 32, 4, 32000),
    "Llama-shape-3B": (3072, 28, 8192, 24, 8, 32000),
}

SEED = 20261121
POOL = 1 << 24
BLOCK = 1 << 18
# What file systems share is blocks: a tensor can be cloned where it begins and ends with one.
ALIGNMENT = 4096
# From linux/fs.h: _IOW(0x94, 13, struct file_clone_range).
FICLONERANGE = 0x4020940D


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


def size_in_bytes(shape):
    return 2 * int(np.prod(shape))


class Weights:
    """Normal, times a factor for each row and each column, with one outlier in 100,000 that is ten times as large;
    norms are near 1."""

    def __init__(self):
        self._random = np.random.default_rng(SEED)
        self._pool = self._random.standard_normal(POOL, np.float32)

    def blocks(self, shape):
        """The tensor front to back, some rows at a time."""
        random = self._random
        if len(shape) == 1:
            yield (1 + 0.1 * random.standard_normal(shape)).astype(np.float16)
            return
        rows, columns = shape
        row_scales = np.exp(random.normal(0, 0.25, (rows, 1))).astype(np.float32)
        column_scales = 0.02 * np.exp(random.normal(0, 0.15, columns)).astype(np.float32)
        step = max(1, BLOCK // columns)
        for row in range(0, rows, step):
            count = min(step, rows - row)
            start = int(random.integers(0, POOL - count * columns))
            block = self._pool[start : start + count * columns].reshape(count, columns) * column_scales
            block *= row_scales[row : row + count]
            block.ravel()[random.integers(0, block.size, random.poisson(block.size / 100_000))] *= 10
            yield block.astype(np.float16)


class Filler:
    """Puts weights where a file has its tensors: `budget` bytes in all, or clones of the first `distinct` layers."""

    def __init__(self, budget, distinct):
        self._weights = Weights() if budget > 0 else None
        self._budget = budget
        self._distinct = distinct
        self._written = {}  # where to clone from: name -> (path, offset)

    def fill(self, file, path, name, shape, offset):
        if self._distinct and self._clone(file, name, shape, offset):
            return
        self._written[name] = (path, offset)
        if self._budget <= 0:
            return
        file.seek(offset)
        for block in self._weights.blocks(shape):
            data = memoryview(block).cast("B")[: self._budget]
            file.write(data)
            self._budget -= len(data)
            if self._budget <= 0:
                return

    def _clone(self, file, name, shape, offset):
        layer = re.match(r"(model\.layers\.)(\d+)(\..*)", name)
        if not layer or int(layer[2]) < self._distinct:
            return False
        path, begin = self._written[f"{layer[1]}{int(layer[2]) % self._distinct}{layer[3]}"]
        count = size_in_bytes(shape)
        if any(value % ALIGNMENT for value in (begin, offset, count)):
            return False
        file.flush()
        with open(path, "rb") as source:
            try:
                fcntl.ioctl(file.fileno(), FICLONERANGE, struct.pack("=qQQQ", source.fileno(), begin, count, offset))
            except OSError as error:
                sys.exit(f"{path.parent}: the file system does not share blocks ({os.strerror(error.errno)}): "
                         "--reflink needs xfs or btrfs")  # fmt: skip
        return True


def write_shard(path, shard, filler, alignment):
    """`shard` is a list of names and shapes. The header is padded with spaces up to `alignment`, as the format allows."""
    header, offset = {}, 0
    for name, shape in shard:
        end = offset + size_in_bytes(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % alignment)
    base = 8 + len(text)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.flush()
        # The full length first: what is not filled is a hole.
        file.truncate(base + offset)
        for name, shape in shard:
            filler.fill(file, path, name, shape, base + header[name]["data_offsets"][0])


def split(model, shard_bytes):
    """Shards as Hugging Face's libraries cut them: a tensor that would make one too large begins the next."""
    shards, used = [[]], 0
    for name, shape in tensors(model):
        if shards[-1] and used + size_in_bytes(shape) > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append((name, shape))
        used += size_in_bytes(shape)
    return shards


def config(model):
    hidden, layers, ffn, heads, kv_heads, vocabulary = MODELS[model]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16",
    }


def write_tokenizer(folder):
    """One that loads: some converters take the tokenizer along and will not go without it."""
    special = ["<unk>", "<s>", "</s>"]
    added = [
        {"id": i, "content": token, "special": True, "normalized": False, "single_word": False, "lstrip": False,
         "rstrip": False} for i, token in enumerate(special)
    ]  # fmt: skip
    vocabulary = {token: i for i, token in enumerate([*special, *map(chr, range(33, 127))])}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    write_json(folder / "tokenizer.json", tokenizer)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | names)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_directory(folder, model, filler, arguments):
    folder.mkdir(parents=True)
    shards = split(model, arguments.shard_size)
    weight_map, total = {}, 0
    for i, shard in enumerate(shards):
        name = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / name, shard, filler, ALIGNMENT if arguments.reflink else 8)
        weight_map |= {tensor: name for tensor, _ in shard}
        total += sum(size_in_bytes(shape) for _, shape in shard)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)
    write_json(folder / "config.json", config(model))
    if arguments.tokenizer:
        write_tokenizer(folder)


def byte_count(text):
    """`10GB`, `512MiB`, `4096`."""
    parsed = re.fullmatch(r"([0-9.]+)([kKMGT]?)(i?)B?", text)
    if not parsed:
        raise argparse.ArgumentTypeError(f"{text} is no number of bytes such as 10GB")
    return int(float(parsed[1]) * (1024 if parsed[3] else 1000) ** " KMGT".index(parsed[2].upper() or " "))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="a file OUT.safetensors, or a directory to make")
    parser.add_argument("model", nargs="?", choices=MODELS)
    parser.add_argument("--models", action="store_true", help="print the names of the study's models")
    fill = parser.add_mutually_exclusive_group()
    fill.add_argument("--dense", action="store_true")
    fill.add_argument("--dense-bytes", type=byte_count, metavar="N")
    fill.add_argument("--reflink", type=int, metavar="K", help="layers that differ; the others share their blocks")
    parser.add_argument("--layers", type=int, metavar="K", help="layers of the model; all if not said")
    parser.add_argument("--shard-size", type=byte_count, default="10GB", metavar="S", help="10GB if not said")
    parser.add_argument("--tokenizer", action="store_true", help="write a small tokenizer, too")
    arguments = parser.parse_args()
    if arguments.models:
        return print("\n".join(STUDY))
    if not arguments.model:
        parser.error("OUT and MODEL are needed")
    if arguments.layers:
        hidden, _, *others = MODELS[arguments.model]
        MODELS[arguments.model] = (hidden, arguments.layers, *others)
    everything = sum(size_in_bytes(shape) for _, shape in tensors(arguments.model))
    budget = everything if arguments.dense or arguments.reflink else arguments.dense_bytes or 0
    filler = Filler(budget, arguments.reflink)
    if arguments.out.suffix == ".safetensors":
        alignment = ALIGNMENT if arguments.reflink else 8
        write_shard(arguments.out, list(tensors(arguments.model)), filler, alignment)
    else:
        write_directory(arguments.out, arguments.model, filler, arguments)


if __name__ == "__main__":
    main()
