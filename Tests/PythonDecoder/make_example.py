#!/usr/bin/env python3
"""Makes the fixtures and, from them, the sections "Worked example" of Specs/container.md and Specs/trellis.md.

    INGOT=path/to/ingot python3 make_example.py
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import ingot_decoder as decoder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FIXTURE = HERE / "fixtures/example.safetensors"
DOCUMENT = ROOT / "Specs/container.md"
TITLE = "## 9. Worked example"
TRELLIS_FIXTURE = HERE / "fixtures/trellis.safetensors"
TRELLIS_DOCUMENT = ROOT / "Specs/trellis.md"
TRELLIS_TITLE = "### Worked example"
# The matrix is so small that it gets larger: a rule asks for it nevertheless.
TRELLIS_OPTIONS = ["--scheme", "trellis", "--bits-for", "*=3"]


def source():
    """The source's tensors: (name, type, shape, bytes)."""
    j = np.arange(40)
    matrix = np.stack([(j - 20) / 32, np.array([0, 1, -1, 0.25] * 10), j * j / 256]).astype("<f2")
    return [("matrix", "F16", [3, 40], matrix.tobytes()), ("steps", "I32", [3], np.array([10, 20, 30], "<i4").tobytes())]


def trellis_source():
    matrix = np.array([[2, -6, 0], [8, 0, 7], [-3, -3, -4], [-14, -3, -1], [5, -1, -7]]) / 4
    return [("matrix", "F32", [5, 3], matrix.astype("<f4").tobytes())]


def convert(ingot, folder, tensors=None, options=("--scheme", "uniform", "--bits", "3", "--group-size", "32")):
    decoder.write_safetensors(Path(folder) / "source.safetensors", tensors or source())
    options = [*options, "--codec", "none"]
    command = [ingot, "convert", Path(folder) / "source.safetensors", Path(folder) / "q", *options]
    subprocess.run(command, check=True, capture_output=True)


# ---------------------------------------------------------------- reading the document


def example_section(document):
    return document[document.index("\n" + TITLE) :]


def bytes_of_document(document):
    """The bytes of the block: after the offset, hexadecimal digits or `00 * count`, up to two spaces."""
    data = b""
    for line in re.search(r"```text\n(.*?)```", example_section(document), re.S)[1].splitlines():
        at, digits = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2})+|00 \* \d+)(?:  .*)?", line).groups()
        assert int(at, 16) == len(data), line
        data += bytes(int(digits[5:])) if "*" in digits else bytes.fromhex(digits)
    return data


def values_of_document(document):
    """The first four decoded values of each row, as they are printed."""
    rows = re.findall(r"^\| (\d) \| .* \| ([^|]*) \|$", example_section(document), re.M)
    return [values.split(", ") for _, values in rows]


# ---------------------------------------------------------------- writing it


