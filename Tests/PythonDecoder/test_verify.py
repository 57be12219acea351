"""The figures of `ingot verify --against`, by numpy from what the decoder in this folder restores."""

import json
import math

import ingot_decoder as decoder
import numpy as np
import pytest
from test_decoder import SAMPLES, ingot


def weights(dtype, data):
    width = decoder.WIDTH[dtype]
    return decoder.to_float32(np.frombuffer(bytes(data), {2: "<u2", 4: "<u4"}[width]), dtype)


def errors(original, restored):
    """The error members of Specs/json.md: of binary64, but for the 99.9th percentile, which is of differences in binary32."""
    wide, back = original.astype(np.float64), restored.astype(np.float64)
    difference = np.abs(original - restored).astype(np.float64)
    signal, noise = (wide**2).sum(), ((wide - back) ** 2).sum()
    return {
        "relative_mse": noise / signal if noise else 0.0,
        "snr_db": 10 * math.log10(signal / noise) if noise else None,
        "max_error": np.abs(wide - back).max(),
        "error_p999": np.sort(difference)[math.ceil(0.999 * difference.size) - 1],
        "cosine": (wide @ back) / math.sqrt(signal * (back @ back)) if noise else 1.0,
        "changed": int((original != restored).sum()),
        "sign_flips": int(((original < 0) & (restored > 0) | (original > 0) & (restored < 0)).sum()),
        "zeroed": int(((original != 0) & (restored == 0)).sum()),
    }


def compare(found, expected, name):
    for key in ("changed", "sign_flips", "zeroed", "max_error"):
        assert found[key] == expected[key], (name, key)
    for key in ("relative_mse", "cosine", "snr_db"):
        if expected[key] is None:
            assert found[key] is None, (name, key)
        else:
            assert math.isclose(found[key], expected[key], rel_tol=1e-9), (name, key)
    assert expected["error_p999"] <= found["error_p999"] <= expected["error_p999"] * 1.016, name


def statistics(found, values, name):
    values = values.astype(np.float64)
    mean, deviation = values.mean(), values.std()
    assert found["count"] == values.size and found["nan"] == found["infinite"] == 0
    assert found["min"] == values.min() and found["max"] == values.max(), name
    assert found["zeros"] == int((values == 0).sum()), name
    assert math.isclose(found["mean"], mean, abs_tol=1e-9 * deviation), name
    assert math.isclose(found["std"], deviation, rel_tol=1e-9, abs_tol=1e-12), name
    if deviation:
        assert math.isclose(found["kurtosis"], ((values - mean) ** 4).mean() / deviation**4, rel_tol=1e-6), name


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("options", [["--bits", 3], ["--bits", 4, "--scheme", "uniform"], ["--scheme", "lossless"]])
def test_figures(tmp_path, sample, options):
    source, dest = SAMPLES[sample], tmp_path / "sealed"
    ingot("convert", source, dest, *options)
    report = json.loads(ingot("verify", dest, "--against", source, "--format", "json").stdout)
    assert report["holds"] and report["format"] == "ingot"
    originals, restored = decoder.read_source(str(source)), decoder.open_checkpoint(str(dest))
    assert sorted(t["name"] for t in report["tensors"]) == sorted(originals)
    flips = 0
    for tensor in report["tensors"]:
        name = tensor["name"]
        dtype, shape, data = originals[name]
        if dtype not in decoder.WIDTH:
            assert tensor["measured"] is None and tensor["statistics"] is None and tensor["histograms"] is None
            continue
        before, after = weights(dtype, data), weights(*restored[name].decode())
        expected = errors(before, after)
        compare(tensor["measured"], expected, name)
        flips += expected["sign_flips"]
        statistics(tensor["source_statistics"], before, name)
        statistics(tensor["statistics"], after, name)
        assert tensor["elements"] == math.prod(shape) and tensor["source_bytes"] == len(data)
        assert tensor["bytes"] == len(restored[name].data)
        bins = tensor["histograms"]
        if dtype != "F32":
            counts, _ = np.histogram(before.astype(np.float64), np.linspace(bins["from"], bins["to"], 65))
            # A weight on an edge of numpy's bins may round to either side.
            assert np.abs(np.array(bins["source"]) - counts).sum() <= 4 + before.size // 1000, name
    assert flips > 0 or "lossless" in options
    assert report["source_bytes"] > 0 and math.isclose(
        report["reduction"], 1 - report["output_bytes"] / report["source_bytes"], rel_tol=1e-12)
