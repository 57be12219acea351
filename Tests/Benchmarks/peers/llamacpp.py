"""`ingot tokenize`, `evaluate` and `calibrate` against llama.cpp's own programs, on SmolLM2-135M in F32.

    llamacpp.py --ingot BINARY [--model PATH] [--build FOLDER] [--tokens N] [--json FILE]

Builds llama-perplexity, llama-imatrix, llama-tokenize and llama-quantize from the source distribution of llama-cpp-python (the
version in requirements.txt) in BENCH_DIR/ingot-llama.cpp: 25 minutes on two cores. A later run uses what is there, or --build FOLDER
that has bin/. CMAKE_ARGS has more options of its build, as for llama-cpp-python. --model is what Ingot evaluates: the F32 file itself if not given.

Prints Markdown. Ends with 1 unless
- llama-tokenize finds the same ids in both texts;
- llama-quantize's F32 file has the metadata of the original, and the values that the Python package gguf decodes;
- perplexities differ by at most 0.2 %;
- for each tensor of llama-imatrix's file, every column's mean square differs by at most 1 % of itself, and so does their sum.

llama.cpp multiplies in F32 here, and its cache of keys and values is F32 too (its default, F16, is a second row without a bound; so is
the Q4_1 file, for which it rounds activations to 8 bits). llama-imatrix counts all tokens of a chunk. Of the output head it writes
`output.weight`, with --process-output; a model with tied embeddings has no such tensor, so the head is not compared.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

import smollm2
from quality import TEXTS, machine, run

HERE = Path(__file__).resolve().parent
PROGRAMS = ("llama-perplexity", "llama-imatrix", "llama-tokenize", "llama-quantize")
CONTEXT, TOKENS = 512, 8192
PERPLEXITY_BOUND, MOMENTS_BOUND = 2e-3, 1e-2
EXACT = ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
# Inputs of Specs/moments.md for the tensors of a layer; several tensors read the same one.
INPUTS = {"attn_q": "attention_in", "attn_k": "attention_in", "attn_v": "attention_in", "attn_output": "output_in",
          "ffn_gate": "feed_forward_in", "ffn_up": "feed_forward_in", "ffn_down": "down_in"}  # fmt: skip


def pinned() -> str:
    """The version of llama-cpp-python in requirements.txt."""
    return re.search(r"^llama-cpp-python==(\S+)$", (HERE / "requirements.txt").read_text(), re.M)[1]


def build(programs: tuple[str, ...] = PROGRAMS) -> Path:
    """A folder with bin/ and the programs, built if one is not there."""
    folder = smollm2.bench_directory() / "ingot-llama.cpp" / pinned()
    binaries = folder / "build"
    if all((binaries / "bin" / name).exists() for name in programs):
        return binaries
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / "log", "wb")

    def step(*command):
        print("llamacpp.py:", *command, file=sys.stderr)
        if subprocess.run(list(map(str, command)), stdout=log, stderr=log).returncode:
            sys.exit(f"llamacpp.py: {command[0]} failed: {folder / 'log'}")

    # As source: pip asks the package for its metadata, and compiles nothing.
    step(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "--dest", folder,
         f"llama-cpp-python=={pinned()}")  # fmt: skip
    with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    off = ["LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER", "LLAMA_BUILD_UI",
           "BUILD_SHARED_LIBS"]  # fmt: skip
    step("cmake", "-S", source, "-B", binaries, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *(f"-D{name}=OFF" for name in off),
         *shlex.split(os.environ.get("CMAKE_ARGS", "")))  # fmt: skip
    step("cmake", "--build", binaries, "--target", *programs)
    return binaries


class LlamaCpp:
    """llama.cpp's programs. Every call ends the benchmark if the program fails."""

    def __init__(self, folder: Path):
        self._bin = folder / "bin"

    def _run(self, name: str, *arguments) -> str:
        """Standard output and standard error together: which of them a program logs to differs."""
        done = subprocess.run([self._bin / name, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{name}: status {done.returncode}\n{done.stdout[-2000:]}")
        return done.stdout

    def version(self) -> str:
        return re.search(r"version: (.*)", self._run("llama-perplexity", "--version"))[1]

    def to_f32(self, source: Path, target: Path) -> None:
        self._run("llama-quantize", "--allow-requantize", source, target, "F32")

    def ids(self, model: Path, text: Path) -> list[int]:
        command = [self._bin / "llama-tokenize", "-m", model, "-f", text, "--ids", "--no-bos", "--no-parse-special", "--no-escape",
                   "--log-disable"]  # fmt: skip
        return json.loads(run(*command))

    def perplexity(self, model: Path, text: Path, tokens: int, options: list[str]) -> float:
        chunks = ["-c", CONTEXT, "--chunks", tokens // CONTEXT]
        output = self._run("llama-perplexity", "-m", model, "-f", text, *chunks, *options)
        return float(re.search(r"Final estimate: PPL = ([0-9.]+)", output)[1])

    def imatrix(self, model: Path, text: Path, tokens: int, target: Path) -> dict[str, tuple[np.ndarray, int]]:
        """Mean squares of the columns, and the number of tokens, by the name of the tensor."""
        chunks = ["-c", CONTEXT, "--chunks", tokens // CONTEXT]
        self._run("llama-imatrix", "-m", model, "-f", text, *chunks, "--no-ppl", "--process-output", *EXACT, "-o", target)
        found = {tensor.name: tensor.data.astype(np.float64) for tensor in gguf.GGUFReader(target).tensors}
        names = [name.removesuffix(".in_sum2") for name in found if name.endswith(".in_sum2")]
        return {name: ((found[f"{name}.in_sum2"] / found[f"{name}.counts"]).ravel(), int(found[f"{name}.counts"].item()))
                for name in names}  # fmt: skip


def same_model(original: Path, plain: Path) -> list[str]:
    """What the F32 file has otherwise than the original: metadata but for the type of the file, names, decoded values."""
    first, second = gguf.GGUFReader(original), gguf.GGUFReader(plain)
    wrong = []
    may_differ = {"GGUF.kv_count", "general.file_type", "general.quantization_version"}
    for key in (first.fields.keys() | second.fields.keys()) - may_differ:
        both = [reader.fields[key].contents() if key in reader.fields else None for reader in (first, second)]
        if both[0] != both[1]:
            wrong.append(key)
    decoded = {tensor.name: tensor for tensor in second.tensors}
    if decoded.keys() != {tensor.name for tensor in first.tensors}:
        wrong.append("names of tensors")
    for tensor in first.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        other = decoded[tensor.name]
        if other.tensor_type != gguf.GGMLQuantizationType.F32 or not np.array_equal(values, other.data):
            wrong.append(tensor.name)
    return wrong


def calibrate(ingot: Path, model: Path, text: Path, tokens: int, target: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Mean squares of the columns, and the number of tokens, by the name of the input: both halves of `ingot calibrate` together."""
    run(ingot, "calibrate", model, "--text", text, "--tokens", tokens, "--blocks", "diagonal", "-o", target, "--quiet")
    found = load_file(target)
    result = {}
    for name in (name.removesuffix(".diagonals") for name in found if name.endswith(".diagonals")):
        weights = found[f"{name}.weights"]
        mean = weights @ found[f"{name}.diagonals"].astype(np.float64) / weights.sum()
        result[name] = mean, int(found[f"{name}.tokens"].sum())
    return result


def perplexities(ingot: Path, model: Path, peer: LlamaCpp, files: dict[str, Path], tokens: int) -> list[dict]:
    rows = []
    for name, text in TEXTS.items():
        report = run(ingot, "evaluate", model, "--text", text, "--tokens", tokens, "--format", "json", "--quiet")
        own = json.loads(report)["all"]["perplexity"]["value"]
        for what, file, options in (("F32, cache F32", "F32", EXACT), ("F32, cache F16", "F32", []), ("Q4_1, cache F16", "Q4_1", [])):
            other = peer.perplexity(files[file], text, tokens, options)
            rows.append({"text": name, "file": what, "ingot": own, "llama.cpp": other, "bound": options is EXACT})
    return rows


def moments(ingot: Path, model: Path, peer: LlamaCpp, file: Path, tokens: int, folder: Path) -> list[dict]:
    """For each text and tensor of the imatrix: relative difference of the sums over columns, and of the worst column."""
    rows = []
    for name, text in TEXTS.items():
        own = calibrate(ingot, model, text, tokens, folder / f"{name}.safetensors")
        theirs = peer.imatrix(file, text, tokens, folder / f"{name}.gguf")
        for tensor, (other, count) in theirs.items():
            layer, kind = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor).groups()
            mean, seen = own[f"layers.{layer}.{INPUTS[kind]}"]
            if seen != count:
                sys.exit(f"{tensor}: llama-imatrix saw {count} tokens, ingot {seen}")
            rows.append({
                "text": name, "tensor": tensor, "kind": kind, "layer": int(layer), "tokens": count,
                "sum": abs(mean.sum() / other.sum() - 1),
                "worst": np.abs(mean / other - 1).max(),
            })  # fmt: skip
    return rows


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="what Ingot evaluates; default: the F32 file")
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="a build of llama.cpp that has bin/")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of each text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    peer = LlamaCpp(arguments.build or build())
    failed = []
    with tempfile.TemporaryDirectory(prefix="ingot-llamacpp.", dir=smollm2.bench_directory()) as name:
        folder = Path(name)
        files = {"Q4_1": smollm2.gguf(), "F32": folder / "f32.gguf"}
        model = arguments.model or files["F32"]
        print(f"{time.strftime('%F')}, {run(ingot, '--version').strip()}, llama.cpp {peer.version()} of llama-cpp-python {pinned()},"
              f" {machine()}.")  # fmt: skip

        peer.to_f32(files["Q4_1"], files["F32"])
        wrong = same_model(files["Q4_1"], files["F32"])
        failed += [f"the F32 file differs: {name}" for name in wrong]
        print(f"\nThe F32 file of llama-quantize: {'other' if wrong else 'same'} metadata and values as the package gguf reads them.")

        for short, text in TEXTS.items():
            own = folder / "ids.npy"
            theirs = peer.ids(files["F32"], text)
            for tokenizer in (files["Q4_1"], model):
                run(ingot, "tokenize", tokenizer, "--text", text, "-o", own)
                if np.load(own).tolist() != theirs:
                    failed.append(f"{tokenizer}: other ids than llama-tokenize in {short}")
            print(f"{short}: {len(theirs)} ids by llama-tokenize.")

        ppl = perplexities(ingot, model, peer, files, arguments.tokens)
        rows = []
        for row in ppl:
            off = row["ingot"] / row["llama.cpp"] - 1
            if row["bound"] and abs(off) > PERPLEXITY_BOUND:
                failed.append(f"perplexity of {row['text']}: off by {100 * off:.3f} %")
            rows.append([row["text"], row["file"], f"{row['llama.cpp']:.4f}", f"{row['ingot']:.4f}", f"{100 * off:+.4f} %"])
        print(f"\nPerplexity, {arguments.tokens} tokens of each text:\n")
        print(table(["text", "llama.cpp's file", "llama-perplexity", "ingot evaluate", "off by"], rows), flush=True)

        found = moments(ingot, model, peer, files["F32"], arguments.tokens, folder)
        for row in found:
            if not (row["sum"] <= MOMENTS_BOUND and row["worst"] <= MOMENTS_BOUND):
                failed.append(f"imatrix of {row['text']}: {row['tensor']}: {row['sum']:.2e} of the sum, {row['worst']:.2e} of a column")
        rows = []
        for short in TEXTS:
            for kind in INPUTS:
                of_kind = [row for row in found if row["text"] == short and row["kind"] == kind]
                rows.append([short, kind, str(len(of_kind)), *(f"{max(row[key] for row in of_kind):.1e}" for key in ("sum", "worst"))])
        print(f"\nimatrix, the same {found[0]['tokens']} tokens of each text, greatest differences over the layers:\n")
        print(table(["text", "tensors", "number", "sum", "worst column"], rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"perplexity": ppl, "imatrix": found}, indent=1))
    for line in failed:
        print(f"\n**{line}**")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
