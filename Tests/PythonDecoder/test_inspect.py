"""The statistics of `ingot inspect`, computed once more with numpy from the bytes of the files."""

import json

import numpy as np
import pytest
from test_decoder import SAMPLES, ingot


DTYPES = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32}


def elements(path, entry, start):
    """The elements as they are stored, as integers, and as binary64."""
    dtype = DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    raw = np.fromfile(path, dtype=dtype, count=(end - begin) // dtype().itemsize, offset=start + begin)
    if entry["dtype"] == "F16":
        values = raw.view(np.float16)
    elif entry["dtype"] == "BF16":
        values = (raw.astype(np.uint32) << 16).view(np.float32)
    else:
        values = raw.view(np.float32)
    return raw, values.astype(np.float64).reshape(entry["shape"])


def tensors(folder):
    """name -> raw elements and values, of all shards."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in DTYPES:
                found[name] = elements(path, entry, 8 + length)
    return found


def near(value, expected, tolerance):
    return abs(value - expected) <= tolerance * max(abs(expected), 1e-300)


def check_spread(found, energies, count):
    roots = np.sort(np.sqrt(energies / count))
    for key, expected in (("min", roots[0]), ("median", np.median(roots)), ("max", roots[-1])):
        assert near(found[key], expected, 1e-5), key


def check(found, raw, values, dtype):
    mean, std = values.mean(), values.std()
    central = values - mean
    assert found["count"] == values.size
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert found["absmax"] == np.abs(values).max()
    assert abs(found["mean"] - mean) <= 1e-10 * std
    assert near(found["std"], std, 1e-10)
    assert near(found["kurtosis"], (central**4).mean() / std**4, 1e-9)
    assert found["zeros"] == (values == 0).sum()
    assert found["nan"] == found["infinite"] == 0
    tiny = 2.0**-14 if dtype == "F16" else 2.0**-126
    assert found["subnormal"] == ((values != 0) & (np.abs(values) < tiny)).sum()
    histogram = found["histogram"]
    assert near(histogram["from"], mean - 4 * std, 1e-8) and near(histogram["to"], mean + 4 * std, 1e-8)
    assert sum(histogram["counts"]) + histogram["below"] + histogram["above"] == values.size
    binned = values
    if dtype == "F32":
        # Binned by the upper half of each weight: as the middle of all that share it.
        binned = ((raw & 0xFFFF0000) | 0x8000).view(np.float32).astype(np.float64)
    bins, _ = np.histogram(binned, 64, (histogram["from"], histogram["to"]))
    # numpy's last bin has its end in it, and weights on edges fall either way.
    assert np.abs(bins - histogram["counts"]).max() <= 2 + 0.02 * values.size / 64
    if dtype == "F32":
        assert found["value_entropy_bits"] is None
        assert abs(found["outliers_6_sigma"] - (np.abs(central) > 6 * std).sum()) <= 1 + 1e-4 * values.size
    else:
        assert found["outliers_6_sigma"] == (np.abs(central) > 6 * std).sum()
        share = np.unique(raw, return_counts=True)[1] / raw.size
        assert near(found["value_entropy_bits"], -(share * np.log2(share)).sum(), 1e-10)
    if values.ndim < 2:
        assert found["row_rms"] is None and found["column_rms"] is None
    else:
        squares = values.reshape(-1, values.shape[-1]) ** 2
        check_spread(found["row_rms"], squares.sum(1), squares.shape[1])
        check_spread(found["column_rms"], squares.sum(0), squares.shape[0])


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_source(dtype):
    expected = tensors(SAMPLES[dtype])
    report = json.loads(ingot("inspect", SAMPLES[dtype], "--format", "json").stdout)
    assert report["weights_read"] is True
    assert all(tensor["statistics"] for tensor in report["tensors"])
    for tensor in report["tensors"]:
        # test_statistics.py is about the others.
        if tensor["dtype"] not in DTYPES:
            continue
        check(tensor["statistics"], *expected[tensor["name"]], tensor["dtype"])


@pytest.mark.parametrize("scheme", ["trellis", "uniform", "lossless"])
def test_restored(scheme, tmp_path):
    """Statistics of encoded tensors are those of what an export in binary32 holds."""
    ingot("convert", SAMPLES["f16"], tmp_path / "sealed", "--scheme", scheme)
    ingot("export", tmp_path / "sealed", tmp_path / "out", "--dtype", "f32")
    expected = tensors(tmp_path / "out")
    report = json.loads(ingot("inspect", tmp_path / "sealed", "--format", "json").stdout)
    for tensor in report["tensors"]:
        raw, values = expected[tensor["name"]]
        found = tensor["statistics"]
        assert found["count"] == values.size and (found["min"], found["max"]) == (values.min(), values.max())
        assert abs(found["mean"] - values.mean()) <= 1e-10 * values.std()
        assert near(found["std"], values.std(), 1e-9)
        if tensor["scheme"] != "kept":
            # Side information comes on top of the codes; a coder of small chunks is not ideal.
            assert 0 < found["code_entropy_bits"] <= tensor["bits_per_element"] + 0.3
