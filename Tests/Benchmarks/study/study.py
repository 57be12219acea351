"""The study of calibrated quantization in miniature: perplexity and divergence by width, calibration text and method.

    study.py --ingot BINARY [--models sample,smollm2,third] [--bits 16,8,4,3,2.5,2] [--calibrations none,random,half,mixed,code]
             [--types Q4_K,...] [--matched TYPES] [--imatrix mixed,code] [--tokens N] [--method two|steps|text] [--third DIR] [--page]
    study.py functional --ingot BINARY [the same choices] [--prompts N]

Each row of the table is a line of rows.jsonl in the cache (BENCH_DIR/ingot-study), with the hashes of binary, model, texts and options
that it was made with. A row that is there is not made again, so an interrupted study goes on with the same command. --page writes
Specs/study.md and Specs/study.svg from the rows of these models, whenever they were made.

Kinds of rows:
- source: the model as it is.
- ours: `ingot convert`, calibrated or not.
- peer: one of llama.cpp's types on the linear layers, with an importance matrix of the same text (ggml_types.py).
- matched: ours with embedding and head as in the source, at the size of a peer: of the whole file where blocks are whole,
  otherwise of the linear layers alone.
- functional: what the model writes (functional.py).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import models
from stages import Conversion, Failed, Stages, key_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

import smollm2  # noqa: E402

CALIBRATIONS = ("none", "random", "half", "mixed", "code")
BITS = ("16", "8", "4", "3", "2.5", "2")
TYPES = ("Q4_K", "IQ4_XS", "Q3_K", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XXS")
MATCHED = ("Q3_K", "IQ3_XXS", "Q2_K", "IQ2_XXS")
# Ours is at most this much smaller than the peer, of the bytes of the linear layers.
CLOSE = 0.004
TRIES = 5


class Table:
    """rows.jsonl: one line for each row, by its key."""

    def __init__(self, path: Path, keep_peers: bool):
        self._path, self._keep_peers = path, keep_peers
        self.rows = read_rows(path)
        self.failed: list[str] = []
        # Added to new rows, and no part of what identifies them.
        self.notes: dict = {}

    def add(self, identity: dict, make) -> dict | None:
        """The row of this identity, made by `make` if it is not there; None if a command failed."""
        key = self._of_other_binary(identity) or key_of(**identity)
        if key not in self.rows:
            try:
                made = make()
            except Failed as error:
                self.failed.append(str(error))
                print(f"study: {error}", file=sys.stderr, flush=True)
                return None
            row = {"key": key, **identity, **made, **self.notes, "made": time.strftime("%F %T")}
            with open(self._path, "a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.rows[key] = row
        row = self.rows[key]
        print(summary(row), flush=True)
        return row


    def _of_other_binary(self, identity: dict) -> str | None:
        """With --keep-peers, the key of a row of the source or of llama.cpp that differs by the binary alone."""
        if self._keep_peers and identity["kind"] in ("source", "peer"):
            for key, row in reversed(self.rows.items()):
                if all(row.get(name) == value for name, value in identity.items() if name not in ("binary", "calibrator")):
                    return key
        return None


def read_rows(path: Path) -> dict[str, dict]:
    """All whole lines of the table, oldest first."""
    rows = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # an interrupted write
            continue
        rows.pop(row["key"], None)
        rows[row["key"]] = row
    return rows


def summary(row: dict) -> str:
    name = f"{row['model']} {row['kind']} {row.get('type', '')} {row.get('bits', '')} {row.get('calibration', '')}"
    if row["kind"] == "functional":
        return f"{name}: {row['parsed']} parse, {row['equal']} equal of {row['prompts']}"
    texts = ", ".join(f"{kind} {text['perplexity']['value']:.3f}" + (f" KL {text['kl']['value']:.4f}" if text["kl"] else "")
                      for kind, text in row["texts"].items())  # fmt: skip
    return f"{name}: {row['linear_bits']:.3f} bits, {row['file_bytes']} bytes; {texts}"


def common(stages: Stages, kind: str, **more) -> dict:
    """What identifies a row: what it shows, and the hashes of all that decides its figures."""
    return {"model": stages.model.name, "kind": kind, **more, "tokens": stages.tokens, "binary": stages.binary,
            "calibrator": None if more.get("calibration", "none") == "none" else stages.calibrator_hash,
            "model_sha256": stages.model_hash, "held_out_sha256": stages.held_out}  # fmt: skip


def texts_only(evaluation: dict) -> dict:
    return {"texts": {kind: text for kind, text in evaluation.items() if kind != "cost"}, "evaluate": evaluation["cost"]}


def source_row(table: Table, stages: Stages) -> dict:
    def make():
        return {"linear_bits": 8 * stages.model.element_bytes, "file_bytes": stages.model.bytes(),
                **texts_only(stages.evaluate(stages.model.path, "source", False))}

    return table.add(common(stages, "source", bits=16), make)


def ours_row(table: Table, stages: Stages, conversion: Conversion) -> dict:
    texts = [models.file_sha256(text) for text in stages.texts(conversion.calibration)]

    def make():
        path, found = stages.convert(conversion)
        return {**found, "sealed": path.name, **texts_only(stages.evaluate(path, path.name))}

    return table.add(common(stages, "ours", **vars(conversion), texts_sha256=texts, method=stages.method), make)


def peer_row(table: Table, stages: Stages, type_name: str, calibration: str) -> dict:
    texts = [models.file_sha256(text) for text in stages.texts(calibration)]

    def make():
        import ggml_types

        moments, _ = stages.moments(calibration)
        target = stages.cache / "peers" / f"{stages.model.name}-{type_name}-{calibration}"
        found = ggml_types.build(stages.model, type_name, moments, target)
        evaluation = stages.evaluate(target, f"{type_name} {moments.stem}")
        for path in target.iterdir():
            path.unlink()
        target.rmdir()
        return {**found, **texts_only(evaluation)}

    return table.add(common(stages, "peer", type=type_name, calibration=calibration, texts_sha256=texts), make)


def at_size(stages: Stages, peer: dict, measure: str, calibration: str) -> tuple[Conversion, Path, dict]:
    """A conversion of at most the peer's bytes, found by converting."""
    bits, room = peer["linear_bits"], CLOSE * peer["linear_bytes"]

    def tried(method: str) -> tuple[Conversion, Path, dict, float]:
        conversion = Conversion(bits, calibration, "kept")
        path, found = stages.convert(conversion, method)
        return conversion, path, found, found[measure] - peer[measure]

    if measure == "file_bytes":  # how much of the file is not payload is not known
        for _ in range(TRIES):
            # The first phase alone tells the size almost exactly, and is much faster.
            over = tried("steps" if stages.method == "two" else stages.method)[3]
            if -room <= over <= 0:
                break
            bits -= 8 * (over + room / 3) / peer["linear_weights"]
    for _ in range(TRIES):
        conversion, path, found, over = tried(stages.method)
        if over <= 0:
            return conversion, path, found
        bits -= 8 * (over + room / 8) / peer["linear_weights"]
    raise Failed(f"no conversion of {stages.model.name} has at most {peer[measure]} bytes")


