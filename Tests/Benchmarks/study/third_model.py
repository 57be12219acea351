#!/usr/bin/env python3
"""Trains the third model of the study of calibrated quantization: a small Llama that no setting was tuned on.

    third_model.py --output DIR [--hours H | --steps N] [--threads N] [--resume]

The model has 16,257,536 weights: hidden size 512, 4 layers, 8 query heads and 2 key-value heads of 64, feed-forward size 1536, and 4096
tokens of byte-level BPE. All widths are multiples of 256. It shares code with SampleWeights, but not the seed, the tokenizer or the mix of
texts: five windows of Python code for every three of English prose.

Everything is written below DIR, outside of the repository:

    corpus/         token ids, tokenizer and texts
    checkpoint.pt   the state of the training, every four minutes
    log.jsonl       losses
    step-NNNNNN/    exported models: after five minutes, then every 20 minutes, and at the end
    model           link to the newest of them; its record.json says whether it is finished

An exported model is fp16 in the form of Hugging Face, and its texts lie beside it. Neither model nor tokenizer was trained on
held-out-code.txt and held-out-prose.txt. calibration-code.txt and calibration-prose.txt are part of the training texts, and share no file
with the held-out ones.

SIGTERM writes a checkpoint and ends. After that, or after a kill, the same command with --resume goes on. A resumed run does the same
steps as one that was never interrupted.

Needs what SampleWeights/training/requirements.txt names, networkx and scikit-learn from PyPI, and the Debian packages python3.11-doc,
postgresql-doc-15, python-django-doc and debian-handbook.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "SampleWeights"))

import numpy  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from training import data, export, loop  # noqa: E402
from training.model import Config, Llama  # noqa: E402

SEED = 20270314
CONFIG = Config(vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=4,
                num_attention_heads=8, num_key_value_heads=2, head_dim=64, max_position_embeddings=512)
PEAK, FLOOR, WARMUP = 1.5e-3, 0.05, 100
WINDOWS = {"code": 5, "prose": 3}  # of a batch of loop.BATCH
HELD_OUT, CALIBRATION, MERGES = 200_000, 400_000, 8_000_000  # bytes of each kind
CHECKPOINT_SECONDS, EXPORT_SECONDS, FIRST_EXPORT_SECONDS = 240, 1200, 300
GLIMPSE = 8192  # tokens of each held-out text that an intermediate model is measured on
TEXTS = [f"{use}-{label}.txt" for use in ("held-out", "calibration") for label in WINDOWS]


def sources() -> list[data.Source]:
    """Two of SampleWeights' manuals and its standard library, and four works that SampleWeights does not have."""
    package = lambda name: Path(importlib.util.find_spec(name).submodule_search_locations[0])
    kept = [s for s in data.SOURCES if s.name in {"stdlib", "python-doc", "postgresql-doc"}]
    return kept + [
        data.Source("networkx", "networkx (PyPI)", package("networkx"), ".py", "BSD-3-Clause", "code", r"(^|/)tests/"),
        data.Source("scikit-learn", "scikit-learn (PyPI)", package("sklearn"), ".py", "BSD-3-Clause", "code",
                    r"(^|/)(tests|externals|_vendor)/"),
        data.Source("django-doc", "python-django-doc (Debian)", data.DOCS / "python-django-doc/html", ".html", "BSD-3-Clause",
                    "html", r"^(_modules|releases|genindex|py-modindex|search|contents)"),
        data.Source("debian-handbook", "debian-handbook (Debian)", data.DOCS / "debian-handbook/html/en-US", ".html",
                    "GPL-2+ or CC-BY-SA-3.0", "html")]


