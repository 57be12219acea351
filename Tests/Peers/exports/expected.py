"""What a GGUF file of a Hugging Face directory holds: tensors, their order and types, metadata. No code of the exporter is used.

Sources of the rules: llama.cpp as in llama-cpp-python 0.3.36. Names, order of rows and keys: conversion/base.py, llama.py, qwen.py.
Types of mixes: src/llama-quant.cpp.
"""

import json
import re
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

import ggml

# general.file_type of each name, and the type that its matrices have where no rule says another.
MIXES = {
    "F32": (0, "F32"), "F16": (1, "F16"), "BF16": (32, "BF16"), "Q4_0": (2, "Q4_0"), "Q4_1": (3, "Q4_1"), "Q8_0": (7, "Q8_0"),
    "Q5_0": (8, "Q5_0"), "Q5_1": (9, "Q5_1"), "Q2_K": (10, "Q2_K"), "Q2_K_S": (21, "Q2_K"), "Q3_K_S": (11, "Q3_K"),
    "Q3_K_M": (12, "Q3_K"), "Q3_K_L": (13, "Q3_K"), "Q4_K_S": (14, "Q4_K"), "Q4_K_M": (15, "Q4_K"), "Q5_K_S": (16, "Q5_K"),
    "Q5_K_M": (17, "Q5_K"), "Q6_K": (18, "Q6_K"), "IQ4_NL": (25, "IQ4_NL"), "IQ4_XS": (30, "IQ4_XS"), "MXFP4_MOE": (38, "MXFP4"),
}

# Every matrix has this type. The names of three of them are mixes of llama.cpp; the command has an option for the type alone.
UNIFORM = ["Q3_K", "Q4_K", "Q5_K", "MXFP4"]
PURE = {"Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S"}


def options(name):
    """The options of the command for a name."""
    return ["--type", PURE[name], "--pure"] if name in PURE else ["--type", name]

FALLBACKS = {"IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def settings(folder):
    """config.json with the rotary settings in one place, whether an older or a newer release of transformers wrote it."""
    config = json.loads((Path(folder) / "config.json").read_text())
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    config["rope"] = {"rope_theta": config.get("rope_theta", 10000.0), **rope}
    return config


# --- Tensors ----------------------------------------------------------------------------------------------------------

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "block_sparse_moe.gate": "ffn_gate_inp",
}
EXPERTS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}


def interleaved(rows, heads):
    """Rows of a head in the order of llama.cpp: first row of the first half, first of the second, second of the first, ..."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def rotary_factors(config):
    """rope_freqs.weight of the scaling that Llama 3.1 introduced, in float32; None for other scalings."""
    rope = config["rope"]
    if rope.get("rope_type") != "llama3":
        return None
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    lengths = 2 * np.pi * np.float64(rope["rope_theta"]) ** (np.arange(0, size, 2) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    context = rope["original_max_position_embeddings"]
    smooth = (context / lengths - low) / (high - low)
    between = 1 / ((1 - smooth) / rope["factor"] + smooth)
    found = np.where(lengths < context / high, 1, np.where(lengths > context / low, rope["factor"], between))
    return found.astype(np.float32)


def read(folder):
    """Every tensor of a directory as float32."""
    found = {}
    for path in sorted(Path(folder).glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name).float().numpy() for name in file.keys()}
    return found


def tensors(folder):
    """Name and float32 values of each tensor under llama.cpp's names and in its order of rows; experts are stacked."""
    config, out, experts = settings(folder), {}, {}
    rotated = config["model_type"] != "qwen2"
    for name, values in read(folder).items():
        if name == "lm_head.weight":
            out["output.weight"] = values
        elif not name.startswith("model.layers."):
            out[{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]] = values
        elif match := re.fullmatch(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w\d)\.weight", name):
            experts.setdefault(f"blk.{match[1]}.{EXPERTS[match[3]]}.weight", {})[int(match[2])] = values
        else:
            _, _, layer, rest = name.split(".", 3)
            module, kind = rest.rsplit(".", 1)
            if rotated and module in ("self_attn.q_proj", "self_attn.k_proj"):
                heads = "num_attention_heads" if module.endswith("q_proj") else "num_key_value_heads"
                values = interleaved(values, config[heads])
            out[f"blk.{layer}.{NAMES[module]}.{kind}"] = values
    out |= {name: np.stack([one[number] for number in range(len(one))]) for name, one in experts.items()}
    factors = rotary_factors(config)
    return out if factors is None else {"rope_freqs.weight": factors, **out}


def in_order(names):
    """The order of llama.cpp's quantizer: tensors of no layer first, then layers by number; by name within."""
    layer = lambda name: int(name.split(".")[1]) if name.startswith("blk.") else -1  # noqa: E731
    return sorted(names, key=lambda name: (layer(name), name))


