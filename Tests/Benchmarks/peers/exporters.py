"""Processor time and memory of `ingot export`, of llama.cpp's llama-quantize and of mlx_lm.convert, in one run on one dense checkpoint in
TinyLlama's shapes (1.1 billion fp16 weights; fewer with --layers). Prints Markdown.

    exporters.py --ingot BINARY [--build FOLDER] [--layers K] [--runs N] [--only REGEX] [--json FILE]

For each type: the runtime's own quantizer, `ingot export --rounding reference` (the same bytes, as the last column says), and the searched
scales. For Q2_K, Q3_K and Q4_K, every matrix has the type, and the first two have an importance matrix of the model; "feedback" is
`--calibration` with moments of the same ids. `ingot calibrate` makes both files from 1,024 random ids before anything is measured.

llama-quantize reads an fp16 GGUF file that to_gguf.py makes, the others read the directory. All use two threads. --build is a build of
llama.cpp that has bin/; otherwise llamacpp.py makes one in BENCH_DIR. Needs 12 GB in BENCH_DIR; 4 GB with --layers 6.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

import converters
import llamacpp
import smollm2
from converters import BENCHMARKS, HERE, MIB, MODEL, Converter, ImplausibleOutput, machine

THREADS = "2"
TOKENS = 1024
# Bytes of the output, as parts of those of the fp16 weights; more if the head, which is wider in mixes, is much of the model.
SHARE = {"Q8_0": 0.531, "Q4_0": 0.285, "Q4_K_M": 0.305, "Q2_K": 0.164, "Q3_K": 0.215, "Q4_K": 0.281, "MLX": 0.281}

METHOD = f"""\
- CPU seconds: user and system, of the process and its children, as the kernel accounts for them when it ends. The least of all runs. Rows
  are measured round after round. "Speed" is over that of the runtime's own quantizer of the same type, by CPU seconds.
- Seconds: until the output is on disk. Ingot reads its output once more before it ends, and synchronizes; the others do not, so the
  benchmark does the latter after they ended, on the clock.
- Peak memory: the greatest resident set, mapped pages counted. Ingot has its default of --max-memory.
- "Equal": tensors that have the bytes of the runtime's own quantizer.
- MLX runs on the processor here, which is not what it is made for. All use {THREADS} threads or jobs.
"""


@dataclass
class Exporter(Converter):
    """A row. `kind` is the type; `own` marks the runtime's quantizer, whose rows the others are compared with."""

    kind: str = ""
    own: bool = False
    equal: tuple[int, int] | None = field(default=None)


def rows_of(ingot: Path, quantize: Path, folder: Path) -> list[Exporter]:
    model, half, rows = folder / "plain", folder / "f16.gguf", []

    def add(name, kind, command, target, own=False):
        share = SHARE[kind]
        rows.append(Exporter(name, command, target, 0.9 * share, 1.4 * share, share, keep=own, kind=kind, own=own))

    def export(kind, what, target, *options):
        command = [ingot, "export", model, target, *options, "--jobs", THREADS, "--force", "--quiet"]
        add(f"ingot export {kind}, {what}", kind, command, target)

    for kind in ("Q8_0", "Q4_0", "Q4_K_M"):
        target = folder / f"{kind}.gguf"
        add(f"llama-quantize {kind}", kind, [quantize, half, target, kind, THREADS], target, own=True)
        for rounding in ("reference", "searched"):
            export(kind, rounding, folder / "out.gguf", "--to", "gguf", "--type", kind, "--rounding", rounding)
    imatrix, moments = folder / "imatrix.gguf", folder / "moments.safetensors"
    for kind in ("Q2_K", "Q3_K", "Q4_K"):
        target = folder / f"{kind}.gguf"
        # By llama-quantize's names, Q3_K and Q4_K are mixes whose base is Q3_K_S and Q4_K_S.
        named = kind if kind == "Q2_K" else f"{kind}_S"
        command = [quantize, "--pure", "--imatrix", imatrix, half, target, named, THREADS]
        add(f"llama-quantize {kind}, importance matrix", kind, command, target, own=True)
        options = ["--to", "gguf", "--type", named, "--pure"]
        export(kind, "reference, importance matrix", folder / "out.gguf", *options, "--rounding", "reference", "--calibration", imatrix)
        export(kind, "searched", folder / "out.gguf", *options)
        export(kind, "feedback", folder / "out.gguf", *options, "--calibration", moments)
    mlx = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", folder / "source", "--mlx-path", folder / "mlx",
           "-q", "--q-bits", "4", "--q-group-size", "64"]  # fmt: skip
    add("mlx_lm.convert, 4 bits, groups of 64", "MLX", mlx, folder / "mlx", own=True)
    for rounding in ("reference", "searched"):
        export("MLX", rounding, folder / "out", "--to", "mlx", "--bits", "4", "--group-size", "64", "--rounding", rounding)
    return rows