def build_corpus(folder: Path):
    """Writes the tokenizer, the token ids and the four texts. data.json comes last: with it, the corpus is complete."""
    folder.mkdir(exist_ok=True)
    report, corpora, sample = {}, {}, []
    for label, kinds in (("code", {"code"}), ("prose", {"rst", "html"})):
        # The corpus of SampleWeights is replaced in its module: its files are part of a checkpoint whose bytes tests know.
        data.SOURCES = sources()
        train, held = data.split(data.read_documents(kinds), SEED, HELD_OUT)
        _, calibration = data.split(train, f"{SEED}-calibration", CALIBRATION)
        corpora[label] = train
        for use, documents in (("held-out", held), ("calibration", calibration)):
            (folder / f"{use}-{label}.txt").write_text("\n\n".join(text for _, text in documents), encoding="utf-8")
        size = 0
        for name, text in sorted(train, key=lambda d: hashlib.sha256(f"merges{SEED}:{d[0]}".encode()).digest()):
            if size < MERGES:
                sample.append(text)
                size += len(text.encode())
        report[label] = {
            "files": len(train),
            "bytes": {s.name: sum(len(t.encode()) for n, t in train if n.startswith(s.name + "/"))
                      for s in sources() if s.kind in kinds},
            "held_out_files": [name for name, _ in held], "calibration_files": [name for name, _ in calibration]}
    tokenizer = data.train_tokenizer(sample, CONFIG.vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    for label, documents in corpora.items():
        ids = []
        for encoding in tokenizer.encode_batch([text for _, text in documents], add_special_tokens=False):
            ids += encoding.ids + [0]
        numpy.save(folder / f"{label}.npy", numpy.array(ids, dtype=numpy.uint16))
        report[label]["tokens"] = len(ids)
    export.write_json(folder / "data.json", report)


class Training:
    """The model, its optimizer, and the place in the texts."""

    def __init__(self, corpus: Path):
        self.model = Llama(CONFIG).initialise(SEED)
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": loop.DECAY},
             {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}], lr=PEAK, betas=loop.BETAS, fused=True)
        streams = [loop.Stream(numpy.load(corpus / f"{label}.npy"), [SEED, i]) for i, label in enumerate(WINDOWS)]
        self.rows = [stream for stream, label in zip(streams, WINDOWS) for _ in range(WINDOWS[label])]
        self.step, self.processor_seconds, self.smoothed = 0, 0.0, None

    def advance(self, rate: float) -> float:
        """Trains on one batch, in float32, and returns its loss."""
        began = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.model.loss(*loop.batch(self.rows))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), loop.CLIP)
        self.optimizer.step()
        value = loss.item()
        self.step += 1
        self.smoothed = value if self.smoothed is None else 0.98 * self.smoothed + 0.02 * value
        self.processor_seconds += time.process_time() - began
        return value

    def save(self, path: Path, steps: int):
        """Replaces the checkpoint. A crash at any moment leaves the old one or the new one."""
        temporary = path.with_suffix(".new")
        with open(temporary, "wb") as file:
            torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step, "steps": steps,
                        "smoothed": self.smoothed, "processor_seconds": self.processor_seconds}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def load(self, path: Path) -> int:
        """Takes up a checkpoint. Returns the number of steps that the run was planned with."""
        saved = torch.load(path)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.smoothed, self.processor_seconds = saved["step"], saved["smoothed"], saved["processor_seconds"]
        for _ in range(self.step):  # The order of the windows is seeded.
            loop.batch(self.rows)
        return saved["steps"]


