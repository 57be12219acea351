"""The codec `rans` (Specs/rans.md): real and forged chunks, right and wrong, by the decoder here and by `ingot`."""

import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

import forge
import ingot_decoder as decoder
import rans
from test_decoder import INGOT, ROOT, ingot, random_floats
from test_trellis import both_read, convert_and_compare, judge, write_matrices

# ---------------------------------------------------------------- conversions


@pytest.fixture(scope="session")
def unlike(tmp_path_factory):
    """Far from normal: heavy tails, zeros, few values, rows and columns of many sizes, neighbours alike, flat."""
    rng, shape, matrices = np.random.default_rng(15), (320, 200), []
    octaves = np.cumsum(rng.standard_normal((2, 320)), axis=1) / 2
    few = rng.choice([-1, -0.5, 0, 0.25, 1], shape) * 0.05
    for number, (name, matrix) in enumerate([
        ("tails", rng.standard_t(2, shape)), ("sparse", rng.standard_normal(shape) * (rng.random(shape) < 0.2)),
        ("few", few), ("two", rng.choice([-0.5, 0.5], shape)), ("uniform", rng.uniform(-1, 1, shape)),
        ("rows", rng.standard_normal(shape) * 2 ** rng.uniform(-3, 3, (320, 1))),
        ("walk", rng.standard_normal(shape) * 2 ** octaves[0][:, None] * 2 ** (octaves[1][:200] / 2)),
        ("normal", rng.standard_normal(shape)), ("sparse walk", few * 2 ** np.rint(octaves[0][:, None])),
    ]):  # fmt: skip
        matrices.append((name, list(decoder.WIDTH)[number % 3], matrix.clip(-6e4, 6e4)))
    return write_matrices(tmp_path_factory.mktemp("unlike") / "s.safetensors", matrices)


def heads(tensors):
    for tensor in tensors.values():
        for chunk in tensor.chunks if tensor.scheme == "trellis" else []:
            reader = rans.Reader(chunk.streams[0][0])
            escapes = reader.number(3)
            yield escapes, rans.read_head(reader, tensor.about["low_bits"]), tensor.about["low_bits"]


SEEN = {}


@pytest.mark.parametrize("options", ["--bits 2", "--bits 3 --states 32", "--bits 4", "--bits 6 --states 16", "--bits 8"])
def test_unlike_matrices(tmp_path, unlike, options):
    tensors = convert_and_compare(unlike, tmp_path, f"{options} --codec rans")
    SEEN[options] = list(heads(tensors))


def test_unlike_matrices_use_everything():
    """What the documents offer occurs in the chunks of the test before."""
    if not SEEN:
        pytest.skip("runs after the conversions")
    seen = [head for of in SEEN.values() for head in of]
    flags = [head.flags for _, head, _ in seen]
    for bit in (rans.ROW_STEPS, rans.COLUMN_STEPS, rans.LISTS):
        assert any(f & bit for f in flags) and not all(f & bit for f in flags), bit
    assert {1, 16} <= {head.classes for _, head, _ in seen} and len({head.classes for _, head, _ in seen}) > 4
    assert any(low for *_, low in seen) and any(escapes for escapes, *_ in seen)


# ---------------------------------------------------------------- the example of the document