def annotate(data):
    """(length, meaning) of the file's pieces, in order."""
    entries, _, base = decoder.safetensors_header(data, "example")
    text_end = len(data[:base].rstrip(b" "))
    payload, kept, seal = entries
    tensor = decoder.open_shard(data, "example")[0][0]
    chunk = tensor.chunks[0]
    yield 8, f"N = {base - 8}"
    for at in range(8, text_end, 32):
        length = min(32, text_end - at)
        yield length, data[at : at + length].decode()
    for at in range(text_end, base, 32):
        yield min(32, base - at), "spaces" if at == text_end else ""
    yield 8, "payload: `INGOTPL1`"
    yield 2, "scheme uniform"
    yield 1, "3 bits"
    yield 1, "not symmetric"
    yield 4, "group size 32"
    yield 1, "codec none"
    yield 1, "F16"
    yield 2, "5 streams a chunk"
    yield 4, "1 chunk"
    yield 8, "R = 3"
    yield 8, "C = 40"
    yield 4, "chunk rows 3"
    yield 4, "chunk columns 40"
    yield 8, "no side information"
    yield 8, f"payload of {len(tensor.data)} bytes"
    yield 8, f"chunk at {tensor.table_end} of the payload"
    yield 8, "XXH3-64 of the chunk"
    for name, value in zip(("signal", "noise", "maximum error"), chunk.sums):
        yield 8, f"{name} {value!r}"
    yield 8, "0"
    what = ["codes", "scales, low bytes", "scales, high bytes", "biases, low bytes", "biases, high bytes"]
    for name, (stored, _) in zip(what, chunk.streams):
        yield 8, f"{name}: {len(stored)} bytes, codec 0"
    for row in range(3):
        yield 15, f"codes of row {row}"
    for name in what[1:]:
        yield 6, f"{name}, two groups a row"
    used = tensor.table_end + sum(len(s) for s, _ in chunk.streams)
    yield len(tensor.data) - used, "padding of the payload"
    yield kept.end - kept.start, "steps: 10, 20, 30"
    first = struct.unpack_from("<Q", data, len(data) - 40)[0]
    if first > seal.start:
        yield first - seal.start, "padding of the seal"
    for name in ("length field and header", "prologue and chunk table", "steps"):
        start, length = struct.unpack_from("<QQ", data, first)
        yield 8, f"record: {name}, from {start} on"
        yield 8, f"{length} bytes"
        yield 16, "XXH3-128"
        first += 32
    yield 8, "trailer: `INGOTSEL`"
    yield 4, "version 1"
    yield 4, "3 records"
    yield 8, f"file of {len(data)} bytes"
    yield 8, "offset of the first record"
    yield 16, "0"
    yield 16, "XXH3-128 from the first record to here"


def block(data):
    at = 0
    for length, meaning in annotate(data):
        piece = data[at : at + length]
        digits = f"00 * {length}" if length > 8 and not any(piece) else piece.hex()
        width = 64 if length > 16 else 32
        yield f"{at:04x}  {digits:{width}}  {meaning}".rstrip()
        at += length
    assert at == len(data)


def table(data):
    tensor = decoder.open_shard(data, "example")[0][0]
    chunk = tensor.chunks[0]
    codes = decoder.bits_of_codes(chunk.streams[0][0], 120, 3).reshape(3, 40)
    planes = [stored for stored, _ in chunk.streams[1:]]
    scales, biases = (decoder.join_planes(planes[i : i + 2], "F16").view("<f2").reshape(3, 2) for i in (0, 2))
    values = np.frombuffer(tensor.decode()[1], "<f4").reshape(3, 40)
    yield "| row | codes | scales | biases | first values |"
    yield "|---|---|---|---|---|"
    for row in range(3):
        cells = ["".join(map(str, codes[row])), *(", ".join(map(str, x[row])) for x in (scales, biases, values[:, :4]))]
        yield f"| {row} | {' | '.join(cells)} |"


def section(data):
    return "\n".join([
        TITLE, "",
        "The source has two tensors. `matrix` is `F16`, 3 x 40, with the rows (j - 20) / 32; 0, 1, -1, 0.25 ten times; and j * j / 256,",
        "for j from 0 to 39. `steps` is `I32`: 10, 20, 30. `--scheme uniform --bits 3 --group-size 32 --codec none` makes this shard.",
        "Each line has an offset, bytes (`00 * n`: n zero bytes) and their meaning. Offsets and bytes are hexadecimal.",
        "`Tests/PythonDecoder/make_example.py` writes this section, and a test decodes it.",
        "", "```text", *block(data), "```", "",
        "The codes are in the dense layout, three bits each, lowest bits first. A row has two groups, of 32 and of 8 weights. A weight is",
        "`code * scale + bias`:", "", *table(data), "",
    ])  # fmt: skip


# ---------------------------------------------------------------- the example of trellis.md


