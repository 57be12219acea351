#!/usr/bin/env python3
"""A decoder of Ingot checkpoints, written from Specs/container.md, uniform.md and lossless.md alone.

    python3 ingot_decoder.py DEST OUT.safetensors [--against SOURCE]
    python3 ingot_decoder.py DEST --list [--against SOURCE]

Everything a reader must check is checked; whatever is wrong raises `Damaged`. Tensors of scheme
`uniform` are written as F32, all others with their original type and bytes. Section numbers in
comments are those of container.md. Little-endian machines only.
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

SEAL = "__ingot_seal__"
MANIFEST = "ingot-manifest.json"
CHUNK = 262144  # section 3: weights of a chunk, and columns of a piece of a wide row
ELEMENTS = {"F16": 1, "BF16": 2, "F32": 3}
WIDTH = {"F16": 2, "BF16": 2, "F32": 4}
CODECS = {"none": 0, "lz4": 1, "zstd": 2}
SCHEMES = {"uniform": 1, "lossless": 2}
ITEM_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class Damaged(ValueError):
    """The bytes are not what the documents allow."""


def need(condition, message):
    if not condition:
        raise Damaged(message)


def is_zero(data):
    return not data.strip(b"\0")


def xxh3_64(data):
    return xxhash.xxh3_64_intdigest(data)


def xxh3_128(data):
    return xxhash.xxh3_128_hexdigest(data)


def parse_json(text, what):
    def members(pairs):
        need(len({k for k, _ in pairs}) == len(pairs), f"{what}: a member twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=members)
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
    need(base <= len(data), f"{what}: header beyond the end")
    need(data[8:9] == b"{", f"{what}: header begins with no brace")
    try:
        header = parse_json(bytes(data[8:base]).decode("utf-8"), what)
    except UnicodeDecodeError as error:
        raise Damaged(f"{what}: {error}") from None
    metadata = header.pop("__metadata__", {})
    entries = []
    for name, value in header.items():
        need(value.keys() == {"dtype", "shape", "data_offsets"}, f"{what}: {name}: members")
        need(value["dtype"] in ITEM_BITS, f"{what}: {name}: unknown type")
        start, end = value["data_offsets"]
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
    return np.ascontiguousarray(stacked).view({2: "<u2", 4: "<u4"}[WIDTH[dtype]]).reshape(-1)


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


@dataclass
class Chunk:
    rows: int
    columns: int
    first: int  # index of its first weight in the original
    streams: list  # (stored bytes, codec)
    sums: tuple  # signal, noise, maximum error

    @property
    def count(self):
        return self.rows * self.columns


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

    @property
    def scheme(self):
        return self.about and self.about["scheme"]

    def decode(self):
        """(type, bytes): F32 for `uniform`, otherwise the original's."""
        if self.about is None:
            return self.dtype, bytes(self.data)
        if self.scheme == "uniform":
            return "F32", np.concatenate([self.weights(c) for c in self.chunks]).tobytes()
        out = b"".join(self.original(c) for c in self.chunks)
        need(xxh3_128(out) == self.about["source_xxh3_128"], f"{self.name}: hash of the decoded bytes")
        return self.dtype, out

    def weights(self, chunk):
        """uniform.md: the chunk's weights in binary32."""
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

    def original(self, chunk):
        """lossless.md: the chunk's bytes in the original."""
        planes = [plain_form(*s, chunk.count) for s in chunk.streams]
        values = join_planes(planes, self.dtype)
        if self.dtype != "F16":  # stored rotated left by one bit, the sign last
            values = values >> 1 | values << (8 * WIDTH[self.dtype] - 1)
        return values.tobytes()

    def certificate(self, source):
        """Signal, noise and maximum error, recomputed from the original's bytes."""
        need(xxh3_128(source) == self.about["source_xxh3_128"], f"{self.name}: is not the source's tensor")
        if self.scheme == "lossless":
            return 0.0, 0.0, 0.0
        unsigned = np.frombuffer(source, {2: "<u2", 4: "<u4"}[WIDTH[self.dtype]])
        original = to_float32(unsigned, self.dtype)
        total = (0.0, 0.0, 0.0)
        for chunk in self.chunks:
            sums = errors(original[chunk.first : chunk.first + chunk.count], self.weights(chunk))
            need(list(map(hex_f64, sums)) == list(map(hex_f64, chunk.sums)), f"{self.name}: sums of a chunk")
            total = (total[0] + sums[0], total[1] + sums[1], max(total[2], sums[2]))
        return total


