"""Checkpoints of scheme `trellis` made without `ingot`, from the documents: what its encoder never writes, too.

The inverse of the decoder, weight by weight: symbols to streams, streams to a payload, payloads to a sealed directory.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import lz4.block
import numpy as np
import zstandard

import ingot_decoder as decoder
import rans


@dataclass
class Stream:
    stored: bytes
    codec: int = 0
    symbols: int = 0


@dataclass
class Tile:
    """What a chunk's entry of the table says, and its streams."""

    step: float
    streams: list
    sums: tuple = (1.0, 0.5, 0.25)
    zero: int = 0


@dataclass
class Forgery:
    """A tensor: its description, its tiles in order; `prologue` replaces fields of struct format, by offset; the scale bytes."""

    name: str
    about: dict
    tiles: list
    prologue: dict = field(default_factory=dict)
    side: bytes = b""


def describe(dtype, shape, *, states=8, alphabet=16, low_bits=0, row_classes=1, codec="none", source=b"", scale_bytes=None, calibrated=False):
    about = {"scheme": "trellis", "states": states, "alphabet": alphabet, "low_bits": low_bits, "row_classes": row_classes}
    about |= {"scale_bytes": scale_bytes} if scale_bytes else {}
    return about | {
        "codec": codec, "dtype": dtype, "shape": list(shape), "signal": "", "noise": "", "max_error": "",
    } | ({
        "h_signal": decoder.hex_f64(2.0), "h_noise": decoder.hex_f64(0.5), "calibration_xxh3_128": decoder.xxh3_128(b"moments"),
    } if calibrated else {}) | {"source_xxh3_128": decoder.xxh3_128(source)}  # fmt: skip


def matrix_of(about):
    return int(np.prod(about["shape"][:-1])), about["shape"][-1]


def places(about):
    """The tiles' slices of the matrix, in order."""
    rows, columns = matrix_of(about)
    high, wide = decoder.chunk_shape("trellis", rows, columns)
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            yield slice(top, min(top + high, rows)), slice(left, min(left + wide, columns))


def pack(codes, bits):
    """Dense: a little-endian bit stream."""
    codes = np.array(codes, np.uint32).reshape(-1, 1)
    return np.packbits((codes >> np.arange(bits, dtype=np.uint32) & 1).astype(np.uint8), bitorder="little").tobytes()


def pack_aligned(codes, bits, per_byte):
    codes = list(codes) + [0] * (-len(codes) % per_byte)
    groups = (codes[i : i + per_byte] for i in range(0, len(codes), per_byte))
    return bytes(sum(c << (bits * i) for i, c in enumerate(group)) for group in groups)


def pack_six(codes):
    codes = list(codes) + [0] * (-len(codes) % 3)
    return bytes(codes[i] + 6 * codes[i + 1] + 36 * codes[i + 2] for i in range(0, len(codes), 3))


def compress(plain, codec):
    if codec == 1:
        return lz4.block.compress(plain, store_size=False)
    return zstandard.ZstdCompressor(level=1, write_checksum=False, write_content_size=True).compress(plain)


def codes_of(about, symbols, row_class):
    """Sections 2 and 3: (codes of each stream, escapes, low bits, levels) of a tile's symbols."""
    states, alphabet, low_bits = about["states"], about["alphabet"], about["low_bits"]
    largest, (h0, h1) = (alphabet - 1) // 2, {8: (5, 2), 16: (9, 2), 32: (18, 4)}[states]
    codes, escapes, low = [[] for _ in range(2 * about["row_classes"])], [], []
    levels = np.zeros(symbols.shape, np.int64)
    for left in range(0, symbols.shape[1], 64):
        strip = range(left, min(left + 64, symbols.shape[1]))
        state = dict.fromkeys(strip, 0)
        for i in range(symbols.shape[0]):
            for j in strip:
                k, s = int(symbols[i, j]), state[j]
                h, rest = divmod(k, 1 << low_bits)
                c = h + largest
                if alphabet == 256:
                    c %= 256  # h = -128 becomes 255
                elif not -largest <= h <= largest:
                    c = 2 * largest + 1
                    escapes.append(h)
                codes[2 * int(row_class[i]) + s % 2].append(c)
                low.append(rest)
                levels[i, j] = 2 * k + s % 2
                state[j] = s // 2 ^ (h0 if s % 2 else 0) ^ (h1 if k % 2 else 0)
    return codes, escapes, low, levels


