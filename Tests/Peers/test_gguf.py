"""GGUF and NumPy files as their own packages write and read them, against what ingot makes of them."""

import ctypes
import json
import os
import resource
import struct
import subprocess
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
BLOCKS = [
    T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4,
]
# Half-precision numbers at their limits: zeros, subnormals, the largest, infinities, NaN.
EXTREMES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFFFF]


def ingot(*arguments, code=0):
    done = subprocess.run([INGOT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


def write(path, tensors, metadata=()):
    """A file of arrays, some of them blocks with a type given."""
    writer = gguf.GGUFWriter(path, "llama")
    for add in metadata:
        add(writer)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def decoded(source, directory):
    """What ingot reads, as F32, through its lossless form and back."""
    ingot("convert", source, directory / "sealed", "--scheme", "lossless", "--allow-requantize")
    ingot("export", directory / "sealed", directory / "plain")
    return load_file(directory / "plain/model.safetensors")


def equal_bits(found, expected):
    """Bit for bit, but any NaN for any other."""
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    nan = np.isnan(expected)
    assert (np.isnan(found) == nan).all()
    assert (found.view(np.uint32)[~nan] == expected.view(np.uint32)[~nan]).all()


def llama():
    """ggml's own library, where llama-cpp-python is installed; the package has no wheel on PyPI."""
    try:
        import llama_cpp

        return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib/libggml-base.so"))
    except (ImportError, OSError):
        return None


def blocks(kind, count, rng):
    """Random codes; then every pair of extremes in the places of the scales; then all bytes the same, for each byte."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    places = {T.Q2_K: [80, 82], T.Q3_K: [108], T.Q6_K: [208], T.MXFP4: [], T.Q4_1: [0, 2], T.Q5_1: [0, 2],
              T.Q4_K: [0, 2], T.Q5_K: [0, 2]}.get(kind, [0])
    for index, (first, second) in enumerate((a, b) for a in EXTREMES for b in EXTREMES):
        for place, value in zip(places, (first, second)):
            data[index, place:place + 2] = np.frombuffer(struct.pack("<H", value), np.uint8)
    for value in range(256):
        data[256 + value] = value
        if kind == T.MXFP4:
            data[512 + value, 0] = value
    return data


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_blocks_decode_bit_for_bit(tmp_path, kind):
    rng = np.random.default_rng(int(kind))
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    codes = blocks(kind, 64 * 64, rng).reshape(64, -1)
    write(tmp_path / "x.gguf", {"a.weight": (codes, kind)})
    found = decoded(tmp_path / "x.gguf", tmp_path)["a.weight"]
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(codes, kind)
    equal_bits(found, expected)
    library = llama()
    if library:
        own = np.empty(expected.shape, np.float32)
        name = kind.name.lower().replace("_k", "_K")
        function = getattr(library, f"dequantize_row_{name}")
        function(codes.ctypes.data_as(ctypes.c_void_p), own.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(own.size))
        equal_bits(found, own)


def test_elements_are_as_they_were(tmp_path):
    rng = np.random.default_rng(1)
    arrays = {
        "f32": rng.standard_normal((5, 33)).astype(np.float32), "f16": rng.standard_normal((7, 3)).astype(np.float16),
        "i8": rng.integers(-128, 128, (9,), np.int8), "i16": rng.integers(-9, 9, (2, 3), np.int16),
        "i32": rng.integers(-9, 9, (4,), np.int32), "i64": rng.integers(-9, 9, (2, 2, 2), np.int64),
        "f64": rng.standard_normal((3,)),
    }
    write(tmp_path / "x.gguf", {name: (array, None) for name, array in arrays.items()})
    found = decoded(tmp_path / "x.gguf", tmp_path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_metadata_and_the_account_of_bytes(tmp_path):
    write(
        tmp_path / "x.gguf", {"a": (np.zeros((2, 3), np.float32), None)}, [
            lambda w: w.add_uint8("u", 7), lambda w: w.add_int64("i", -7), lambda w: w.add_float32("f", 0.5),
            lambda w: w.add_bool("b", True), lambda w: w.add_string("s", "ä"), lambda w: w.add_array("l", ["x", "y"]),
            lambda w: w.add_array("n", list(range(1000))), lambda w: w.add_custom_alignment(64),
        ])
    report = json.loads(ingot("inspect", tmp_path / "x.gguf", "--format", "json"))
    assert report["format"] == "gguf"
    assert report["bytes"]["total"] == (tmp_path / "x.gguf").stat().st_size
    metadata = report["files"][0]["metadata"]
    expected = {"u": "7", "i": "-7", "f": "0.5", "b": "true", "s": "ä", "l": "[x, y]", "n": "[i32 x 1000]"}
    assert {key: metadata[key] for key in expected} == expected


def test_split_files(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2, small_first_shard=True)
    arrays = {f"t{i}": np.full((3, 4), i, np.float32) for i in range(5)}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file(tmp_path / "m.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 4
    for path in (parts[0], parts[2], tmp_path):
        report = json.loads(ingot("inspect", path, "--format", "json"))
        assert [tensor["name"] for tensor in report["tensors"]] == list(arrays)
    parts[1].unlink()
    ingot("inspect", parts[0], code=65)


# --- Files that are not right -----------------------------------------------------------------------------------------

MUTATIONS = 1000
# Bytes of the valid file that stand before its data.
HEADER = 416


def valid(path):
    rng = np.random.default_rng(3)
    write(
        path, {
            "token_embd.weight": (rng.integers(0, 256, (2, 34), dtype=np.uint8), T.Q8_0),
            "norm": (np.ones(3, np.float32), None), "w": (rng.integers(0, 256, (1, 144), dtype=np.uint8), T.Q4_K),
        }, [
            lambda w: w.add_bool("flag", True), lambda w: w.add_array("tokens", [f"t{i}" for i in range(12)]),
            lambda w: w.add_uint32("general.quantization_version", 2),
        ])
    return path.read_bytes()


def mutated(data, rng):
    """One or two changes in the header: a byte, a 64-bit word of an extreme, a cut, bytes put in or taken out."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        place = int(rng.integers(0, max(1, min(HEADER, len(data)))))
        match rng.integers(0, 5):
            case 0: data[place:place + 1] = bytes(byte ^ 1 << int(rng.integers(0, 8)) for byte in data[place:place + 1])
            case 1: data[place:place + 1] = bytes(rng.integers(0, 256, 1, np.uint8))
            case 2:
                value = [0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1][rng.integers(0, 7)]
                data[place:place + 8] = struct.pack("<Q", value)
            case 3: del data[int(rng.integers(place, len(data) + 1)):]
            case 4: data[place:place + int(rng.integers(0, 9))] = bytes(rng.integers(0, 256, int(rng.integers(0, 9)), np.uint8))
    return bytes(data)


def names(path):
    """What gguf reads, as names; an error's name otherwise. A count of 2^63 keeps it busy: it is asked in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            result = [[tensor.name for tensor in gguf.GGUFReader(path).tensors], ""]
        except BaseException as error:  # noqa: BLE001: it lets through whatever numpy raises
            result = [None, type(error).__name__]
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else [None, "no end"]


class Parameters(ctypes.Structure):
    """`gguf_init_params`."""

    _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]


def verdict_of_ggml(library, path):
    """Whether ggml takes a header; it may abort, so it is asked in a process of its own."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        library.gguf_init_from_file.restype = ctypes.c_void_p
        library.gguf_init_from_file.argtypes = [ctypes.c_char_p, Parameters]
        found = library.gguf_init_from_file(str(path).encode(), Parameters(True, None))
        os._exit(0 if found else 1)
    status = os.waitpid(child, 0)[1]
    return "dies" if os.WIFSIGNALED(status) else "refuses it" if os.WEXITSTATUS(status) else "reads it"


# Why ingot refuses what gguf's reader takes, by the code of the error.
STRICTER_THAN_GGUF = {
    "offsetsNotContiguous": "it takes tensors from anywhere; llama.cpp requires that they follow each other",
    "invalidOffsets": "it asks for no alignment, and views of data cut short are only shorter",
    "trailingBytes": "it does not look behind the last tensor",
    "invalidText": "NUL in names and keys",
    "headerSyntax": "truth values of 2 and more, empty keys, keys of the layout with other types",
    "nameTooLong": "names of 64 bytes and more, which llama.cpp refuses",
    "headerLength": "reading beyond the end gives it fewer elements than asked for",
    "invalidShape": "products that wrap, and five dimensions",
    "unsupportedSource": "big-endian files, and types that ingot cannot decode",
    "tooManyTensors": "limits", "headerTooLarge": "limits",
}
# Why it refuses what ggml takes.
STRICTER_THAN_GGML = {
    "invalidText": "names and keys that are no UTF-8, or hold NUL",
    "invalidOffsets": "data that is cut short, which only llama.cpp's loader finds, later",
    "trailingBytes": "bytes that belong to nothing",
    "invalidShape": "2^61 elements and more, for which no file is large enough",
}


def test_malformed_files(tmp_path):
    """Each mutation is read alike by all, or refused by ingot for a reason that is known; none is taken that another refuses."""
    data = valid(tmp_path / "valid.gguf")
    rng = np.random.default_rng(17)
    library = llama()
    table, surprises = Counter(), []
    for number in range(MUTATIONS):
        path = tmp_path / "m.gguf"
        path.write_bytes(mutated(data, rng))
        theirs, error = names(path)
        # `inspect` also lists types that nobody knows (test_gguf_inspect.py); `diff` opens a file as all other commands do.
        done = subprocess.run(
            [INGOT, "diff", path, path, "--headers-only", "--format", "json"], capture_output=True, timeout=120)
        listed = subprocess.run([INGOT, "inspect", path, "--headers-only"], capture_output=True, timeout=120)
        assert listed.returncode in (0, done.returncode), (number, listed)
        assert done.returncode in (0, 65), (number, done)
        if library:
            verdict = verdict_of_ggml(library, path)
            table[f"ingot {'reads' if done.returncode == 0 else 'refuses'} it, ggml {verdict}"] += 1
            assert done.returncode != 0 or verdict == "reads it", number
        if done.returncode == 0:
            ours = [tensor["name"] for tensor in json.loads(done.stdout)["tensors"]]
            if theirs is None:
                table["ingot alone reads it: " + error] += 1
                surprises.append((number, error))
            else:
                assert ours == theirs, number
                table["both read it"] += 1
        else:
            code = done.stderr.decode().split("error: ")[1].split(":")[0]
            table[("both refuse it: " if theirs is None else "ingot alone refuses it: ") + code] += 1
            assert theirs is None or code in STRICTER_THAN_GGUF, (number, done.stderr)
            assert not library or verdict != "reads it" or code in STRICTER_THAN_GGML, (number, done.stderr)
    for line, count in sorted(table.items()):
        print(f"{count:6} {line}")
    assert not surprises
    assert table["both read it"] > 30


# --- NumPy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3), (2, 1, 3)], ids=str)
def test_npy(tmp_path, dtype, shape):
    array = np.random.default_rng(2).integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "layer.weight.npy", array)
    ingot("convert", tmp_path / "layer.weight.npy", tmp_path / "sealed", "--scheme", "lossless")
    ingot("export", tmp_path / "sealed", tmp_path / "plain")
    found = load_file(tmp_path / "plain/model.safetensors")["layer.weight"]
    assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [
    np.asfortranarray(np.ones((2, 3), np.float32)), np.ones(3, ">f4"), np.array([None]), np.array(["a"]),
    np.ones(2, "V2"), np.zeros(2, [("a", "<f4")]),
], ids=["fortran", "big-endian", "objects", "text", "void", "structured"])
def test_npy_that_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    done = subprocess.run([INGOT, "inspect", tmp_path / "a.npy"], capture_output=True)
    assert done.returncode == 65 and b"unsupportedSource" in done.stderr and b"to do:" in done.stderr


