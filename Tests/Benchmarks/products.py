"""The rate of `ingot evaluate` against that of OpenBLAS alone, on a model of 1.1 billion weights (TinyLlama's shapes). Prints Markdown.

    products.py --ingot BINARY [--model DIRECTORY] [--tokens N] [--runs N]

OpenBLAS is called as Ingot calls it: libopenblas.so.0, one thread a call, as many callers as jobs, the same kernels, the shapes of
the model's products. Its rate on the whole model is the number of operations over the sum of what each shape takes. evaluate's rate is
2 x weights x tokens over the time of the whole command: reading, decoding, attention, activations and waiting count, and no operations but
those of linear layers do (of the head for scored tokens). Rates are per second on the clock, and per second of processor time, which bears
a busy machine better. "Cores" is processor time over time on the clock. Best of the runs, of either.

One more run has products_shim.c in the place of OpenBLAS, which counts the products' operations and processor time, attention's with them:
the rate inside of the products, and their share of the processor time.

The bar is 80 % of OpenBLAS' rate. It is met or not: the script ends with 0 either way, since other programs on the machine decide too. Needs
3 GB in BENCH_DIR (or /tmp), 1 GB of memory, and a C compiler.
"""

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
MODEL = "TinyLlama-1.1B"
HIDDEN, LAYERS, FEED_FORWARD, KEYS, VOCABULARY = 2048, 22, 5632, 256, 32000
CONTEXT = 512
# Rows of the head that evaluate multiplies at a time. Tiles of a converted matrix have 512 rows.
HEAD_PART = 512


def plain_band(columns: int) -> int:
    """Rows of a plain matrix that evaluate multiplies at a time (Sources/Calibration/Forward/ModelWeights.swift)."""
    return max(256, min(1024, (1 << 22) // columns))


def core_type() -> str:
    """The kernels that Ingot asks OpenBLAS for (Sources/CBLAS/blas.c); OpenBLAS 0.3.21 does not know newer processors."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    found = set(flags[1].split()) if flags else set()
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= found:
        return "SkylakeX"
    return "Haswell" if {"avx2", "fma"} <= found else ""


# Before numpy, whose own BLAS reads them too.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
if core_type():
    os.environ.setdefault("OPENBLAS_CORETYPE", core_type())

import numpy as np  # noqa: E402


def library():
    """cblas_sgemm. A call through ctypes lets other threads run."""
    gemm = ctypes.CDLL("libopenblas.so.0").cblas_sgemm
    integer, real, pointer = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    gemm.argtypes = [integer] * 6 + [real, pointer, integer, pointer, integer, real, pointer, integer]
    gemm.restype = None
    return gemm


class Caller(threading.Thread):
    """Multiplies (tokens x inner) by (rows x inner)^T again and again for some seconds. Both rates are of its fastest call."""

    def __init__(self, gemm, tokens: int, rows: int, inner: int, seconds: float):
        super().__init__()
        self._gemm, self._shape, self._seconds = gemm, (tokens, rows, inner), seconds
        self.wall = self.processor = float("inf")

    def run(self):
        tokens, rows, inner = self._shape
        random = np.random.default_rng(1)
        a, b = (random.standard_normal((count, inner), np.float32) for count in (tokens, rows))
        c = np.zeros((tokens, rows), np.float32)
        end = time.perf_counter() + self._seconds
        while time.perf_counter() < end:
            wall, processor = time.perf_counter(), time.thread_time()
            self._gemm(101, 111, 112, tokens, rows, inner, 1, a.ctypes.data, inner, b.ctypes.data, inner, 0, c.ctypes.data, rows)
            self.wall = min(self.wall, time.perf_counter() - wall)
            self.processor = min(self.processor, time.thread_time() - processor)


def blas_rate(gemm, shape: tuple[int, int, int], jobs: int, seconds: float) -> tuple[float, float]:
    """Operations per second on the clock of all callers together, and per second of a processor."""
    callers = [Caller(gemm, *shape, seconds) for _ in range(jobs)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    operations = 2.0 * np.prod(shape)
    return sum(operations / caller.wall for caller in callers), sum(operations / caller.processor for caller in callers) / jobs


def products(tokens: int, band) -> dict[tuple[int, int, int], float]:
    """The shapes of the linear layers' products and the operations of each: for bands of `band(columns)` rows."""
    scored = tokens // CONTEXT * (CONTEXT // 2 - 1)
    found: dict[tuple[int, int, int], float] = {}
    matrices = [(HIDDEN, HIDDEN)] * 2 + [(KEYS, HIDDEN)] * 2 + [(FEED_FORWARD, HIDDEN)] * 2 + [(HIDDEN, FEED_FORWARD)]
    for rows, columns in matrices:
        shape = (tokens, min(band(columns), rows), columns)
        found[shape] = found.get(shape, 0) + 2.0 * LAYERS * tokens * rows * columns
    shape = (scored, HEAD_PART, HIDDEN)
    found[shape] = found.get(shape, 0) + 2.0 * scored * VOCABULARY * HIDDEN
    return found


def evaluate(ingot: Path, model: Path, ids: Path, jobs: int, environment: dict[str, str] | None = None) -> dict:
    command = [sys.executable, BENCHMARKS / "measure.py", "--", ingot, "evaluate", model, "--ids", ids, "--context", CONTEXT, "--jobs", jobs,
               "--format", "json", "--quiet"]  # fmt: skip
    found = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True,
                                      env=os.environ | (environment or {})).stdout)  # fmt: skip
    if found["status"]:
        sys.exit(f"evaluate: status {found['status']}")
    return found


