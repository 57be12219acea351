"""What forgeries change: each rule of Specs/container.md, section 10, broken, and what looks strange and is allowed.

A case is a rule, the checkpoint it begins from (`test_forgeries.py` makes them), and a function that changes a `reseal.Forged`.
"""

import copy
import json
import struct

import ingot_decoder as decoder
import reseal


# ---------------------------------------------------------------- what is changed


def nest(depth):
    return "[" * depth + "]" * depth


def config(text):
    def change(c):
        c.files["config.json"] = text(c) if callable(text) else text.encode() if isinstance(text, str) else text

    return change


def quantization(c):
    return {"quant_method": "ingot", "format_version": 1} | c.manifest["options"]


def with_config(members, order=None):
    """A configuration of a member and our `quantization_config` with some members changed."""

    def text(c):
        value = {k: v for k, v in (quantization(c) | members).items() if v is not None}
        return json.dumps({"a": 1, "quantization_config": value}, indent=2).encode()

    return config(text)


def entries(change):
    def apply(c):
        def listed(entries):
            found = change(entries)
            return entries if found is None else found

        c.entries = listed

    return apply


def on_shard(change):
    return lambda c: change(c.shard)


def metadata(**members):
    return on_shard(lambda s: s.metadata.update(members))


def describe(name, **members):
    return on_shard(lambda s: s.describe(name, **members))


def ingot_text(**members):
    return on_shard(lambda s: s.ingot(**members))


def replace_manifest(change):
    def apply(c):
        c.manifest = change(list(c.manifest.items()))

    return apply


def in_index(change):
    def apply(c):
        index = c.index
        changed = change(index)
        c.index = index if changed is None else changed

    return apply


def renamed(*names, index=None):
    def apply(c):
        c.rename_shards(*names)
        if len(names) > 1:
            c.renew_index(index or "model.safetensors.index.json")

    return apply


def sums(table, description):
    """The sums of the only chunk, and those of the description."""

    def change(s):
        entry = s.entry("a.weight")
        struct.pack_into("<ddd", entry.data, 64 + 16, *table)
        s.describe("a.weight", **{k: struct.pack(">d", v).hex() for k, v in zip(("signal", "noise", "max_error"), description)})

    return on_shard(change)


def other_data(s):
    entry = s.entry("b.weight")
    _, start, _ = entry.chunk()
    entry.data[start] ^= 1
    entry.rehash()


def resized(size):
    def change(s):
        entry = s.entry("a.weight")
        entry.data += bytes(size)
        struct.pack_into("<Q", entry.data, 56, len(entry.data))
        entry.shape = [len(entry.data)]

    return on_shard(change)


def tensor(name, dtype="F32", shape=(1,), size=4, at=None):
    def change(s):
        s.entries.insert(len(s.entries) if at is None else at, reseal.Entry(name, dtype, list(shape), bytearray(size)))

    return on_shard(change)


def moved(old, new):
    return on_shard(lambda s: s.entries.insert(new, s.entries.pop(old)))


def attribute(**values):
    def change(s):
        for key, value in values.items():
            setattr(s, key, value)

    return on_shard(change)


def fields(name, **values):
    return on_shard(lambda s: s.entry(name).fields.update(values))


def steps(*changes):
    def apply(c):
        for change in changes:
            change(c)

    return apply


def twice(name, into):
    """A tensor of the first shard in the second, too; the index names `into`."""

    def apply(c):
        first, second = c.shards.values()
        second.entries.append(copy.deepcopy(first.entry(name)))
        c.renew_index()
        index = c.index
        index["weight_map"][name] = list(c.shards)[into]
        c.index = index

    return apply


NAMES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"
LONG = [1] * 63 + [6, 40]

