"""Ingot, run as a user runs it: one matrix, one checkpoint, one command."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from errors import relative_mse
from weights import Tensor


@dataclass(frozen=True)
class Outcome:
    bits_per_weight: float
    relative_mse: float


class CertificateError(Exception):
    """The decoded weights do not have the error that the report states."""


class Checkpoint:
    """A temporary checkpoint of one matrix. A context manager: the files go with it."""

    def __init__(self, binary: Path, tensor: Tensor):
        self._binary = binary
        self._tensor = tensor
        self._folder = tempfile.TemporaryDirectory(prefix="ingot-peers.")
        self._source = Path(self._folder.name) / "source.safetensors"
        self._converted = 0
        save_file({tensor.name: tensor.values}, self._source)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def convert(self, *rate: str) -> Outcome:
        """Converts with the trellis at `rate` (an option and its value). Bits are the report's, which counts the whole
        payload; the error is measured here, on what `export` writes, and must be the certificate's."""
        self._converted += 1
        sealed = Path(self._folder.name) / f"sealed-{self._converted}"
        report = json.loads(
            self._run("convert", self._source, sealed, "--scheme", "trellis", *rate, "--jobs", "1", "--format", "json")
        )
        certified = report["tensors"][0]
        measured = relative_mse(self._tensor.values, self._decoded(sealed))
        if abs(measured - certified["relative_mse"]) > 1e-6 * measured:
            raise CertificateError(f"{self._tensor.name}: certified {certified['relative_mse']}, measured {measured}")
        return Outcome(certified["bits_per_weight"], measured)

    def _decoded(self, sealed: Path):
        plain = sealed.with_name(sealed.name + "-plain")
        self._run("export", sealed, plain, "--to", "safetensors", "--dtype", "f32")
        return load_file(plain / "model.safetensors")[self._tensor.name]

    def _run(self, *arguments) -> str:
        return subprocess.run([self._binary, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def version(binary: Path) -> str:
    return subprocess.run([binary, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
