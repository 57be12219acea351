"""The scheme `trellis`: what `ingot` writes is read by the decoder here, what is forged here by `ingot`, to the last bit.

`forge.py` makes payloads of every legal parameter, also of those the encoder does not choose, and breaks them with all
checksums right.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import forge
import ingot_decoder as decoder
import make_example as example
from test_decoder import INGOT, ROOT, SAMPLES, check, ingot, random_floats

UNSIGNED = {"F16": "<u2", "BF16": "<u2", "F32": "<u4"}
LARGEST = {"F16": 65504.0, "BF16": float.fromhex("0x1.fep127"), "F32": float.fromhex("0x1.fffffep127")}


def both_read(folder, forgeries, sources, expected):
    """The decoder here and `ingot` make the same weights of legal forgeries, and the errors against the sources hold."""
    forge.write(folder / "q", forgeries)
    decoder.write_safetensors(folder / "s.safetensors", sources)
    tensors = decoder.open_checkpoint(str(folder / "q"))
    decoder.compare_with_source(tensors, decoder.read_source(str(folder / "s.safetensors")))
    ingot("verify", folder / "q", "--against", folder / "s.safetensors")
    ingot("export", folder / "q", folder / "e", "--dtype", "f32")
    exported = decoder.read_source(str(folder / "e"))
    for name, weights in expected.items():
        assert tensors[name].decode() == ("F32", weights), name
        assert bytes(exported[name][2]) == weights, name


def elements(dtype, values):
    """Bytes of the type; binary32 is rounded to F16, cut to BF16."""
    values = np.asarray(values, np.float32)
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    return (values.view("<u4") >> 16).astype("<u2").tobytes() if dtype == "BF16" else values.astype("<f4").tobytes()


def own_type(dtype, weights):
    """Binary32 rounded to the tensor's type, to nearest, ties to even."""
    if dtype == "F16":
        return weights.astype("<f2").tobytes()
    if dtype == "F32":
        return weights.tobytes()
    bits = weights.view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


# ---------------------------------------------------------------- conversions

SHAPES = [
    [1, 1], [1, 5], [3, 70], [65, 129], [2, 3, 40], [64, 64], [1, 64], [600, 130], [5000, 3], [4097, 1], [257, 512],
]  # fmt: skip
LARGER = [("F16", [520, 700]), ("BF16", [1, 300000]), ("F32", [130, 2100])]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    rng, tensors = np.random.default_rng(11), []
    for number, (dtype, shape) in enumerate([(d, s) for s in SHAPES for d in decoder.WIDTH] + LARGER):
        data = random_floats(rng, dtype, shape, (0.05, 3e-6, 40.0)[number % 3])
        tensors.append((f"m{number:02}", dtype, shape, data))
    path = tmp_path_factory.mktemp("shapes") / "s.safetensors"
    decoder.write_safetensors(path, tensors)
    return path


def write_matrices(path, matrices):
    """`matrices`: (name, type, array of binary32, or of the type's bit patterns)"""
    tensors = []
    for name, dtype, matrix in matrices:
        data = matrix.tobytes() if matrix.dtype == UNSIGNED[dtype] else elements(dtype, matrix)
        tensors.append((f"{name}.{dtype}", dtype, list(matrix.shape), data))
    decoder.write_safetensors(path, tensors)
    return path


@pytest.fixture(scope="session")
def hard(tmp_path_factory):
    """Outliers, rows of different sizes, constants, zeros, subnormal numbers, the ends of the range of F16."""
    rng, matrices = np.random.default_rng(12), []
    for dtype in decoder.WIDTH:
        spikes = rng.standard_normal((200, 130)) * 0.02
        spikes.reshape(-1)[rng.choice(spikes.size, 20, replace=False)] *= 10 ** rng.uniform(2, 4, 20)
        rows = rng.standard_normal((300, 96)) * np.exp(2 * rng.standard_normal((300, 1))) / 100
        subnormal = rng.integers(0, 20, (60, 70)).astype(UNSIGNED[dtype])
        subnormal |= rng.integers(0, 2, subnormal.shape).astype(subnormal.dtype) << (8 * subnormal.itemsize - 1)
        matrices += [(name, dtype, np.asarray(matrix)) for name, matrix in [
            ("spikes", spikes), ("rows", rows), ("cauchy", rng.standard_cauchy((100, 70)).clip(-6e4, 6e4)),
            ("zeros", np.zeros((100, 70))), ("minus", -np.zeros((10, 70))), ("constant", np.full((100, 70), 0.37)),
            ("subnormal", subnormal),
        ] if name != "subnormal" or dtype == "F16"]  # fmt: skip
    return write_matrices(tmp_path_factory.mktemp("hard") / "s.safetensors", matrices)


