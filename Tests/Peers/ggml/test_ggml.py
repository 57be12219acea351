"""The pinned quantizers of ggml against those of the package gguf, and against what their types promise."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType as T, quants

import ggml

# The package rounds these as ggml does. The other types it only decodes.
SIMPLE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "F16", "BF16"]

# Relative mean square errors of Gaussian weights, as measured, plus a tenth.
ERRORS = {"Q4_0": 0.0081, "Q4_1": 0.0067, "Q5_0": 0.0020, "Q5_1": 0.0016, "Q8_0": 0.000032, "Q2_K": 0.097, "Q3_K": 0.025,
          "Q4_K": 0.0056, "Q5_K": 0.0015, "Q6_K": 0.00035, "IQ4_NL": 0.0064, "IQ4_XS": 0.0065, "MXFP4": 0.0145}


def gaussian(rows=64, columns=768, seed=5):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("name", SIMPLE)
def test_equal_to_the_package(name):
    weights = gaussian()
    weights[3], weights[4] = 0, 0.75
    assert np.array_equal(ggml.quantize(weights, name), quants.quantize(weights, T[name]).view(np.uint8).reshape(64, -1))


@pytest.mark.parametrize("name", ggml.BLOCKS)
def test_decoded_alike(name):
    weights = gaussian()
    blocks = ggml.quantize(weights, name)
    found = ggml.dequantize(blocks, name, 768)
    assert np.array_equal(found.view(np.uint32), quants.dequantize(blocks, T[name]).view(np.uint32))
    assert np.square(found - weights).sum() / np.square(weights).sum() < ERRORS[name]


@pytest.mark.parametrize("name", ggml.BLOCKS)
def test_importance(name):
    """Weights of importance lower the weighted error, or change nothing where a type ignores them."""
    weights, importance = gaussian(), np.random.default_rng(6).exponential(size=768).astype(np.float32) ** 2
    plain, weighted = ggml.quantize(weights, name), ggml.quantize(weights, name, importance)
    error = lambda blocks: (np.square(ggml.dequantize(blocks, name, 768) - weights) * importance).sum()  # noqa: E731
    if name in ("Q8_0", "MXFP4"):
        assert np.array_equal(plain, weighted)
    else:
        assert error(weighted) < error(plain)


def test_bfloat16():
    values = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000, 0x7F800001, 0xFFC00000], np.uint32).view(np.float32)
    assert ggml.bfloat16(values).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x7FC0, 0xFFC0]