# --- Types ------------------------------------------------------------------------------------------------------------


def is_matrix(name, shape):
    """Whether llama.cpp quantizes a tensor: weights of two dimensions and more that are no norms and no routers."""
    return len(shape) >= 2 and name.endswith("weight") and "_norm." not in name and "ffn_gate_inp." not in name


def fitting(kind, columns):
    """The type that llama.cpp writes where the columns do not fill the blocks of `kind`."""
    if columns % ggml.block(kind):
        kind = FALLBACKS.get(kind, kind)
        if columns % ggml.block(kind):
            kind = "F16"
    return kind


class Mix:
    """Types of the tensors of one file. Ask for them in the order of llama.cpp: attention values are counted."""

    def __init__(self, name, config, names, importance=False):
        self.name, self.default = name, MIXES[name][1]
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.groups = config.get("num_key_value_heads") or self.heads
        self.experts = config.get("num_local_experts") or 0
        self.qwen2 = config["model_type"] == "qwen2"
        self.tied = "output.weight" not in names
        self.importance = importance
        self.values = sum("attn_v.weight" in one for one in names)
        self.seen = 0

    def more(self, place, count):
        """The first and last eighth, and every third place between."""
        return place < count // 8 or place >= 7 * count // 8 or (place - count // 8) % 3 == 2

    def kind(self, name, columns):
        if self.default in ggml.PLAIN:
            return self.default
        return fitting(self.rule(name, columns), columns)

    def rule(self, name, columns):
        mix, default = self.name, self.default
        layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            if mix == "MXFP4_MOE" or columns % ggml.block(default) or default == "Q8_0":
                return "Q8_0"
            return "Q6_K"
        if mix == "MXFP4_MOE":
            return "MXFP4" if "_exps." in name else "Q8_0"
        if "attn_v.weight" in name:
            return self.attention_values()
        if "attn_k.weight" in name and self.experts == 8:
            return "Q8_0"
        if "ffn_down" in name:
            return self.feed_forward_down(layer)
        if "attn_output.weight" in name:
            if self.experts == 8:
                return "Q5_K" if mix in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS") else default
            return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mix, default)
        return default

    def attention_values(self):
        mix, place = self.name, self.seen
        self.seen += 1
        shared = self.heads // self.groups >= 4
        kind = self.default
        if mix == "Q2_K":
            kind = "Q4_K" if shared else "Q3_K"
        elif mix == "Q2_K_S" and shared:
            kind = "Q4_K"
        elif mix == "Q3_K_M":
            kind = "Q5_K" if place < 2 else "Q4_K"
        elif mix == "Q3_K_L" or (mix in ("IQ4_NL", "IQ4_XS") and shared) or (mix == "Q4_K_S" and place < 4):
            kind = "Q5_K"
        elif mix in ("Q4_K_M", "Q5_K_M") and self.more(place, self.values):
            kind = "Q6_K"
        seventy = self.layers == 80 and self.experts != 8 and (self.qwen2 or self.heads != self.groups)
        if seventy and kind in ("Q3_K", "Q4_K"):
            kind = "Q5_K"
        return "Q8_0" if self.experts == 8 else kind

    def feed_forward_down(self, layer):
        mix, early = self.name, layer < self.layers // 8
        if mix in ("Q4_K_M", "Q5_K_M") and self.more(layer, self.layers):
            return "Q6_K"
        if mix == "Q3_K_M":
            return "Q5_K" if layer < self.layers // 16 else "Q4_K"
        if early and mix == "Q2_K_S":
            return "Q4_K"
        if early and mix == "Q4_K_S" or early and mix in ("IQ4_NL", "IQ4_XS") and not self.importance:
            return "Q5_K"
        if early and self.importance and mix in ("Q4_0", "Q5_0"):
            return {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}[mix]
        return {"Q2_K": "Q3_K", "Q3_K_L": "Q5_K"}.get(mix, self.default)


def types(name, folder, found, importance=False):
    """The type of each tensor, in llama.cpp's order. `found`: what `tensors` gives."""
    mix = None if name in UNIFORM else Mix(name, settings(folder), found, importance)
    out = {}
    for tensor in in_order(found):
        shape = found[tensor].shape
        kind = "F32"
        if is_matrix(tensor, shape):
            kind = mix.kind(tensor, shape[-1]) if mix else fitting(name, shape[-1])
        out[tensor] = kind
    return out


