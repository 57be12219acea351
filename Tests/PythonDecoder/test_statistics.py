"""The statistics of `ingot inspect` for every element type, against numpy.

Floats of 8 bits are decoded by the formulas of their specifications.
"""

import csv
import io
import json
import math

import numpy as np
import pytest
from test_decoder import ingot
from test_inspect import near

PERMILLE = {"1": 10, "5": 50, "50": 500, "95": 950, "99": 990, "99.9": 999}
#: Element type -> numpy's type of it.
PLAIN = {
    "BOOL": np.bool_, "I8": np.int8, "U8": np.uint8, "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32,
    "I64": np.int64, "U64": np.uint64, "F16": np.float16, "F32": np.float32, "F64": np.float64,
}
#: Floats of 8 bits -> bits of the fraction, bias (OCP OFP8 1.0; the documentation of ml_dtypes).
FLOATS = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15), "F8_E4M3FNUZ": (3, 8), "F8_E5M2FNUZ": (2, 16)}
SMALLEST_NORMAL = {
    "F8_E4M3": 2.0**-6, "F8_E5M2": 2.0**-14, "F8_E4M3FNUZ": 2.0**-7, "F8_E5M2FNUZ": 2.0**-15, "F16": 2.0**-14, "BF16": 2.0**-126,
    "F32": 2.0**-126, "F64": 2.0**-1022,
}
TYPES = [*PLAIN, *FLOATS, "F8_E8M0", "BF16"]
WIDE = {"F32", "F64", "I32", "U32", "I64", "U64"}


def width(dtype):
    if dtype in PLAIN:
        return np.dtype(PLAIN[dtype]).itemsize
    return 2 if dtype == "BF16" else 1


def float8(byte, dtype):
    """The value of a byte."""
    if dtype == "F8_E8M0":
        # OCP MX 1.0, section 5.4.1.
        return math.nan if byte == 0xFF else 2.0 ** (byte - 127)
    fraction_bits, bias = FLOATS[dtype]
    magnitude = byte & 0x7F
    if dtype.endswith("FNUZ") and byte == 0x80:
        return math.nan
    if dtype == "F8_E4M3" and magnitude == 0x7F:
        return math.nan
    if dtype == "F8_E5M2" and magnitude >= 0x7C:
        return math.nan if magnitude > 0x7C else math.copysign(math.inf, 0x7F - byte)
    exponent, fraction = divmod(magnitude, 1 << fraction_bits)
    value = fraction / (1 << fraction_bits) + (exponent > 0)
    return math.copysign(value * 2.0 ** (max(exponent, 1) - bias), 0x7F - byte)


def decoded(raw, dtype):
    """The values of little-endian bytes, in binary64."""
    if dtype in PLAIN:
        with np.errstate(invalid="ignore"):
            return np.frombuffer(raw, PLAIN[dtype]).astype(np.float64)
    if dtype == "BF16":
        with np.errstate(invalid="ignore"):
            return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.array([float8(byte, dtype) for byte in range(256)])[np.frombuffer(raw, np.uint8)]


def write(path, tensors):
    """A safetensors file of name -> (dtype, shape, bytes)."""
    header, position = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(raw)]}
        position += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(raw for _, _, raw in tensors.values()))


def check_spread(found, energies, count, tolerance):
    roots = np.sort(np.sqrt(energies / count))
    for key, expected in (("min", roots[0]), ("median", np.median(roots)), ("max", roots[-1])):
        assert near(found[key], expected, tolerance), key


def inspect(path, *options):
    return json.loads(ingot("inspect", path, "--format", "json", *options).stdout)