def tensors(output: Path) -> dict[str, bytes | memoryview]:
    """The stored bytes of every tensor of a GGUF file or MLX directory."""
    if output.is_file():
        return {tensor.name: tensor.data.reshape(-1).view(np.uint8) for tensor in gguf.GGUFReader(output).tensors}
    found = {}
    for path in output.glob("model*.safetensors"):
        with safe_open(path, "numpy") as file:
            found |= {name: file.get_tensor(name).reshape(-1).view(np.uint8) for name in file.keys()}
    return found


def equal(first: Path, second: Path) -> tuple[int, int]:
    one, other = tensors(first), tensors(second)
    if one.keys() != other.keys():
        raise ImplausibleOutput(f"{first} and {second} have other tensors: {sorted(one.keys() ^ other.keys())[:3]}")
    return sum(np.array_equal(one[name], other[name]) for name in one), len(one)


def measure_all(rows: list[Exporter], weights: int, rounds: int, folder: Path) -> None:
    """Round after round, so that what slows the machine down for a minute slows down one run of several rows."""
    for number in range(rounds):
        peers = {}
        for row in rows:
            print(f"round {number + 1} of {rounds}: {row.name}", file=sys.stderr, flush=True)
            wanted = row.keep
            row.keep = True
            converters.run(row, weights, folder / "log")
            row.keep = wanted
            if row.own:
                for output in peers.values():
                    converters.remove(output)
                peers = {row.kind: row.output}
            else:
                if row.equal is None and row.kind in peers and "reference" in row.name:
                    row.equal = equal(peers[row.kind], row.output)
                converters.remove(row.output)


def cells(row: Exporter, own: Exporter | None, weights: int) -> list[str]:
    return [
        row.name,
        f"{row.cpu:.2f}",
        f"{weights / 1e6 / row.cpu:.0f}",
        f"{weights / 2e6 / row.cpu:.1f}",
        f"{own.cpu / row.cpu:.2f}" if own else "",
        f"{row.seconds:.2f}",
        f"{row.peak / MIB:.0f}",
        f"{row.output_bytes / 1e6:.1f}",
        f"{row.equal[0]} of {row.equal[1]}" if row.equal else "",
    ]


HEADER = ["exporter", "CPU seconds", "MB of fp16 per CPU-second", "M weights per CPU-second", "speed", "seconds", "peak MiB",
          "output MB", "equal"]  # fmt: skip


def make_inputs(folder: Path, layers: int | None) -> None:
    """A directory without a tokenizer (a tokenizer of words has no form in GGUF) as `plain`, the same with one (mlx-lm will not go without)
    as `source`, and the fp16 GGUF file as `f16.gguf`."""
    source, plain = folder / "source", folder / "plain"
    generator = [sys.executable, BENCHMARKS / "make_llama.py", source, MODEL, "--dense", "--tokenizer"]
    subprocess.run([*generator, *(["--layers", str(layers)] if layers else [])], check=True)
    plain.mkdir()
    for name in ("config.json", "model.safetensors"):
        (plain / name).symlink_to(source / name)
    subprocess.run([sys.executable, HERE / "to_gguf.py", source, folder / "f16.gguf"], check=True)


def calibrate(ingot: Path, folder: Path) -> None:
    """`moments.safetensors` and `imatrix.gguf` of the model in `plain`."""
    plain = folder / "plain"
    vocabulary = json.loads((plain / "config.json").read_text())["vocab_size"]
    np.save(folder / "ids.npy", np.random.default_rng(1).integers(3, vocabulary, TOKENS).astype(np.int32))
    subprocess.run([ingot, "calibrate", plain, "--ids", folder / "ids.npy", "--gradient-tokens", "0", "-o", folder / "moments.safetensors",
                    "--imatrix", folder / "imatrix.gguf", "--quiet"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="a build of llama.cpp that has bin/")
    parser.add_argument("--layers", type=int, metavar="K", help="layers of the model instead of 22")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--only", default="", metavar="REGEX", help="exporters whose name it is found in")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    build = arguments.build or llamacpp.build(("llama-quantize", "llama-perplexity"))
    with tempfile.TemporaryDirectory(prefix="ingot-exporters.", dir=smollm2.bench_directory()) as name:
        folder = Path(name)
        make_inputs(folder, arguments.layers)
        rows = [row for row in rows_of(ingot, build.resolve() / "bin" / "llama-quantize", folder) if re.search(arguments.only, row.name)]
        if any("matrix" in row.name or "feedback" in row.name for row in rows):
            calibrate(ingot, folder)
        size = (folder / "source" / "model.safetensors").stat().st_size
        measure_all(rows, size, arguments.runs, folder)
    packages = ", ".join(f"{name} {version(name)}" for name in ("mlx", "mlx-lm", "gguf"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{time.strftime('%F')}, {machine()}, load {load}; {packages}, llama.cpp {llamacpp.LlamaCpp(build).version()}.")
    print(f"{size / 1e6:.0f} MB of fp16 weights, best of {arguments.runs}:\n")
    own = {row.kind: row for row in rows if row.own}
    print(llamacpp.table(HEADER, [cells(row, None if row.own else own.get(row.kind), size) for row in rows]))
    print(f"\n{METHOD}")
    if arguments.json:
        found = {row.name: {"runs": row.runs, "output_bytes": row.output_bytes, "equal": row.equal} for row in rows}
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
