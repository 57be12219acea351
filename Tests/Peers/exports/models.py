"""Small models of each family with random weights, config and tokenizer files, as Hugging Face directories.

    python models.py FOLDER [NAME ...]     writes the models (all of them) into FOLDER/NAME

The tokenizers are trained on our texts. Each cuts text as the published models of its family do, so its pre-tokenizer has the name that
PRE gives. llama.cpp's converter finds that name by a hash of token ids; these vocabularies are too small to have one of its hashes.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen2Config, Qwen2ForCausalLM,
)

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [ROOT / "SampleWeights" / name for name in ("heldout-prose.txt", "heldout-code.txt")]
VOCABULARY = 640

LLAMA3_CUTS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2_CUTS = LLAMA3_CUTS.replace("{1,3}", "")
DEEPSEEK_CUTS = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
TEMPLATE = "{% for m in messages %}<|begin|>{{ m['role'] }}: {{ m['content'] }}<|end|>\n{% endfor %}"

# --- Tokenizers -------------------------------------------------------------------------------------------------------


def cuts(pre):
    """The pre-tokenizer of a family, and whether it takes whole words before merges."""
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")  # noqa: E731
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {
        "gpt-2": plain,
        "smollm": pre_tokenizers.Sequence([digits, plain]),
        "llama-bpe": pre_tokenizers.Sequence([split(LLAMA3_CUTS), letters]),
        "qwen2": pre_tokenizers.Sequence([split(QWEN2_CUTS), letters]),
        "deepseek-coder": pre_tokenizers.Sequence([*map(split, DEEPSEEK_CUTS), digits, letters]),
    }[pre]


def first(tokenizer, text):
    """Puts a token in front of every text."""
    one = processors.TemplateProcessing(single=f"{text} $A", pair=f"{text} $A {text} $B",
                                        special_tokens=[(text, tokenizer.token_to_id(text))])
    return one


def byte_level(pre):
    """tokenizer.json and the settings of tokenizer_config.json for byte-level tokens."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = cuts(pre)
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    special = {"smollm": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "qwen2": []}.get(pre, [])
    tokenizer.train([str(path) for path in TEXTS], trainers.BpeTrainer(
        vocab_size=VOCABULARY - 40, special_tokens=special, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "clean_up_tokenization_spaces": False}
    if pre == "llama-bpe":
        tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
        tokenizer.add_tokens(["<tool>"])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), first(tokenizer, "<|begin_of_text|>")])
        settings |= {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": TEMPLATE}
    elif pre == "qwen2":
        tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        tokenizer.add_tokens(["<tool_call>"])
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        settings |= {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                     "add_bos_token": False, "add_prefix_space": False, "chat_template": TEMPLATE}
    elif pre == "smollm":
        settings |= {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>",
                     "add_prefix_space": False}
    elif pre == "deepseek-coder":
        tokenizer.add_special_tokens(["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"])
        tokenizer.add_tokens(["<|User|>"])  # not special, and looks so
        tokenizer.post_processor = first(tokenizer, "<｜begin▁of▁sentence｜>")
        settings |= {"bos_token": {"__type": "AddedToken", "content": "<｜begin▁of▁sentence｜>", "special": True},
                     "eos_token": "<｜end▁of▁sentence｜>", "pad_token": "<｜end▁of▁sentence｜>", "add_bos_token": True,
                     "add_eos_token": False}
    else:
        tokenizer.add_special_tokens(["<|endoftext|>"])
        settings |= {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    return tokenizer, settings


def pieces():
    """SentencePiece's kind with bytes for what has no piece. The merges are those of a BPE without words."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trained.train([str(path) for path in TEXTS], trainers.BpeTrainer(
        vocab_size=VOCABULARY - 40 - 259, special_tokens=[], show_progress=False, limit_alphabet=120))
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in json.loads(trained.to_str())["model"]["merges"]]
    merged = list(dict.fromkeys("".join(pair) for pair in merges))
    letters = sorted(text for text in trained.get_vocab() if len(text) == 1)
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + merged + letters
    # SentencePiece merges by the score of the piece, so every pair that makes a piece has its rank.
    known = set(merged) | set(letters)
    pairs = [(text[:cut], text[cut:]) for text in merged for cut in range(1, len(text)) if text[:cut] in known and text[cut:] in known]
    tokenizer = Tokenizer(models.BPE({text: id for id, text in enumerate(texts)}, pairs, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens(["<tool>"])
    tokenizer.post_processor = first(tokenizer, "<s>")
    added = {str(id): {"content": text, "lstrip": False, "normalized": id > 2, "rstrip": False, "single_word": False, "special": id < 3}
             for text, id in sorted(tokenizer.get_added_vocabulary().items(), key=lambda one: one[1])} if hasattr(
                 tokenizer, "get_added_vocabulary") else {
        str(id): {"content": token.content, "lstrip": False, "normalized": token.normalized, "rstrip": False, "single_word": False,
                  "special": token.special} for id, token in tokenizer.get_added_tokens_decoder().items()}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "clean_up_tokenization_spaces": False,
                       "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False,
                       "legacy": False, "added_tokens_decoder": added}


# --- Models -----------------------------------------------------------------------------------------------------------

SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 256}
COMMON = dict(vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5)
LLAMA, MISTRAL = (LlamaForCausalLM, LlamaConfig), (MistralForCausalLM, MistralConfig)
MIXTRAL, QWEN2 = (MixtralForCausalLM, MixtralConfig), (Qwen2ForCausalLM, Qwen2Config)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

# Name: classes, what differs from COMMON, pre-tokenizer (None: SentencePiece's kind), element type of the files.
CASES = {
    "llama": (LLAMA, {}, "llama-bpe", F16),
    "llama-pieces": (LLAMA, dict(intermediate_size=768), None, F16),
    "llama3": (LLAMA, dict(head_dim=64, rope_parameters=SCALING | {"rope_theta": 500000.0}), "llama-bpe", BF16),
    "tied": (LLAMA, dict(tie_word_embeddings=True, num_key_value_heads=1), "smollm", F32),
    "biases": (LLAMA, dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4), "gpt-2", F32),
    "linear": (LLAMA, dict(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 100000.0}), "deepseek-coder", F32),
    "mistral": (MISTRAL, dict(head_dim=32, intermediate_size=768, sliding_window=None), None, BF16),
    "qwen2": (QWEN2, dict(rms_norm_eps=1e-6), "qwen2", BF16),
    "mixtral": (MIXTRAL, dict(intermediate_size=256, num_local_experts=8, num_experts_per_tok=2), None, BF16),
    "deep": (LLAMA, dict(num_hidden_layers=16, intermediate_size=256, vocab_size=768), "gpt-2", BF16),
    "narrow": (LLAMA, dict(hidden_size=288, intermediate_size=320, num_attention_heads=6, num_key_value_heads=3), "gpt-2", F32),
}
PRE = {name: case[2] or "default" for name, case in CASES.items()}

# How the files of older releases of transformers, which most published models have, name what newer ones keep together.
OLDER = ("llama3", "mistral", "linear", "deep", "qwen2")


def model(name):
    """The model of a case, in its element type. Rows differ in scale, as trained ones do; norms and biases are not one and zero."""
    (kind, config), options, _, dtype = CASES[name]
    torch.manual_seed(5)
    settings = COMMON | options
    if name.startswith(("qwen2", "mixtral", "mistral")):
        settings |= {"use_cache": True}
    made = kind(config(**settings)).eval()
    with torch.no_grad():
        for path, tensor in made.named_parameters():
            if path.endswith("bias") or "norm" in path:
                tensor += 0.1 * torch.randn(tensor.shape)
            else:
                tensor *= torch.exp(0.4 * torch.randn((*tensor.shape[:-1], 1)))
    return made.to(dtype)


def build(name, folder):
    """Writes a case into `folder`, an existing or new directory. Returns it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pre = CASES[name][2]
    tokenizer, settings = byte_level(pre) if pre else pieces()
    made = model(name)
    ids = {kind: tokenizer.token_to_id(text["content"] if isinstance(text, dict) else text) for kind in ("bos", "eos", "pad")
           if (text := settings.get(f"{kind}_token"))}
    for kind, id in ids.items():
        setattr(made.config, f"{kind}_token_id", id)
        setattr(made.generation_config, f"{kind}_token_id", id)
    if name == "qwen2":
        made.config.bos_token_id = made.generation_config.bos_token_id = ids["pad"]
    made.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if name in OLDER:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope.get("rope_type") != "default" else None
        config["torch_dtype"] = config.pop("dtype")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    for one in sys.argv[2:] or CASES:
        print(build(one, Path(sys.argv[1]) / one))
