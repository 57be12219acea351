"""What exports lose, by format and method, at equal bytes. Prints Markdown tables.

    python Tests/Benchmarks/exports.py --ingot .build/release/ingot [--model SampleWeights] [--tokens 10240] [--phases]

Rows: a format with the embedding and the head left at 16 bits, so that the linear layers alone are measured. Columns:

- reference: the runtime's own quantizer, byte for byte (`--rounding reference`; `make peers` holds it against ggml, mlx and
  compressed-tensors), for GGUF with an importance matrix of the same text.
- searched: scales of the least squared error, without a calibration.
- feedback: error feedback with moments of the same text.
- two phases (--phases): feedback, then corrected output and down projections.

Figures are the KL divergence from the original on the two held-out texts of SampleWeights, measured on the exported files by
`ingot evaluate`. Calibration: 16,384 tokens of code and as many of prose that no held-out text has (study/texts.py).
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "study"))
import texts  # noqa: E402

SAMPLE = texts.SAMPLE
CHARACTERS = 90_000  # more than 16,384 tokens of either text
PLAIN = ["--type-for", "token_embd.weight=F16", "--type-for", "output.weight=F16"]
FORMATS = {
    **{name: ["--to", "gguf", "--type", kind, "--pure", *PLAIN] for name, kind in {
        "Q2_K": "Q2_K", "Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q4_0": "Q4_0", "IQ4_XS": "IQ4_XS"}.items()},
    **{f"MLX {bits} bits g64": [
        "--to", "mlx", "--bits", bits, "--keep", "*embed*", "--keep", "lm_head*"] for bits in ("3", "4")},
    "compressed-tensors int4 g128": ["--to", "compressed-tensors", "--bits", "4", "--group-size", "128"],
}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


class Bench:
    def __init__(self, ingot, model, tokens, folder):
        self.ingot, self.model, self.tokens, self.folder = ingot, model, tokens, Path(folder)
        self.sources = []
        for kind in ("code", "prose"):
            path = self.folder / f"{kind}.txt"
            path.write_text("\n\n".join(text for _, text in texts._documents_up_to(kind, CHARACTERS)))
            self.sources += ["--text", path]
        self.moments, self.imatrix = self.folder / "moments.safetensors", self.folder / "imatrix.gguf"
        run(ingot, "calibrate", model, *self.sources, "--tokens", 16384, "-o", self.moments, "--imatrix", self.imatrix,
            "--gradient-tokens", 0, "-q")

    def export(self, name, options):
        out = self.folder / (name + ".gguf" if "gguf" in options else name)
        run(self.ingot, "export", self.model, out, *options, "-q")
        return out

    def divergences(self, export):
        """KL divergence on held-out code and prose."""
        out = run(self.ingot, "evaluate", export, "--against", self.model, "--text", texts.HELD_OUT["code"], "--text",
                  texts.HELD_OUT["prose"], "--tokens", self.tokens, "-q")
        return [float(value) for value in re.findall(r"KL divergence\s+([0-9.]+)", out)][:2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default=".build/release/ingot", type=Path)
    parser.add_argument("--model", default=SAMPLE, type=Path)
    parser.add_argument("--tokens", default=10240, type=int, help="tokens of each held-out text")
    parser.add_argument("--phases", action="store_true", help="the second phase too")
    parser.add_argument("--formats", help="names of rows, separated by commas; all of them without this option")
    asked = parser.parse_args()
    names = asked.formats.split(",") if asked.formats else list(FORMATS)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked.ingot.absolute(), asked.model.absolute(), asked.tokens, folder)
        methods = ["reference", "searched", "feedback"] + (["two phases"] if asked.phases else [])
        print("| format | " + " | ".join(methods) + " | " + " | ".join(f"{m} / reference" for m in methods[2:]) + " |")
        print("|" + "---|" * (len(methods) + len(methods) - 1))
        for name in names:
            options, place = FORMATS[name], re.sub(r"\W+", "-", name)
            reference = options + ["--rounding", "reference"]
            if "gguf" in options:
                reference += ["--calibration", bench.imatrix]
            feedback = options + ["--calibration", bench.moments]
            found = {
                "reference": bench.divergences(bench.export(place + "-reference", reference)),
                "searched": bench.divergences(bench.export(place + "-searched", options)),
            }
            first = bench.export(place + "-feedback", feedback)
            found["feedback"] = bench.divergences(first)
            if asked.phases:
                correction = bench.folder / f"{place}-correction.safetensors"
                run(bench.ingot, "calibrate", bench.model, "--through", first, *bench.sources, "--tokens", 16384, "-o",
                    correction, "-q")
                second = bench.export(
                    place + "-second", feedback + ["--correction", correction, "--through", first])
                found["two phases"] = bench.divergences(second)
            cells = [" / ".join(f"{value:.4f}" for value in found[method]) for method in methods]
            cells += [
                " / ".join(f"{own / other:.2f}" for own, other in zip(found[method], found["reference"]))
                for method in methods[2:]
            ]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
