"""Conversions by the built `ingot` (environment variable INGOT), read by the decoder in this folder.

What is compared: decoded values with `ingot export --dtype f32`, kept and lossless bytes and the error
certificates with the source, all to the last bit; the layout with the documents, by the decoder's checks.
"""

import filecmp
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import ingot_decoder as decoder  # noqa: E402
import make_example as example  # noqa: E402

INGOT = os.path.abspath(os.environ.get("INGOT", ROOT / ".build/release/ingot"))
SAMPLE = ROOT / "SampleWeights"
SAMPLES = {"f16": SAMPLE, "f32": SAMPLE / "fp32", "bf16": SAMPLE / "bf16"}

BITS, GROUPS, SYMMETRIC, CODECS = (2, 3, 4, 5, 6, 8), (32, 64, 128), (False, True), ("zstd", "lz4", "none")
MATRIX = list(itertools.product(BITS, GROUPS, SYMMETRIC, CODECS))


def ingot(*arguments, code=0):
    done = subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}"
    return done


def uniform_options(bits, group, symmetric, codec):
    return ["--scheme", "uniform", "--bits", bits, "--group-size", group, "--codec", codec] + ["--symmetric"] * symmetric


def same_files(one, other):
    names = [sorted(str(p.relative_to(d)) for p in d.rglob("*") if p.is_file()) for d in (one, other)]
    assert names[0] == names[1]
    different = [n for n in names[0] if not filecmp.cmp(one / n, other / n, shallow=False)]
    assert not different


def exported(folder):
    """name -> array of all shards, by the PyPI reader."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(safetensors.numpy.load_file(path))
    return tensors


def check(source, dest, out=None):
    """Opens DEST with every check, compares with the source, and with an export to F32 where there is one."""
    tensors = decoder.open_checkpoint(str(dest))
    decoder.compare_with_source(tensors, decoder.read_source(str(source)))
    check_json(source, dest)
    check_order(source, dest)
    if out is None:
        return tensors
    arrays = decoder.read_source(str(out))
    assert arrays.keys() == tensors.keys()
    if not any(t.dtype.startswith(("F8", "F6", "F4")) for t in tensors.values()):  # types numpy cannot hold
        assert exported(out).keys() == tensors.keys()
    for name, tensor in tensors.items():
        dtype, shape, data = arrays[name]
        assert shape == tensor.shape
        if tensor.scheme in decoder.LOSSY:
            assert (dtype, bytes(data)) == tensor.decode()
        elif tensor.dtype in decoder.WIDTH:
            assert dtype == "F32"
            _, original = tensor.decode()
            unsigned = np.frombuffer(original, {2: "<u2", 4: "<u4"}[decoder.WIDTH[tensor.dtype]])
            assert bytes(data) == decoder.to_float32(unsigned, tensor.dtype).tobytes(), name
    return tensors


def check_order(source, dest):
    """Shards in the order of the source's names; encoded tensors in its order; then kept ones by falling size."""
    files = [Path(source)] if Path(source).is_file() else sorted(Path(source).glob("*.safetensors"), key=os.fsencode)
    shards = sorted(dest.glob("*.safetensors"))
    assert len(files) == len(shards)
    for file, shard in zip(files, shards):
        before = [e for e in decoder.safetensors_header(file.read_bytes(), "source")[0] if e.end > e.start]
        entries, metadata, _ = decoder.safetensors_header(shard.read_bytes(), "shard")
        after = [e.name for e in entries[:-1] if e.end > e.start]
        encoded = [e.name for e in before if f"ingot:{e.name}" in metadata]
        kept = [e for e in before if e.name not in encoded]
        kept.sort(key=lambda e: -max(8, decoder.ITEM_BITS[e.dtype]))
        assert after == encoded + [e.name for e in kept]


