"""llama.cpp's types, through the ggml library that llama-cpp-python is built with.

ggml quantizes rows whose length is a multiple of the block: 256 weights for the K and most IQ types. Every matrix goes
in as rows of 256 of its row-major data. That changes nothing where rows are multiples of 256, and is generous where
they are not: llama.cpp itself then falls back to a bigger type.

Left out are the types that need an importance matrix (IQ2_XXS, IQ2_XS, IQ1_S); IQ1_M, TQ1_0, TQ2_0, Q1_0 and Q2_0,
which lose a third of the energy and more of weights that were not trained for them; and Q4_1 and Q5_1, which IQ4_NL and
Q5_K beat in both size and error.
"""

import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType

from .base import Format

ROW = 256

# The library's own path: importing llama_cpp would load all of llama.cpp.
_ggml = ctypes.CDLL(str(next((Path(find_spec("llama_cpp").origin).parent / "lib").glob("libggml-base.*"))))
_ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
_ggml.ggml_quantize_chunk.argtypes = [
    ctypes.c_int,  # type
    ctypes.c_void_p,  # fp32 source
    ctypes.c_void_p,  # destination
    ctypes.c_int64,  # first weight
    ctypes.c_int64,  # rows
    ctypes.c_int64,  # weights per row
    ctypes.c_void_p,  # importance matrix
]
_ggml.ggml_row_size.restype = ctypes.c_size_t
_ggml.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
_ggml.ggml_type_name.restype = ctypes.c_char_p
_ggml.ggml_type_name.argtypes = [ctypes.c_int]
_ggml.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
_ggml.ggml_quantize_requires_imatrix.argtypes = [ctypes.c_int]


class Type:
    """One of ggml's types, such as `Q4_K`."""

    def __init__(self, name: str):
        self.name = name
        self.number = GGMLQuantizationType[name].value
        found = _ggml.ggml_type_name(self.number).decode()
        if found.lower() != name.lower() or _ggml.ggml_quantize_requires_imatrix(self.number):
            raise ValueError(f"ggml's type {self.number} is {found}: not {name}, or in need of an importance matrix")
        self._dequantize = getattr(_ggml, f"dequantize_row_{found}")
        self._dequantize.restype = None
        self._dequantize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

    def empty(self, count: int) -> np.ndarray:
        """Room for the blocks of `count` weights."""
        if count % ROW:
            raise ValueError(f"{count} weights do not fill rows of {ROW}")
        return np.empty(count // ROW * _ggml.ggml_row_size(self.number, ROW), np.uint8)

    def quantize(self, weights: np.ndarray, blocks: np.ndarray) -> None:
        """Quantizes contiguous fp32 weights into `blocks`, on the calling thread."""
        assert weights.dtype == np.float32 and weights.flags.c_contiguous
        rows = weights.size // ROW
        written = _ggml.ggml_quantize_chunk(self.number, weights.ctypes.data, blocks.ctypes.data, 0, rows, ROW, None)
        assert written == blocks.nbytes

    def dequantize(self, blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        weights = np.empty(shape, np.float32)
        self._dequantize(blocks.ctypes.data, weights.ctypes.data, weights.size)
        return weights

    def round_trip(self, weights: np.ndarray) -> tuple[int, np.ndarray]:
        blocks = self.empty(weights.size)
        self.quantize(weights, blocks)
        return blocks.nbytes, self.dequantize(blocks, weights.shape)


FORMATS = [
    Format("llama.cpp", name, Type(name).round_trip)
    for name in (
        "Q8_0",
        "Q6_K",
        "Q5_K",
        "Q5_0",
        "Q4_K",
        "IQ4_NL",
        "Q4_0",
        "NVFP4",
        "IQ4_XS",
        "MXFP4",
        "Q3_K",
        "IQ3_S",
        "IQ3_XXS",
        "Q2_K",
        "IQ2_S",
    )
]
