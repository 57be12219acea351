"""What Specs/trellis.md, section 6, says of the trellis before any file is written: gaps to the Gaussian bound with an ideal
coder, and, with the errors that `make bench-peers` left in .build/peers.json, what coders and classes need on MiniLM's matrices.

    laboratory.py        (with .venv-bench; prints Markdown; needs clang)
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zstandard

ROOT = Path(__file__).resolve().parents[2]
STRIP = 64


class Rule(ctypes.Structure):
    _fields_ = [("states", ctypes.c_int32), ("inverse_step", ctypes.c_float), ("dead_zone", ctypes.c_float),
                ("shrink", ctypes.c_float), ("farthest", ctypes.c_float)]  # fmt: skip


class Shape(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_size_t), ("columns", ctypes.c_size_t)]


def kernels():
    """The project's own kernels as a library."""
    path = Path(tempfile.mkdtemp()) / "kernels.so"
    sources = (ROOT / "Sources/CKernels").rglob("*.c")
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-I", str(ROOT / "Sources/CKernels/include"), "-o", str(path)]
    subprocess.run(["clang", *flags, *map(str, sources), "-pthread", "-lm"], check=True)
    library = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p
    library.ingot_trellis_quantize.argtypes = [pointer, Shape, Rule, pointer, pointer, pointer]
    return library


LIBRARY = kernels()