def test_example():
    document = (ROOT / "Specs/rans.md").read_text()
    example = document[document.index("### Example") : document.index("## 7")]
    size, lines = int(re.search(r"Bytes (\d+):", example)[1]), example.splitlines()
    data = b""
    for line in lines:
        if line.startswith("    ") and not line.startswith("    levels"):
            plain, repeat = re.match(r"    ((?:[0-9a-f]{2} +)*[0-9a-f]{2})\b(?:.*then (\d+) times ([0-9a-f ]+))?", line).group(1, 2)
            data += bytes.fromhex(plain)
            data += bytes.fromhex(line.split("times ")[1]) * int(repeat) if repeat else b""
    assert len(data) == size
    rows = next(line for line in lines if line.startswith("    levels"))[10:].split("/")
    expected = [list(map(int, row.split())) for row in rows]
    assert rans.levels(data, 8, 0, np.zeros((5, 3), np.int64)).tolist() == expected

    word = int.from_bytes(data[5:9], "little")
    tables = rans.of_model(word, False), rans.of_model(word, True)
    for part, f in zip(example.strip().splitlines()[-1].split(";"), tables):
        numbers = [int(n) for n in re.findall(r"\b\d+\b(?!\))", part)]
        assert f[63 : 63 + len(numbers)] == numbers and f[63 + len(numbers)] == 0 and f[127] == 1024
    assert tables[1][62] == tables[1][63]

    about = forge.describe("F32", [5, 3], alphabet=256, codec="rans")
    symbols = [[(n - (n & 1)) // 2 for n in row] for row in expected]
    assert forge.Rans().encode(about, np.array(symbols)) == data


# ---------------------------------------------------------------- forgeries that are right


def some_tables(rng, flags, low_bits):
    """Tables of a chunk, at random, each tried until its contexts are legal."""
    classes = 1 + flags % 16

    def until_legal(make, *parities):
        while True:
            data = make()
            try:
                for odd in parities:
                    if len(data) == 4:
                        rans.of_model(int.from_bytes(data, "little"), odd)
                    else:
                        rans.of_list(rans.Reader(data), odd)
                return data
            except rans.Refused:
                pass

    def some_model():
        if rng.random() < 0.5:
            return rng.bytes(4)
        return forge.model(1, int(rng.integers(0, 200)), int(rng.integers(0, 20)), int(rng.integers(16)), int(rng.integers(64)))

    def some_list(odd):
        reach = int(rng.integers(0, 63 if odd else 64))
        values = [int(v) for v in rng.integers(0, rng.choice([2, 30, 400]), reach + odd)]
        return forge.listed(values, int(rng.integers(16)), reach)

    tables = b""
    for _ in range(classes):
        if flags & rans.LISTS:
            tables += until_legal(lambda: some_list(low_bits > 0), low_bits > 0) + until_legal(lambda: some_list(True), True)
        else:
            tables += until_legal(some_model, low_bits > 0, True)
    return tables + (until_legal(some_model, False) + until_legal(some_model, False) if classes > 1 else b"")


def some_indices(rng, frequencies, count, steps):
    """Such as the table can say."""
    slots, found = np.repeat(np.arange(-63, 65), frequencies), []
    while len(found) < count:
        value = int(rng.choice(slots))
        value = int(rng.integers(-16, 17)) if value == 64 else value
        value += found[-1] if steps and found else 0
        if abs(value) <= 8:
            found.append(value)
    return found


def some_coder(rng, about):
    flags = int(rng.choice([0, 1, 2, 7, 15])) + (64 if rng.random() < 0.5 else 0)
    flags += int(rng.integers(4)) * 16 if flags % 16 else 0
    bias = int(rng.choice([rng.integers(-128, 128), rng.integers(-3, 12)])) if flags % 16 else 0
    coder = forge.Rans(flags, bias, some_tables(rng, flags, about["low_bits"]))
    if flags % 16:
        contexts, (rows, columns) = coder.head(about["low_bits"]).contexts, forge.matrix_of(about)
        coder.of_rows = some_indices(rng, contexts[-2], rows, flags & 16)
        coder.of_columns = some_indices(rng, contexts[-1], columns, flags & 32)
    coder.needless, coder.seed = float(rng.choice([0, 0.1])), int(rng.integers(1000))
    return coder


FORGED_SHAPES = [[5, 3], [20, 70], [40, 33], [2, 5, 64], [1, 5], [7, 1], [33, 100], [70, 31]]


@pytest.mark.parametrize("seed", range(4))
def test_forged_chunks_of_every_kind(tmp_path, seed):
    rng, forgeries, sources, expected = np.random.default_rng([16, seed]), [], [], {}
    for number in range(60):
        dtype, shape, low_bits = list(decoder.WIDTH)[number % 3], FORGED_SHAPES[number % 8], (0, 2, 3, 6, 0)[number % 5]
        about = forge.describe(dtype, shape, states=(8, 16, 32)[number // 3 % 3], alphabet=256, low_bits=low_bits, codec="rans")
        matrix = forge.matrix_of(about)
        data = random_floats(rng, dtype, shape)
        about["source_xxh3_128"] = decoder.xxh3_128(data)
        unsigned = {2: "<u2", 4: "<u4"}[decoder.WIDTH[dtype]]
        original = decoder.to_float32(np.frombuffer(data, unsigned), dtype)
        coder = some_coder(rng, about)
        patches = [(3, data[: decoder.WIDTH[dtype]])] if number % 4 == 0 else []
        tile, restored = forge.tile_of(about, coder.draw(about, rng), float(np.float32(rng.uniform(0.001, 0.3))), None, patches, coder)
        tile.sums = decoder.errors(original, restored.reshape(-1))
        name = f"m{number:03}"
        forgeries.append(forge.Forgery(name, about, [tile]))
        sources.append((name, dtype, shape, data))
        expected[name] = restored.reshape(matrix).tobytes()
    both_read(tmp_path, forgeries, sources, expected)


def forged(coder=None, shape=(5, 7), low_bits=0, h=None, **parameters):
    about = forge.describe("F32", list(shape), alphabet=256, low_bits=low_bits, codec="rans", **parameters)
    rng, coder = np.random.default_rng(17), coder or forge.Rans()
    symbols = coder.draw(about, rng) if h is None else np.broadcast_to(h, shape).astype(int) << low_bits
    tile, _ = forge.tile_of(about, symbols, 0.5, None, (), coder)
    return forge.Forgery("m", about, [tile])


NORMAL = forge.model(1, 30, 0, 15, 11)
FLAT = forge.model(0, 0, 0, 15, 16)  # for indices and their differences


def classes(flags=1, rows=(0,) * 5, columns=(0,) * 7, tables=2 * NORMAL, bias=0, **more):
    return forge.Rans(flags, bias, tables + 2 * FLAT, rows, columns, **more)


LEGAL = [
    ("the tables of the example", {}),
    ("an escape that needs none", {"coder": forge.Rans(needless=0.5)}),
    ("the ends of a byte", {"h": np.where(np.arange(35).reshape(5, 7) % 2, 127, -128)}),
    ("two classes", {"coder": classes(rows=(-8, 8, 0, 1, -1))}),
    ("steps of 16", {"coder": classes(1 + 16 + 32, (-8, 8, -8, 8, 0), (8, -8, 8, -8, 8, -8, 8))}),
    ("bias -128", {"coder": classes(bias=-128)}),
    ("bias 127", {"coder": classes(bias=127)}),
    *((f"indices in more than one round, steps {steps}", {
        "coder": classes(1 + steps, [i % 9 for i in range(70)], [4 - i % 7 for i in range(40)]), "shape": (70, 40),
    }) for steps in (0, 16, 32, 48)),
    ("no symbol but 0", {"coder": forge.Rans(tables=forge.model(reach=0, code=0)), "h": 0, "shape": (3, 40)}),
    ("g in two bytes that one could hold", {"coder": forge.Rans(64, 0, bytes([1, 15, 128 + 5, 0, 0, 15, 128 + 90, 0]))}),
    ("g = 0", {"coder": forge.Rans(64, 0, forge.listed([0, 0, 7], 15, 3) + forge.listed([0, 9]))}),
    ("the least f(0)", {"coder": forge.Rans(64, 0, forge.listed([2047], 1, 1) + forge.listed([3071], 15))}),
    ("reach 63 in lists", {"coder": forge.Rans(64, 0, forge.listed([2] * 63, 15, 63) + forge.listed([3] * 63, 15, 62))}),
    ("reach 63 in a model", {"coder": forge.Rans(tables=forge.model(3, 1, 0, 15, 63)), "shape": (60, 70)}),
    ("reach 63, low bits", {"coder": forge.Rans(tables=forge.model(3, 1, 0, 15, 63)), "shape": (60, 70), "low_bits": 4}),
    ("even model with negative numbers", {"coder": forge.Rans(tables=forge.model(0, -5, 3, 14, 20)), "shape": (60, 70)}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LEGAL)), ids=[what for what, _ in LEGAL])
def test_legal_though_unusual(tmp_path, number):
    what, arguments = LEGAL[number]
    judge(tmp_path, forged(**arguments), legal=True, what=what)


# ---------------------------------------------------------------- forgeries that are wrong


def refused(folder, forgery, what, message):
    """By both, here for the reason that is meant."""
    judge(folder, forgery, what=what)
    with pytest.raises(decoder.Damaged, match=message):
        decoder.open_checkpoint(str(folder / "q"))["m"].decode()


def edit(forgery, change):
    stream = forgery.tiles[0].streams[0]
    data = bytearray(stream.stored)
    changed = change(data)
    stream.stored = bytes(data if changed is None else changed)


def put(at, *values):
    def change(data):
        data[at : at + len(values)] = bytes(values)

    return change


def escapes(more):
    """So many more or less, at the end of them; in chunks of one class and a model for it."""

    def change(data):
        count = int.from_bytes(data[:3], "little")
        kept = data[3 : 137 + count + min(more, 0)] + bytes(max(more, 0))
        return (count + more).to_bytes(3, "little") + kept + data[137 + count :]

    return change


def first_state(name, low, high):
    """A coder one of whose lanes begins below 2^15 or above 2^31, and would come to a right end."""
    for seed in range(100):
        lane = seed % 32
        coder = forge.Rans(**{name: lane}, tables=forge.model(1, 30, 0, 4 + seed // 32, 11))
        about = forge.describe("F32", [50, 40], alphabet=256, codec="rans")
        try:
            data = coder.encode(about, coder.draw(about, np.random.default_rng(17)))
        except struct.error:  # it does not fit
            continue
        if low <= struct.unpack_from("<I", data, 9 + 4 * lane)[0] < high:
            return coder
    raise AssertionError("no such state")


LISTS = forge.listed([100, 50], 15, 2), forge.listed([200, 90], 15)
# Two classes, no weight in the second, which begins after five bytes and the first.
UNUSED_MODEL = {"coder": classes()}
UNUSED_LISTS = {"coder": classes(1 + 64, tables=2 * (LISTS[0] + LISTS[1]))}
SECOND = 5 + len(LISTS[0] + LISTS[1])
WIDE = {"shape": (50, 40)}


def broken():
    """(what, arguments of `forged`, change of the chunk, the reason)"""
    yield "bit 7", {}, put(3, 128), "bit 7"
    for bit in (16, 32, 48):
        yield f"steps {bit} of one class", {}, put(3, bit), "steps or a bias"
    for bias in (1, 255):
        yield f"bias {bias} of one class", {}, put(4, bias), "steps or a bias"

    below = forge.model(0, -256, 0, 15, 63)  # the rarer the smaller
    yield "f(0) of a model, though unused", UNUSED_MODEL, put(9, *below), r"f\(0\)"
    yield "f(0) of the row indices", UNUSED_MODEL, put(13, *below), r"f\(0\)"
    yield "f(0) of the column indices", UNUSED_MODEL, put(17, *below), r"f\(0\)"
    even, odd = SECOND, SECOND + len(LISTS[0])
    for what, at, data in [
        ("1536 of 3072, even", even, forge.listed([1536, 0], 15, 2)), ("3072 of 3072, odd", odd, forge.listed([3072, 0], 15)),
        ("32767, even", even, forge.listed([32767, 0], 15, 2)), ("32767, odd", odd, forge.listed([1, 32767], 15)),
        ("32767 everywhere, even", even, forge.listed([32767] * 63, 15, 63)),
        ("32767 everywhere, odd", odd, forge.listed([32767] * 63, 15, 62)),
    ]:  # fmt: skip
        old = LISTS[at == odd]
        yield what, UNUSED_LISTS, lambda d, at=at, data=data, old=old: d[:at] + data + d[at + len(old) :], r"f\(0\)"
    yield "reach 64 of an even list", UNUSED_LISTS, put(even, 64), "reach"
    yield "reach 63 of an odd list", UNUSED_LISTS, put(odd, 63), "reach"
    yield "reach 255", UNUSED_LISTS, put(even, 255), "reach"
    yield "escape code 16", UNUSED_LISTS, put(even + 1, 16), "escape code"
    yield "escape code 255, odd", UNUSED_LISTS, put(odd + 1, 255), "escape code"
    low = {"coder": forge.Rans(64, 0, LISTS[1] * 2), "low_bits": 3}
    yield "reach 63 where low bits make the list odd", low, put(5, 63), "reach"

    yield "a first state of too much", {"coder": first_state("late", 2**31, 2**32)} | WIDE, None, "a first state"
    yield "a first state of too little", {"coder": first_state("early", 0, 2**15)} | WIDE, None, "a first state"
    for lane in (7, 31):
        for state in (0, 2**15 - 1, 2**31, 2**32 - 1):
            yield f"idle lane {lane} begins with {state}", {}, put(9 + 4 * lane, *struct.pack("<I", state)), "a first state"
        for state in (2**15 + 1, 2**16, 2**31 - 1):
            yield f"idle lane {lane} ends with {state}", {}, put(9 + 4 * lane, *struct.pack("<I", state)), "last state"
    for lane in (0, 1, 31):
        for state in (2**15 + 1, 2**16):
            yield f"lane {lane} ends with {state}", {"coder": forge.Rans(start={lane: state})} | WIDE, None, "last state"

    for what, flags, rows, columns in [
        ("row 9", 1, (0, 9, 0, 0, 0), (0,) * 7), ("row -9", 1, (0,) * 4 + (-9,), (0,) * 7),
        ("column 9", 1, (0,) * 5, (9,) + (0,) * 6), ("column -128", 1, (0,) * 5, (0, 0, -128) + (0,) * 4),
        ("row 127", 1, (127,) * 5, (0,) * 7), ("row 9 by steps", 17, (8, 9, 8, 8, 8), (0,) * 7),
        ("row -9 by steps", 17, (-9,) + (0,) * 4, (0,) * 7), ("column 9 by steps", 33, (0,) * 5, (0, 2, 4, 6, 8, 9, 8)),
        ("columns of 127 steps", 33, (0,) * 5, (0, 127, 254, 381, 254, 127, 0)),
    ]:  # fmt: skip
        yield what, {"coder": classes(flags, rows, columns)}, None, "index"

    yield "half a word", WIDE, lambda d: d + b"\0", "half a word"
    yield "half a word less", WIDE, lambda d: d[:-1], "half a word"
    yield "a word less", WIDE, lambda d: d[:-2], "the words run out"
    yield "no words", WIDE, lambda d: d[: 137 + int.from_bytes(d[:3], "little")], "the words run out"
    yield "a word more", WIDE, lambda d: d + b"\0\0", "words are left over"
    yield "an escape more", WIDE, escapes(1), "escapes are left over"
    yield "two escapes more", WIDE, escapes(2), "escapes are left over"
    yield "an escape less", WIDE, escapes(-1), "escapes run out"
    yield "all escapes less", WIDE, lambda d: escapes(-int.from_bytes(d[:3], "little"))(d), "escapes run out"
    yield "a word that is called two escapes", WIDE, lambda d: escapes(2)(d)[:137] + d[137:], "run out"
    yield "nothing", {}, lambda d: b"", "too short"
    yield "escapes without end", WIDE, put(0, 255, 255, 255), "too short"


BROKEN = list(broken())


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[what for what, *_ in BROKEN])
def test_refused(tmp_path, number):
    what, arguments, change, message = BROKEN[number]
    forgery = forged(**arguments)
    if change:
        judge(tmp_path, forgery, legal=True, what=f"before: {what}")
        edit(forgery, change)
    refused(tmp_path, forgery, what, message)


def set_stream(number, **values):
    def change(tile):
        for key, value in values.items():
            setattr(tile.streams[number], key, value)

    return change


@pytest.mark.parametrize("change", [
    set_stream(0, codec=0), set_stream(0, codec=1), set_stream(0, codec=2), set_stream(0, codec=4), set_stream(0, symbols=34),
    set_stream(0, symbols=36), set_stream(0, symbols=0), set_stream(1, codec=3), set_stream(1, symbols=1),
    set_stream(1, codec=3, stored=b""), set_stream(1, stored=bytes(7)), set_stream(1, stored=bytes(16)),
    lambda tile: tile.streams.append(forge.Stream(b"")), lambda tile: tile.streams.pop(),
])  # fmt: skip
def test_refused_tables(tmp_path, change):
    forgery = forged()
    judge(tmp_path, forgery, legal=True)
    change(forgery.tiles[0])
    judge(tmp_path, forgery)


@pytest.mark.parametrize("change,at,form,value", [
    ({"alphabet": 16}, 12, "<I", 65536 + 16), ({"row_classes": 2}, 12, "<I", 2 * 65536 + 256), ({"low_bits": 1}, 11, "B", 1),
    ({"low_bits": 7}, 11, "B", 7), ({"codec": "zstd"}, 16, "B", 2), ({"codec": "none"}, 16, "B", 0), ({}, 16, "B", 2),
    ({"codec": "lz4"}, 16, "B", 3), ({}, 16, "B", 4),
])  # fmt: skip
def test_refused_descriptions(tmp_path, change, at, form, value, monkeypatch):
    """Description and prologue agree where both are changed."""
    forgery = forged()
    forgery.prologue = {at: (form, value)}
    data, table_end = forge.payload(forgery)
    forgery.about |= change
    monkeypatch.setattr(forge, "payload", lambda _: (data, table_end))
    judge(tmp_path, forgery, what=str(change))


@pytest.mark.parametrize("scheme", ["uniform", "lossless"])
def test_refused_in_other_schemes(tmp_path, scheme):
    """A tensor that is stored under `none`, as if `rans` had been asked for: two bytes that differ, and their hashes."""
    rng = np.random.default_rng(18)
    write_matrices(tmp_path / "s.safetensors", [("m", "F32", rng.standard_normal((5, 70)))])
    options = ["--bits", "4"] if scheme == "uniform" else []
    ingot("convert", tmp_path / "s.safetensors", tmp_path / "q", "--scheme", scheme, "--codec", "none", *options)
    path = tmp_path / "q/model.safetensors"
    data = path.read_bytes()
    for what, old, new in (("left alone", b"none", b"none"), ("rans", b"none", b"rans")):
        changed = bytearray(data.replace(b'\\"codec\\":\\"' + old, b'\\"codec\\":\\"' + new))
        count, _, first = struct.unpack_from("<IQQ", changed, len(changed) - 52)
        start = struct.unpack_from("<Q", changed, first + 32)[0]
        changed[start + 16] = 3 if new == b"rans" else 0
        for at in range(first, first + 32 * count, 32):
            start, length = struct.unpack_from("<QQ", changed, at)
            changed[at + 16 : at + 32] = bytes.fromhex(decoder.xxh3_128(changed[start : start + length]))
        changed[-16:] = bytes.fromhex(decoder.xxh3_128(changed[first:-16]))
        path.write_bytes(changed)
        text = (tmp_path / "q" / decoder.MANIFEST).read_text().split(',\n  "manifest_xxh3_128"')[0]
        text = re.sub('"seal_xxh3_128": "[0-9a-f]+"', f'"seal_xxh3_128": "{changed[-16:].hex()}"', text)
        digest = decoder.xxh3_128(text.encode())
        (tmp_path / "q" / decoder.MANIFEST).write_text(f'{text},\n  "manifest_xxh3_128": "{digest}"\n}}\n')
        if what == "left alone":
            decoder.open_checkpoint(str(tmp_path / "q"))
            ingot("verify", tmp_path / "q")
            continue
        with pytest.raises(decoder.Damaged, match="rans but for a trellis"):
            decoder.open_checkpoint(str(tmp_path / "q"))
        ingot("verify", tmp_path / "q", code=65)


def test_every_shorter_chunk_is_refused(tmp_path):
    forgery = forged(classes(1 + 64, tables=2 * (LISTS[0] + LISTS[1])))
    judge(tmp_path, forgery, legal=True)
    whole = forgery.tiles[0].streams[0].stored
    for length in range(len(whole)):
        forgery.tiles[0].streams[0].stored = whole[:length]
        judge(tmp_path, forgery, what=f"{length} bytes")


# ---------------------------------------------------------------- damage at random


def agree(folder, forgery, what):
    """Whether both take it, then with the same weights; fails where only one does."""
    shutil.rmtree(folder / "q", ignore_errors=True)
    forge.write(folder / "q", [forgery])
    done = subprocess.run([INGOT, "verify", folder / "q"], capture_output=True, text=True)
    assert done.returncode in (0, 65), f"{what}: {done.returncode} {done.stderr[-300:]}"
    try:
        weights = decoder.open_checkpoint(str(folder / "q"))["m"].decode()[1]
    except decoder.Damaged as error:
        assert done.returncode == 65, f"{what}: {error}"
        return False
    assert done.returncode == 0, f"{what}: {done.stderr[-300:]}"
    shutil.rmtree(folder / "e", ignore_errors=True)
    ingot("export", folder / "q", folder / "e", "--dtype", "f32")
    assert bytes(decoder.read_source(str(folder / "e"))["m"][2]) == weights, what
    return True


def mutate(rng, data, table_end):
    """Bits, bytes, pieces; often in the head, where one byte may leave all the others right."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(min(table_end, len(data)) if rng.random() < 0.5 else len(data)))
        kind = rng.integers(5)
        if kind < 2:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            data[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 5))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 5)))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage(tmp_path, seed):
    """Both decoders take a chunk or both refuse it; also where the damaged tables had been the encoder's."""
    rng, taken = np.random.default_rng([19, seed]), 0
    for number in range(100):
        shape, low_bits = FORGED_SHAPES[number % 8][-2:], (0, 3)[number % 2]
        about = forge.describe("F32", shape, states=(8, 16, 32)[number % 3], alphabet=256, low_bits=low_bits, codec="rans")
        coder = some_coder(rng, about)
        tile, _ = forge.tile_of(about, coder.draw(about, rng), 0.5, None, (), coder)
        stream = tile.streams[0]
        head = 137 + len(coder.tables) - 4
        if number % 4 == 0:  # an escape that comes to be another
            count = int.from_bytes(stream.stored[:3], "little")
            if count:
                at = head + int(rng.integers(count))
                stream.stored = stream.stored[:at] + rng.bytes(1) + stream.stored[at + 1 :]
        elif number % 4 < 3:
            stream.stored = mutate(rng, stream.stored, head - 128)
        else:  # what every symbol is, other tables say
            other = mutate(rng, bytes([coder.flags, coder.bias % 256]) + coder.tables, 2 + len(coder.tables))
            stream.stored = stream.stored[:3] + other + stream.stored[head - 128 :]
        taken += agree(tmp_path, forge.Forgery("m", about, [tile]), f"{seed}, {number}")
    assert 5 < taken < 95