def check_json(source, dest):
    if Path(source).is_dir() and (Path(source) / "config.json").exists():
        before = json.loads((Path(source) / "config.json").read_text())
        text = (dest / "config.json").read_text()
        after = json.loads(text)
        inserted = re.search(r',?\n  "quantization_config": \{[^{}]*\}', text)[0]
        assert text.replace(inserted, "") == (Path(source) / "config.json").read_text()
        assert list(after) == [*before, "quantization_config"]
        assert after.pop("quantization_config")["quant_method"] == "ingot" and after == before


# ---------------------------------------------------------------- sources


def random_floats(rng, dtype, shape, scale=0.05):
    values = (rng.standard_normal(shape) * scale).astype(np.float32)
    if dtype == "F16":
        return values.astype(np.float16).tobytes()
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.tobytes()


SHAPES = [
    [7, 200], [5, 33], [64, 1], [1, 77], [1, 1], [3, 4, 50], [2, 3, 2, 65], [1, 128], [130, 127],
    [9, 31], [2, 1, 1], [300, 1100],
]  # fmt: skip


@pytest.fixture(scope="session")
def odd(tmp_path_factory):
    """Shapes and values at the edges, and everything that is kept."""
    rng, tensors = np.random.default_rng(20261121), []
    for number, (shape, dtype) in enumerate((s, d) for s in SHAPES for d in ("F16", "BF16", "F32")):
        scale = (0.05, 3e-6, 40.0)[number % 3]
        tensors.append((f"m{number:02}.weight", dtype, shape, random_floats(rng, dtype, shape, scale)))
    constant = np.tile(np.array([0, -0.0, 0.5, -2], np.float32)[:, None], (1, 70))
    tensors.append(("constant", "F32", [4, 70], constant.tobytes()))
    tensors.append(("subnormal", "F16", [2, 64], np.arange(128, dtype=np.uint16).tobytes()))
    tensors.append(("big", "F16", [2, 64], np.linspace(-65504, 65504, 128).astype(np.float16).tobytes()))
    tensors.append(("outlier", "F32", [2, 40], np.r_[np.full(79, 1e-20, "f4"), np.float32(1e20)].tobytes()))
    for dtype, bits in decoder.ITEM_BITS.items():
        data = rng.integers(0, 2 if dtype == "BOOL" else 60, 12 * bits // 8, dtype=np.uint8).tobytes()
        if dtype not in decoder.ELEMENTS:
            tensors.append((f"kept.{dtype}", dtype, [3, 4], data))
        tensors.append((f"vector.{dtype}", dtype, [12], data))
    tensors += [("empty", "F32", [0, 5], b""), ("empty.i8", "I8", [0], b""), ("rank0", "F32", [], b"\0\0\x80?")]
    rng.shuffle(tensors)
    folder = tmp_path_factory.mktemp("odd")
    decoder.write_safetensors(folder / "model.safetensors", [(n, d, s, b) for n, d, s, b in tensors])
    (folder / "config.json").write_text('{"model_type": "none", "hidden": 7}\n')
    return folder


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """Rows that are cut into pieces, the last of them shorter and with a shorter group."""
    rng, folder = np.random.default_rng(7), tmp_path_factory.mktemp("wide")
    columns = decoder.CHUNK * 2 + 75
    tensors = [("wide", "BF16", [2, columns], random_floats(rng, "BF16", (2, columns)))]
    tensors.append(("exact", "F16", [1, decoder.CHUNK], random_floats(rng, "F16", decoder.CHUNK)))
    decoder.write_safetensors(folder / "model.safetensors", tensors)
    return folder


# ---------------------------------------------------------------- conversions


@pytest.mark.parametrize("bits,group,symmetric,codec", MATRIX)
def test_odd_shapes(odd, tmp_path, bits, group, symmetric, codec):
    ingot("convert", odd, tmp_path / "q", *uniform_options(bits, group, symmetric, codec))
    ingot("export", tmp_path / "q", tmp_path / "e", "--to", "safetensors", "--dtype", "f32")
    tensors = check(odd, tmp_path / "q", tmp_path / "e")
    about = tensors["m00.weight"].about
    assert [about[k] for k in ("bits", "group_size", "symmetric", "codec")] == [bits, group, symmetric, codec]
    assert {n for n, t in tensors.items() if t.about is None} >= {"empty", "rank0", "kept.I64", "vector.F16"}
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("sample,bits,group,symmetric,codec", [
    (sample, *MATRIX[(i * 37 + start) % len(MATRIX)])
    for start, sample in enumerate(SAMPLES)
    for i in range(4 if sample == "f16" else 8)
])  # fmt: skip
def test_samples(tmp_path, sample, bits, group, symmetric, codec):
    ingot("convert", SAMPLES[sample], tmp_path / "q", *uniform_options(bits, group, symmetric, codec))
    ingot("export", tmp_path / "q", tmp_path / "e", "--to", "safetensors", "--dtype", "f32")
    check(SAMPLES[sample], tmp_path / "q", tmp_path / "e")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("source", ["odd", "wide"])
@pytest.mark.parametrize("bits,group,symmetric,codec", MATRIX[::5])
def test_plain_rounding(tmp_path, request, source, bits, group, symmetric, codec):
    path = request.getfixturevalue(source)
    ingot("convert", path, tmp_path / "q", *uniform_options(bits, group, symmetric, codec), "--scales", "minmax")
    ingot("export", tmp_path / "q", tmp_path / "e", "--to", "safetensors", "--dtype", "f32")
    check(path, tmp_path / "q", tmp_path / "e")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("source", [*SAMPLES, "odd", "wide"])
def test_lossless(tmp_path, request, source, codec):
    path = SAMPLES.get(source) or request.getfixturevalue(source)
    ingot("convert", path, tmp_path / "q", "--scheme", "lossless", "--codec", codec)
    tensors = check(path, tmp_path / "q")
    assert all(t.scheme not in decoder.LOSSY for t in tensors.values())
    ingot("export", tmp_path / "q", tmp_path / "e")
    assert decoder.read_source(str(tmp_path / "e")) == decoder.read_source(str(path))
    shutil.rmtree(tmp_path)


def test_lossless_keeps_every_pattern(tmp_path):
    patterns = np.arange(65536, dtype="<u2").tobytes()
    words = np.random.default_rng(3).integers(0, 2**32, 65536, dtype=np.uint32).tobytes()
    tensors = [("f16", "F16", [256, 256], patterns), ("bf16", "BF16", [64, 1024], patterns)]
    decoder.write_safetensors(tmp_path / "s.safetensors", [*tensors, ("f32", "F32", [65536, 1], words)])
    ingot("convert", tmp_path / "s.safetensors", tmp_path / "q", "--scheme", "lossless")
    check(tmp_path / "s.safetensors", tmp_path / "q")


@pytest.mark.parametrize("symmetric,codec,bits", [(False, "zstd", 3), (True, "lz4", 5), (False, "none", 4)])
def test_wide_rows(wide, tmp_path, symmetric, codec, bits):
    ingot("convert", wide, tmp_path / "q", *uniform_options(bits, 64, symmetric, codec))
    ingot("export", tmp_path / "q", tmp_path / "e", "--dtype", "f32")
    tensors = check(wide, tmp_path / "q", tmp_path / "e")
    assert [(c.rows, c.columns) for c in tensors["wide"].chunks] == [(1, 262144), (1, 262144), (1, 75)] * 2
    shutil.rmtree(tmp_path)


def test_values_that_are_not_finite(tmp_path):
    values = np.linspace(-1, 1, 1024).astype(np.float16).reshape(16, 64)
    values[1, 3] = np.nan
    source = tmp_path / "s.safetensors"
    decoder.write_safetensors(source, [("n", "F16", [16, 64], values.tobytes()), ("f", "F16", [8, 64], values[8:].tobytes())])
    ingot("convert", source, tmp_path / "q", code=65)
    ingot("convert", source, tmp_path / "q", "--on-nonfinite", "keep")
    tensors = check(source, tmp_path / "q")
    assert (tensors["n"].scheme, tensors["f"].scheme) == ("lossless", "trellis")


def test_single_file_of_any_name(tmp_path):
    source = tmp_path / "some-name.safetensors"
    decoder.write_safetensors(source, [("ö \"q\"/\\ \n", "F32", [2, 40], np.arange(80, dtype="f4").tobytes())])
    ingot("convert", source, tmp_path / "q")
    check(source, tmp_path / "q")
    assert sorted(p.name for p in (tmp_path / "q").iterdir()) == ["ingot-manifest.json", "model.safetensors"]


def test_shards_of_other_names(tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    matrix = ("m", "F16", [3, 4], np.arange(12, dtype="<f2").tobytes())
    decoder.write_safetensors(source / "\uff5e.safetensors", [matrix])
    decoder.write_safetensors(source / "😀.safetensors", [("k", "I8", [3], b"abc")])
    index = {"metadata": {"total_size": 27}, "weight_map": {"m": "\uff5e.safetensors", "k": "😀.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    (source / "config.json").write_text('{\n\t"a": 1 ,\n "b":[ ] \n}  \n')
    for name in ("Z", "a-b", "ä", "a\u0308", "😀", "\uff5e", "x/y", 'q"\\'):
        (source / f"{name}.txt").parent.mkdir(exist_ok=True)
        (source / f"{name}.txt").write_text(name)
    ingot("convert", source, tmp_path / "q")
    assert list(check(source, tmp_path / "q")) == ["m", "k"]  # by UTF-8, not by UTF-16
    assert (tmp_path / "q" / "x/y.txt").read_text() == "x/y"


def test_no_encoded_tensor(tmp_path):
    source = tmp_path / "s.safetensors"
    decoder.write_safetensors(source, [("a", "I32", [3], bytes(12)), ("b", "F32", [], bytes(4))])
    ingot("convert", source, tmp_path / "q")
    check(source, tmp_path / "q")


@pytest.mark.parametrize("options", [
    [], ["--scheme", "uniform"], ["--scheme", "lossless"], ["--bits", "2.5", "--states", "32"],
    ["--scheme", "uniform", "--symmetric", "--codec", "lz4", "--bits", "5"],
])  # fmt: skip
def test_same_bytes_for_any_jobs_and_memory(wide, odd, tmp_path, options):
    for source in (SAMPLE, wide, odd):
        runs = [(1, "64MiB"), (2, "64MiB"), (1, "1GiB"), (2, "1GiB")]
        for number, (jobs, memory) in enumerate(runs):
            ingot("convert", source, tmp_path / str(number), "--jobs", jobs, "--max-memory", memory, *options)
            if number:
                same_files(tmp_path / "0", tmp_path / str(number))
        for number in range(len(runs)):
            shutil.rmtree(tmp_path / str(number))


# ---------------------------------------------------------------- refusals


@pytest.fixture(scope="session", params=["trellis", "uniform"])
def converted(request, tmp_path_factory, odd):
    dest = tmp_path_factory.mktemp("converted") / "q"
    ingot("convert", odd, dest, "--scheme", request.param)
    return dest


def test_every_region_is_covered(converted, tmp_path):
    """One flipped bit in header, prologue, table, chunk, padding, kept tensor, seal: all refused, by ingot, too."""
    name = "model.safetensors"
    data = (converted / name).read_bytes()
    entries, _, base = decoder.safetensors_header(data, name)
    tensors = decoder.open_checkpoint(str(converted))
    payload = next(e for e in entries if e.name == "m33.weight")
    chunk = payload.start + tensors["m33.weight"].table_end
    kept = next(e for e in entries if e.name == "kept.I64")
    seal = entries[-1].start
    spots = [0, 9, base // 2, base - 1, payload.start, payload.start + 11, payload.start + 63, payload.start + 66,
             payload.start + 85, chunk, chunk + 777, payload.end - 1, kept.start, seal, len(data) - 100,
             len(data) - 64, len(data) - 20, len(data) - 1]  # fmt: skip
    rng = np.random.default_rng(5)
    spots += list(rng.integers(0, len(data), 40))
    copy = tmp_path / "q"
    shutil.copytree(converted, copy)
    for number, spot in enumerate(spots):
        damaged = bytearray(data)
        damaged[spot] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(decoder.Damaged):
            decoder.open_shard(bytes(damaged), name)
        if number % 6 == 0:
            (copy / name).write_bytes(damaged)
            assert subprocess.run([INGOT, "verify", copy], capture_output=True).returncode == 65, spot
    for cut in (1, 64, len(data) // 2):
        with pytest.raises(decoder.Damaged):
            decoder.open_shard(data[:-cut], name)
    with pytest.raises(decoder.Damaged):
        decoder.open_shard(data + bytes(64), name)


def rehash(folder, data, payload, table_end, chunk, length):
    """Writes the shard with the checksum of chunk 0 of a payload, the seal and the manifest made right again."""
    data = bytearray(data)
    data[payload + 72 : payload + 80] = struct.pack("<Q", decoder.xxh3_64(bytes(data[chunk : chunk + length])))
    (first,) = struct.unpack_from("<Q", data, len(data) - 40)
    at = next(a for a in range(first, len(data) - 64, 32) if struct.unpack_from("<Q", data, a)[0] == payload)
    data[at + 16 : at + 32] = bytes.fromhex(decoder.xxh3_128(bytes(data[payload : payload + table_end])))
    data[-16:] = bytes.fromhex(decoder.xxh3_128(bytes(data[first:-16])))
    (folder / "model.safetensors").write_bytes(data)
    manifest = (folder / "ingot-manifest.json").read_bytes()
    manifest = re.sub(rb'(?<="seal_xxh3_128": ")[0-9a-f]{32}', data[-16:].hex().encode(), manifest)
    text = manifest[: manifest.rindex(b",")]
    (folder / "ingot-manifest.json").write_bytes(
        text + f',\n  "manifest_xxh3_128": "{decoder.xxh3_128(text)}"\n}}\n'.encode()
    )


def refused_when_rehashed(folder, name, change):
    """What `change` (given the file, the payload's start, the chunk's start) breaks is refused though all hashes are right."""
    original, manifest = (folder / "model.safetensors").read_bytes(), (folder / "ingot-manifest.json").read_bytes()
    payload = next(e for e in decoder.safetensors_header(original, name)[0] if e.name == name).start
    tensor = decoder.open_checkpoint(str(folder))[name]
    length = sum(len(stored) for stored, _ in tensor.chunks[0].streams)
    data = bytearray(original)
    rehash(folder, data, payload, tensor.table_end, payload + tensor.table_end, length)
    assert (folder / "model.safetensors").read_bytes() == original
    assert (folder / "ingot-manifest.json").read_bytes() == manifest
    change(data, payload, payload + tensor.table_end)
    rehash(folder, data, payload, tensor.table_end, payload + tensor.table_end, length)
    with pytest.raises(decoder.Damaged) as caught:
        for t in decoder.open_checkpoint(str(folder)).values():
            t.decode()
    done = subprocess.run([INGOT, "verify", folder], capture_output=True, text=True)
    (folder / "model.safetensors").write_bytes(original)
    (folder / "ingot-manifest.json").write_bytes(manifest)
    assert done.returncode == 65, f"{caught.value}: {done.stdout[-300:]}"


def test_refused_though_hashes_are_right(tmp_path):
    """One row of 7 weights at 3 bits: 3 bytes of codes (the last 3 bits unused), scale and bias in planes. It gets larger, so a rule asks for it."""
    source, folder = tmp_path / "s.safetensors", tmp_path / "q"
    decoder.write_safetensors(source, [("m", "F16", [1, 7], np.linspace(-1, 2, 7).astype("<f2").tobytes())])

    def put(at, value, chunk=False):
        def change(data, payload, start):
            data[(start if chunk else payload) + at] = value

        return change

    for symmetric in (False, True):
        options = ["--scheme", "uniform", "--bits-for", "m=3", "--codec", "none", *["--symmetric"] * symmetric]
        ingot("convert", source, folder, "--force", *options)
        changes = [put(2, 0xFF, True), put(4, 0x7C, True), put(4, 0x7F, True)]  # tail bits; scale infinite, NaN
        changes += [put(4, 0x80, True), put(4, 0xB8, True)] if symmetric else [put(6, 0xFC, True)]  # sign; bias
        changes += [put(at, 9) for at in (0, 8, 10, 11, 12, 16, 17, 18, 20, 24, 32, 40, 44, 48, 57)]  # prologue
        changes += [put(64, 0xFF), put(87, 0xFF), put(104, 1), put(112, 2), put(116, 1), put(116, 3)]  # table
        for change in changes:
            refused_when_rehashed(folder, "m", change)


def test_directory_is_covered(converted, tmp_path):
    def refused(change):
        copy = tmp_path / "q"
        shutil.copytree(converted, copy)
        change(copy)
        with pytest.raises(decoder.Damaged):
            decoder.open_checkpoint(str(copy))
        assert subprocess.run([INGOT, "verify", copy], capture_output=True).returncode not in (0, 1)
        shutil.rmtree(copy)

    def flip(path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    refused(lambda d: (d / "ingot-manifest.json").unlink())
    refused(lambda d: flip(d / "ingot-manifest.json", 40))
    refused(lambda d: flip(d / "ingot-manifest.json", -10))
    refused(lambda d: flip(d / "config.json", 5))
    refused(lambda d: (d / "config.json").unlink())
    refused(lambda d: shutil.copy(d / "model.safetensors", d / "extra.safetensors"))
    decoder.open_checkpoint(str(converted))


def test_pypi_reader(converted):
    with safetensors.safe_open(converted / "model.safetensors", framework="numpy") as reader:
        payload = reader.get_tensor("m00.weight")
        assert payload.dtype == np.uint8 and payload[:8].tobytes() == b"INGOTPL1" and len(payload) % 64 == 0
        assert reader.metadata()["format"] == "ingot"


def test_command_line(converted, odd, tmp_path):
    run = [sys.executable, HERE / "ingot_decoder.py", converted]
    subprocess.run([*run, tmp_path / "o.safetensors", "--against", odd], check=True)
    assert len(decoder.read_source(str(tmp_path / "o.safetensors"))) == len(decoder.read_source(str(odd)))
    listed = subprocess.run([*run, "--list"], check=True, capture_output=True, text=True).stdout
    assert re.search("^m00.weight  F16  7x200  (trellis 8 [0-9]+|uniform 4 64) zstd", listed, re.M)


# ---------------------------------------------------------------- the worked examples of the documents


def test_examples_of_uniform():
    about = {"bits": 3, "group_size": 32, "symmetric": False, "scheme": "uniform"}
    tensor = decoder.Tensor("example", "F16", [1, 5], memoryview(b""), about)
    planes = [(bytes([b]), 0) for b in (0x00, 0x38, 0x00, 0xBD)]
    chunk = decoder.Chunk(1, 5, 0, 0, [(bytes.fromhex("d158"), 0), *planes], ())
    assert tensor.weights(chunk).tolist() == [-0.75, -0.25, 0.25, 0.75, 1.25]
    assert decoder.aligned_codes(bytes.fromhex("112305"), 5, 3).tolist() == [1, 2, 3, 4, 5]
    about["symmetric"], chunk.streams = True, chunk.streams[:3]
    assert tensor.weights(chunk).tolist() == [-1.5, -1, -0.5, 0, 0.5]


@pytest.mark.parametrize("dtype,original,streams", [
    ("BF16", "803f20c0817f", ["004102", "7f80ff"]), ("F32", "000020c0", ["01", "00", "40", "80"]),
    ("F16", "003c", ["00", "3c"]),
])  # fmt: skip
def test_examples_of_lossless(dtype, original, streams):
    tensor = decoder.Tensor("example", dtype, [1, 1], memoryview(b""), {"scheme": "lossless"})
    chunk = decoder.Chunk(1, len(streams[0]) // 2, 0, 0, [(bytes.fromhex(s), 0) for s in streams], ())
    assert tensor.original(chunk) == bytes.fromhex(original)


def test_worked_example():
    """The bytes printed in the document, decoded, are the document's values and the fixture."""
    data = example.bytes_of_document((ROOT / "Specs/container.md").read_text())
    assert data == example.FIXTURE.read_bytes()
    tensors = {t.name: t for t in decoder.open_shard(data, "example")[0]}
    assert list(tensors) == ["matrix", "steps"]
    values = np.frombuffer(tensors["matrix"].decode()[1], "<f4").reshape(3, 40)
    assert example.values_of_document((ROOT / "Specs/container.md").read_text()) == [list(map(str, r[:4])) for r in values]
    source = {name: (dtype, shape, memoryview(b)) for name, dtype, shape, b in example.source()}
    decoder.compare_with_source(tensors, source)


def test_worked_example_is_what_ingot_writes(tmp_path):
    """Fails where the quantizer has changed: run make_example.py again."""
    example.convert(INGOT, tmp_path)
    made, kept = (tmp_path / "q/model.safetensors").read_bytes(), example.FIXTURE.read_bytes()
    versions = [decoder.safetensors_header(data, "example")[1]["ingot"] for data in (made, kept)]
    if versions[0] == versions[1]:
        assert made == kept
    tensors = [decoder.open_shard(data, "example")[0] for data in (made, kept)]  # with other versions in the header
    assert [bytes(t.data) for t in tensors[0]] == [bytes(t.data) for t in tensors[1]]


# ---------------------------------------------------------------- ingot diff


@pytest.mark.parametrize("options", [["--bits", 4], ["--scheme", "uniform", "--bits", 4], ["--scheme", "lossless"]])
def test_diff(tmp_path, options):
    """What `ingot diff` says of a model and its conversion is what numpy finds between the source and this decoder."""
    dest = tmp_path / "dest"
    ingot("convert", SAMPLE, dest, *options)
    lossless = "lossless" in options
    report = json.loads(ingot("diff", SAMPLE, dest, "--format", "json", code=0 if lossless else 1).stdout)
    source, tensors = decoder.read_source(str(SAMPLE)), decoder.open_checkpoint(str(dest))
    assert report["same"] == lossless and {t["name"] for t in report["tensors"]} == source.keys()
    for row in report["tensors"]:
        dtype, shape, data = source[row["name"]]
        before = decoder.to_float32(np.frombuffer(data, "<u2"), dtype).astype(np.float64)
        kind, decoded = tensors[row["name"]].decode()
        words = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}[kind]
        after = decoder.to_float32(np.frombuffer(decoded, words), kind).astype(np.float64)
        assert row["changed"] == int((before != after).sum()) and row["elements"] == before.size
        if row["errors"] is None:
            assert row["same_bytes"] and row["changed"] == 0
            continue
        noise = ((before - after) ** 2).sum()
        assert row["errors"]["relative_mse"] == pytest.approx(noise / (before**2).sum(), rel=1e-9)
        assert row["errors"]["max_error"] == np.abs(before - after).max()
        lengths = np.sqrt((before**2).sum() * (after**2).sum())
        assert row["errors"]["cosine"] == pytest.approx((before * after).sum() / lengths, rel=1e-9)
        assert row["errors"]["zeroed"] == int(((before != 0) & (after == 0)).sum())
        assert row["errors"]["sign_flips"] == int((before * after < 0).sum())
    top = sorted((r for r in report["tensors"] if r["changed"]), key=lambda r: -r["errors"]["relative_mse"])
    assert report["top"] == [r["name"] for r in top[:10]]