def stream_of_codes(about, codes):
    alphabet, codec = about["alphabet"], decoder.CODECS[about["codec"]]
    if alphabet == 6:
        stored = coded = pack_six(codes)
    else:
        bits = {4: 2, 8: 3, 16: 4, 32: 5, 64: 6, 256: 8}[alphabet]
        stored = coded = pack(codes, bits)
        if codec == 2:
            coded = pack_aligned(codes, bits, {2: 4, 3: 2, 4: 2}.get(bits, 1))
    return smaller(stored, coded, codec, len(codes))


def smaller(stored, coded, codec, symbols):
    if codec and stored:
        compressed = compress(coded, codec)
        if len(compressed) < len(stored):
            return Stream(compressed, codec, symbols)
    return Stream(stored, 0, symbols)


def scale(byte):
    """Section 2, "Scale bytes"."""
    octave, eighth = divmod(byte - 128, 8)
    return np.float32(np.float32(2 ** (eighth / 8)) * np.float64(2) ** octave)


def tile_of(about, symbols, step, row_class=None, patches=(), coder=None, scales=None):
    """(tile, its weights in binary32, as section 2 restores them); `coder` is for the codec `rans`.

    `scales` are the bytes of the tile's columns, and of its rows, which may be empty.
    """
    row_class = np.zeros(len(symbols), int) if row_class is None else row_class
    codes, escapes, low, levels = codes_of(about, symbols, row_class)
    if about["codec"] == "rans":
        streams = [Stream(coder.encode(about, symbols), 3, symbols.size)]
    else:
        streams = [stream_of_codes(about, c) for c in codes]
        plain = struct.pack(f"{len(escapes)}b", *escapes)
        streams.append(smaller(plain, plain, decoder.CODECS[about["codec"]], len(escapes)))
    extras = pack(row_class, 2) if about["row_classes"] > 1 else b""
    if about["low_bits"]:
        extras += pack(low, about["low_bits"])
    with np.errstate(over="ignore"):
        steps = np.full(symbols.shape, step, np.float32)
        if scales is not None:
            columns, rows = scales
            for i, byte in enumerate(rows):
                steps[i] *= scale(byte)
            for j, byte in enumerate(columns):
                steps[:, j] *= scale(byte)
        weights = (levels.astype(np.float32) * steps).reshape(-1)
    for index, element in patches:
        extras += struct.pack("<I", index) + element
        unsigned = np.frombuffer(element, {2: "<u2", 4: "<u4"}[len(element)])
        weights[index] = decoder.to_float32(unsigned, about["dtype"])[0]
    return Tile(step, [*streams, Stream(extras)]), weights.reshape(symbols.shape)


def model(g=0, b=0, c=0, code=15, reach=0):
    """rans.md, section 3."""
    return struct.pack("<I", g | b + 256 << 3 | c + 512 << 12 | code << 22 | reach << 26)


