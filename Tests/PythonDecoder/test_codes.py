"""Checkpoints that other programs quantized, converted by the built `ingot` with scheme `lossless`, read by the decoder in this folder.

The sources are made here with numpy and ml_dtypes, in the layouts of FP8 checkpoints, GPT-OSS, GPTQ, MLX, bitsandbytes and NVFP4.
"""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

import ingot_decoder as decoder
import reseal
from forgeries import ingot_text
from test_decoder import ingot


def write(folder, tensors, config):
    """A checkpoint of one file with `__metadata__`."""
    folder.mkdir()
    header, at = {"__metadata__": {"format": "pt", "made": "by a test"}}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))
    (folder / "config.json").write_text(json.dumps({"quantization_config": config, "hidden_size": 256}, indent=1) + "\n")
    return folder


def plain(rng):
    norm, embedding = np.ones(256, ml_dtypes.bfloat16), rng.standard_normal((40, 256)).astype(ml_dtypes.bfloat16)
    return [("model.norm.weight", "BF16", [256], norm.tobytes()), ("model.embed_tokens.weight", "BF16", [40, 256], embedding.tobytes())]


def packed(codes):
    """Eight codes of 4 bits in a word, the first in the lowest bits."""
    return (codes.reshape(-1, 8).astype(np.uint32) << np.arange(0, 32, 4, dtype=np.uint32)).sum(1, dtype=np.uint32)


def four_bits(rng, count):
    return np.clip(np.rint(rng.normal(7.5, 2, count)), 0, 15).astype(np.uint8)


def fp8(rng):
    weights = rng.standard_normal((300, 520)).astype(np.float32)
    scales = np.ones((3, 5), np.float32) / 100
    codes = (weights * 100).astype(ml_dtypes.float8_e4m3fn)
    return [("a.weight", "F8_E4M3", [300, 520], codes.tobytes()), ("a.weight_scale_inv", "F32", [3, 5], scales.tobytes())]


def mxfp4(rng):
    codes = four_bits(rng, 2 * 3 * 64 * 8 * 16)
    blocks, scales = codes[0::2] | codes[1::2] << 4, rng.integers(118, 124, 3 * 64 * 8).astype(np.uint8)
    return [("a_blocks", "U8", [3, 64, 8, 16], blocks.tobytes()), ("a_scales", "U8", [3, 64, 8], scales.tobytes())]


