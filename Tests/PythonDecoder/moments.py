"""A reader and writer of files of moments, and a reader of importance matrices, from Specs/moments.md alone."""

import json
import struct

import numpy as np

PARTS = ["tokens", "weights", "shrinkage", "diagonals", "moments"]
DTYPES = {"U64": "<u8", "F64": "<f8", "F32": "<f4"}
KINDS = ["attention_in", "output_in", "feed_forward_in", "down_in", "shared_down_in"]
MATRICES = ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_gate_up", "ffn_down"]


def order(name, kinds=KINDS):
    """The place of an input, or of a matrix, among all."""
    if name in ("head_in", "head"):
        return (float("inf"), 0, -1)
    words = name.split(".")
    assert len(words) == 3 or len(words) == 5 and words[2] == "experts" and words[4].startswith(("ffn", "feed", "down"))
    return (int(words[1]), kinds.index(words[-1]), int(words[3]) if len(words) == 5 else -1)


def widths(rule, columns):
    """The columns of each block."""
    if rule == "usual":
        width = columns if columns <= 4096 else 2048
    elif rule == "full":
        width = columns
    elif rule == "diagonal":
        width = 1
    else:
        width = min(int(rule.removeprefix("blocks:")), columns)
    return [min(width, columns - start) for start in range(0, columns, width)]


def matrix(triangle):
    """A symmetric matrix from its upper triangle, row by row."""
    count = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2 + 0.5)
    assert count * (count + 1) // 2 == len(triangle)
    full = np.zeros((count, count), np.float32)
    full[np.triu_indices(count)] = triangle
    return full + np.triu(full, 1).T


class Input:
    """An input: tokens, weights, shrinkage, diagonals [halves, columns], and a list of matrices, one for each block."""


def read(path):
    """The metadata, the inputs by their names, in order, and the gradients by the names of matrices, with the weights of tokens under
    `embedding`. Everything that the document promises is asserted."""
    return everything(path)[:3]


def sensitivities(path):
    """The sensitivities by the names of matrices."""
    return everything(path)[3]


