"""What a calibrated conversion of a large model takes, by measuring one and two layers of its shapes.

    scaling.py --ingot BINARY [--model CodeLlama-34B] [--tokens 1024] [--bits 3] [--jobs 1]

Weights and token ids are random; time and memory depend on shapes alone, nearly. Each step runs on a model of one layer and on one of two
layers: `ingot calibrate`, `ingot convert --calibration`, `ingot calibrate --through`, and `ingot convert --correction`. The difference is the
time of a layer, and all layers and the rest (embeddings and head) make the time of the model. Memory does not grow with the layers; it is
the peak of both runs. Times are user seconds. `calibrate` is for the tokens that were measured; `ingot plan --calibration-tokens`
predicts it for others. Prints Markdown. Needs disk for two layers in fp16, twice (CodeLlama-34B: 8 GB in BENCH_DIR).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from stages import run

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "peers")]

import make_llama  # noqa: E402
import smollm2  # noqa: E402

SEED = 20261129
GRADIENT_TOKENS = 512


def steps(ingot: Path, model: Path, ids: Path, work: Path, bits: str, jobs: int) -> dict[str, dict]:
    """The cost of each step on one model."""
    moments, correction, first, last = (work / name for name in ("moments.safetensors", "correction.safetensors", "first", "last"))
    common = ["--jobs", jobs, "--quiet", "--force"]
    conversion = [ingot, "convert", model]
    calibration = ["--calibration", moments, "--bits", bits]
    commands = {
        "calibrate": [ingot, "calibrate", model, "--ids", ids, "--gradient-tokens", GRADIENT_TOKENS, "-o", moments],
        "convert, first phase": [*conversion, first, *calibration],
        "calibrate --through": [ingot, "calibrate", model, "--ids", ids, "--through", first, "-o", correction],
        "convert, second phase": [*conversion, last, *calibration, "--correction", correction, "--through", first],
    }
    costs = {name: run(*command, *common)[1] for name, command in commands.items()}
    costs["calibrate"]["file_bytes"] = moments.stat().st_size
    return costs


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--model", choices=make_llama.MODELS, default="CodeLlama-34B")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--bits", default="3")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    layers, vocabulary = make_llama.MODELS[arguments.model][1], make_llama.MODELS[arguments.model][5]
    measured = []
    with tempfile.TemporaryDirectory(prefix="ingot-scaling-", dir=smollm2.bench_directory()) as folder:
        work = Path(folder)
        ids = work / "ids.npy"
        np.save(ids, np.random.default_rng(SEED).integers(0, vocabulary, arguments.tokens, np.int32))
        for count in (1, 2):
            model = work / "model"
            subprocess.run([sys.executable, make_llama.__file__, model, arguments.model, "--dense", "--layers", str(count)], check=True)
            measured.append(steps(ingot, model, ids, work, arguments.bits, arguments.jobs))
            subprocess.run(["rm", "-rf", model, work / "first", work / "last"], check=True)
    print(f"{arguments.model}, {arguments.bits} bits, {arguments.tokens} tokens ({GRADIENT_TOKENS} for gradients), {arguments.jobs} jobs\n")
    print(f"| step | 1 layer, user s | 2 layers, user s | all {layers} layers | peak, MiB |\n|---|---|---|---|---|")
    for name, one in measured[0].items():
        two = measured[1][name]
        layer = two["user_seconds"] - one["user_seconds"]
        everything = one["user_seconds"] + (layers - 1) * layer
        peak = max(one["peak_bytes"], two["peak_bytes"]) / 2**20
        print(f"| {name} | {one['user_seconds']:.0f} | {two['user_seconds']:.0f} | {hours(everything)} | {peak:.0f} |")
    sizes = [costs["calibrate"]["file_bytes"] for costs in measured]
    print(f"\nfile of moments: {(sizes[0] + (layers - 1) * (sizes[1] - sizes[0])) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
