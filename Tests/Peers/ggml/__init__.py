"""ggml's quantizers of one pinned version, compiled so that their bytes depend on no instruction set.

The source is that of llama.cpp inside the source distribution of llama-cpp-python (`requirements.txt` pins version and hash). pip
downloads it; only the files that ggml-quants.c needs are taken from it. They are compiled without `-march`, so without fused
multiply-adds, and with `-ffp-contract=off`. The library stays in `.venv-peers/`.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

HERE = Path(__file__).resolve().parent
PINNED = (HERE / "requirements.txt").read_text().split()[0]
FOLDER = HERE.parents[2] / ".venv-peers" / f"ggml-{PINNED.split('==')[1]}"
FLAGS = ["-O2", "-ffp-contract=off", "-fPIC", "-shared", "-D_GNU_SOURCE"]

# What ggml-quants.c includes, directly or not.
FILES = ["include/ggml.h", "include/ggml-alloc.h", "include/ggml-backend.h", "include/ggml-cpu.h", "include/gguf.h",
         "src/ggml-common.h", "src/ggml-impl.h", "src/ggml-quants.c", "src/ggml-quants.h", "src/ggml-cpu/ggml-cpu-impl.h"]

BLOCKS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
PLAIN = ["F32", "F16", "BF16"]


def _run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def _extract(archive, folder):
    """Writes FILES of the source distribution into `folder`. A missing one is an error."""
    found = set()
    with tarfile.open(archive) as source:
        for member in source:
            _, _, name = member.name.partition("/vendor/llama.cpp/ggml/")
            if name in FILES:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.extractfile(member).read())
                found.add(name)
    if found != set(FILES):
        raise RuntimeError(f"{archive} has no {', '.join(sorted(set(FILES) - found))}")


@cache
def library():
    """The compiled library. Downloads and compiles it on first use; INGOT_GGML_SDIST names an archive that is there already."""
    path = FOLDER / "libggml-quants.so"
    shim = HERE / "shim.c"
    if not path.exists() or path.stat().st_mtime < shim.stat().st_mtime:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
            temporary = Path(temporary)
            if not (FOLDER / FILES[-1]).exists():
                archive = os.environ.get("INGOT_GGML_SDIST")
                if not archive:
                    # As source: pip asks the package for its metadata, and compiles nothing.
                    _run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary",
                         "llama-cpp-python", "--require-hashes", "--dest", temporary, "-r", HERE / "requirements.txt")
                    archive = next(temporary.glob("*.tar.gz"))
                _extract(archive, temporary / "source")
                shutil.copytree(temporary / "source", FOLDER, dirs_exist_ok=True)
            _run("cc", *FLAGS, "-I", FOLDER / "include", "-I", FOLDER / "src", shim, FOLDER / "src/ggml-quants.c", "-lm", "-o",
                 temporary / path.name)
            os.replace(temporary / path.name, path)
    found = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    found.peer_quantize.restype = found.peer_dequantize.restype = found.peer_row_size.restype = ctypes.c_size_t
    found.peer_quantize.argtypes = [ctypes.c_int, pointer, pointer, size, size, pointer]
    found.peer_dequantize.argtypes = [ctypes.c_int, pointer, pointer, size]
    found.peer_row_size.argtypes = [ctypes.c_int, size]
    return found


def block(name):
    """Weights in a block of the type `name`."""
    return GGML_QUANT_SIZES[GGMLQuantizationType[name]][0]


def bfloat16(weights):
    """The upper 16 bits of float32 values, rounded to nearest, ties to even. A NaN stays one and becomes quiet."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(weights), (bits >> 16) | 64, rounded).astype("<u2")


def quantize(weights, name, importance=None):
    """The bytes of a matrix as type `name`: uint8, [rows, bytes of a row].

    `weights`: float32, [rows, columns], columns a multiple of the block. `importance`: float32, [columns], the weights of an importance
    matrix.
    """
    weights = np.ascontiguousarray(weights, np.float32)
    rows, columns = weights.shape
    if name in PLAIN:
        with np.errstate(over="ignore"):
            plain = {"F32": lambda: weights, "F16": lambda: weights.astype("<f2"), "BF16": lambda: bfloat16(weights)}[name]()
        return plain.view(np.uint8).reshape(rows, -1)
    kind = GGMLQuantizationType[name].value
    if importance is not None:
        importance = np.ascontiguousarray(importance, np.float32)
        assert importance.shape == (columns,)
    assert columns % block(name) == 0
    out = np.zeros((rows, library().peer_row_size(kind, columns)), np.uint8)
    written = library().peer_quantize(kind, weights.ctypes.data, out.ctypes.data, rows, columns,
                                      None if importance is None else importance.ctypes.data)
    assert written == out.nbytes
    return out


def dequantize(blocks, name, columns):
    """The float32 values of rows of blocks: [rows, columns]."""
    blocks = np.ascontiguousarray(blocks, np.uint8)
    out = np.empty((len(blocks), columns), np.float32)
    read = library().peer_dequantize(GGMLQuantizationType[name].value, blocks.ctypes.data, out.ctypes.data, out.size)
    assert read == blocks.nbytes
    return out
