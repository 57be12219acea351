"""Checkpoints taken apart, changed, and put together again with all hashes right: forgeries.

`Forged.read(folder)` followed by `write()` gives the same bytes. Between the two a test changes what it wants: the members of
headers, the bytes of entries, the manifest, the index, the configuration. Written from Specs/container.md.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import ingot_decoder as decoder


def compact(value):
    """JSON as `ingot` writes it on one line; pairs in a list of tuples are an object, which may have a key twice."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        return "{" + ",".join(f"{compact(key)}:{compact(item)}" for key, item in value) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{compact(key)}:{compact(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass
class Entry:
    """An entry of a shard. `front` is the length of prologue, table and side information; None for what the seal covers whole."""

    name: str
    dtype: str
    shape: list
    data: bytearray
    front: int | None = None
    fields: dict = field(default_factory=dict)  # of the entry in the header, besides or instead of its own

    @property
    def chunk_count(self):
        return struct.unpack_from("<I", self.data, 20)[0]

    def chunk(self, index=0):
        """(place of the entry in the table, start of the chunk, its bytes' number)."""
        streams = struct.unpack_from("<H", self.data, 18)[0]
        at = 64 + index * (48 + 8 * streams)
        sizes = [struct.unpack_from("<I", self.data, at + 48 + 8 * i)[0] for i in range(streams)]
        return at, struct.unpack_from("<Q", self.data, at)[0], sum(sizes)

    def rehash(self):
        """Makes the checksums of all chunks right."""
        for index in range(self.chunk_count):
            at, start, length = self.chunk(index)
            struct.pack_into("<Q", self.data, at + 8, decoder.xxh3_64(bytes(self.data[start : start + length])))


@dataclass
class Shard:
    metadata: dict | list
    entries: list  # without the seal
    before: str = ""  # the header's object
    behind: str = ""
    seal_dtype: str = "U8"
    seal_rank: int = 1
    seal_last: bool = True

    @staticmethod
    def read(data):
        entries, metadata, _ = decoder.safetensors_header(data, "shard")
        found = []
        for entry in entries[:-1]:
            piece, front = bytearray(data[entry.start : entry.end]), None
            if f"ingot:{entry.name}" in metadata:
                chunks, streams = struct.unpack_from("<I", piece, 20)[0], struct.unpack_from("<H", piece, 18)[0]
                front = 64 + chunks * (48 + 8 * streams) + struct.unpack_from("<Q", piece, 48)[0]
            found.append(Entry(entry.name, entry.dtype, entry.shape, piece, front))
        return Shard(dict(metadata), found)

    def entry(self, name):
        return next(e for e in self.entries if e.name == name)

    def about(self, name):
        return json.loads(self.metadata[f"ingot:{name}"])

    def describe(self, name, **members):
        """Changes members of a description."""
        self.metadata[f"ingot:{name}"] = compact(self.about(name) | members)

    def ingot(self, **members):
        self.metadata["ingot"] = compact(json.loads(self.metadata["ingot"]) | members)

    def rename(self, old, new):
        self.entry(old).name = new
        if f"ingot:{old}" in self.metadata:
            self.metadata = {k.replace(f"ingot:{old}", f"ingot:{new}") if k == f"ingot:{old}" else k: v for k, v in self.metadata.items()}

    def encoded(self, length=None):
        """The bytes of the file; the header is padded to `length`, or as little as it can be."""
        records = 1 + sum(1 for e in self.entries if len(e.data))
        end = sum(len(e.data) for e in self.entries)
        # The size of the seal depends on where it begins, and that on the header, whose length hangs on the digits of both.
        text, base = "", 0
        for _ in range(4):
            pad = -(base + end) % 64
            seal = pad + 32 * records + 64
            text = self.header(end, seal)
            needed = 8 + len(text.encode())
            base = length or -(-needed // 64) * 64
            assert needed <= base, "the header outgrew its length"
        data = struct.pack("<Q", base - 8) + text.encode() + b" " * (base - needed)
        ranges = [(0, base)]
        for entry in self.entries:
            if len(entry.data):
                ranges.append((len(data), len(entry.data) if entry.front is None else entry.front))
            data += bytes(entry.data)
        data += bytes(pad)
        first = len(data)
        for start, count in ranges:
            data += struct.pack("<QQ", start, count) + bytes.fromhex(decoder.xxh3_128(data[start : start + count]))
        data += b"INGOTSEL" + struct.pack("<IIQQ", 1, len(ranges), len(data) + 64, first) + bytes(16)
        return data + bytes.fromhex(decoder.xxh3_128(data[first:]))

    def header(self, end, seal):
        entries, at = [], 0
        for entry in self.entries:
            about = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, at + len(entry.data)]}
            entries.append((entry.name, about | entry.fields))
            at += len(entry.data)
        shape = [1] * (self.seal_rank - 1) + [seal]
        about = {"dtype": self.seal_dtype, "shape": shape, "data_offsets": [end, end + seal]}
        entries.insert(len(entries) if self.seal_last else 0, (decoder.SEAL, about))
        members = [("__metadata__", self.metadata)] if self.metadata is not None else []
        return self.before + compact(members + entries) + self.behind


