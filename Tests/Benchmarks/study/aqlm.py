"""The size of models that AQLM quantizes, the method of the study that Ingot began with, by the shapes of the linear layers.

Egiazarian et al., "Extreme Compression of Large Language Models via Additive Quantization", 2024 (arXiv 2401.06118), and its repository
Vahe1994/AQLM: a group of 8 weights of a row is a sum of one vector from each codebook; a matrix has codebooks of its own in fp16, and a
scale in fp16 for each row. Embedding, head and norms stay in fp16.

The rates 2.02, 3.04, 4.04 and 8.08 are those of the quantized checkpoints of Giagnorio et al. (arXiv 2503.07103; names such as
CodeLlama-7b-hf-AQLM-2bit-code-1x15 tell codebooks and bits of an index). A published rate counts each index by its bits. The inference
library stores it in the smallest type that holds it (get_int_dtype in aqlm/utils.py): 12 and 15 bits in 16.
"""

from dataclasses import dataclass

GROUP = 8


@dataclass(frozen=True)
class Setting:
    rate: float  # as published, for CodeLlama-7B
    codebooks: int
    index_bits: int

    @property
    def name(self) -> str:
        return f"{self.codebooks}x{self.index_bits}"


SETTINGS = [Setting(2.02, 1, 15), Setting(3.04, 2, 12), Setting(4.04, 2, 15), Setting(8.08, 4, 15)]


@dataclass(frozen=True)
class Shapes:
    """A Llama's sizes."""

    hidden: int
    intermediate: int
    layers: int
    keys: int  # rows of the key and of the value matrix
    vocabulary: int
    tied: bool

    def linear(self) -> list[tuple[int, int]]:
        """Rows and columns of all linear layers but the head."""
        h, f = self.hidden, self.intermediate
        return [(h, h), (self.keys, h), (self.keys, h), (h, h), (f, h), (f, h), (h, f)] * self.layers

    def other_weights(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden * (2 * self.layers + 1)


CODELLAMA_7B = Shapes(4096, 11008, 32, 4096, 32016, False)


def shapes(config: dict) -> Shapes:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return Shapes(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"], head * config["num_key_value_heads"],
                  config["vocab_size"], config.get("tie_word_embeddings", False))  # fmt: skip


def _bits(model: Shapes, setting: Setting, stored_index_bits: int) -> float:
    total = 0
    for rows, columns in model.linear():
        total += rows * columns // GROUP * setting.codebooks * stored_index_bits  # indices
        total += setting.codebooks * 2**setting.index_bits * GROUP * 16  # codebooks
        total += rows * 16  # scales
    return total / sum(rows * columns for rows, columns in model.linear())


def nominal_bits(model: Shapes, setting: Setting) -> float:
    """Bits per weight of the linear layers, as AQLM's estimate_nbits_per_parameter counts them."""
    return _bits(model, setting, setting.index_bits)


def stored_bits(model: Shapes, setting: Setting) -> float:
    """Bits per weight of the linear layers in the file."""
    return _bits(model, setting, 8 if setting.index_bits <= 8 else 16)


def file_bytes(model: Shapes, setting: Setting) -> float:
    """Bytes of all tensors in the file, with embedding, head and norms in fp16."""
    linear = sum(rows * columns for rows, columns in model.linear())
    return stored_bits(model, setting) * linear / 8 + 2 * model.other_weights()


if __name__ == "__main__":
    for setting in SETTINGS:
        print(setting.name, setting.rate, round(nominal_bits(CODELLAMA_7B, setting), 3), round(stored_bits(CODELLAMA_7B, setting), 3),
              round(file_bytes(CODELLAMA_7B, setting) / 1e9, 3))  # fmt: skip