def test_npz(tmp_path):
    rng = np.random.default_rng(5)
    arrays = {"a.weight": rng.standard_normal((3, 5)).astype(np.float32), "block/b": rng.integers(0, 9, 7),
              "empty": np.zeros((0, 2), np.float16), "scalar": np.float32(3)}
    np.savez(tmp_path / "m.npz", **arrays)
    report = json.loads(ingot("inspect", tmp_path / "m.npz", "--format", "json"))
    assert report["format"] == "numpy" and report["bytes"]["total"] == (tmp_path / "m.npz").stat().st_size
    ingot("convert", tmp_path / "m.npz", tmp_path / "sealed", "--scheme", "lossless")
    ingot("verify", tmp_path / "sealed", "--against", tmp_path / "m.npz")
    ingot("export", tmp_path / "sealed", tmp_path / "plain")
    found = load_file(tmp_path / "plain/model.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes()
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    done = subprocess.run([INGOT, "inspect", tmp_path / "c.npz"], capture_output=True)
    assert done.returncode == 65 and b"savez" in done.stderr
    damaged = bytearray((tmp_path / "m.npz").read_bytes())
    damaged[damaged.index(arrays["a.weight"].tobytes()) + 5] ^= 1
    (tmp_path / "d.npz").write_bytes(damaged)
    done = subprocess.run([INGOT, "inspect", tmp_path / "d.npz"], capture_output=True)
    assert done.returncode == 65 and b"checksum" in done.stderr


def test_the_same_weights_from_every_format(tmp_path):
    """A matrix converts to the same bytes from safetensors, GGUF and .npy."""
    weights = (np.random.default_rng(4).standard_normal((64, 96)) * 0.02).astype(np.float16)
    save_file({"w": weights}, tmp_path / "w.safetensors")
    np.save(tmp_path / "w.npy", weights)
    write(tmp_path / "w.gguf", {"w": (weights, None)})
    files = []
    for suffix in ("safetensors", "npy", "gguf"):
        ingot("convert", tmp_path / f"w.{suffix}", tmp_path / suffix)
        files.append((tmp_path / suffix / "model.safetensors").read_bytes())
    assert files[0] == files[1] == files[2]
