"""GGUF files of Llama-type models, converted and exported, as transformers loads them."""

import json
import os
import random
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen2Config,
    Qwen2ForCausalLM,
)

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
TEXTS = [ROOT / "SampleWeights" / name for name in ("heldout-prose.txt", "heldout-code.txt")]
SMOLLM = os.environ.get("INGOT_SMOLLM_GGUF", "")
VOCABULARY = 600


def ingot(*arguments, code=0):
    done = subprocess.run([INGOT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


# --- Tokenizers -------------------------------------------------------------------------------------------------------

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def byte_level(pre):
    """A tokenizer trained on our texts that cuts as the models of this name do."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = lambda pattern: pre_tokenizers.Split(__import__("tokenizers").Regex(pattern), "isolated")  # noqa: E731
    tokenizer.pre_tokenizer = {
        "gpt-2": plain, "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain]),
        "llama-bpe": pre_tokenizers.Sequence([split(LLAMA3), letters]),
        "qwen2": pre_tokenizers.Sequence([split(QWEN2), letters]),
    }[pre]
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train([str(path) for path in TEXTS], trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def add_byte_level(writer, tokenizer, pre, size):
    """The tokenizer as llama.cpp's converter writes it: what fills the table is unused, added tokens have their kinds."""
    document = json.loads(tokenizer.to_str())
    added = {token["id"]: token for token in document["added_tokens"]}
    texts, kinds = [], []
    names = {id: text for text, id in tokenizer.get_vocab(with_added_tokens=True).items()}
    for id in range(size):
        texts.append(names.get(id, f"[PAD{id}]"))
        kind = gguf.TokenType.NORMAL if id in names else gguf.TokenType.UNUSED
        if id in added:
            kind = gguf.TokenType.CONTROL if added[id]["special"] else gguf.TokenType.USER_DEFINED
        kinds.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in document["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(pre == "llama-bpe")
    writer.add_chat_template("{{ messages }}")


def pieces():
    """A SentencePiece model of kind BPE: texts of the pieces, scores and kinds. Scores fall as SentencePiece counts them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Pieces may begin with spaces and do not hold them behind letters.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.train([str(path) for path in TEXTS], trainers.BpeTrainer(
        vocab_size=VOCABULARY - 259, special_tokens=[], show_progress=False, limit_alphabet=120))
    merged = [pair if isinstance(pair, list) else pair.split(" ") for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    merged = list(dict.fromkeys("".join(pair) for pair in merged))
    letters = sorted(text for text in tokenizer.get_vocab() if len(text) == 1)
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + merged + letters
    kinds = [gguf.TokenType.UNKNOWN] + 2 * [gguf.TokenType.CONTROL] + 256 * [gguf.TokenType.BYTE]
    scores = [0.0] * len(kinds) + [-float(index) for index in range(len(merged) + len(letters))]
    return texts, scores, kinds + [gguf.TokenType.NORMAL] * (len(texts) - len(kinds))


def sentencepiece(text, texts, scores, prefix):
    """SentencePiece's own rule, as llama.cpp has it: the neighbours whose piece has the highest score are merged, from the left."""
    ids = {piece: id for id, piece in enumerate(texts)}
    symbols = list(("▁" if prefix else "") + text.replace(" ", "▁"))
    while True:
        best = None
        for index in range(len(symbols) - 1):
            id = ids.get(symbols[index] + symbols[index + 1])
            if id is not None and id >= 259 and (best is None or scores[id] > best[0]):
                best = scores[id], index
        if best is None:
            break
        symbols[best[1]:best[1] + 2] = [symbols[best[1]] + symbols[best[1] + 1]]
    out = []
    for symbol in symbols:
        out += [ids[symbol]] if symbol in ids else [3 + byte for byte in symbol.encode()]
    return out


# --- Models -----------------------------------------------------------------------------------------------------------


def permute(weights, heads):
    """The order of rows of llama.cpp's converter."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}


def tensors(model, architecture):
    """Names and arrays in llama.cpp's layout."""
    config = model.config
    out = {}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            if rest.endswith("experts.gate_up_proj"):
                half = array.shape[1] // 2
                out[f"blk.{layer}.ffn_gate_exps.weight"] = array[:, :half]
                out[f"blk.{layer}.ffn_up_exps.weight"] = array[:, half:]
                continue
            if rest.endswith("experts.down_proj"):
                out[f"blk.{layer}.ffn_down_exps.weight"] = array
                continue
            module, kind = rest.rsplit(".", 1)
            if architecture == "llama" and module == "self_attn.q_proj":
                array = permute(array, config.num_attention_heads)
            if architecture == "llama" and module == "self_attn.k_proj":
                array = permute(array, config.num_key_value_heads)
            out[f"blk.{layer}.{NAMES[module]}.{kind}"] = array
        elif name == "lm_head.weight":
            if not config.tie_word_embeddings:
                out["output.weight"] = array
        else:
            out[{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]] = array
    return out


def write(path, model, architecture, add_tokenizer, change=lambda writer: None, more=()):
    """A GGUF file as convert_hf_to_gguf.py writes it."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(config.vocab_size)
    if hasattr(config, "num_local_experts"):
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    add_tokenizer(writer)
    change(writer)
    for name, array in [*tensors(model, architecture).items(), *more]:
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


COMMON = dict(vocab_size=VOCABULARY, hidden_size=96, intermediate_size=160, num_hidden_layers=2, num_attention_heads=6,
              bos_token_id=0, eos_token_id=1, max_position_embeddings=512)
LLAMA3_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 8192, "rope_theta": 500000.0}
CASES = {
    "llama": ("llama", LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=6, rms_norm_eps=1e-5), "smollm"),
    "grouped": ("llama", LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=2, tie_word_embeddings=True), "gpt-2"),
    "wide": ("llama", LlamaForCausalLM, LlamaConfig, dict(
        num_key_value_heads=3, head_dim=32, attention_bias=True, mlp_bias=True), "llama-bpe"),
    "linear": ("llama", LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=2, rope_parameters={
        "rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0}), "gpt-2"),
    "llama3": ("llama", LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=2, head_dim=64,
                                                             rope_parameters=LLAMA3_SCALING), "llama-bpe"),
    "mixtral": ("llama", MixtralForCausalLM, MixtralConfig, dict(
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, rms_norm_eps=1e-5), "gpt-2"),
    "qwen2": ("qwen2", Qwen2ForCausalLM, Qwen2Config, dict(num_key_value_heads=2, rms_norm_eps=1e-6), "qwen2"),
    "qwen2-tied": ("qwen2", Qwen2ForCausalLM, Qwen2Config, dict(num_key_value_heads=6, tie_word_embeddings=True), "qwen2"),
}


def llama3_factors(model):
    """`rope_freqs.weight` as llama.cpp's converter computes it."""
    scaling = model.config.rope_parameters
    dimensions = model.config.head_dim
    frequencies = 1.0 / (scaling["rope_theta"] ** (torch.arange(0, dimensions, 2, dtype=torch.float32) / dimensions))
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    factors = []
    for frequency in frequencies:
        length = 2 * np.pi / frequency
        if length < high:
            factors.append(1)
        elif length > low:
            factors.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / length - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return torch.tensor(factors, dtype=torch.float32).numpy()


def build(case, path):
    architecture, kind, config, options, pre = CASES[case]
    torch.manual_seed(5)
    model = kind(config(**COMMON | options)).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                tensor += 0.1 * torch.randn(tensor.shape)
    tokenizer = byte_level(pre)
    more = []
    scaling = model.config.rope_parameters

    def change(writer):
        if scaling["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(scaling["factor"])
        if scaling["rope_type"] == "llama3":
            more.append(("rope_freqs.weight", llama3_factors(model)))

    write(path, model, architecture, lambda writer: add_byte_level(writer, tokenizer, pre, VOCABULARY), change, more)
    return model, tokenizer


def load(path):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


def lines():
    text = "".join(path.read_text(encoding="utf-8") for path in TEXTS)
    rng = random.Random(3)
    out = [text[start:start + 300] for start in (rng.randrange(len(text) - 300) for _ in range(40))]
    return out + ["", " ", "a  b   c\n\n d", "naïve café e\u0301 日本語 🙂", "12345 0x7f 3.14", "<|end|>x<tool> y", "I'm DON'T we'LL"]


@pytest.mark.parametrize("case", CASES)
def test_same_logits_and_ids(tmp_path, case):
    model, tokenizer = build(case, tmp_path / "tiny.gguf")
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", "--scheme", "lossless")
    told = ingot("export", tmp_path / "sealed", tmp_path / "out", "--dtype", "f32", "--progress", "none")
    assert "warning" not in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "ingot-export.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    found = load(tmp_path / "out")
    assert type(found) is type(model) and found.dtype == torch.float32
    for name in ("tie_word_embeddings", "rms_norm_eps", "max_position_embeddings", "bos_token_id", "eos_token_id"):
        assert getattr(found.config, name) == getattr(model.config, name), name
    ids = torch.randint(0, VOCABULARY, (3, 200), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(found(ids).logits, model(ids).logits)
    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ours.bos_token == "<|begin|>" and ours.eos_token == "<|end|>" and ours.chat_template == "{{ messages }}"
    begin = [0] if CASES[case][4] == "llama-bpe" else []
    for text in lines():
        assert ours(text)["input_ids"] == begin + tokenizer.encode(text).ids, text
        ids = ours(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids) == tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("case", CASES)
def test_evaluated_directly(tmp_path, case):
    """The GGUF file, what convert makes of it, and its export under Hugging Face names are the same model; so are their texts."""
    model, _ = build(case, tmp_path / "tiny.gguf")
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", "--scheme", "lossless")
    ingot("export", tmp_path / "sealed", tmp_path / "out")
    options = ("--text", TEXTS[0], "--context", 64, "--tokens", 2048, "--format", "json")
    found = [json.loads(ingot("evaluate", tmp_path / name, *options)) for name in ("tiny.gguf", "sealed", "out")]
    assert len({one["texts"][0]["ids_xxh3_128"] for one in found}) == 1
    assert found[0]["model"]["weights_xxh3_128"] == found[1]["model"]["source_xxh3_128"]
    assert found[0]["tokenizer_xxh3_128"] == found[1]["tokenizer_xxh3_128"]
    losses = [np.array(one["texts"][0]["per_sequence"]["loss"]) for one in found]
    assert len(losses[0]) == 32
    assert (losses[0] == losses[1]).all() and np.abs(losses[0] - losses[2]).max() < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    begin = [0] if CASES[case][4] == "llama-bpe" else []
    text = TEXTS[0].read_text(encoding="utf-8")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"][:64]
    tokens[:len(begin)] = begin
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[32:63], torch.tensor(tokens[33:64]))
    assert abs(losses[0][0] - expected.item()) < 1e-4


@pytest.mark.parametrize("options", [(), ("--bits", 4), ("--scheme", "uniform", "--bits", 8), ("--keep", "*attn*")], ids=str)
def test_other_schemes_have_the_same_order(tmp_path, options):
    """Rows of tiles, bands and kept matrices go to the same places: against the export under the source's names."""
    model, _ = build("wide", tmp_path / "tiny.gguf")
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", *options)
    for dtype in ((), ("--dtype", "f16")):
        ingot("export", tmp_path / "sealed", tmp_path / "out", "--force", *dtype)
        ingot("export", tmp_path / "sealed", tmp_path / "named", "--keep-names", "--force", *dtype)
        assert (tmp_path / "named/source-metadata.gguf").exists() and not (tmp_path / "named/config.json").exists()
        with safe_open(tmp_path / "out/model.safetensors", "np") as ours, \
                safe_open(tmp_path / "named/model.safetensors", "np") as theirs:
            assert set(theirs.keys()) == set(tensors(model, "llama"))
            assert len(list(ours.keys())) == len(list(theirs.keys()))
            for layer in (0, 1):
                for letter, heads in (("q", 6), ("k", 3)):
                    for kind in ("weight", "bias"):
                        found = ours.get_tensor(f"model.layers.{layer}.self_attn.{letter}_proj.{kind}")
                        assert (permute(found, heads) == theirs.get_tensor(f"blk.{layer}.attn_{letter}.{kind}")).all()
                assert (ours.get_tensor(f"model.layers.{layer}.mlp.down_proj.weight")
                        == theirs.get_tensor(f"blk.{layer}.ffn_down.weight")).all()


def test_metadata_have_the_same_values(tmp_path):
    build("llama3", tmp_path / "tiny.gguf")
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed")
    source, kept = gguf.GGUFReader(tmp_path / "tiny.gguf"), gguf.GGUFReader(tmp_path / "sealed/source-metadata.gguf")
    assert not kept.tensors and kept.fields["GGUF.tensor_count"].contents() == 0
    names = [name for name in source.fields if name != "GGUF.tensor_count"]
    assert names == [name for name in kept.fields if name != "GGUF.tensor_count"]
    for name in names:
        assert source.fields[name].contents() == kept.fields[name].contents()


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces(tmp_path, prefix):
    """A tokenizer of kind llama has SentencePiece's ids."""
    texts, scores, kinds = pieces()
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**COMMON | dict(num_key_value_heads=2, vocab_size=len(texts)))).eval()

    def add(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(texts)
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        if not prefix:
            writer.add_add_space_prefix(False)

    write(tmp_path / "tiny.gguf", model, "llama", add)
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", "--scheme", "lossless")
    assert "warning" not in ingot("export", tmp_path / "sealed", tmp_path / "out", "--progress", "none")
    load(tmp_path / "out")
    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in lines():
        # Two texts are left out: llama.cpp finds tokens such as </s> first, and an empty text gets no space.
        if not text or "<" in text:
            continue
        found = ours(text)["input_ids"]
        assert found == [1] + sentencepiece(text, texts, scores, prefix), text
        assert ours.decode(found[1:]) == text


# --- What is refused or left out --------------------------------------------------------------------------------------


def exported(tmp_path, change=lambda writer: None, more=(), code=0, options=(), pre="gpt-2"):
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**COMMON | dict(num_key_value_heads=2))).eval()
    tokenizer = byte_level("gpt-2")
    write(tmp_path / "tiny.gguf", model, "llama", lambda writer: add_byte_level(writer, tokenizer, pre, VOCABULARY), change, more)
    ingot("convert", tmp_path / "tiny.gguf", tmp_path / "sealed", "--scheme", "lossless")
    return ingot("export", tmp_path / "sealed", tmp_path / "out", *options, "--progress", "none", code=code)


@pytest.mark.parametrize(("change", "more", "word"), [
    (None, [("blk.0.extra.weight", np.ones((4, 4), np.float32))], "blk.0.extra.weight"),
    (None, [("rope_freqs.weight", np.full(8, 3, np.float32))], "rope_freqs.weight"),
    (None, [("blk.0.attn_q.bias", np.ones(96, np.float32))], "self_attn.k_proj.bias"),
    (None, [("blk.2.attn_q.weight", np.ones((96, 96), np.float32))], "model.layers.2"),
    (lambda writer: writer.add_uint32("llama.rope.dimension_count", 8), [], "rope.dimension_count"),
    (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), [], "rope.scaling"),
    (lambda writer: writer.add_uint32("llama.block_count", 3), [], "model.layers.2"),
    (lambda writer: writer.add_uint32("llama.block_count", 2**31), [], "block_count"),
    (lambda writer: writer.add_uint32("llama.attention.head_count", 5), [], "head_count"),
    (lambda writer: writer.add_uint32("llama.attention.head_count_kv", 4), [], "k_proj"),
])
def test_refused_by_name(tmp_path, change, more, word):
    def edit(writer):
        if change:
            for values in writer.kv_data:
                for key in ("llama.rope.dimension_count", "llama.block_count", "llama.attention.head_count",
                            "llama.attention.head_count_kv"):
                    if key in change.__code__.co_consts:
                        values.pop(key, None)
            change(writer)

    told = exported(tmp_path, edit, more, code=65)
    assert word in told and "--keep-names" in told and not (tmp_path / "out").exists()
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--keep-names")


