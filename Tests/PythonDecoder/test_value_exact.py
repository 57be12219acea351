"""`ingot verify A --against B`: whether A is value-exact, and the first weight that is not, against NumPy."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

ml_dtypes = pytest.importorskip("ml_dtypes")

ROOT = Path(__file__).resolve().parent.parent.parent
INGOT = os.path.abspath(os.environ.get("INGOT", ROOT / ".build/release/ingot"))
TYPES = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2,
}


def verify(a, b, *more):
    done = subprocess.run(
        [INGOT, "verify", a, "--against", b, "--format", "json", *more], capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def number(value):
    """A value of the report: a number, or the name of one that JSON lacks."""
    return float(value) if isinstance(value, str) else value


def expected(a, b):
    """Number of weights that differ and the first of them: tensor, row, column, both values."""
    count, first = 0, None
    for name in a:
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        different = ~((x == y) | (np.isnan(x) & np.isnan(y)))
        count += int(different.sum())
        if first is None and different.any():
            rows = different.reshape(-1, different.shape[-1])
            row, column = map(int, np.argwhere(rows)[0])
            first = (name, row, column, *(float(v.reshape(rows.shape)[row, column]) for v in (x, y)))
    return count, first


def model(kind, seed=1):
    """Weights of several shapes in a type, with zeros of both signs, NaN, and infinities where the type has them."""
    random = np.random.default_rng(seed)
    weights = {
        "a.weight": random.normal(0, 1, (257, 1031)), "b.weight": random.normal(0, 1e-3, (3, 5, 70)),
        "c.weight": random.normal(0, 30, 70_001),
    }
    weights["a.weight"][:, 3] = -0.0
    weights["a.weight"][7, 9] = np.nan
    if kind not in ("e4m3",):
        weights["c.weight"][[5, 6]] = np.inf, -np.inf
    return {name: tensor.astype(TYPES[kind]) for name, tensor in weights.items()}


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("kind", TYPES)
def test_casts(tmp_path, kind, to):
    source = model(kind)
    with np.errstate(over="ignore"):
        cast = {name: tensor.astype(np.float64).astype(TYPES[to]) for name, tensor in source.items()}
    safetensors.numpy.save_file(source, tmp_path / "b.safetensors")
    safetensors.numpy.save_file(cast, tmp_path / "a.safetensors")
    count, first = expected(cast, source)
    reports = [verify(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--jobs", jobs) for jobs in ("1", "4")]
    for report in reports:
        assert report["value_exact"] is (first is None)
        assert report["differing_weights"] == count
        if first is None:
            assert report["first_difference"] is None
            continue
        found = report["first_difference"]
        name, row, column, value, reference = first
        assert (found["tensor"], found["row"], found["column"]) == (name, row, column)
        np.testing.assert_array_equal([number(found["value"]), number(found["reference"])], [value, reference])


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32", "f64", "e4m3"])
def test_one_change(tmp_path, kind):
    random = np.random.default_rng(5)
    source = model(kind)
    safetensors.numpy.save_file(source, tmp_path / "b.safetensors")
    for name in source:
        changed = {key: value.copy() for key, value in source.items()}
        flat = changed[name].reshape(-1)
        place = int(random.integers(100, flat.size))
        flat[place] = -flat[place] if flat[place] != 0 else 1
        safetensors.numpy.save_file(changed, tmp_path / "a.safetensors")
        found = verify(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
        columns = source[name].shape[-1]
        first = found["first_difference"]
        assert found["differing_weights"] == 1 and first["tensor"] == name
        assert (first["row"], first["column"]) == divmod(place, columns)
        assert first["value"] == float(flat[place]) and first["reference"] == float(source[name].reshape(-1)[place])


def test_integers(tmp_path):
    counts = np.array([[0, -1, 2**62], [3, -(2**63), 2**63 - 1]], np.int64)
    other = counts.copy()
    other[1, 2] = -7
    safetensors.numpy.save_file({"n": counts}, tmp_path / "b.safetensors")
    safetensors.numpy.save_file({"n": other}, tmp_path / "a.safetensors")
    first = verify(tmp_path / "a.safetensors", tmp_path / "b.safetensors")["first_difference"]
    assert (first["row"], first["column"], first["value"], first["reference"]) == (1, 2, -7, 2**63 - 1)
