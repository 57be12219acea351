"""Export a checkpoint in the Hugging Face layout, cut the two small checkpoints, evaluate.

The model goes out as float16 in two shards. `fp32/` and `bf16/` hold tensors
of two *intermediate* training states: float32 master weights with an AdamW
first moment, and bfloat16 weights with AdamW second moments.
"""

import json
import math
import shutil

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from .data import EOS
from .loop import PLANNED_CHECKPOINTS, evaluate
from .model import Config, Llama

def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tensors(tensors, path):
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the library makes its files private


def write_config(out):
    c = Config()
    write_json(out / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "hidden_size": c.hidden_size,
        "initializer_range": c.initializer_range,
        "intermediate_size": c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": c.num_attention_heads,
        "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_key_value_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": c.vocab_size,
    })
    write_json(out / "generation_config.json", {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 0})
    write_json(out / "special_tokens_map.json", {"bos_token": EOS, "eos_token": EOS})
    write_json(out / "tokenizer_config.json", {
        "added_tokens_decoder": {"0": {
            "content": EOS, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True}},
        "bos_token": EOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": c.max_position_embeddings,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })


def write_shards(out, weights):
    """Embeddings and the first half of the layers in one shard, the rest in the other."""
    half = Config.num_hidden_layers // 2
    first = ["model.embed_tokens."] + [f"model.layers.{i}." for i in range(half)]
    shards = [{}, {}]
    for name, tensor in weights.items():
        shards[0 if name.startswith(tuple(first)) else 1][name] = tensor.to(torch.float16).contiguous()
    index = {"metadata": {"total_size": 0}, "weight_map": {}}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(shard, out / file)
        for name, tensor in shard.items():
            index["metadata"]["total_size"] += tensor.numel() * tensor.element_size()
            index["weight_map"][name] = file
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    write_json(out / "model.safetensors.index.json", index)


def cut_small(out, state, layer, projections, moments, moment, dtype):
    """A few tensors of one training state; a moment is named adamw.<kind>.<weight name>."""
    prefix = f"model.layers.{layer}."
    names = [prefix + p + ".weight" for p in projections] + [
        prefix + "input_layernorm.weight", prefix + "post_attention_layernorm.weight", "model.norm.weight"]
    tensors = {name: state["model"][name].to(dtype).contiguous() for name in names}
    for name in (prefix + m + ".weight" for m in moments):
        tensors[f"adamw.{moment}.{name}"] = state["adamw"][name][moment].to(dtype).contiguous()
    tensors["step"] = torch.tensor(state["step"], dtype=torch.int64)
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(tensors, out / "model.safetensors")
    return {name: f"{t.dtype} {list(t.shape)}".removeprefix("torch.") for name, t in tensors.items()}


def load_export(out):
    """The model as its files say it is: float16 weights, computed with in float32."""
    index = json.loads((out / "model.safetensors.index.json").read_text())
    weights = {}
    for file in sorted(set(index["weight_map"].values())):
        weights |= load_file(out / file)
    model = Llama().eval()
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model


def measure(model, work):
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    result = {}
    for label in ("code", "prose"):
        text = (work / f"heldout-{label}.txt").read_text(encoding="utf-8")
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        nats, size = evaluate(model, ids), len(text.encode())
        result[label] = {"bytes": size, "tokens": len(ids), "nats_per_token": round(nats / len(ids), 4),
                         "bits_per_byte": round(nats / math.log(2) / size, 4)}
    return result


def export(work, out, step=None):
    saved = {int(p.stem.split("-")[1]): p for p in (work / "checkpoints").glob("step-*.pt")}
    step = step or max(saved)
    run = json.loads((work / "run.json").read_text()) if (work / "run.json").exists() else {}
    final = torch.load(saved[step])
    out.mkdir(parents=True, exist_ok=True)

    write_config(out)
    for name in ("tokenizer.json", "heldout-code.txt", "heldout-prose.txt"):
        shutil.copy(work / name, out / name)
    write_shards(out, final["model"])

    # The planned checkpoints (the others depend on the clock) nearest to half and three quarters.
    every = max(1, run.get("planned_steps", step) // PLANNED_CHECKPOINTS)
    planned = [s for s in saved if s % every == 0 and s <= step] or [step]
    near = lambda share: torch.load(saved[min(planned, key=lambda s: abs(s - share * step))])
    small = {
        "fp32": cut_small(out / "fp32", near(0.5), 1,
                          ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                           "mlp.down_proj"],
                          ["self_attn.k_proj", "input_layernorm"], "exp_avg", torch.float32),
        "bf16": cut_small(out / "bf16", near(0.75), 2, ["self_attn.v_proj", "mlp.down_proj"],
                          ["self_attn.k_proj", "input_layernorm"], "exp_avg_sq", torch.bfloat16)}

    master = Llama().eval()
    master.load_state_dict(final["model"])
    record = {
        "run": run or {"steps": step, "note": "intermediate checkpoint of a run in progress"},
        "parameters": sum(t.numel() for t in final["model"].values()),
        "heldout_float16_export": measure(load_export(out), work),
        "heldout_float32_master": measure(master, work),
        "small_checkpoints": small,
        "data": json.loads((work / "data.json").read_text())}
    (out / "training").mkdir(exist_ok=True)
    write_json(out / "training/record.json", record)
    return record
