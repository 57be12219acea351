"""Writes a safetensors file of about so many gigabytes: the sample model's matrices, in pieces at seeded places.

    make_checkpoint.py OUT.safetensors GIGABYTES
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SAMPLE = Path(__file__).resolve().parents[2] / "SampleWeights"
HIDDEN, FFN = 4096, 11008

pool = np.concatenate(
    [t.ravel() for shard in sorted(SAMPLE.glob("model-*.safetensors")) for t in load_file(shard).values() if t.ndim == 2]
)
random = np.random.default_rng(20261121)


def piece(count):
    """`count` weights: stretches of the pool that begin at random places."""
    out, done = np.empty(count, pool.dtype), 0
    while done < count:
        start = int(random.integers(0, len(pool) // 2))
        step = min(count - done, len(pool) - start)
        out[done : done + step] = pool[start : start + step]
        done += step
    return out


def main():
    target = float(sys.argv[2]) * 1e9
    shapes, size = {}, 0
    while size < target:
        layer = f"model.layers.{len(shapes) // 3}.mlp"
        for name, shape in (("gate", (FFN, HIDDEN)), ("up", (FFN, HIDDEN)), ("down", (HIDDEN, FFN))):
            shapes[f"{layer}.{name}_proj.weight"] = shape
            size += 2 * HIDDEN * FFN
    header, offset = {}, 0
    for name, shape in shapes.items():
        count = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[1], "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            piece(shape[0] * shape[1]).tofile(file)


main()