def matched_row(table: Table, stages: Stages, peer: dict, calibration: str) -> dict | None:
    """Ours at the size of a peer: of the file, or of the linear layers."""
    measure = "file_bytes" if stages.model.whole_blocks else "linear_bytes"
    texts = [models.file_sha256(text) for text in stages.texts(calibration)]

    def make():
        conversion, path, found = at_size(stages, peer, measure, calibration)
        return {"bits": conversion.bits, **found, "sealed": path.name, **texts_only(stages.evaluate(path, path.name))}

    identity = common(stages, "matched", type=peer["type"], calibration=calibration, size=peer[measure], measure=measure,
                      texts_sha256=texts, method=stages.method)  # fmt: skip
    return table.add(identity, make)


def study(table: Table, stages: Stages, arguments: argparse.Namespace) -> None:
    embeddings = stages.model.embeddings
    for bits in arguments.bits:
        if bits == "16":
            source_row(table, stages)
            continue
        for calibration in arguments.calibrations:
            ours_row(table, stages, Conversion(float(bits), calibration, embeddings))
    for type_name in arguments.types:
        for calibration in arguments.imatrix:
            peer = peer_row(table, stages, type_name, calibration)
            if peer and type_name in arguments.matched:
                matched_row(table, stages, peer, calibration)


