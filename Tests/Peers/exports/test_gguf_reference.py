"""GGUF exports with reference rounding: types, order and bytes as llama.cpp writes them, and the metadata of its converter.

The bytes come from ggml's quantizers of one pinned version (`Tests/Peers/ggml`), the types and the metadata from `expected.py`. Its rules
were compared with llama.cpp's programs on all these models.
"""

import re

import gguf
import numpy as np
import pytest
from gguf import GGUFValueType
from transformers import AutoTokenizer

import expected
import ggml
import models

MIXES = [name for name in expected.MIXES if name not in ("Q2_K_S", "MXFP4_MOE")]
NAMES = MIXES + expected.UNIFORM
NAMES_OF_BLOCKS = [name for name in NAMES if name not in ggml.PLAIN]

# Each model is worth its own rules: counted layers, stacked experts, shared attention values, no output matrix.
MODELS = ["llama", "tied", "mixtral", "deep", "sample"]
FITTING = [name for name in models.CASES if name != "narrow"]


@pytest.fixture(scope="module")
def tensors(source):
    made = {}

    def get(name):
        if name not in made:
            made[name] = expected.tensors(source(name))
        return made[name]

    return get


def write_importance(path, found, without=()):
    """An importance matrix as llama.cpp writes it; where experts are stacked, one of them saw no token."""
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["made"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 128)
    # Matrices that read the same activations have the same squares.
    shared = {}
    for name in expected.in_order(found):
        values = found[name]
        if expected.is_matrix(name, values.shape) and name not in ("token_embd.weight", *without):
            experts = values.shape[0] if values.ndim == 3 else 1
            counts = np.full((experts, 1), 384, np.float32)
            if experts > 1:
                counts[:, 0] = [96 - 7 * index for index in range(experts)]
                counts[3] = 0
            read = re.sub(r"attn_[qkv]\.|ffn_(gate|up)(?=[_.])", lambda match: match[0][:4], name)
            if read not in shared:
                shared[read] = rng.exponential(size=(experts, values.shape[-1])) ** 2 * counts
            sums = shared[read]
            writer.add_tensor(f"{name}.in_sum2", sums.astype(np.float32))
            writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def compare(path, found, types, weights=None):
    """Names, order, types and bytes. `weights`: what `expected.importance` gives."""
    reader = gguf.GGUFReader(path)
    assert {tensor.name: tensor.tensor_type.name for tensor in reader.tensors} == types
    assert [tensor.name for tensor in reader.tensors] == list(types)
    for tensor in reader.tensors:
        values, kind = found[tensor.name], types[tensor.name]
        assert tuple(tensor.shape) == values.shape[::-1]
        assert tensor.data_offset % 32 == 0
        if tensor.name == "rope_freqs.weight":
            np.testing.assert_allclose(tensor.data, values, rtol=1e-6)
            continue
        wanted = expected.payload(values, kind, (weights or {}).get(tensor.name))
        differ = np.frombuffer(tensor.data.tobytes(), np.uint8) != np.frombuffer(wanted, np.uint8)
        assert not differ.any(), f"{tensor.name}, {kind}: {differ.sum()} of {differ.size} bytes differ"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", NAMES)
def test_bytes(source, tensors, gguf_export, name, kind):
    found = tensors(name)
    path = gguf_export(source(name), *expected.options(kind), "--rounding", "reference")
    compare(path, found, expected.types(kind, source(name), found))
    if kind in expected.MIXES:
        assert gguf.GGUFReader(path).fields["general.file_type"].contents() == expected.MIXES[kind][0]


@pytest.mark.parametrize("name", sorted(set(FITTING) - set(MODELS)))
def test_bytes_of_every_family(source, tensors, gguf_export, name):
    # Mistral's output projections have rows of 128 weights here.
    options = ["--allow-fallback"] if name == "mistral" else []
    path = gguf_export(source(name), "--type", "Q4_K_M", "--rounding", "reference", *options)
    compare(path, tensors(name), expected.types("Q4_K_M", source(name), tensors(name)))


