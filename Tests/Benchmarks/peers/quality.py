"""What quantization does to two models: perplexity, and KL divergence from the source, of both schemes at 8, 4, 3 and 2 bits.

    quality.py --ingot BINARY [--json FILE] [--tokens N] [--model NAME]

`ingot evaluate` computes each figure on the converted checkpoint. transformers computes it once more in fp32 (harness.py), on
what `ingot export --dtype f32` writes, from ids of the library tokenizers. Prints Markdown. Ends with 1 if a perplexity
differs by more than 0.1 %, or a divergence by more than 1 % of itself and more than 1e-6, or if an id differs.

Models: the one in SampleWeights, and SmolLM2-135M (smollm2.py). Texts: SampleWeights/heldout-code.txt and heldout-prose.txt, the
first 8,192 tokens of each: 16 sequences, 4,080 scored tokens. Needs 4 GB in BENCH_DIR, and as much memory.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

# Threads that wait must not take the processor from others: before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402

import harness  # noqa: E402
import smollm2  # noqa: E402

SAMPLE = Path(__file__).resolve().parents[3] / "SampleWeights"
TEXTS = {"code": SAMPLE / "heldout-code.txt", "prose": SAMPLE / "heldout-prose.txt"}
TOKENS = 8192
CONVERSIONS = [("source", None)] + [(scheme, bits) for scheme in ("trellis", "uniform") for bits in (8, 4, 3, 2)]
PERPLEXITY_BOUND, KL_BOUND, KL_FLOOR = 1e-3, 1e-2, 1e-6


def run(*command) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


def same_ids(ingot: Path, model: Path, text: Path, ids: np.ndarray, folder: Path) -> bool:
    """Whether `ingot tokenize` finds the ids of the library tokenizers."""
    output = folder / "ids.npy"
    run(ingot, "tokenize", model, "--text", text, "-o", output)
    return np.array_equal(np.load(output), ids)


def evaluate(ingot: Path, model: Path, reference: Path, tokens: int) -> dict[str, dict]:
    """What `ingot evaluate` prints, by the short names of the texts."""
    texts = [part for text in TEXTS.values() for part in ("--text", text)]
    report = run(ingot, "evaluate", model, "--against", reference, *texts, "--tokenizer", reference, "--tokens", tokens,
                 "--format", "json", "--quiet")  # fmt: skip
    by_path = {text["name"]: text for text in json.loads(report)["texts"]}
    return {name: by_path[str(path)] for name, path in TEXTS.items()}


def measure(ingot: Path, source: Path, folder: Path, tokens: int) -> list[dict]:
    """A row for each conversion and text of one model. Prints each when it is known."""
    sequences, rows = {}, []
    for name, text in TEXTS.items():
        ids, begin = harness.ids_of(source / "tokenizer.json", text)
        if not same_ids(ingot, source, text, ids, folder):
            sys.exit(f"{source}, {text}: `ingot tokenize` and the library tokenizers find different ids")
        sequences[name] = harness.sequences_of(ids, begin, tokens)
    reference = {}
    for scheme, bits in CONVERSIONS:
        print(f"{source.name}: {scheme} {bits or ''}", file=sys.stderr)
        options = ["--scheme", scheme, "--bits", bits] if bits else ["--scheme", "lossless"]
        sealed, plain = folder / "sealed", folder / "plain"
        converted = json.loads(run(ingot, "convert", source, sealed, *options, "--force", "--format", "json", "--quiet"))
        run(ingot, "export", sealed, plain, "--dtype", "f32", "--force", "--quiet")
        found = evaluate(ingot, sealed if bits else source, source, tokens)
        model = harness.Model(plain)
        for name in TEXTS:
            logits = model.logits(sequences[name])
            # The source's own weights: everything else is compared with its logits.
            reference.setdefault(name, logits)
            row = {"scheme": scheme, "bits": bits, "text": name, "bytes": converted["output_bytes"], "ingot": found[name]}
            row["transformers"] = vars(harness.scores(sequences[name], logits, reference[name]))
            rows.append(row)
            print(cells(row), flush=True)
            del logits
        del model
        gc.collect()
    return rows


def differences(row: dict) -> tuple[float, float]:
    """Relative difference of the perplexities, absolute difference of the divergences."""
    own, other = row["ingot"], row["transformers"]
    return own["perplexity"]["value"] / other["perplexity"] - 1, own["kl"]["value"] - other["kl"]


def exceeds(row: dict) -> bool:
    perplexity, kl = differences(row)
    return abs(perplexity) > PERPLEXITY_BOUND or abs(kl) > max(KL_FLOOR, KL_BOUND * row["transformers"]["kl"])


HEADER = ("conversion", "text", "MB", "perplexity", "transformers", "off by", "ratio", "KL, nats", "transformers", "off by",
          "KL 99 %", "same top token")  # fmt: skip


def line(row) -> str:
    return "| " + " | ".join(row) + " |"


def cells(row: dict) -> str:
    """The line of the table, bold if it is above a bound."""
    own, other = row["ingot"], row["transformers"]
    perplexity, kl = differences(row)
    if row["bits"]:
        compared = [f"{own['perplexity_ratio']['value']:.4f} ± {own['perplexity_ratio']['standard_error']:.4f}",
                    f"{own['kl']['value']:.6f}", f"{other['kl']:.6f}", f"{100 * kl / other['kl']:+.4f} %", f"{own['kl_p99']:.4f}",
                    f"{100 * own['top1']['value']:.2f} %"]  # fmt: skip
    else:
        compared = [""] * 6
    found = [f"{row['scheme']} {row['bits'] or ''}".strip(), row["text"], f"{row['bytes'] / 1e6:.1f}",
             f"{own['perplexity']['value']:.4f}", f"{other['perplexity']:.4f}", f"{100 * perplexity:+.5f} %", *compared]  # fmt: skip
    return line([f"**{cell}**" if cell else cell for cell in found] if exceeds(row) else found)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {name}, {platform.system()} {platform.release()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of each text")
    parser.add_argument("--model", choices=["SampleWeights", "SmolLM2-135M"], help="one of the two alone")
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    results = {}
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))
    print(f"{time.strftime('%F')}, {run(ingot, '--version').strip()}, {machine()}; {packages}.")
    with tempfile.TemporaryDirectory(prefix="ingot-quality.", dir=smollm2.bench_directory()) as name:
        folder = Path(name)
        for model in ("SampleWeights", "SmolLM2-135M"):
            if arguments.model not in (None, model):
                continue
            source = SAMPLE if model == "SampleWeights" else smollm2.export(ingot, folder)
            print(f"\n{model}, {arguments.tokens} tokens of each text:\n\n{line(HEADER)}\n{line(['---'] * len(HEADER))}", flush=True)
            rows = results[model] = measure(ingot, source, folder, arguments.tokens)
            quantized = [row for row in rows if row["bits"]]
            perplexity = max(abs(differences(row)[0]) for row in rows)
            kl = max(abs(differences(row)[1]) / row["transformers"]["kl"] for row in quantized)
            print(f"\nGreatest differences: perplexity {100 * perplexity:.1e} %, divergence {100 * kl:.1e} %.")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    above = [row for rows in results.values() for row in rows if exceeds(row)]
    if above:
        print(f"\n**{len(above)} rows are above the bounds: perplexity 0.1 %, divergence 1 % or 1e-6.**")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
