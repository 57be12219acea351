"""Quantized checkpoints exported by Ingot hold, bit for bit, what the peers decode; nothing of the codes is left over."""

import json
import os
import subprocess

import pytest

from checkpoints import differences, read
from fixtures import FIXTURES, UNDECIDED

INGOT = os.environ["INGOT"]


def export(source, target):
    return subprocess.run([INGOT, "export", source, target, "--to", "safetensors"], capture_output=True, text=True)


def check(found, directory, expected):
    assert set(found) == set(expected)
    wrong = {name: f"{found[name].dtype}{list(found[name].shape)}, not {value.dtype}{list(value.shape)}"
             for name, value in expected.items() if (found[name].dtype, found[name].shape) != (value.dtype, value.shape)}
    assert not wrong
    counts = {name: differences(found[name], value) for name, value in expected.items()}
    assert not any(counts.values()), counts
    settings = json.loads((directory / "config.json").read_text())
    assert not {"quantization_config", "quantization", "compression_config"} & set(settings)
    assert not (directory / "hf_quant_config.json").exists()


@pytest.mark.parametrize("name", FIXTURES)
def test_values(tmp_path, name):
    expected = FIXTURES[name](tmp_path / "source")
    done = export(tmp_path / "source", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    check(read(tmp_path / "out"), tmp_path / "out", expected)


@pytest.mark.parametrize("name", UNDECIDED)
def test_values_or_refusal(tmp_path, name):
    """What the formats' readers disagree about, or what the issue does not name, is read as its peer reads it, or refused."""
    expected = UNDECIDED[name](tmp_path / "source")
    done = export(tmp_path / "source", tmp_path / "out")
    if done.returncode == 0:
        check(read(tmp_path / "out"), tmp_path / "out", expected)
    else:
        # The message names a module, and nothing lies in the place of the output.
        assert "model." in done.stderr, done.stderr
        assert done.returncode > 0 and not (tmp_path / "out").exists()