def gptq(rng):
    order = rng.permutation(np.arange(1024) // 128).astype(np.int32)
    return [
        ("a.qweight", "I32", [128, 96], packed(four_bits(rng, 8 * 128 * 96)).tobytes()),
        ("a.qzeros", "I32", [8, 12], np.full((8, 12), 0x77777777, np.uint32).tobytes()),
        ("a.scales", "F16", [8, 96], rng.random((8, 96)).astype(np.float16).tobytes()),
        ("a.g_idx", "I32", [1024], order.tobytes()),
    ]


def mlx(rng):
    scales = rng.random((128, 16)).astype(np.float16).tobytes()
    words = packed(four_bits(rng, 128 * 1024)).tobytes()
    return [("a.weight", "U32", [128, 128], words), ("a.scales", "F16", [128, 16], scales), ("a.biases", "F16", [128, 16], scales)]


def bitsandbytes(rng):
    codes = np.clip(np.rint(rng.normal(120, 20, decoder.CHUNK + 7)), 0, 255).astype(np.uint8)
    absmax = np.clip(np.rint(rng.normal(120, 20, 4097)), 0, 255).astype(np.uint8)
    return [
        ("a.weight", "U8", [decoder.CHUNK + 7, 1], codes.tobytes()), ("a.weight.absmax", "U8", [4097], absmax.tobytes()),
        ("a.weight.quant_map", "F32", [16], np.arange(16, dtype=np.float32).tobytes()),
    ]  # fmt: skip


def nvfp4(rng):
    codes = four_bits(rng, 2 * 128 * 128)
    scales = np.exp2(rng.integers(-3, 3, (128, 16))).astype(ml_dtypes.float8_e4m3fn)
    return [
        ("a.weight", "U8", [128, 128], (codes[0::2] | codes[1::2] << 4).tobytes()),
        ("a.weight_scale", "F8_E4M3", [128, 16], scales.tobytes()), ("a.weight_scale_2", "F32", [], np.float32(0.1).tobytes()),
    ]  # fmt: skip


SOURCES = {"fp8": fp8, "mxfp4": mxfp4, "gptq": gptq, "mlx": mlx, "bitsandbytes": bitsandbytes, "nvfp4": nvfp4}


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", SOURCES)
def test_quantized_sources(tmp_path, kind, codec):
    rng = np.random.default_rng(20261130)
    source = write(tmp_path / "s", SOURCES[kind](rng) + plain(rng), {"quant_method": kind})
    ingot("convert", source, tmp_path / "q", "--scheme", "lossless", "--codec", codec)
    tensors = decoder.open_checkpoint(str(tmp_path / "q"))
    decoder.compare_with_source(tensors, decoder.read_source(str(source)))
    codes = [t for t in tensors.values() if t.dtype in decoder.CODE_TYPES and t.about]
    if codec == "zstd":
        assert {t.name for t in codes} == {t.name for t in tensors.values() if t.dtype in decoder.CODE_TYPES}
    for tensor in codes:
        assert len(tensor.data) < len(tensor.decode()[1])
    assert decoder.metadata_of_source(str(tmp_path / "q")) == {"model.safetensors": {"format": "pt", "made": "by a test"}}

    ingot("export", tmp_path / "q", tmp_path / "e")
    before, after = (decoder.read_source(str(tmp_path / folder)) for folder in "se")
    assert before == after
    assert (tmp_path / "e" / "config.json").read_bytes() == (source / "config.json").read_bytes()
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": kind} and list(config)[-1] == "ingot_quantization_config"


@pytest.mark.parametrize("dtype", decoder.CODE_TYPES)
def test_types(tmp_path, dtype):
    """Each type: vectors, ranks, rows that are cut, chunks that end anywhere."""
    rng, width, tensors = np.random.default_rng(7), decoder.width_of(dtype), gptq(np.random.default_rng(1))
    chunk = decoder.CHUNK
    shapes = [[999], [chunk + 1], [3, 5, 67], [2, chunk + 75], [chunk + 3, 1], [513, 1023]]
    for number, shape in enumerate(shapes):
        data = rng.binomial(30, 0.5, int(np.prod(shape)) * width).astype(np.uint8)
        tensors.append((f"codes.{number}", dtype, shape, data.tobytes()))
    source = write(tmp_path / "s", tensors, {"quant_method": "gptq"})
    ingot("convert", source, tmp_path / "q", "--scheme", "lossless")
    opened = decoder.open_checkpoint(str(tmp_path / "q"))
    assert all(opened[f"codes.{number}"].scheme == "lossless" for number in range(len(shapes)))
    decoder.compare_with_source(opened, decoder.read_source(str(source)))


@pytest.mark.parametrize("dtype", decoder.CODE_TYPES)
def test_other_type_of_the_same_width(tmp_path, dtype):
    """Description and prologue name another type: both readers take it, and find the same bytes."""
    name, source = {1: ("a.weight", fp8), 2: (None, None), 4: ("a.qweight", gptq)}[decoder.width_of(dtype)]
    if name is None:
        pytest.skip("no quantizer above writes 16 bits")
    source = write(tmp_path / "s", source(np.random.default_rng(1)), {"quant_method": "any"})
    ingot("convert", source, tmp_path / "q", "--scheme", "lossless")
    checkpoint = reseal.Forged.read(tmp_path / "q")
    checkpoint.shard.describe(name, dtype=dtype)
    checkpoint.shard.entry(name).data[17] = decoder.CODE_TYPES[dtype]
    checkpoint.write(tmp_path / "c")
    opened = decoder.open_checkpoint(str(tmp_path / "c"))
    ingot("verify", tmp_path / "c")
    ingot("export", tmp_path / "c", tmp_path / "e")
    exported = decoder.read_source(str(tmp_path / "e"))[name]
    assert opened[name].decode() == (dtype, bytes(exported[2])) and exported[0] == dtype
    assert bytes(exported[2]) == bytes(decoder.read_source(str(source))[name][2])


@pytest.mark.parametrize("required", [[], ["scale_bytes"], ["code_types", "scale_bytes"], ["code_types", "x"], ["code-types"]], ids=str)
def test_refused_features(tmp_path, required):
    source = write(tmp_path / "s", gptq(np.random.default_rng(1)), {"quant_method": "gptq"})
    ingot("convert", source, tmp_path / "q", "--scheme", "lossless")
    checkpoint = reseal.Forged.read(tmp_path / "q")
    ingot_text(required_features=required)(checkpoint)
    checkpoint.write(tmp_path / "c")
    with pytest.raises(decoder.Damaged):
        decoder.open_checkpoint(str(tmp_path / "c"))
    done = ingot("verify", tmp_path / "c", code=65)
    assert "features" in done.stderr + done.stdout


@pytest.mark.parametrize("change", ["null", "removed", "renamed", "moved"])
def test_refused_configurations(tmp_path, change):
    """Section 10, D2: `ingot_quantization_config` stands last, and only beside a `quantization_config`."""
    source = write(tmp_path / "s", gptq(np.random.default_rng(1)), {"quant_method": "gptq"})
    ingot("convert", source, tmp_path / "q", "--scheme", "lossless")
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    own = config.pop("ingot_quantization_config")
    if change == "null":
        config |= {"quantization_config": None, "ingot_quantization_config": own}
    elif change == "removed":
        del config["quantization_config"]
        config["ingot_quantization_config"] = own
    elif change == "renamed":
        config["other_quantization_config"] = own
    else:
        config = {"ingot_quantization_config": own} | config
    checkpoint = reseal.Forged.read(tmp_path / "q")
    checkpoint.files["config.json"] = json.dumps(config).encode()
    checkpoint.write(tmp_path / "c")
    with pytest.raises(decoder.Damaged):
        decoder.open_checkpoint(str(tmp_path / "c"))
    ingot("verify", tmp_path / "c", code=65)
