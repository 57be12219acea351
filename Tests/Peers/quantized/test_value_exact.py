"""`ingot verify A --against B` proves repacks and casts of quantized checkpoints, or names the first weight that differs."""

import json
import os
import subprocess

import gguf
import numpy as np
import pytest
import torch

from checkpoints import config, write

INGOT = os.environ["INGOT"]
EXPERTS = "model.layers.0.mlp.experts.down_proj"
MODULE = "model.layers.0.mlp.down_proj"
E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def verify(first, second):
    done = subprocess.run([INGOT, "verify", first, "--against", second, "--format", "json", "--quiet"],
                          capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def exact(first, second):
    """Both directions prove it."""
    for a, b in ((first, second), (second, first)):
        found = verify(a, b)
        assert found["value_exact"] is True and found["first_difference"] is None, found


def mxfp4(path, seed=1):
    """Experts in MXFP4 as gpt-oss has them; returns their blocks and scales."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (3, 40, 4, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(115, 130, (3, 40, 4), dtype=torch.uint8, generator=generator)
    write(path, {EXPERTS + "_blocks": blocks, EXPERTS + "_scales": scales}, config({"quant_method": "mxfp4"}))
    return blocks, scales


def test_mxfp4_in_safetensors_and_gguf(tmp_path):
    blocks, scales = mxfp4(tmp_path / "a")
    # A block of GGUF has the scale, then byte j with elements j and j + 16 (block_mxfp4 of ggml-common.h).
    codes = torch.stack([blocks & 15, blocks >> 4], -1).reshape(3, 40, 4, 32).numpy()
    packed = codes[..., :16] | codes[..., 16:] << 4
    data = np.concatenate([scales.numpy()[..., None], packed], -1).reshape(3, 40, 4 * 17)
    target = tmp_path / "b.gguf"
    writer = gguf.GGUFWriter(target, "gpt-oss")
    writer.add_tensor(EXPERTS, data, raw_dtype=gguf.GGMLQuantizationType.MXFP4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    exact(tmp_path / "a", target)
    # MXFP4 is what the authors published: no flag is needed, in either file.
    for name in ("a", "b.gguf"):
        done = subprocess.run([INGOT, "convert", tmp_path / name, tmp_path / (name + ".ingot"), "--quiet"], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr


def test_gptq_and_compressed_tensors_of_the_same_codes(tmp_path):
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 16, (96, 256), generator=generator)
    scales = (torch.rand((96, 2), generator=generator) + .1).half()

    def words(matrix):
        shifts = torch.arange(8) * 4
        return (matrix.reshape(matrix.shape[0], -1, 8) << shifts).sum(-1).to(torch.int64).numpy().astype(np.uint32).view(np.int32)

    gptq = {
        MODULE + ".qweight": torch.from_numpy(np.ascontiguousarray(words(codes).T)),
        MODULE + ".qzeros": torch.full((2, 12), 0x77777777, dtype=torch.int32),
        MODULE + ".scales": scales.T.contiguous(),
        MODULE + ".g_idx": (torch.arange(256) // 128).int(),
    }
    write(tmp_path / "a", gptq, config({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, "float16"))
    packed = {
        MODULE + ".weight_packed": torch.from_numpy(words(codes)), MODULE + ".weight_scale": scales,
        MODULE + ".weight_shape": torch.tensor([96, 256]),
    }
    group = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
    write(tmp_path / "b", packed, config({
        "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"weights": group}}}, "float16"))
    exact(tmp_path / "a", tmp_path / "b")


@pytest.fixture
def fp8(tmp_path):
    """FP8 in blocks of 128 x 128, and its cast to BF16 as a directory and as tensors."""
    generator = torch.Generator().manual_seed(3)
    codes = (torch.randn((200, 300), generator=generator) * 30).to(torch.float8_e4m3fn)
    scales = torch.rand((2, 3), generator=generator) / 100
    settings = config({"quant_method": "fp8", "weight_block_size": [128, 128]})
    write(tmp_path / "fp8", {MODULE + ".weight": codes, MODULE + ".weight_scale_inv": scales}, settings)
    spread = scales.repeat_interleave(128, 0)[:200].repeat_interleave(128, 1)[:, :300]
    return tmp_path, (codes.float() * spread).bfloat16()


def test_fp8_cast_to_bf16(fp8):
    path, cast = fp8
    write(path / "cast", {MODULE + ".weight": cast}, config())
    exact(path / "fp8", path / "cast")


def test_cast_with_one_planted_change(fp8):
    path, cast = fp8
    changed = cast.clone()
    changed[137, 211] = 0.125 if cast[137, 211] != 0.125 else 0.25
    write(path / "cast", {MODULE + ".weight": changed}, config())
    found = verify(path / "cast", path / "fp8")
    assert found["value_exact"] is False and found["differing_weights"] == 1
    place = found["first_difference"]
    assert (place["tensor"], place["row"], place["column"]) == (MODULE + ".weight", 137, 211)
    assert place["value"] == changed[137, 211].item() and place["reference"] == cast[137, 211].item()


def test_cast_with_swapped_scales(fp8):
    """The failure that is most common: a scale that is not its block's."""
    path, cast = fp8
    wrong = cast.clone()
    wrong[:128, :128] = (wrong[:128, :128].float() * 1.0078125).bfloat16()
    write(path / "cast", {MODULE + ".weight": wrong}, config())
    found = verify(path / "cast", path / "fp8")
    assert found["value_exact"] is False and 0 < found["differing_weights"] <= 128 * 128
