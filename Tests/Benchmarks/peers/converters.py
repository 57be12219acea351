"""What converters take: MLX's, llama.cpp's and Ingot, each its own process, on one dense checkpoint of 1.1 billion fp16
weights in TinyLlama's shapes. Prints Markdown.

    converters.py --ingot BINARY [--runs N] [--json FILE] [--only REGEX]

Works in a temporary folder of BENCH_DIR (or the system's), which needs 9 GB. The figures of one run compare; those of two
machines do not. Processor time bears a busy machine better than seconds on the clock.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parent
MODEL = "TinyLlama-1.1B"
MEMORY = ("64MiB", "128MiB", "256MiB")
JOBS = (1, 2)
MIB = 1 << 20

METHOD = """\
- CPU seconds: user and system, of the process and its children, as the kernel accounts for them when it ends (`wait4`).
  Write-back to the disk happens elsewhere and is in nobody's figure.
- Seconds: until the output is on disk. Ingot synchronizes before it ends; the others do not, so the benchmark does it
  after they ended, on the clock. The least of all runs, as of CPU seconds.
- Peak memory: the greatest resident set (`ru_maxrss`), mapped pages counted, of a process that a small one started; for what
  "anonymous" means, the part of it that no file backs and the system cannot drop, it is looked at 50 times a second.
  The greatest of all runs.
- "x read + write": over what `dd` takes to read the whole source, and to write about as many bytes as the output has,
  synchronized. It runs before each converter, so that all find the source in the page cache, as far as the system keeps
  it there; the least of all its runs counts.
- Rows are measured round after round, not each so many times in a row.
- llama.cpp's quantizer reads GGUF only: its rows come on top of the row before them. That conversion is done by a script
  of ours (to_gguf.py), since llama.cpp's own is not on PyPI.
- MLX runs on the processor here, which is not what it is made for.
- Formats differ in error at the same size: [PEERS.md](PEERS.md) has them at equal error.
"""


class ImplausibleOutput(Exception):
    """What a converter left is not what it should be: its time means nothing."""


@dataclass
class Converter:
    """A row of the table. `command` writes `output`, of `least` to `most` times the source's bytes."""

    name: str
    command: list
    output: Path
    least: float
    most: float
    share: float  # of the source's bytes dd writes for comparison; rows of one share are compared with the same runs of dd
    keep: bool = False  # the output is another row's input
    runs: list = field(default_factory=list)
    output_bytes: int = 0

    def least_of(self, value) -> float:
        return min(value(run) for run in self.runs)

    @property
    def cpu(self) -> float:
        return self.least_of(lambda run: run["user"] + run["system"])

    @property
    def system(self) -> float:
        return self.least_of(lambda run: run["system"])

    @property
    def seconds(self) -> float:
        return self.least_of(lambda run: run["wall"] + run["sync"])

    @property
    def peak(self) -> int:
        return max(run["peak"] for run in self.runs)

    @property
    def anonymous(self) -> int:
        return max(run["anonymous"] for run in self.runs)