def test_tokenizer_that_is_not_known(tmp_path):
    told = exported(tmp_path, pre="default")
    assert "no tokenizer is written" in told and "`default`" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "ingot-export.json", "model.safetensors"]
    load(tmp_path / "out")


def test_force_and_export_of_an_export(tmp_path):
    exported(tmp_path)
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--force")
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--force", "--keep-names")
    ingot("verify", tmp_path / "out", "--against", tmp_path / "sealed")
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--force")
    ingot("convert", tmp_path / "out", tmp_path / "again", "--scheme", "lossless")
    assert not (tmp_path / "again/source-metadata.gguf").exists()


def test_another_architecture_keeps_its_names(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "g.gguf", "gemma3")
    writer.add_tensor("token_embd.weight", np.ones((8, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ingot("convert", tmp_path / "g.gguf", tmp_path / "sealed", "--scheme", "lossless")
    assert "gemma3" in ingot("export", tmp_path / "sealed", tmp_path / "out")
    with safe_open(tmp_path / "out/model.safetensors", "np") as file:
        assert list(file.keys()) == ["token_embd.weight"]


@pytest.mark.skipif(not SMOLLM, reason="INGOT_SMOLLM_GGUF names no file")
def test_a_real_model_writes_sense(tmp_path):
    ingot("convert", SMOLLM, tmp_path / "sealed", "--scheme", "lossless", "--allow-requantize")
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--dtype", "f32")
    model, tokenizer = load(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer(TEXTS[0].read_text(encoding="utf-8"), return_tensors="pt")["input_ids"][:, :512]
    with torch.no_grad():
        perplexity = model(ids, labels=ids).loss.exp().item()
        question = [{"role": "user", "content": "What is the capital of France?"}]
        prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    text = tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True)
    print(f"perplexity {perplexity:.2f}; answer: {text!r}")
    assert perplexity < 60 and "Paris" in text
