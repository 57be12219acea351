#!/usr/bin/env python3
"""A decoder of Ingot checkpoints, written from Specs/container.md, uniform.md, trellis.md, rans.md, lossless.md alone.

    python3 ingot_decoder.py DEST OUT.safetensors [--against SOURCE]
    python3 ingot_decoder.py DEST --list [--against SOURCE]

Everything a reader must check is checked; whatever is wrong raises `Damaged`. Tensors of the schemes
`uniform` and `trellis` are written as F32, all others with their original type and bytes. Section numbers
in comments are those of container.md where they name no other document. rans.md is in rans.py. Little-endian machines only.
"""

import argparse
import json
import math
import os
import re
import struct
import sys
from dataclasses import dataclass, field

import lz4.block
import numpy as np
import safetensors
import xxhash
import zstandard

import rans

SEAL = "__ingot_seal__"
MANIFEST = "ingot-manifest.json"
CHUNK = 262144  # section 3: weights of a chunk, and columns of a piece of a wide row
ELEMENTS = {"F16": 1, "BF16": 2, "F32": 3}  # section 2, as the next
CODE_TYPES = {
    "U8": 16, "I8": 17, "F8_E4M3": 18, "F8_E5M2": 19, "F8_E8M0": 20, "U16": 21, "I16": 22, "U32": 23, "I32": 24
}  # fmt: skip
WIDTH = {"F16": 2, "BF16": 2, "F32": 4}
CODECS = {"none": 0, "lz4": 1, "zstd": 2, "rans": 3}
SCHEMES = {"uniform": 1, "lossless": 2, "trellis": 3}
LOSSY = ("uniform", "trellis")
STEMS = ("model", "adapter_model", "diffusion_pytorch_model")  # section 10, N2
SOURCE_METADATA = "ingot-source-metadata"  # section 2
STATES = {8: (5, 2), 16: (9, 2), 32: (18, 4)}  # trellis.md, section 2: H0 and H1
SCALE_BYTES = ("columns", "columns_rows")  # trellis.md, section 2: the next three too
SCALE_FEATURE = "scale_bytes"
CODE_FEATURE = "code_types"
EIGHTHS = np.array(
    [0x3F800000, 0x3F8B95C2, 0x3F9837F0, 0x3FA5FED7, 0x3FB504F3, 0x3FC5672A, 0x3FD744FD, 0x3FEAC0C7], "<u4"
).view("<f4")
CODE_BITS = {4: 2, 8: 3, 16: 4, 32: 5, 64: 6, 256: 8}  # trellis.md, section 4, by alphabet; 6 is packed otherwise
ITEM_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def width_of(dtype):
    """Bytes of an element."""
    return ITEM_BITS[dtype] // 8


class Damaged(ValueError):
    """The bytes are not what the documents allow."""


def need(condition, message):
    if not condition:
        raise Damaged(message)


def is_one_of(value, names):
    return type(value) is str and value in names


def is_zero(data):
    return not data.strip(b"\0")


def xxh3_64(data):
    return xxhash.xxh3_64_intdigest(data)


def xxh3_128(data):
    return xxhash.xxh3_128_hexdigest(data)


def nesting(text):
    """How deep brackets nest; of text that is no JSON, some number."""
    deepest = level = 0
    for character in re.findall(r"[][{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        level += 1 if character in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def parse_json(text, what, deepest=64, constants=False):
    """A document of a text or of UTF-8 bytes; `NaN` and `Infinity` only where they are allowed."""

    def members(pairs):
        need(len({k for k, _ in pairs}) == len(pairs), f"{what}: a member twice")
        for string in [k for k, _ in pairs] + [v for _, v in pairs if type(v) is str]:
            need("\0" not in string, f"{what}: NUL")
            string.encode()
        return dict(pairs)

    def constant(name):
        need(constants, f"{what}: {name}")
        return float(name)

    try:
        text = bytes(text).decode("utf-8") if not isinstance(text, str) else text
        need(nesting(text) <= deepest, f"{what}: brackets nested too deep")
        return json.loads(text, object_pairs_hook=members, parse_constant=constant)
    except Damaged:
        raise
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{what}: {error}") from None


def read(path):
    with open(path, "rb") as file:
        return file.read()


# ---------------------------------------------------------------- safetensors


@dataclass
class Entry:
    """A tensor of a safetensors file; `start` and `end` count from the start of the file."""

    name: str
    dtype: str
    shape: list
    start: int
    end: int


def safetensors_header(data, what):
    """The entries in the order of their data, `__metadata__`, and 8 + N."""
    need(len(data) >= 8, f"{what}: too short")
    base = 8 + struct.unpack_from("<Q", data)[0]
    need(base <= len(data) and base <= 8 + 100_000_000, f"{what}: header beyond the end, or too long")
    need(data[8:9] == b"{", f"{what}: header begins with no brace")
    need(bytes(data[8:base]).rstrip(b" ").endswith(b"}"), f"{what}: header ends in other than spaces")
    header = parse_json(data[8:base], what, deepest=8)
    need(isinstance(header, dict), f"{what}: header is no object")
    metadata = header.pop("__metadata__", {})
    need(isinstance(metadata, dict) and all(type(v) is str for v in metadata.values()), f"{what}: __metadata__")
    need(len(header) <= 1_000_001, f"{what}: number of tensors")  # the seal, too
    entries = []
    for name, value in header.items():
        need(len(name.encode()) <= 1024 and "\0" not in name, f"{what}: a name that is too long, or with NUL")
        need(isinstance(value, dict), f"{what}: {name}: is no object")
        need(value.keys() == {"dtype", "shape", "data_offsets"}, f"{what}: {name}: members")
        need(is_one_of(value["dtype"], ITEM_BITS), f"{what}: {name}: unknown type")
        shape, offsets = value["shape"], value["data_offsets"]
        for numbers in (shape, offsets):
            need(isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers), f"{what}: {name}: numbers")
        need(len(shape) <= 64 and len(offsets) == 2, f"{what}: {name}: number of dimensions or offsets")
        start, end = offsets
        bits = math.prod(value["shape"]) * ITEM_BITS[value["dtype"]]
        need(0 <= start <= end <= len(data) - base, f"{what}: {name}: out of bounds")
        need((end - start) * 8 == bits, f"{what}: {name}: length against shape")
        entries.append(Entry(name, value["dtype"], value["shape"], base + start, base + end))
    entries.sort(key=lambda e: (e.start, e.end))
    at = base
    for entry in entries:
        need(entry.start == at, f"{what}: {entry.name}: gap or overlap")
        at = entry.end
    need(at == len(data), f"{what}: bytes after the last tensor")
    return entries, metadata, base


