"""Perplexity and KL divergence by transformers in fp32, written from Specs/evaluation.md. Nothing here calls Ingot.

    harness.py MODEL --text FILE [--against REFERENCE] [--tokens N]        MODEL: a directory or GGUF file that transformers loads
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

CONTEXT, UNSCORED = 512, 256


def ids_of(tokenizer: Path, text: Path) -> tuple[np.ndarray, list[int]]:
    """The ids of a text without those that the tokenizer puts around it, and the ids that it puts before one."""
    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.no_truncation()
    whole = text.read_bytes().decode("utf-8")
    ids = np.array(loaded.encode(whole, add_special_tokens=False).ids, np.int32)
    probe = loaded.encode("a", add_special_tokens=True)
    before = probe.special_tokens_mask.index(0)
    return ids, probe.ids[:before]


def sequences_of(ids: np.ndarray, begin: list[int], tokens: int | None = None) -> np.ndarray:
    """Sequences of CONTEXT tokens without overlap, as rows. The tokens before a text replace the first ones of each."""
    count = min(len(ids), tokens or len(ids)) // CONTEXT
    rows = ids[: count * CONTEXT].reshape(count, CONTEXT).copy()
    rows[:, : len(begin)] = begin
    return rows


@dataclass(frozen=True)
class Scores:
    """Figures of one model on one text; those against a reference are None without one."""

    perplexity: float
    kl: float | None = None
    kl_p99: float | None = None
    kl_p999: float | None = None
    top1: float | None = None


def _loaded(path: Path):
    # Of a GGUF file transformers wants the directory and the name.
    place = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if place else path
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **place).eval()


class Model:
    """A model in fp32, on the processor."""

    def __init__(self, model):
        """A directory, a GGUF file, or what transformers made of one."""
        self._model = _loaded(model) if isinstance(model, Path) else model

    def logits(self, sequences: np.ndarray) -> list[torch.Tensor]:
        """For each sequence the binary32 logits of its scored predictions: (CONTEXT - 1 - UNSCORED) x vocabulary."""
        with torch.no_grad():
            return [self._logits(row) for row in sequences]

    def _logits(self, row: np.ndarray) -> torch.Tensor:
        ids = torch.from_numpy(row.astype(np.int64))[None]
        # The last token's prediction has nothing to be scored by.
        return self._model(ids, use_cache=False, logits_to_keep=CONTEXT - UNSCORED).logits[0, :-1].clone()


def scores(sequences: np.ndarray, own: list[torch.Tensor], reference: list[torch.Tensor] | None = None) -> Scores:
    """Figures from logits, in binary64."""
    losses, divergences, agreements = [], [], []
    for number, row in enumerate(sequences):
        log_p = torch.log_softmax(own[number].double(), -1)
        targets = torch.from_numpy(row[UNSCORED + 1 :].astype(np.int64))
        losses.append(-log_p.gather(1, targets[:, None])[:, 0])
        if reference is not None:
            log_r = torch.log_softmax(reference[number].double(), -1)
            divergences.append((log_r.exp() * (log_r - log_p)).sum(1))
            agreements.append(own[number].argmax(1) == reference[number].argmax(1))
    perplexity = math.exp(torch.cat(losses).mean().item())
    if reference is None:
        return Scores(perplexity)
    kl = torch.cat(divergences).numpy()
    p99, p999 = np.quantile(kl, [0.99, 0.999], method="inverted_cdf")
    return Scores(perplexity, kl.mean(), p99, p999, torch.cat(agreements).double().mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--against", type=Path, metavar="REFERENCE")
    parser.add_argument("--tokens", type=int)
    arguments = parser.parse_args()
    ids, begin = ids_of((arguments.against or arguments.model) / "tokenizer.json", arguments.text)
    sequences = sequences_of(ids, begin, arguments.tokens)
    reference = Model(arguments.against).logits(sequences) if arguments.against else None
    found = scores(sequences, Model(arguments.model).logits(sequences), reference)
    print(json.dumps(vars(found), indent=1))


if __name__ == "__main__":
    main()