def quantize(weights, step, dead_zone=0.0, shrink=1.0, states=8, height=512):
    """Symbols and parities of the states, of tiles of so many rows."""
    symbols, parities = np.empty(weights.shape, np.int16), np.empty(weights.shape, np.uint8)
    columns = weights.shape[1]
    strips = -(-columns // STRIP)
    for top in range(0, len(weights), height):
        tile = np.ascontiguousarray(weights[top : top + height], np.float32)
        rows = len(tile)
        found, masks = np.empty((strips, rows, STRIP), np.int16), np.empty((strips, rows), np.uint64)
        scratch = np.empty(rows * STRIP * 6, np.uint8)
        rule = Rule(states, 1 / step, dead_zone, shrink, 2 * 8000 - 1)
        LIBRARY.ingot_trellis_quantize(
            tile.ctypes.data, Shape(rows, columns), rule, found.ctypes.data, masks.ctypes.data, scratch.ctypes.data)  # fmt: skip
        odd = (masks[:, :, None] >> np.arange(STRIP, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)
        for out, part in ((symbols, found), (parities, odd)):
            out[top : top + rows] = part.transpose(1, 0, 2).reshape(rows, -1)[:, :columns]
    return symbols, parities


def noise(weights, symbols, parities, step):
    return float(((weights - (2 * symbols.astype(np.int32) + parities) * step) ** 2).sum(dtype=np.float64))


def ideal_bits(symbols, contexts):
    """What an ideal coder of order 0 takes, by context."""
    low = symbols.min()
    span = int(symbols.max()) - low + 1
    counts = np.bincount((contexts.astype(np.int64) * span + symbols - low).ravel()).astype(float)
    counts = np.append(counts, np.zeros(-len(counts) % span)).reshape(-1, span)
    totals = counts.sum(1)
    return (totals[totals > 0] * np.log2(totals[totals > 0])).sum() - (counts[counts > 0] * np.log2(counts[counts > 0])).sum()


def fitted(symbols, parities, distortion, factor=1.0):
    """Dead zone and shrink for bits = a + b|n| + c n^2, as Sources/Conversion/RateControl/RateFit.swift has them."""
    counts = np.bincount(np.abs(2 * symbols.astype(np.int32) + parities).ravel())[:40].astype(float)
    each = np.where(np.arange(len(counts)) == 0, counts, counts / 2)
    x = np.nonzero(each >= 3)[0]
    root = np.sqrt(counts[x])
    powers = np.stack([np.ones(len(x)), x, x * x], 1)
    _, b, c = np.linalg.lstsq(powers * root[:, None], -np.log2(each[x] / each.sum()) * root, rcond=None)[0]
    weight = factor * 2 * np.log(2) * distortion
    return max(weight * b / 2, 0), 1 / (1 + max(weight * c, 0))


def gap(weights, bits, factor=1.0, **options):
    """Bits above the Gaussian bound, near a rate."""
    step, rule = 2.1 * 2.0**-bits, (0.0, 1.0)
    for trial in range(4):
        symbols, parities = quantize(weights, step, *rule, **options)
        lost, rate = noise(weights, symbols, parities, step), ideal_bits(symbols, parities) / weights.size
        if trial < 3:
            rule = fitted(symbols, parities, lost / weights.size / step**2, factor)
            step *= 2 ** (rate - bits)
    return rate + 0.5 * np.log2(lost / (weights.astype(np.float64) ** 2).sum())


def row(name, values):
    print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |")


PARAMETERS = zstandard.ZstdCompressionParameters.from_level(1, min_match=7, hash_log=6, write_content_size=True)
COMPRESSOR = zstandard.ZstdCompressor(compression_params=PARAMETERS)


def zstd_bits(symbols, parities, classes):
    """Nibbles by class and parity, escapes apart, tiles of 512 x 512 in strips."""
    total = 0
    for top in range(0, len(symbols), 512):
        for left in range(0, symbols.shape[1], 512):
            tile = [part[top : top + 512, left : left + 512] for part in (symbols, parities, classes)]
            strips = [np.concatenate([t[:, c : c + STRIP].ravel() for c in range(0, t.shape[1], STRIP)]) for t in tile]
            k, stream = strips[0], strips[1] + 2 * strips[2].astype(int)
            escaped = np.abs(k) > 7
            codes = np.where(escaped, 15, k + 7).astype(np.uint8)
            plain = [np.append(codes[stream == s], np.zeros((stream == s).sum() % 2, np.uint8)) for s in np.unique(stream)]
            packed = [p[0::2] | p[1::2] << 4 for p in plain] + [np.clip(k[escaped], -127, 127).astype(np.int8)]
            total += sum(min(len(COMPRESSOR.compress(p.tobytes())), p.nbytes) for p in packed if p.size)
            total += 8 * int((np.abs(k) > 127).sum())
    return 8 * total


def by_rank(values, count):
    """Equally many of each class, by rising value."""
    return (np.argsort(np.argsort(values, kind="stable"), kind="stable") * count // len(values)).astype(np.uint8)


def coders(peers):
    """Bits a weight on MiniLM's matrices, each at the error of a GGUF type."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
    from weights import WEIGHT_SETS

    matrices = {t.name: t.values for s in WEIGHT_SETS if s.key == "minilm" for t in s.tensors()}
    asked = {m["name"]: {f["type"]: f["relative_mse"] for f in m["formats"]} for m in peers["matrices"]}
    print("\n| bits a weight | ideal, 1 class | ideal, 4 of rows | zstd, 1 | zstd, 2 | zstd, 4 |\n|---|---|---|---|---|---|")
    for kind in ("Q4_K", "Q3_K", "Q2_K"):
        sums, total = np.zeros(5), 0
        for name, weights in matrices.items():
            energy = (weights.astype(np.float64) ** 2).sum()
            step, rule = np.sqrt(asked[name][kind] * energy / weights.size / 0.27), (0.0, 1.0)
            for trial in range(5):
                symbols, parities = quantize(weights, step, *rule)
                lost = noise(weights, symbols, parities, step)
                if trial < 4:
                    if trial < 3:
                        rule = fitted(symbols, parities, lost / weights.size / step**2)
                    step *= np.sqrt(asked[name][kind] * energy / lost)
            spread = [np.repeat(by_rank((weights**2).mean(1), c)[:, None], weights.shape[1], 1) for c in (1, 2, 4)]
            ideal = [ideal_bits(symbols, 2 * classes + parities) for classes in (spread[0], spread[2])]
            sums += [*ideal, *(zstd_bits(symbols, parities, classes) for classes in spread)]
            total += weights.size
        row(f"{kind}'s error", sums / total)


def main():
    weights = np.random.default_rng(1).standard_normal((2048, 2048)).astype(np.float32)
    print("| states | 4 bits | 3 | 2 |\n|---|---|---|---|")
    for states in (8, 16, 32):
        row(states, [gap(weights, bits, states=states) for bits in (4, 3, 2)])
    print("\n| rows of a tile | gap, 3 bits |\n|---|---|")
    for height in (64, 128, 256, 512, 1024, 2048):
        row(height, [gap(weights, 3, height=height)])
    print("\n| factor on lambda | 4 bits | 3 | 2 |\n|---|---|---|---|")
    for factor in (0, 0.5, 0.8, 1, 1.2):
        row(factor, [gap(weights, bits, factor) for bits in (4, 3, 2)])
    if (peers := ROOT / ".build/peers.json").exists():
        coders(json.loads(peers.read_text()))


if __name__ == "__main__":
    main()
