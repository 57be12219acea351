"""bitsandbytes' NF4, blocks of 64, with fp32 block maxima or with these quantized in turn ("double quantization").

The tables of 16 and 256 constants that its checkpoints repeat for every tensor are not counted.
"""

import logging

import numpy as np
import torch

from .base import Format

# It warns that a matrix product for CPUs is not installed; none is done here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # noqa: E402

BLOCK = 64


def _round_trip(double: bool, weights: np.ndarray) -> tuple[int, np.ndarray]:
    source = torch.from_numpy(weights)
    codes, state = quantize_4bit(source, blocksize=BLOCK, compress_statistics=double, quant_type="nf4")
    stored = [codes, state.absmax]
    if double:
        stored += [state.state2.absmax, state.offset]
    return sum(part.nbytes for part in stored), dequantize_4bit(codes, state).numpy()


FORMATS = [
    Format("bitsandbytes", "NF4", lambda weights: _round_trip(False, weights)),
    Format("bitsandbytes", "NF4 double", lambda weights: _round_trip(True, weights)),
]
