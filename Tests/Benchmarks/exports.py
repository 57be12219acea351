"""What exports lose, by format and method, at equal bytes. Prints a Markdown table.

    python Tests/Benchmarks/exports.py --ingot .build/release/ingot [--model SampleWeights|smollm2|DIRECTORY] [--formats NAMES]
        [--methods reference,searched,feedback,phases,sized] [--tokens N] [--work DIRECTORY]

Rows: a format with the embedding and the head left at 16 bits, so that the linear layers alone are measured. Methods:

- reference: the runtime's own quantizer, byte for byte (`--rounding reference`; `make peers` holds it against ggml, mlx and
  compressed-tensors), for GGUF with an importance matrix of the same text.
- searched: scales of the least squared error, without a calibration.
- feedback: error feedback with moments of the same text.
- phases: feedback, then corrected output and down projections.
- sized: types or bits chosen by measured loss, for the bytes of the reference (`--target-size`), with feedback.

Figures are the KL divergence from the original on the two held-out texts of SampleWeights, measured on the exported files by
`ingot evaluate`. Calibration: 16,384 tokens of code and as many of prose that no held-out text has (study/texts.py).

smollm2 is SmolLM2-135M (peers/smollm2.py) with rows of 768 columns instead of 576, which are no whole super-blocks (peers/widen.py). Zeros
fill up, for all methods alike. The original and the widened model must have the same perplexity.

Checks that end the run with an error: exports of one format have the same bytes of weights; gguf-py decodes tensors of each GGUF file with
feedback to the weights that Ingot reads.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "study"), str(HERE / "peers")]
import smollm2  # noqa: E402
import texts  # noqa: E402
import widen  # noqa: E402

CHARACTERS = 90_000  # more than 16,384 tokens of either text
PLAIN = ["--type-for", "token_embd.weight=F16", "--type-for", "output.weight=F16"]
KEEP = ["--keep", "*embed*", "--keep", "lm_head*"]
FORMATS = {
    **{name: ["--to", "gguf", "--type", kind, "--pure", *PLAIN] for name, kind in {
        "Q2_K": "Q2_K", "Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q4_0": "Q4_0", "IQ4_XS": "IQ4_XS"}.items()},
    **{f"{kind} mix": ["--to", "gguf", "--type", kind, *PLAIN] for kind in ("Q2_K", "Q3_K_M", "Q4_K_M")},
    **{f"MLX {bits} bits g64": ["--to", "mlx", "--bits", bits, *KEEP] for bits in ("3", "4")},
    **{f"compressed-tensors int4 g{size}": ["--to", "compressed-tensors", "--bits", "4", "--group-size", size]
       for size in ("128", "64")},
    **{f"compressed-tensors int{bits} channel": ["--to", "compressed-tensors", "--bits", bits, "--group-size", "channel"]
       for bits in ("4", "8")},
    "MLX mxfp4": ["--to", "mlx", "--mode", "mxfp4", *KEEP],
}  # fmt: skip
# Formats and tokens of each held-out text, where the command names none. SmolLM2 lies on a grid of 4 bits, and 576 columns are groups of 64.
USUAL = {
    "SampleWeights": ([name for name in FORMATS if not name.endswith("g64") or "MLX" in name], 10_240),
    "smollm2": (["Q2_K", "Q3_K", "MLX 3 bits g64", "MLX 4 bits g64", "compressed-tensors int4 g64"], 6_144),
}
METHODS = {"reference": "reference", "searched": "searched", "feedback": "feedback", "phases": "two phases", "sized": "types by loss"}
COMPARED = ("feedback", "phases", "sized")
SAME = 1e-5  # KL divergence of the widened model from the original: the order of sums differs


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


class Bench:
    """Files in `folder`. Those that are there from an earlier run are used again."""

    def __init__(self, ingot, model, tokens, folder):
        self.ingot, self.tokens, self.folder = ingot, tokens, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.model = self.widened() if model == "smollm2" else Path(model).absolute()
        self.sources = []
        for kind in texts.HELD_OUT:
            path = folder / f"{kind}.txt"
            path.write_text("\n\n".join(text for _, text in texts._documents_up_to(kind, CHARACTERS)))
            self.sources += ["--text", path]
        self.moments, self.imatrix = folder / "moments.safetensors", folder / "imatrix.gguf"
        if not self.imatrix.exists():
            run(ingot, "calibrate", self.model, *self.sources, "--tokens", 16384, "-o", self.moments, "--imatrix", self.imatrix,
                "-q")  # fmt: skip

    def widened(self):
        """SmolLM2 with whole super-blocks, compared with the original."""
        out, plain = self.folder / "smollm2-768", self.folder / "smollm2"
        if not out.exists():
            widen.widen(smollm2.export(self.ingot, self.folder), 768, out)
        for kind, text in self.evaluate(out, plain).items():
            own, original, kl = (text[name]["value"] for name in ("perplexity", "reference_perplexity", "kl"))
            print(f"{kind}: perplexity {original:.5f}, with 768 columns {own:.5f}, KL divergence {kl:.1e}")
            if not kl < SAME:
                sys.exit("the widened model is another one")
        print()
        return out

    def evaluate(self, model, against):
        """What `ingot evaluate` says about held-out code and prose."""
        path = self.folder / f"{model.name}.json"
        if not path.exists():
            held_out = [part for file in texts.HELD_OUT.values() for part in ("--text", file)]
            run(self.ingot, "evaluate", model, "--against", against, *held_out, "--tokens", self.tokens, "--format", "json",
                "-o", path, "-q")  # fmt: skip
        return dict(zip(texts.HELD_OUT, json.loads(path.read_text())["texts"]))

    def divergences(self, export):
        """KL divergence on held-out code and prose."""
        return [text["kl"]["value"] for text in self.evaluate(export, self.model).values()]

    def export(self, name, method, exports):
        """The model in a format. `exports`: those of the methods before."""
        place = re.sub(r"\W+", "-", name) + "-" + method
        options = list(FORMATS[name])
        out = self.folder / (place + ".gguf" if "gguf" in options else place)
        if out.exists():
            return out
        if method == "reference":
            options += ["--rounding", "reference", *(["--calibration", self.imatrix] if "gguf" in options else [])]
        if method in COMPARED:
            options += ["--calibration", self.moments]
        if method == "sized":
            place = next(options.index(option) for option in ("--type", "--bits") if option in options)
            options[place : place + 2] = ["--target-size", file_bytes(exports["reference"])]
            options = [option for option in options if option != "--pure"]
        if method == "phases":
            first = exports["feedback"]
            correction = self.folder / f"{place}.safetensors"
            if not correction.exists():
                run(self.ingot, "calibrate", self.model, "--through", first, *self.sources, "--tokens", 16384, "-o", correction, "-q")
            options += ["--correction", correction, "--through", first]
        run(self.ingot, "export", self.model, out, *options, "-q")
        return out

    def check_decoded(self, export):
        """gguf-py decodes a few tensors of a GGUF file to the weights that Ingot reads."""
        reader = gguf.GGUFReader(export)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        last = max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))
        names = [f"blk.0.{part}.weight" for part in ("attn_q", "attn_v", "ffn_up")]
        names += [f"blk.{last}.{part}.weight" for part in ("attn_k", "attn_output", "ffn_down")]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            run(self.ingot, "export", export, Path(folder) / "own", "--to", "safetensors", "--keep-names", "--dtype", "f32", "-q")
            with safe_open(Path(folder) / "own/model.safetensors", "np") as own:
                for name in names:
                    tensor = tensors[name]
                    if not np.array_equal(own.get_tensor(name), gguf.quants.dequantize(tensor.data, tensor.tensor_type)):
                        sys.exit(f"{export.name}: gguf-py decodes {name} to other weights")


def weight_bytes(export):
    """Bytes of all tensors of an export."""
    if export.suffix == ".gguf":
        return sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(export).tensors)
    total = 0
    for path in export.glob("*.safetensors"):
        with open(path, "rb") as file:
            total += path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
    return total


def file_bytes(export):
    """Bytes of the files of weights of an export."""
    return sum(path.stat().st_size for path in ([export] if export.suffix == ".gguf" else export.glob("*.safetensors")))


def row(bench, name, methods):
    """The cells of a format."""
    exports, found = {}, {}
    for method in methods:
        if method == "sized" and ("compressed-tensors" in name or "mxfp4" in name):
            continue  # these have no other types
        exports[method] = bench.export(name, method, exports)
        found[method] = bench.divergences(exports[method])
    sizes = {weight_bytes(path) for method, path in exports.items() if method != "sized"}
    if len(sizes) != 1:
        sys.exit(f"{name}: exports of {sizes} bytes")
    if "sized" in exports and file_bytes(exports["sized"]) > file_bytes(exports["reference"]):
        sys.exit(f"{name}: an export that is larger than was asked for")
    if "feedback" in exports and exports["feedback"].suffix == ".gguf":
        bench.check_decoded(exports["feedback"])
    cells = [" / ".join(f"{value:.4f}" for value in found.get(method, [])) for method in methods]
    quotients = [
        " / ".join(f"{own / other:.2f}" for own, other in zip(found.get(method, []), found["reference"]))
        for method in methods if method in COMPARED
    ]  # fmt: skip
    return [name, *cells, *quotients]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default=".build/release/ingot", type=Path)
    parser.add_argument("--model", default=str(texts.SAMPLE), help="smollm2, or a directory")
    parser.add_argument("--tokens", type=int, help="tokens of each held-out text (10240; smollm2: 6144)")
    parser.add_argument("--methods", default=",".join(METHODS), help="columns, separated by commas: reference first, feedback before phases")
    parser.add_argument("--formats", help="rows, separated by commas")
    parser.add_argument("--work", type=Path, help="a directory for files that a later run uses again")
    asked = parser.parse_args()
    names, tokens = USUAL["smollm2" if asked.model == "smollm2" else "SampleWeights"]
    names, methods = asked.formats.split(",") if asked.formats else names, asked.methods.split(",")
    with tempfile.TemporaryDirectory(prefix="ingot-exports-", dir=smollm2.bench_directory()) as folder:
        bench = Bench(asked.ingot.absolute(), asked.model, asked.tokens or tokens, (asked.work or Path(folder)).absolute())
        quotients = [f"{METHODS[method]} / reference" for method in methods if method in COMPARED]
        print("| " + " | ".join(["format", *(METHODS[method] for method in methods), *quotients]) + " |")
        print("|" + "---|" * (1 + len(methods) + len(quotients)))
        for name in names:
            print("| " + " | ".join(row(bench, name, methods)) + " |", flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\nCPU time: {(used.ru_utime + used.ru_stime) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
