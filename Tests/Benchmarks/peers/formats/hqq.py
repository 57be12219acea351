"""HQQ, groups of 64, with its default configuration: fp16 scales and zero points, three-bit codes ten to a word.

HQQ minimizes a norm of order 0.7 of the error, not its square, so this comparison is not the one it was made for.
"""

import numpy as np
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

from .base import Format

GROUP = 64


def _round_trip(bits: int, weights: np.ndarray) -> tuple[int, np.ndarray]:
    rows, columns = weights.shape
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight = torch.nn.Parameter(torch.from_numpy(weights), requires_grad=False)
    config = BaseQuantizeConfig(nbits=bits, group_size=GROUP)
    layer = HQQLinear(linear, config, compute_dtype=torch.float16, device="cpu")
    stored = (layer.W_q, layer.meta["scale"], layer.meta["zero"])
    return sum(part.nbytes for part in stored), layer.dequantize().float().numpy()


FORMATS = [
    Format("HQQ", f"{bits} bit g{GROUP}", lambda weights, bits=bits: _round_trip(bits, weights)) for bits in (4, 3, 2)
]