def listed(values, code=15, reach=None):
    """A list; of an odd context unless the reach is given."""
    data = b"".join(bytes([g]) if g < 128 else bytes([128 + g % 128, g // 128]) for g in values)
    return bytes([len(values) - 1 if reach is None else reach, code]) + data


@dataclass
class Rans:
    """The coder of rans.md and what stands in its chunk; the last three members break it."""

    flags: int = 0
    bias: int = 0
    tables: bytes = model(1, 30, 0, 15, 11)
    of_rows: list = ()
    of_columns: list = ()
    needless: float = 0.0  # how many symbols escape though they need not
    seed: int = 0
    start: dict = field(default_factory=dict)  # last states of lanes, instead of 2^15
    early: int | None = None  # the lane whose first symbol gives a word away though it need not
    late: int | None = None  # the lane whose first symbol gives none away though it must

    def head(self, low_bits):
        data = struct.pack("<Bb", self.flags, self.bias) + self.tables
        reader = rans.Reader(data)
        head = rans.read_head(reader, low_bits)
        assert reader.at == len(data)
        return head

    def indices(self, head):
        """(lane, context, symbol) of the indices."""
        for values, bit, context in ((self.of_rows, 16, -2), (self.of_columns, 32, -1)):
            for i, value in enumerate(values):
                yield i % 32, context, int(value) - (int(values[i - 1]) if i and self.flags & bit else 0)

    def context(self, head, i, j):
        """The context of a weight of an even state."""
        if head.classes == 1:
            return 0
        return 2 * min(max(int(self.of_rows[i]) + int(self.of_columns[j]) + self.bias, 0), head.classes - 1)

    def draw(self, about, rng):
        """Symbols as the tables expect them, for indices already chosen."""
        (rows, columns), low_bits, head = matrix_of(about), about["low_bits"], self.head(about["low_bits"])
        (h0, h1), out = rans.HALVES[about["states"]], np.empty((rows, columns), int)
        slots = [np.repeat(np.arange(-63, 65), f) for f in head.contexts]
        for j in range(columns):
            state = 0
            for i in range(rows):
                h = int(rng.choice(slots[self.context(head, i, j) + state % 2]))
                h = int(rng.integers(-128, 128)) if h == 64 else h
                out[i, j] = k = (h << low_bits) + int(rng.integers(1 << low_bits))
                state = state // 2 ^ (h0 if state % 2 else 0) ^ (h1 if k % 2 else 0)
        return out

    def encode(self, about, symbols):
        head, (h0, h1), low_bits = self.head(about["low_bits"]), rans.HALVES[about["states"]], about["low_bits"]
        coded, (rows, columns) = list(self.indices(head)), symbols.shape
        for left in range(0, columns, 32):
            state = dict.fromkeys(range(left, min(left + 32, columns)), 0)
            for i in range(rows):
                for j, s in state.items():
                    k = int(symbols[i, j])
                    coded.append((j % 32, self.context(head, i, j) + s % 2, k >> low_bits))
                    state[j] = s // 2 ^ (h0 if s % 2 else 0) ^ (h1 if k % 2 else 0)
        rng = np.random.default_rng(self.seed)
        escapes, steps = [], []
        for lane, context, h in coded:
            f = head.contexts[context]
            escaped = not -63 <= h <= 63 or f[h + 63] == 0 or (f[127] and rng.random() < self.needless)
            escapes += [h] if escaped else []
            at = 127 if escaped else h + 63
            steps.append((lane, f[at], sum(f[:at])))
            assert f[at], "an escape is needed, and has no slots"
        x, words = [self.start.get(lane, 2**15) for lane in range(32)], []
        firsts = {lane: at for at, (lane, *_) in reversed(list(enumerate(steps)))}
        for at in range(len(steps) - 1, -1, -1):
            lane, f, first = steps[at]
            odd_one = {self.early: True, self.late: False}.get(lane) if firsts[lane] == at else None
            if x[lane] >= f * 2**19 if odd_one is None else odd_one:
                words.append(x[lane] % 2**16)
                x[lane] //= 2**16
            x[lane] = x[lane] // f * 4096 + x[lane] % f + first
        data = len(escapes).to_bytes(3, "little") + struct.pack("<Bb", self.flags, self.bias) + self.tables
        data += struct.pack("<32I", *x) + struct.pack(f"{len(escapes)}b", *escapes)
        return data + struct.pack(f"<{len(words)}H", *reversed(words))


def payload(forgery):
    """(bytes, length of prologue, table and side information)."""
    about, tiles, codec = forgery.about, forgery.tiles, decoder.CODECS[forgery.about["codec"]]
    rows, columns = matrix_of(about)
    count = len(tiles[0].streams)
    table_end = 64 + len(tiles) * (48 + 8 * count) + len(forgery.side)
    table, chunks = b"", b""
    for tile in tiles:
        chunk = b"".join(s.stored for s in tile.streams)
        step = tile.step if isinstance(tile.step, bytes) else struct.pack("<f", tile.step)
        table += struct.pack("<QQddd", table_end + len(chunks), decoder.xxh3_64(chunk), *tile.sums) + step
        table += struct.pack("<I", tile.zero)
        table += b"".join(struct.pack("<II", len(s.stored), s.codec | s.symbols << 8) for s in tile.streams)
        chunks += chunk
    size = -(-(table_end + len(chunks)) // 64) * 64
    high, wide = decoder.chunk_shape("trellis", rows, columns)
    data = bytearray(struct.pack(
        "<8sHBBIBBHIQQIIQQ", b"INGOTPL1", 3, about["states"], about["low_bits"],
        about["alphabet"] + 65536 * about["row_classes"], codec, {"F16": 1, "BF16": 2, "F32": 3}[about["dtype"]],
        count, len(tiles), rows, columns, high, wide, len(forgery.side), size,
    ))  # fmt: skip
    for at, (form, value) in forgery.prologue.items():
        struct.pack_into(form, data, at, value)
    return bytes(data) + table + forgery.side + chunks + bytes(size - table_end - len(chunks)), table_end


def write(folder, forgeries):
    """A whole checkpoint of these tensors in one shard."""
    metadata = {"format": "ingot"}
    features = ["scale_bytes"] if any(f.side for f in forgeries) else []
    writer = {"version": 1, "required_features": features, "optional_features": [], "writer": "forge", "codecs": "none"}
    metadata["ingot"] = json.dumps(writer, separators=(",", ":"))
    entries, data, records = {}, b"", []
    for forgery in forgeries:
        totals = [0.0, 0.0, 0.0]
        for tile in forgery.tiles:
            totals = [totals[0] + tile.sums[0], totals[1] + tile.sums[1], max(totals[2], tile.sums[2])]
        forgery.about |= {k: struct.pack(">d", v).hex() for k, v in zip(("signal", "noise", "max_error"), totals)}
        metadata["ingot:" + forgery.name] = json.dumps(forgery.about, separators=(",", ":"))
        piece, table_end = payload(forgery)
        entries[forgery.name] = {"dtype": "U8", "shape": [len(piece)], "data_offsets": [len(data), len(data) + len(piece)]}
        records.append((len(data), table_end))
        data += piece
    seal = 32 * (len(records) + 1) + 64
    entries[decoder.SEAL] = {"dtype": "U8", "shape": [seal], "data_offsets": [len(data), len(data) + seal]}
    header = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % 64)
    data = struct.pack("<Q", len(header)) + header + data
    base, first = 8 + len(header), len(data)
    for start, length in [(0, base), *((base + start, length) for start, length in records)]:
        data += struct.pack("<QQ", start, length) + bytes.fromhex(decoder.xxh3_128(data[start : start + length]))
    data += b"INGOTSEL" + struct.pack("<IIQQ", 1, len(records) + 1, len(data) + 64, first) + bytes(16)
    data += bytes.fromhex(decoder.xxh3_128(data[first:]))
    manifest = {
        "format": "ingot-manifest", "version": 1, "writer": "forge", "codecs": "none", "options": {}, "source_bytes": 0,
        "files": [{"name": "model.safetensors", "bytes": len(data), "seal_xxh3_128": data[-16:].hex()}],
    }  # fmt: skip
    text = json.dumps(manifest, indent=2)[: -len("\n}")]
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(data)
    digest = decoder.xxh3_128(text.encode())
    (folder / decoder.MANIFEST).write_text(f'{text},\n  "manifest_xxh3_128": "{digest}"\n}}\n')
