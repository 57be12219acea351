"""What `ingot inspect` lists of GGUF files that the Python package gguf wrote, against what gguf itself says about them."""

import json
import os
import struct
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
# The types whose weights ingot decodes (Specs/formats.md).
DECODED = {
    T.F32, T.F16, T.BF16, T.I8, T.I16, T.I32, T.I64, T.F64, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K,
    T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4,
}  # fmt: skip
PLAIN = {T.F32, T.F16, T.BF16, T.I8, T.I16, T.I32, T.I64, T.F64}


def run(*arguments):
    return subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True)


def inspect(path, *options):
    done = run("inspect", path, "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write(path, kinds, describe=lambda writer: None, architecture="llama"):
    """A file with one tensor of each type: 3 rows of 2 blocks of random bytes."""
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, architecture)
    describe(writer)
    for kind in kinds:
        block = gguf.GGML_QUANT_SIZES[kind][1]
        data = rng.integers(0, 256, (3, 2 * block), dtype=np.uint8)
        writer.add_tensor(f"blk.{int(kind)}.ffn_up.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("options", [["--headers-only"], []])
def test_every_type_is_listed(tmp_path, options):
    path = tmp_path / "all.gguf"
    write(path, list(gguf.GGML_QUANT_SIZES))
    report = inspect(path, *options)
    expected = gguf.GGUFReader(path).tensors
    assert len(expected) == len(report["tensors"]) == len(gguf.GGML_QUANT_SIZES)
    for found, tensor in zip(report["tensors"], expected):
        kind = tensor.tensor_type
        assert found["name"] == tensor.name
        assert found["shape"] == [int(side) for side in reversed(tensor.shape)]
        assert found["bytes"] == tensor.n_bytes
        assert found["scheme"] == ("kept" if kind in PLAIN else kind.name)
        assert (found["dtype"] is None) == (kind not in DECODED)
        is_read = not options and kind in DECODED
        assert (found["statistics"] is not None) == is_read
    assert report["bytes"]["total"] == path.stat().st_size
    assert report["bytes"]["tensors"] == sum(tensor.n_bytes for tensor in expected)
    undecoded = [tensor for tensor in expected if tensor.tensor_type not in DECODED]
    assert len(report["warnings"]) == 1 and f" {len(undecoded)} tensors that ingot cannot decode" in report["warnings"][0]


@pytest.mark.parametrize("kind", [kind for kind in gguf.GGML_QUANT_SIZES if kind not in DECODED])
def test_other_verbs_refuse(tmp_path, kind):
    path = tmp_path / "x.gguf"
    write(path, [T.F16, kind])
    verbs = (["plan", path], ["convert", path, tmp_path / "out", "--allow-requantize"], ["verify", path], ["diff", path, path])
    for arguments in verbs:
        done = run(*arguments)
        assert done.returncode == 65 and done.stdout == ""
        assert f"type {int(kind)}, {kind.name}, which ingot cannot decode" in done.stderr
        assert "`ingot inspect` lists its tensors" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [4, 5, 31, 32, 33, 36, 37, 38, 42, 43, 99, 2**32 - 1])
def test_numbers_without_a_size(tmp_path, number):
    """The type of the middle tensor is overwritten: its bytes then reach to the next tensor."""
    path = tmp_path / "x.gguf"
    write(path, [T.F32, T.Q8_0, T.I32])
    before = [tensor.data_offset for tensor in gguf.GGUFReader(path).tensors]
    name = f"blk.{int(T.Q8_0)}.ffn_up.weight".encode()
    data = bytearray(path.read_bytes())
    place = data.index(name) + len(name) + 4 + 2 * 8
    assert struct.unpack_from("<I", data, place) == (int(T.Q8_0),)
    struct.pack_into("<I", data, place, number)
    path.write_bytes(data)
    report = inspect(path)
    found = report["tensors"][1]
    assert found["bytes"] == before[2] - before[1]
    assert found["dtype"] is None and found["statistics"] is None and found["shape"] == [3, 64]
    assert report["tensors"][0]["statistics"] is not None
    assert report["bytes"]["total"] == path.stat().st_size
    assert run("plan", path).returncode == 65


def describe(writer):
    writer.add_name("A model")
    writer.add_size_label("1.5B")
    writer.add_license("apache-2.0")
    writer.add_block_count(30)
    writer.add_context_length(8192)
    writer.add_embedding_length(576)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    writer.add_vocab_size(512)
    writer.add_quantization_version(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {index}" for index in range(512)])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
def test_model(tmp_path, architecture):
    path = tmp_path / "x.gguf"
    write(path, [T.F16], lambda writer: (describe(writer), writer.add_file_type(15)), architecture)
    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.get_field(key.format(arch=architecture)).contents()

    keys = gguf.Keys
    assert inspect(path, "--headers-only")["model"] == {
        "architecture": architecture,
        "name": field(keys.General.NAME),
        "size_label": field(keys.General.SIZE_LABEL),
        "layers": field(keys.LLM.BLOCK_COUNT),
        "embedding_length": field(keys.LLM.EMBEDDING_LENGTH),
        "heads": field(keys.Attention.HEAD_COUNT),
        "kv_heads": field(keys.Attention.HEAD_COUNT_KV),
        "context_length": field(keys.LLM.CONTEXT_LENGTH),
        "vocab_size": field(keys.LLM.VOCAB_SIZE),
        "file_type": field(keys.General.FILE_TYPE),
        "file_type_name": "MOSTLY_Q4_K_M",
        "quantization_version": field(keys.General.QUANTIZATION_VERSION),
        "tokenizer": field(keys.Tokenizer.MODEL),
        "tokens": len(field(keys.Tokenizer.LIST)),
        "license": field(keys.General.LICENSE),
    }


@pytest.mark.parametrize("kind", [kind for kind in gguf.LlamaFileType if kind != gguf.LlamaFileType.GUESSED])
def test_file_types(tmp_path, kind):
    path = tmp_path / "x.gguf"
    for number, name in ((int(kind), kind.name), (1024 + int(kind), f"{kind.name}, guessed")):
        write(path, [], lambda writer: writer.add_file_type(number))
        model = inspect(path, "--headers-only")["model"]
        assert model["file_type"] == number and model["file_type_name"] == name
        assert f"  file type     {name} ({number})\n" in run("inspect", path, "--headers-only").stdout


def test_heads_of_each_layer(tmp_path):
    """Counts that differ by layer are no number: left out."""
    path = tmp_path / "x.gguf"

    def layers(writer):
        writer.add_block_count(16)
        writer.add_head_count([8] * 16)
        writer.add_head_count_kv([0, 8] * 8)

    write(path, [T.F16], layers, "lfm2")
    assert inspect(path, "--headers-only")["model"] == {"architecture": "lfm2", "layers": 16}
