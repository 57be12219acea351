"""`ingot tokenize` against the Python library tokenizers: tokenizers trained here in the configuration of each family, and texts of 1 MB."""

import json
import os
import random
import re
import subprocess
import unicodedata
from pathlib import Path

import gguf
import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
SIZE = 1_000_000

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
DEEPSEEK = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]


def run(*arguments, check=True):
    done = subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


# Texts


def prose():
    return (ROOT / "SampleWeights/heldout-prose.txt").read_text(encoding="utf-8")


def code():
    files = sorted((ROOT / "Sources").rglob("*.swift")) + sorted((ROOT / "Tests").rglob("*.py"))
    text = (ROOT / "SampleWeights/heldout-code.txt").read_text(encoding="utf-8")
    return text + "".join(file.read_text(encoding="utf-8") for file in files)


def to_size(text):
    size = len(text.encode())
    return (text * (SIZE // size + 1)).encode()[:SIZE].decode(errors="ignore")


def of(kind):
    """A text of 1 MB."""
    rng = random.Random(kind)
    pick = rng.choice
    if kind == "code":
        return to_size(code())
    if kind == "prose":
        return to_size(prose() + "It's WE'LL they'Re I'ſ don't 1234567 3.14 ½ Ⅷ naïve ﬁn e\u0301 \u212b\n\n")
    if kind == "cjk":
        blocks = [(0x4E00, 0x9FA5), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0x3000, 0x303F), (0xFF00, 0xFFEF)]
        out = []
        for _ in range(SIZE // 3):
            low, high = blocks[min(rng.randrange(12), 4)] if rng.randrange(4) else blocks[0]
            out.append(pick(["\n", " "]) if rng.randrange(40) == 0 else chr(rng.randint(low, high)))
        return to_size("".join(out))
    if kind == "emoji":
        parts = ["😀", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "1️⃣", " ", "\n", "a", "it's", "é", "e\u0301", "☕", "𝔘"]
        parts += [chr(c) for c in range(0x1F300, 0x1F650)]
        return to_size("".join(pick(parts) for _ in range(SIZE // 3)))
    if kind == "whitespace":
        parts = [" ", "  ", "\n", "\r\n", "\t", "\r", "\u00a0", "\u3000", "\u2028", "\u0085", "\v", "x", "foo", "1", "."]
        return to_size("".join(pick(parts) * rng.choice([1, 1, 1, 2, 7, 40]) for _ in range(SIZE // 4)))
    if kind == "latin":
        return to_size("".join(chr(rng.randrange(256)) for _ in range(SIZE // 3 * 2)))
    if kind == "unicode":
        # All assigned scalars; the combining ones often, with what they combine with.
        marks = [chr(c) for c in range(0x300, 0x370)] + ["\u0345", "\u1161", "\u11a8", "\u1100"]
        out = []
        while len(out) < SIZE // 4:
            c = chr(rng.randrange(0x2_0000 if rng.randrange(4) else 0x11_0000))
            if not "\ud800" <= c <= "\udfff":
                out.append(c)
            if rng.randrange(3) == 0:
                out += ["aeAoO"[rng.randrange(5)], pick(marks), pick(marks)]
        return to_size("".join(out))
    if kind == "special":
        parts = ["<s>", "</s>", "<|end|>", "<|end", "<|endless|>", " word ", "word", "swordfish", " ", "\n", "x ", "▁", "<mask>", "abc"]
        return to_size("".join(pick(parts) for _ in range(SIZE // 4)))
    raise ValueError(kind)


KINDS = ["code", "prose", "cjk", "emoji", "whitespace", "latin", "unicode", "special"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    result = {}
    for kind in KINDS:
        text = of(kind)
        (folder / f"{kind}.txt").write_bytes(text.encode())
        assert 0.9 * SIZE < len(text.encode()) <= SIZE, kind
        result[kind] = (folder / f"{kind}.txt", text)
    return result


def corpus():
    mixed = code()[:400_000] + prose() + of("cjk")[:40_000] + of("emoji")[:20_000] + of("whitespace")[:20_000]
    return mixed.splitlines(keepends=True)


# Families


def byte_level(pre, normalizer=None, ignore_merges=False, specials=("<|endoftext|>",)):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def bytes_alone():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def llama3():
    tokenizer = byte_level(pre_tokenizers.Sequence([split(LLAMA3), bytes_alone()]), ignore_merges=True, specials=["<s>", "</s>"])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])]
    )
    return tokenizer


def deepseek():
    parts = [split(pattern) for pattern in DEEPSEEK] + [pre_tokenizers.Digits(individual_digits=True), bytes_alone()]
    return byte_level(pre_tokenizers.Sequence(parts))


def added():
    """Added tokens of every kind."""
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC())
    tokenizer.add_special_tokens([AddedToken("<s>", rstrip=True), AddedToken("<|end|>", lstrip=True), AddedToken("<|endless|>")])
    tokenizer.add_tokens([AddedToken("word", single_word=True), AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


def sentencepiece(metaspace=None, scheme_byte_fallback=True, fuse=True):
    """As Llama 1 and 2, CodeLlama and Mistral: merges over whole text, bytes for what is not known."""
    base = Tokenizer(models.BPE(unk_token="<unk>"))
    base.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    base.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    base.train_from_iterator(
        (line for line in corpus() if "\0" not in line),
        trainers.BpeTrainer(vocab_size=2500, special_tokens=specials, limit_alphabet=400),
    )
    text = json.loads(base.to_str())
    text["model"].update(byte_fallback=scheme_byte_fallback, fuse_unk=fuse)
    text["pre_tokenizer"] = None
    # The bytes are tokens of the vocabulary alone.
    text["added_tokens"] = [token for token in text["added_tokens"] if token["id"] < 3]
    if metaspace:
        text["normalizer"] = None
        text["pre_tokenizer"] = metaspace
    text["post_processor"] = json.loads(
        processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]).__getstate__()
    )
    return Tokenizer.from_str(json.dumps(text))


def metaspace(scheme, splits):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}


FAMILIES = {
    "gpt2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "smollm": lambda: byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ),
    "digits": lambda: byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    ),
    "llama3": llama3,
    "qwen2": lambda: byte_level(pre_tokenizers.Sequence([split(QWEN2), bytes_alone()]), normalizers.NFC()),
    "cl100k": lambda: byte_level(pre_tokenizers.Sequence([split(CL100K, "removed", True), bytes_alone()])),
    "deepseek": deepseek,
    "previous": lambda: byte_level(pre_tokenizers.Sequence([split(r"\s+", "merged_with_previous"), bytes_alone()])),
    "next": lambda: byte_level(pre_tokenizers.Sequence([split(r"\s", "merged_with_next"), split(r"\p{P}", "contiguous"), bytes_alone()])),
    "added": added,
    "llama2": sentencepiece,
    "unknown": lambda: sentencepiece(scheme_byte_fallback=False),
    "unknown apart": lambda: sentencepiece(scheme_byte_fallback=False, fuse=False),
    "metaspace first": lambda: sentencepiece(metaspace("first", False)),
    "metaspace always": lambda: sentencepiece(metaspace("always", True)),
    "metaspace never": lambda: sentencepiece(metaspace("never", True)),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    made = {}

    def get(family):
        if family not in made:
            path = folder / family / "tokenizer.json"
            path.parent.mkdir()
            FAMILIES[family]().save(str(path))
            made[family] = (path, Tokenizer.from_file(str(path)))
        return made[family]

    return get


def ids_of(tokenizer, text, special=False):
    return np.array(tokenizer.encode(text, add_special_tokens=special).ids, np.int32)


def compare(model, tokenizer, path, text, tmp_path, special=False):
    # The file of an earlier comparison is replaced.
    out = tmp_path / "ids.npy"
    report = json.loads(
        run("tokenize", model, "--text", path, "-o", out, "--format", "json", *(["--special"] if special else [])).stdout
    )
    found, expected = np.load(out), ids_of(tokenizer, text, special)
    assert found.dtype == np.int32 and report["bytes"] == len(text.encode())
    if not np.array_equal(found, expected):
        size = min(len(found), len(expected))
        place = next((i for i in range(size) if found[i] != expected[i]), size)
        around = slice(max(0, place - 3), place + 5)
        spell = [tokenizer.id_to_token(int(i)) for i in found[around]], [tokenizer.id_to_token(int(i)) for i in expected[around]]
        pytest.fail(f"{len(found)} and {len(expected)} ids, the first other one at {place}: {spell}")
    return report


@pytest.mark.parametrize("family", FAMILIES)
def test_ids(trained, texts, tmp_path, family):
    path, tokenizer = trained(family)
    for kind, (file, text) in texts.items():
        report = compare(path, tokenizer, file, text, tmp_path)
        assert report["vocabulary"] == tokenizer.get_vocab_size(), kind


def test_special_tokens(trained, texts, tmp_path):
    for family, begin, end in [("llama3", [0], []), ("llama2", [1], [2]), ("gpt2", [], [])]:
        path, tokenizer = trained(family)
        report = compare(path.parent, tokenizer, *texts["prose"], tmp_path, special=True)
        assert (report["begin"], report["end"]) == (begin, end)


def test_sample_model(texts, tmp_path):
    tokenizer = Tokenizer.from_file(str(ROOT / "SampleWeights/tokenizer.json"))
    for file, text in texts.values():
        compare(ROOT / "SampleWeights", tokenizer, file, text, tmp_path)
    compare(ROOT / "SampleWeights", tokenizer, *texts["code"], tmp_path, special=True)


def test_merges_as_texts(trained, texts, tmp_path):
    """Files of older releases write a merge as one text, and leave out the type of the model."""
    path, tokenizer = trained("gpt2")
    text = json.loads(path.read_text())
    text["model"]["merges"] = [" ".join(pair) for pair in text["model"]["merges"]]
    del text["model"]["type"]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(text))
    compare(old, tokenizer, *texts["code"], tmp_path)


def test_short_texts(trained, tmp_path):
    """Every text of one or two odd characters, where beginnings and ends matter."""
    rng = random.Random(3)
    parts = [" ", "\n", "\r", "a", "B", "1", "'", "s", "ſ", "é", "\u0301", "中", "😀", "▁", "<s>", "\t", ".", "\u00a0", "\u0378"]
    for family in FAMILIES:
        path, tokenizer = trained(family)
        for _ in range(6):
            text = "".join(rng.choice(parts) for _ in range(rng.randint(1, 5)))
            file = tmp_path / "short.txt"
            file.write_bytes(text.encode())
            compare(path, tokenizer, file, text, tmp_path)


# GGUF


def write_gguf(path, source, kind, pre=None):
    text = json.loads(source.read_text())
    vocabulary = dict(text["model"]["vocab"])
    types = {token: 1 for token in vocabulary}
    for token in text["added_tokens"]:
        vocabulary[token["content"]] = token["id"]
        types[token["content"]] = 3
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    if kind == "gpt2":
        if pre:
            writer.add_tokenizer_pre(pre)
        writer.add_bos_token_id(0)
        writer.add_token_merges([" ".join(pair) for pair in text["model"]["merges"]])
    else:
        for token in tokens:
            if re.fullmatch("<0x[0-9A-F]{2}>", token):
                types[token] = 6
        types["<unk>"] = 2
        # As SentencePiece writes them: the order of the merges.
        rank = {}
        for index, pair in enumerate(text["model"]["merges"]):
            rank.setdefault("".join(pair), index)
        writer.add_token_scores([-float(rank[token]) if token in rank else -1e6 for token in tokens])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
    writer.add_token_types([types[token] for token in tokens])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    "family,pre",
    [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm"), ("deepseek", "deepseek-coder")],
)
def test_gguf_byte_level(trained, texts, tmp_path, family, pre):
    path, tokenizer = trained(family)
    write_gguf(tmp_path / "m.gguf", path, "gpt2", pre)
    for file, text in texts.values():
        compare(tmp_path / "m.gguf", tokenizer, file, text, tmp_path)


def test_gguf_sentencepiece(trained, texts, tmp_path):
    """Merges by score, against merges by rank: every token that two others make up has one here, as in Llama's own file."""
    path, _ = trained("llama2")
    text = json.loads(path.read_text())
    vocabulary = text["model"]["vocab"]
    # All pairs whose texts together are a token, in the order of the tokens: what converters make of a SentencePiece model.
    order = {}
    for index, pair in enumerate(text["model"]["merges"]):
        order.setdefault("".join(pair), index)
    merges = []
    for token in sorted(order, key=order.get):
        for cut in range(1, len(token)):
            if token[:cut] in vocabulary and token[cut:] in vocabulary:
                merges.append([token[:cut], token[cut:]])
    text["model"]["merges"] = merges
    # The token of unknown characters is looked for in texts of neither.
    text["added_tokens"] = [token for token in text["added_tokens"] if token["content"] != "<unk>"]
    converted = tmp_path / "tokenizer.json"
    converted.write_text(json.dumps(text))
    tokenizer = Tokenizer.from_file(str(converted))
    write_gguf(tmp_path / "m.gguf", converted, "llama")
    for file, content in texts.values():
        report = compare(tmp_path / "m.gguf", tokenizer, file, content, tmp_path)
        assert report["begin"] == [1] and report["end"] == []


def test_gguf_default_rules(trained, tmp_path):
    """The rules of llama.cpp for files that name none, spelled out for tokenizers."""
    path, _ = trained("gpt2")
    text = json.loads(path.read_text())
    patterns = [
        r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"\p{N}+", "[0-9][0-9][0-9]",
    ]  # fmt: skip
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(pattern) for pattern in patterns] + [bytes_alone()])
    write_gguf(tmp_path / "m.gguf", path, "gpt2")
    file = tmp_path / "text.txt"
    content = of("code")[:200_000] + of("latin")[:100_000]
    file.write_bytes(content.encode())
    compare(tmp_path / "m.gguf", tokenizer, file, content, tmp_path)


# What is refused


def change(path, tmp_path, **members):
    text = json.loads(path.read_text())
    for key, value in members.items():
        if key in text["model"]:
            text["model"][key] = value
        else:
            text[key] = value
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(text))
    return changed


@pytest.mark.parametrize(
    "members,word",
    [
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"normalizer": {"type": "NFKC"}}, "NFKC"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}}, "regular expression"),
        ({"pre_tokenizer": {"type": "BertPreTokenizer"}}, "BertPreTokenizer"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\bx"}, "behavior": "Isolated", "invert": False}}, r"\b"),
        ({"post_processor": {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}}, "BertProcessing"),
        ({"type": "Unigram"}, "Unigram"),
        ({"dropout": 0.1}, "dropout"),
        ({"continuing_subword_prefix": "##"}, "continuing_subword_prefix"),
    ],
)  # fmt: skip
def test_refused_by_name(trained, tmp_path, members, word):
    path, _ = trained("gpt2")
    file = tmp_path / "text.txt"
    file.write_text("some text")
    done = run("tokenize", change(path, tmp_path, **members), "--text", file, check=False)
    assert done.returncode == 65 and "tokenizerInvalid" in done.stderr and word in done.stderr
    # The remedy is a line that works.
    assert "from tokenizers import Tokenizer" in done.stderr


def test_other_arrays_stay(trained, tmp_path):
    """A .npy file that does not hold ids may be weights."""
    path, _ = trained("gpt2")
    (tmp_path / "text.txt").write_text("some text")
    for array in [np.zeros(3, np.float32), np.zeros((2, 2), np.int32)]:
        np.save(tmp_path / "w.npy", array)
        done = run("tokenize", path, "--text", tmp_path / "text.txt", "-o", tmp_path / "w.npy", check=False)
        assert done.returncode == 73 and np.load(tmp_path / "w.npy").shape == array.shape


def test_scalars_of_each_kind_are_all_compared():
    """The text of all scalars has unassigned ones too, and marks of all classes."""
    text = of("unicode")
    assert len({unicodedata.category(c) for c in text}) >= 25