def trellis_section(data):
    """Text of the section; `data` is the shard."""
    tensor = decoder.open_shard(data, "example")[0][0]
    chunk = tensor.chunks[0]
    about, step = tensor.about, float(chunk.step)
    assert (about["states"], about["alphabet"], about["low_bits"], about["row_classes"]) == (8, 8, 0, 1)
    original = np.frombuffer(trellis_source()[0][3], "<f4").reshape(5, 3)
    weights = tensor.weights(chunk).reshape(5, 3)
    levels = np.rint(weights / chunk.step).astype(int)
    rows, state, streams = [], np.zeros(3, int), ([], [])
    for row in range(5):
        odd = state & 1
        symbols = (levels[row] - odd) // 2
        codes = np.where(abs(symbols) <= 3, symbols + 3, 7)
        for parity, code in zip(odd, codes):
            streams[parity].append(int(code))
        cells = [original[row], state, symbols, codes, levels[row], weights[row]]
        rows.append([" ".join(f"{v:g}" for v in cell) for cell in cells])
        state = state >> 1 ^ 5 * odd ^ 2 * (symbols & 1)
    heads = ["weights", "states", "symbols", "codes", "levels", "restored"]
    table = [["row", *heads], *([str(i), *cells] for i, cells in enumerate(rows))]
    widths = [max(len(line[i]) for line in table) for i in range(7)]
    escapes = [int(v) for v in np.frombuffer(chunk.streams[2][0], np.int8)]
    said = [
        f"{chunk.symbols[0]} codes of even states: {' '.join(map(str, streams[0]))}",
        f"{chunk.symbols[1]} codes of odd states: {' '.join(map(str, streams[1]))}",
        f"{chunk.symbols[2]} escape: {' '.join(map(str, escapes))}", "extras: none",
    ]  # fmt: skip
    bits = struct.pack("<f", step).hex()
    return "\n".join([
        TRELLIS_TITLE, "",
        "`F32`, 5 x 3, converted with `--bits 3 --codec none`: S = 8, A = 8, b = 0, K = 1, so L = 3 and the escape is 7. Made by",
        "`Tests/PythonDecoder/make_example.py`; a test decodes it.", "", "```text",
        *("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths)).rstrip() for line in table), "",
        f"step      {bits:10}  {step:g}",
        *(f"stream {i}  {stored.hex():10}  {what}" for i, ((stored, _), what) in enumerate(zip(chunk.streams, said))), "",
        *(f"{name:8}  {value:g}" for name, value in zip(("signal", "noise", "max"), chunk.sums)), "```", "",
        "The codes are dense, three bits each, lowest bits first. With the extras `0e000000 00004040` the last weight would be 3.", "",
    ])  # fmt: skip


def trellis_of_document(document):
    """(step, streams, rows of the table after its head) as the document prints them."""
    block = re.search(r"```text\n(.*?)```", document[document.index("\n" + TRELLIS_TITLE) :], re.S)[1]
    step = bytes.fromhex(re.search(r"^step +([0-9a-f]{8}) ", block, re.M)[1])
    streams = re.findall(r"^stream \d  ((?:[0-9a-f]{2})*) +(?:(\d+) |extras)", block, re.M)
    rows = [re.split("  +", line)[1:] for line in block.splitlines() if re.match(r"\d ", line)]
    return step, [(bytes.fromhex(b), int(n or 0)) for b, n in streams], rows


def write_section(path, title, text):
    """Puts the text in place of the section, or at the document's end."""
    document = path.read_text()
    start = document.find("\n" + title)
    if start < 0:
        document = document.rstrip("\n") + "\n\n" + text
    else:
        following = document.find("\n## ", start + 2)
        rest = "" if following < 0 else document[following:]
        document = document[: start + 1] + text + rest
    path.write_text(document)


def main():
    program = os.environ.get("INGOT", ROOT / ".build/release/ingot")
    FIXTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        convert(program, folder)
        shutil.copy(Path(folder) / "q/model.safetensors", FIXTURE)
    with tempfile.TemporaryDirectory() as folder:
        convert(program, folder, trellis_source(), TRELLIS_OPTIONS)
        shutil.copy(Path(folder) / "q/model.safetensors", TRELLIS_FIXTURE)
    write_section(DOCUMENT, TITLE, section(FIXTURE.read_bytes()))
    assert bytes_of_document(DOCUMENT.read_text()) == FIXTURE.read_bytes()
    write_section(TRELLIS_DOCUMENT, TRELLIS_TITLE, trellis_section(TRELLIS_FIXTURE.read_bytes()))


if __name__ == "__main__":
    main()