@dataclass
class Forged:
    """A checkpoint taken apart."""

    shards: dict  # name -> Shard, or bytes as they are
    files: dict  # name -> bytes, of the other files but the manifest
    manifest: dict | list  # without `files` and the hash
    lengths: dict  # of the shards' headers as they were read
    entries: list | None = None  # of `files` in the manifest, instead of those that are right
    as_file: set = field(default_factory=set)  # shards that are listed as other files
    as_shard: set = field(default_factory=set)  # other files that are listed as shards
    unlisted: set = field(default_factory=set)  # files the manifest does not name
    behind: list = field(default_factory=list)  # members behind `files`

    @staticmethod
    def read(folder):
        manifest = decoder.read_manifest(str(folder))
        shards, files, lengths = {}, {}, {}
        for file in manifest["files"]:
            data = (Path(folder) / file["name"]).read_bytes()
            if "seal_xxh3_128" in file:
                shards[file["name"]] = Shard.read(data)
                lengths[file["name"]] = 8 + struct.unpack_from("<Q", data)[0]
            else:
                files[file["name"]] = data
        head = {key: manifest[key] for key in list(manifest)[:6]}
        return Forged(shards, files, head, lengths)

    @property
    def shard(self):
        return next(iter(self.shards.values()))

    @property
    def index(self):
        return json.loads(self.files["model.safetensors.index.json"])

    @index.setter
    def index(self, value):
        self.files["model.safetensors.index.json"] = value if isinstance(value, bytes) else pretty(value).encode() + b"\n"

    def renew_index(self, name="model.safetensors.index.json"):
        """Makes the index right for the shards as they are now."""
        total = sum(len(e.data) for s in self.shards.values() for e in s.entries)
        names = sorted((e.name.encode(), n) for n, s in self.shards.items() for e in s.entries)
        map_ = {tensor.decode(): shard for tensor, shard in names}
        self.files.pop("model.safetensors.index.json", None)
        self.files[name] = pretty({"metadata": {"total_size": total}, "weight_map": map_}).encode() + b"\n"

    def rename_shards(self, *names):
        self.lengths = dict(zip(names, self.lengths.values()))
        self.shards = dict(zip(names, self.shards.values()))

    def encoded(self):
        """name -> bytes, the manifest too."""
        found, listed = {}, []
        for name, shard in self.shards.items():
            found[name] = shard if isinstance(shard, bytes) else fitted(shard, self.lengths.get(name))
        found |= self.files
        for name, data in found.items():
            is_shard = name in self.shards and name not in self.as_file or name in self.as_shard
            digest = data[-16:].hex() if is_shard else decoder.xxh3_128(data)
            entry = {"name": name, "bytes": len(data), "seal_xxh3_128" if is_shard else "xxh3_128": digest}
            if name not in self.unlisted:
                listed.append(entry)
        listed.sort(key=lambda e: e["name"].encode())
        members = list(self.manifest.items()) if isinstance(self.manifest, dict) else list(self.manifest)
        members += [("files", listed if self.entries is None else self.entries(listed))] + self.behind
        text = pretty(members)[: -len("\n}")]
        tail = f',\n  "manifest_xxh3_128": "{decoder.xxh3_128(text.encode())}"\n}}\n'
        return found | {decoder.MANIFEST: (text + tail).encode()}

    def write(self, folder):
        for name, data in self.encoded().items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def fitted(shard, length):
    """A shard with the header as long as it was, where what is in it still fits."""
    try:
        return shard.encoded(length)
    except AssertionError:
        return shard.encoded()


def pretty(value, indent=0):
    """JSON as `ingot` indents it: arrays of plain values on one line; a list of tuples is an object."""
    inner, outer = "  " * (indent + 1), "  " * indent
    pairs = list(value.items()) if isinstance(value, dict) else value
    if isinstance(value, dict) and not value:
        return "{}"
    if isinstance(pairs, list) and pairs and all(isinstance(item, tuple) for item in pairs):
        members = ",\n".join(f"{inner}{compact(k)}: {pretty(v, indent + 1)}" for k, v in pairs)
        return "{\n" + members + f"\n{outer}}}"
    if isinstance(pairs, list) and any(isinstance(item, (dict, list)) for item in pairs):
        return "[\n" + ",\n".join(inner + pretty(item, indent + 1) for item in pairs) + f"\n{outer}]"
    return compact(value)
