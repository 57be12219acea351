"""Reports as Specs/json.md describes them, made without the command: real weights by numpy, or any number of invented ones."""

import json
import math
import re
import struct
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "SampleWeights"
BINS = 64
KINDS = {
    "embed_tokens": "embedding", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "lm_head": "head",
}  # fmt: skip


def sample_weights() -> dict[str, np.ndarray]:
    tensors = {}
    for path in sorted(SOURCE.glob("model-*.safetensors")):
        data = path.read_bytes()
        end = 8 + struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8:end]).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                values = np.frombuffer(data[end + first : end + last], np.float16)
                tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


def role(name: str) -> dict:
    layer = re.search(r"\.(\d+)\.", name)
    module = name.split(".")[-2] if "." in name else name
    kind = "norm" if "norm" in module else KINDS.get(module, "other")
    return {"kind": kind, "layer": int(layer[1]) if layer else None}


def counts(values: np.ndarray, low: float, high: float) -> list[int]:
    return np.histogram(values, bins=BINS, range=(low, high))[0].tolist()


def spread(rows: np.ndarray) -> dict:
    return {"min": float(rows.min()), "median": float(np.median(rows)), "max": float(rows.max())}


def statistics(values: np.ndarray) -> dict:
    mean, std = float(values.mean()), float(values.std())
    low, high = mean - 4 * std, mean + 4 * std
    centred = values - mean
    patterns = np.unique(values.astype(np.float16).view(np.uint16), return_counts=True)[1] / values.size
    flat = values.ndim < 2
    return {
        "count": values.size, "min": float(values.min()), "max": float(values.max()), "mean": mean, "std": std,
        "absmax": float(np.abs(values).max()), "kurtosis": float((centred**4).mean() / std**4) if std else None,
        "zeros": int((values == 0).sum()), "subnormal": int(((values != 0) & (np.abs(values) < 2.0**-14)).sum()),
        "outliers_6_sigma": int((np.abs(centred) > 6 * std).sum()), "nan": 0, "infinite": 0,
        "value_entropy_bits": float(-(patterns * np.log2(patterns)).sum()),
        "code_entropy_bits": None,
        "row_rms": None if flat else spread(np.sqrt((values**2).mean(axis=-1))),
        "column_rms": None if flat else spread(np.sqrt((values**2).mean(axis=0))),
        "histogram": {
            "from": low, "to": high, "counts": counts(values, low, high),
            "below": int((values < low).sum()), "above": int((values > high).sum()),
        },
    }  # fmt: skip


def error(values: np.ndarray, restored: np.ndarray) -> dict:
    difference = np.abs(values - restored)
    noise, signal = float((difference**2).sum()), float((values**2).sum())
    norms = math.sqrt(signal) * math.sqrt(float((restored**2).sum()))
    return {
        "relative_mse": noise / signal,
        "snr_db": 10 * math.log10(signal / noise) if noise else None,
        "max_error": float(difference.max()),
        "error_p999": float(np.quantile(difference, 0.999)),
        "cosine": float((values * restored).sum() / norms),
        "changed": int((values != restored).sum()),
        "sign_flips": int((values * restored < 0).sum()),
        "zeroed": int(((values != 0) & (restored == 0)).sum()),
    }


def quantized(values: np.ndarray, bits: int, group: int = 64) -> np.ndarray:
    """Rounded to as many levels as the largest of each group asks for: stands for any quantizer."""
    groups = values.reshape(-1, group)
    scale = np.abs(groups).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 0.5)
    scale[scale == 0] = 1
    restored = (np.floor(groups / scale) + 0.5) * scale
    return restored.astype(np.float16).astype(np.float64).reshape(values.shape)


def verification(tensors: dict[str, np.ndarray], bits: int = 4) -> dict:
    """An `ingot.verify` report with every member there may be."""
    rows = []
    for name, values in tensors.items():
        is_kept, exact = values.ndim < 2, quantized(values, 8) if values.ndim > 1 else values
        is_wide = role(name)["kind"] in ("embedding", "head")
        width = bits + 2 if is_wide else bits
        restored = exact if is_kept else quantized(values, width)
        measured, before = error(values, restored), statistics(values)
        low, high = before["histogram"]["from"], before["histogram"]["to"]
        size = 2 * values.size if is_kept else values.size * width // 8 + values.size // 32
        rows.append(
            {
                "name": name, "role": role(name), "scheme": "kept" if is_kept else "uniform",
                "elements": values.size, "bytes": size, "bits_per_weight": 8 * size / values.size,
                "source_bytes": 2 * values.size,
                "certificate": {key: measured[key] for key in ("relative_mse", "snr_db", "max_error")},
                "measured": measured, "statistics": statistics(restored), "source_statistics": before,
                "histograms": {
                    "from": low, "to": high, "source": counts(values, low, high), "restored": counts(restored, low, high),
                },
            }
        )  # fmt: skip
    return summed(rows)