def write_safetensors(path, tensors):
    """`tensors`: (name, dtype, shape, bytes-like), written in this order."""
    header, at = {}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for *_, data in tensors:
            file.write(data)


# ---------------------------------------------------------------- streams (section 5)


def bits_of_codes(stored, count, bits):
    """Codes in the dense layout: one bit stream, code i at bits i*b ..< (i+1)*b, low bits first."""
    flat = np.unpackbits(np.frombuffer(stored, np.uint8), bitorder="little")
    need(not flat[count * bits :].any(), "codes: bits after the last are not 0")
    return flat[: count * bits].reshape(count, bits) @ (1 << np.arange(bits, dtype=np.uint8)).astype(np.uint8)


def aligned_codes(stored, count, bits):
    """Codes in the aligned layout: whole codes in each byte."""
    per_byte = {2: 4, 3: 2, 4: 2}.get(bits, 1)
    data = np.frombuffer(stored, np.uint8)
    mask = (1 << bits) - 1
    need(not (data.astype(np.uint16) >> (bits * per_byte)).any(), "codes: unused bits are not 0")
    codes = np.stack([(data >> (bits * i)) & mask for i in range(per_byte)], axis=1).reshape(-1)
    need(not codes[count:].any(), "codes: padding is not 0")
    return codes[:count]