def everything(path):
    """What `read` gives, and what `sensitivities` gives."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "ingot.moments" and metadata["format_version"] == "1"
    halves = int(metadata["halves"])
    inputs, parts, gradients, found_sensitivities, position = {}, {}, {}, {}, 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert begin == position
        position = end
        data = np.frombuffer(raw, DTYPES[entry["dtype"]], offset=8 + length + begin,
                             count=int(np.prod(entry["shape"], dtype=np.int64)))
        owner, part = name.rsplit(".", 1)
        if part == "sensitivity":
            assert list(gradients)[-1] == owner and entry["dtype"] == "F64" and entry["shape"] == [1]
            assert np.isfinite(data[0]) and data[0] >= 0
            found_sensitivities[owner] = float(data[0])
            continue
        if part == "gradients" or owner == "embedding":
            assert "embedding" not in gradients and len(entry["shape"]) == 1 and data.size
            assert entry["dtype"] == ("F64" if owner == "embedding" else "F32") and np.isfinite(data).all() and data.min() >= 0
            gradients[owner] = data
            continue
        assert not gradients
        parts.setdefault(owner, {})[part] = data.reshape(entry["shape"])
    assert 8 + length + position == len(raw)
    assert list(parts) == sorted(parts, key=order)
    if metadata.get("gradients", "none") == "fisher":
        assert int(metadata["gradient_tokens"]) > 0 and metadata["gradient_rows"] in ("halves", "neighbours")
        assert "embedding" in gradients and len(gradients) > 1
        matrices = list(gradients)[:-1]
        assert matrices == sorted(matrices, key=lambda name: order(name, MATRICES)) == list(found_sensitivities)
    else:
        assert not gradients
    for name, found in parts.items():
        assert list(found) == PARTS
        one = inputs[name] = Input()
        one.tokens, one.weights = found["tokens"], found["weights"]
        assert one.tokens.shape == one.weights.shape == (halves,) and found["shrinkage"].shape == (1,)
        one.shrinkage, one.diagonals = float(found["shrinkage"][0]), found["diagonals"]
        one.columns = one.diagonals.shape[1]
        one.blocks, place = [], 0
        for width in widths(metadata["blocks"], one.columns):
            count = width * (width + 1) // 2
            one.blocks.append(matrix(found["moments"][place : place + count]))
            place += count
        assert place == found["moments"].size
        diagonal = np.concatenate([np.diag(block) for block in one.blocks])
        total = one.weights.sum()
        expected = one.weights @ one.diagonals.astype(np.float64) / total if total else np.zeros(one.columns)
        assert np.allclose(diagonal, expected, rtol=1e-5, atol=0)
        one.diagonal = expected
    return metadata, inputs, gradients, found_sensitivities


def inverses(one):
    """For each block of an input its columns and the inverse of its shrunk and damped moments, in binary64."""
    mean = np.mean([value for block in one.blocks for value in np.diag(block).astype(np.float64)])
    found, start = [], 0
    for block in one.blocks:
        full = block.astype(np.float64) * (1 - one.shrinkage)
        np.fill_diagonal(full, np.diag(block).astype(np.float64) + 0.01 * mean)
        found.append((slice(start, start + len(block)), np.linalg.inv(full)))
        start += len(block)
    return found


def leverages(one, rows):
    """The leverage of each row of activations of an input."""
    rows = rows.astype(np.float64)
    return sum(np.einsum("ti,ij,tj->t", rows[:, columns], inverse, rows[:, columns])
               for columns, inverse in inverses(one)) / one.columns


def write(path, inputs, rule="usual", halves=2, gradients={}, sensitivities={}, **more):
    """Writes a file of `(tokens, weights, shrinkage, diagonals, full matrix)` by name, and of gradients as `read` gives them. Sensitivities
    that are not given are 1; there are none of a matrix with None."""
    header = {"__metadata__": {
        "format": "ingot.moments", "format_version": "1", "origin": "calibration", "blocks": rule, "halves": str(halves),
        "family": "", "model": "", "tokenizer": "", "context": "0", "sequences": "0", "texts": "[]"} | more}
    data = b""
    for name in sorted(inputs, key=order):
        tokens, weights, shrinkage, diagonals, full = inputs[name]
        start, pieces = 0, []
        for width in widths(rule, full.shape[0]):
            block = full[start : start + width, start : start + width]
            pieces.append(block[np.triu_indices(width)])
            start += width
        values = [np.array(tokens, "<u8"), np.array(weights, "<f8"), np.array([shrinkage], "<f8"),
                  np.array(diagonals, "<f4"), np.concatenate(pieces).astype("<f4")]
        for part, value in zip(PARTS, values):
            dtype = next(key for key, text in DTYPES.items() if np.dtype(text) == value.dtype)
            header[f"{name}.{part}"] = {"dtype": dtype, "shape": list(value.shape),
                                        "data_offsets": [len(data), len(data) + value.nbytes]}
            data += value.tobytes()
    for name, values in gradients.items():
        value = np.array(values, "<f8" if name == "embedding" else "<f4")
        header[f"{name}.{'weights' if name == 'embedding' else 'gradients'}"] = {
            "dtype": "F64" if name == "embedding" else "F32", "shape": [value.size],
            "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
        if name != "embedding" and (sensitivity := sensitivities.get(name, 1.0)) is not None:
            value = np.array([sensitivity], "<f8") if np.isscalar(sensitivity) else np.array(sensitivity, "<f8")
            header[f"{name}.sensitivity"] = {"dtype": "F64", "shape": [value.size],
                                             "data_offsets": [len(data), len(data) + value.nbytes]}
            data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def imatrix_gguf(path):
    """Metadata, and (sums, counts) by the names of matrices, from an importance matrix in GGUF."""
    raw, place = path.read_bytes(), 0

    def take(form):
        nonlocal place
        values = struct.unpack_from("<" + form, raw, place)
        place += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text():
        return take(f"{take('Q')}s").decode()

    def value(kind):
        if kind == 9:
            kind = take("I")
            return [value(kind) for _ in range(take("Q"))]
        return text() if kind == 8 else take({4: "I"}[kind])

    assert take("4s") == b"GGUF" and take("I") == 3
    tensors, entries = take("Q"), take("Q")
    metadata = {}
    for _ in range(entries):
        key = text()
        metadata[key] = value(take("I"))
    table = []
    for _ in range(tensors):
        name = text()
        shape = [take("Q") for _ in range(take("I"))]
        assert take("I") == 0
        table.append((name, shape[::-1], take("Q")))
    start = (place + 31) // 32 * 32
    found = {name: np.frombuffer(raw, "<f4", count=int(np.prod(shape)), offset=start + offset).reshape(shape)
             for name, shape, offset in table}
    assert all(offset % 32 == 0 for _, _, offset in table)
    names = [name.removesuffix(".in_sum2") for name in found if name.endswith(".in_sum2")]
    return metadata, {name: (found[name + ".in_sum2"], found[name + ".counts"]) for name in names}


def imatrix_binary(path):
    """(calls, values) by the names of matrices, chunks and text, from an importance matrix of the older form."""
    raw, place = path.read_bytes(), 0

    def number():
        nonlocal place
        place += 4
        return struct.unpack_from("<i", raw, place - 4)[0]

    def text():
        nonlocal place
        count = number()
        place += count
        return raw[place - count : place].decode()

    found = {}
    for _ in range(number()):
        name = text()
        calls, count = number(), number()
        found[name] = (calls, np.frombuffer(raw, "<f4", count=count, offset=place))
        place += 4 * count
    chunks, dataset = number(), text()
    assert place == len(raw)
    return found, chunks, dataset