def schedule(step: int, steps: int) -> float:
    """The learning rate: a linear rise, then a cosine down to FLOOR of the peak at the last step."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - WARMUP) / max(1, steps - WARMUP)))))


def steps_within(hours: float, corpus: Path) -> int:
    """The steps that take `hours` of processor time, by the time of a few that are thrown away."""
    trial = Training(corpus)
    trial.advance(0.0)
    trial.processor_seconds = 0.0
    for _ in range(8):
        trial.advance(0.0)
    return max(2 * WARMUP, int(hours * 3600 / (trial.processor_seconds / 8)))


def measure(model: Path, limit: int | None) -> dict:
    """Losses on the held-out texts of an exported model, computed in float32."""
    llama = Llama(CONFIG).eval()
    llama.load_state_dict({name: tensor.float() for name, tensor in load_file(model / "model.safetensors").items()})
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    result = {}
    for label in WINDOWS:
        ids = tokenizer.encode((model / f"held-out-{label}.txt").read_text(encoding="utf-8"), add_special_tokens=False).ids[:limit]
        nats, size = loop.evaluate(llama, ids), len(tokenizer.decode(ids).encode())
        result[label] = {"tokens": len(ids), "nats_per_token": round(nats / len(ids), 4),
                         "bits_per_byte": round(nats / math.log(2) / size, 4)}
    return result


def write_model(output: Path, training: Training, steps: int) -> dict:
    """Exports the model as it is, measures the export, and then points `model` at it. Returns the record."""
    corpus, final, staging = output / "corpus", output / f"step-{training.step:06d}", output / "exporting"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    export.Config = lambda: CONFIG
    export.write_config(staging)
    for name in ["tokenizer.json", *TEXTS]:
        shutil.copy(corpus / name, staging / name)
    weights = {name: tensor.to(torch.float16) for name, tensor in training.model.state_dict().items()}
    export.write_tensors(weights, staging / "model.safetensors")
    record = {
        "seed": SEED, "step": training.step, "steps": steps, "finished": training.step == steps,
        "tokens": training.step * loop.BATCH * loop.WINDOW, "parameters": sum(t.numel() for t in weights.values()),
        "smoothed_training_loss": round(training.smoothed, 4), "processor_minutes": round(training.processor_seconds / 60, 1),
        "held_out": measure(staging, None if training.step == steps else GLIMPSE),
        "torch": torch.__version__, "data": json.loads((corpus / "data.json").read_text())}
    export.write_json(staging / "record.json", record)
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)
    link = output / "model.new"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(output / "model")
    return record


def say(log, **values):
    log.write(json.dumps(values) + "\n")
    print(json.dumps(values), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the model and the corpus")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=100 / 60, help="hours of processor time of the training (default: 100 minutes)")
    length.add_argument("--steps", type=int, help="steps of the training, instead of hours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on with the run in this folder, with the steps it was planned with")
    arguments = parser.parse_args()
    output, checkpoint = arguments.output.resolve(), arguments.output.resolve() / "checkpoint.pt"
    if output.is_relative_to(REPOSITORY):
        parser.error("--output must lie outside of the repository")
    if checkpoint.exists() and not arguments.resume:
        parser.error(f"{checkpoint} exists: go on with --resume, or remove it")
    torch.set_num_threads(arguments.threads)
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)  # of the tokenizer
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))

    output.mkdir(parents=True, exist_ok=True)
    if not (output / "corpus/data.json").exists():
        build_corpus(output / "corpus")
    training = Training(output / "corpus")
    if checkpoint.exists():
        steps = training.load(checkpoint)
    else:
        steps = arguments.steps or steps_within(arguments.hours, output / "corpus")
    with open(output / "log.jsonl", "a", buffering=1) as log:
        say(log, begins_at=training.step, steps=steps)
        saved, exported = time.monotonic(), time.monotonic() - EXPORT_SECONDS + FIRST_EXPORT_SECONDS
        while training.step < steps:
            rate = schedule(training.step, steps)
            loss = training.advance(rate)
            if training.step % 10 == 0:
                say(log, step=training.step, loss=round(loss, 4), smoothed=round(training.smoothed, 4), rate=round(rate, 7),
                    processor_minutes=round(training.processor_seconds / 60, 2), clock=time.strftime("%H:%M:%S"))
            if stop or training.step == steps or time.monotonic() - saved > CHECKPOINT_SECONDS:
                training.save(checkpoint, steps)
                saved = time.monotonic()
            if stop:
                raise SystemExit("stopped: go on with --resume")
            if training.step < steps and time.monotonic() - exported > EXPORT_SECONDS:
                say(log, exported=training.step, **write_model(output, training, steps)["held_out"])
                exported = time.monotonic()
        say(log, exported=training.step, **write_model(output, training, steps)["held_out"])


if __name__ == "__main__":
    main()