@pytest.mark.parametrize("name", ["mixtral", "deep", "tied"])
@pytest.mark.parametrize("kind", NAMES_OF_BLOCKS)
def test_bytes_with_importance(source, tensors, gguf_export, tmp_path_factory, name, kind):
    found = tensors(name)
    matrix = tmp_path_factory.getbasetemp() / f"importance-{name}.gguf"
    if not matrix.exists():
        write_importance(matrix, found)
    path = gguf_export(source(name), *expected.options(kind), "--rounding", "reference", "--calibration", matrix)
    compare(path, found, expected.types(kind, source(name), found, importance=True), expected.importance(matrix))


def test_importance_of_no_head(source, tensors, gguf_export, tmp_path):
    """llama.cpp's program for importance matrices leaves the output matrix out: then it is quantized without weights."""
    found = tensors("llama")
    matrix = write_importance(tmp_path / "importance.gguf", found, without=["output.weight"])
    path = gguf_export(source("llama"), "--type", "Q4_K_M", "--rounding", "reference", "--calibration", matrix)
    weights = expected.importance(matrix)
    assert "output.weight" not in weights
    compare(path, found, expected.types("Q4_K_M", source("llama"), found, importance=True), weights)


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q2_K", "IQ4_XS", "Q6_K", "Q5_K"])
def test_columns_that_fill_no_block(source, tensors, ingot, gguf_export, tmp_path, kind):
    """288 columns are nine blocks of 32 and no block of 256. llama.cpp takes another type there; we ask before we do."""
    message = ingot("export", source("narrow"), tmp_path / "x.gguf", "--to", "gguf", *expected.options(kind), "--rounding", "reference", code=65)
    assert "--allow-fallback" in message and "288" in message and not (tmp_path / "x.gguf").exists()
    path = gguf_export(source("narrow"), *expected.options(kind), "--rounding", "reference", "--allow-fallback")
    types = expected.types(kind, source("narrow"), tensors("narrow"))
    assert {"Q4_K_M": "Q5_0", "Q2_K": "Q4_0", "IQ4_XS": "IQ4_NL", "Q6_K": "Q8_0", "Q5_K": "Q5_1"}[kind] in types.values()
    compare(path, tensors("narrow"), types)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_1", "IQ4_NL", "Q8_0", "MXFP4", "F16"])
def test_columns_that_fill_small_blocks(source, tensors, gguf_export, kind):
    """288 columns fill these types; the output matrix of a mix does not fill Q6_K."""
    folder, types = source("narrow"), expected.types(kind, source("narrow"), tensors("narrow"))
    options = ["--allow-fallback"] if kind in ("Q4_0", "Q5_1", "IQ4_NL") else []
    compare(gguf_export(folder, *expected.options(kind), "--rounding", "reference", *options), tensors("narrow"), types)