def shim(folder: Path) -> dict[str, str]:
    """The environment in which products_shim.c is OpenBLAS."""
    libraries = subprocess.run(["ldconfig", "-p"], check=True, stdout=subprocess.PIPE, text=True).stdout
    real = re.search(r"libopenblas\.so\.0 .*=> (\S+)", libraries)[1]
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", folder / "libopenblas.so.0", BENCHMARKS / "products_shim.c", "-ldl"], check=True)
    return {"LD_LIBRARY_PATH": str(folder), "INGOT_REAL_OPENBLAS": real, "INGOT_PRODUCTS_LOG": str(folder / "products")}


def machine(ingot: Path) -> str:
    name = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    version = subprocess.run([ingot, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{time.strftime('%F')}, {version}, {os.cpu_count()} x {name[1] if name else '?'}, kernels {core_type()}, load {load}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--model", type=Path, help=f"a checkpoint of {MODEL}'s shapes in fp16; made if not given")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2, help="of each product of OpenBLAS alone")
    arguments = parser.parse_args()
    ingot, gemm = arguments.ingot.resolve(strict=True), library()
    print(machine(ingot))
    with tempfile.TemporaryDirectory(prefix="ingot-products.", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        plain, ids, sealed = arguments.model or folder / "plain", folder / "ids.npy", folder / "sealed"
        if not arguments.model:
            subprocess.run([sys.executable, BENCHMARKS / "make_llama.py", plain, MODEL, "--dense"], check=True)
        np.save(ids, np.random.default_rng(7).integers(0, VOCABULARY, arguments.tokens, np.int32))
        subprocess.run([ingot, "convert", plain, sealed, "--bits", "4", "--quiet"], check=True, stdout=subprocess.DEVNULL)

        print("\nOpenBLAS alone, GFLOP per second on the clock, and per second of a processor:\n")
        print("| product: tokens x rows x columns |" + "".join(f" callers: {jobs} | per CPU-second |" for jobs in arguments.jobs))
        print("|---|" + "---|---|" * len(arguments.jobs))
        own = {}
        forms = {"fp16": (plain, plain_band), "4-bit trellis": (sealed, lambda _: 512)}
        shapes = {shape: None for _, band in forms.values() for shape in products(arguments.tokens, band)}
        shapes |= {(CONTEXT, 256, 64): None, (2048, 2048, 2048): None}
        for shape in shapes:
            for jobs in arguments.jobs:
                own[shape, jobs] = blas_rate(gemm, shape, jobs, arguments.seconds)
            print(f"| {shape[0]} x {shape[1]} x {shape[2]} |"
                  + "".join(f" {own[shape, jobs][0] / 1e9:.0f} | {own[shape, jobs][1] / 1e9:.0f} |" for jobs in arguments.jobs),
                  flush=True)  # fmt: skip

        print(f"\n`ingot evaluate`, {arguments.tokens} tokens, best of {arguments.runs}:\n")
        print("| model | jobs | seconds | CPU seconds | cores | GFLOP/s | of OpenBLAS | per CPU-second | of OpenBLAS"
              " | inside of products | of OpenBLAS | share of the products | peak MiB |")
        print("|---" * 13 + "|")
        counting = shim(folder)
        for form, (model, band) in forms.items():
            operations = products(arguments.tokens, band)
            total = sum(operations.values())
            for jobs in arguments.jobs:
                runs = [evaluate(ingot, model, ids, jobs) for _ in range(arguments.runs)]
                wall = min(run["wall"] for run in runs)
                processor = min(run["user"] + run["system"] for run in runs)
                cores = max((run["user"] + run["system"]) / run["wall"] for run in runs)
                counted = evaluate(ingot, model, ids, jobs, counting)
                inside, nanoseconds = map(int, (folder / "products").read_text().split())
                alone = [sum(count / own[shape, jobs][kind] for shape, count in operations.items()) for kind in (0, 1)]
                print(f"| {form} | {jobs} | {wall:.1f} | {processor:.1f} | {cores:.2f} | {total / wall / 1e9:.0f} |"
                      f" {100 * alone[0] / wall:.0f} % | {total / processor / 1e9:.0f} | {100 * alone[1] / processor:.0f} % |"
                      f" {inside / nanoseconds:.0f} | {100 * inside / nanoseconds * alone[1] / (total / 1e9):.0f} % |"
                      f" {100 * nanoseconds / 1e9 / (counted['user'] + counted['system']):.0f} % |"
                      f" {max(run['peak'] for run in runs) >> 20} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