def functional(table: Table, stages: Stages, arguments: argparse.Namespace) -> None:
    import functional

    reference = None
    for bits in arguments.bits:
        for calibration in ["none"] if bits == "16" else arguments.calibrations:
            conversion = None if bits == "16" else Conversion(float(bits), calibration, stages.model.embeddings)
            identity = common(stages, "functional", bits=float(bits), calibration=calibration, prompts=arguments.prompts,
                              method=stages.method, made_by=models.file_sha256(Path(functional.__file__)))  # fmt: skip
            if key_of(**identity) not in table.rows and reference is None:
                reference = functional.complete(stages, stages.model.path, arguments.prompts)

            def make():
                if conversion is None:
                    own = reference
                else:
                    sealed, _ = stages.convert(conversion)
                    own = functional.complete(stages, stages.export(sealed), arguments.prompts)
                    stages.forget_export(sealed)
                return functional.compare(own, reference)

            table.add(identity, make)


def words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["table", "functional"], default="table")
    parser.add_argument("--ingot", type=Path, required=True)
    parser.add_argument("--models", type=words, default=["sample"])
    parser.add_argument("--bits", type=words, default=list(BITS))
    parser.add_argument("--calibrations", type=words, default=list(CALIBRATIONS))
    parser.add_argument("--types", type=words, default=list(TYPES), help="llama.cpp's types; '' for none")
    parser.add_argument("--imatrix", type=words, default=["mixed", "code"], help="texts of llama.cpp's importance matrix, and of ours beside it")
    parser.add_argument("--matched", type=words, default=list(MATCHED), help="types at whose size ours is made too")
    parser.add_argument("--tokens", type=int, default=20_480, help="tokens of each held-out text")
    parser.add_argument("--method", choices=["two", "steps", "text"], default="two",
                        help="two: both phases, step by step, so that all widths share one file of moments; steps: the first phase alone; "
                        "text: `convert --text`, the same as two in one command")  # fmt: skip
    parser.add_argument("--gradient-tokens", type=int, help="for `ingot calibrate`; default: its own")
    parser.add_argument("--calibrator", type=Path, metavar="BINARY", help="makes the moments; default: that of --ingot")
    parser.add_argument("--third", type=Path, metavar="DIR", help="the third model; default: models/third/model in the cache")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--cache", type=Path, default=smollm2.bench_directory() / "ingot-study")
    parser.add_argument("--keep-peers", action="store_true", help="take rows of the source and of llama.cpp that another binary measured")
    parser.add_argument("--page", action="store_true", help="write Specs/study.md and Specs/study.svg")
    arguments = parser.parse_args()
    ingot = arguments.ingot.resolve(strict=True)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    table = Table(arguments.cache / "rows.jsonl", arguments.keep_peers)
    for name in arguments.models:
        model = models.load(name, ingot, arguments.cache, arguments.third)
        stages = Stages(ingot, model, arguments.cache, arguments.tokens, arguments.method, arguments.gradient_tokens, arguments.calibrator)
        table.notes = {"model_path": str(model.path)}
        (functional if arguments.what == "functional" else study)(table, stages, arguments)
    if arguments.page:
        import page

        page.write(list(table.rows.values()), arguments.cache)
    for error in table.failed:
        print(f"failed: {error}", file=sys.stderr)
    sys.exit(bool(table.failed))


if __name__ == "__main__":
    main()
