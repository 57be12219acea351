"""Runs of the command and what they cost, kept in a cache by the hashes of all that decides them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from models import Model, file_sha256, is_linear

# Besides the shards, what a reader of the weights needs.
BESIDE = ("ingot-manifest.json", "model.safetensors.index.json")
KEPT = ("--keep", "*embed_tokens*", "--keep", "*lm_head*")


def key_of(**parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


class Failed(Exception):
    """A command that ended with another status than 0."""


def run(*command) -> tuple[str, dict]:
    """Standard output of a command, and its user CPU seconds and peak memory."""
    command = list(map(str, command))
    print("study:", " ".join(command), file=sys.stderr, flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"status {process.returncode}: {' '.join(command)}")
    return output, {"user_seconds": usage.ru_utime, "peak_bytes": usage.ru_maxrss * 1024}


@dataclass(frozen=True)
class Conversion:
    """What a row converts. `bits` are those of --bits."""

    bits: float
    calibration: str  # none, random, half, mixed or code
    embeddings: str  # coded or kept
    codec: str = "rans"


class Stages:
    """The command on one model. Every result is a file of the cache, named by the hash of its inputs."""

    def __init__(self, ingot: Path, model: Model, cache: Path, tokens: int, method: str, gradient_tokens: int | None,
                 calibrator: Path | None = None):  # fmt: skip
        self.ingot, self.model, self.cache, self.tokens = ingot, model, cache, tokens
        self.calibrator = calibrator or ingot
        self.method, self._gradient_tokens = method, gradient_tokens
        self.binary, self.model_hash = file_sha256(ingot), model.sha256()
        self.calibrator_hash = file_sha256(self.calibrator)
        self.held_out = {kind: file_sha256(path) for kind, path in model.held_out.items()}
        for folder in ("moments", "sealed", "evaluations", "peers", "exports"):
            (cache / folder).mkdir(parents=True, exist_ok=True)

    # --- the command lines ------------------------------------------------------------------------------------------

    def _calibrate_command(self, kind: str, output: Path, through: Path | None = None) -> list:
        """Gathers moments, or with the checkpoint of a first phase the corrections for a second one."""
        texts, tokens = self.texts(kind), self.model.text_tokens(kind)
        program, more = (self.ingot, ["--through", through]) if through else (self.calibrator, self._gradients())
        return [program, "calibrate", self.model.path, *(part for text in texts for part in ("--text", text)), "--tokens", tokens,
                *more, "-o", output, "--force", "--quiet"]  # fmt: skip

    def _gradients(self) -> list:
        return [] if self._gradient_tokens is None else ["--gradient-tokens", self._gradient_tokens]

    def _convert_command(self, conversion: Conversion, calibration: list, output: Path) -> list:
        kept = KEPT if conversion.embeddings == "kept" else ()
        return [self.ingot, "convert", self.model.path, output, "--bits", f"{conversion.bits:.6g}", "--codec", conversion.codec,
                *kept, *calibration, "--force", "--format", "json", "--quiet"]  # fmt: skip

    # --- the stages -------------------------------------------------------------------------------------------------

    def texts(self, kind: str) -> list[Path]:
        return self.model.calibration(self.ingot, kind, self.cache)

    def _identity(self, texts: list[Path], **more) -> dict:
        return {"calibrator": self.calibrator_hash if texts else None, "model": self.model_hash, "texts": [file_sha256(text) for text in texts],
                "tokens": self.model.calibration_tokens, "gradient_tokens": self._gradient_tokens, **more}  # fmt: skip

    def moments(self, kind: str) -> tuple[Path, dict]:
        """The file of moments of a calibration, and what it cost."""
        texts = self.texts(kind)
        path = self.cache / "moments" / f"{key_of(**self._identity(texts))}.safetensors"
        record = path.with_suffix(".json")
        if not record.exists():
            _, cost = run(*self._calibrate_command(kind, path))
            _write(record, {"texts": [text.name for text in texts], **cost})
        return path, json.loads(record.read_text())

    def convert(self, conversion: Conversion, method: str | None = None) -> tuple[Path, dict]:
        """The sealed checkpoint, with the report of the conversion and the costs of calibrating and converting. `method` if another than usual."""
        method = method or self.method
        texts = self.texts(conversion.calibration)
        identity = self._identity(texts, binary=self.binary, conversion=vars(conversion), method=method)
        path = self.cache / "sealed" / key_of(**identity)
        record = path.with_name(path.name + ".json")
        if record.exists() and path.is_dir():
            return path, json.loads(record.read_text())
        calibrating, first = None, None
        if not texts:
            arguments = []
        elif method == "text":
            tokens = self.model.text_tokens(conversion.calibration)
            arguments = [*(part for text in texts for part in ("--text", text)), "--tokens", tokens]
        else:
            moments, calibrating = self.moments(conversion.calibration)
            arguments = ["--calibration", moments]
            if method == "two":
                first = path.with_name(path.name + ".first")
                correction = path.with_name(path.name + ".correction.safetensors")
                _, first_cost = run(*self._convert_command(conversion, arguments, first))
                _, through_cost = run(*self._calibrate_command(conversion.calibration, correction, first))
                arguments += ["--correction", correction, "--through", first]
        output, cost = run(*self._convert_command(conversion, arguments, path))
        report = json.loads(output)
        found = {"calibrate": calibrating, "convert": {**cost, "seconds": report["seconds"]}, **sizes(path, report)}
        if first:
            found |= {"first_phase": first_cost, "correction": through_cost}
            shutil.rmtree(first)
            correction.unlink()
        _write(record, found)
        return path, found

    def evaluate(self, path: Path, identity: str, reference: bool = True) -> dict[str, dict]:
        """What `ingot evaluate` finds on the held-out texts. `identity` names the weights at `path`."""
        key = key_of(binary=self.binary, model=self.model_hash, weights=identity, texts=self.held_out, tokens=self.tokens, reference=reference)
        record = self.cache / "evaluations" / f"{key}.json"
        if not record.exists():
            against = ["--against", self.model.path] if reference else []
            texts = [part for text in self.model.held_out.values() for part in ("--text", text)]
            output, cost = run(self.ingot, "evaluate", path, *against, *texts, "--tokenizer", self.model.path, "--tokens", self.tokens,
                               "--format", "json", "--quiet")  # fmt: skip
            by_path = {text["name"]: text for text in json.loads(output)["texts"]}
            _write(record, {kind: by_path[str(text)] for kind, text in self.model.held_out.items()} | {"cost": cost})
        return json.loads(record.read_text())

    def export(self, sealed: Path) -> Path:
        """Plain fp32 weights of a sealed checkpoint, for transformers."""
        plain = self.cache / "exports" / sealed.name
        if not (plain / "config.json").exists():
            run(self.ingot, "export", sealed, plain, "--dtype", "f32", "--force", "--quiet")
        return plain

    def forget_export(self, sealed: Path) -> None:
        shutil.rmtree(self.cache / "exports" / sealed.name, ignore_errors=True)


def sizes(path: Path, report: dict) -> dict:
    """Bytes of the files, and bits per weight of the linear layers and of everything."""
    linear = [tensor for tensor in report["tensors"] if is_linear(tensor["name"])]
    weights = sum(tensor["bytes"] * 8 / tensor["bits_per_weight"] for tensor in linear)
    shards = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return {
        "file_bytes": shards + sum((path / name).stat().st_size for name in BESIDE if (path / name).exists()),
        "linear_bytes": sum(tensor["bytes"] for tensor in linear), "linear_weights": round(weights),
        "linear_bits": sum(tensor["bytes"] for tensor in linear) * 8 / weights,
    }  # fmt: skip


def _write(path: Path, value: dict) -> None:
    """Replaces a file, so that an interrupted run leaves none or a whole one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
