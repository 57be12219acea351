"""The models of the study, and their texts."""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import texts

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))

import smollm2  # noqa: E402

LINEAR = (".q_proj.", ".k_proj.", ".v_proj.", ".o_proj.", ".gate_proj.", ".up_proj.", ".down_proj.")


@dataclass(frozen=True)
class Model:
    """A model, the texts that it is measured on, and how it is calibrated."""

    name: str  # short, of rows and variables
    title: str
    path: Path
    held_out: dict[str, Path]
    calibration_tokens: int  # of a calibration text
    # Texts that calibration texts are taken from, by kind. Empty: the files of this machine.
    sources: dict[str, Path] = field(default_factory=dict)
    # Whether its widths are multiples of 256, so that llama.cpp's files are real ones.
    whole_blocks: bool = True
    element_bytes: int = 2  # of the source
    # "coded": embedding and head are converted too, with two bits more. "kept": they stay as they are.
    embeddings: str = "coded"

    def files(self) -> list[Path]:
        return sorted(self.path.glob("*.safetensors"))

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files())

    def sha256(self) -> str:
        total = hashlib.sha256()
        for path in [*self.files(), self.path / "config.json", self.path / "tokenizer.json"]:
            total.update(path.name.encode() + b"\0" + file_sha256(path).encode())
        return total.hexdigest()

    def calibration(self, ingot: Path, kind: str, cache: Path) -> list[Path]:
        """The texts of a calibration: none, random (prose), code, mixed (both texts whole), or half (half of both)."""
        kinds = {"none": [], "random": ["prose"], "code": ["code"]}.get(kind, ["code", "prose"])
        return [texts.calibration_text(ingot, self.path, self.name, text, self.text_tokens(kind), cache / "texts", self.sources.get(text))
                for text in kinds]  # fmt: skip

    def text_tokens(self, kind: str) -> int:
        """Tokens of each text of a calibration."""
        return self.calibration_tokens // 2 if kind == "half" else self.calibration_tokens


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_linear(tensor: str) -> bool:
    return any(part in tensor for part in LINEAR)


def load(name: str, ingot: Path, cache: Path, third: Path | None) -> Model:
    if name == "sample":
        return Model(name, "SampleWeights", texts.SAMPLE, texts.HELD_OUT, 32_768)
    if name == "smollm2":
        path = cache / "models/smollm2"
        if not (path / "config.json").exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            smollm2.export(ingot, path.parent)
        return Model(name, "SmolLM2-135M", path, texts.HELD_OUT, 16_384, whole_blocks=False, element_bytes=4, embeddings="kept")
    if name == "third":
        path = (third or cache / "models/third/model").resolve()
        if not (path / "config.json").exists():
            sys.exit(f"{path} is no model: train one with Tests/Benchmarks/study/third_model.py --output {cache}/models/third")
        held_out = {kind: path / f"held-out-{kind}.txt" for kind in ("code", "prose")}
        sources = {kind: path / f"calibration-{kind}.txt" for kind in held_out}
        return Model(name, "third model", path, held_out, 32_768, sources)
    sys.exit(f"{name}: models are sample, smollm2 and third")
