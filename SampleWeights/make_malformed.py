#!/usr/bin/env python3
"""Write malformed (and oddly but validly formed) safetensors files, one a case.

    python3 make_malformed.py OUTDIR [--large]

Every case is a file `<row>-<slug>.safetensors` or a folder `<row>-<slug>/`, and
`OUTDIR/cases.json` lists {"id", "path", "expect", "why"} for each. `expect` is

    accept             opens, and nothing is said
    warn               opens, with a warning
    reject             does not open
    reject-on-convert  opens, but cannot be converted

Each case is wrong in one respect only: everything else about the file (offsets,
alignment, total_size) is right, so that a reader which misses that one check
accepts it. Rows: S single files, J the header's JSON, D folders with an index;
S00 and D00 are well-formed. `--large` adds the cases of about 100 MB.
Deterministic; standard library only.
"""

import argparse
import json
import os
import re
import shutil
import struct
from pathlib import Path

ROOM = 2**64


class Cases:
    def __init__(self, out):
        self.out, self.list = out, []

    def note(self, row, path, expect, why):
        assert all(case["path"] != path for case in self.list), path
        self.list.append({"id": row, "path": path, "expect": expect, "why": why})

    def file(self, row, slug, expect, why, content):
        path = f"{row}-{slug}.safetensors"
        (self.out / path).write_bytes(content)
        self.note(row, path, expect, why)

    def folder(self, row, slug, expect, why, inner=""):
        top = self.out / f"{row}-{slug}"
        (top / inner).mkdir(parents=True)
        self.note(row, str(Path(top.name) / inner), expect, why)
        return top / inner


