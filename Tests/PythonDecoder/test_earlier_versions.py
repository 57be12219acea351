"""Checkpoints that released versions wrote, in Tests/Fixtures/checkpoints: this decoder restores the weights that were recorded."""

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import ingot_decoder as decoder  # noqa: E402

FIXTURES = HERE.parent / "Fixtures" / "checkpoints"


def in_element_type(data, dtype):
    """Weights in binary32, rounded to nearest even to an element type, as bytes."""
    values = np.frombuffer(data, "<f4")
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = values.view("<u4")
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return data


def recorded(version):
    """(folder, {tensor: (type, hash)}) of each checkpoint."""
    for part in (FIXTURES / version / "decoded.txt").read_text().split("# ")[1:]:
        folder, *lines = part.splitlines()
        fields = [line.split(" ") for line in lines]
        yield folder, {line[0]: (line[1], line[-1]) for line in fields}


@pytest.mark.parametrize("version", sorted(p.name for p in FIXTURES.iterdir()))
def test_decodes_to_what_was_recorded(version):
    checkpoints = list(recorded(version))
    assert len(checkpoints) >= 15
    for folder, expected in checkpoints:
        tensors = decoder.open_checkpoint(str(FIXTURES / version / folder))
        assert tensors.keys() == expected.keys()
        for name, tensor in tensors.items():
            dtype, data = tensor.decode()
            if dtype != tensor.dtype:
                data = in_element_type(data, tensor.dtype)
            assert (tensor.dtype, decoder.xxh3_128(data)) == expected[name], f"{folder}: {name}"