FORGERIES = [
    # rule, base, what
    ("N1", "one", replace_manifest(lambda m: [*m, ("more", 1)])),
    ("N1", "one", replace_manifest(lambda m: [m[1], m[0], *m[2:]])),
    ("N1", "one", replace_manifest(lambda m: [p for p in m if p[0] != "writer"])),
    ("N1", "one", replace_manifest(lambda m: [(k, 7 if k == "writer" else v) for k, v in m])),
    ("N1", "one", replace_manifest(lambda m: [(k, 2 if k == "version" else v) for k, v in m])),
    ("N1", "one", replace_manifest(lambda m: [(k, "1" if k == "version" else v) for k, v in m])),
    ("N1", "one", replace_manifest(lambda m: [(k, "ingot" if k == "format" else v) for k, v in m])),
    ("N1", "one", replace_manifest(lambda m: [(k, -1 if k == "source_bytes" else v) for k, v in m])),
    ("N1", "one", replace_manifest(lambda m: [(k, [] if k == "options" else v) for k, v in m])),
    ("N1", "one", lambda c: c.behind.append(("more", True))),
    ("N1", "one", lambda c: c.behind.append(("files", []))),
    ("N1", "one", entries(lambda e: e[::-1])),
    ("N1", "two", entries(lambda e: [e[1], e[0], *e[2:]])),
    ("N1", "one", entries(lambda e: [e[0], *e])),
    ("N1", "one", entries(lambda e: [e[0] | {"mode": 420}, *e[1:]])),
    ("N1", "one", entries(lambda e: [e[0] | {"seal_xxh3_128": e[0]["xxh3_128"]}, *e[1:]])),
    ("N1", "one", entries(lambda e: [e[0] | {"xxh3_128": e[0]["xxh3_128"].upper()}, *e[1:]])),
    ("N1", "one", entries(lambda e: [e[0] | {"bytes": str(e[0]["bytes"])}, *e[1:]])),
    ("N1", "one", entries(lambda e: [e[0] | {"name": "../s1/config.json"}, *e[1:]])),
    ("N1", "one", entries(lambda e: [*e[:-1], e[-1] | {"name": "sub//more.json"}])),
    ("N1", "one", entries(lambda e: [*e[:-1], e[-1] | {"name": "sub/./more.json"}])),
    ("N1", "one", entries(lambda e: [e[0] | {"name": "/etc/passwd"}, *e[1:]])),
    ("N1", "one", entries(lambda e: [e[0] | {"name": "a\0"}, *e[1:]])),
    ("N1", "one", entries(lambda e: {"a": 1})),
    ("N2", "one", entries(lambda e: [f for f in e if "xxh3_128" in f])),
    ("N2", "one", lambda c: (c.files.pop("notes.txt"), c.shards.clear())),
    ("N2", "one", entries(lambda e: [])),
    *[("N2", "one", renamed(name)) for name in [
        "weights.safetensors", "sub/model.safetensors", "Model.safetensors", "model.safetensors.safetensors", "model.bin",
        "model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors", "consolidated.00.safetensors", "a_model.safetensors",
        "diffusion_pytorch_model-00001-of-00001.safetensors", "adapter_model.bin", "pytorch_model.safetensors",
    ]],
    *[("N2", "two", renamed(*names)) for names in [
        ("model-1-of-2.safetensors", "model-2-of-2.safetensors"), ("model-00000-of-00002.safetensors", NAMES[0]),
        ("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"), (NAMES[0], "model-00003-of-00002.safetensors"),
        ("adapter_model-00001-of-00002.safetensors", NAMES[1]), ("a.safetensors", "b.safetensors"),
        ("model-000001-of-000002.safetensors", "model-000002-of-000002.safetensors"), (NAMES[0], "sub/" + NAMES[1]),
        ("x/" + NAMES[0], "x/" + NAMES[1]), ("model.safetensors", NAMES[1]),
    ]],
    ("N3", "one", lambda c: c.as_file.add("model.safetensors")),
    ("N3", "two", lambda c: c.as_file.add(NAMES[1])),
    ("N3", "one", lambda c: c.files.update({"extra.safetensors": b"abc"})),
    ("N3", "one", lambda c: c.files.update({"extra.SafeTensors": b"abc"})),
    ("N3", "one", lambda c: c.files.update({"sub/extra.safetensors": b""})),
    ("N2", "one", lambda c: c.as_shard.add("notes.txt")),
    ("N2", "two", lambda c: c.as_shard.add(INDEX)),
    ("N1", "one", lambda c: (c.files.update({"extra.safetensors": b"abc"}), c.unlisted.add("extra.safetensors"))),
    ("N4", "two", lambda c: c.files.pop(INDEX)),
    ("N4", "two", lambda c: c.unlisted.add(INDEX)),
    ("N4", "one", lambda c: c.renew_index()),
    ("N4", "two", lambda c: c.files.update({"other.safetensors.index.json": c.files[INDEX]})),
    ("N4", "two", lambda c: c.files.update({"sub/" + INDEX: c.files[INDEX]})),
    ("N4", "two", lambda c: c.renew_index("adapter_model.safetensors.index.json")),
    ("N4", "two", renamed("adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors")),
    ("N5", "one", entries(lambda e: sorted([*e, e[0] | {"name": decoder.MANIFEST}], key=lambda f: f["name"]))),
    ("T1", "two", twice("a.norm", 0)),
    ("T1", "two", twice("a.norm", 1)),
    ("T2", "two", in_index(lambda i: i["weight_map"].pop("a.norm") and None)),
    ("T2", "two", in_index(lambda i: i["weight_map"].update({"c": NAMES[0]}))),
    ("T2", "two", in_index(lambda i: i["weight_map"].update({"a.norm": NAMES[1]}))),
    ("T2", "two", in_index(lambda i: i["weight_map"].update({"a.norm": "./" + NAMES[0]}))),
    ("T2", "two", in_index(lambda i: i["weight_map"].update({"a.norm": None}))),
    ("T2", "two", in_index(lambda i: i["weight_map"].update({decoder.SEAL: NAMES[0]}))),
    ("T2", "two", in_index(lambda i: i["weight_map"].clear())),
    ("T2", "two", in_index(lambda i: i.update({"more": 1}))),
    ("T2", "two", in_index(lambda i: i.pop("weight_map") and None)),
    ("T2", "two", in_index(lambda i: i.pop("metadata") and None)),
    ("T2", "two", in_index(lambda i: i.update({"weight_map": list(i["weight_map"])}))),
    ("T2", "two", in_index(lambda i: reseal.compact([*i.items(), ("metadata", i["metadata"])]).encode())),
    ("T2", "two", in_index(lambda i: reseal.compact(
        [("metadata", i["metadata"]), ("weight_map", [*i["weight_map"].items(), ("a.norm", NAMES[0])])]).encode())),
    *[("T2", "two", in_index(lambda i, text=text: text)) for text in (b"", b"[]", b"{}", b"null", b"\xff", b"{}{}")],
    ("T3", "two", in_index(lambda i: i["metadata"].update(total_size=i["metadata"]["total_size"] + 1))),
    ("T3", "two", in_index(lambda i: i["metadata"].update(total_size=0))),
    ("T3", "two", in_index(lambda i: i["metadata"].update(total_size=float(i["metadata"]["total_size"])))),
    ("T3", "two", in_index(lambda i: i["metadata"].update(total_size=str(i["metadata"]["total_size"])))),
    ("T3", "two", in_index(lambda i: i["metadata"].update(more=1))),
    ("T3", "two", in_index(lambda i: i["metadata"].clear())),
    ("T3", "two", in_index(lambda i: i.update({"metadata": i["metadata"]["total_size"]}))),
    ("D1", "one", entries(lambda e: [e[0] | {"bytes": e[0]["bytes"] + 1}, *e[1:]])),
    ("D1", "one", entries(lambda e: [e[0] | {"xxh3_128": e[1]["xxh3_128" if "xxh3_128" in e[1] else "seal_xxh3_128"]}, *e[1:]])),
    ("D1", "one", entries(lambda e: sorted([*e, e[0] | {"name": "gone.txt"}], key=lambda f: f["name"]))),
    ("D2", "one", config('{"a": 1}')),
    *[("D2", "one", config(text)) for text in ("", "{", "[]", "null", "x", b"\xff\xfe{}", '{"a": 1,}', '{"quantization_config": null}')],
    ("D2", "one", with_config({"quant_method": "gptq"})),
    ("D2", "one", with_config({"quant_method": None})),
    ("D2", "one", with_config({"format_version": 2})),
    ("D2", "one", with_config({"format_version": "1"})),
    ("D2", "one", with_config({"format_version": None})),
    ("D2", "one", with_config({"scheme": "trellis"})),
    ("D2", "one", with_config({"scheme": None})),
    ("D2", "one", with_config({"more": 1})),
    ("D2", "one", with_config({"more": float("nan")})),
    ("D2", "one", config(lambda c: json.dumps({"quantization_config": dict(reversed(quantization(c).items()))}).encode())),
    ("D2", "one", config(lambda c: json.dumps({"quantization_config": quantization(c), "a": 1}).encode())),
    ("D2", "one", config(lambda c: json.dumps({"inner": {"quantization_config": quantization(c)}}).encode())),
    ("D2", "one", config(lambda c: json.dumps({"quantization_config": [quantization(c)]}).encode())),
    ("D2", "one", config(lambda c: reseal.compact([("quantization_config", quantization(c))] * 2).encode())),
    ("D2", "one", config(lambda c: reseal.compact([("a", 1), ("a", 1), ("quantization_config", quantization(c))]).encode())),
    ("D2", "one", config(lambda c: json.dumps({"quantization_config": quantization(c)}).encode() + b"x")),
    ("D2", "one", config(lambda c: f'{{"a": {nest(64)}, "quantization_config": {json.dumps(quantization(c))}}}'.encode())),
    ("D2", "one", lambda c: c.manifest["options"].update(more=1)),
    ("H1", "one", attribute(before=" ")),
    ("H1", "one", attribute(before="\n" * 64)),
    ("H1", "one", attribute(behind="\n")),
    ("H1", "one", attribute(behind=" \t ")),
    ("H1", "one", attribute(behind="{}")),
    ("H1", "one", fields("kept.f32", comment="x")),
    ("H1", "one", fields("a.weight", comment=None)),
    ("H1", "one", fields("a.weight", deep=json.loads(nest(9)))),
    ("H1", "one", fields("kept.f32", shape=[1] * 64 + [3])),
    ("H1", "one", fields("kept.f32", dtype="F33")),
    ("H1", "one", fields("kept.f32", shape=[3.0])),
    ("H1", "one", on_shard(lambda s: s.rename("kept.f32", "k" * 1025))),
    ("H1", "one", on_shard(lambda s: s.rename("kept.f32", "k\0"))),
    ("H1", "one", on_shard(lambda s: s.rename("kept.f32", "kept.f16"))),
    ("H2", "one", metadata(more="")),
    ("H2", "one", metadata(**{"Ingot": "x"})),
    ("H2", "one", metadata(**{"ingot-source": "{}"})),
    ("H2", "one", metadata(format="pt")),
    ("H2", "one", metadata(format="ingot2")),
    ("H2", "one", on_shard(lambda s: s.metadata.pop("format"))),
    ("H2", "one", on_shard(lambda s: s.metadata.pop("ingot"))),
    ("H2", "one", metadata(format=1)),
    ("H2", "one", attribute(metadata=None)),
    ("H3", "one", ingot_text(version=2)),
    ("H3", "one", ingot_text(version="1")),
    ("H3", "one", ingot_text(version=1.0)),
    ("H3", "one", ingot_text(required_features=["x"])),
    ("H3", "one", ingot_text(required_features=None)),
    ("H3", "one", ingot_text(optional_features=[f"f{i}" for i in range(65)])),
    ("H3", "one", ingot_text(optional_features=["f"] * 100_000)),
    ("H3", "one", ingot_text(optional_features=["f" * 65])),
    ("H3", "one", ingot_text(optional_features=["f" * 2_000_000])),
    *[("H3", "one", ingot_text(optional_features=value)) for value in ([""], ["a b"], ["ä"], ["a\n"], [1], [["a"]], {"a": 1}, "a")],
    ("H3", "one", ingot_text(more=1)),
    ("H3", "one", ingot_text(writer=1)),
    ("H3", "one", ingot_text(codecs=None)),
    ("H3", "one", metadata(ingot="{}")),
    ("H3", "one", metadata(ingot="1")),
    ("H3", "one", metadata(ingot="")),
    ("H3", "one", on_shard(lambda s: s.metadata.update(ingot=reseal.compact(list(json.loads(s.metadata["ingot"]).items())[::-1])))),
    ("H3", "one", on_shard(lambda s: s.metadata.update(ingot=reseal.compact(list(json.loads(s.metadata["ingot"]).items())[:4])))),
    *[("H4", "one", metadata(**{decoder.SOURCE_METADATA: text})) for text in (
        "", "{}", "[]", '"a"', "null", '{"a":1}', '{"a":null}', '{"a":{}}', '{"format":"pt"}', '{"a":"1","a":"2"}', '{"a":"1"}x', "{", '{"a":"\\u0000"}')],
    ("H5", "one", tensor("__ingot_more", "U8", [1], 1)),
    ("H5", "one", tensor("__ingot_", "F32")),
    ("H5", "one", on_shard(lambda s: s.rename("b.weight", "__ingot_b"))),
    ("H5", "two", on_shard(lambda s: s.rename("a.norm", "__ingot_norm"))),
    ("H6", "one", metadata(**{"ingot:gone": "{}"})),
    ("H6", "one", on_shard(lambda s: s.metadata.update({"ingot:gone": s.metadata["ingot:a.weight"]}))),
    ("H6", "one", on_shard(lambda s: s.metadata.update({"ingot:kept.u8": s.metadata["ingot:a.weight"]}))),
    ("H6", "one", on_shard(lambda s: s.metadata.update({"ingot:a.weight": s.metadata["ingot:a.weight"].replace(":", ": ")}))),
    ("H6", "one", describe("a.weight", shape=[240])),
    ("H6", "one", describe("a.weight", shape=LONG)),
    ("H6", "one", describe("a.weight", shape=[0, 240])),
    ("H6", "one", describe("a.weight", shape=[-6, -40])),
    ("H6", "one", describe("a.weight", shape=[2**40, 2**40])),
    ("H6", "one", describe("a.weight", dtype="I16")),
    ("H6", "one", describe("a.weight", codec="rans")),
    ("H6", "one", describe("a.weight", more=1)),
    ("H6", "one", describe("a.weight", scheme="kept")),
    ("H6", "one", describe("a.weight", source_xxh3_128="0" * 31)),
    ("H6", "two", describe("a.weight", signal="7ff0000000000000")),
    ("H7", "one", fields("a.weight", shape=[1, 2])),
    ("H7", "one", on_shard(lambda s: setattr(s.entry("a.weight"), "shape", [1, len(s.entry("a.weight").data)]))),
    ("H7", "one", on_shard(lambda s: setattr(s.entry("a.weight"), "dtype", "I8"))),
    ("H7", "one", attribute(seal_rank=2)),
    ("H7", "one", attribute(seal_dtype="I8")),
    ("H7", "one", resized(64)),
    ("H7", "one", resized(1)),
    ("H7", "one", resized(32)),
    ("H7", "one", describe("a.weight", shape=[6 << 40, 40])),
    ("H7", "one", describe("a.weight", shape=[6 << 20, 1 << 18])),
    ("H7", "one", tensor("x.first", "U8", [32], 32, at=0)),
    ("H8", "one", tensor("x.first", "U8", [64], 64, at=0)),
    ("H8", "one", tensor("x.first", "I64", [8], 64, at=1)),
    ("H8", "one", moved(2, 5)),
    ("H8", "one", moved(6, 2)),
    ("H8", "one", moved(4, 6)),
    ("H8", "one", tensor("x.last", "F16", [4], 8)),
    ("H8", "one", tensor("x.empty", "F64", [0], 0)),
    ("L1", "one", sums((0, 0.5, 0), (0, 0.5, 0))),
    ("L1", "one", sums((1.5, 0, 0), (1.5, 0, 0))),
    ("L1", "one", sums((0, 0, 2.0), (0, 0, 2.0))),
    ("L1", "one", sums((0, 0.5, 0), (0, 0, 0))),
    ("L1", "one", sums((0, 0, 0), (0, 0.5, 0))),
    ("L1", "one", sums((-0.0, 0, 0), (0, 0, 0))),
    ("L2", "one", describe("a.weight", source_xxh3_128="0" * 32)),
    ("L2", "one", on_shard(lambda s: s.describe("a.weight", source_xxh3_128=s.about("b.weight")["source_xxh3_128"]))),
    ("L2", "one", on_shard(other_data)),
]  # fmt: skip