def codes_of_six(stored, count):
    """Three codes below 6 a byte, the first of weight 1 (trellis.md, section 4)."""
    data = np.frombuffer(stored, np.uint8)
    need(not (data > 215).any(), "codes: a byte above 215")
    codes = np.stack([data % 6, data // 6 % 6, data // 36], axis=1).reshape(-1)
    need(not codes[count:].any(), "codes: padding is not 0")
    return codes[:count]


def dense_length(count, bits):
    return (count * bits + 7) // 8


def aligned_length(count, bits):
    per_byte = {2: 4, 3: 2, 4: 2}.get(bits, 1)
    return -(-count // per_byte)


def plain_form(stored, codec, length):
    if codec == 0:
        plain = stored
    elif codec == 1:
        try:
            plain = lz4.block.decompress(stored, uncompressed_size=length)
        except Exception as error:
            raise Damaged(f"lz4: {error}") from None
    else:
        try:
            frame = zstandard.get_frame_parameters(stored)
            need(frame.content_size == length, "zstd: content size")
            need(not frame.has_checksum and frame.dict_id == 0, "zstd: checksum or dictionary")
            decoder = zstandard.ZstdDecompressor().decompressobj()
            plain = decoder.decompress(stored)
        except zstandard.ZstdError as error:
            raise Damaged(f"zstd: {error}") from None
        need(decoder.eof and not decoder.unused_data, "zstd: not exactly one frame")
    need(len(plain) == length, "stream: length of the plain form")
    return plain


def join_planes(planes, dtype):
    """Byte planes, the least significant first, to elements as unsigned integers."""
    stacked = np.stack([np.frombuffer(p, np.uint8) for p in planes], axis=1)
    return np.ascontiguousarray(stacked).view({1: "u1", 2: "<u2", 4: "<u4"}[width_of(dtype)]).reshape(-1)


def to_float32(patterns, dtype):
    """Elements given as unsigned integers, to binary32 without loss."""
    if dtype == "F16":
        return patterns.view("<f2").astype(np.float32)
    if dtype == "BF16":
        return (patterns.astype(np.uint32) << 16).view("<f4")
    return patterns.view("<f4")


# ---------------------------------------------------------------- payloads (sections 3 and 4)


def hex_f64(value):
    return struct.pack(">d", value).hex()


def of_hex_f64(digits):
    return struct.unpack(">d", bytes.fromhex(digits))[0]


def sum_in_lanes(values):
    """Sum in binary64 in the order of uniform.md: 16 lanes, value i in lane i mod 16, then by halves."""
    padded = np.zeros(-(-len(values) // 16) * 16)
    padded[: len(values)] = values
    lanes = np.add.accumulate(padded.reshape(-1, 16), axis=0)[-1]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return float(lanes[0])


def errors(weights, decoded):
    """Signal, noise and maximum error of a chunk; both arguments are binary32."""
    w = weights.astype(np.float64)
    d = w - decoded.astype(np.float64)
    return sum_in_lanes(w * w), sum_in_lanes(d * d), float(np.abs(d).max())


def scales_of(data):
    """trellis.md, section 2: the scale of each byte, binary32."""
    eighths = np.frombuffer(data, np.uint8).astype(np.int32) - 128
    return np.ldexp(EIGHTHS[eighths % 8], eighths // 8)


def side_length(about):
    """Section 3: bytes of side information."""
    columns, rows = about["shape"][-1], math.prod(about["shape"][:-1])
    return {"columns": columns, "columns_rows": columns + rows}.get(about.get("scale_bytes"), 0)


@dataclass
class Chunk:
    rows: int
    columns: int
    row: int  # its first row and column in the tensor's matrix
    column: int
    streams: list  # (stored bytes, codec)
    sums: tuple  # signal, noise, maximum error
    step: np.float32 = np.float32(0)  # trellis only, as the next
    symbols: list = field(default_factory=list)  # in each stream

    @property
    def count(self):
        return self.rows * self.columns

    @property
    def place(self):
        return slice(self.row, self.row + self.rows), slice(self.column, self.column + self.columns)


@dataclass
class Tensor:
    """One tensor of a checkpoint. `scheme` is None where it is kept as it is."""

    name: str
    dtype: str
    shape: list
    data: memoryview  # the entry's bytes
    about: dict | None = None
    chunks: list = field(default_factory=list)
    table_end: int = 0
    side: bytes = b""  # side information, right behind the table

    @property
    def front_end(self):
        """The end of what the seal covers of a payload."""
        return self.table_end + len(self.side)

    @property
    def scheme(self):
        return self.about and self.about["scheme"]

    def decode(self):
        """(type, bytes): F32 for `uniform` and `trellis`, otherwise the original's."""
        if self.about is None:
            return self.dtype, bytes(self.data)
        if self.scheme in LOSSY:
            out = np.empty((math.prod(self.shape[:-1]), self.shape[-1]), np.float32)
            for chunk in self.chunks:
                out[chunk.place] = self.weights(chunk).reshape(chunk.rows, chunk.columns)
            return "F32", out.tobytes()
        out = b"".join(self.original(c) for c in self.chunks)
        need(xxh3_128(out) == self.about["source_xxh3_128"], f"{self.name}: hash of the decoded bytes")
        return self.dtype, out

    def weights(self, chunk):
        """The chunk's weights in binary32, row-major."""
        return self.weights_of_trellis(chunk) if self.scheme == "trellis" else self.weights_of_uniform(chunk)

    def weights_of_uniform(self, chunk):
        """uniform.md."""
        bits, group, width = self.about["bits"], self.about["group_size"], WIDTH[self.dtype]
        stored, codec = chunk.streams[0]
        aligned = codec == CODECS["zstd"]
        length = (aligned_length if aligned else dense_length)(chunk.count, bits)
        codes = (aligned_codes if aligned else bits_of_codes)(plain_form(stored, codec, length), chunk.count, bits)
        groups = -(-chunk.columns // group)

        def per_weight(first):
            planes = [plain_form(*s, chunk.rows * groups) for s in chunk.streams[first : first + width]]
            patterns = join_planes(planes, self.dtype)
            values = to_float32(patterns, self.dtype).reshape(chunk.rows, groups)
            need(np.isfinite(values).all(), f"{self.name}: a scale or bias is not finite")
            signs = patterns >> (8 * width - 1)
            need(not (self.about["symmetric"] and signs.any()), f"{self.name}: the sign of a scale")
            return np.repeat(values, group, axis=1)[:, : chunk.columns]

        codes = codes.reshape(chunk.rows, chunk.columns).astype(np.float32)
        with np.errstate(all="ignore"):
            if self.about["symmetric"]:
                out = per_weight(1) * (codes - np.float32(1 << (bits - 1)))
            else:
                out = per_weight(1) * codes  # rounded to binary32, and the sum again
                out += per_weight(1 + width)
        need(np.isfinite(out).all(), f"{self.name}: a weight is infinite")
        return out.reshape(-1)

    def weights_of_trellis(self, chunk):
        """trellis.md, sections 2 to 4."""
        low_bits, classes = self.about["low_bits"], self.about["row_classes"]
        extras, at = chunk.streams[-1][0], 0

        def dense(count, bits):
            nonlocal at
            start, at = at, at + dense_length(count, bits)
            need(at <= len(extras), f"{self.name}: extras too short")
            return bits_of_codes(extras[start:at], count, bits)

        row_class = dense(chunk.rows, 2) if classes > 1 else np.zeros(chunk.rows, np.uint8)
        need(not (row_class >= classes).any(), f"{self.name}: class of a row")
        low = dense(chunk.count, low_bits) if low_bits else np.zeros(chunk.count, np.uint8)

        if self.about["codec"] == "rans":
            levels = self.levels_by_rans(chunk, low)
        else:
            levels = self.levels(chunk, *self.codes(chunk), row_class, low.astype(np.int32))
        with np.errstate(all="ignore"):
            out = (levels.astype(np.float32) * self.steps(chunk)).reshape(-1)
        patch = np.dtype([("index", "<u4"), ("value", {2: "<u2", 4: "<u4"}[WIDTH[self.dtype]])])
        need((len(extras) - at) % patch.itemsize == 0, f"{self.name}: length of the patches")
        patches = np.frombuffer(extras[at:], patch)
        index, values = patches["index"].astype(np.int64), to_float32(patches["value"].copy(), self.dtype)
        need((np.diff(index) > 0).all() and (index < chunk.count).all(), f"{self.name}: index of a patch")
        need(np.isfinite(values).all(), f"{self.name}: a patch is not finite")
        out[index] = values
        need(np.isfinite(out).all(), f"{self.name}: a weight is infinite")
        return out

    def steps(self, chunk):
        """trellis.md, section 2: the steps of the chunk's weights, of which there is one or one for each weight."""
        if not self.side:
            return chunk.step
        rows, columns = chunk.place
        scales, row_steps = scales_of(self.side), chunk.step
        if self.about["scale_bytes"] == "columns_rows":
            row_steps = (chunk.step * scales[self.shape[-1] :][rows])[:, None]
        return row_steps * scales[columns]

    def codes(self, chunk):
        """trellis.md, section 4: the codes of each stream of them, and the escapes."""
        alphabet, codes = self.about["alphabet"], []
        for (stored, codec), count in zip(chunk.streams[: 2 * self.about["row_classes"]], chunk.symbols):
            if count == 0:
                codes.append(np.empty(0, np.uint8))
            elif alphabet == 6:
                codes.append(codes_of_six(plain_form(stored, codec, -(-count // 3)), count))
            else:
                bits, aligned = CODE_BITS[alphabet], codec == CODECS["zstd"]
                plain = plain_form(stored, codec, (aligned_length if aligned else dense_length)(count, bits))
                codes.append((aligned_codes if aligned else bits_of_codes)(plain, count, bits))
        escapes = plain_form(*chunk.streams[-2], chunk.symbols[-2]) if chunk.symbols[-2] else b""
        return codes, np.frombuffer(escapes, np.int8)

    def levels(self, chunk, codes, escapes, row_class, low):
        """trellis.md, sections 2 and 3: the levels n of the tile's weights."""
        alphabet, low_bits, states = (self.about[k] for k in ("alphabet", "low_bits", "states"))
        largest, h0, h1 = (alphabet - 1) // 2, *STATES[states]
        state = np.arange(states)
        following = np.stack([state >> 1 ^ h0 * (state & 1) ^ h1 * odd for odd in (0, 1)], axis=1).reshape(-1)
        # The streams as numbers h; the one number no code stands for marks an escape.
        heads = [c.astype(np.int32) - largest for c in codes]
        escape = largest + 1
        if alphabet == 256:
            heads = [np.where(h == 128, -128, h) for h in heads]
        taken, escaped, symbol = [0] * len(heads), 0, 0
        out = np.empty((chunk.rows, chunk.columns), np.int32)
        for left in range(0, chunk.columns, 64):
            width = min(64, chunk.columns - left)
            state, h = np.zeros(width, np.int64), np.empty(width, np.int32)
            for row in range(chunk.rows):
                odd = state & 1
                of_odd = odd != 0
                ones = int(np.count_nonzero(of_odd))
                first = 2 * int(row_class[row])
                for stream, where, count in ((first, ~of_odd, width - ones), (first + 1, of_odd, ones)):
                    begin, end = taken[stream], taken[stream] + count
                    need(end <= len(heads[stream]), f"{self.name}: stream {stream} has too few symbols")
                    h[where] = heads[stream][begin:end]
                    taken[stream] = end
                if alphabet != 256 and h.max() == escape:
                    where = h == escape
                    count = int(np.count_nonzero(where))
                    need(escaped + count <= len(escapes), f"{self.name}: too few escapes")
                    h[where] = escapes[escaped : escaped + count]
                    escaped += count
                k = (h << low_bits) + low[symbol : symbol + width]
                symbol += width
                out[row, left : left + width] = 2 * k + odd
                state = following[2 * state + (k & 1)]
        need(taken == [len(h) for h in heads], f"{self.name}: a stream has too many symbols")
        need(escaped == len(escapes), f"{self.name}: too many escapes")
        return out

    def levels_by_rans(self, chunk, low):
        """rans.md; the low bits come strip by strip."""
        matrix, at = np.empty((chunk.rows, chunk.columns), np.int64), 0
        for left in range(0, chunk.columns, 64):
            strip = matrix[:, left : left + 64]
            strip[:] = low[at : at + strip.size].reshape(strip.shape)
            at += strip.size
        try:
            return rans.levels(chunk.streams[0][0], self.about["states"], self.about["low_bits"], matrix)
        except rans.Refused as error:
            raise Damaged(f"{self.name}: {error}") from None

    def original(self, chunk):
        """lossless.md: the chunk's bytes in the original."""
        planes = [plain_form(*s, chunk.count) for s in chunk.streams]
        values = join_planes(planes, self.dtype)
        if self.dtype in ("BF16", "F32"):  # stored rotated left by one bit, the sign last
            values = values >> 1 | values << (8 * WIDTH[self.dtype] - 1)
        return values.tobytes()

    def certificate(self, source):
        """Signal, noise and maximum error, recomputed from the original's bytes."""
        need(xxh3_128(source) == self.about["source_xxh3_128"], f"{self.name}: is not the source's tensor")
        if self.scheme == "lossless":
            return 0.0, 0.0, 0.0
        unsigned = np.frombuffer(source, {2: "<u2", 4: "<u4"}[WIDTH[self.dtype]])
        original = to_float32(unsigned, self.dtype).reshape(-1, self.shape[-1])
        total = (0.0, 0.0, 0.0)
        for chunk in self.chunks:
            sums = errors(original[chunk.place].reshape(-1), self.weights(chunk))
            need(list(map(hex_f64, sums)) == list(map(hex_f64, chunk.sums)), f"{self.name}: sums of a chunk")
            total = (total[0] + sums[0], total[1] + sums[1], max(total[2], sums[2]))
        return total


def description(text, what):
    about = parse_json(text, what)
    need(isinstance(about, dict) and is_one_of(about.get("scheme"), SCHEMES), f"{what}: scheme")
    names = ["scheme", "codec", "dtype", "shape", "signal", "noise", "max_error", "source_xxh3_128"]
    if about["scheme"] == "uniform":
        names[1:1] = ["bits", "group_size", "symmetric"]
        need(type(about.get("bits")) is int and about["bits"] in (2, 3, 4, 5, 6, 8), f"{what}: bits")
        need(type(about.get("group_size")) is int and about["group_size"] in (32, 64, 128), f"{what}: group_size")
        need(isinstance(about.get("symmetric"), bool), f"{what}: symmetric")
    if about["scheme"] == "trellis":
        names[1:1] = ["states", "alphabet", "low_bits", "row_classes"]
        need(all(type(about.get(key)) is int for key in names[1:5]), f"{what}: parameters of the trellis")
        alphabet, low_bits = about["alphabet"], about["low_bits"]
        need(about["states"] in STATES, f"{what}: states")
        need(alphabet == 6 or alphabet in CODE_BITS, f"{what}: alphabet")
        need(low_bits == 0 or (alphabet == 256 and 2 <= low_bits <= 6), f"{what}: low_bits")
        need(1 <= about["row_classes"] <= 4, f"{what}: row_classes")
        if "scale_bytes" in about:
            names.insert(5, "scale_bytes")
            need(is_one_of(about["scale_bytes"], SCALE_BYTES), f"{what}: scale_bytes")
            if "calibration_xxh3_128" in about:
                names[-1:-1] = ["h_signal", "h_noise", "calibration_xxh3_128"]
    need(list(about) == names, f"{what}: members")
    need(json.dumps(about, separators=(",", ":")) == text, f"{what}: form of the text")
    types = ELEMENTS | CODE_TYPES if about["scheme"] == "lossless" else ELEMENTS
    need(is_one_of(about["codec"], CODECS) and is_one_of(about["dtype"], types), f"{what}: codec or dtype")
    if about["codec"] == "rans":
        need(about["scheme"] == "trellis", f"{what}: rans but for a trellis")
        need((about["alphabet"], about["row_classes"]) == (256, 1), f"{what}: alphabet or row_classes under rans")
    shape = about["shape"]
    least = 1 if about["dtype"] in CODE_TYPES else 2
    need(isinstance(shape, list) and least <= len(shape) <= 64 and all(type(n) is int and n > 0 for n in shape), f"{what}: shape")
    for key in ("signal", "noise", "max_error", "h_signal", "h_noise"):
        if key in about:
            need(type(about[key]) is str and re.fullmatch("[0-9a-f]{16}", about[key]), f"{what}: {key}")
            value = of_hex_f64(about[key])
            need(math.isfinite(value) and math.copysign(1, value) > 0, f"{what}: {key}")
            need(about["scheme"] in LOSSY or about[key] == "0" * 16, f"{what}: {key} of lossless")
    for key in ("calibration_xxh3_128", "source_xxh3_128"):
        need(key not in about or type(about[key]) is str and re.fullmatch("[0-9a-f]{32}", about[key]), f"{what}: {key}")
    return about


def ceil(a, b):
    return -(-a // b)


def chunk_shape(scheme, rows, columns):
    """Rows and columns of the chunks that are not at an edge."""
    if scheme != "trellis":
        return 1 if columns > CHUNK else min(rows, max(1, CHUNK // columns)), min(columns, CHUNK)
    highest = CHUNK // (64 * ceil(columns, 64)) if columns < 512 else max(128, min(512, 2**23 // columns))
    chunk_rows = ceil(rows, ceil(rows, highest))  # trellis.md, section 1
    widest = 64 * max(1, CHUNK // chunk_rows // 64)
    return chunk_rows, min(columns, 64 * ceil(ceil(columns, ceil(columns, widest)), 64))


def stored_length(about, chunk, stream, symbols):
    """Bytes of a stream's stored form, or None: it is as long as it is."""
    if about["codec"] == "rans":
        return None
    if about["scheme"] == "lossless":
        return chunk.count
    if about["scheme"] == "uniform":
        groups = chunk.rows * ceil(chunk.columns, about["group_size"])
        return groups if stream else dense_length(chunk.count, about["bits"])
    classes = about["row_classes"]
    if stream < 2 * classes:
        return ceil(symbols, 3) if about["alphabet"] == 6 else dense_length(symbols, CODE_BITS[about["alphabet"]])
    return symbols if stream == 2 * classes else None


def open_payload(name, about, data):
    """Checks everything of a payload but the plain forms of its streams."""
    dtype, shape = about["dtype"], about["shape"]
    scheme, width = about["scheme"], width_of(dtype)
    columns, rows = shape[-1], math.prod(shape[:-1])
    chunk_rows, chunk_columns = chunk_shape(scheme, rows, columns)
    across, down = ceil(columns, chunk_columns), ceil(rows, chunk_rows)
    need(across * down <= 2**22, f"{name}: number of chunks")
    if scheme == "uniform":
        parameters = about["bits"], int(about["symmetric"]), about["group_size"]
        streams = 1 + width * (1 if about["symmetric"] else 2)
    elif scheme == "trellis":
        parameters = about["states"], about["low_bits"], about["alphabet"] + 65536 * about["row_classes"]
        streams = 2 if about["codec"] == "rans" else 2 * about["row_classes"] + 2
    else:
        parameters, streams = (0, 0, 0), width
    prologue = struct.pack(
        "<8sHBBIBBHIQQIIQQ", b"INGOTPL1", SCHEMES[scheme], *parameters, CODECS[about["codec"]],
        (ELEMENTS | CODE_TYPES)[dtype], streams, across * down, rows, columns, chunk_rows, chunk_columns,
        side_length(about), len(data),
    )  # fmt: skip
    need(len(data) % 64 == 0 and bytes(data[:64]) == prologue, f"{name}: prologue against description and entry")

    tensor = Tensor(name, dtype, shape, data, about)
    entry_size = 48 + 8 * streams
    tensor.table_end = 64 + across * down * entry_size
    need(tensor.table_end + side_length(about) <= len(data), f"{name}: chunk table or side information beyond the end")
    tensor.side = bytes(data[tensor.table_end :][: side_length(about)])
    at = tensor.front_end
    total = (0.0, 0.0, 0.0)
    for index in range(across * down):
        where = f"{name}: chunk {index}"
        row, column = index // across * chunk_rows, index % across * chunk_columns
        chunk = Chunk(min(chunk_rows, rows - row), min(chunk_columns, columns - column), row, column, [], ())
        offset, checksum, *sums, step, zero = struct.unpack_from("<QQdddfI", data, 64 + index * entry_size)
        need(offset == at and zero == 0, f"{where}: offset")
        if scheme == "trellis":
            need(math.isfinite(step) and step >= 2.0**-126, f"{where}: step")
        else:
            need(is_zero(bytes(data[64 + index * entry_size + 40 :][:4])), f"{where}: step")
        chunk.step = np.float32(step)
        need(all(math.isfinite(s) and math.copysign(1, s) > 0 for s in sums), f"{where}: sums")
        need(scheme in LOSSY or sums == [0, 0, 0], f"{where}: sums of lossless")
        chunk.sums = tuple(sums)
        total = (total[0] + sums[0], total[1] + sums[1], max(total[2], sums[2]))
        for i in range(streams):
            size, how = struct.unpack_from("<II", data, 64 + index * entry_size + 48 + 8 * i)
            codec, symbols = how & 255, how >> 8
            need(scheme == "trellis" or symbols == 0, f"{where}: symbols of stream {i}")
            chunk.symbols.append(symbols)
            if about["codec"] == "rans":  # stream 0 and no other, always
                need(codec == (0 if i else CODECS["rans"]), f"{where}: codec of stream {i}")
                need(symbols == (0 if i else chunk.count), f"{where}: symbols of stream {i}")
            need(codec in (0, CODECS[about["codec"]]), f"{where}: codec of stream {i}")
            stored = stored_length(about, chunk, i, symbols)
            if stored is None:
                need(i == 0 or (codec == 0 and symbols == 0), f"{where}: stream {i} is compressed, or has symbols")
            else:
                need(size == stored if codec == 0 else 0 < size < stored, f"{where}: size of stream {i}")
            need(at + size <= len(data), f"{where}: beyond the end")
            chunk.streams.append((bytes(data[at : at + size]), codec))
            at += size
        if scheme == "trellis" and about["codec"] != "rans":
            need(sum(chunk.symbols[:-2]) == chunk.count, f"{where}: number of symbols")
            need(about["alphabet"] != 256 or chunk.symbols[-2] == 0, f"{where}: escapes with an alphabet of 256")
        need(xxh3_64(data[offset:at]) == checksum, f"{where}: checksum")
        tensor.chunks.append(chunk)
    need(len(data) - at < 64 and is_zero(bytes(data[at:])), f"{name}: padding")
    for key, value in zip(("signal", "noise", "max_error"), total):
        need(hex_f64(value) == about[key], f"{name}: {key} is not the chunks'")
    return tensor


# ---------------------------------------------------------------- shards (sections 2 and 6)


def features(names, what):
    """Section 10, H3."""
    need(isinstance(names, list) and len(names) <= 64, f"{what}: list of features")
    need(all(type(n) is str and re.fullmatch("[0-9A-Za-z._-]{1,64}", n) for n in names), f"{what}: name of a feature")
    return names


def source_metadata(metadata, what):
    """What the source's `__metadata__` said, as far as it is carried (section 2)."""
    if SOURCE_METADATA not in metadata:
        return {}
    carried = parse_json(metadata[SOURCE_METADATA], f"{what}: {SOURCE_METADATA}")
    need(isinstance(carried, dict) and all(type(v) is str for v in carried.values()), f"{what}: {SOURCE_METADATA}")
    need(carried not in ({}, {"format": "pt"}), f"{what}: {SOURCE_METADATA} that says nothing")
    return carried


def open_shard(data, what):
    """(tensors in the order of the file, hash in the seal's trailer)."""
    data = memoryview(data)
    entries, metadata, base = safetensors_header(data, what)
    need(base % 64 == 0, f"{what}: length of the header")
    need(entries and (entries[-1].name, entries[-1].dtype) == (SEAL, "U8"), f"{what}: the seal is not last")
    need(len(entries[-1].shape) == 1, f"{what}: rank of the seal")
    need(metadata.get("format") == "ingot" and "ingot" in metadata, f"{what}: is not of Ingot")
    writer = parse_json(metadata["ingot"], f"{what}: ingot")
    need(isinstance(writer, dict), f"{what}: ingot")
    members = ["version", "required_features", "optional_features", "writer", "codecs"]
    need(list(writer) == members, f"{what}: members of ingot")
    need(type(writer["version"]) is int and writer["version"] == 1, f"{what}: version")
    required = features(writer["required_features"], what)
    need(set(required) <= {CODE_FEATURE, SCALE_FEATURE}, f"{what}: an unknown feature is required")
    if features(writer["optional_features"], what):
        print(f"{what}: optional features {', '.join(writer['optional_features'][:4])}", file=sys.stderr)
    need(type(writer["writer"]) is str and type(writer["codecs"]) is str, f"{what}: writer or codecs")
    source_metadata(metadata, what)
    described = {k[6:]: v for k, v in metadata.items() if k.startswith("ingot:")}
    need(metadata.keys() - {"ingot:" + name for name in described} <= {"format", "ingot", SOURCE_METADATA},
         f"{what}: unknown key in __metadata__")  # fmt: skip

    tensors, records, alignment = [], [(0, base)], None
    for entry in entries[:-1]:
        need(not entry.name.startswith("__ingot_"), f"{what}: reserved name {entry.name}")
        view = data[entry.start : entry.end]
        if entry.name in described:
            need(alignment is None, f"{what}: {entry.name}: after an ordinary tensor")
            need(entry.dtype == "U8" and len(entry.shape) == 1, f"{what}: {entry.name}: type of the entry")
            need(entry.start % 64 == 0 and entry.end > entry.start, f"{what}: {entry.name}: alignment")
            about = description(described.pop(entry.name), f"{what}: {entry.name}")
            tensor = open_payload(entry.name, about, view)
            records.append((entry.start, tensor.front_end))
        else:
            item = max(1, ITEM_BITS[entry.dtype] // 8)
            need(alignment is None or alignment >= item, f"{what}: {entry.name}: order of ordinary tensors")
            alignment = item
            if len(view):
                records.append((entry.start, len(view)))
            tensor = Tensor(entry.name, entry.dtype, entry.shape, view)
        tensors.append(tensor)
    need(not described, f"{what}: description of a missing tensor")
    used = [CODE_FEATURE] if any(t.about and t.dtype in CODE_TYPES for t in tensors) else []
    used += [SCALE_FEATURE] if any(t.side for t in tensors) else []
    need(required == used, f"{what}: required features other than those that are used")

    trailer = struct.unpack("<8sIIQQ16s16s", data[-64:])
    magic, version, count, size, first, zero, digest = trailer
    need(magic == b"INGOTSEL" and version == 1 and is_zero(zero), f"{what}: trailer of the seal")
    need(size == len(data) and first + 32 * count + 64 == size, f"{what}: offsets in the seal")
    need(first % 64 == 0 and 0 <= first - entries[-1].start < 64, f"{what}: start of the seal")
    need(is_zero(bytes(data[entries[-1].start : first])), f"{what}: padding of the seal")
    need(xxh3_128(data[first : size - 16]) == digest.hex(), f"{what}: hash of the seal")
    need(count == len(records) and count <= 1_000_001, f"{what}: number of records")
    for i, (start, length) in enumerate(records):
        expected = struct.pack("<QQ", start, length) + bytes.fromhex(xxh3_128(data[start : start + length]))
        need(data[first + 32 * i :][:32] == expected, f"{what}: record {i}, of {length} bytes from {start} on")
    return tensors, digest.hex()


# ---------------------------------------------------------------- checkpoints (sections 1 and 7)


def read_manifest(folder):
    need(os.path.isfile(os.path.join(folder, MANIFEST)), "no manifest: this is no checkpoint")
    text = read(os.path.join(folder, MANIFEST))
    end = re.search(rb',\n  "manifest_xxh3_128": "([0-9a-f]{32})"\n}\n\Z', text)
    need(end, "manifest: does not end as it should")
    need(xxh3_128(text[: end.start()]) == end[1].decode(), "manifest: its own hash")
    need(len(text) <= 8 << 20, "manifest: longer than 8 MiB")
    manifest = parse_json(text, "manifest")
    members = ["format", "version", "writer", "codecs", "options", "source_bytes", "files", "manifest_xxh3_128"]
    need(isinstance(manifest, dict) and list(manifest) == members, "manifest: members")
    need(manifest["format"] == "ingot-manifest" and whole(manifest["version"]), "manifest: format or version")
    need(manifest["version"] == 1, "manifest: format or version")
    need(type(manifest["writer"]) is str and type(manifest["codecs"]) is str, "manifest: writer or codecs")
    need(isinstance(manifest["options"], dict) and whole(manifest["source_bytes"]), "manifest: options or source_bytes")
    need(isinstance(manifest["files"], list), "manifest: files")
    for file in manifest["files"]:
        need(isinstance(file, dict), "manifest: an entry is no object")
        need(file.keys() in ({"name", "bytes", "xxh3_128"}, {"name", "bytes", "seal_xxh3_128"}), "manifest: an entry")
        digits = file.get("xxh3_128", file.get("seal_xxh3_128"))
        need(type(file["name"]) is str and whole(file["bytes"]) and type(digits) is str, "manifest: an entry")
        need(re.fullmatch("[0-9a-f]{32}", digits), "manifest: a hash")
    names = [file["name"] for file in manifest["files"]]
    need(names == sorted(set(names), key=lambda n: n.encode()), "manifest: order of the names")
    check_names(manifest["files"])
    for name in names:
        parts = name.split("/")
        safe = "\0" not in name and not {"", ".", ".."} & set(parts)
        need(safe and os.path.isfile(os.path.join(folder, name)), f"manifest: {name} is missing")
    for place, _, found in os.walk(folder):
        for file in found:
            name = os.path.relpath(os.path.join(place, file), folder).replace(os.sep, "/")
            if name not in names and name != MANIFEST:
                need(not name.endswith(".safetensors"), f"{name}: is not in the manifest")
                print(f"{name}: is not in the manifest", file=sys.stderr)
    return manifest


def whole(value):
    return type(value) is int and 0 <= value < 2**64


def check_names(files):
    """Section 10, N1 to N5; the stem of the shards."""
    shards = [f["name"] for f in files if "seal_xxh3_128" in f]
    others = [f["name"] for f in files if "seal_xxh3_128" not in f]
    need(shards, "manifest: no shard")
    count = len(shards)

    def names(stem):
        return [f"{stem}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)] if count > 1 else [f"{stem}.safetensors"]

    stems = [stem for stem in STEMS if names(stem) == shards]
    need(stems, "manifest: names of the shards")
    index = f"{stems[0]}.safetensors.index.json"
    need(MANIFEST not in others, "manifest: lists itself")
    for name in others:
        need(not name.lower().endswith(".safetensors"), f"manifest: {name} is listed as no shard")
        own = count > 1 and name == index
        need(own or not name.endswith(".safetensors.index.json"), f"manifest: {name}: an index")
    need(count == 1 or index in others, "manifest: several shards without an index")
    return stems[0]


def check_configuration(text, options):
    """Section 10, D2."""
    need(len(text) <= 16 << 20, "config.json: longer than 16 MiB")
    config = parse_json(text, "config.json", constants=True)
    key = "quantization_config"
    if isinstance(config, dict) and config.get(key) is not None and list(config)[-1] == f"ingot_{key}":
        key = f"ingot_{key}"  # of a source that was quantized
    need(isinstance(config, dict) and list(config)[-1:] == [key], "config.json: quantization_config is not last")
    expected = {"quant_method": "ingot", "format_version": 1} | options
    found = config[key]
    need(isinstance(found, dict) and json.dumps(found) == json.dumps(expected), "config.json: quantization_config")


def open_checkpoint(folder):
    """name -> Tensor, in the order of shards and of their data."""
    manifest, tensors, weight_map, total = read_manifest(folder), {}, {}, 0
    shards = [f["name"] for f in manifest["files"] if "seal_xxh3_128" in f]
    for file in manifest["files"]:
        name, path = file["name"], os.path.join(folder, file["name"])
        data = read(path)
        need(len(data) == file["bytes"], f"{name}: length")
        if name not in shards:
            need(xxh3_128(data) == file["xxh3_128"], f"{name}: hash")
            continue
        opened, digest = open_shard(data, name)
        need(digest == file["seal_xxh3_128"], f"{name}: another seal than in the manifest")
        for tensor in opened:
            need(tensor.name not in tensors, f"{tensor.name}: in two shards")
            tensors[tensor.name], weight_map[tensor.name] = tensor, name
            total += len(tensor.data)
        with safetensors.safe_open(path, framework="numpy") as reader:  # any reader of safetensors opens it
            need(set(reader.keys()) == {SEAL} | {t.name for t in opened}, f"{name}: entries seen by safetensors")
    if len(shards) > 1:
        name = check_names(manifest["files"]) + ".safetensors.index.json"
        index = parse_json(read(os.path.join(folder, name)), "index")
        need(index == {"metadata": {"total_size": total}, "weight_map": weight_map}, "index: is not the shards'")
        need(type(index["metadata"]["total_size"]) is int, "index: total_size")
    if any(file["name"] == "config.json" for file in manifest["files"]):
        check_configuration(read(os.path.join(folder, "config.json")), manifest["options"])
    return tensors


def metadata_of_source(folder):
    """shard -> what its source's `__metadata__` said, as far as it is carried."""
    found = {}
    for file in read_manifest(folder)["files"]:
        if "seal_xxh3_128" in file:
            data = memoryview(read(os.path.join(folder, file["name"])))
            found[file["name"]] = source_metadata(safetensors_header(data, file["name"])[1], file["name"])
    return found


def read_source(path):
    """name -> (type, shape, bytes) of a safetensors file, or of those of a directory."""
    files = [path]
    if os.path.isdir(path):
        files = [os.path.join(path, f) for f in sorted(os.listdir(path)) if f.endswith(".safetensors")]
    tensors = {}
    for file in files:
        data = memoryview(read(file))
        for entry in safetensors_header(data, file)[0]:
            tensors[entry.name] = (entry.dtype, entry.shape, data[entry.start : entry.end])
    return tensors


def compare_with_source(tensors, source):
    """Every tensor against the original: kept bytes, hashes, and the certificates."""
    need(tensors.keys() == source.keys(), "the source has other tensors")
    for name, tensor in tensors.items():
        dtype, shape, data = source[name]
        need((tensor.dtype, tensor.shape) == (dtype, shape), f"{name}: type or shape of the source")
        if tensor.scheme not in LOSSY:
            need(tensor.decode() == (dtype, bytes(data)), f"{name}: is not the source's")
        if tensor.about:
            found = [hex_f64(value) for value in tensor.certificate(data)]
            stated = [tensor.about[key] for key in ("signal", "noise", "max_error")]
            need(found == stated, f"{name}: certificate says {stated}, it is {found}")


def main():
    parser = argparse.ArgumentParser(description="Check and decode an Ingot checkpoint.")
    parser.add_argument("checkpoint")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--against", metavar="SOURCE", help="recompute the certificates from SOURCE")
    options = parser.parse_args()
    try:
        tensors = open_checkpoint(options.checkpoint)
        if options.against:
            compare_with_source(tensors, read_source(options.against))
        decoded = [(t.name, t.decode()[0], t.shape, t.decode()[1]) for t in tensors.values()] if options.out else []
    except Damaged as error:
        sys.exit(f"damaged: {error}")
    if options.list:
        for t in tensors.values():
            about = t.about or {"scheme": "kept"}
            how = " ".join(str(about[k]) for k in ("scheme", "bits", "group_size", "states", "alphabet", "codec") if k in about)
            print(f"{t.name}  {t.dtype}  {'x'.join(map(str, t.shape))}  {how}  {len(t.data)} bytes")
    if options.out:
        write_safetensors(options.out, decoded)


if __name__ == "__main__":
    main()