def summed(rows: list[dict]) -> dict:
    encoded = [row for row in rows if row["scheme"] != "kept"]
    weights = sum(row["elements"] for row in encoded)
    before, after = sum(row["source_bytes"] for row in rows) + 4096, sum(row["bytes"] for row in rows) + 16384
    return {
        "schema": "ingot.verify", "schema_version": 1, "intact": True, "compared": True, "holds": True,
        "format": "ingot", "seconds": 1.5, "peak_resident_bytes": 40 << 20,
        "source_bytes": before, "output_bytes": after, "reduction": 1 - after / before,
        "weights": weights, "bits_per_weight": 8 * sum(row["bytes"] for row in encoded) / weights,
        "tensors": rows, "failures": [], "warnings": [],
    }  # fmt: skip


def inspection(tensors: dict[str, np.ndarray]) -> dict:
    """An `ingot.inspect` report of a source."""
    rows = [
        {
            "name": name, "file": "model.safetensors", "dtype": "F16", "shape": list(values.shape),
            "bytes": 2 * values.size, "bits_per_element": 16.0, "scheme": "kept", "role": role(name),
            "statistics": statistics(values),
        }
        for name, values in tensors.items()
    ]  # fmt: skip
    sizes = {"header": 4096, "tensors": sum(row["bytes"] for row in rows)}
    sizes["total"] = sum(sizes.values())
    return {
        "schema": "ingot.inspect", "schema_version": 1, "path": "SampleWeights", "format": "safetensors",
        "model": {
            "architecture": "llama", "layers": 4, "embedding_length": 256, "heads": 4, "kv_heads": 1,
            "context_length": 512, "vocab_size": 2048, "dtype": "float16",
        },
        "elements": sum(values.size for values in tensors.values()), "bytes": sizes, "weights_read": True,
        "files": [{"name": "model.safetensors", "bytes": sizes, "metadata": {"format": "pt"}}],
        "tensors": rows, "warnings": [],
    }  # fmt: skip


def many(count: int) -> dict:
    """A verification of many small tensors, each of its own weights."""
    random = np.random.default_rng(1)
    kinds = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
    ]
    names = [
        f"model.layers.{index // 60}.experts.{index // 6 % 10}.{kinds[index % 6]}.weight" for index in range(count)
    ]
    weights = [random.standard_normal((4, 64)) * (1 + index % 7) for index in range(count)]
    return verification(dict(zip(names, weights)))


HOSTILE_NAMES = [
    "</script><script>window.broken = true</script>",
    "<!--<script>window.broken = true",
    "]]></script><img src=x onerror='window.broken = true'>",
    "\"'`; window.broken = true; //",
    'quote"><svg onload=window.broken=true>',
    "right-to-left \u202e gnp.thgiew",
    "\u2028separators\u2029",
    "\x1b[31mcolour\x07\x00",
    "__proto__",
    "constructor",
    "${window.broken = true}",
    "model.layers.99999999999999999999.q_proj.weight",
    "long." + "x" * 10_000,
    "",
]


def hostile() -> dict:
    """The names a stranger's file may hold, wherever names and texts occur."""
    random = np.random.default_rng(2)
    report = verification({name: random.standard_normal((4, 64)) for name in HOSTILE_NAMES})
    name = HOSTILE_NAMES[0]
    report["tensors"][0]["role"] = {"kind": name, "layer": name}
    report["tensors"][1]["scheme"] = name
    report["holds"] = False
    report["failures"] = [{"code": name, "tensor": name, "found": name}]
    report["warnings"] = [name]
    report["model"] = {"architecture": name, "name": HOSTILE_NAMES[-2], "layers": name, "heads": [name], "license": {"a": 1}}
    report["claims"] = [
        {
            "claim": name, "pattern": name, "level": "error", "status": "fail", "limit": name, "measured": name,
            "basis": "source", "offender": name, "message": name,
        }
    ]  # fmt: skip
    return report
