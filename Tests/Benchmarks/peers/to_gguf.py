"""Turns a Llama's Hugging Face directory into one fp16 GGUF file, tensor by tensor: what must come before llama.cpp's
quantizer.

    to_gguf.py SOURCE OUT.gguf

llama.cpp has a script for this that is not on PyPI. This one is ours, does no more than it must for the benchmark's checkpoints, and
holds one tensor at a time: it is no measure of how fast theirs is.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in WHOLE:
        return WHOLE[stem] + ".weight"
    layer, inner = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", stem).groups()
    return f"blk.{layer}.{IN_LAYER[inner]}.weight"


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix as llama.cpp rotates them: the two halves of each head in turn."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


class Tensor:
    """One tensor of a safetensors file, read when it is asked for: a mapping would stay resident."""

    def __init__(self, path: Path, base: int, name: str, entry: dict):
        if entry["dtype"] != "F16":
            sys.exit(f"{path}: {name} is {entry['dtype']}, and only F16 is converted here")
        self._path, self._offset = path, base + entry["data_offsets"][0]
        self.name, self.shape = name, entry["shape"]

    @property
    def kind(self) -> np.dtype:
        return np.dtype(np.float32 if len(self.shape) == 1 else np.float16)

    def read(self, config: dict) -> np.ndarray:
        count = int(np.prod(self.shape))
        values = np.fromfile(self._path, np.float16, count, offset=self._offset).reshape(self.shape)
        if self.name.endswith("q_proj.weight"):
            return interleaved(values, config["num_attention_heads"])
        if self.name.endswith("k_proj.weight"):
            return interleaved(values, config["num_key_value_heads"])
        return values.astype(self.kind, copy=False)


def tensors(folder: Path):
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        yield from (Tensor(path, 8 + length, name, entry) for name, entry in header.items())


def hyperparameters(writer: GGUFWriter, config: dict) -> None:
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def describe(writer: GGUFWriter, config: dict) -> None:
    hyperparameters(writer, config)
    # A vocabulary of the right length and no meaning: these weights have none either.
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(config["vocab_size"])])
    writer.add_token_scores([0.0] * config["vocab_size"])
    writer.add_token_types([TokenType.NORMAL] * config["vocab_size"])


def main() -> None:
    source = Path(sys.argv[1])
    config = json.loads((source / "config.json").read_text())
    writer = GGUFWriter(sys.argv[2], "llama")
    describe(writer, config)
    for tensor in tensors(source):
        nbytes = int(np.prod(tensor.shape)) * tensor.kind.itemsize
        writer.add_tensor_info(gguf_name(tensor.name), tensor.shape, tensor.kind, nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors(source):
        writer.write_tensor_data(tensor.read(config))
    writer.close()


if __name__ == "__main__":
    main()