def measure(command: list, sync: Path | None, log: Path) -> dict:
    measured = [sys.executable, BENCHMARKS / "measure.py", "--log", log]
    if sync:
        measured += ["--sync", sync]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    finished = subprocess.run([*measured, "--", *command], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result = json.loads(finished.stdout)
    if result["status"]:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ImplausibleOutput(f"{command}: status {result['status']}\n{tail}")
    return result


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def run(converter: Converter, source_bytes: int, log: Path) -> None:
    remove(converter.output)
    converter.runs.append(measure(converter.command, converter.output, log))
    converter.output_bytes = size_of(converter.output)
    ratio = converter.output_bytes / source_bytes
    if not converter.least <= ratio <= converter.most:
        raise ImplausibleOutput(f"{converter.name}: {converter.output} has {ratio:.3f} of the source's bytes")
    if not converter.keep:
        remove(converter.output)


def run_all(rows: list[Converter], weights: Path, rounds: int, folder: Path) -> dict[float, Converter]:
    """All rows, round after round: what slows the machine down for a minute slows down one run of several rows, not
    all runs of one. Each run comes after one of dd, so that all find the source read and the memory for files touched:
    a virtual machine may have to ask its host for memory that was free for long, and whoever comes first would pay.
    Returns dd's rows by share."""
    floors = {row.share: floor(weights, row.share, folder) for row in rows}
    for i in range(rounds):
        for row in rows:
            print(f"round {i + 1} of {rounds}: {row.name}", file=sys.stderr)
            run(floors[row.share], size_of(weights), folder / "log")
            run(row, size_of(weights), folder / "log")
    return floors


def floor(source: Path, share: float, folder: Path) -> Converter:
    """Every byte of the source read once, and the first ones written and synchronized."""
    target = folder / "floor"
    written = int(share * size_of(source))
    first = ["dd", f"if={source}", "bs=8M", "status=none", f"count={written}", "iflag=count_bytes"]
    rest = ["dd", f"if={source}", "bs=8M", "status=none", f"skip={written}", "iflag=skip_bytes", "of=/dev/null"]
    script = f"{' '.join(first)} of='{target}' conv=fsync && {' '.join(rest)}"
    return Converter(f"dd, writing {100 * share:.0f} %", ["sh", "-c", script], target, 0, 1.01, share)


def peers(source: Path, folder: Path) -> list[Converter]:
    python = sys.executable
    half = folder / "f16.gguf"
    mlx = [python, "-m", "mlx_lm", "convert", "--hf-path", source, "--mlx-path", folder / "mlx"]
    mlx += ["-q", "--q-bits", "4", "--q-group-size", "64"]
    rows = [
        Converter("mlx_lm convert, 4 bit, groups of 64", mlx, folder / "mlx", 0.27, 0.30, 0.28),
        Converter("to fp16 GGUF (our script)", [python, HERE / "to_gguf.py", source, half], half, 0.99, 1.01, 1.0, True),
    ]
    for kind in ("Q4_0", "Q4_K_M"):
        for threads in JOBS:
            target = folder / f"{kind}.gguf"
            command = [python, HERE / "llama_quantize.py", half, target, kind, str(threads)]
            name = f"llama.cpp quantize {kind}, {threads} thread{'s' * (threads > 1)}"
            rows.append(Converter(name, command, target, 0.27, 0.32, 0.28))
    return rows


def ingot(binary: Path, source: Path, folder: Path) -> list[Converter]:
    """All schemes with each memory budget and number of jobs. Options that the binary does not know are left out."""
    helps = subprocess.run([binary, "help", "convert"], check=True, stdout=subprocess.PIPE, text=True).stdout
    schemes = [
        (["--scheme", "uniform", "--bits", "4", "--scales", "minmax"], 0.27, 0.30, 0.28),
        (["--scheme", "uniform", "--bits", "4"], 0.26, 0.30, 0.28),
        (["--bits", "4"], 0.25, 0.28, 0.28),
        (["--bits", "4", "--codec", "rans"], 0.24, 0.28, 0.28),
        (["--scheme", "lossless"], 0.5, 1.0, 0.85),
    ]
    rows = []
    for options, least, most, share in schemes:
        if any(option.startswith("--") and option not in helps for option in options):
            print(f"left out, unknown to this binary: {' '.join(options)}", file=sys.stderr)
            continue
        for memory in MEMORY:
            for jobs in JOBS:
                target = folder / "sealed"
                extra = ["--max-memory", memory, "--jobs", str(jobs)]
                command = [binary, "convert", source, target, *options, *extra]
                name = f"ingot {' '.join(options + extra)}"
                rows.append(Converter(name, command, target, least, most, share))
    return rows


def cells(row: Converter, source_bytes: int, under: Converter) -> list[str]:
    return [
        row.name,
        f"{row.cpu:.2f}",
        f"{row.system:.2f}",
        f"{source_bytes / 1e6 / row.cpu:.0f}",
        f"{row.cpu / under.cpu:.1f}",
        f"{row.seconds:.2f}",
        f"{row.seconds / under.seconds:.1f}",
        f"{row.peak / MIB:.0f}",
        f"{row.anonymous / MIB:.0f}",
        f"{row.output_bytes / 1e6:.1f}",
    ]


def table(rows: list[list[str]]) -> str:
    header = ["converter", "CPU seconds", "of them system", "MB of fp16 per CPU-second", "x read + write, CPU", "seconds",
              "x read + write", "peak MiB", "anonymous", "output MB"]  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {name}, {platform.system()} {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    parser.add_argument("--only", default="", metavar="REGEX", help="converters whose name it is found in")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingot-converters.", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        source = folder / "source"
        # A directory of one shard, with a tokenizer: MLX will not go without.
        generator = [sys.executable, BENCHMARKS / "make_llama.py", source, MODEL, "--dense", "--tokenizer"]
        subprocess.run(generator, check=True)
        weights = source / "model.safetensors"
        rows = [*peers(source, folder), *ingot(arguments.ingot.resolve(), source, folder)]
        rows = [row for row in rows if row.keep or re.search(arguments.only, row.name)]
        floors = run_all(rows, weights, arguments.runs, folder)
        source_bytes = size_of(weights)

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {version(name)}" for name in ("mlx", "mlx-lm", "llama-cpp-python", "gguf"))
    least = min(run["floor"] for row in rows for run in row.runs)
    print(f"{time.strftime('%F')}, {machine()}, load {load}; {packages}.")
    print(f"{source_bytes / 1e6:.0f} MB of fp16 weights, best of {arguments.runs}:\n")
    print(table([cells(row, source_bytes, floors[row.share]) for row in rows]))
    print()
    print(table([cells(row, source_bytes, row) for row in floors.values()]))
    print(f"\n{METHOD}- The process that starts them has {least / MIB:.0f} MiB: no peak is measured below that.")
    if arguments.json:
        runs = {row.name: {"runs": row.runs, "output_bytes": row.output_bytes} for row in rows}
        arguments.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