def description(text, what):
    about = parse_json(text, what)
    need(isinstance(about, dict) and about.get("scheme") in SCHEMES, f"{what}: scheme")
    names = ["scheme", "codec", "dtype", "shape", "signal", "noise", "max_error", "source_xxh3_128"]
    if about["scheme"] == "uniform":
        names[1:1] = ["bits", "group_size", "symmetric"]
        need(about.get("bits") in (2, 3, 4, 5, 6, 8), f"{what}: bits")
        need(about.get("group_size") in (32, 64, 128), f"{what}: group_size")
        need(isinstance(about.get("symmetric"), bool), f"{what}: symmetric")
    need(list(about) == names, f"{what}: members")
    need(json.dumps(about, separators=(",", ":")) == text, f"{what}: form of the text")
    need(about["codec"] in CODECS and about["dtype"] in ELEMENTS, f"{what}: codec or dtype")
    shape = about["shape"]
    need(isinstance(shape, list) and len(shape) > 1 and all(type(n) is int and n > 0 for n in shape), f"{what}: shape")
    for key in ("signal", "noise", "max_error"):
        need(re.fullmatch("[0-9a-f]{16}", str(about[key])), f"{what}: {key}")
    need(re.fullmatch("[0-9a-f]{32}", str(about["source_xxh3_128"])), f"{what}: source_xxh3_128")
    return about