def importance(path):
    """The weights of an importance matrix by tensor, float32, [experts, columns]: mean squares; 1 for an expert that saw no token."""
    parts = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    out = {}
    for name in parts:
        if name.endswith(".in_sum2"):
            stem = name.removesuffix(".in_sum2")
            counts = parts[f"{stem}.counts"].reshape(-1, 1).round().astype(np.float32)
            sums = parts[name].reshape(len(counts), -1)
            out[stem] = np.where(counts > 0, sums / np.where(counts > 0, counts, 1), 1).astype(np.float32)
    return out


def payload(values, kind, weights=None):
    """The bytes of a tensor of two dimensions or three as `kind`. `weights`: [experts, columns] or None."""
    matrices = values.reshape(-1, *values.shape[-2:]) if values.ndim > 1 else values.reshape(1, 1, -1)
    return b"".join(ggml.quantize(one, kind, None if weights is None else weights[index]).tobytes()
                    for index, one in enumerate(matrices))


# --- Metadata ---------------------------------------------------------------------------------------------------------


def hyperparameters(folder):
    """Key: (value, type) of the architecture's keys."""
    config, kinds = settings(folder), gguf.GGUFValueType
    family = "qwen2" if config["model_type"] == "qwen2" else "llama"
    whole = {
        "block_count": "num_hidden_layers", "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
    }
    if config.get("num_local_experts"):
        whole |= {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"}
    out = {f"{family}.{key}": (config[name], kinds.UINT32) for key, name in whole.items()}
    out[f"{family}.rope.freq_base"] = config["rope"]["rope_theta"], kinds.FLOAT32
    out[f"{family}.attention.layer_norm_rms_epsilon"] = config["rms_norm_eps"], kinds.FLOAT32
    if family == "llama":
        out["llama.vocab_size"] = config["vocab_size"], kinds.UINT32
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        out["llama.rope.dimension_count"] = head, kinds.UINT32
        if head * config["num_attention_heads"] != config["hidden_size"]:
            out |= {f"llama.attention.{name}_length": (head, kinds.UINT32) for name in ("key", "value")}
    if config["rope"].get("rope_type") == "linear":
        out[f"{family}.rope.scaling.type"] = "linear", kinds.STRING
        out[f"{family}.rope.scaling.factor"] = config["rope"]["factor"], kinds.FLOAT32
    return {"general.architecture": (family, kinds.STRING), "general.quantization_version": (2, kinds.UINT32)} | out


def looks_special(text):
    return text == "<pad>" or any(text.startswith(start) and text.endswith(end) for start, end in
                                  (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">")))


def tokenizer(folder, pre):
    """Key: value of the tokenizer. Scores are not here: what matters is how they order merges."""
    folder = Path(folder)
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text())
    normal, unknown, control, defined, unused, byte = 1, 2, 3, 4, 5, 6
    added = {one["id"]: one for one in document["added_tokens"]}
    names = {id: text for text, id in document["model"]["vocab"].items()} | {id: one["content"] for id, one in added.items()}
    pieces = pre == "default"
    texts, kinds = [], []
    for id in range(config["vocab_size"]):
        text, kind = names.get(id, f"[PAD{id}]"), normal if id in names else unused
        if id in added:
            kind = control if added[id]["special"] or looks_special(text) else defined
            # llama.cpp's converter calls it a control token; Hugging Face's file says what it is.
            if pieces and text == document["model"].get("unk_token"):
                kind = unknown
        elif pieces and re.fullmatch("<0x[0-9A-F]{2}>", text):
            kind = byte
        texts.append(text)
        kinds.append(kind)
    out = {"model": "llama" if pieces else "gpt2", "pre": pre, "tokens": texts, "token_type": kinds}
    if not pieces:
        merges = document["model"]["merges"]
        out["merges"] = [one if isinstance(one, str) else " ".join(part.replace(" ", "Ġ") for part in one) for one in merges]
    ids = {one["content"]: one["id"] for one in document["added_tokens"]}
    for kind, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        text = stated.get(f"{kind}_token")
        id = ids.get(text["content"] if isinstance(text, dict) else text, config.get(f"{kind}_token_id"))
        if isinstance(id, int):
            out[f"{key}_token_id"] = id
    single = next((one["single"] for one in (document["post_processor"] or {}).get("processors", [document["post_processor"]])
                   if one and one["type"] == "TemplateProcessing"), None)
    bos = stated["bos_token"]["content"] if isinstance(stated.get("bos_token"), dict) else stated.get("bos_token")
    if single:
        out["add_bos_token"] = single[0].get("SpecialToken", {}).get("id") == bos
    elif "add_bos_token" in stated:
        out["add_bos_token"] = stated["add_bos_token"]
    return {f"tokenizer.ggml.{key}": value for key, value in out.items()} | (
        {"tokenizer.chat_template": stated["chat_template"]} if "chat_template" in stated else {})