@pytest.fixture(scope="session")
def unfit(tmp_path_factory):
    """One matrix a file that low rates do not hold: subnormal numbers, which are below any step, and numbers up to the largest."""
    rng, folder, paths = np.random.default_rng(16), tmp_path_factory.mktemp("unfit"), []
    for dtype, largest in LARGEST.items():
        subnormal = rng.integers(0, 20, (60, 70)).astype(UNSIGNED[dtype])
        subnormal |= rng.integers(0, 2, subnormal.shape).astype(subnormal.dtype) << (8 * subnormal.itemsize - 1)
        both, full = rng.choice([-largest, largest], (60, 70)), rng.uniform(-1, 1, (100, 70)) * largest
        full[0, :2] = largest, -largest
        for name, matrix in [("subnormal", subnormal), ("both", both), ("full", full)]:
            paths.append(write_matrices(folder / f"{name}-{dtype}.safetensors", [(name, dtype, matrix)]))
    return paths


@pytest.fixture(scope="session")
def ends(tmp_path_factory):
    """Weights up to the greatest of each type: their squares, and levels beyond them, are infinite."""
    rng, matrices = np.random.default_rng(14), []
    for dtype, largest in LARGEST.items():
        two = rng.standard_normal((100, 70)) * 0.02
        two[3, 4:6] = largest, -largest
        matrices += [("two", dtype, two), ("one", dtype, np.full((1, 1), largest))]
    return write_matrices(tmp_path_factory.mktemp("ends") / "s.safetensors", matrices)


OPTIONS = [
    "--bits 1.5", "--bits 2 --states 16", "--bits 3", "--bits 3.3 --states 32", "--bits 4 --states 16", "--bits 4.25",
    "--bits 5 --states 32", "--bits 6 --states 16", "--bits 7 --states 32", "--bits 8", "--relative-mse 1e-3",
    "--bpw 4.2", "--bits 2 --codec none", "--bits 3 --codec lz4", "--bits 4 --codec lz4 --states 32",
    "--bits 5 --codec none --states 16", "--bits 6 --codec lz4 --states 16", "--bits 8 --codec none --states 32",
]  # fmt: skip
RANS_OPTIONS = [f"{options} --codec rans" for options in (
    "--bits 1.5", "--bits 2 --states 16", "--bits 3.3 --states 32", "--bits 4", "--bits 5.2", "--bits 6.5 --states 16",
    "--bits 8", "--relative-mse 1e-3", "--bpw 4.2",
)]  # fmt: skip