def data(count):
    """`count` bytes; as float32, small positive numbers."""
    return (b"\x00\x00\x80\x3e\x00\x00\x00\x3f" * (count // 8 + 1))[:count]


def entry(name, dtype, shape, begin, end, extra=""):
    """One tensor of a header, as JSON text. `name` and `shape` may be JSON text already."""
    name = name if name.startswith('"') else json.dumps(name, ensure_ascii=False)
    shape = shape if isinstance(shape, str) else json.dumps(shape, separators=(",", ":"))
    return f'{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]{extra}}}'


def header(*entries):
    return "{" + ",".join(entries) + "}"


def build(text, payload=b"", pad=True):
    """A file from a header (text or bytes), padded to 8 bytes with spaces."""
    raw = text.encode("utf-8") if isinstance(text, str) else text
    raw += b" " * (-len(raw) % 8 if pad else 0)
    return struct.pack("<Q", len(raw)) + raw + payload


A = entry("a", "F32", [2], 0, 8)  # the tensor most cases have
PLAIN = header(A)


def named(raw, payload=data(8)):
    """A file with tensor `a` under another name, given as raw bytes between the quotes."""
    return build(PLAIN.encode().replace(b'"a"', b'"' + raw + b'"', 1), payload)


def extra(value):
    """A file whose one tensor has an unknown field with this JSON value."""
    return build(header(entry("a", "F32", [2], 0, 8, f',"extra":{value}')), data(8))


def framing(c):
    c.file("S00", "plain", "accept", "well-formed", build(PLAIN, data(8)))
    c.file("S00", "metadata", "accept", "well-formed, with metadata",
           build(header('"__metadata__":{"format":"pt"}', A), data(8)))

    c.file("S01", "empty", "reject", "no bytes at all", b"")
    c.file("S01", "one-byte", "reject", "shorter than the header length", b"\x10")
    c.file("S01", "seven-bytes", "reject", "shorter than the header length", b"\x02" + b"\0" * 6)

    body = PLAIN.encode() + b" " * (-len(PLAIN) % 8)
    for slug, length in (
            ("one-past-end", len(body) + 1), ("2-to-32", 2**32), ("2-to-63", 2**63),
            ("2-to-63-minus-1", 2**63 - 1), ("2-to-64-minus-1", ROOM - 1), ("2-to-64-minus-8", ROOM - 8),
            ("100000001-short-file", 100_000_001)):
        c.file("S02", f"header-length-{slug}", "reject", f"header length {length} exceeds the file",
               struct.pack("<Q", length) + body)
    c.file("S02", "header-length-2-to-63-only", "reject", "header length 2^63 in a file of 8 bytes",
           struct.pack("<Q", 2**63))
    c.file("S02", "header-length-big-endian", "reject", "header length in the wrong byte order",
           struct.pack(">Q", len(body)) + body + data(8))

    c.file("S03", "length-zero", "reject", "header length 0, nothing after it", struct.pack("<Q", 0))
    c.file("S03", "length-zero-with-bytes", "reject", "header length 0, bytes after it",
           struct.pack("<Q", 0) + body + data(8))
    for slug, text in (("array", f"[{PLAIN}]"), ("string", '"a"'), ("null", "null"), ("number", "1"),
                       ("only-spaces", " " * 16), ("nul-byte-first", "\0" + PLAIN),
                       ("vertical-tab-first", "\v" + PLAIN), ("no-break-space-first", "\u00a0" + PLAIN)):
        payload = data(8) if "{" in text else b""
        c.file("S03", slug, "reject", "the header is not an object", build(text, payload))
    for slug, lead in (("leading-space", " "), ("leading-newlines", "\n\r\n"), ("leading-tab", "\t")):
        c.file("S03", slug, "warn", "whitespace before the header's object", build(lead + PLAIN, data(8)))


def encoding(c):
    for slug, raw in (
            ("byte-ff", b"a\xff"), ("lone-continuation", b"a\x80"), ("cut-sequence", b"a\xe2\x82"),
            ("latin-1", b"caf\xe9"), ("overlong-2", b"a\xc0\xaf"), ("overlong-3", b"a\xe0\x80\xaf"),
            ("overlong-4", b"a\xf0\x80\x80\xaf"), ("overlong-nul", b"a\xc0\x80"),
            ("encoded-surrogate", b"a\xed\xa0\x80"), ("encoded-surrogate-pair", b"a\xed\xa0\xbd\xed\xb8\x80"),
            ("above-10ffff", b"a\xf4\x90\x80\x80"), ("five-byte-form", b"a\xf8\x88\x80\x80\x80")):
        c.file("S04", f"utf8-{slug}", "reject", "a name is not UTF-8", named(raw))
    c.file("S04", "utf8-in-metadata", "reject", "a metadata value is not UTF-8",
           build(b'{"__metadata__":{"k":"v\xff"},' + A.encode() + b"}", data(8)))
    for slug, raw in (("lone-high", rb"a\ud800"), ("lone-low", rb"a\udc00"), ("reversed", rb"a\udc00\ud800"),
                      ("high-then-letter", rb"\ud800a"), ("high-then-escape", rb"\ud800\n"),
                      ("two-high", rb"\ud800\ud800")):
        c.file("S04", f"surrogate-{slug}", "reject", "a name escapes half a surrogate pair", named(raw))
    c.file("S04", "surrogate-in-metadata", "reject", "a metadata value escapes half a surrogate pair",
           build(header(r'"__metadata__":{"k":"\ud800"}', A), data(8)))
    c.file("S04", "surrogate-pair", "accept", "an escaped surrogate pair is a character", named(rb"a\ud83d\ude00"))
    c.file("S04", "utf8-four-bytes", "accept", "a name outside the basic plane", named("a\U0001f600".encode()))
    c.file("S04", "nul-raw", "reject", "a name holds a NUL byte", named(b"a\0b"))
    c.file("S04", "nul-escaped", "reject", "a name holds an escaped NUL", named(rb"a\u0000b"))
    c.file("S04", "byte-order-mark", "reject", "UTF-8 byte order mark", build("\ufeff" + PLAIN, data(8)))
    for slug, codec, mark in (("utf-16-le", "utf-16-le", b""), ("utf-16-be", "utf-16-be", b""),
                              ("utf-16-with-mark", "utf-16-le", b"\xff\xfe"), ("utf-32-le", "utf-32-le", b"")):
        raw = mark + PLAIN.encode(codec)
        while len(raw) % 8:  # padded in its own encoding
            raw += " ".encode(codec)
        c.file("S04", slug, "reject", "the header is not UTF-8", build(raw, data(8)))


def nesting(c):
    c.file("S05", "depth-8", "warn", "depth 8 is the limit; the unknown field warns", extra("[" * 6 + "]" * 6))
    c.file("S05", "depth-9-arrays", "reject", "depth 9", extra("[" * 7 + "]" * 7))
    c.file("S05", "depth-9-objects", "reject", "depth 9", extra('{"a":' * 7 + "1" + "}" * 7))
    c.file("S05", "depth-100000", "reject", "depth 100,000, balanced", extra("[" * 100_000 + "]" * 100_000))
    c.file("S05", "open-100000", "reject", "100,000 opening brackets", build('{"a":' + "[" * 100_000))
    c.file("S05", "open-objects-100000", "reject", "100,000 opening braces", build('{"a":' * 100_000))
    for slug, tail in (("letter", "x"), ("object", "{}"), ("brace", "}"), ("comma", ","), ("nul", "\0"),
                       ("nul-padding", "\0" * (-len(PLAIN) % 8 + 8)), ("form-feed", "\f"), ("second-header", PLAIN)):
        c.file("S05", f"trailing-{slug}", "reject", "bytes after the header's object", build(PLAIN + tail, data(8)))
    c.file("S05", "trailing-whitespace", "accept", "padded with whitespace", build(PLAIN + "\n\t\r ", data(8)))


def names(c):
    def two(second, first='"a"'):
        return build(header(entry(first, "F32", [2], 0, 8), entry(second, "F32", [2], 8, 16)), data(16))

    c.file("S06", "name", "reject", "two tensors of one name", two('"a"'))
    c.file("S06", "name-escaped", "reject", "two tensors of one name, one written with an escape", two(r'"\u0061"'))
    c.file("S06", "name-escaped-slash", "reject", "`a/b` twice, one as `a\\/b`", two(r'"a\/b"', '"a/b"'))
    c.file("S06", "name-escaped-pair", "reject", "one name twice, one as a surrogate pair",
           two(r'"\ud83d\ude00"', '"\U0001f600"'))
    c.file("S06", "name-same-range", "reject", "one name twice with the same contents", build(header(A, A), data(8)))
    for slug, field in (("dtype", '"dtype":"F32"'), ("shape", '"shape":[2]'), ("data-offsets", '"data_offsets":[0,8]'),
                        ("dtype-escaped", r'"d\u0074ype":"F32"')):
        c.file("S06", f"field-{slug}", "reject", "a field twice, with equal values",
               build(header(entry("a", "F32", [2], 0, 8, "," + field)), data(8)))
    c.file("S06", "metadata", "reject", "__metadata__ twice",
           build(header('"__metadata__":{"a":"1"}', A, '"__metadata__":{"b":"2"}'), data(8)))
    c.file("S06", "metadata-escaped", "reject", "__metadata__ twice, one written with an escape",
           build(header('"__metadata__":{}', A, r'"__met\u0061data__":{}'), data(8)))
    c.file("S06", "metadata-key", "reject", "a key of the metadata twice",
           build(header('"__metadata__":{"k":"1","k":"1"}', A), data(8)))

    c.file("S07", "composed-and-decomposed", "warn", "two names equal under Unicode normalization",
           two('"e\u0301"', '"\u00e9"'))
    c.file("S07", "composed-and-decomposed-escaped", "warn", "the same, written with escapes",
           two(r'"e\u0301"', r'"\u00e9"'))
    c.file("S07", "letter-case", "accept", "names that differ in letter case", two('"A"'))


def fields(c):
    def fail(slug, why, text, expect="reject"):
        c.file("S08", slug, expect, why, build(text, data(8)))

    for slug, dtype in (("unknown", "F33"), ("empty", ""), ("lower-case", "f32"), ("trailing-space", "F32 "),
                        ("torch-name", "float32")):
        fail(f"dtype-{slug}", "no such dtype", header(entry("a", dtype, [2], 0, 8)))
    fail("dtype-number", "the dtype is a number", PLAIN.replace('"F32"', "32"))
    fail("dtype-null", "the dtype is null", PLAIN.replace('"F32"', "null"))
    fail("dtype-escaped", "an escape in a dtype is a spelling like any other", PLAIN.replace("F32", r"F\u00332"),
         "accept")
    fail("missing-dtype", "no dtype", PLAIN.replace('"dtype":"F32",', ""))
    fail("missing-shape", "no shape", PLAIN.replace('"shape":[2],', ""))
    fail("missing-data-offsets", "no data_offsets", PLAIN.replace(',"data_offsets":[0,8]', ""))
    fail("field-lower-upper", "no dtype, but a Dtype", PLAIN.replace('"dtype"', '"Dtype"'))
    fail("extra-field", "a field that is none of the three",
         header(entry("a", "F32", [2], 0, 8, ',"extra":"value"')), "warn")
    for slug, value in (("null", "null"), ("array", "[]"), ("number", "1"), ("string", '"F32"')):
        fail(f"tensor-{slug}", "a tensor that is not an object", header(A, f'"b":{value}'))
    for slug, value in (("number", "1"), ("null", "null"), ("true", "true"), ("array", '["v"]'),
                        ("object", '{"v":"w"}')):
        fail(f"metadata-value-{slug}", "a metadata value that is not a string",
             header(f'"__metadata__":{{"k":{value}}}', A))
    fail("metadata-array", "metadata that is not an object", header('"__metadata__":["k","v"]', A))
    fail("metadata-string", "metadata that is not an object", header('"__metadata__":"v"', A))


def shapes(c):
    def one(slug, expect, why, dtype, shape, size):
        c.file("S09", slug, expect, why, build(header(entry("a", dtype, shape, 0, size)), data(size)))

    for slug, text in (("negative", "[-1,0]"), ("minus-zero", "[-0]"), ("huge-negative", "[-9223372036854775808,0]")):
        one(slug, "reject", "a negative dimension", "F32", text, 0)
    for slug, text in (("float", "[2.0]"), ("exponent", "[2e0]"), ("exponent-capital", "[20E-1]"),
                       ("leading-zero", "[02]"), ("plus", "[+2]"), ("string", '["2"]'), ("true", "[2,true]"),
                       ("null", "[2,null]"), ("nested", "[[2]]"), ("not-an-array", "2"), ("object", '{"0":2}')):
        one(slug, "reject", "a dimension that is not a plain integer", "F32", text, 8)
    for slug, value in (("2-to-63-plus-1", 2**63 + 1), ("2-to-64-minus-1", ROOM - 1), ("2-to-64", ROOM),
                        ("2-to-64-plus-2", ROOM + 2), ("10-to-30", 10**30)):
        one(f"dimension-{slug}", "reject", "a dimension above 2^63, of a tensor without elements", "F32",
            [0, value], 0)
    one("dimension-2-to-64-plus-2-wraps", "reject", "a dimension that modulo 2^64 is 2", "F32", [ROOM + 2], 8)
    one("rank-64", "accept", "64 dimensions are the limit", "F32", [1] * 63 + [2], 8)
    one("rank-65", "reject", "65 dimensions", "F32", [1] * 64 + [2], 8)
    one("rank-10000", "reject", "10,000 dimensions", "F32", [1] * 9999 + [2], 8)
    one("product-wraps-to-0", "reject", "the count, 2^64, is 0 modulo 2^64", "U8", [2**32, 2**32], 0)
    one("product-wraps-to-8", "reject", "the count, 2^64 + 8, is 8 modulo 2^64", "U8",
        [8, 2305843009213693953], 8)
    one("product-wraps-signed", "reject", "three dimensions with product 2^96", "U8", [2**32, 2**32, 2**32], 0)
    one("bytes-wrap-to-0", "reject", "2^61 elements of 8 bytes", "F64", [2**61], 0)
    one("bytes-wrap-to-8", "reject", "2^61 + 1 elements of 8 bytes", "F64", [2**61 + 1], 8)
    one("bits-wrap-to-0", "reject", "2^58 elements of 64 bits: the bits overflow, the bytes do not", "F64",
        [2**58], 0)
    one("bits-wrap-to-64", "reject", "2^59 + 2 elements of 32 bits are 64 bits modulo 2^64", "F32", [2**59 + 2], 8)
    one("f4-odd-rounded-up", "reject", "3 elements of 4 bits fill no whole number of bytes", "F4", [3], 2)
    one("f4-odd-rounded-down", "reject", "3 elements of 4 bits fill no whole number of bytes", "F4", [3], 1)
    one("f4-one", "reject", "one element of 4 bits fills no byte", "F4", [1], 1)
    one("f4-even", "accept", "4 elements of 4 bits", "F4", [4], 2)
    one("f6-three", "reject", "3 elements of 6 bits fill no whole number of bytes", "F6_E2M3", [3], 3)
    one("f6-four", "accept", "4 elements of 6 bits", "F6_E3M2", [4], 3)


def offsets(c):
    def fail(row, slug, why, entries, size, expect="reject", pad=True):
        c.file(row, slug, expect, why, build(header(*entries), data(size), pad))

    fail("S10", "end-before-begin", "data_offsets [8,0]", [entry("a", "F32", [2], 8, 0)], 8)
    fail("S10", "end-before-begin-empty", "data_offsets [8,4] of a tensor without elements",
         [A, entry("b", "U8", [0], 8, 4)], 8)
    fail("S10", "begin-past-data", "an empty tensor that begins past the data", [A, entry("b", "U8", [0], 100, 100)], 8)
    fail("S10", "end-past-file", "the file is 4 bytes short", [A, entry("b", "F32", [2], 8, 16)], 12)
    fail("S10", "end-past-file-no-data", "the file ends with its header", [A], 0)
    fail("S10", "bytes-too-few", "3 elements of 4 bytes in 8 bytes", [entry("a", "F32", [3], 0, 8)], 8)
    fail("S10", "bytes-too-many", "2 elements of 4 bytes in 12 bytes", [entry("a", "F32", [2], 0, 12)], 12)
    fail("S10", "empty-with-bytes", "a tensor without elements has 8 bytes", [entry("a", "F32", [0], 0, 8)], 8)
    for slug, text in (("one", "[0]"), ("three", "[0,8,8]"), ("none", "[]"), ("number", "8"), ("null", "null"),
                       ("object", '{"begin":0,"end":8}')):
        fail("S10", f"pair-{slug}", "data_offsets is not a pair",
             [A.replace("[0,8]", text)], 8)
    for slug, text in (("float", "[0,8.0]"), ("exponent", "[0,8e0]"), ("minus-zero", "[-0,8]"),
                       ("negative", "[-8,0]"), ("leading-zero", "[0,08]"), ("string", '["0","8"]'),
                       ("null", "[null,8]"), ("false", "[false,8]")):
        fail("S10", f"offset-{slug}", "an offset that is not a plain integer", [A.replace("[0,8]", text)], 8)

    fail("S11", "overlap", "two tensors share 4 bytes", [A, entry("b", "F32", [2], 4, 12)], 12)
    fail("S11", "overlap-same-range", "two tensors in the same bytes", [A, entry("b", "F32", [2], 0, 8)], 8)
    fail("S11", "overlap-inside", "one tensor inside another", [entry("a", "F32", [4], 0, 16),
                                                                 entry("b", "F32", [1], 4, 8)], 16)
    fail("S11", "hole", "4 bytes between two tensors", [A, entry("b", "F32", [1], 12, 16)], 16)
    fail("S11", "gap-at-start", "8 bytes before the first tensor", [entry("a", "F32", [2], 8, 16)], 16)
    fail("S11", "trailing-byte", "one byte after the last tensor", [A], 9)
    fail("S11", "trailing-no-tensor", "8 bytes that no tensor holds", [], 8)
    zip_end = b"PK\x05\x06" + b"\0" * 18
    c.file("S11", "polyglot-zip", "reject", "an empty zip archive after the last tensor",
           build(PLAIN, data(8) + zip_end))
    fail("S11", "any-order", "the header need not list tensors by offset", [entry("b", "F32", [1], 8, 12), A], 12,
         "accept")

    fail("S12", "begin-plus-length-wraps", "16 bytes from 2^64 - 8 end, modulo 2^64, at 8",
         [A, entry("b", "U8", [16], ROOM - 8, 8)], 8)
    fail("S12", "near-2-to-64", "a tensor just below 2^64", [A, entry("b", "U8", [8], ROOM - 16, ROOM - 8)], 8)
    fail("S12", "end-2-to-64-minus-1", "a tensor that ends at 2^64 - 1",
         [A, entry("b", "U8", [7], ROOM - 8, ROOM - 1)], 8)
    fail("S12", "both-past-2-to-64", "offsets that modulo 2^64 are right",
         [entry("a", "F32", [2], ROOM, ROOM + 8)], 8)
    fail("S12", "end-past-2-to-64", "an end that modulo 2^64 is right", [entry("a", "F32", [2], 0, ROOM + 8)], 8)
    fail("S12", "2-to-63", "an offset that is negative as a signed number",
         [A, entry("b", "U8", [0], 2**63, 2**63)], 8)
    # 8 + header + begin = 2^64, and begin has 20 digits whatever the header's length is.
    size = len(header(A, entry("b", "U8", [0], ROOM - 1, ROOM - 1)))
    begin = ROOM - 8 - (size + -size % 8)
    fail("S12", "header-plus-begin-wraps", "an empty tensor whose place in the file is 0 modulo 2^64",
         [A, entry("b", "U8", [0], begin, begin)], 8)


def limits_and_oddities(c):
    c.file("S13", "name-1024-bytes", "accept", "a name of 1024 bytes is the limit", named(b"n" * 1024))
    c.file("S13", "name-1025-bytes", "reject", "a name of 1025 bytes", named(b"n" * 1025))
    c.file("S13", "name-1025-bytes-of-fewer-characters", "reject", "513 characters, 1025 bytes",
           named("é".encode() * 512 + b"n"))
    c.file("S13", "name-escaped-to-1024-bytes", "accept", "escapes do not count: 1024 bytes once decoded",
           named(rb"\u006e" * 1024))

    for slug, shape in (("empty", [0]), ("empty-0-3", [0, 3]), ("empty-2-0", [2, 0])):
        c.file("S14", slug, "accept", "a tensor without elements", build(header(entry("a", "F32", shape, 0, 0))))
    c.file("S14", "empty-between", "accept", "a tensor without elements between two others", build(
        header(A, entry("b", "F32", [0], 8, 8), entry("c", "F32", [2], 8, 16)), data(16)))
    c.file("S14", "empty-at-end", "accept", "a tensor without elements at the end",
           build(header(A, entry("b", "F32", [0], 8, 8)), data(8)))
    c.file("S14", "rank-0", "accept", "a scalar", build(header(entry("a", "F32", [], 0, 4)), data(4)))
    c.file("S14", "no-tensors", "accept", "the header `{}`, unpadded, and no data", build("{}", pad=False))
    c.file("S14", "no-tensors-padded", "accept", "the header `{}` and no data", build("{}"))
    c.file("S14", "only-metadata", "accept", "metadata and no tensor", build('{"__metadata__":{"format":"pt"}}'))

    odd = PLAIN + " " * ((5 - len(PLAIN)) % 8)  # a header of 8n + 5 bytes
    c.file("S15", "header-not-multiple-of-8", "accept", "the data begins at an odd place", build(odd, data(8), pad=False))
    c.file("S15", "offset-not-multiple-of-element", "accept", "float32 at an odd offset", build(
        header(entry("a", "U8", [1], 0, 1), entry("b", "F32", [2], 1, 9)), data(9)))

    c.file("S16", "reserved-name", "reject-on-convert", "a name that the container reserves", named(b"__ingot_seal__"))
    c.file("S16", "reserved-name-escaped", "reject-on-convert", "the same name, written with an escape",
           named(rb"__ingot_\u0073eal__"))


def syntax(c):
    def fail(row, slug, why, text):
        c.file(row, slug, "reject", why, build(text, data(8)))

    for slug, old, new in (
            ("trailing-comma-header", "}}", "},}"), ("trailing-comma-tensor", "8]}", "8],}"),
            ("trailing-comma-array", "[0,8]", "[0,8,]"), ("leading-comma", '{"a"', '{,"a"'),
            ("double-comma", ',"shape"', ',,"shape"'), ("missing-comma", ',"shape"', ' "shape"'),
            ("missing-colon", '"a":', '"a" '), ("double-colon", '"a":', '"a"::'), ("equals-for-colon", '"a":', '"a"='),
            ("semicolon-for-comma", ',"shape"', ';"shape"'), ("missing-value", '"F32"', ""),
            ("missing-key", '"a":', ":"), ("array-closed-by-brace", "[2]", "[2}"), ("unclosed-array", "[0,8]", "[0,8"),
            ("unclosed-tensor", "}}", "}"), ("unclosed-header", "}}", "}  "), ("array-with-colon", "[0,8]", "[0:8]"),
            ("no-break-space", '"a":', '"a":\u00a0'), ("form-feed", '"a":', '"a":\f'), ("line-separator", '"a":', '"a":\u2028')):
        fail("J01", slug, "JSON structure", PLAIN.replace(old, new, 1))
    fail("J01", "cut-in-the-middle", "JSON structure", PLAIN[: len(PLAIN) // 2])
    fail("J01", "only-a-brace", "JSON structure", "{")
    fail("J01", "unclosed-string", "JSON structure", '{"a')
    for slug, text in (("space", " "), ("tabs-and-newlines", "\t\r\n")):
        spaced = "".join(ch + text if ch in "{}[]:," else ch for ch in PLAIN)
        c.file("J01", f"inner-{slug}", "accept", "whitespace between the tokens", build(spaced, data(8)))

    for slug, old, new in (
            ("comment-block", '{"a"', '{/* c */"a"'), ("comment-line", '{"a"', '{// c\n"a"'),
            ("comment-hash", '{"a"', '{# c\n"a"'), ("single-quotes", '"a"', "'a'"), ("unquoted-key", '"a"', "a"),
            ("number-key", '"a"', "1"), ("backquotes", '"a"', "`a`"), ("curly-quotes", '"a"', "\u201ca\u201d")):
        fail("J02", slug, "not JSON, though some parsers take it", PLAIN.replace(old, new, 1))
    for slug, value in (("tru", "tru"), ("nul", "nul"), ("fals", "fals"), ("true-capital", "True"),
                        ("null-capital", "NULL"), ("none", "None"), ("undefined", "undefined"), ("truex", "truex"),
                        ("nullnull", "nullnull"), ("two-values", "true false")):
        c.file("J02", f"literal-{slug}", "reject", "not a literal of JSON", extra(value))
    for value in ("true", "false", "null"):
        c.file("J02", f"literal-{value}", "warn", "JSON; the unknown field warns", extra(value))

    for slug, raw in (("newline", b"a\nb"), ("tab", b"a\tb"), ("byte-01", b"a\x01b"), ("byte-1f", b"a\x1fb")):
        c.file("J03", f"control-{slug}", "reject", "a bare control character in a string", named(raw))
    for slug, raw in (("x", rb"\x61"), ("a", rb"\a"), ("zero", rb"\0"), ("quote", rb"\'"), ("u-capital", rb"\U0061"),
                      ("u-short", rb"\u006"), ("u-empty", rb"\u"), ("u-not-hex", rb"\u00g1"), ("u-sign", rb"\u+061"),
                      ("u-space", rb"\u 061"), ("u-braces", rb"\u{61}"), ("newline", b"\\\n"),
                      ("non-ascii", b"\\\xc3\xa9")):
        c.file("J03", f"escape-{slug}", "reject", "not an escape of JSON", named(raw))
    c.file("J03", "escape-of-closing-quote", "reject", "the closing quote is escaped", named(b"a\\"))
    c.file("J03", "escapes-of-json", "accept", "escapes that JSON has", named(rb"\"\\\/\u00E9\u00e8"))
    c.file("J03", "byte-7f", "accept", "DEL is no control character to JSON", named(b"a\x7f"))

    for slug, value in (
            ("01", "01"), ("minus-01", "-01"), ("00", "00"), ("plus-1", "+1"), ("dot-5", ".5"), ("minus-dot-5", "-.5"),
            ("1-dot", "1."), ("1-dot-e1", "1.e1"), ("1e", "1e"), ("1e-plus", "1e+"), ("1e1-dot-5", "1e1.5"),
            ("minus", "-"), ("minus-minus-1", "--1"), ("minus-space-1", "- 1"), ("nan", "NaN"), ("minus-nan", "-NaN"),
            ("infinity", "Infinity"), ("minus-infinity", "-Infinity"), ("inf", "inf"), ("0x10", "0x10"), ("0b1", "0b1"),
            ("1-underscore-0", "1_0"), ("1-space-0", "1 0"), ("1a", "1a"), ("1f", "1f"), ("full-width", "\uff11"),
            ("arabic-digit", "\u0661")):
        c.file("J04", slug, "reject", "not a number of JSON", extra(value))
    for slug, value in (("0", "0"), ("minus-0", "-0"), ("minus-1-5e-plus-3", "-1.5e+3"), ("1E0", "1E0")):
        c.file("J04", f"valid-{slug}", "warn", "a number; the unknown field warns", extra(value))


# --- folders -----------------------------------------------------------------

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
MAP = {"a.weight": SHARDS[0], "b.weight": SHARDS[0], "c.weight": SHARDS[1]}


def shard(*tensors):
    """A shard whose tensors are two float32 each."""
    return build(header(*(entry(n, "F32", [2], 8 * i, 8 * i + 8) for i, n in enumerate(tensors))), data(8 * len(tensors)))


def index_text(weights=None, total=24):
    return json.dumps({"metadata": {"total_size": total}, "weight_map": MAP if weights is None else weights}, indent=2)


def checkpoint(folder, first=("a.weight", "b.weight"), second=("c.weight",), index=None, second_name=SHARDS[1]):
    (folder / SHARDS[0]).write_bytes(shard(*first))
    if second_name:
        (folder / second_name).write_bytes(shard(*second))
    (folder / INDEX).write_text(index or index_text(), encoding="utf-8")


def folders(c):
    checkpoint(c.folder("D00", "plain", "accept", "well-formed"))

    checkpoint(c.folder("D01", "missing-shard", "reject", "the index names a shard that is not there"),
               second_name=None)
    checkpoint(c.folder("D01", "tensor-absent", "reject", "the index names a tensor that its shard lacks"),
               index=index_text(MAP | {"d.weight": SHARDS[1]}, 32))
    checkpoint(c.folder("D01", "tensor-in-other-shard", "reject", "the index places a tensor in the wrong shard"),
               index=index_text(MAP | {"b.weight": SHARDS[1]}))
    checkpoint(c.folder("D01", "tensor-in-two-shards", "reject", "a tensor is in both shards"),
               second=("b.weight", "c.weight"))
    checkpoint(c.folder("D01", "tensor-not-in-index", "reject", "a shard holds a tensor that the index does not name"),
               second=("c.weight", "d.weight"))
    top = c.folder("D01", "extra-shard", "warn", "a safetensors file that the index does not name")
    checkpoint(top)
    (top / "model-00003-of-00003.safetensors").write_bytes(shard("d.weight"))

    def named_shard(slug, why, name, on_disk=None, inner="", place=None):
        """Shard 2 is called `name` in the index; the file is where a careless reader would look."""
        folder = c.folder("D02", slug, "reject", why, inner)
        checkpoint(folder, index=index_text(MAP | {"c.weight": name}), second_name=None)
        if on_disk is not None:
            target = folder / on_disk if place is None else place(folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(shard("c.weight"))

    named_shard("separator", "a path, not a name", "sub/" + SHARDS[1], "sub/" + SHARDS[1])
    named_shard("separator-dot", "a path, not a name", "./" + SHARDS[1], SHARDS[1])
    named_shard("separator-trailing", "a path, not a name", SHARDS[1] + "/", SHARDS[1])
    named_shard("backslash", "a path on another system", "sub\\" + SHARDS[1], "sub\\" + SHARDS[1])
    named_shard("parent", "a path out of the folder", "../" + SHARDS[1], SHARDS[1], "inner",
                lambda folder: folder.parent / SHARDS[1])
    named_shard("parent-and-back", "a path out of the folder and back", "../inner/" + SHARDS[1], SHARDS[1], "inner")
    named_shard("dot-dot", "the folder above", "..")
    named_shard("dot", "the folder itself", ".")
    named_shard("absolute", "an absolute path", "/" + SHARDS[1], SHARDS[1])
    named_shard("absolute-device", "an absolute path", "/dev/zero")
    named_shard("nul", "a NUL in the name", SHARDS[1] + "\0", SHARDS[1])
    named_shard("nul-suffix", "a NUL in the name, with more behind it", SHARDS[1] + "\0.safetensors", SHARDS[1])
    named_shard("empty", "an empty name", "")
    named_shard("drive", "a drive letter", "C:" + SHARDS[1], "C:" + SHARDS[1])
    named_shard("drive-backslash", "a drive letter and a path", "C:\\" + SHARDS[1], "C:\\" + SHARDS[1])
    other = SHARDS[0].replace("model", "Model")
    named_shard("case-colliding", "two names that differ only in letter case", other, other)

    def linked(slug, expect, why, make, inner=""):
        folder = c.folder("D03", slug, expect, why, inner)
        checkpoint(folder, second_name=None)
        make(folder, folder / SHARDS[1])

    def cache(folder, path):
        path.write_bytes(shard("c.weight"))
        blobs = folder.parent.parent / "blobs"
        blobs.mkdir()
        for number, file in enumerate(sorted(folder.iterdir())):
            file.rename(blobs / f"blob-{number}")
            file.symlink_to(f"../../blobs/blob-{number}")

    linked("symlink-to-file", "accept", "links to files outside the folder, as in a hub cache", cache,
           "snapshots/main")
    linked("symlink-dangling", "reject", "a link to nothing", lambda _, path: path.symlink_to("nowhere.safetensors"))
    linked("symlink-loop", "reject", "a link to itself", lambda _, path: path.symlink_to(SHARDS[1]))
    linked("symlink-to-device", "reject", "a link to a device without end",
           lambda _, path: path.symlink_to("/dev/zero"))
    linked("symlink-to-folder", "reject", "a link to a folder", lambda _, path: path.symlink_to("."))
    linked("fifo", "reject", "a pipe, which blocks whoever opens it", lambda _, path: os.mkfifo(path))
    linked("folder", "reject", "a folder", lambda _, path: path.mkdir())

    checkpoint(c.folder("D04", "total-size-too-large", "warn", "total_size is not the sum"), index=index_text(total=25))
    checkpoint(c.folder("D04", "total-size-zero", "warn", "total_size is not the sum"), index=index_text(total=0))
    text = index_text()
    line = f'"a.weight": "{SHARDS[0]}",'
    for slug, new in (("duplicate-tensor", line + line), ("duplicate-tensor-escaped", line + line.replace("a.", r"\u0061."))):
        checkpoint(c.folder("D04", slug, "reject", "the index names a tensor twice"), index=text.replace(line, new))
    checkpoint(c.folder("D04", "duplicate-weight-map", "reject", "weight_map twice"),
               index=text[:-2] + ',"weight_map":' + json.dumps(MAP) + "}")
    checkpoint(c.folder("D04", "duplicate-metadata", "reject", "metadata twice"),
               index=text[:-2] + ',"metadata":{"total_size":24}}')
    top = c.folder("D04", "two-indexes", "reject", "two index files")
    checkpoint(top)
    (top / "other.safetensors.index.json").write_text(text)


def large(c):
    body = PLAIN.encode()
    length = 100_000_001
    c.file("S02", "header-length-100000001", "reject", "a header above 100,000,000 bytes, all of it there",
           struct.pack("<Q", length) + body + b" " * (length - len(body)) + data(8))
    entries = (entry(f"t{i}", "U8", [0], 0, 0) for i in range(1_000_001))
    c.file("S13", "1000001-tensors", "reject", "1,000,001 tensors", build(header(*entries)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUTDIR")
    parser.add_argument("--large", action="store_true", help="also write the cases of about 100 MB")
    arguments = parser.parse_args()
    c = Cases(arguments.out)
    c.out.mkdir(parents=True, exist_ok=True)
    if (c.out / "cases.json").exists():  # written by an earlier run: replace its cases, and nothing else
        for case in json.loads((c.out / "cases.json").read_text()):
            path = c.out / Path(case["path"]).parts[0]
            if path.parent != c.out or not re.match(r"[SJD]\d\d-", path.name):
                parser.error(f"{c.out}/cases.json is not of this program")
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for group in (framing, encoding, nesting, names, fields, shapes, offsets, limits_and_oddities, syntax, folders):
        group(c)
    if arguments.large:
        large(c)
    (c.out / "cases.json").write_text(json.dumps(c.list, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(c.list)} cases in {c.out}")


if __name__ == "__main__":
    main()
