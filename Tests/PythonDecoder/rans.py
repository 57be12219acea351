"""The codec `rans`: Specs/rans.md, whose sections comments name. The lanes are numpy's, everything else is Python's integers."""

from dataclasses import dataclass

import numpy as np

LANES = 32
HALVES = {8: (5, 2), 16: (9, 2), 32: (18, 4)}  # section 1: H0 and H1
ESCAPE_FREQUENCIES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 1024)
A = [round(2 ** (24 - i / 16)) for i in range(16)]
B = [round(2 ** (24 - i / 256)) for i in range(16)]
ROW_STEPS, COLUMN_STEPS, LISTS = 16, 32, 64  # bits of a chunk's byte 3


class Refused(ValueError):
    """Section 6."""


def need(condition, message):
    if not condition:
        raise Refused(f"rans: {message}")


# ---------------------------------------------------------------- tables (section 3)


def frequencies(half, escape, odd):
    """f(-63) to f(63) and f(escape), from g of the distances from 0 (odd) or 1 (even) on."""
    f = [0] * 128
    for h in range(-63, 64):
        distance = h if h >= 0 else -1 - h if odd else -h
        at = distance if odd else distance - 1
        f[h + 63] = half[at] if 0 <= at < len(half) else 0
    f[127] = escape
    f[63] += 4096 - sum(f)
    need(f[63] >= 1, "f(0) is below 1")
    return f


