"""The perplexity of exports by `ingot evaluate` and by the runtimes they are made for, on the same token ids. Prints Markdown.

    runtimes.py --ingot BINARY [--build FOLDER] [--tokens N] [--models REGEX] [--runtimes REGEX] [--json FILE]

Each row exports a model, evaluates the export, loads it in the runtime, and computes the perplexity there. Models: SampleWeights,
SmolLM2-135M (smollm2.py), and a small random model of each family (Tests/Peers/exports/models.py). Runtimes:

- llama.cpp: llama-perplexity on the text. Its tokenizer makes the ids; the program ends with 1 unless they are those of `ingot tokenize`.
  Its cache of keys and values is F32.
- mlx-lm: the model on the CPU.
- transformers: the directory of compressed-tensors, or the GGUF file by transformers' own reader. It reads no rotary scaling and no
  experts of Mixtral from GGUF files, and no experts of Mixtral from compressed-tensors, so these have no row.

Activations are in float32. Yet some products round otherwise than `ingot evaluate`: llama.cpp rounds the activations that meet blocks to
8 bits, and those that meet F16 and BF16 weights to these types; mlx-lm and transformers multiply code and scale in float32, where
`evaluate` rounds the weight to the type of the model, as they do for a model loaded in its own type. The bound of such a row is
ROUNDED. A second row has what the runtime decoded beforehand: llama-quantize to F32, mlx-lm's dequantize_model and transformers to the
type of the model. There the bound is EXACT, as for all other rows. Ends with 1 if a perplexity is off by more than its bound.

The random models are sensitive enough: twice the rotary base changes their perplexity by .6 to 2.7 %, rows of one key projection in
the other order by 1.2 to 3.8 %, Llama 3 without its scaling by .2 %.

Sequences have 512 tokens; the predictions behind the first 256 are scored. --build is a build of llama.cpp that has bin/; otherwise
llamacpp.py makes one in BENCH_DIR. Needs 2 GB in BENCH_DIR.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

# Threads that wait must not take the processor from others: before torch is loaded.
for name, value in {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TORCHDYNAMO_DISABLE": "1"}.items():
    os.environ.setdefault(name, value)

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "peers"), str(HERE.parent / "Peers" / "exports")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

import harness  # noqa: E402
import llamacpp  # noqa: E402
import models  # noqa: E402
import smollm2  # noqa: E402
from quality import SAMPLE, machine, run  # noqa: E402

TEXT = SAMPLE / "heldout-prose.txt"
CALIBRATION = SAMPLE / "heldout-code.txt"
CONTEXT, TOKENS = harness.CONTEXT, 2048
EXACT, ROUNDED = 2e-4, 1e-2
DECODED = ", decoded"
PROGRAMS = ("llama-perplexity", "llama-quantize")

ALL_TYPES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4",
             "Q3_K_M", "Q2_K"]  # fmt: skip
# Rows of SmolLM2 have 576 weights: whole blocks of 32, not of 256.
TYPES = {"SampleWeights": ALL_TYPES, "SmolLM2-135M": ["F16", "Q8_0", "Q4_0", "IQ4_NL"]}
WIDTHS = {"SampleWeights": [(2, 32), (3, 64), (4, 64), (5, 128), (6, 64), (8, 64)]}
PACKED = {"SampleWeights": [(4, 128), (8, 32)]}
FAMILIES = ["llama", "llama3", "mistral", "qwen2", "mixtral"]
NOT_READ = {("transformers", "gguf"): {"llama3", "mixtral"}, ("transformers", "compressed-tensors"): {"mixtral"}}


@dataclass
class Row:
    """Perplexities of one export: by `ingot evaluate`, and by the runtime. `worst` is the largest difference of the mean loss of a
    sequence, in nats."""

    model: str
    export: str
    runtime: str
    tokens: int
    ingot: float
    theirs: float
    worst: float
    bound: float

    @property
    def off(self) -> float:
        return self.theirs / self.ingot - 1

    @property
    def wrong(self) -> bool:
        return not abs(self.off) <= self.bound  # also if it is not a number

    def cells(self) -> list[str]:
        found = [self.model, self.export, self.runtime, str(self.tokens), f"{self.ingot:.4f}", f"{self.theirs:.4f}",
                 f"{100 * self.off:+.4f} %", f"{self.worst:.1e}", f"{100 * self.bound:g} %"]  # fmt: skip
        return [f"**{cell}**" for cell in found] if self.wrong else found


HEADER = ["model", "export", "runtime", "tokens", "ingot evaluate", "runtime", "off by", "worst sequence, nats", "bound"]


class LlamaCpp(llamacpp.LlamaCpp):
    def losses(self, model: Path, text: Path, count: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """The mean loss of each of `count` sequences, and the ids of all. One thread: several spin while they wait for each other."""
        saved = folder / "logits"
        options = ["--threads", 1, "-lv", 0, *llamacpp.EXACT, "--save-all-logits", saved]
        for _ in range(10):
            output = run(self._bin / "llama-perplexity", "-m", model, "-f", text, "-c", CONTEXT, "--chunks", count, *options)
            # All that it prints at this level is the perplexity of all sequences so far, after each one. Its log is written by another
            # thread, and sometimes the program ends before the last lines are.
            so_far = np.log([float(value) for value in re.findall(r"\[\d+\]([0-9.]+),", output)])
            if len(so_far) == count:
                break
        else:
            sys.exit(f"llama-perplexity printed fewer than {count} perplexities in each of ten runs of {model}")
        sums = so_far * np.arange(1, count + 1)
        # The file: "_logits_", then whole numbers of 32 bits: context, vocabulary, sequences, the ids.
        header = np.fromfile(saved, np.int32, 5)
        ids = np.fromfile(saved, np.int32, header[4] * header[2], offset=20)
        saved.unlink()
        return np.diff(sums, prepend=0), ids


def losses(sequences: np.ndarray, logits) -> np.ndarray:
    """The mean loss of each sequence, of the predictions that harness.Model gives."""
    found = []
    for row, own in zip(sequences, logits):
        log_p = torch.log_softmax(own.double(), -1)
        targets = torch.from_numpy(row[harness.UNSCORED + 1 :].astype(np.int64))
        found.append(-log_p.gather(1, targets[:, None]).mean().item())
    return np.array(found)


def by_transformers(export: Path, sequences: np.ndarray) -> np.ndarray:
    return losses(sequences, harness.Model(export).logits(sequences))


def by_transformers_decoded(export: Path, sequences: np.ndarray) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(export, dtype="auto", attn_implementation="eager").eval()
    with torch.no_grad():
        model(torch.from_numpy(sequences[:1, :1].astype(np.int64)))  # decodes all weights for good
    if left := [name for name, _ in model.named_parameters() if name.endswith("_packed")]:
        sys.exit(f"{export}: transformers left codes: {left[0]}")
    torch.nn.Module.float(model)  # transformers' own float() refuses models that came with codes
    return losses(sequences, harness.Model(model).logits(sequences))


def by_mlx(export: Path, sequences: np.ndarray, decoded: bool = False) -> np.ndarray:
    import mlx.core as mx
    from mlx_lm.utils import dequantize_model, load_model

    mx.set_default_device(mx.cpu)
    model, _ = load_model(export)
    if decoded:
        model = dequantize_model(model)
    model.set_dtype(mx.float32)

    def logits(row):
        found = model(mx.array(row.astype(np.int32))[None])[0, harness.UNSCORED : -1]
        return torch.from_numpy(np.array(found))

    return losses(sequences, map(logits, sequences))


def random_model(name: str, folder: Path) -> Path:
    """A model of models.py with larger queries, keys and heads: attention looks at some tokens, and predictions are far from uniform,
    so that a wrong rotation or order of rows shows."""
    models.build(name, folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for tensor in tensors:
        if re.search("(q_proj|k_proj|lm_head).weight", tensor):
            tensors[tensor] = 3 * tensors[tensor]
    save_file(tensors, path, {"format": "pt"})
    # GGUF files have the factors of rotary frequencies, not the numbers behind them. `evaluate` knows those of Llama 3.1 and 3.2.
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"original_max_position_embeddings": 256', '"original_max_position_embeddings": 8192'))
    return folder


class Comparison:
    """All rows of one model."""

    def __init__(self, ingot: Path, peer: LlamaCpp | None, name: str, source: Path, tokens: int, folder: Path):
        self._ingot, self._peer, self._folder = ingot, peer, folder
        self._name, self._source = name, source
        self._count = tokens // CONTEXT
        self._begin, self._whole = self._tokenized(source)
        self._sequences = self._cut(self._whole)
        self._ids = folder / "sequences.npy"
        np.save(self._ids, self._sequences.ravel())
        self._found = {}
        self.wrong_ids = []

    def _tokenized(self, tokenizer: Path) -> tuple[list[int], np.ndarray]:
        """The ids that are put before a text, and those of the whole text with them."""
        found = []
        for options in ([], ["--special"]):
            output = self._folder / "ids.npy"
            run(self._ingot, "tokenize", tokenizer, "--text", TEXT, "-o", output, *options)
            found.append(np.load(output))
        plain, special = found
        before = len(special) - len(plain)
        if not np.array_equal(special[before:], plain):
            sys.exit(f"{tokenizer}: the tokenizer puts tokens behind a text")
        return special[:before].tolist(), special

    def _cut(self, ids: np.ndarray) -> np.ndarray:
        """Sequences as rows. As llama-perplexity does it, each begins with what the tokenizer puts before a text."""
        rows = ids[: self._count * CONTEXT].reshape(self._count, CONTEXT).copy()
        rows[:, : len(self._begin)] = self._begin
        return rows

    def _export(self, target: Path, *options, source: Path | None = None) -> None:
        run(self._ingot, "export", source or self._source, target, *options, "--force", "--quiet")

    def _evaluated(self, export: Path, what: str) -> tuple[float, np.ndarray]:
        """Perplexity, and the mean loss of each sequence, by `ingot evaluate`; once for each export."""
        if what not in self._found:
            report = run(self._ingot, "evaluate", export, "--ids", self._ids, "--format", "json", "--quiet")
            text = json.loads(report)["texts"][0]
            self._found[what] = text["perplexity"]["value"], np.array(text["per_sequence"]["loss"])
        return self._found[what]

    def _row(self, export: Path, what: str, runtime: str, theirs, note: str = "", bound: float = EXACT) -> Row:
        print(f"{self._name}: {what}{note} in {runtime}", file=sys.stderr)
        (perplexity, own), found = self._evaluated(export, what), theirs()
        row = Row(self._name, what + note, runtime, self._count * CONTEXT, perplexity, float(np.exp(found.mean())),
                  float(np.abs(found - own).max()), bound)  # fmt: skip
        print(line(row.cells()), flush=True)
        return row

    def _in_llamacpp(self, export: Path, file: Path, what: str, *rest) -> Row:
        def theirs():
            found, ids = self._peer.losses(file, TEXT, self._count, self._folder)
            if not np.array_equal(ids, self._whole[: len(ids)]):
                self.wrong_ids.append(f"{self._name}, {what}: llama.cpp finds other ids in the text than `ingot tokenize`")
            return found

        return self._row(export, what, "llama.cpp", theirs, *rest)

    def _gguf_rows(self, file: Path, what: str, in_llamacpp: bool, in_transformers: bool):
        if in_llamacpp and what == "F32":
            yield self._in_llamacpp(file, file, what)
        elif in_llamacpp:
            decoded = self._folder / "decoded.gguf"
            self._peer.to_f32(file, decoded)
            yield self._in_llamacpp(file, file, what, "", ROUNDED)
            yield self._in_llamacpp(file, decoded, what, DECODED)
            decoded.unlink()
        if in_transformers:
            yield self._row(file, what, "transformers", lambda: by_transformers(file, self._sequences))

    def gguf(self, wanted):
        folder = self._folder / "gguf"
        kinds = TYPES.get(self._name, ["F16", "Q8_0", "Q4_K_M"])
        # Some matrices of the small Mistral have rows of 128 weights, all of SmolLM2 rows of 576: types of the mixes do not fit.
        fallback = ["--allow-fallback"] if self._name in ("mistral", "SmolLM2-135M") else []
        self._export(folder, "--to", "gguf", "--type", ",".join(kinds), *fallback)
        reads = wanted("transformers") and self._name not in NOT_READ["transformers", "gguf"]
        for kind in kinds:
            file = next(path for path in folder.glob("*.gguf") if path.stem.endswith(kind))
            yield from self._gguf_rows(file, kind, wanted("llama.cpp"), reads)
        if self._name == "SampleWeights":
            yield from self._calibrated(wanted)

    def _calibrated(self, wanted):
        """Blocks with error feedback are blocks like others."""
        moments, file = self._folder / "moments.safetensors", self._folder / "calibrated.gguf"
        run(self._ingot, "calibrate", self._source, "--text", CALIBRATION, "--tokens", 4096, "--gradient-tokens", 0, "-o", moments, "-q")
        self._export(file, "--to", "gguf", "--type", "Q4_K_M", "--calibration", moments)
        yield from self._gguf_rows(file, "Q4_K_M calibrated", wanted("llama.cpp"), wanted("transformers"))

    def mlx(self):
        for bits, group in WIDTHS.get(self._name, [(4, 64)]):
            out = self._folder / "mlx"
            self._export(out, "--to", "mlx", "--bits", bits, "--group-size", group)
            yield from self._mlx_rows(out, f"MLX {bits} bits, groups of {group}")
        if self._name == "SampleWeights":
            sealed, out = self._folder / "sealed", self._folder / "mlx"
            run(self._ingot, "convert", self._source, sealed, "--scheme", "uniform", "--bits", 4, "--group-size", 64, "--quiet")
            self._export(out, "--to", "mlx", "--bits", 4, "--group-size", 64, source=sealed)
            yield from self._mlx_rows(out, "MLX 4 bits, codes of a conversion")

    def _mlx_rows(self, out: Path, what: str):
        yield self._row(out, what, "mlx-lm", lambda: by_mlx(out, self._sequences), "", ROUNDED)
        yield self._row(out, what, "mlx-lm", lambda: by_mlx(out, self._sequences, decoded=True), DECODED)

    def compressed_tensors(self):
        for bits, group in PACKED.get(self._name, [(4, 64)]):
            out = self._folder / "packed"
            self._export(out, "--to", "compressed-tensors", "--bits", bits, "--group-size", group)
            what = f"compressed-tensors {bits} bits, groups of {group}"
            yield self._row(out, what, "transformers", lambda: by_transformers(out, self._sequences), "", ROUNDED)
            yield self._row(out, what, "transformers", lambda: by_transformers_decoded(out, self._sequences), DECODED)

    def rows(self, wanted):
        if wanted("llama.cpp") or wanted("transformers"):
            yield from self.gguf(wanted)
        if wanted("mlx-lm"):
            yield from self.mlx()
        if wanted("transformers") and self._name not in NOT_READ["transformers", "compressed-tensors"]:
            yield from self.compressed_tensors()


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def source_of(name: str, ingot: Path, folder: Path) -> Path:
    if name == "SampleWeights":
        return SAMPLE
    return smollm2.export(ingot, folder) if name == "SmolLM2-135M" else random_model(name, folder / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="a build of llama.cpp that has bin/")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of the text; a multiple of 512, at least 1024")
    parser.add_argument("--models", default="", metavar="REGEX", help="models whose name it is found in")
    parser.add_argument("--runtimes", default="", metavar="REGEX", help="runtimes whose name it is found in")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    wanted = lambda runtime: re.search(arguments.runtimes, runtime)  # noqa: E731
    peer = LlamaCpp(arguments.build or llamacpp.build(PROGRAMS)) if wanted("llama.cpp") else None
    packages = ", ".join(f"{name} {version(name)}" for name in ("mlx", "mlx-lm", "torch", "transformers", "compressed-tensors"))
    packages += f", llama.cpp {peer.version()}" if peer else ""
    print(f"{time.strftime('%F')}, {run(ingot, '--version').strip()}, {packages}, {machine()}.")
    print(f"\n{line(HEADER)}\n{line(['---'] * len(HEADER))}", flush=True)
    rows, failed = [], []
    for name in ["SampleWeights", "SmolLM2-135M", *FAMILIES]:
        if not re.search(arguments.models, name):
            continue
        with tempfile.TemporaryDirectory(prefix="ingot-runtimes.", dir=smollm2.bench_directory()) as temporary:
            folder = Path(temporary)
            comparison = Comparison(ingot, peer, name, source_of(name, ingot, folder), arguments.tokens, folder)
            rows += comparison.rows(wanted)
            failed += comparison.wrong_ids
    above = [row for row in rows if row.wrong]
    failed += [f"{row.model}, {row.export}, {row.runtime}: off by {100 * row.off:.4f} %" for row in above]
    print(f"\n{len(rows)} rows, {len(above)} above the bound of their row.")
    for runtime in sorted({row.runtime for row in rows}):
        for bound in (EXACT, ROUNDED):
            if of_kind := [abs(row.off) for row in rows if row.runtime == runtime and row.bound == bound]:
                print(f"- {runtime}, bound {100 * bound:g} %: {len(of_kind)} rows, greatest difference {100 * max(of_kind):.1e} %.")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) | {"off": row.off} for row in rows], indent=1))
    for problem in failed:
        print(f"\n**{problem}**")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