def is_odd(tensor, data):
    """Few values, numbers below any step, or less than 4096 weights, of which tables take a large part: another scheme may be better."""
    values = np.frombuffer(data, UNSIGNED[tensor.dtype])
    few = len(np.unique(values)) <= max(1, min(256, values.size // 16))
    tiny = np.abs(decoder.to_float32(values, tensor.dtype)).max() < 2.0**-100
    return few or tiny or values.size < 4096


def convert_and_compare(source, folder, options):
    ingot("convert", source, folder / "q", "--scheme", "trellis", *options.split())
    ingot("export", folder / "q", folder / "f32", "--to", "safetensors", "--dtype", "f32")
    ingot("export", folder / "q", folder / "own", "--to", "safetensors")
    tensors = check(source, folder / "q", folder / "f32")
    own, own_source = decoder.read_source(str(folder / "own")), decoder.read_source(str(source))
    for name, tensor in tensors.items():
        if tensor.about is None:
            continue
        if tensor.scheme != "trellis":
            assert is_odd(tensor, own_source[name][2]), name
        if tensor.scheme == "lossless":
            assert bytes(own[name][2]) == bytes(own_source[name][2]), name
            continue
        weights = np.frombuffer(tensor.decode()[1], "<f4")
        assert (own[name][0], bytes(own[name][2])) == (tensor.dtype, own_type(tensor.dtype, weights)), name
    shutil.rmtree(folder)
    return tensors


@pytest.mark.parametrize("options", OPTIONS + RANS_OPTIONS)
@pytest.mark.parametrize("source", ["shapes", "hard", "ends"])
def test_conversions(request, tmp_path, source, options):
    tensors = convert_and_compare(request.getfixturevalue(source), tmp_path, options)
    if source == "hard" and options == "--bits 3":
        chunks = [c for t in tensors.values() for c in t.chunks]
        assert any(c.symbols[-2] for c in chunks) and any(t.about["row_classes"] > 1 for t in tensors.values())
        assert sum(len(c.streams[-1][0]) for c in chunks) > 1000  # patches


@pytest.mark.parametrize("options", OPTIONS + RANS_OPTIONS)
def test_unfit_matrices(tmp_path, unfit, options):
    """They are stored within what was asked for, or refused by name; never larger, and never lost."""
    for number, path in enumerate(unfit):
        target = tmp_path / f"{number}"
        target.mkdir()
        done = subprocess.run(
            [INGOT, "convert", path, target / "q", "--scheme", "trellis", *options.split()],
            capture_output=True, text=True)
        if done.returncode == 64:
            assert "goalUnreachable" in done.stderr or "usage" in done.stderr
            assert not (target / "q").exists() and ("1.5" in options or not path.name.startswith("full"))
            continue
        assert done.returncode == 0, done.stderr
        shutil.rmtree(target / "q")
        convert_and_compare(path, target, options)


@pytest.mark.parametrize("sample,options", [
    (sample, OPTIONS[(7 * i + start) % len(OPTIONS)]) for start, sample in enumerate(SAMPLES) for i in range(3)
])  # fmt: skip
def test_samples(tmp_path, sample, options):
    convert_and_compare(SAMPLES[sample], tmp_path, options)


def test_tiles():
    """Grids worked out by hand."""
    for matrix, shape in [
        ((1, 1), (1, 1)), ((1, 5), (1, 5)), ((5000, 3), (2500, 3)), ((4096, 64), (4096, 64)), ((4097, 65), (1366, 65)),
        ((600, 511), (300, 511)), ((512, 512), (512, 512)), ((513, 512), (257, 512)), ((520, 700), (260, 700)),
        ((1, 300000), (1, 150016)), ((130, 100000), (65, 4032)), ((100, 10**6), (100, 2560)),
    ]:  # fmt: skip
        assert decoder.chunk_shape("trellis", *matrix) == shape, matrix


# ---------------------------------------------------------------- forgeries that are right


def symbols_for(rng, about, shape):
    """Of few or many escapes, of all sizes, so that some streams stay empty and some compressed ones pay."""
    largest = (about["alphabet"] - 1) // 2
    flat = about["codec"] == "lz4" and rng.random() < 0.8
    h = np.rint(rng.standard_normal(shape) * (0 if flat else rng.choice([0.2, 0.6 * largest, 40]))).clip(-128, 127).astype(int)
    if not flat and rng.random() < 0.5:
        h[rng.random(shape) < 0.05] = rng.choice([-128, 127])
    return (h << about["low_bits"]) + rng.integers(0, 1 << about["low_bits"], shape)


def test_forged_payloads_of_every_kind(tmp_path):
    """All states, alphabets, low bits and row classes; sums by the documents, which `ingot verify` computes again."""
    rng, forgeries, sources, expected = np.random.default_rng(13), [], [], {}
    alphabets = [(a, 0) for a in (4, 6, 8, 16, 32, 64, 256)] + [(256, b) for b in range(2, 7)]
    kinds = [(s, a, b, k) for s in (8, 16, 32) for a, b in alphabets for k in (1, 2, 3, 4)]
    shapes = [[20, 70], [33, 130], [2, 5, 64], [1, 5], [7, 1]]
    for number, (states, alphabet, low_bits, classes) in enumerate(kinds):
        dtype, codec = list(decoder.WIDTH)[number % 3], list(decoder.CODECS)[number // 3 % 3]
        shape = shapes[number % 5] if number % 25 else [520, 513] if number == 50 else [5000, 3]
        matrix = int(np.prod(shape[:-1])), shape[-1]
        data, width = elements(dtype, rng.standard_normal(matrix)), decoder.WIDTH[dtype]
        original = decoder.to_float32(np.frombuffer(data, UNSIGNED[dtype]), dtype).reshape(matrix)
        parameters = {"states": states, "alphabet": alphabet, "low_bits": low_bits, "row_classes": classes}
        about = forge.describe(dtype, shape, **parameters, codec=codec, source=data)
        tiles, whole = [], np.empty(matrix, np.float32)
        for place in forge.places(about):
            w = original[place]
            chosen = np.sort(rng.choice(w.size, min(w.size, 3), replace=False)) if rng.random() < 0.6 else []
            patches = [(int(i), data[int(i) * width :][:width]) for i in chosen]
            row_class = rng.integers(0, classes, len(w))
            step = float(np.float32(rng.uniform(0.001, 0.3)))
            tile, restored = forge.tile_of(about, symbols_for(rng, about, w.shape), step, row_class, patches)
            tile.sums, whole[place] = decoder.errors(w.reshape(-1), restored.reshape(-1)), restored
            tiles.append(tile)
        name = f"m{number:03}"
        forgeries.append(forge.Forgery(name, about, tiles))
        sources.append((name, dtype, shape, data))
        expected[name] = whole.tobytes()
    used = {(f.about["alphabet"], s.codec) for f in forgeries for t in f.tiles for s in t.streams[:-2]}
    assert used == {(a, c) for a, _ in alphabets for c in (0, 1, 2)}
    both_read(tmp_path, forgeries, sources, expected)


# ---------------------------------------------------------------- forgeries that are wrong


def forged(dtype="F32", shape=(5, 7), step=0.5, h=None, patches=(), **parameters):
    """One tile of symbols that escape nowhere, where `h` is not given."""
    about = forge.describe(dtype, shape, **parameters)
    largest, low_bits, rng = (about["alphabet"] - 1) // 2, about["low_bits"], np.random.default_rng(1)
    h = rng.integers(-largest, largest + 1, shape) if h is None else np.broadcast_to(h, shape).astype(int)
    symbols = (h << low_bits) + rng.integers(0, 1 << low_bits, shape)
    tile, _ = forge.tile_of(about, symbols, step, np.arange(shape[0]) % about["row_classes"], patches)
    return forge.Forgery("m", about, [tile])


def judge(folder, forgery, legal=False, what=""):
    """Both decoders take it, and to the same weights, or both refuse it."""
    shutil.rmtree(folder / "q", ignore_errors=True)
    shutil.rmtree(folder / "e", ignore_errors=True)
    forge.write(folder / "q", [forgery])
    verified = subprocess.run([INGOT, "verify", folder / "q"], capture_output=True, text=True)
    if not legal:
        assert verified.returncode == 65, f"{what}: {verified.stdout[-300:]}"
        with pytest.raises(decoder.Damaged):
            pytest.fail(f"{what}: {len(decoder.open_checkpoint(str(folder / 'q'))['m'].decode())} taken")
        return None
    assert verified.returncode == 0, f"{what}: {verified.stderr}"
    weights = decoder.open_checkpoint(str(folder / "q"))["m"].decode()[1]
    ingot("export", folder / "q", folder / "e", "--dtype", "f32")
    assert bytes(decoder.read_source(str(folder / "e"))["m"][2]) == weights, what
    return np.frombuffer(weights, "<f4")


def set_byte(stream, at, change):
    def edit(tile):
        data = bytearray(tile.streams[stream].stored)
        data[at] = change(data[at]) if callable(change) else change
        tile.streams[stream].stored = bytes(data)

    return edit


def recompressed(stream, change):
    """The zstd frame of a stream, with its plain form changed."""

    def edit(tile):
        s = tile.streams[stream]
        assert s.codec == 2
        plain = bytearray(decoder.zstandard.ZstdDecompressor().decompress(s.stored))
        change(plain)
        s.stored = forge.compress(bytes(plain), 2)

    return edit


def assign(stream, **values):
    def edit(tile):
        for key, value in values.items():
            setattr(tile.streams[stream], key, value)

    return edit


def counts(*lengths):
    """Streams of an alphabet of 16 with these lengths, all codes 7 (h = 0)."""

    def edit(tile):
        for stream, length in zip(tile.streams, lengths):
            stream.symbols, stream.stored = length, forge.pack([7] * length, 4)

    return edit


def extras(*patches, dtype="<f4"):
    joined = b"".join(np.uint32(i).tobytes() + np.array(v, dtype).tobytes() for i, v in patches)
    return assign(-1, stored=joined)


def or_byte(plain, at, bits):
    plain[at] |= bits


def broken():
    """(what, arguments of `forged`, change of its tile)"""
    for step in (0.0, -0.0, -1.0, 2.0**-127, np.inf, np.nan):
        yield f"step {step}", {}, lambda t, step=step: setattr(t, "step", step)
    yield "table: a field that is 0", {}, lambda t: setattr(t, "zero", 1)
    for sums in ((-1.0, 0, 0), (1, np.inf, 0), (1, 0, np.nan)):
        yield f"sums {sums}", {}, lambda t, sums=sums: setattr(t, "sums", sums)

    zeros = {"h": 0, "shape": (63, 65)}  # an odd number of symbols, all of which go to stream 0
    for alphabet in (4, 8, 16, 32, 64):
        yield f"{alphabet}: bit after the last", {"alphabet": alphabet} | zeros, set_byte(0, -1, lambda b: b | 0x80)
    yield "6: padding", {"alphabet": 6, "h": 0, "shape": (1, 64)}, set_byte(0, -1, lambda b: b + 36)
    yield "6: 216", {"alphabet": 6}, set_byte(0, 0, 216)
    yield "6: 255", {"alphabet": 6}, set_byte(1, 0, 255)
    for alphabet, bit in ((8, 0x40), (8, 0x80), (32, 0x20), (64, 0x40)):
        options = {"alphabet": alphabet, "codec": "zstd"} | zeros
        yield f"{alphabet}: aligned, unused bit", options, recompressed(0, lambda p, bit=bit: or_byte(p, 99, bit))
    yield "8: aligned, missing code", {"alphabet": 8, "codec": "zstd"} | zeros, recompressed(0, lambda p: or_byte(p, -1, 8))
    yield "6: coded, padding", {"alphabet": 6, "codec": "zstd", "h": 0, "shape": (64, 64)}, recompressed(
        0, lambda p: or_byte(p, -1, 128)
    )
    dense = forge.compress(forge.pack([3] * 4095, 3), 2)
    yield "zstd over dense codes", {"alphabet": 8, "codec": "zstd"} | zeros, assign(0, stored=dense)
    aligned = forge.compress(forge.pack_aligned([3] * 4095, 3, 2), 1)
    yield "lz4 over aligned codes", {"alphabet": 8, "codec": "lz4"} | zeros, assign(0, stored=aligned)
    few = forge.compress(forge.pack([7] * 35, 4), 2)
    yield "zstd that is not shorter", {"codec": "zstd", "h": 0}, assign(0, stored=few, codec=2)
    yield "lz4 in a tensor of zstd", {"codec": "zstd", "h": 0}, assign(0, codec=1)

    yield "class 3 of 2", {"row_classes": 2}, set_byte(-1, 0, lambda b: b | 3)
    yield "class 3 of 3", {"row_classes": 3}, set_byte(-1, 0, lambda b: b | 3)
    yield "padding of classes", {"row_classes": 4}, set_byte(-1, 1, lambda b: b | 4)
    yield "padding of low bits", {"alphabet": 256, "low_bits": 3}, set_byte(-1, -1, lambda b: b | 0x80)
    yield "extras without classes", {"row_classes": 2}, assign(-1, stored=b"\0")
    yield "extras without low bits", {"alphabet": 256, "low_bits": 3}, assign(-1, stored=bytes(13))

    yield "too few in stream 0", {"h": 0}, counts(34, 1)
    yield "one symbol less", {"h": 0}, counts(34, 0)
    yield "one symbol more", {"h": 0}, counts(36, 0)
    yield "one symbol more, in stream 1", {"h": 0}, counts(35, 1)
    yield "count without bytes", {"h": 0}, assign(1, symbols=1)
    yield "bytes without count", {"h": 0}, assign(1, stored=b"\0")
    yield "codec of an empty stream", {"h": 0, "codec": "zstd"}, assign(1, codec=2)
    yield "codec of no escapes", {"h": 0, "codec": "zstd"}, assign(2, codec=2)
    yield "an escape too much", {}, assign(2, stored=b"\x09", symbols=1)
    yield "an escape with 256", {"alphabet": 256}, assign(2, stored=b"\x09", symbols=1)
    yield "an escape too few", {"h": 20}, assign(2, stored=bytes([20] * 34), symbols=34)
    yield "escape counted, not there", {"h": 20}, assign(2, symbols=36)
    yield "escape there, not counted", {"h": 20}, assign(2, stored=bytes([20] * 36))
    yield "extras with symbols", {}, assign(3, symbols=1)
    yield "extras with a codec", {"codec": "zstd"}, assign(3, codec=2)
    many = b"".join(np.uint32(i).tobytes() + bytes(4) for i in range(35))
    yield "extras compressed", {"codec": "zstd"}, assign(3, stored=forge.compress(many, 2), codec=2)

    yield "patches of one index", {}, extras((3, 1), (3, 2))
    yield "patches out of order", {}, extras((4, 1), (3, 2))
    yield "patch beyond", {}, extras((35, 1))
    yield "patch far beyond", {}, extras((2**32 - 1, 1))
    yield "half a patch", {}, assign(3, stored=bytes(7))
    for value in (np.inf, -np.inf, np.nan):
        yield f"patch {value}", {}, extras((3, value))
    for dtype, bits in (("F16", 0x7C00), ("F16", 0xFC00), ("F16", 0x7C01), ("BF16", 0x7F80), ("BF16", 0xFFC0)):
        yield f"patch {dtype} {bits:x}", {"dtype": dtype}, extras((3, bits), dtype="<u2")
    yield "infinite weights", {"step": 3e38}, lambda t: None
    yield "an infinite weight", {"step": 1e38, "h": np.eye(5, 7, dtype=int) * 7}, extras((0, 1), (8, 1), (16, 1), (24, 1))


BROKEN = list(broken())


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[what for what, *_ in BROKEN])
def test_refused(tmp_path, number):
    what, parameters, change = BROKEN[number]
    forgery = forged(**parameters)
    if "infinite weight" not in what:
        judge(tmp_path, forgery, legal=True, what=f"before: {what}")
    change(forgery.tiles[0])
    judge(tmp_path, forgery, what=what)


@pytest.mark.parametrize("change", [
    {"states": 4}, {"states": 64}, {"states": 8.0}, *({"alphabet": a} for a in (0, 2, 5, 7, 128, 255, 512)), {"low_bits": 2},
    {"alphabet": 256, "low_bits": 1}, {"alphabet": 256, "low_bits": 7}, {"row_classes": 0}, {"row_classes": 5},
    {"row_classes": True}, {"bits": 3}, {"codec": "lzma"}, {"dtype": "F64"},
], ids=str)  # fmt: skip
def test_refused_descriptions(tmp_path, change, monkeypatch):
    forgery = forged()
    data, table_end = forge.payload(forgery)
    forgery.about |= change
    monkeypatch.setattr(forge, "payload", lambda _: (data, table_end))
    judge(tmp_path, forgery, what=str(change))


@pytest.mark.parametrize("at,form,value", [
    (8, "<H", 1), (10, "B", 16), (11, "B", 2), (12, "<H", 8), (14, "<H", 2), (16, "B", 2), (17, "B", 1), (18, "<H", 6),
    (20, "<I", 2), (24, "<Q", 6), (32, "<Q", 8), (40, "<I", 4), (44, "<I", 64), (48, "<Q", 8), (56, "<Q", 64),
])  # fmt: skip
def test_refused_prologues(tmp_path, at, form, value):
    forgery = forged()
    judge(tmp_path, forgery, legal=True)
    forgery.prologue = {at: (form, value)}
    judge(tmp_path, forgery)


def test_legal_though_unusual(tmp_path):
    for low_bits, expected in ((0, -128), (3, None)):
        forgery = forged(alphabet=256, low_bits=low_bits, h=-128)
        assert set(forgery.tiles[0].streams[0].stored) == {255}
        weights = judge(tmp_path, forgery, legal=True, what="code 255 of 256")
        assert (weights[:7] == expected).all() if expected else (weights <= -1016).all()
    forgery = forged(alphabet=8, h=5)
    forgery.tiles[0].streams[2].stored = bytes([1] * 35)
    assert judge(tmp_path, forgery, legal=True, what="an escape that needs none")[0] == 1
    weights = judge(tmp_path, forged(patches=[(3, elements("F32", [-0.0]))]), legal=True, what="patch of -0")
    assert weights[3] == 0 and np.signbit(weights[3])
    h = np.where(np.arange(35).reshape(5, 7) == 4, 7, 0)
    weights = judge(tmp_path, forged(step=1e38, h=h, patches=[(4, elements("F32", [1]))]), legal=True)
    assert weights[4] == 1
    judge(tmp_path, forged(step=2.0**-126), legal=True, what="the least step")
    judge(tmp_path, forged(patches=[(i, elements("F32", [i])) for i in range(35)]), legal=True, what="only patches")
    judge(tmp_path, forged(codec="zstd"), legal=True, what="nothing compressed")
    judge(tmp_path, forged(dtype="F16", step=60000.0), legal=True, what="beyond F16")
    ingot("export", tmp_path / "q", tmp_path / "own", code=65)


# ---------------------------------------------------------------- the worked example of the document


def test_worked_example():
    document = (ROOT / "Specs/trellis.md").read_text()
    step, streams, rows = example.trellis_of_document(document)
    about = forge.describe("F32", [5, 3], alphabet=8)
    tensor = decoder.Tensor("example", "F32", [5, 3], memoryview(b""), about)
    chunk = decoder.Chunk(5, 3, 0, 0, [(stored, 0) for stored, _ in streams], ())
    chunk.step, chunk.symbols = np.frombuffer(step, "<f4")[0], [count for _, count in streams]
    weights = tensor.weights(chunk).reshape(5, 3)
    assert [" ".join(f"{w:g}" for w in row) for row in weights] == [row[-1] for row in rows]
    symbols = np.array([row[2].split() for row in rows], int)
    tile, forged_weights = forge.tile_of(about, symbols, float(chunk.step))
    assert [(s.stored, s.symbols) for s in tile.streams] == streams and (forged_weights == weights).all()
    chunk.streams[-1] = (bytes.fromhex("0e00000000004040"), 0)
    assert "`0e000000 00004040` the last weight would be 3." in document
    assert tensor.weights(chunk).tolist() == [*weights.reshape(-1)[:14], 3]

    data = example.TRELLIS_FIXTURE.read_bytes()
    assert example.trellis_section(data) in document
    tensors = {t.name: t for t in decoder.open_shard(data, "example")[0]}
    source = {name: (dtype, shape, memoryview(b)) for name, dtype, shape, b in example.trellis_source()}
    decoder.compare_with_source(tensors, source)


def test_worked_example_is_what_ingot_writes(tmp_path):
    """Fails where the quantizer has changed: run make_example.py again."""
    example.convert(INGOT, tmp_path, example.trellis_source(), example.TRELLIS_OPTIONS)
    made = (Path(tmp_path) / "q/model.safetensors").read_bytes()
    tensors = [decoder.open_shard(data, "example")[0] for data in (made, example.TRELLIS_FIXTURE.read_bytes())]
    assert [bytes(t.data) for t in tensors[0]] == [bytes(t.data) for t in tensors[1]]