def of_model(word, odd):
    """The frequencies of a context whose model this is."""
    g, b, c = word & 7, (word >> 3 & 511) - 256, (word >> 12 & 1023) - 512
    escape, reach = ESCAPE_FREQUENCIES[word >> 22 & 15], word >> 26
    reach = min(reach, 62) if odd else reach
    bits = []
    for d in range(reach + 1):
        m = 2 * d + odd
        bits.append((b * m * 2 ** (g + 3) + c * m * m) // 2 ** (2 * g))
    weights = []
    for e in bits:
        x = e - min(bits)
        w = (A[x // 16 % 16] * B[x % 16] + 2**23) // 2**24
        weights.append(w // 2 ** (x // 256) if x // 256 <= 24 else 0)
    total = 2 * sum(weights) - (0 if odd else weights[0])
    half, running = [], 0
    for w in weights if odd else weights[1:]:
        before = running * (4096 - escape) // total
        running += w
        half.append(max(1, running * (4096 - escape) // total - before))
    return frequencies(half, escape, odd)


class Reader:
    """The chunk's bytes, from the start on."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "the chunk is too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count, signed=False):
        return int.from_bytes(self.take(count), "little", signed=signed)


def of_list(reader, odd):
    """The frequencies of a context whose list comes next."""
    reach, code = reader.take(2)
    need(reach <= (62 if odd else 63) and code <= 15, "reach or escape code of a list")
    half = []
    for _ in range(reach + odd):
        g = reader.number(1)
        half.append(g if g < 128 else g - 128 + 128 * reader.number(1))
    return frequencies(half, ESCAPE_FREQUENCIES[code], odd)


# ---------------------------------------------------------------- layout (section 2)


@dataclass
class Head:
    """What stands before the states."""

    classes: int
    flags: int
    bias: int
    contexts: list  # the frequencies of each


def read_head(reader, low_bits):
    flags, bias = reader.number(1), reader.number(1, signed=True)
    classes = 1 + flags % 16
    need(flags < 128, "bit 7")
    need(classes > 1 or (flags & (ROW_STEPS | COLUMN_STEPS) == 0 and bias == 0), "steps or a bias with one class")
    contexts = []
    for _ in range(classes):
        if flags & LISTS:
            contexts += [of_list(reader, low_bits > 0), of_list(reader, True)]
        else:
            word = reader.number(4)
            contexts += [of_model(word, low_bits > 0), of_model(word, True)]
    if classes > 1:
        contexts += [of_model(reader.number(4), False) for _ in range(2)]
    return Head(classes, flags, bias, contexts)


# ---------------------------------------------------------------- symbols (sections 4 and 5)


class Lanes:
    """The states, and what all of them share."""

    def __init__(self, contexts, states, escapes, words):
        f = np.array(contexts, np.int64)
        first = np.cumsum(f, axis=1) - f
        # One entry a slot, of all contexts one after the other; a context's symbols have its 4096 slots in order.
        self.h = np.tile(np.arange(-63, 65), len(f)).repeat(f.reshape(-1))  # 64: the escape
        self.f = f.reshape(-1).repeat(f.reshape(-1))
        self.within = np.arange(self.f.size) % 4096 - first.reshape(-1).repeat(f.reshape(-1))
        self.x, self.escapes, self.words = states, escapes, words
        self.words_taken = self.escapes_taken = 0

    def next(self, contexts):
        """One symbol of each of the lanes from 0 on, in these contexts."""
        x = self.x[: len(contexts)]
        slot = 4096 * contexts + x % 4096
        h = self.h[slot]
        x = self.f[slot] * (x // 4096) + self.within[slot]
        low = np.flatnonzero(x < 2**15)
        if len(low):
            words = self.words[self.words_taken : self.words_taken + len(low)]
            need(len(words) == len(low), "the words run out")
            x[low] = x[low] * 2**16 + words
            self.words_taken += len(low)
        self.x[: len(contexts)] = x
        escaped = np.flatnonzero(h == 64)
        if len(escaped):
            escapes = self.escapes[self.escapes_taken : self.escapes_taken + len(escaped)]
            need(len(escapes) == len(escaped), "the escapes run out")
            h[escaped] = escapes
            self.escapes_taken += len(escaped)
        return h

    def indices(self, context, count, steps):
        """The index of each row or column."""
        parts = [self.next(np.full(min(LANES, count - at), context)) for at in range(0, count, LANES)]
        found = np.concatenate(parts)
        found = np.cumsum(found) if steps else found
        need((np.abs(found) <= 8).all(), "an index is out of range")
        return found

    def end(self):
        need(self.words_taken == len(self.words), "words are left over")
        need(self.escapes_taken == len(self.escapes), "escapes are left over")
        need((self.x == 2**15).all(), "the last state of a lane")


def levels(data, states, low_bits, low):
    """The levels n of a chunk; `low`, of its rows and columns, are the low bits of its symbols."""
    reader = Reader(data)
    escapes = reader.number(3)
    head = read_head(reader, low_bits)
    first = np.frombuffer(reader.take(4 * LANES), "<u4").astype(np.int64)
    need(((first >= 2**15) & (first < 2**31)).all(), "a first state")
    escapes = np.frombuffer(reader.take(escapes), np.int8).astype(np.int64)
    words = reader.take(len(data) - reader.at)
    need(len(words) % 2 == 0, "half a word")
    lanes = Lanes(head.contexts, first, escapes, np.frombuffer(words, "<u2").astype(np.int64))

    rows, columns = low.shape
    of_rows, of_columns = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    if head.classes > 1:
        of_rows = lanes.indices(2 * head.classes, rows, head.flags & ROW_STEPS)
        of_columns = lanes.indices(2 * head.classes + 1, columns, head.flags & COLUMN_STEPS)
    out, (h0, h1) = np.empty(low.shape, np.int64), HALVES[states]
    of_weights = 2 * (of_rows[:, None] + of_columns + head.bias).clip(0, head.classes - 1)
    for left in range(0, columns, LANES):
        band = slice(left, min(left + LANES, columns))
        s = np.zeros(band.stop - left, np.int64)
        for row in range(rows):
            odd = s & 1
            k = (lanes.next(of_weights[row, band] + odd) << low_bits) + low[row, band]
            out[row, band] = 2 * k + odd
            s = s >> 1 ^ h0 * odd ^ h1 * (k & 1)
    lanes.end()
    return out