@pytest.mark.parametrize("name", models.CASES)
def test_hyperparameters(source, gguf_export, name):
    fields = gguf.GGUFReader(gguf_export(source(name), "--type", "F16")).fields
    for key, (value, kind) in expected.hyperparameters(source(name)).items():
        assert fields[key].types[0] == kind, key
        found = fields[key].contents()
        assert np.float32(found) == np.float32(value) if kind == GGUFValueType.FLOAT32 else found == value, key
    family = fields["general.architecture"].contents()
    if name not in ("linear",):
        assert f"{family}.rope.scaling.type" not in fields
    # A width of heads that follows from the others may be there, and has to be right then.
    for key in ("attention.key_length", "attention.value_length"):
        if f"{family}.{key}" in fields:
            config = expected.settings(source(name))
            assert fields[f"{family}.{key}"].contents() == (
                config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


@pytest.mark.parametrize("name", models.CASES)
def test_tokenizer(source, gguf_export, name):
    fields = gguf.GGUFReader(gguf_export(source(name), "--type", "F16")).fields
    for key, value in expected.tokenizer(source(name), models.PRE[name]).items():
        assert key in fields and fields[key].contents() == value, key
    array = fields["tokenizer.ggml.token_type"]
    assert array.types == [GGUFValueType.ARRAY, GGUFValueType.INT32]
    if models.PRE[name] == "default":
        assert fields["tokenizer.ggml.scores"].types == [GGUFValueType.ARRAY, GGUFValueType.FLOAT32]
        assert len(fields["tokenizer.ggml.scores"].contents()) == models.VOCABULARY
    for kind in ("bos", "eos", "padding", "unknown"):
        if (key := f"tokenizer.ggml.{kind}_token_id") in fields:
            assert fields[key].types == [GGUFValueType.UINT32]


def merged_by_scores(text, fields):
    """llama.cpp's rule for pieces: the two neighbours that make the piece of the highest score are merged, the left ones first."""
    texts, scores = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.scores"].contents()
    ids = {piece: id for id, piece in enumerate(texts)}
    space = "tokenizer.ggml.add_space_prefix" not in fields or fields["tokenizer.ggml.add_space_prefix"].contents()
    symbols = list(("▁" if space else "") + text.replace(" ", "▁"))
    while True:
        pairs = [(-scores[ids[first + second]], place) for place, (first, second) in enumerate(zip(symbols, symbols[1:]))
                 if first + second in ids]
        if not pairs:
            break
        _, place = min(pairs)
        symbols[place:place + 2] = ["".join(symbols[place:place + 2])]
    return [id for one in symbols for id in ([ids[one]] if one in ids else [ids[f"<0x{byte:02X}>"] for byte in one.encode()])]


@pytest.mark.parametrize("name", ["llama-pieces", "mistral"])
def test_scores_order_merges(source, gguf_export, name):
    """The scores make llama.cpp's tokenizer merge as the tokenizer.json does."""
    fields = gguf.GGUFReader(gguf_export(source(name), "--type", "F16")).fields
    tokenizer = AutoTokenizer.from_pretrained(source(name))
    text = "".join(path.read_text(encoding="utf-8") for path in models.TEXTS)
    rng = np.random.default_rng(3)
    for start in rng.integers(0, len(text) - 120, 40):
        part = text[start:start + 120]
        assert merged_by_scores(part, fields) == tokenizer(part, add_special_tokens=False)["input_ids"], part
    for part in ("a  b   c\n\n d", "naïve café e\u0301 日本語 🙂", "\t\tx"):
        assert merged_by_scores(part, fields) == tokenizer(part, add_special_tokens=False)["input_ids"], part


def test_shards(source, tensors, ingot, tmp_path):
    """Several files hold the tensors of one; only the first one has the metadata."""
    ingot("export", source("sample"), tmp_path / "out", "--to", "gguf", "--type", "Q8_0", "--rounding", "reference",
          "--max-shard-size", "2MB")
    paths = sorted((tmp_path / "out").glob("*.gguf"))
    assert len(paths) > 2
    assert [path.name.split("-of-")[0][-5:] for path in paths] == [f"{number + 1:05}" for number in range(len(paths))]
    assert all(path.name.endswith(f"-of-{len(paths):05}.gguf") for path in paths)
    readers = [gguf.GGUFReader(path) for path in paths]
    for number, reader in enumerate(readers):
        fields = reader.fields
        assert fields["split.no"].contents() == number and fields["split.count"].contents() == len(paths)
        assert fields["split.tensors.count"].contents() == len(tensors("sample"))
        assert fields["split.no"].types[0] == fields["split.count"].types[0] == GGUFValueType.UINT16
        assert fields["split.tensors.count"].types[0] == GGUFValueType.INT32
    types = expected.types("Q8_0", source("sample"), tensors("sample"))
    assert {tensor.name: tensor.tensor_type.name for reader in readers for tensor in reader.tensors} == types
    for tensor in (one for reader in readers for one in reader.tensors):
        assert tensor.data.tobytes() == expected.payload(tensors("sample")[tensor.name], types[tensor.name])