# What looks strange and is allowed.
ALLOWED = [
    ("a matrix that is kept", "one", steps(tensor("x.matrix", "F16", [2, 3], 12, at=6))),
    ("a matrix of 32 bits that is kept", "one", steps(tensor("x.matrix", "F32", [2, 3], 24, at=4))),
    ("no configuration", "one", lambda c: c.files.pop("config.json")),
    ("the names of adapters", "one", renamed("adapter_model.safetensors")),
    ("the names of diffusion models", "one", renamed("diffusion_pytorch_model.safetensors")),
    ("several shards of an adapter", "two", renamed(
        "adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors", index="adapter_model.safetensors.index.json")),
    ("a name that is nearly an index's", "one", lambda c: c.files.update({"x.SafeTensors.Index.json": b"{}", "pytorch_model.index.json": b"{}"})),
    ("a file that is not listed", "one", lambda c: c.unlisted.add("notes.txt")),
    ("other options", "one", steps(
        lambda c: c.manifest["options"].update(more={"a": [1, "2", 0.25]}),
        config(lambda c: json.dumps({"quantization_config": quantization(c)}).encode()))),
    ("a nested quantization_config beside it", "one", config(
        lambda c: json.dumps({"inner": {"quantization_config": {}}, "b": float("nan"), "quantization_config": quantization(c)}).encode())),
    ("64 levels", "one", config(lambda c: f'{{"a": {nest(63)}, "quantization_config": {json.dumps(quantization(c))}}}'.encode())),
    ("64 optional features", "one", ingot_text(optional_features=["f" * 64] * 64)),
    ("another writer", "one", ingot_text(writer="x" * 1000)),
    ("metadata of another framework", "one", metadata(**{decoder.SOURCE_METADATA: '{"format":"mlx"}'})),
    ("no metadata of the source", "one", on_shard(lambda s: s.metadata.pop(decoder.SOURCE_METADATA))),
    ("a longer header", "one", attribute(behind=" " * 300)),
    ("64 dimensions", "one", on_shard(lambda s: (s.describe("a.weight", shape=[1] * 62 + [6, 40]), setattr(s.entry("kept.f32"), "shape", [1] * 63 + [3])))),
    ("an index on one line", "two", in_index(lambda i: reseal.compact({"weight_map": i["weight_map"], "metadata": i["metadata"]}).encode())),
]  # fmt: skip