def open_payload(name, about, data):
    """Checks everything of a payload but the plain forms of its streams."""
    dtype, shape = about["dtype"], about["shape"]
    uniform, width = about["scheme"] == "uniform", WIDTH[dtype]
    columns, rows = shape[-1], math.prod(shape[:-1])
    wide = columns > CHUNK
    chunk_columns = min(columns, CHUNK)
    chunk_rows = 1 if wide else min(rows, max(1, CHUNK // columns))
    across, down = -(-columns // chunk_columns), -(-rows // chunk_rows)
    streams = (1 + width * (1 if about["symmetric"] else 2)) if uniform else width
    prologue = struct.pack(
        "<8sHBBIBBHIQQIIQQ", b"INGOTPL1", SCHEMES[about["scheme"]], about["bits"] if uniform else 0,
        int(uniform and about["symmetric"]), about["group_size"] if uniform else 0, CODECS[about["codec"]],
        ELEMENTS[dtype], streams, across * down, rows, columns, chunk_rows, chunk_columns, 0, len(data),
    )  # fmt: skip
    need(len(data) % 64 == 0 and bytes(data[:64]) == prologue, f"{name}: prologue against description and entry")

    tensor = Tensor(name, dtype, shape, data, about)
    entry_size = 48 + 8 * streams
    tensor.table_end = at = 64 + across * down * entry_size
    need(at <= len(data), f"{name}: chunk table beyond the end")
    total = (0.0, 0.0, 0.0)
    for index in range(across * down):
        where = f"{name}: chunk {index}"
        row, column = index // across * chunk_rows, index % across * chunk_columns
        chunk = Chunk(
            min(chunk_rows, rows - row), min(chunk_columns, columns - column), row * columns + column, [], ()
        )
        offset, checksum, *sums, zero = struct.unpack_from("<QQdddQ", data, 64 + index * entry_size)
        need(offset == at and zero == 0, f"{where}: offset")
        need(all(math.isfinite(s) and s >= 0 for s in sums), f"{where}: sums")
        need(uniform or sums == [0, 0, 0], f"{where}: sums of lossless")
        chunk.sums = tuple(sums)
        total = (total[0] + sums[0], total[1] + sums[1], max(total[2], sums[2]))
        for i in range(streams):
            size, codec = struct.unpack_from("<II", data, 64 + index * entry_size + 48 + 8 * i)
            plain = chunk.count
            if uniform:
                bits, groups = about["bits"], chunk.rows * -(-chunk.columns // about["group_size"])
                plain = groups if i else dense_length(chunk.count, bits)
            need(codec in (0, CODECS[about["codec"]]), f"{where}: codec of stream {i}")
            need(size == plain if codec == 0 else 0 < size < plain, f"{where}: size of stream {i}")
            need(at + size <= len(data), f"{where}: beyond the end")
            chunk.streams.append((bytes(data[at : at + size]), codec))
            at += size
        need(xxh3_64(data[offset:at]) == checksum, f"{where}: checksum")
        tensor.chunks.append(chunk)
    need(len(data) - at < 64 and is_zero(bytes(data[at:])), f"{name}: padding")
    for key, value in zip(("signal", "noise", "max_error"), total):
        need(hex_f64(value) == about[key], f"{name}: {key} is not the chunks'")
    return tensor


# ---------------------------------------------------------------- shards (sections 2 and 6)


def open_shard(data, what):
    """(tensors in the order of the file, hash in the seal's trailer)."""
    data = memoryview(data)
    entries, metadata, base = safetensors_header(data, what)
    need(base % 64 == 0, f"{what}: length of the header")
    need(entries and (entries[-1].name, entries[-1].dtype) == (SEAL, "U8"), f"{what}: the seal is not last")
    need(len(entries[-1].shape) == 1, f"{what}: rank of the seal")
    need(metadata.get("format") == "ingot" and "ingot" in metadata, f"{what}: is not of Ingot")
    writer = parse_json(metadata["ingot"], f"{what}: ingot")
    need(writer.get("version") == 1, f"{what}: version")
    need(writer.get("required_features") == [], f"{what}: an unknown feature is required")
    for feature in writer.get("optional_features"):
        print(f"{what}: optional feature {feature}", file=sys.stderr)
    described = {k[6:]: v for k, v in metadata.items() if k.startswith("ingot:")}
    need(len(described) + 2 == len(metadata), f"{what}: unknown key in __metadata__")

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
            records.append((entry.start, tensor.table_end))
        else:
            item = max(1, ITEM_BITS[entry.dtype] // 8)
            need(alignment is None or alignment >= item, f"{what}: {entry.name}: order of ordinary tensors")
            if len(view):
                alignment = item
                records.append((entry.start, len(view)))
            tensor = Tensor(entry.name, entry.dtype, entry.shape, view)
        tensors.append(tensor)
    need(not described, f"{what}: description of a missing tensor")

    trailer = struct.unpack("<8sIIQQ16s16s", data[-64:])
    magic, version, count, size, first, zero, digest = trailer
    need(magic == b"INGOTSEL" and version == 1 and is_zero(zero), f"{what}: trailer of the seal")
    need(size == len(data) and first + 32 * count + 64 == size, f"{what}: offsets in the seal")
    need(first % 64 == 0 and 0 <= first - entries[-1].start < 64, f"{what}: start of the seal")
    need(is_zero(bytes(data[entries[-1].start : first])), f"{what}: padding of the seal")
    need(xxh3_128(data[first : size - 16]) == digest.hex(), f"{what}: hash of the seal")
    need(count == len(records), f"{what}: number of records")
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
    manifest = parse_json(text.decode(), "manifest")
    need((manifest["format"], manifest["version"]) == ("ingot-manifest", 1), "manifest: format or version")
    names = [file["name"] for file in manifest["files"]]
    need(names == sorted(set(names), key=lambda n: n.encode()), "manifest: order of the names")
    for name in names:
        safe = not name.startswith("/") and ".." not in name.split("/") and name != MANIFEST
        need(safe and os.path.isfile(os.path.join(folder, name)), f"manifest: {name} is missing")
    for place, _, found in os.walk(folder):
        for file in found:
            name = os.path.relpath(os.path.join(place, file), folder).replace(os.sep, "/")
            if name not in names and name != MANIFEST:
                need(not name.endswith(".safetensors"), f"{name}: is not in the manifest")
                print(f"{name}: is not in the manifest", file=sys.stderr)
    return manifest


def open_checkpoint(folder):
    """name -> Tensor, in the order of shards and of their data."""
    manifest, tensors, weight_map, total = read_manifest(folder), {}, {}, 0
    shards = [f["name"] for f in manifest["files"] if "seal_xxh3_128" in f]
    names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    need(shards == (names if len(shards) > 1 else ["model.safetensors"]), "names of the shards")
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
        index = parse_json(read(os.path.join(folder, "model.safetensors.index.json")), "index")
        need(index == {"metadata": {"total_size": total}, "weight_map": weight_map}, "index: is not the shards'")
    if os.path.exists(os.path.join(folder, "config.json")):
        config = parse_json(read(os.path.join(folder, "config.json")), "config.json")
        need(list(config)[-1] == "quantization_config", "config.json: quantization_config is not last")
        need(config["quantization_config"]["quant_method"] == "ingot", "config.json: quant_method")
    return tensors


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
        if tensor.scheme != "uniform":
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
            how = " ".join(str(about[k]) for k in ("scheme", "bits", "group_size", "codec") if k in about)
            print(f"{t.name}  {t.dtype}  {'x'.join(map(str, t.shape))}  {how}  {len(t.data)} bytes")
    if options.out:
        write_safetensors(options.out, decoded)


if __name__ == "__main__":
    main()
