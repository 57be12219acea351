"""llama.cpp's types on the linear layers of a model, with an importance matrix of the calibration text.

ggml's own code (of the library that llama-cpp-python is built with) quantizes and decodes. Embedding, head and norms stay as they are.
Rows that are no multiple of 256 are filled up with zeros that the importance matrix gives almost no weight, and count by the bits of
the type: llama.cpp itself would take a larger type for such a matrix.
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from models import Model, is_linear

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

from formats.ggml import Type, _ggml  # noqa: E402
from to_gguf import gguf_name, hyperparameters, interleaved  # noqa: E402

TYPES = ("Q4_K", "IQ4_XS", "Q3_K", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XXS")
BLOCK = 256
# What the importance of filled-up columns is, of the mean of the others.
OF_FILLING = 1e-6
# Inputs of Specs/moments.md.
INPUTS = {"q_proj": "attention_in", "k_proj": "attention_in", "v_proj": "attention_in", "o_proj": "output_in",
          "gate_proj": "feed_forward_in", "up_proj": "feed_forward_in", "down_proj": "down_in"}  # fmt: skip


class WeightedType:
    """One of ggml's types, with importances of the columns."""

    def __init__(self, name: str):
        self.name, self.number = name, gguf.GGMLQuantizationType[name].value
        self.bits = 8 * _ggml.ggml_row_size(self.number, BLOCK) / BLOCK
        self._decode = getattr(_ggml, f"dequantize_row_{_ggml.ggml_type_name(self.number).decode()}")
        self._decode.restype, self._decode.argtypes = None, Type("Q4_K")._dequantize.argtypes

    def quantize(self, weights: np.ndarray, importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The blocks of an fp32 matrix, rows x bytes, and the weights that they decode to."""
        rows, columns = weights.shape
        filling = -columns % BLOCK
        wide = np.ascontiguousarray(np.pad(weights.astype(np.float32), ((0, 0), (0, filling))))
        mean = importance.mean()
        column_weights = np.pad(importance, (0, filling), constant_values=OF_FILLING * mean).astype(np.float32)
        # A column without any activation would have no say in a scale, and llama.cpp's search divides by these sums.
        column_weights = np.maximum(column_weights, OF_FILLING * mean).astype(np.float32)
        blocks = np.empty((rows, _ggml.ggml_row_size(self.number, columns + filling)), np.uint8)
        written = _ggml.ggml_quantize_chunk(self.number, wide.ctypes.data, blocks.ctypes.data, 0, rows, columns + filling,
                                            column_weights.ctypes.data)  # fmt: skip
        assert written == blocks.nbytes
        decoded = np.empty_like(wide)
        self._decode(blocks.ctypes.data, decoded.ctypes.data, decoded.size)
        return blocks, np.ascontiguousarray(decoded[:, :columns])


def importances(moments: Path) -> dict[str, np.ndarray]:
    """Mean squares of the columns by the name of the input: what llama-imatrix computes (llamacpp.py compares them)."""
    found = load_file(moments)
    names = [name.removesuffix(".diagonals") for name in found if name.endswith(".diagonals")]
    return {name: found[f"{name}.weights"] @ found[f"{name}.diagonals"].astype(np.float64) / found[f"{name}.weights"].sum() for name in names}


def input_of(tensor: str) -> str:
    parts = tensor.split(".")
    return f"layers.{parts[2]}.{INPUTS[parts[4]]}"


def read(model: Model):
    """Names and tensors of a model, one at a time."""
    for path in model.files():
        with safe_open(path, framework="np") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)


def build(model: Model, type_name: str, moments: Path, target: Path) -> dict:
    """Writes the decoded model in fp32 to the folder `target`, and a GGUF file beside it where blocks are whole. Returns their sizes."""
    kind, columns = WeightedType(type_name), importances(moments)
    config = json.loads((model.path / "config.json").read_text())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (model.path / name).exists():
            shutil.copy(model.path / name, target)
    file = target.with_suffix(".gguf")
    writer = gguf.GGUFWriter(file, "llama") if model.whole_blocks else None
    if writer:
        # The tokenizer is left out: ours stands in a file of its own that is not counted either.
        hyperparameters(writer, config)
    decoded, linear_weights, kept_bytes = {}, 0, 0
    for name, tensor in read(model):
        if not is_linear(name):
            decoded[name] = tensor.astype(np.float32)
            kept_bytes += tensor.nbytes
            if writer:
                writer.add_tensor(gguf_name(name), tensor.astype(np.float32) if tensor.ndim == 1 else tensor)
            continue
        blocks, decoded[name] = kind.quantize(tensor, columns[input_of(name)])
        linear_weights += tensor.size
        if writer:
            heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[4])
            writer.add_tensor(gguf_name(name), interleaved(blocks, heads) if heads else blocks, raw_dtype=gguf.GGMLQuantizationType[type_name])
    save_file(decoded, target / "model.safetensors")
    linear_bytes = round(linear_weights * kind.bits / 8)
    file_bytes = linear_bytes + kept_bytes
    if writer:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        file_bytes = file.stat().st_size
        file.unlink()
    return {"file_bytes": file_bytes, "linear_bytes": linear_bytes, "linear_weights": linear_weights, "linear_bits": kind.bits}