def check(found, raw, dtype, shape):
    values = decoded(raw, dtype)
    finite = np.sort(values[np.isfinite(values)])
    assert found["count"] == values.size
    assert found["nan"] == np.isnan(values).sum() and found["infinite"] == np.isinf(values).sum()
    assert found["outliers_are_exact"] is found["percentiles_are_exact"] is (dtype not in WIDE)
    histogram = found["histogram"]
    assert sum(histogram["counts"]) + histogram["below"] + histogram["above"] == finite.size
    if dtype in WIDE:
        assert found["value_entropy_bits"] is None
    elif values.size:
        share = np.unique(np.frombuffer(raw, f"u{width(dtype)}"), return_counts=True)[1] / values.size
        assert abs(found["value_entropy_bits"] - -(share * np.log2(share)).sum()) < 1e-9
    if finite.size == 0:
        assert found["percentiles"] is None and found["min"] == found["max"] == found["std"] == 0
        return
    assert (found["min"], found["max"]) == (finite[0], finite[-1])
    assert found["absmax"] == np.abs(finite).max()
    assert found["zeros"] == (finite == 0).sum()
    assert found["subnormal"] == ((finite != 0) & (np.abs(finite) < SMALLEST_NORMAL.get(dtype, 0))).sum()
    # Sums in units of the largest magnitude, so that fourth powers of F64 fit.
    unit = max(2.0**-1022, 2.0 ** (math.frexp(found["absmax"])[1] - 1)) if found["absmax"] else 1
    scaled = finite / unit
    mean = scaled.mean()
    central = scaled - mean
    std = scaled.std() if finite[0] != finite[-1] else 0
    assert abs(found["mean"] / unit - mean) <= 1e-11 * max(1, abs(mean))
    assert abs(found["std"] / unit - std) <= 1e-9 * std + 5e-324 / unit
    if std > 0:
        assert near(found["kurtosis"], (central**4).mean() / std**4, 1e-7)
        assert abs(found["skewness"] - (central**3).mean() / std**3) <= 1e-7 * max(1, found["kurtosis"])
    else:
        assert found["kurtosis"] == found["skewness"] == 0
    inRange = dtype != "F64" or (2.0**-126 <= found["absmax"] < 2.0**128)
    for name, permille in PERMILLE.items():
        expected = finite[-(-finite.size * permille // 1000) - 1]
        if dtype not in WIDE:
            assert found["percentiles"][name] == expected
        elif inRange:
            assert abs(found["percentiles"][name] - expected) <= 2.0**-8 * abs(expected) + 2.0**-133
    assert list(found["percentiles"]) == list(PERMILLE)
    if dtype not in WIDE:
        assert found["outliers_6_sigma"] == (np.abs(central) > 6 * std).sum() if std else found["outliers_6_sigma"] == 0
        place = (finite - histogram["from"]) * (64 / (histogram["to"] - histogram["from"])) if histogram["to"] > histogram["from"] else 0 * finite
        inside = place[(place >= 0) & (place < 64)]
        assert np.bincount(inside.astype(int), minlength=64).tolist() == histogram["counts"]
    elif inRange and std:
        limit = np.abs(central) / (6 * std)
        assert (limit > 1.02).sum() <= found["outliers_6_sigma"] + 0.01 * finite.size
        assert found["outliers_6_sigma"] <= (limit > 0.98).sum() + 0.01 * finite.size
    if len(shape) < 2:
        assert found["row_rms"] is None and found["column_rms"] is None
    elif np.isfinite(values).all() and found["absmax"] < (1e15 if dtype in ("BF16", "F32") else 1e150):
        squares = values.reshape(-1, shape[-1]) ** 2
        # Kernels sum the squares of a piece in binary32.
        tolerance = 1e-3 if dtype in ("F16", "BF16", "F32") else 1e-12
        check_spread(found["row_rms"], squares.sum(1), squares.shape[1], tolerance)
        check_spread(found["column_rms"], squares.sum(0), squares.shape[0], tolerance)


def raw_of(values, dtype):
    return np.asarray(values).astype(PLAIN[dtype]).tobytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type(dtype, tmp_path):
    random = np.random.default_rng(sum(map(ord, dtype)))
    size = width(dtype)

    def bits(*shape):
        if dtype == "BOOL":
            return random.integers(0, 2, shape).astype(np.uint8).tobytes()
        return random.integers(0, 256, (*shape, size)).astype(np.uint8).tobytes()

    def normal(*shape):
        if dtype in FLOATS or dtype == "F8_E8M0":
            # Each value's nearest pattern.
            table = decoded(bytes(range(256)), dtype)
            order = np.argsort(np.where(np.isfinite(table), table, np.inf))[: np.isfinite(table).sum()]
            places = np.searchsorted(table[order], random.normal(0, 0.05, shape)).clip(0, order.size - 1)
            return order[places].astype(np.uint8).tobytes()
        if dtype == "BF16":
            return (random.normal(0, 0.05, shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        if dtype.startswith("F"):
            return raw_of(random.normal(0, 0.05, shape), dtype)
        if dtype == "BOOL":
            return raw_of(random.integers(0, 5, shape) == 0, dtype)
        spread = 20 if size == 1 else 5000
        return raw_of(np.rint(random.normal(0 if dtype[0] == "I" else 6 * spread // (6 if size == 1 else 1), spread, shape)).clip(
            np.iinfo(PLAIN[dtype]).min, np.iinfo(PLAIN[dtype]).max), dtype)

    every = bytes(range(256)) if size == 1 else b"".join(i.to_bytes(2, "little") for i in range(1 << 16)) if size == 2 else bits(999)
    if dtype == "BOOL":
        every = bytes([0, 1] * 128)
    one = normal(4, 1)[:size]
    cases = {
        "every": ([len(every) // size], every), "bits": ([70, 33], bits(70, 33)), "normal": ([300, 501], normal(300, 501)),
        # Several pieces: more than 2^19 elements, and rows longer than a piece.
        "many": ([1200, 700], normal(1200, 700)), "wide": ([3, 300_001], normal(3, 300_001)), "high": ([140_000, 2], normal(140_000, 2)),
        "vector": ([600_000], normal(600_000)), "nothing": ([0], b""), "no_rows": ([0, 7], b""), "scalar": ([], normal(1)),
        "equal": ([40, 25], one * 1000), "deep": ([3, 5, 7], bits(3, 5, 7)), "ends": ([2, 1], one + bits(1)),
    }
    tensors = {name: (dtype, shape, raw) for name, (shape, raw) in cases.items()}
    path = tmp_path / "all.safetensors"
    write(path, tensors)
    report = inspect(path)
    for tensor in report["tensors"]:
        _, shape, raw = tensors[tensor["name"]]
        check(tensor["statistics"], raw, dtype, shape)
        assert tensor["holds_weights"] is (dtype[0] in "FB" and dtype not in ("BOOL", "F8_E8M0"))
    assert inspect(path, "--jobs", "5") == report == inspect(path, "--jobs", "1", "--max-memory", "64MiB")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(ingot("inspect", path, "--format", "csv").stdout))}
    for tensor in report["tensors"]:
        row, found = rows[tensor["name"]], tensor["statistics"]
        assert row["nan"] == str(found["nan"]) and row["zeros"] == str(found["zeros"])
        for name in PERMILLE:
            expected = found["percentiles"][name] if found["percentiles"] else None
            assert row["p" + name.replace(".", "_")] == ("" if expected is None else row["p" + name.replace(".", "_")])
            assert expected is None or float(row["p" + name.replace(".", "_")]) == expected
        assert row["skewness"] == "" if not found["percentiles"] else float(row["skewness"]) == found["skewness"]
    # Every form of output can show them.
    for options in (["--details"], [], ["--format", "markdown"], ["--group-by", "kind"], ["--format", "html"]):
        assert ingot("inspect", path, *options).stdout


NOT_FINITE = {
    # NaN and infinity by bit patterns, as the formats define them.
    "F8_E4M3": (lambda b: b & 0x7F == 0x7F, lambda b: False),
    "F8_E5M2": (lambda b: b & 0x7F > 0x7C, lambda b: b & 0x7F == 0x7C),
    "F8_E4M3FNUZ": (lambda b: b == 0x80, lambda b: False),
    "F8_E5M2FNUZ": (lambda b: b == 0x80, lambda b: False),
    "F8_E8M0": (lambda b: b == 0xFF, lambda b: False),
}


@pytest.mark.parametrize("dtype", NOT_FINITE)
def test_patterns_of_floats_of_8_bits(dtype, tmp_path):
    """Each pattern as a tensor of its own: the value, and whether it is NaN or infinite."""
    write(tmp_path / "a.safetensors", {f"{b:02x}": (dtype, [1], bytes([b])) for b in range(256)})
    report = {int(t["name"], 16): t["statistics"] for t in inspect(tmp_path / "a.safetensors")["tensors"]}
    values = decoded(bytes(range(256)), dtype)
    is_nan, is_infinite = NOT_FINITE[dtype]
    for pattern, found in report.items():
        assert found["nan"] == is_nan(pattern) and found["infinite"] == is_infinite(pattern)
        if np.isfinite(values[pattern]):
            assert found["min"] == found["max"] == found["percentiles"]["50"] == values[pattern]


@pytest.mark.parametrize("dtype, values", [
    ("I64", [-(2**63), 2**63 - 1, 0, 1]), ("I64", [2**53 + 1, 2**53]), ("I64", [-(2**63)] * 3), ("U64", [2**64 - 1, 0, 2**63]),
    ("U32", [2**32 - 1, 0, 7]), ("I32", [-(2**31), 2**31 - 1]), ("F64", [1.7e308, -1.7e308, 1.7e308]), ("F64", [5e-324, 1e-323, 0]),
    ("F64", [1e300, 1, -1e-300]), ("F64", [3e38, 4e38, 1]), ("F64", [math.nan, math.inf, -math.inf, 2.5]), ("F64", [math.nan] * 2),
    ("F64", [1e-40, 2e-40, -1e-40]), ("F64", [1.7976931348623157e308] * 4),
])
def test_extremes(dtype, values, tmp_path):
    raw = np.array(values, PLAIN[dtype]).tobytes()
    write(tmp_path / "a.safetensors", {"a": (dtype, [len(values)], raw), "b": (dtype, [len(values), 1], raw)})
    for tensor in inspect(tmp_path / "a.safetensors", "--group-by", "kind")["tensors"]:
        check(tensor["statistics"], raw, dtype, tensor["shape"])
    for options in (["--details"], [], ["--format", "markdown"], ["--group-by", "kind"], ["--format", "csv", "--group-by", "kind"]):
        assert ingot("inspect", tmp_path / "a.safetensors", *options).stdout


def test_pieces_of_very_different_size(tmp_path):
    """The unit of the moments differs from piece to piece."""
    values = np.concatenate([np.full(1 << 18, 0.0), np.linspace(1e-200, 3e-200, 1 << 18), np.linspace(-1, 2, 1 << 18)])
    for name, case in (("up", values), ("down", values[::-1])):
        write(tmp_path / "a.safetensors", {"a": ("F64", [case.size], case.tobytes())})
        check(inspect(tmp_path / "a.safetensors")["tensors"][0]["statistics"], case.tobytes(), "F64", [case.size])
    write(tmp_path / "a.safetensors", {"a": ("F64", [2 << 18], values[: 2 << 18].tobytes())})
    check(inspect(tmp_path / "a.safetensors")["tensors"][0]["statistics"], values[: 2 << 18].tobytes(), "F64", [2 << 18])


def test_without_statistics(tmp_path):
    write(tmp_path / "a.safetensors", {"c": ("C64", [2], bytes(16)), "f": ("F4", [4], bytes(2)), "s": ("F6_E2M3", [4], bytes(3))})
    assert [t["statistics"] for t in inspect(tmp_path / "a.safetensors")["tensors"]] == [None] * 3


def test_groups(tmp_path):
    """A group's moments are those of its weights, decoded if they are codes with a scale: not of whole numbers and scales."""
    random = np.random.default_rng(1)
    weights = {f"layers.{i}.q_proj.weight": random.gamma(2, 0.1 + i, (6, 40)).astype(np.float32) for i in range(3)}
    tensors = {name: ("F32", [6, 40], array.tobytes()) for name, array in weights.items()}
    tensors |= {
        "layers.4.q_proj.weight": ("F8_E4M3", [4, 8], bytes(range(32))), "layers.4.q_proj.weight_scale_inv": ("F32", [1, 1], np.float32(99).tobytes()),
        "layers.4.q_proj.input_scale": ("F32", [1], np.float32(1e6).tobytes()), "layers.4.q_proj.bias": ("F32", [2], bytes(8)),
        "layers.5.q_proj.qweight": ("I32", [4, 8], bytes(range(128))), "layers.5.q_proj.scales": ("F16", [1, 8], bytes(range(16))),
        "layers.6.q_proj.weight": ("F8_E4M3", [1, 2], b"\x38\x38"),
    }
    write(tmp_path / "a.safetensors", tensors)
    report = inspect(tmp_path / "a.safetensors", "--group-by", "kind")
    held = {t["name"] for t in report["tensors"] if t["holds_weights"]}
    assert held == {*weights, "layers.4.q_proj.weight", "layers.4.q_proj.bias", "layers.6.q_proj.weight"}
    assert all(t["statistics"] for t in report["tensors"])
    group = next(g for g in report["groups"] if g["name"] == "attn_q")
    scaled = decoded(bytes(range(32)), "F8_E4M3") * 99
    values = np.concatenate([*(array.ravel() for array in weights.values()), scaled, [1, 1]]).astype(np.float64)
    central = values - values.mean()
    assert near(group["mean"], values.mean(), 1e-9) and near(group["std"], values.std(), 1e-9)
    assert near(group["skewness"], (central**3).mean() / values.std() ** 3, 1e-8)
    assert near(group["kurtosis"], (central**4).mean() / values.std() ** 4, 1e-8)
    assert (group["min"], group["max"]) == (values.min(), values.max())
    # Three tensors of weights, decoded codes, codes as they are stored with their scales, and a plain cast.
    assert group["tensors"] == 7
    text = ingot("inspect", tmp_path / "a.safetensors", "--format", "csv", "--group-by", "kind").stdout
    row = next(row for row in csv.DictReader(io.StringIO(text)) if row["name"] == "attn_q")
    assert float(row["skewness"]) == group["skewness"] and float(row["kurtosis"]) == group["kurtosis"]


@pytest.mark.parametrize("dtype, name", [
    ("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2"), ("F8_E4M3FNUZ", "float8_e4m3fnuz"), ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
    ("F8_E8M0", "float8_e8m0fnu"),
])
def test_formulas_of_floats_of_8_bits(dtype, name):
    """The formulas above are those of ml_dtypes, where it is installed."""
    library = pytest.importorskip("ml_dtypes")
    expected = np.arange(256, dtype=np.uint8).view(getattr(library, name)).astype(np.float64)
    np.testing.assert_array_equal(decoded(bytes(range(256)), dtype), expected)
